"""What is Kamailio's own: the edges' drop rule, edges away or hung, the standby as a fallback, the runbook action."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from controller.actions import processes
from controller.actions.kamailio_dispatcher import DispatcherAction
from controller.actions.kamailio_dispatcher.parameters import EdgeParameters
from controller.actions.kamailio_dispatcher.rpc import Rpc
from controller.model.commands import Drive, RunAction
from controller.model.errors import ActionError, ActionRefused, ActionUnknown, ConfigurationError
from controller.model.groups import DriverVerb
from controller.model.policy import EdgesRule
from tests.builders import kamailio
from tests.builders.kamailio import KamailioPlatform
from tests.builders.platform import GROUP

pytestmark = pytest.mark.skipif(kamailio.missing() is not None, reason=str(kamailio.missing()))


@asynccontextmanager
async def running(
    directory: Path,
    *,
    edge_rule: bool = False,
    rule: EdgesRule = EdgesRule.REACHABLE,
    standby: str = "disabled",
) -> AsyncIterator[KamailioPlatform]:
    platform = KamailioPlatform(directory, edge_rule=edge_rule, rule=rule, standby=standby)
    try:
        await platform.start()
        yield platform
    finally:
        await platform.stop()


def drive(verb: DriverVerb, side: str, epoch: int = 2) -> Drive:
    return Drive(id="CMD-0001", group=GROUP, verb=verb, side=side, epoch=epoch, timeout=2.0)


async def test_the_drop_rule_silences_a_side_and_survives_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, edge_rule=True) as platform:
        await platform.driver.perform(drive(DriverVerb.FENCE, "primary"))
        uri = platform.uris["primary"]
        for edge in platform.edges.values():
            # Somebody puts the fenced side back into rotation: its answers still don't pass.
            await edge.rpc.change("dispatcher.set_state", "a", 1, uri, epoch=2)
        assert await platform.call("edge1") in ("408", "")
        await platform.edges["edge1"].restart()
        await platform.edges["edge1"].rpc.change("dispatcher.set_state", "a", 1, uri, epoch=2)
        assert await platform.call("edge1") in ("408", "")
        seen = dict((await platform.driver.perform(drive(DriverVerb.READ_BACK, "primary"))).data)
        assert seen["drifted"] == "edge1,edge2", "an active side that is fenced is drift"


async def test_a_drop_rule_that_one_edge_did_not_get_is_no_fence(tmp_path: Path) -> None:
    async with running(tmp_path, edge_rule=True) as platform:
        await platform.edges["edge2"].stop()
        await platform.driver.perform(drive(DriverVerb.FENCE, "primary"))
        with pytest.raises(ActionError, match="edge2"):
            await platform.driver.perform(drive(DriverVerb.CONFIRM_FENCE, "primary"))


async def test_an_edge_that_was_down_comes_up_as_the_switch_left_it(tmp_path: Path) -> None:
    async with running(tmp_path) as platform:
        await platform.edges["edge2"].stop()
        await platform.driver.perform(drive(DriverVerb.FENCE, "primary"))
        await platform.driver.perform(drive(DriverVerb.CONFIRM_FENCE, "primary"))
        outcome = await platform.driver.perform(drive(DriverVerb.REDIRECT, "backup"))
        assert dict(outcome.data)["unreachable"] == "edge2"
        await platform.edges["edge2"].start()
        assert await platform.call("edge2") == "backup"


async def test_all_edges_means_all(tmp_path: Path) -> None:
    async with running(tmp_path, rule=EdgesRule.ALL) as platform:
        await platform.edges["edge2"].stop()
        for verb, side in (
            (DriverVerb.PRECHECK, "backup"),
            (DriverVerb.FENCE, "primary"),
            (DriverVerb.REDIRECT, "backup"),
        ):
            with pytest.raises(ActionError, match="edge2"):
                await platform.driver.perform(drive(verb, side))


async def test_a_hung_edge_is_unreachable_and_costs_no_more_than_its_time(tmp_path: Path) -> None:
    async with running(tmp_path) as platform:
        platform.parameters = platform.parameters.model_copy(update={"rpc_timeout": 0.4})
        await platform.driver.close()
        platform.driver = type(platform.driver)(platform.group, platform.parameters)
        platform.edges["edge2"].hang()
        try:
            began = time.monotonic()
            outcome = await platform.driver.perform(drive(DriverVerb.FENCE, "primary"))
            first = time.monotonic() - began
            began = time.monotonic()
            await platform.driver.perform(drive(DriverVerb.REDIRECT, "backup"))
            second = time.monotonic() - began
        finally:
            platform.edges["edge2"].resume()
        assert dict(outcome.data)["unreachable"] == "edge2"
        assert first < 1.0
        assert second < first, "an edge known to be silent is not waited for as long again"
        assert await platform.call("edge1") == "backup"


async def test_a_precheck_names_what_is_wrong_with_an_edge(tmp_path: Path) -> None:
    async with running(tmp_path) as platform:
        outcome = await platform.driver.perform(drive(DriverVerb.PRECHECK, "backup"))
        assert dict(outcome.data)["edges"] == "edge1,edge2"
        edge = platform.edges["edge2"]
        edge.list_file.write_text(
            edge.list_file.read_text().replace(platform.uris["backup"], "sip:127.0.0.22")
        )
        await edge.restart()
        with pytest.raises(ActionRefused, match="byte for byte"):
            await platform.driver.perform(drive(DriverVerb.PRECHECK, "backup"))
        with pytest.raises(ActionRefused, match="byte for byte"):
            await platform.driver.perform(drive(DriverVerb.REDIRECT, "backup"))


async def test_a_list_of_a_newer_epoch_is_not_overwritten(tmp_path: Path) -> None:
    async with running(tmp_path) as platform:
        edge = platform.edges["edge1"]
        newer = edge.list_file.read_text().replace("epoch=1", "epoch=99")
        edge.list_file.write_text(newer)
        with pytest.raises(ActionRefused, match="99"):
            await platform.driver.perform(drive(DriverVerb.REDIRECT, "backup"))
        assert edge.list_file.read_text() == newer
        assert await platform.call("edge1") == "primary"


async def test_lines_of_other_sets_and_comments_stay(tmp_path: Path) -> None:
    async with running(tmp_path) as platform:
        edge = platform.edges["edge1"]
        edge.list_file.write_text(
            "# trunks\n5 sip:127.0.0.77:5060 0 3 weight=2\n" + edge.list_file.read_text()
        )
        await platform.driver.perform(drive(DriverVerb.REDIRECT, "backup"))
        text = edge.list_file.read_text()
        assert text.startswith("# trunks\n5 sip:127.0.0.77:5060 0 3 weight=2\n")
        assert f"1 {platform.uris['backup']} 0 10 epoch=2\n" in text
        assert f"1 {platform.uris['primary']} 4 5 epoch=2\n" in text


async def test_a_fallback_standby_takes_over_by_itself_and_returns_as_the_fallback(tmp_path: Path) -> None:
    async with running(tmp_path, standby="fallback") as platform:
        seen = dict((await platform.driver.perform(drive(DriverVerb.READ_BACK, "primary"))).data)
        assert (seen["active"], seen["drifted"]) == ("primary", "")
        for verb, side in (
            (DriverVerb.FENCE, "primary"),
            (DriverVerb.CONFIRM_FENCE, "primary"),
            (DriverVerb.REDIRECT, "backup"),
        ):
            await platform.driver.perform(drive(verb, side))
        assert await platform.call("edge1") == "backup"
        await platform.driver.perform(drive(DriverVerb.UNFENCE, "primary"))
        assert await platform.call("edge1") == "backup", "the priorities have changed places"
        seen = dict((await platform.driver.perform(drive(DriverVerb.READ_BACK, "backup"))).data)
        assert (seen["active"], seen["drifted"]) == ("backup", "")
        flags = await platform.edges["edge1"].rpc.read("dispatcher.list")
        assert str(flags).count("'AX'") == 2, "both take calls"


async def test_a_fallback_is_not_let_in_ahead_of_the_active_side_while_a_reload_is_refused(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, standby="fallback") as platform:
        for verb, side, epoch in (
            (DriverVerb.FENCE, "primary", 2),
            (DriverVerb.REDIRECT, "backup", 2),
            (DriverVerb.UNFENCE, "primary", 2),  # the first reload
            (DriverVerb.FENCE, "backup", 3),
            (DriverVerb.REDIRECT, "primary", 3),
        ):
            await platform.driver.perform(drive(verb, side, epoch))
        with pytest.raises(ActionError, match="Ongoing reload"):
            await platform.driver.perform(drive(DriverVerb.UNFENCE, "backup", 3))
        assert await platform.call("edge1") == "primary"
        seen = dict((await platform.driver.perform(drive(DriverVerb.READ_BACK, "primary", 3))).data)
        assert (seen["active"], seen["drifted"]) == ("primary", "")


async def test_an_edge_elsewhere_gets_its_list_by_a_command(tmp_path: Path) -> None:
    async with running(tmp_path) as platform:
        there = tmp_path / "elsewhere.list"
        edges = dict(platform.parameters.edges)
        edges["edge2"] = EdgeParameters(rpc=edges["edge2"].rpc, write_command=("tee", str(there)))
        parameters = platform.parameters.model_copy(update={"edges": edges})
        driver = type(platform.driver)(platform.group, parameters)
        try:
            await driver.perform(drive(DriverVerb.REDIRECT, "backup"))
        finally:
            await driver.close()
        assert f"1 {platform.uris['backup']} 0 10 epoch=2\n" in there.read_text()
        assert await platform.call("edge2") == "backup"


@pytest.mark.parametrize("write_command", [("false",), ("sleep", "60")], ids=["fails", "hangs"])
async def test_an_edge_that_cannot_leave_a_side_leaves_no_other_edge_without_one(
    tmp_path: Path, write_command: tuple[str, ...]
) -> None:
    async with running(tmp_path, rule=EdgesRule.ALL) as platform:
        edges = dict(platform.parameters.edges)
        edges["edge2"] = EdgeParameters(rpc=edges["edge2"].rpc, write_command=write_command)
        driver = type(platform.driver)(
            platform.group, platform.parameters.model_copy(update={"edges": edges})
        )
        try:
            for _ in range(2):
                with pytest.raises(ActionError):
                    await driver.perform(drive(DriverVerb.REDIRECT, "backup"))
                async with asyncio.timeout(10.0):  # the disk may be slow
                    while await platform.call("edge1") != "primary":
                        await asyncio.sleep(0.02)
        finally:
            await driver.close()


async def test_a_command_that_hangs_is_killed_with_its_children_at_its_deadline(tmp_path: Path) -> None:
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    script = f"import os, time; open({str(pipe)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    task = asyncio.create_task(processes.run((sys.executable, "-c", script), environment={}))
    pid = int(await asyncio.to_thread(pipe.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_command_that_says_no_says_why() -> None:
    with pytest.raises(ActionError, match="ended with 3: port is busy"):
        await processes.run(
            (sys.executable, "-c", "import sys; print('port is busy'); sys.exit(3)"), environment={}
        )
    with pytest.raises(ActionError, match="can't be started"):
        await processes.run(("/nonexistent/fence",), environment={})


async def test_a_whole_failover_takes_a_few_milliseconds_at_the_edges(tmp_path: Path) -> None:
    """Bounded loosely here, where anything may share the machine; the bench has the figures."""
    async with running(tmp_path, edge_rule=True) as platform:
        took = []
        for number in range(2, 12):
            old, new = ("primary", "backup") if number % 2 == 0 else ("backup", "primary")
            await platform.driver.perform(drive(DriverVerb.UNFENCE, new, number))
            began = time.monotonic()
            for verb, side in (
                (DriverVerb.FREEZE, old),
                (DriverVerb.FENCE, old),
                (DriverVerb.CONFIRM_FENCE, old),
                (DriverVerb.PROMOTE, new),
                (DriverVerb.REDIRECT, new),
            ):
                await platform.driver.perform(drive(verb, side, number))
            took.append(time.monotonic() - began)
            assert await platform.call("edge1") == new
        assert statistics.median(took) < 0.5


def action(platform: KamailioPlatform, **parameters: str | int) -> tuple[DispatcherAction, RunAction]:
    settings = DispatcherAction.Settings(edges=platform.parameters.edges)
    given = {"edges": "edge1", "destination": platform.uris["backup"], "state": "active"} | parameters
    command = RunAction(
        id="CMD-0001", action="kamailio.dispatcher", parameters=tuple(given.items()), timeout=2.0, epoch=2
    )
    return DispatcherAction(settings), command


async def test_the_action_sets_one_destination_and_reads_it_back(tmp_path: Path) -> None:
    async with running(tmp_path) as platform:
        performer, command = action(platform)
        off = action(platform, destination=platform.uris["primary"], state="disabled")[1]
        try:
            await performer.run(off)
            assert await platform.call("edge1") == "503"
            outcome = await performer.run(command)
            assert "is active at edge1" in outcome.message
            assert await platform.call("edge1") == "backup"
            assert await platform.call("edge2") == "primary"
        finally:
            await performer.close()


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"edges": "edge3"}, "edge3"),
        ({"edges": " , "}, "edges"),
        ({"state": "inactive"}, "state"),
        ({"destination": "sip:127.0.0.99:5060"}, "byte for byte"),
        ({"set": 77}, "set 77"),
        ({"surplus": "x"}, "surplus"),
    ],
)
async def test_the_action_names_what_is_wrong_with_its_parameters(
    tmp_path: Path, parameters: dict[str, str | int], error: str
) -> None:
    async with running(tmp_path) as platform:
        performer, command = action(platform, **parameters)
        try:
            with pytest.raises(ActionError, match=error):
                await performer.run(command)
        finally:
            await performer.close()


Responder = Callable[[bytes], bytes | None]


@asynccontextmanager
async def false_edge(respond: Responder) -> AsyncIterator[str]:
    """Something at the edge's address that is no healthy Kamailio. None: it never answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                answer = respond(await reader.readexactly(length))
                if answer is not None:
                    writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def http(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "error", "changed"),
    [
        pytest.param(None, ActionError, ActionUnknown, id="no answer, as to malformed JSON"),
        pytest.param(http("200 OK", "<html>"), ActionError, ActionUnknown, id="not JSON"),
        pytest.param(http("200 OK", "[]"), ActionError, ActionUnknown, id="not JSON-RPC"),
        pytest.param(http("200 OK", '{"jsonrpc":"2.0","id":1}'), ActionError, ActionUnknown, id="no result"),
        pytest.param(http("403 Forbidden", ""), ActionRefused, ActionRefused, id="wrong source address"),
        pytest.param(
            http(
                "500 Error", '{"jsonrpc":"2.0","error":{"code":500,"message":"No Destination Sets"},"id":1}'
            ),
            ActionRefused,
            ActionRefused,
            id="empty list",
        ),
        pytest.param(
            http("500 Error", '{"jsonrpc":"2.0","error":{"code":500,"message":"Ongoing reload"},"id":1}'),
            ActionError,
            ActionError,
            id="ongoing reload",
        ),
        pytest.param(http("409 Stale epoch", "9"), ActionRefused, ActionRefused, id="stale epoch"),
    ],
)
async def test_a_wrong_answer_gives_one_clear_error(
    answer: bytes | None, error: type[ActionError], changed: type[ActionError]
) -> None:
    async with false_edge(lambda body: answer) as url:
        rpc = Rpc(url, timeout=0.2 if answer is None else 5.0)
        try:
            with pytest.raises(error) as read:
                await rpc.read("dispatcher.list")
            with pytest.raises(changed) as change:
                await rpc.change("dispatcher.set_state", "a", 1, "sip:127.0.0.1:5060", epoch=2)
        finally:
            await rpc.close()
        assert url in str(read.value)
        assert url in str(change.value)


