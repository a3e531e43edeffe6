"""Every verb an operator has: what it leads to, what a dry run says, and what is refused by name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.configuration.settings import Settings
from controller.model.groups import SwitchVerb
from tests.builders.consoles import TOKENS, Running, Sides, running, settings_of, write_configuration

VERBS = [verb.value for verb in SwitchVerb]


async def kinds(controller: Running, path: str, body: object = None, **options: object) -> list[str]:
    answer = await controller.post(path, body, **options)
    return [fact["kind"] for fact in answer["facts"]]


async def test_an_incident_from_report_to_end(controller: Running) -> None:
    incident = await controller.incident()
    path = f"/api/v1/incidents/{incident}"
    facts = await kinds(controller, f"{path}/acknowledge")
    assert facts[0] == "incident_acknowledged" and "page_ended" in facts
    assert await kinds(controller, f"{path}/acknowledge") == [], "the first one counts"
    assert await kinds(controller, f"{path}/command") == ["command_taken"]
    assert await kinds(controller, f"{path}/note", {"note": "  换了话机  "}) == ["note"]
    assert await kinds(controller, f"{path}/grade", {"grade": "III"}) == ["grade_confirmed"]
    assert "incident_mitigated" in await kinds(controller, f"{path}/mitigate")
    view = await controller.get(path)
    assert (view["state"], view["acknowledged_by"], view["commander"], view["grade"]) == (
        "mitigated",
        "operator",
        "operator",
        "III",
    )
    assert await kinds(controller, f"{path}/resolve") == ["fault_cleared", "incident_resolved"]
    for late in ("acknowledge", "resolve"):
        status, body = await controller.call("POST", f"{path}/{late}")
        assert (status, body["reasons"]) == (409, ["incident_closed"])


async def test_an_incident_whose_fault_stands_is_not_resolved(settings: Settings, tmp_path: Path) -> None:
    sides = Sides()
    made = settings_of(write_configuration(tmp_path / "own", sides))
    async with running(made) as controller:
        await controller.sides_seen()
        sides.backup.close()
        await controller.until(lambda: controller.state.incidents)
        (incident,) = controller.state.incidents
        status, body = await controller.call("POST", f"/api/v1/incidents/{incident}/resolve")
        assert (status, body["reasons"]) == (409, ["fault_active"])
        assert "RedundancyLost:backup" in body["detail"]
    sides.close()


async def test_a_page_without_an_incident_is_acknowledged_by_its_own_name(controller: Running) -> None:
    await controller.waiting_run("ask-team")
    ((name, page),) = controller.state.pages.items()
    assert page.incident == ""
    assert await kinds(controller, f"/api/v1/incidents/{name}/acknowledge") == ["page_ended"]
    assert controller.state.pages[name].acknowledged_by == "operator"
    assert (await controller.get("/api/v1/status"))["pages"] == []


async def test_arming_is_refused_until_the_backup_is_proved_ready(controller: Running) -> None:
    status, body = await controller.call("POST", "/api/v1/groups/calls/arm")
    assert status == 409
    assert "target_not_ready" in body["reasons"] and "licences" in body["detail"]
    rehearsed = await controller.post("/api/v1/groups/calls/arm", {"dry_run": True})
    assert rehearsed["refused"] == body["reasons"]
    assert await kinds(controller, "/api/v1/groups/calls/disarm") == []


@pytest.mark.parametrize("verb", VERBS)
async def test_a_refused_switch_names_every_guard(controller: Running, verb: str) -> None:
    await controller.edges_read()
    before = controller.desk.snapshot.sequence
    ask = {"reason": "test", "target": "backup"}
    rehearsed = await controller.post(f"/api/v1/groups/calls/{verb}", {**ask, "dry_run": True})
    assert rehearsed["dry_run"] is True
    assert "edges_unreachable" in rehearsed["refused"] and "" not in rehearsed["refused"]
    noted = (await controller.get(f"/api/v1/timeline?after={before}"))["entries"]
    assert not [entry for entry in noted if entry["kind"].startswith("switch")], "a dry run records nothing"
    status, body = await controller.call("POST", f"/api/v1/groups/calls/{verb}", ask)
    assert (status, body["reasons"]) == (409, rehearsed["refused"])
    assert controller.state.groups["calls"].switch is None


async def test_force_bypasses_what_it_names_and_no_more(controller: Running) -> None:
    await controller.edges_read()
    ask = {"reason": "everything burns", "target": "backup", "dry_run": True}
    standing = (await controller.post("/api/v1/groups/calls/force", ask))["refused"]
    fewer = await controller.post("/api/v1/groups/calls/force", {**ask, "overrides": standing[:1]})
    assert fewer["refused"] == standing[1:]
    status, body = await controller.call("POST", "/api/v1/groups/calls/force", {"target": "backup"})
    assert status == 400 and "reason" in body["detail"]


async def test_holds(controller: Running) -> None:
    ask = {"scope": "calls", "reason": "moving a rack", "minutes": 5}
    assert await kinds(controller, "/api/v1/holds", ask) == ["hold_placed"]
    refused = (await controller.post("/api/v1/groups/calls/force", {"dry_run": True}))["refused"]
    assert "on_hold" in refused
    status, body = await controller.call("DELETE", "/api/v1/holds/calls")
    assert (status, body["facts"][0]["kind"]) == (200, "hold_released")
    status, body = await controller.call("DELETE", "/api/v1/holds/calls")
    assert status == 404


async def test_a_dry_run_of_a_hold_its_release_and_a_disarming_does_nothing(controller: Running) -> None:
    ask = {"scope": "calls", "reason": "moving a rack", "minutes": 5}
    before = controller.state

    async def would(method: str, path: str, body: object = None) -> tuple[list[str], list[str]]:
        status, answer = await controller.call(method, path, body)
        assert status == 200 and answer["dry_run"]
        return [fact["kind"] for fact in answer["facts"]], answer["refused"]

    assert await would("POST", "/api/v1/holds", {**ask, "dry_run": True}) == (["hold_placed"], [])
    assert controller.state.holds == before.holds
    status, _ = await controller.call("POST", "/api/v1/holds", {**ask, "scope": "nobody", "dry_run": True})
    assert status == 400
    status, _ = await controller.call("DELETE", "/api/v1/holds/calls?dry_run=true")
    assert status == 404, "what is not there can't be released, in a dry run either"
    await controller.post("/api/v1/holds", ask)
    assert await would("DELETE", "/api/v1/holds/calls?dry_run=true") == (["hold_released"], [])
    assert "calls" in controller.state.holds
    status, _ = await controller.call("DELETE", "/api/v1/holds/calls?dry_run=maybe")
    assert status == 400 and "calls" in controller.state.holds
    kinds_of, _ = await would("POST", "/api/v1/groups/calls/disarm", {"dry_run": True})
    assert "group_armed" not in kinds_of
    status, _ = await controller.call("POST", "/api/v1/groups/nobody/disarm", {"dry_run": True})
    assert status == 404


async def test_readiness_that_only_a_person_can_see(controller: Running) -> None:
    assert await kinds(controller, "/api/v1/groups/calls/readiness", {"item": "licences", "hours": 2}) == [
        "readiness_ticked"
    ]
    status, body = await controller.call("POST", "/api/v1/groups/calls/readiness", {"item": "nothing"})
    assert (status, body["reasons"]) == (409, ["unknown_item"])


async def test_a_group_that_does_not_wait_can_not_be_settled(controller: Running) -> None:
    ask = {"active": "primary", "reason": "looked"}
    status, body = await controller.call("POST", "/api/v1/groups/calls/release", ask)
    assert status == 409 and body["reasons"] and body["reasons"] != [""]


async def test_a_run_is_planned_approved_done_and_ended(controller: Running) -> None:
    plan = (await controller.post("/api/v1/runs", {"runbook": "ask", "dry_run": True}))["plan"]
    assert [step["path"] for step in plan["steps"]] == ["first", "permit", "hand", "last"]
    assert not controller.state.runs
    run = await controller.waiting_run()
    view = await controller.get(f"/api/v1/runs/{run}")
    word = {"revision": view["revision"], "step": "permit", "attempt": 1, "granted": True}
    for wrong in ({"revision": "0" * 64}, {"step": "hand"}, {"attempt": 2}):
        status, body = await controller.call("POST", f"/api/v1/runs/{run}/approval", {**word, **wrong})
        assert (status, body["reasons"]) == (409, ["stale_approval"]), wrong
    assert "approval_given" in await kinds(controller, f"/api/v1/runs/{run}/approval", word)
    status, body = await controller.call("POST", f"/api/v1/runs/{run}/approval", word)
    assert (status, body["reasons"]) == (409, ["stale_approval"]), "an approval counts once"
    status, body = await controller.call(
        "POST", f"/api/v1/runs/{run}/manual", {"step": "hand", "proof": "  "}
    )
    assert status == 400
    facts = await kinds(controller, f"/api/v1/runs/{run}/manual", {"step": "hand", "proof": "T-4711"})
    assert facts[0] == "manual_done" and "run_finished" in facts
    assert (await controller.get(f"/api/v1/runs/{run}"))["state"] == "succeeded"


async def test_a_run_is_refused_and_cancelled(controller: Running) -> None:
    run = await controller.waiting_run()
    view = await controller.get(f"/api/v1/runs/{run}")
    word = {"revision": view["revision"], "step": "permit", "attempt": 1, "granted": False}
    assert "approval_refused" in await kinds(controller, f"/api/v1/runs/{run}/approval", word)
    other = await controller.waiting_run()
    assert "run_finished" in await kinds(controller, f"/api/v1/runs/{other}/cancel", {"reason": "not now"})
    status, _ = await controller.call("POST", f"/api/v1/runs/{other}/cancel", {"reason": "again"})
    assert status == 409


@pytest.mark.parametrize(
    ("runbook", "account", "status"),
    [
        ("ask", "viewer", 403),
        ("ask", "operator", 200),
        ("ask", "administrator", 200),
        ("ask", "li", 200),
        # A role of people is nobody else's, whatever the account may do.
        ("ask-team", "viewer", 403),
        ("ask-team", "operator", 409),
        ("ask-team", "administrator", 409),
        ("ask-team", "li", 200),
    ],
)
async def test_who_may_approve_what(controller: Running, runbook: str, account: str, status: int) -> None:
    run = await controller.waiting_run(runbook)
    view = await controller.get(f"/api/v1/runs/{run}")
    word = {"revision": view["revision"], "step": "permit", "attempt": 1, "granted": True}
    got, body = await controller.call("POST", f"/api/v1/runs/{run}/approval", word, account=account)
    assert got == status, body
    if status == 409:
        assert body["reasons"] == ["wrong_role"]
    page = await controller.get(f"/runs/{run}", account=account, headers={"Accept": "text/html"})
    assert (f"/runs/{run}/approve" in page) is False, "decided, or not for this account"


async def test_drills(controller: Running) -> None:
    await controller.sides_seen()
    ask = {"scenario": "primary-killed", "dry_run": True}
    rehearsed = await controller.post("/api/v1/drills", ask)
    assert [fact["kind"] for fact in rehearsed["facts"]] == ["drill_started"] and not rehearsed["refused"]
    assert not controller.state.drills
    assert (await controller.call("POST", "/api/v1/drills", {"scenario": "x"}))[0] == 404
    assert (await controller.call("POST", "/api/v1/drills/DRILL-1/abort", {"reason": "x"}))[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/api/v1/holds", {}, "scope"),
        ("/api/v1/holds", {"scope": "calls", "reason": "x", "minutes": 0}, "minutes"),
        ("/api/v1/holds", {"scope": "nobody", "reason": "x", "minutes": 1}, "nobody"),
        ("/api/v1/holds", {"scope": "calls", "reason": "x", "minutes": 1, "colour": "red"}, "colour"),
        ("/api/v1/groups/calls/failover", {"overrides": ["gravity"]}, "overrides"),
        ("/api/v1/groups/calls/failover", [], "dictionary"),
        ("/api/v1/fault-reports", {"component": "nobody", "symptom": "x"}, "nobody"),
        ("/api/v1/fault-reports", {"component": "desk-7", "symptom": " "}, "symptom"),
        ("/api/v1/fault-reports", {"component": "desk-7", "symptom": "a\ud800"}, "symptom"),
        ("/api/v1/runs", {"inputs": {}}, "runbook"),
    ],
)
async def test_bad_bodies_are_one_clear_error(
    controller: Running, path: str, body: object, named: str
) -> None:
    status, answer = await controller.call("POST", path, body)
    assert (status, answer["status"]) == (400, 400)
    assert named in answer["detail"]
    entries = (await controller.get("/api/v1/timeline"))["entries"]
    assert not [entry for entry in entries if entry["actor"]]


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe", b"nul", b"[" * 100_000, b'{"minutes": NaN}', b'{"minutes": Infinity}']
)
async def test_what_is_not_json(controller: Running, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {TOKENS['operator']}"}
    async with controller.session.post(
        controller.address + "/api/v1/holds", data=body, headers=headers
    ) as answer:
        assert answer.content_type == "application/problem+json"
        assert answer.status in (400, 413)
        assert "JSON" in (await answer.json(content_type=None))["detail"] or answer.status == 413


async def test_a_body_in_pieces_is_read_whole_and_a_huge_one_not_at_all(controller: Running) -> None:
    incident = await controller.incident()
    note = "长" * 4000

    async def pieces() -> AsyncIterator[bytes]:
        data = json.dumps({"note": note}).encode()
        for start in range(0, len(data), 5000):
            yield data[start : start + 5000]
            await asyncio.sleep(0)

    headers = {"Authorization": f"Bearer {TOKENS['operator']}"}
    async with controller.session.post(
        f"{controller.address}/api/v1/incidents/{incident}/note", data=pieces(), headers=headers
    ) as answer:
        assert answer.status == 200, await answer.text()
    status, body = await controller.call(
        "POST", f"/api/v1/incidents/{incident}/note", {"note": "x" * 200_000}
    )
    assert (status, body["status"]) == (413, 413)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/groups/nobody/arm",
        "/api/v1/groups/nobody/failover",
        "/api/v1/incidents/INC-9999/acknowledge",
        "/api/v1/incidents/PAGE-9999/acknowledge",
        "/api/v1/runs/RUN-9999/cancel",
        "/incidents/INC-9999/acknowledge",
        "/groups/nobody/arm",
        "/pages/PAGE-9999/acknowledge",
        "/holds/nobody/release",
    ],
)
async def test_acting_on_unknown_names(controller: Running, path: str) -> None:
    asked = {"reason": "x"} if path.endswith("cancel") else None
    status, body = await controller.call("POST", path, asked)
    assert (status, body["status"]) == (404, 404)
