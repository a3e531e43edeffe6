"""What every switch driver promises, over the fake and over the real things."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from controller.actions.kamailio_dispatcher import KamailioDispatcher
from controller.actions.kamailio_dispatcher.parameters import DispatcherParameters
from controller.core.switching.intents import ON_ORIGIN, UNDONE_ON_TARGET, way_back
from controller.model.commands import Drive
from controller.model.errors import ActionError, ActionRefused
from controller.model.groups import DriverVerb
from controller.model.moments import Value
from controller.model.policy import EdgesRule, Side
from controller.ports import SwitchDriver
from demo_platform.edge import Edge
from demo_platform.layout import Address
from tests.builders import addresses, balancers, kamailio, nameservers
from tests.builders.addresses import AddressWorld
from tests.builders.balancers import BalancerWorld
from tests.builders.documents import DocumentWorld
from tests.builders.driving import Edges, FakeDriver, Nature
from tests.builders.nameservers import NameWorld
from tests.builders.platform import GROUP, group_policy
from tests.builders.responders import free_port


class World(Protocol):
    """The edges, or agents, that a driver works on, as a test sees and breaks them."""

    driver: SwitchDriver
    nature: Nature

    def second(self) -> SwitchDriver:
        """The driver of a second controller, which knows nothing of what the first did."""

    async def answers(self, edge: str) -> str:
        """Which side gets a call through this edge, by the edge's own behaviour."""

    async def stop(self, edge: str) -> None: ...

    async def start(self, edge: str) -> None: ...

    async def meddle(self, edge: str, side: str) -> None:
        """Somebody sends this edge's calls to another side, past the controller, at the epoch it obeys."""


class OtherWorld(World, Protocol):
    async def close(self) -> None: ...


class FakeWorld:
    nature = Nature(forgets=True, live_calls=0)

    def second(self) -> SwitchDriver:
        return FakeDriver(self.edges)

    def __init__(self) -> None:
        self.edges = Edges.of("edge1", "edge2", epoch=1)
        self.driver = FakeDriver(self.edges)

    async def answers(self, edge: str) -> str:
        return next(iter(self.edges.edges[edge].active), "503")

    async def stop(self, edge: str) -> None:
        self.edges.edges[edge].up = False

    async def start(self, edge: str) -> None:
        self.edges.edges[edge].restart()
        self.edges.edges[edge].up = True

    async def meddle(self, edge: str, side: str) -> None:
        self.edges.edges[edge].active = {side}


class KamailioWorld:
    nature = Nature(forgets=True, live_calls=1)

    def second(self) -> SwitchDriver:
        return KamailioDispatcher(self.platform.driver.group, self.platform.driver.parameters)

    def __init__(self, platform: kamailio.KamailioPlatform) -> None:
        self.platform = platform
        self.driver = platform.driver

    async def answers(self, edge: str) -> str:
        return await self.platform.call(edge)

    async def stop(self, edge: str) -> None:
        await self.platform.edges[edge].stop()

    async def start(self, edge: str) -> None:
        await self.platform.edges[edge].start()

    async def meddle(self, edge: str, side: str) -> None:
        rpc = self.platform.edges[edge].rpc
        epoch = await rpc.gate()
        assert epoch is not None
        for name, uri in self.platform.uris.items():
            await rpc.change("dispatcher.set_state", "a" if name == side else "d", 1, uri, epoch=epoch)


class DemoWorld:
    """The demo's own edges, in this process: they must be to the driver what Kamailio is."""

    nature = Nature(forgets=True)

    def second(self) -> SwitchDriver:
        return KamailioDispatcher(self.driver.group, self.driver.parameters)

    def __init__(self, directory: Path) -> None:
        self.uris = {"primary": "sip:127.0.0.21:5060", "backup": "sip:127.0.0.22:5060"}
        self.listen = {name: Address("127.0.0.1", free_port()) for name in ("edge1", "edge2")}
        self.rpc = {name: Address("127.0.0.1", free_port(socket.SOCK_STREAM)) for name in ("edge1", "edge2")}
        self.lists = {name: directory / f"{name}.list" for name in ("edge1", "edge2")}
        self.edges: dict[str, Edge] = {}
        sides = tuple(Side(name=name, component=name, destination=uri) for name, uri in self.uris.items())
        marks = {name: str(directory / f"{name}.fenced") for name in self.uris}
        parameters = {
            "edges": {
                name: {"rpc": f"http://{address.host}:{address.port}/", "list_file": self.lists[name]}
                for name, address in self.rpc.items()
            },
            "sides": {
                name: {
                    "fence": {
                        "fence": ("touch", mark),
                        "confirm": ("test", "-e", mark),
                        "release": ("rm", mark),
                    }
                }
                for name, mark in marks.items()
            },
            "rpc_timeout": 2.0,
        }
        self.driver = KamailioDispatcher(
            group_policy(sides=sides), DispatcherParameters.model_validate(parameters)
        )
        for path in self.lists.values():
            path.write_text(
                "".join(
                    f"1 {uri} {flags} 5 epoch=1\n"
                    for uri, flags in zip(self.uris.values(), (0, 4), strict=True)
                )
            )

    async def answers(self, edge: str) -> str:
        active = self.edges[edge].dispatcher.active(1)
        return next((name for name, uri in self.uris.items() if active and active[0].uri == uri), "503")

    async def stop(self, edge: str) -> None:
        await self.edges.pop(edge).close()

    async def start(self, edge: str) -> None:
        self.edges[edge] = Edge(self.listen[edge], self.lists[edge])
        await self.edges[edge].rpc.open(self.rpc[edge])

    async def meddle(self, edge: str, side: str) -> None:
        for name, uri in self.uris.items():
            self.edges[edge].dispatcher.set_state("a" if name == side else "d", 1, uri)


