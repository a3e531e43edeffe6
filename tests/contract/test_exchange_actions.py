"""The verbs a runbook may use on call servers, against simulators of what they speak."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.actions.asterisk import AsteriskAction
from controller.actions.freeswitch import FreeswitchAction
from controller.model.commands import RunAction
from controller.model.errors import ActionError, ActionRefused, ActionUnknown
from controller.model.moments import Value
from controller.model.parameters import flatten
from tests.builders.exchanges import ExchangeWorld, Trunk

Bench = tuple[ExchangeWorld, AsteriskAction | FreeswitchAction]


async def bench(kind: str, directory: Path) -> AsyncIterator[Bench]:
    world = ExchangeWorld(kind, directory)
    await world.start()
    servers = {"servers": {side: world.access(side) for side in world.servers}}
    action: AsteriskAction | FreeswitchAction
    if kind == "asterisk":
        action = AsteriskAction(AsteriskAction.Settings.model_validate(servers))
    else:
        action = FreeswitchAction(FreeswitchAction.Settings.model_validate(servers))
    yield world, action
    await action.close()
    await world.close()


@pytest.fixture
async def asterisk(tmp_path: Path) -> AsyncIterator[Bench]:
    async for made in bench("asterisk", tmp_path):
        yield made


@pytest.fixture
async def freeswitch(tmp_path: Path) -> AsyncIterator[Bench]:
    async for made in bench("freeswitch", tmp_path):
        yield made


async def run(made: Bench, *, timeout: float = 5.0, **parameters: object) -> dict[str, Value]:
    command = RunAction(
        id="CMD-0001", action="x", parameters=flatten({"server": "primary", **parameters}), timeout=timeout
    )
    async with asyncio.timeout(timeout):
        return dict((await made[1].run(command)).data)


async def test_trunks_of_an_asterisk(asterisk: Bench) -> None:
    server = asterisk[0].servers["primary"]
    server.answers_after = 3
    assert await run(asterisk, verb="unregister", name="carrier-a") == {"status": "Unregistered"}
    assert server.trunks == {"carrier-a": Trunk.WITHDRAWN, "carrier-b": Trunk.REGISTERED}
    assert await run(asterisk, verb="register", name="carrier-a") == {"status": "Registered"}
    with pytest.raises(ActionRefused, match="Unable to retrieve registration"):
        await run(asterisk, verb="register", name="nobody")


async def test_an_order_that_was_not_queued_is_no_success(asterisk: Bench) -> None:
    asterisk[0].servers["primary"].trunks["full"] = Trunk.WITHDRAWN
    with pytest.raises(ActionError, match="Failed to queue") as raised:
        await run(asterisk, verb="register", name="full")
    assert not isinstance(raised.value, ActionRefused | ActionUnknown)


async def test_a_graceful_stop_and_its_undoing(asterisk: Bench) -> None:
    server = asterisk[0].servers["primary"]
    server.calls = 2
    await run(asterisk, verb="drain")
    assert server.paused
    assert await run(asterisk, verb="calls") == {"calls": 2}
    await run(asterisk, verb="undrain")
    assert not server.paused


async def test_queues_and_maintenance(asterisk: Bench) -> None:
    store = asterisk[0].servers["primary"].store
    left = await run(asterisk, verb="queue_pause", name="PJSIP/100", queue="sales", reason="outage")
    assert left == {"available": 1}
    assert '"Paused": "true"' in store["queue"] and '"Reason": "outage"' in store["queue"]
    await run(asterisk, verb="maintenance_on", name="carrier-a")
    assert store["maintenance"] == "carrier-a on"


async def test_gateways_of_a_freeswitch(freeswitch: Bench) -> None:
    place = {"profile": "external", "gateway": "carrier-a"}
    server = freeswitch[0].servers["primary"]
    assert await run(freeswitch, verb="unregister", **place) == {"status": "NOREG"}
    assert await run(freeswitch, verb="register", **place) == {"status": "REGED"}
    await run(freeswitch, verb="kill_gateway", **place)
    assert "carrier-a" not in server.trunks
    with pytest.raises(ActionRefused, match="Invalid gateway"):
        await run(freeswitch, verb="register", **place)
    with pytest.raises(ActionRefused, match=r"Invalid Profile \[internal\]"):
        await run(freeswitch, verb="register", profile="internal", gateway="carrier-b")


async def test_a_pause_is_read_back(freeswitch: Bench) -> None:
    server = freeswitch[0].servers["primary"]
    server.calls = 4
    assert await run(freeswitch, verb="pause") == {"calls": 4}
    assert server.paused
    await run(freeswitch, verb="resume")
    assert not server.paused


async def test_a_stop_ends_with_the_last_call(freeswitch: Bench) -> None:
    server = freeswitch[0].servers["primary"]
    server.calls = 1
    with pytest.raises(ActionUnknown, match="calls still go on"):
        await run(freeswitch, verb="stop", timeout=0.5)
    stopping = asyncio.create_task(run(freeswitch, verb="stop"))
    while server.log.count("fsctl shutdown asap") < 2:
        await asyncio.sleep(0)
    server.hang_up()
    await stopping
    with pytest.raises(ActionError):
        await run(freeswitch, verb="calls")


async def test_calls_are_recovered_once(freeswitch: Bench) -> None:
    freeswitch[0].servers["primary"].store["lost calls"] = "7"
    assert await run(freeswitch, verb="recover") == {"recovered": 7}
    assert await run(freeswitch, verb="recover") == {"recovered": 0}


async def test_calls_that_make_no_sense(asterisk: Bench, freeswitch: Bench) -> None:
    for made, wrong in (
        (asterisk, {"verb": "register"}),
        (asterisk, {"verb": "drain", "name": "carrier-a"}),
        (asterisk, {"verb": "unregister", "name": "*all"}),
        (asterisk, {"verb": "register", "name": "a\r\nAction: Logoff"}),
        (asterisk, {"verb": "originate", "name": "a"}),
        (asterisk, {"verb": "calls", "server": "third"}),
        (freeswitch, {"verb": "register", "profile": "external"}),
        (freeswitch, {"verb": "register", "profile": "external", "gateway": "all"}),
        (freeswitch, {"verb": "register", "profile": "external", "gateway": "a\n\napi x"}),
        (freeswitch, {"verb": "pause", "gateway": "a"}),
        (freeswitch, {"verb": "calls", "server": "third"}),
    ):
        with pytest.raises(ActionError):
            await run(made, **wrong)
    assert not asterisk[0].servers["primary"].log and not freeswitch[0].servers["primary"].log
