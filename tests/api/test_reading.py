"""What there is to read, and how wrong questions are answered."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import stat
from contextlib import closing

import aiohttp
import pytest

from controller.core import retirement
from controller.model.events import LeadershipTaken, OperatorUpdatedIncident, TimerFired
from controller.model.facts import Counters
from controller.web import stream
from tests.builders.consoles import TOKENS, Running
from tests.builders.reviewing import zombie

BEARER = {"Authorization": f"Bearer {TOKENS['viewer']}"}


async def test_it_says_that_it_lives(controller: Running) -> None:
    status, body = await controller.call("GET", "/healthz", account="")
    assert (status, body) == (200, {"status": "ok", "node": "test"})
    text = await controller.get("/metrics", account="viewer")
    assert (
        "thirdring_leader 1.0" in text and 'thirdring_side_active{group="calls",side="primary"} 1.0' in text
    )


async def test_the_status_is_the_whole_wallboard(controller: Running) -> None:
    incident = await controller.incident()
    run = await controller.waiting_run("ask-team")
    await controller.post("/api/v1/holds", {"scope": "calls", "reason": "moving a rack", "minutes": 5})
    status = await controller.get("/api/v1/status")
    assert status["leader"] is True and status["journal"]["failing"] is False
    assert [item["id"] for item in status["incidents"]] == [incident]
    group = status["groups"][0]
    assert (group["name"], group["active"], group["armed"]) == ("calls", "primary", None)
    assert {side["name"]: side["active"] for side in group["sides"]} == {"primary": True, "backup": False}
    assert [hold["scope"] for hold in status["holds"]] == ["calls"]
    assert [item["id"] for item in status["runs"]] == [run]
    assert status["runs"][0]["steps"][-1]["due_wall"] > status["time"]
    assert [page["incident"] for page in status["pages"]] == [""], "a run without an incident pages as well"
    assert status["on_call"][0]["people"] == [{"name": "li", "display": "李雷", "channels": ["robot"]}]


async def test_incidents_and_their_parts(controller: Running) -> None:
    incident = await controller.incident("没有声音")
    listed = await controller.get("/api/v1/incidents?open=true")
    assert listed["total"] == 1
    view = await controller.get(f"/api/v1/incidents/{incident}")
    assert view["title"] == {"zh": "七号话机", "en": "Desk phone 7"}
    assert [fault["kind"] for fault in view["faults"]] == ["Reported"]
    (page,) = view["pages"]
    assert page["repeats_wall"] > page["opened_wall"]
    assert page["deliveries"][0]["display"] == "李雷"
    why = await controller.get(f"/api/v1/incidents/{incident}/explanation")
    assert why["incident"] == incident
    for form, start in (("markdown", "#"), ("html", "<!doctype html>")):
        text = await controller.get(f"/api/v1/incidents/{incident}/report?format={form}&language=en")
        assert text.lower().startswith(start)


async def test_what_left_the_live_state_is_read_from_the_journal(
    controller: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = await controller.incident("没有声音")
    run = await controller.waiting_run("ask", incident)
    await controller.post(f"/api/v1/runs/{run}/cancel", {"reason": "enough"})
    await controller.post(f"/api/v1/incidents/{incident}/resolve")
    before = await controller.get(f"/api/v1/incidents/{incident}")
    assert before["state"] == "resolved" and [item["id"] for item in before["runs"]] == [run]
    monkeypatch.setattr(retirement, "MOST_ENDED", 0)
    monkeypatch.setattr(retirement, "SETTLED", -1.0)
    monkeypatch.setattr(retirement, "PAUSE", 0.0)
    await controller.ask(TimerFired(at=controller.desk.clock.now()))
    assert incident not in controller.state.incidents and run not in controller.state.runs
    assert not [page for page in controller.state.pages.values() if page.incident == incident]
    assert await controller.get(f"/api/v1/incidents/{incident}") == before
    assert (await controller.get(f"/api/v1/runs/{run}"))["incident"] == incident
    assert (await controller.get(f"/api/v1/incidents/{incident}/explanation"))["incident"] == incident
    text = await controller.get(f"/api/v1/incidents/{incident}/report?language=en")
    assert text.startswith("#") and incident in text
    for path in (f"/incidents/{incident}", f"/runs/{run}"):
        assert incident in await controller.get(path, account="operator") or path.startswith("/runs")
    assert (await controller.get("/api/v1/verification"))["violations"] == []
    assert (await controller.call("GET", "/api/v1/incidents/INC-9999"))[0] == 404
    assert (await controller.call("GET", "/api/v1/runs/RUN-9999"))[0] == 404


async def test_what_another_node_retired_is_read_from_the_archive(controller: Running) -> None:
    """This node has just taken over: neither its memory nor its journal ever had that incident."""
    await controller.led()
    await controller.until(lambda: controller.controller.shipper.shipped)
    await controller.controller.archive.ship(zombie().entries(after=0))
    path = "/api/v1/incidents/INC-0007"
    assert (await controller.call("GET", path))[0] == 404, "no such number was given out yet"
    at = controller.desk.clock.now()
    counters = Counters(numbers=(("INC", 9),))
    await controller.ask(LeadershipTaken(at=at, deadline=at.mono + 60.0, aggregates=(counters,)))
    assert "INC-0007" not in controller.state.incidents
    view = await controller.get(path)
    assert (view["id"], view["state"], view["kind"]) == ("INC-0007", "resolved", "PlatformZombie")
    text = await controller.get(f"{path}/report?language=en")
    assert "INC-0007" in text and "the journal says nothing" not in text
    assert (await controller.get(f"{path}/explanation"))["rules"]
    entries = (await controller.get("/api/v1/timeline?incident=INC-0007&limit=3"))["entries"]
    assert [(entry["node"], entry["incident"]) for entry in entries] == [("node-a", "INC-0007")] * 3
    assert entries[-1]["wall"] == max(entry.wall for entry in zombie().entries())
    assert "INC-0007" in await controller.get("/incidents/INC-0007")
    assert (await controller.call("GET", "/api/v1/incidents/INC-0008"))[0] == 404


async def test_other_readings(controller: Running) -> None:
    assert {book["name"] for book in (await controller.get("/api/v1/runbooks"))["runbooks"]} >= {
        "ask",
        "failover",
    }
    assert (await controller.get("/api/v1/drills"))["scenarios"][0]["name"] == "primary-killed"
    assert (await controller.get("/api/v1/components?limit=1"))["total"] == 4
    assert (await controller.get("/api/v1/components/desk-7"))["kind"] == "phone"
    assert (await controller.get("/api/v1/verification"))["violations"] == []


async def test_the_timeline_is_read_in_pages(controller: Running) -> None:
    incident = await controller.incident()
    for number in range(7):
        await controller.post(f"/api/v1/incidents/{incident}/note", {"note": f"note {number}"})
    whole = (await controller.get("/api/v1/timeline"))["entries"]
    assert [entry["sequence"] for entry in whole] == list(range(1, len(whole) + 1))
    paged: list[dict[str, object]] = []
    while True:
        after = paged[-1]["sequence"] if paged else 0
        some = (await controller.get(f"/api/v1/timeline?after={after}&limit=4"))["entries"]
        assert len(some) <= 4
        if not some:
            break
        paged += some
    assert paged[: len(whole)] == whole
    newest = (await controller.get("/api/v1/timeline?limit=4"))["entries"]
    last = newest[-1]["sequence"]
    assert last >= len(whole)
    assert [entry["sequence"] for entry in newest] == list(range(last - 3, last + 1))
    own = (await controller.get(f"/api/v1/timeline?incident={incident}"))["entries"]
    assert {entry["incident"] for entry in own} == {incident}
    assert [entry["data"]["note"] for entry in own if "note" in entry["data"]] == [
        f"note {n}" for n in range(7)
    ]
    assert "changed" not in json.dumps(whole)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/components/nobody",
        "/api/v1/incidents/INC-9999",
        "/api/v1/incidents/INC-9999/explanation",
        "/api/v1/incidents/INC-9999/report",
        "/api/v1/runs/RUN-9999",
        "/api/v1/drills/DRILL-9999/record",
        "/api/v1/nothing",
        "/incidents/INC-9999",
        "/runs/RUN-9999",
        "/groups/nobody",
    ],
)
async def test_unknown_names_are_named(controller: Running, path: str) -> None:
    status, body = await controller.call("GET", path)
    assert (status, body["status"]) == (404, 404)
    status, page = await controller.call("GET", path, headers={"Accept": "text/html"})
    assert status == 404
    assert path.startswith("/api/") or "<h1>没有这个页面</h1>" in page


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=x", "limit=²", "after=1e3", "after=99999999999999999999"]
)
async def test_numbers_that_are_none(controller: Running, query: str) -> None:
    status, body = await controller.call("GET", f"/api/v1/timeline?{query}")
    assert status == 400 and query.split("=")[0] in body["detail"]


class Stream:
    """A reader of server-sent events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def event(self) -> tuple[int, dict[str, object]]:
        number, line = 0, b""
        async with asyncio.timeout(20):
            while not line.startswith(b"data: "):
                line = await self.response.content.readline()
                assert line, "the stream ended"
                if line.startswith(b"id: "):
                    number = int(line[4:])
        return number, json.loads(line[6:])


