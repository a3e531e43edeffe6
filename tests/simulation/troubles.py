"""What goes wrong, by name: each trouble befalls the world, and gives the way to end it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from controller.ports import Record
from tests.simulation.actuating import SWITCH
from tests.simulation.coordination import NAME as ETCD
from tests.simulation.coordination import NOVELTY
from tests.simulation.node import MAIL, Node
from tests.simulation.platform import Condition

if TYPE_CHECKING:
    from tests.simulation.world import World

Undo = Callable[[], None]
Trouble = Callable[["World", Random], Undo | None]
"""None: there was nothing to befall, and it does not count as fired."""


def _nothing() -> None:
    pass


def _side(condition: Condition) -> Trouble:
    """Of the side that takes calls, mostly."""

    def befall(world: World, random: Random) -> Undo | None:
        name = world.busy_side() if random.random() < 0.8 else random.choice(sorted(world.platform.sides))
        side = world.platform.sides[name]
        if side.condition is not Condition.HEALTHY or not side.power:
            return None
        world.platform.set_condition(name, condition)
        return lambda: world.platform.set_condition(name, Condition.HEALTHY)

    return befall


def _side_without_power(world: World, random: Random) -> Undo | None:
    name = world.busy_side()
    if not world.platform.sides[name].power:
        return None
    world.platform.set_power(name, False)
    world.network.down.add(name)

    def undo() -> None:
        world.network.down.discard(name)
        world.platform.set_power(name, True)

    return undo


def _both_sides(world: World, random: Random) -> Undo | None:
    undos = []
    for name in sorted(world.platform.sides):
        if world.platform.sides[name].condition is Condition.HEALTHY:
            world.platform.set_condition(name, random.choice([Condition.KILLED, Condition.HUNG]))
            undos.append(lambda name=name: world.platform.set_condition(name, Condition.HEALTHY))
    return lambda: [undo() for undo in undos] and None


def _edge_restarts(world: World, random: Random) -> Undo | None:
    name = random.choice(sorted(world.platform.edges))
    if not world.platform.edges[name].up:
        return None
    world.platform.edge_down(name)
    return lambda: world.platform.edge_up(name)


def _cut(
    sources: Callable[[World, Random], set[str]], targets: Callable[[World], set[str]], *, both: bool = True
) -> Trouble:
    def befall(world: World, random: Random) -> Undo | None:
        left, right = sources(world, random), targets(world)
        if not left or not right:
            return None
        undos = [world.network.partition(left, right)]
        if both or random.random() < 0.5:
            undos.append(world.network.partition(right, left))
        return lambda: [undo() for undo in undos] and None

    return befall


def _leader(world: World, random: Random) -> set[str]:
    return {node.name for node in world.nodes if node.leads} or {world.nodes[0].name}


def _any(world: World, random: Random) -> set[str]:
    return {random.choice(world.nodes).name}


def _sides(world: World) -> set[str]:
    return set(world.platform.sides)


def _busy(world: World) -> set[str]:
    return {world.busy_side()}


def _edges(world: World) -> set[str]:
    return set(world.platform.edges)


def _one_edge(world: World) -> set[str]:
    return {"edge1"}


def _switch(world: World) -> set[str]:
    return {SWITCH}


def _etcd(world: World) -> set[str]:
    return {ETCD} if world.store is not None else set()


def _everything(world: World) -> set[str]:
    return {*_sides(world), *_edges(world), *_etcd(world), SWITCH, MAIL, "echo"}


def _echo(world: World, random: Random) -> Undo:
    world.platform.echo_works = False

    def undo() -> None:
        world.platform.echo_works = True

    return undo


def _links(change: Callable[[World, Random], tuple[str, float]]) -> Trouble:
    """All links of one node, both ways."""

    def befall(world: World, random: Random) -> Undo:
        node = random.choice(world.nodes).name
        field, value = change(world, random)
        links = []
        for other in sorted(_everything(world)):
            links += [world.network.link(node, other), world.network.link(other, node)]
        before = [getattr(link, field) for link in links]
        for link in links:
            setattr(link, field, value)

        def undo() -> None:
            for link, value in zip(links, before, strict=True):
                setattr(link, field, value)

        return undo

    return befall


def _etcd_is(field: str) -> Trouble:
    def befall(world: World, random: Random) -> Undo | None:
        store = world.store
        if store is None or getattr(store, field):
            return None
        setattr(store, field, True)
        return lambda: setattr(store, field, False)

    return befall


def _newer_version(world: World, random: Random) -> Undo | None:
    """One node was upgraded before the others: it goes on so, and what it wrote stays."""
    store = world.store
    if store is None or store.newer:
        return None
    leaders = sorted(_leader(world, random))
    store.newer.add(random.choice(leaders if random.random() < 0.7 else [node.name for node in world.nodes]))
    store.revision += 1
    store.records[NOVELTY] = Record(b'{"type":"Novelty","value":{"new":true},"version":99}', store.revision)
    return _nothing


def _lease_revoked_early(world: World, random: Random) -> Undo | None:
    """As etcd 3.4.23 did after its leader was stopped: a lease renewed milliseconds ago is gone."""
    if world.store is None or not world.store.leader:
        return None
    world.store.drop()
    return _nothing


def _chosen(world: World, random: Random, *, leader: bool) -> Node | None:
    nodes = [
        node for node in world.nodes if node.running and not node.host.paused and (node.leads or not leader)
    ]
    return random.choice(nodes) if nodes else None


def _crash(*, leader: bool) -> Trouble:
    def befall(world: World, random: Random) -> Undo | None:
        node = _chosen(world, random, leader=leader)
        if node is None:
            return None
        node.crash()
        return lambda: world.restart(node)

    return befall


def _pause(*, leader: bool) -> Trouble:
    def befall(world: World, random: Random) -> Undo | None:
        node = _chosen(world, random, leader=leader)
        if node is None:
            return None
        host = node.host
        world.loop.pause(host)
        return lambda: world.loop.resume(host)

    return befall


def _strobe(world: World, random: Random) -> Undo | None:
    """Stopped and continued again and again, as a starved host is: each stop is shorter than any rule about gaps."""
    node = _chosen(world, random, leader=False)
    if node is None:
        return None
    host, going = node.host, [True]

    def stop() -> None:
        if going[0] and not host.dead:
            world.loop.pause(host)
            world.loop.after(0.32, go_on)

    def go_on() -> None:
        if not host.dead and host.paused:
            world.loop.resume(host)
            world.loop.after(0.18, stop)

    def undo() -> None:
        going[0] = False

    stop()
    return undo


def _disk(field: str, value: object) -> Trouble:
    def befall(world: World, random: Random) -> Undo | None:
        node = _chosen(world, random, leader=random.random() < 0.7)
        if node is None:
            return None
        disk, before = node.disk, getattr(node.disk, field)
        setattr(disk, field, value)
        return lambda: setattr(disk, field, before)

    return befall


def _wall_step(world: World, random: Random) -> Undo | None:
    node = _chosen(world, random, leader=False)
    if node is None:
        return None
    step = random.choice([-300.0, -5.0, 5.0, 300.0])
    if any(act.name == "drill" for act in world.plan.acts):
        # A record tells by the wall clock how late a drill was undone: a long step makes it look late that was in time.
        step = min(5.0, max(-5.0, step))
    node.host.wall_offset += step
    return _nothing


def _mail_down(world: World, random: Random) -> Undo:
    people = {random.choice(["ann", "bob"])}
    world.network.down |= people

    def undo() -> None:
        world.network.down -= people

    return undo


TROUBLES: dict[str, Trouble] = {
    "side killed": _side(Condition.KILLED),
    "side hung": _side(Condition.HUNG),
    "side a zombie": _side(Condition.ZOMBIE),
    "side without power": _side_without_power,
    "both sides broken": _both_sides,
    "edge restarts and forgets": _edge_restarts,
    "test target down": _echo,
    "leader cut from the busy side": _cut(_leader, _busy),
    "node cut from both sides": _cut(_any, _sides),
    "leader cut from an edge": _cut(_leader, _one_edge),
    "leader cut from the edges, one way": _cut(_leader, _edges, both=False),
    "leader cut from the switch": _cut(_leader, _switch),
    "leader cut from etcd": _cut(_leader, _etcd),
    "leader cut from etcd, one way": _cut(_leader, _etcd, both=False),
    "node cut from everything": _cut(_any, _everything),
    "slow links": _links(lambda world, random: ("slow", random.choice([0.05, 0.3, 2.0]))),
    "loss": _links(lambda world, random: ("loss", random.choice([0.02, 0.3]))),
    "packets doubled": _links(lambda world, random: ("copies", 0.3)),
    "etcd away": _etcd_is("away"),
    "etcd full": _etcd_is("full"),
    "lease revoked early": _lease_revoked_early,
    "node of a newer version": _newer_version,
    "leader crashes": _crash(leader=True),
    "node crashes": _crash(leader=False),
    "leader frozen": _pause(leader=True),
    "node frozen": _pause(leader=False),
    "node strobed": _strobe,
    "disk stalls": _disk("stall", 0.4),
    "disk full": _disk("full", True),
    "clock stepped": _wall_step,
    "notifier down": _mail_down,
}

ONLY_SEVERAL = frozenset(
    {
        "etcd away",
        "etcd full",
        "lease revoked early",
        "node of a newer version",
        "leader cut from etcd",
        "leader cut from etcd, one way",
        "leader crashes",
        "leader frozen",
    }
)
"""Troubles that a node alone can't have, or has by another name."""

BREAKING = (
    "side killed",
    "side hung",
    "side a zombie",
    "side without power",
)

HARMLESS = (
    "node strobed",
    "leader frozen",
    "node frozen",
    "node crashes",
    "clock stepped",
    "disk stalls",
    "edge restarts and forgets",
    "lease revoked early",
    "node of a newer version",
    "leader cut from the busy side",
    "node cut from both sides",
    "node cut from everything",
    "leader cut from etcd",
    "test target down",
    "notifier down",
)
"""Of which no one may lead to a switch while the platform is well."""