OTHERS: dict[str, tuple[Callable[[Path], OtherWorld], Callable[[], str | None]]] = {
    "http": (DocumentWorld, lambda: None),
    "dns": (NameWorld, nameservers.missing),
    "haproxy": (BalancerWorld, balancers.missing),
    "vip": (AddressWorld, addresses.missing),
}


@pytest.fixture(params=["fake", "demo", "kamailio, fence command", "kamailio, edge rule", *OTHERS])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld()
        return
    if request.param == "demo":
        demo = DemoWorld(tmp_path)
        for edge in ("edge1", "edge2"):
            await demo.start(edge)
        yield demo
        for edge in tuple(demo.edges):
            await demo.stop(edge)
        await demo.driver.close()
        return
    if request.param in OTHERS:
        builder, missing = OTHERS[request.param]
        if reason := missing():
            pytest.skip(reason)
        other = builder(tmp_path)
        try:
            for edge in other.nature.points:
                await other.start(edge)
            yield other
        finally:
            await other.close()
        return
    if reason := kamailio.missing():
        pytest.skip(reason)
    platform = kamailio.KamailioPlatform(
        tmp_path, edge_rule=request.param.endswith("rule"), rule=EdgesRule.REACHABLE
    )
    try:
        await platform.start()
        yield KamailioWorld(platform)
    finally:
        await platform.stop()


def drive(verb: DriverVerb, side: str, epoch: int = 2) -> Drive:
    return Drive(id="CMD-0001", group=GROUP, verb=verb, side=side, epoch=epoch, timeout=2.0)


async def look(world: World, side: str, epoch: int = 2) -> dict[str, Value]:
    return dict((await world.driver.perform(drive(DriverVerb.READ_BACK, side, epoch))).data)


async def everywhere(world: World) -> set[str]:
    """Which sides get calls."""
    return {await world.answers(edge) for edge in world.nature.points}


DONE = (
    DriverVerb.FREEZE,
    DriverVerb.FENCE,
    DriverVerb.CONFIRM_FENCE,
    DriverVerb.PROMOTE,
    DriverVerb.REDIRECT,
)


async def switch(world: World, epoch: int = 2) -> None:
    for verb in DONE:
        await world.driver.perform(drive(verb, "primary" if verb in ON_ORIGIN else "backup", epoch))


async def test_it_says_who_refuses_an_old_epoch(world: World) -> None:
    assert world.driver.fencing in ("token", "cas", "none")


async def test_a_switch_sends_every_edges_calls_to_the_target(world: World) -> None:
    assert await everywhere(world) == {"primary"}
    await switch(world)
    assert await everywhere(world) == {"backup"}
    wanted = {
        "active": "backup",
        "epoch": 2,
        "edges_reached": 2,
        "edges_total": 2,
        "drifted": "",
        "ungated": "",
        "unreachable": "",
        "fence_ready": True,
        "fence_lacks": "",
    }
    assert wanted.items() <= (await look(world, "backup")).items()


async def test_repeating_a_verb_changes_nothing(world: World) -> None:
    await switch(world)
    await switch(world)
    assert (await look(world, "backup"))["active"] == "backup"
    await world.driver.perform(drive(DriverVerb.UNFENCE, "primary"))
    await world.driver.perform(drive(DriverVerb.UNFENCE, "primary"))
    assert await world.answers(world.nature.points[0]) == "backup"


async def test_an_older_epoch_is_refused_and_changes_nothing(world: World) -> None:
    await switch(world, epoch=7)
    for verb in (DriverVerb.REDIRECT, DriverVerb.REASSERT, DriverVerb.FENCE):
        with pytest.raises(ActionRefused):
            await world.driver.perform(
                drive(verb, "primary" if verb is not DriverVerb.FENCE else "backup", 6)
            )
    assert await everywhere(world) == {"backup"}
    assert (await look(world, "backup", 7))["epoch"] == 7


