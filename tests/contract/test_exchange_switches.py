"""One suite over the drivers that switch by trunk registrations, against simulators of what they speak."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from controller.actions.asterisk.parameters import AsteriskParameters
from controller.actions.freeswitch.parameters import FreeswitchParameters
from controller.model.commands import Drive
from controller.model.errors import ActionError, ActionRefused, ActionUnknown
from controller.model.groups import DriverVerb
from controller.model.moments import Value
from tests.builders.exchanges import ExchangeWorld, Quirk, Trunk
from tests.builders.platform import GROUP

KINDS = ("asterisk", "freeswitch")
REGISTERED, WITHDRAWN = {Trunk.REGISTERED}, {Trunk.WITHDRAWN}


@asynccontextmanager
async def running(world: ExchangeWorld) -> AsyncIterator[ExchangeWorld]:
    await world.start()
    try:
        yield world
    finally:
        await world.close()


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ExchangeWorld]:
    async with running(ExchangeWorld(request.param, tmp_path)) as world:
        yield world


@pytest.fixture(params=KINDS)
async def pausing(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ExchangeWorld]:
    drain = {"asterisk": "stop", "freeswitch": "pause"}[request.param]
    async with running(ExchangeWorld(request.param, tmp_path, drain=drain)) as world:
        yield world


def drive(verb: DriverVerb, side: str, epoch: int = 2) -> Drive:
    return Drive(id="CMD-0001", group=GROUP, verb=verb, side=side, epoch=epoch, timeout=5.0)


async def act(world: ExchangeWorld, verb: DriverVerb, side: str, epoch: int = 2) -> dict[str, Value]:
    return dict((await world.driver.perform(drive(verb, side, epoch))).data)


async def test_it_claims_no_fencing_and_its_epoch_is_for_all_to_see(world: ExchangeWorld) -> None:
    assert world.driver.fencing == "none"
    await act(world, DriverVerb.REDIRECT, "backup", 7)
    second = world.second()
    for verb in (DriverVerb.REDIRECT, DriverVerb.FENCE, DriverVerb.REASSERT):
        with pytest.raises(ActionRefused, match="epoch 6 is older than 7"):
            await second.perform(drive(verb, "backup" if verb is DriverVerb.FENCE else "primary", 6))
    await second.close()
    assert world.at() == {"primary": WITHDRAWN, "backup": REGISTERED}
    assert not world.marks.stands("backup")


async def test_the_trunks_move_the_old_side_first(world: ExchangeWorld) -> None:
    seen = await act(world, DriverVerb.READ_BACK, "primary", 0)
    assert (seen["active"], seen["drifted"], seen["edges_total"]) == ("primary", "", 2)
    await act(world, DriverVerb.PRECHECK, "backup")
    await act(world, DriverVerb.REDIRECT, "backup")
    assert world.at() == {"primary": WITHDRAWN, "backup": REGISTERED}
    seen = await act(world, DriverVerb.READ_BACK, "backup")
    assert (seen["active"], seen["epoch"], seen["drifted"], seen["ungated"]) == ("backup", 2, "", "")


async def test_a_second_time_nothing_is_sent(world: ExchangeWorld) -> None:
    await act(world, DriverVerb.REDIRECT, "backup")
    before = {side: list(server.log) for side, server in world.servers.items()}
    await act(world, DriverVerb.REDIRECT, "backup")
    await act(world, DriverVerb.REASSERT, "backup")
    assert {side: server.log for side, server in world.servers.items()} == before


@pytest.mark.parametrize("quirk", [Quirk.SILENT, None])
async def test_a_side_that_is_away_or_hung_holds_nobody_up(world: ExchangeWorld, quirk: Quirk | None) -> None:
    server = world.servers["primary"]
    if quirk is None:
        await server.stop()
    server.quirk = quirk
    await act(world, DriverVerb.FENCE, "primary")
    assert world.marks.stands("primary"), "cut off from outside, whatever it says itself"
    data = await act(world, DriverVerb.REDIRECT, "backup")
    assert data["unreachable"] == "primary"
    assert set(world.servers["backup"].trunks.values()) == REGISTERED
    seen = await world.driver.perform(drive(DriverVerb.READ_BACK, "backup"))
    assert dict(seen.data)["active"] == "backup" and "primary: " in seen.message


async def test_a_target_that_is_away_is_no_target(world: ExchangeWorld) -> None:
    await world.servers["backup"].stop()
    with pytest.raises(ActionError) as raised:
        await act(world, DriverVerb.REDIRECT, "backup")
    assert not isinstance(raised.value, ActionUnknown)
    assert set(world.servers["primary"].trunks.values()) == REGISTERED, "nothing was taken from anybody"


async def test_a_fenced_side_is_unregistered_as_well(world: ExchangeWorld) -> None:
    await act(world, DriverVerb.FENCE, "primary")
    assert [line.split()[0] for line in world.servers["primary"].log] == ["unregister", "unregister"]
    await act(world, DriverVerb.CONFIRM_FENCE, "primary")
    await act(world, DriverVerb.UNFENCE, "primary")
    assert Trunk.REGISTERED not in world.servers["primary"].trunks.values(), "it only stands by"


async def test_one_that_registers_again_by_itself_is_drift(world: ExchangeWorld) -> None:
    """A restart of the old side, or a reload: the registration is run-time state."""
    await act(world, DriverVerb.REDIRECT, "backup")
    primary = world.servers["primary"]
    primary.trunks = dict.fromkeys(primary.trunks, Trunk.REGISTERED)
    seen = await act(world, DriverVerb.READ_BACK, "backup")
    assert (seen["active"], seen["drifted"]) == ("", "primary")
    await act(world, DriverVerb.REASSERT, "backup")
    assert world.at() == {"primary": WITHDRAWN, "backup": REGISTERED}


async def test_half_of_the_trunks_is_nobody(world: ExchangeWorld) -> None:
    world.servers["primary"].trunks["carrier-b"] = Trunk.TRYING
    seen = await act(world, DriverVerb.READ_BACK, "primary", 0)
    assert (seen["active"], seen["drifted"]) == ("", "primary")
    assert "carrier-a" in str(seen["primary.trunks"]) and "carrier-b" in str(seen["primary.trunks"])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_carrier_that_does_not_answer_is_no_success(kind: str, tmp_path: Path) -> None:
    async with running(ExchangeWorld(kind, tmp_path, settle=0.2)) as world:
        world.servers["backup"].answers_after = -1
        with pytest.raises(ActionError, match="the trunks are not at backup: .*carrier-a"):
            await act(world, DriverVerb.REDIRECT, "backup")


@pytest.mark.parametrize("quirk", [Quirk.CLOSES, Quirk.CLOSES_AFTER])
async def test_a_change_without_an_answer_is_unknown_and_repeated_harmlessly(
    world: ExchangeWorld, quirk: Quirk
) -> None:
    await act(world, DriverVerb.READ_BACK, "primary", 0)
    world.servers["backup"].quirk = quirk
    with pytest.raises(ActionUnknown):
        await act(world, DriverVerb.REDIRECT, "backup")
    await act(world, DriverVerb.REDIRECT, "backup")
    assert world.at() == {"primary": WITHDRAWN, "backup": REGISTERED}


async def test_a_connection_that_broke_is_opened_again_for_reading(world: ExchangeWorld) -> None:
    await act(world, DriverVerb.READ_BACK, "primary", 0)
    await act(world, DriverVerb.READ_BACK, "primary", 0)
    assert world.servers["primary"].logins == 1, "reads share one"
    world.servers["primary"].disconnect()
    seen = await act(world, DriverVerb.READ_BACK, "primary", 0)
    assert (seen["active"], world.servers["primary"].logins) == ("primary", 2)


@pytest.mark.parametrize("quirk", [Quirk.STRANGER, Quirk.REJECTS])
async def test_something_else_or_one_that_does_not_let_us_in(world: ExchangeWorld, quirk: Quirk) -> None:
    world.servers["backup"].quirk = quirk
    seen = await world.driver.perform(drive(DriverVerb.READ_BACK, "primary", 0))
    assert dict(seen.data)["unreachable"] == "backup" and "backup: " in seen.message
    with pytest.raises(ActionError) as raised:
        await act(world, DriverVerb.REDIRECT, "backup")
    assert not isinstance(raised.value, ActionUnknown)


async def test_one_that_may_not_change_anything_is_refused(world: ExchangeWorld) -> None:
    world.servers["backup"].allowed = False
    with pytest.raises(ActionRefused, match="(?i)permission denied"):
        await act(world, DriverVerb.REDIRECT, "backup")


async def test_a_trunk_it_does_not_have_is_found_beforehand(world: ExchangeWorld) -> None:
    del world.servers["backup"].trunks["carrier-b"]
    with pytest.raises(ActionRefused, match="backup has no trunk carrier-b"):
        await act(world, DriverVerb.PRECHECK, "backup")


async def test_a_drain_counts_the_calls_that_are_left(world: ExchangeWorld) -> None:
    world.servers["primary"].calls = 3
    data = await act(world, DriverVerb.DRAIN, "primary")
    assert data["live_calls"] == 3
    assert world.at() == {"primary": WITHDRAWN, "backup": REGISTERED} and not world.servers["primary"].paused
    world.servers["primary"].calls = 0
    assert (await act(world, DriverVerb.DRAIN, "primary"))["live_calls"] == 0


async def test_a_drain_that_pauses_is_taken_back(pausing: ExchangeWorld) -> None:
    primary = pausing.servers["primary"]
    primary.calls = 2
    assert (await act(pausing, DriverVerb.DRAIN, "primary"))["live_calls"] == 2
    assert primary.paused
    await act(pausing, DriverVerb.REDIRECT, "primary", 3)
    assert not primary.paused and pausing.at() == {"primary": REGISTERED, "backup": WITHDRAWN}
    await act(pausing, DriverVerb.DRAIN, "primary", 4)
    await act(pausing, DriverVerb.FENCE, "primary", 4)
    await act(pausing, DriverVerb.UNFENCE, "primary", 5)
    assert not primary.paused


async def test_a_side_that_went_with_its_last_call(tmp_path: Path) -> None:
    async with running(ExchangeWorld("asterisk", tmp_path, drain="stop")) as world:
        world.servers["primary"].calls = 1
        assert (await act(world, DriverVerb.DRAIN, "primary"))["live_calls"] == 1
        world.servers["primary"].hang_up()
        await world.servers["primary"].stop()
        data = await act(world, DriverVerb.DRAIN, "primary")
        assert (data["live_calls"], data["unreachable"]) == (None, "primary")
        await act(world, DriverVerb.UNFENCE, "primary")


async def test_an_asterisk_of_old_registers_again_by_itself(tmp_path: Path) -> None:
    async with running(ExchangeWorld("asterisk", tmp_path, settle=0.1)) as world:
        world.servers["primary"].again_by_itself = True
        with pytest.raises(ActionError, match="Unregistered, again in 3590 s"):
            await act(world, DriverVerb.REDIRECT, "backup")


async def test_an_asterisk_that_is_too_old_is_named(tmp_path: Path) -> None:
    async with running(ExchangeWorld("asterisk", tmp_path)) as world:
        world.servers["backup"].quirk = Quirk.OLD
        seen = await world.driver.perform(drive(DriverVerb.READ_BACK, "primary", 0))
        assert "manager interface 2.10.6: 3 or newer is needed" in seen.message


async def test_calls_are_brought_back_after_the_fence(tmp_path: Path) -> None:
    world = ExchangeWorld("freeswitch", tmp_path)
    world.written["sides"]["backup"]["recover"] = True
    world.driver = world.second()
    assert DriverVerb.PROMOTE not in world.driver.parameters.idle_verbs
    async with running(world):
        world.servers["backup"].store["lost calls"] = "12"
        assert await act(world, DriverVerb.PROMOTE, "backup") == {"recovered": 12}
        assert await act(world, DriverVerb.PROMOTE, "backup") == {"recovered": 0}
        assert await act(world, DriverVerb.PROMOTE, "primary") == {}


Change = Callable[[dict[str, Any]], object]

WRONG_ASTERISK: dict[str, Change] = {
    "in the clear": lambda it: it["sides"]["primary"]["manager"].update(address="192.0.2.1"),
    "no secret": lambda it: it["sides"]["primary"]["manager"].update(secret=""),
    "a field in a name": lambda it: it["sides"]["primary"]["manager"].update(user="a\r\nEvents: on"),
    "a trunk twice": lambda it: it["sides"]["primary"].update(trunks=["a", "a"]),
    "all trunks": lambda it: it["sides"]["primary"].update(trunks=["*all"]),
    "no trunk": lambda it: it["sides"]["primary"].update(trunks=[]),
    "another drain": lambda it: it.update(drain="pause"),
}
WRONG_FREESWITCH: dict[str, Change] = {
    "in the clear": lambda it: it["sides"]["primary"]["socket"].update(address="192.0.2.1"),
    "the shipped password": lambda it: it["sides"]["primary"]["socket"].update(password="ClueCon"),
    "no password": lambda it: it["sides"]["primary"]["socket"].update(password=""),
    "a command in a password": lambda it: it["sides"]["primary"]["socket"].update(password="a\n\napi x"),
    "a command in a name": lambda it: it["sides"]["primary"].update(
        gateways=[{"profile": "external", "gateway": "a; b"}]
    ),
    "a gateway twice": lambda it: it["sides"]["primary"].update(
        gateways=[{"profile": "external", "gateway": "a"}, {"profile": "internal", "gateway": "a"}]
    ),
    "all gateways": lambda it: it["sides"]["primary"].update(
        gateways=[{"profile": "external", "gateway": "all"}]
    ),
    "no gateway": lambda it: it["sides"]["primary"].update(gateways=[]),
    "another drain": lambda it: it.update(drain="stop"),
}


@pytest.mark.parametrize(
    ("kind", "wrong", "change"),
    [("asterisk", *item) for item in WRONG_ASTERISK.items()]
    + [("freeswitch", *item) for item in WRONG_FREESWITCH.items()],
)
def test_parameters_that_make_no_sense(tmp_path: Path, kind: str, wrong: str, change: Change) -> None:
    model = AsteriskParameters if kind == "asterisk" else FreeswitchParameters
    written = ExchangeWorld(kind, tmp_path).written
    model.model_validate(written)
    change(written)
    with pytest.raises(ValidationError):
        model.model_validate(written)