async def test_the_live_timeline_catches_up_and_goes_on(controller: Running) -> None:
    incident = await controller.incident()
    sequence = controller.desk.snapshot.sequence
    async with controller.session.get(
        f"{controller.address}/api/v1/events?after=0", headers={**BEARER, "Last-Event-ID": str(sequence - 2)}
    ) as response:
        assert response.content_type == "text/event-stream"
        reader = Stream(response)
        assert [(await reader.event())[0] for _ in range(2)] == [sequence - 1, sequence]
        await controller.post(f"/api/v1/incidents/{incident}/note", {"note": "看到了"})
        while True:
            number, entry = await reader.event()
            if entry["kind"] == "note":
                break
        assert number == entry["sequence"] and entry["data"] == {"note": "看到了"}


async def test_the_live_timeline_of_one_incident_holds_nothing_else(controller: Running) -> None:
    first = await controller.incident()
    await controller.waiting_run("ask-team")
    async with controller.session.get(
        f"{controller.address}/api/v1/events?incident={first}&after=0", headers=BEARER
    ) as response:
        reader = Stream(response)
        await controller.post("/api/v1/holds", {"scope": "*", "reason": "x", "minutes": 1})
        await controller.post(f"/api/v1/incidents/{first}/note", {"note": "end"})
        seen = []
        while not seen or seen[-1]["kind"] != "note":
            seen.append((await reader.event())[1])
        assert {entry["incident"] for entry in seen} == {first}