async def test_a_list_that_cannot_be_understood_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def respond(body: bytes) -> bytes:
        seen.append(body)
        return http("200 OK", '{"jsonrpc":"2.0","result":{"RECORDS":[{"SET":{}}]},"id":1}')

    async with running(tmp_path) as platform, false_edge(respond) as url:
        edges = {"edge1": EdgeParameters(rpc=url, list_file=tmp_path / "x.list")}
        group = replace(platform.group, edges=("edge1",))
        driver = type(platform.driver)(group, platform.parameters.model_copy(update={"edges": edges}))
        try:
            with pytest.raises(ActionError, match="can't be understood"):
                await driver.perform(drive(DriverVerb.REDIRECT, "backup"))
        finally:
            await driver.close()
    assert not any(b"set_state" in body for body in seen)
    assert not (tmp_path / "x.list").exists()


async def test_a_driver_that_is_not_told_about_every_edge_and_side_is_a_configuration_error(
    tmp_path: Path,
) -> None:
    platform = KamailioPlatform(tmp_path, edge_rule=True, rule=EdgesRule.ALL)
    group = replace(
        platform.group,
        edges=("edge1", "edge3"),
        sides=(
            replace(platform.group.sides[0], destination="sip:primary.example"),
            replace(platform.group.sides[1], name="spare"),
        ),
    )
    with pytest.raises(ConfigurationError) as raised:
        type(platform.driver)(group, platform.parameters)
    assert [problem.path for problem in raised.value.problems] == [
        "driver.with.edges.edge2",
        "driver.with.edges.edge3",
        "driver.with.sides.backup",
        "driver.with.sides.spare",
        "sides.primary.destination",
    ]
