"""What is HAProxy's own, against a real one: connections that stay, servers that are down, what a reload forgets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from controller.actions.haproxy import Haproxy
from controller.actions.haproxy.parameters import HaproxyParameters
from controller.actions.haproxy.runtime import ServerState, parsed
from controller.model.commands import Drive
from controller.model.errors import ActionError, ActionRefused, ActionUnknown, ConfigurationError
from controller.model.groups import DriverVerb
from controller.model.moments import Value
from controller.model.policy import EdgesRule, Side
from tests.builders import balancers
from tests.builders.balancers import BalancerWorld, Phone
from tests.builders.platform import GROUP, group_policy

real = pytest.mark.skipif(balancers.missing() is not None, reason=str(balancers.missing()))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BalancerWorld]:
    world = BalancerWorld(tmp_path)
    try:
        for edge in world.edges:
            await world.start(edge)
        yield world
    finally:
        await world.close()


def drive(verb: DriverVerb, side: str, epoch: int = 2) -> Drive:
    return Drive(id="CMD-0001", group=GROUP, verb=verb, side=side, epoch=epoch, timeout=5.0)


async def act(driver: Haproxy, verb: DriverVerb, side: str, epoch: int = 2) -> dict[str, Value]:
    return dict((await driver.perform(drive(verb, side, epoch))).data)


def configured(world: BalancerWorld, **edge: object) -> Haproxy:
    """A driver that is told something else of its edges."""
    written = world.written()
    for name in written["edges"]:
        written["edges"][name].update(edge)
    return Haproxy(world.group, HaproxyParameters.model_validate(written))


def state(world: BalancerWorld, server: str) -> ServerState:
    return parsed(world.edges["edge1"].say("show servers state calls"), "calls")[server]


@real
async def test_it_claims_no_fencing(world: BalancerWorld) -> None:
    assert world.driver.fencing == "none"


@real
async def test_a_switch_takes_the_connections_away_from_the_old_side(world: BalancerWorld) -> None:
    """Else a phone goes on sending its new calls over the connection it has."""
    phone, side = await Phone.call(world.edges["edge1"].port)
    assert side == "primary"
    await act(world.driver, DriverVerb.REDIRECT, "backup")
    assert await phone.ended()
    phone.close()
    assert state(world, "primary").maintained


@real
async def test_draining_leaves_them_and_says_how_many(world: BalancerWorld) -> None:
    phone, _ = await Phone.call(world.edges["edge1"].port)
    data = await act(world.driver, DriverVerb.DRAIN, "primary")
    assert (data["live_calls"], data["connections"]) == (None, 1), "a connection is no call"
    assert state(world, "primary").drained and not state(world, "primary").maintained
    assert await world.answers("edge1") == "backup"
    await act(world.driver, DriverVerb.FENCE, "primary")
    assert await phone.ended() and state(world, "primary").maintained
    phone.close()


@real
async def test_a_command_counts_the_calls(world: BalancerWorld) -> None:
    written = world.written()
    written["sides"]["primary"]["live_calls"] = ["echo", "17"]
    written["sides"]["backup"]["live_calls"] = ["echo", "many"]
    driver = Haproxy(world.group, HaproxyParameters.model_validate(written))
    assert (await act(driver, DriverVerb.DRAIN, "primary"))["live_calls"] == 17
    with pytest.raises(ActionError, match="no number of calls"):
        await act(driver, DriverVerb.DRAIN, "backup")


@real
async def test_a_side_that_its_health_check_finds_down_is_no_success(world: BalancerWorld) -> None:
    await world.sides["backup"].stop()
    driver = Haproxy(world.group, world.parameters.model_copy(update={"settle": 0.6}))
    with pytest.raises(ActionError, match="is not the one server that is up"):
        # Out of maintenance a server counts as up until its checks have failed.
        for _ in range(20):
            await act(driver, DriverVerb.REDIRECT, "backup")
            await asyncio.sleep(0.05)
    seen = await act(driver, DriverVerb.READ_BACK, "backup")
    assert (seen["active"], seen["drifted"]) == ("", "edge1,edge2")
    with pytest.raises(ActionRefused, match="calls/backup is down"):
        await act(driver, DriverVerb.PRECHECK, "backup")


@real
async def test_a_standby_that_keeps_its_health_checks(world: BalancerWorld) -> None:
    driver = Haproxy(world.group, HaproxyParameters.model_validate({**world.written(), "standby": "drain"}))
    await act(driver, DriverVerb.REDIRECT, "backup")
    assert state(world, "primary").drained and not state(world, "primary").maintained
    assert await world.answers("edge1") == "backup"
    await act(driver, DriverVerb.FENCE, "primary")
    assert state(world, "primary").maintained, "a fenced side gets nothing, not even by a stick table"
    await act(driver, DriverVerb.UNFENCE, "primary", 3)
    await act(driver, DriverVerb.REDIRECT, "primary", 3)
    assert await world.answers("edge1") == "primary"


@real
async def test_a_third_server_and_a_weight_of_nothing_are_drift(world: BalancerWorld) -> None:
    edge = world.edges["edge2"]
    edge.say("set server calls/stranger state ready")
    assert (await act(world.driver, DriverVerb.READ_BACK, "primary", 1))["drifted"] == "edge2"
    edge.say("set server calls/stranger state maint")
    assert (await act(world.driver, DriverVerb.READ_BACK, "primary", 1))["drifted"] == ""
    edge.say("set server calls/primary weight 0%")
    assert (await act(world.driver, DriverVerb.READ_BACK, "primary", 1))["drifted"] == "edge2"
    await act(world.driver, DriverVerb.REASSERT, "primary", 1)
    assert await world.answers("edge2") == "primary"


@real
async def test_without_a_state_file_a_restart_forgets_and_is_put_right(world: BalancerWorld) -> None:
    driver = configured(world, state_file=None)
    await act(driver, DriverVerb.REDIRECT, "backup")
    edge = world.edges["edge1"]
    edge.state.write_text("1\n")
    await edge.stop()
    await edge.start()
    seen = await act(driver, DriverVerb.READ_BACK, "backup")
    assert (seen["drifted"], seen["ungated"]) == ("edge1", "edge1"), "both sides get calls, as configured"
    await act(driver, DriverVerb.REASSERT, "backup")
    assert {await world.answers("edge1") for _ in range(6)} == {"backup"}


@real
async def test_over_tcp_and_with_the_rights_it_has(world: BalancerWorld) -> None:
    written = world.written()
    for name, edge in world.edges.items():
        written["edges"][name]["socket"] = f"127.0.0.1:{edge.api}"
    driver = Haproxy(world.group, HaproxyParameters.model_validate(written))
    await act(driver, DriverVerb.REDIRECT, "backup")
    assert await world.answers("edge1") == "backup"
    written["edges"]["edge1"]["socket"] = f"127.0.0.1:{world.edges['edge1'].reader}"
    driver = Haproxy(world.group, HaproxyParameters.model_validate(written))
    with pytest.raises(ActionRefused, match=r"(?i)permission denied"):
        await act(driver, DriverVerb.REDIRECT, "primary", 3)


@real
async def test_a_map_that_the_configuration_does_not_name(world: BalancerWorld) -> None:
    driver = configured(world, epochs="/etc/haproxy/nowhere.map")
    with pytest.raises(ActionRefused, match="Unknown map"):
        await act(driver, DriverVerb.REDIRECT, "backup")
    with pytest.raises(ActionRefused, match="Unknown map"):
        await act(driver, DriverVerb.PRECHECK, "backup")
    assert await world.answers("edge1") == "primary"
    driver = configured(world, epochs=None)
    await act(driver, DriverVerb.REDIRECT, "backup", 2)
    seen = await act(driver, DriverVerb.READ_BACK, "backup", 9)
    assert (seen["epoch"], seen["ungated"]) == (0, "")


@real
async def test_a_hung_edge_holds_nobody_up(world: BalancerWorld) -> None:
    quick = world.parameters.model_copy(update={"timeout": 0.3})
    world.edges["edge2"].pause()
    try:
        data = await act(Haproxy(world.group, quick), DriverVerb.REDIRECT, "backup")
        assert (data["edges"], data["unreachable"]) == ("edge1", "edge2")
        everywhere = Haproxy(world.group_of(EdgesRule.ALL), quick)
        with pytest.raises(ActionError, match="no answer"):
            await act(everywhere, DriverVerb.REDIRECT, "backup")
    finally:
        world.edges["edge2"].resume()


@real
async def test_a_server_it_does_not_have(world: BalancerWorld) -> None:
    sides = (
        Side(name="primary", component="primary", destination="calls/Primary"),
        Side(name="backup", component="backup", destination="elsewhere/backup"),
    )
    driver = Haproxy(group_policy(sides=sides, step_timeout=30.0), world.parameters)
    for verb in (DriverVerb.PRECHECK, DriverVerb.REDIRECT):
        with pytest.raises(ActionRefused) as raised:
            await act(driver, verb, "backup")
        assert not isinstance(raised.value, ActionUnknown)
    seen = await driver.perform(drive(DriverVerb.READ_BACK, "backup"))
    assert dict(seen.data)["edges_reached"] == 0 and seen.message


async def test_an_answer_that_ends_without_a_word_is_unknown(tmp_path: Path) -> None:
    """A process that is replaced closes its runtime API under a command."""

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = (await reader.readline()).decode()
        if command.startswith("show servers"):
            states = "1\n# be_name srv_name srv_op_state srv_admin_state srv_uweight\n"
            writer.write(f"{states}calls primary 2 0 1\ncalls backup 0 1 1\n\n".encode())
        writer.close()

    server = await asyncio.start_server(closes, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    parameters = HaproxyParameters.model_validate(
        {"edges": {"edge1": {"socket": f"127.0.0.1:{port}"}}, "sides": {"primary": {}, "backup": {}}}
    )
    driver = Haproxy(
        group_policy(sides=BalancerWorld.group_of(EdgesRule.ALL).sides, edges=("edge1",)), parameters
    )
    with pytest.raises(ActionUnknown, match="without an answer"):
        await act(driver, DriverVerb.REDIRECT, "backup")
    seen = await act(driver, DriverVerb.READ_BACK, "primary")
    assert (seen["active"], seen["fence_ready"]) == ("primary", False)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("operation", "administration", "weight", "takes"),
    [
        (2, 0, 1, True),
        (1, 0, 1, True),
        (0, 0, 1, False),
        (3, 0, 1, False),
        (2, 8, 1, False),
        (2, 16, 1, False),
    ]
    + [(2, bit, 1, False) for bit in (1, 2, 5, 32)]
    + [(2, 4, 1, True), (2, 0, 0, False)],
)
def test_who_takes_calls(operation: int, administration: int, weight: int, takes: bool) -> None:
    state = ServerState(operation=operation, administration=administration, weight=weight)
    assert state.takes_calls is takes


def test_destinations_are_servers() -> None:
    sides = (
        Side(name="primary", component="primary", destination="calls/one;shutdown"),
        Side(name="backup", component="backup", destination="sip:127.0.0.1:5060"),
    )
    parameters = HaproxyParameters.model_validate(
        {"edges": {"edge1": {"socket": "/run/a"}}, "sides": {"primary": {}, "backup": {}}}
    )
    with pytest.raises(ConfigurationError) as raised:
        Haproxy(group_policy(sides=sides, edges=("edge1",)), parameters)
    assert [problem.path for problem in raised.value.problems] == [
        "sides.backup.destination",
        "sides.primary.destination",
    ]


Change = Callable[[dict[str, Any]], object]

WRONG: dict[str, Change] = {
    "a runtime API that anybody reaches": lambda it: it["edges"]["edge1"].update(socket="192.0.2.1:9999"),
    "a relative path": lambda it: it["edges"]["edge1"].update(socket="run/haproxy.sock"),
    "no port": lambda it: it["edges"]["edge1"].update(socket="127.0.0.1:http"),
    "a relative state file": lambda it: it["edges"]["edge1"].update(state_file="state"),
    "a command in a name": lambda it: it["edges"]["edge1"].update(epochs="a;b"),
    "another standby": lambda it: it.update(standby="ready"),
    "no edge": lambda it: it.update(edges={}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_parameters_that_make_no_sense(wrong: str) -> None:
    written: dict[str, Any] = {
        "edges": {"edge1": {"socket": "/run/haproxy.sock", "epochs": "/etc/haproxy/epochs.map"}},
        "sides": {"primary": {}, "backup": {}},
    }
    HaproxyParameters.model_validate(written)
    WRONG[wrong](written)
    with pytest.raises(ValidationError):
        HaproxyParameters.model_validate(written)
