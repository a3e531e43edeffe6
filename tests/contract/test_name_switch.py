"""What is DNS's own, against BIND 9: one conditional update, lost answers, servers that follow late, TTLs, TSIG."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from controller.actions.dns import Dns
from controller.actions.dns.parameters import DnsParameters
from controller.actions.dns.server import later
from controller.model.commands import Drive
from controller.model.errors import ActionError, ActionRefused, ActionUnknown
from controller.model.groups import DriverVerb
from controller.model.moments import Value
from controller.model.policy import EdgesRule
from tests.builders import nameservers
from tests.builders.nameservers import NAME, SECRET, TARGETS, Lost, NameWorld, Relay
from tests.builders.platform import GROUP

real = pytest.mark.skipif(nameservers.missing() is not None, reason=str(nameservers.missing()))


@asynccontextmanager
async def running(world: NameWorld) -> AsyncIterator[NameWorld]:
    try:
        for edge in world.servers:
            await world.start(edge)
        yield world
    finally:
        await world.close()


@asynccontextmanager
async def relayed(world: NameWorld) -> AsyncIterator[tuple[Relay, Dns]]:
    """A driver that reaches the primary by way of a relay."""
    relay = Relay(world.servers["edge1"])
    port = await relay.start()
    written = world.written()
    written["edges"]["edge1"]["port"] = port
    try:
        yield relay, Dns(world.group, DnsParameters.model_validate(written))
    finally:
        await relay.close()


def drive(verb: DriverVerb, side: str, epoch: int = 2) -> Drive:
    return Drive(id="CMD-0001", group=GROUP, verb=verb, side=side, epoch=epoch, timeout=5.0)


async def redirect(driver: Dns, side: str = "backup", epoch: int = 2) -> dict[str, Value]:
    return dict((await driver.perform(drive(DriverVerb.REDIRECT, side, epoch))).data)


@real
async def test_record_and_epoch_change_together_and_nothing_else(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path)) as world:
        data = await redirect(world.driver)
        assert data["serials"] == "edge1=2 edge2=2" and data["converging"] == ""
        for server in world.servers.values():
            assert await server.ask() == [TARGETS["backup"]]
            assert await server.ask(f"_thirdring.{NAME}", "TXT") == ['"epoch=2"']
            assert await server.ask("other.example.test.") == ["192.0.2.99"]
        assert (await redirect(world.driver))["serials"] == "edge1=2 edge2=2", (
            "nothing to do, nothing is sent"
        )


@real
async def test_an_update_whose_answer_was_lost_is_found_out_and_not_repeated(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path)) as world, relayed(world) as (relay, driver):
        relay.lose = Lost.ANSWER
        await redirect(driver)
        assert relay.updates == 1
        assert await world.servers["edge1"].ask() == [TARGETS["backup"]]


@real
async def test_an_update_that_may_still_come_is_unknown(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path)) as world, relayed(world) as (relay, driver):
        relay.lose = Lost.REQUEST
        with pytest.raises(ActionUnknown, match="no answer to the update"):
            await redirect(driver)
        assert await world.servers["edge1"].ask() == [TARGETS["primary"]]
        relay.lose = None
        await redirect(driver)
        assert await world.servers["edge1"].ask() == [TARGETS["backup"]]


@real
async def test_a_change_in_between_voids_the_update(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path)) as world, relayed(world) as (relay, driver):
        primary = world.servers["edge1"]

        async def stranger() -> None:
            relay.before_update = None
            await primary.update(NAME, "A", "192.0.2.77")

        relay.before_update = stranger
        await redirect(driver)
        assert relay.updates == 2 and await primary.ask() == [TARGETS["backup"]]


@real
async def test_a_newer_epoch_in_between_is_obeyed(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path)) as world, relayed(world) as (relay, driver):
        primary = world.servers["edge1"]
        relay.before_update = lambda: primary.update(f"_thirdring.{NAME}", "TXT", '"epoch=9"')
        with pytest.raises(ActionRefused, match="older than 9"):
            await redirect(driver)
        assert await primary.ask() == [TARGETS["primary"]]


@real
async def test_a_zone_without_record_or_epoch_is_taken_over(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path)) as world:
        primary = world.servers["edge1"]
        await world.stop("edge2")
        for name, kind in ((NAME, "A"), (f"_thirdring.{NAME}", "TXT")):
            await primary.update(name, kind)
        seen = dict((await world.driver.perform(drive(DriverVerb.READ_BACK, "primary", 1))).data)
        assert (seen["active"], seen["epoch"]) == ("", 0)
        await redirect(world.driver, "primary", 3)
        assert await primary.ask() == [TARGETS["primary"]]


@real
async def test_a_long_ttl_is_lowered_beforehand(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path)) as world:
        await world.driver.perform(drive(DriverVerb.PRECHECK, "backup"))
        await world.servers["edge1"].update(NAME, "A", TARGETS["primary"], ttl=3600)
        with pytest.raises(ActionRefused, match="TTL of sip.example.test. is 3600 s"):
            await world.driver.perform(drive(DriverVerb.PRECHECK, "backup"))


@real
async def test_a_server_that_follows_late_is_named(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path, follows=False)) as world:
        quick = world.parameters.model_copy(update={"converge": 0.1})
        data = await redirect(Dns(world.group, quick))
        assert data["converging"] == "edge2"
        seen = dict((await world.driver.perform(drive(DriverVerb.READ_BACK, "backup"))).data)
        assert (seen["active"], seen["drifted"], seen["ungated"]) == ("", "edge2", "edge2")
        everywhere = NameWorld.group_of(EdgesRule.ALL)
        with pytest.raises(ActionError, match="edge2 doesn't show the change yet"):
            await redirect(Dns(everywhere, quick))


@real
async def test_a_hung_server_holds_the_others_up_no_longer_than_its_timeout(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path)) as world:
        driver = Dns(world.group, world.parameters.model_copy(update={"timeout": 0.5}))
        world.servers["edge2"].pause()
        try:
            data = await redirect(driver)
            assert data["unreachable"] == "edge2"
            seen = await driver.perform(drive(DriverVerb.READ_BACK, "backup"))
            assert "edge2" in seen.message and dict(seen.data)["active"] == "backup"
        finally:
            world.servers["edge2"].resume()


@real
@pytest.mark.parametrize("key", [{"name": "nobody.", "secret": SECRET}, {"name": "third-ring.", "secret": "YW5vdGhlci1zaXh0ZWVuLW9jdGV0cw=="}])  # fmt: skip
async def test_a_wrong_key_is_refused(tmp_path: Path, key: dict[str, str]) -> None:
    async with running(NameWorld(tmp_path)) as world:
        driver = Dns(world.group, DnsParameters.model_validate({**world.written(), "key": key}))
        with pytest.raises(ActionRefused):
            await redirect(driver)
        assert await world.servers["edge1"].ask() == [TARGETS["primary"]]


@real
async def test_a_server_that_takes_no_updates_refuses(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path)) as world:
        driver = Dns(world.group, DnsParameters.model_validate({**world.written(), "primary": "edge2"}))
        with pytest.raises(ActionRefused, match="edge2: (REFUSED|NOTIMP|NOTAUTH)"):
            await redirect(driver)


@real
@pytest.mark.parametrize(("changes", "reason"), [
    ({"name": "alias.example.test."}, "is an alias"),
    ({"zone": "elsewhere.test.", "name": "sip.elsewhere.test."}, "REFUSED"),
])  # fmt: skip
async def test_what_can_t_be_switched_is_not_tried(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    async with running(NameWorld(tmp_path)) as world:
        driver = Dns(world.group, DnsParameters.model_validate({**world.written(), **changes}))
        seen = await driver.perform(drive(DriverVerb.READ_BACK, "primary", 1))
        assert dict(seen.data)["edges_reached"] == 0 and reason in seen.message
        with pytest.raises(ActionError, match=reason) as raised:
            await redirect(driver)
        assert not isinstance(raised.value, ActionUnknown)


@real
async def test_what_a_cache_says_is_not_believed(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path)) as world, relayed(world) as (relay, driver):
        relay.authoritative = False
        seen = await driver.perform(drive(DriverVerb.READ_BACK, "primary", 1))
        assert dict(seen.data)["unreachable"] == "edge1" and "is not authoritative" in seen.message
        with pytest.raises(ActionError, match="is not authoritative"):
            await redirect(driver)
        assert relay.updates == 0


@real
async def test_a_side_of_several_records(tmp_path: Path) -> None:
    async with running(NameWorld(tmp_path)) as world:
        written = world.written()
        written["sides"]["backup"]["records"] = ["192.0.2.31", "192.0.2.32"]
        driver = Dns(world.group, DnsParameters.model_validate(written))
        await redirect(driver)
        assert await world.servers["edge2"].ask() == ["192.0.2.31", "192.0.2.32"]
        await world.servers["edge1"].update(NAME, "A", "192.0.2.31")
        seen = dict((await driver.perform(drive(DriverVerb.READ_BACK, "backup"))).data)
        assert "edge1" in str(seen["drifted"]), "half of a side is none"
        await redirect(driver, "primary", 3)
        assert await world.servers["edge1"].ask() == [TARGETS["primary"]]


def test_serials_go_round() -> None:
    assert later(1, 2**32 - 1) and not later(2**32 - 1, 1) and later(5, 4) and not later(4, 4)


Change = Callable[[dict[str, Any]], object]

WRONG: dict[str, Change] = {
    "a server by name": lambda it: it["edges"]["edge1"].update(address="ns1.example.test"),
    "another primary": lambda it: it.update(primary="edge9"),
    "a relative name": lambda it: it.update(name="sip.example.test"),
    "outside the zone": lambda it: it.update(name="sip.example.org."),
    "a marker outside the zone": lambda it: it.update(marker="_epoch.example.org."),
    "a long TTL": lambda it: it.update(ttl=3600),
    "no address": lambda it: it["sides"]["backup"].update(records=["sip:192.0.2.22:5060"]),
    "the same twice": lambda it: it["sides"]["backup"].update(records=["192.0.2.22", "192.0.2.22"]),
    "nothing tells them apart": lambda it: it["sides"]["backup"].update(records=["192.0.2.21"]),
    "no record": lambda it: it["sides"]["backup"].update(records=[]),
    "two aliases": lambda it: it.update(
        type="CNAME", sides={"primary": {"records": ["a.", "b."]}, "backup": {"records": ["c."]}}
    ),
    "an alias at the apex": lambda it: it.update(
        type="CNAME",
        name="example.test.",
        sides={"primary": {"records": ["a."]}, "backup": {"records": ["c."]}},
    ),
    "an alias with something beside it": lambda it: it.update(
        type="CNAME", marker=NAME, sides={"primary": {"records": ["a."]}, "backup": {"records": ["c."]}}
    ),
    "unsigned": lambda it: it.pop("key"),
    "MD5": lambda it: it["key"].update(algorithm="hmac-md5"),
    "a short secret": lambda it: it["key"].update(secret="c2hvcnQ="),
    "no base64": lambda it: it["key"].update(secret="not base64!"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_parameters_that_make_no_sense(tmp_path: Path, wrong: str) -> None:
    written = NameWorld(tmp_path).written()
    DnsParameters.model_validate(written)
    WRONG[wrong](written)
    with pytest.raises(ValidationError) as raised:
        DnsParameters.model_validate(written)
    assert SECRET not in str(raised.value)