async def test_an_old_epoch_is_refused_by_the_edge_and_not_only_by_this_process(world: World) -> None:
    await switch(world, epoch=7)
    second = world.second()
    try:
        with pytest.raises(ActionRefused):
            await second.perform(drive(DriverVerb.REDIRECT, "primary", 6))
    finally:
        await second.close()
    assert await world.answers(world.nature.points[0]) == "backup"


async def test_a_fence_is_confirmed_only_while_it_stands(world: World) -> None:
    with pytest.raises(ActionError):
        await world.driver.perform(drive(DriverVerb.CONFIRM_FENCE, "primary"))
    await world.driver.perform(drive(DriverVerb.FENCE, "primary"))
    await world.driver.perform(drive(DriverVerb.CONFIRM_FENCE, "primary"))
    assert await world.answers(world.nature.points[0]) == "503"
    await world.driver.perform(drive(DriverVerb.UNFENCE, "primary"))
    with pytest.raises(ActionError):
        await world.driver.perform(drive(DriverVerb.CONFIRM_FENCE, "primary"))


async def test_the_way_back_restores_the_old_side(world: World) -> None:
    """By what the core commands then, of a driver that is as this one says it is."""
    await switch(world)
    single = getattr(getattr(world.driver, "parameters", None), "single_holder", False)
    rules = group_policy(single_holder=single)
    undo: tuple[DriverVerb, ...] = ()
    for verb in DONE:
        undo = way_back(undo, verb, rules)
    assert undo[0] is DriverVerb.UNFENCE
    for verb in undo:
        side = "backup" if verb in UNDONE_ON_TARGET else "primary"
        await world.driver.perform(drive(verb, side, 3))
    assert await everywhere(world) == {"primary"}


async def test_what_one_side_holds_is_not_given_to_the_other_before_it_is_fenced(world: World) -> None:
    await switch(world)
    await world.driver.perform(drive(DriverVerb.UNFENCE, "primary", 3))
    if world.nature.single:
        with pytest.raises(ActionRefused):
            await world.driver.perform(drive(DriverVerb.REDIRECT, "primary", 3))
        assert await everywhere(world) == {"backup"}
    else:
        await world.driver.perform(drive(DriverVerb.REDIRECT, "primary", 3))
        assert await everywhere(world) == {"primary"}


async def test_a_restarted_edge_comes_up_as_it_was_left(world: World) -> None:
    first, _ = world.nature.points
    await switch(world)
    await world.stop(first)
    await world.start(first)
    assert await world.answers(first) == "backup"
    seen = await look(world, "backup")
    assert (seen["drifted"], seen["active"]) == ("", "backup")
    assert seen["ungated"] == (first if world.nature.forgets else "")
    await world.driver.perform(drive(DriverVerb.REASSERT, "backup"))
    assert (await look(world, "backup"))["ungated"] == ""


async def test_drift_is_seen_and_put_right(world: World) -> None:
    _, second = world.nature.points
    await switch(world)
    await world.meddle(second, "primary")
    seen = await look(world, "backup")
    assert (seen["active"], seen["drifted"]) == world.nature.meddled
    await world.driver.perform(drive(DriverVerb.REASSERT, "backup"))
    assert await world.answers(second) == "backup"
    assert (await look(world, "backup"))["drifted"] == ""


async def test_an_edge_that_is_away_is_named(world: World) -> None:
    _, second = world.nature.points
    await world.stop(second)
    seen = await look(world, "primary", 1)
    assert (seen["edges_reached"], seen["edges_total"], seen["unreachable"]) == (1, 2, second)


async def test_no_edge_at_all_can_be_read_but_not_switched(world: World) -> None:
    for edge in world.nature.points:
        await world.stop(edge)
    seen = await look(world, "primary", 1)
    assert (seen["edges_reached"], seen["active"]) == world.nature.unreached
    with pytest.raises(ActionError):
        await world.driver.perform(drive(DriverVerb.REDIRECT, "backup"))


async def test_draining_counts_calls_and_sends_new_ones_to_the_other_side_where_both_may_have_some(
    world: World,
) -> None:
    first, _ = world.nature.points
    await world.answers(first)
    data = dict((await world.driver.perform(drive(DriverVerb.DRAIN, "primary"))).data)
    assert await world.answers(first) == ("primary" if world.nature.single else "backup")
    assert data["live_calls"] == world.nature.live_calls


async def test_an_unknown_side_is_refused(world: World) -> None:
    if isinstance(world, FakeWorld):
        pytest.skip("the fake takes what it is given")
    with pytest.raises(ActionRefused):
        await world.driver.perform(replace(drive(DriverVerb.REDIRECT, "third")))