async def test_a_nonsense_event_id_is_no_error(controller: Running) -> None:
    incident = await controller.incident()
    async with controller.session.get(
        f"{controller.address}/api/v1/events?after=0", headers={**BEARER, "Last-Event-ID": "²"}
    ) as response:
        assert response.status == 200
        assert (await Stream(response).event())[0] == 1
    assert incident


async def write_notes(controller: Running, incident: str, count: int, text: str) -> None:
    """Together: as few commits as the engine makes of them."""
    at = controller.desk.clock.now()
    notes = [OperatorUpdatedIncident(at=at, incident=incident, by="me", note=text) for _ in range(count)]
    await asyncio.gather(*(controller.ask(event) for event in notes))


async def test_catching_up_leaves_no_gap_however_far_behind(
    controller: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_BEHIND", 20)
    incident = await controller.incident()
    await write_notes(controller, incident, 90, "n")
    last = controller.desk.snapshot.sequence
    assert last > 90
    async with controller.session.get(
        f"{controller.address}/api/v1/events?after=0", headers=BEARER
    ) as response:
        reader = Stream(response)
        assert [(await reader.event())[0] for _ in range(last)] == list(range(1, last + 1))


async def test_a_reader_that_takes_nothing_is_cut_off_and_can_come_back(
    controller: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_BEHIND", 50)
    incident = await controller.incident()
    host, port = controller.address.removeprefix("http://").split(":")
    with closing(socket.socket()) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, (host, int(port)))
        ask = f"GET /api/v1/events?incident={incident}&after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: {BEARER['Authorization']}\r\n\r\n"
        await loop.sock_sendall(slow, ask.encode())
        seen = await loop.sock_recv(slow, 4096)
        assert b"200 OK" in seen
        for _ in range(5):  # more than the sockets' buffers hold
            await write_notes(controller, incident, 60, "长" * 20_000)
        # It reads on: what had been sent arrives, and then the stream ends, instead of growing without bound.
        received = bytearray(seen)
        async with asyncio.timeout(30):
            while some := await loop.sock_recv(slow, 1 << 20):
                received += some
                if received.endswith(b"0\r\n\r\n"):
                    break
    ids = [int(line[4:]) for line in received.splitlines() if line.startswith(b"id: ")]
    last = controller.desk.snapshot.sequence
    assert ids[-1] < last, "it was not cut off"
    async with controller.session.get(
        f"{controller.address}/api/v1/events?incident={incident}",
        headers={**BEARER, "Last-Event-ID": str(last - 1)},
    ) as response:
        assert (await Stream(response).event())[0] == last


async def test_the_control_socket_knows_its_peer_and_nobody_else_may_open_it(controller: Running) -> None:
    path = controller.controller.settings.node.control
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(path))) as session,
        session.post("http://x/api/v1/groups/calls/disarm") as disarmed,
        session.post("http://x/api/v1/holds", json={"scope": "*", "reason": "by hand", "minutes": 1}) as held,
    ):
        assert (disarmed.status, held.status) == (200, 200)
        assert (await held.json())["facts"][0]["actor"] == pwd.getpwuid(os.getuid()).pw_name
