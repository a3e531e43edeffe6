"""The platform in true time: two sides, the edges in front of them, callers, and what cuts a side off.

An edge behaves as config/kamailio/edge.cfg does: an epoch gate that a restart forgets, a list file that it comes up with,
states set at run time that it forgets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from controller.actions.kamailio_dispatcher.lists import parse
from controller.core.invariants import Answered, Obeyed, Observation, Taking
from tests.simulation.loop import VirtualLoop

GROUP = "calls"
ROUTING, FENCING = 1, 9
EDGE_TIMER = 0.3
"""Seconds after which an edge gives an unanswered INVITE up."""

RELOAD_DELTA = 5.0


class Condition(StrEnum):
    HEALTHY = "healthy"
    KILLED = "killed"  # no process: the host refuses
    HUNG = "hung"  # stopped: what is sent to it waits, and is answered when it goes on
    ZOMBIE = "zombie"  # answers OPTIONS, refuses calls


@dataclass
class SideModel:
    """`cut_off`: a switch port drops its traffic but the controllers' probes. `cut_epoch`: the newest the port obeyed."""

    name: str
    uri: str
    condition: Condition = Condition.HEALTHY
    power: bool = True
    cut_off: bool = False
    cut_epoch: int = 0
    backlog: list[tuple[float, str]] = field(default_factory=list)
    broken_since: float = 0.0

    @property
    def works(self) -> bool:
        return self.power and self.condition is Condition.HEALTHY

    @property
    def may_answer(self) -> bool:
        """Now, or once it goes on."""
        return self.power and not self.cut_off and self.condition in (Condition.HEALTHY, Condition.HUNG)


@dataclass
class Destination:
    uri: str
    active: bool
    priority: int
    epoch: int


class Refused(Exception):
    """An HTTP answer other than 200: status and body."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.status = status
        self.body = body


class EdgeModel:
    def __init__(self, name: str, lines: str, epoch_gate: bool = True) -> None:
        self.name = name
        self.up = True
        self.starts = 1
        self.list_file = lines
        self.gated = epoch_gate
        self.gate = 0
        self.reloaded_at = -RELOAD_DELTA
        self.counters: dict[str, list[int]] = {}
        self.sets: dict[int, list[Destination]] = {}
        self.load()

    def load(self) -> None:
        own, _ = parse(self.list_file, frozenset({ROUTING, FENCING}))
        self.sets = {ROUTING: [], FENCING: []}
        for line in own:
            self.sets[line.set].append(Destination(line.uri, line.active, line.priority, line.epoch))

    def restart(self) -> None:
        """It forgets the gate, the states set at run time, and its counters."""
        self.starts += 1
        self.gate = 0
        self.reloaded_at = -RELOAD_DELTA
        self.counters = {}
        self.load()

    @property
    def first(self) -> str:
        """The URI that gets new calls."""
        taking = [item for item in self.sets[ROUTING] if item.active]
        return max(taking, key=lambda item: item.priority).uri if taking else ""

    def drops(self, uri: str) -> bool:
        return any(item.uri == uri and item.active for item in self.sets[FENCING])


class Platform:
    """`observations` is what the actuators testify to: the checker's other input."""

    def __init__(
        self, loop: VirtualLoop, random: Random, uris: dict[str, str], edges: tuple[str, ...], *, rate: float
    ) -> None:
        self.loop = loop
        self.random = random
        self.sides = {name: SideModel(name, uri) for name, uri in uris.items()}
        self.by_uri = {side.uri: side for side in self.sides.values()}
        first = next(iter(uris))
        lines = "".join(
            f"{ROUTING} {uri} {0 if name == first else 4} {10 if name == first else 5} epoch=1\n"
            f"{FENCING} {uri} 4 0 epoch=1\n"
            for name, uri in uris.items()
        )
        self.edges = {name: EdgeModel(name, lines) for name in edges}
        self.observations: list[Observation] = []
        self.answered: list[tuple[float, str]] = []
        self.lost = 0
        self.calls = 0
        self.echo_works = True
        self.taking: tuple[str, ...] | None = None
        self.injected: dict[str, float] = {}
        """Sides that a drill made hang, and since when."""
        self._rate = rate
        self.changed(0)
        for edge in self.edges.values():
            self._next_call(edge)

    # Callers.

    def _next_call(self, edge: EdgeModel) -> None:
        if self._rate:
            self.loop.after(self.random.expovariate(self._rate), self._call, edge)

    def _call(self, edge: EdgeModel) -> None:
        self._next_call(edge)
        if not edge.up:
            self.lost += 1
            return
        self.calls += 1
        if not self.place(edge, edge.first):
            self.lost += 1

    def place(self, edge: EdgeModel, uri: str) -> bool:
        """One INVITE from an edge. Whether it was answered."""
        side = self.by_uri.get(uri)
        if side is None:
            return False
        counts = edge.counters.setdefault(side.name, [0, 0, 0])
        if not side.power or side.cut_off or edge.drops(uri) or side.condition is Condition.KILLED:
            self.loop.after(EDGE_TIMER, self._timed_out, edge, counts)
            return False
        if side.condition is Condition.HUNG:
            side.backlog.append((self.loop.now, edge.name))
            self.loop.after(EDGE_TIMER, self._timed_out, edge, counts)
            return False
        counts[0] += 1
        if side.condition is Condition.ZOMBIE:
            counts[1] += 1
            return False
        self.takes_call(side)
        return True

    def _timed_out(self, edge: EdgeModel, counts: list[int]) -> None:
        counts[0] += 1
        counts[2] += 1

    def takes_call(self, side: SideModel) -> None:
        self.answered.append((self.loop.now, side.name))
        if self.taking != (side.name,):
            self.observations.append(Answered(at=self.loop.now, group=GROUP, side=side.name))

    # What a fault does.

    def set_condition(self, name: str, condition: Condition) -> None:
        side = self.sides[name]
        if side.works and condition is not Condition.HEALTHY:
            side.broken_since = self.loop.now
        went_on = side.condition is Condition.HUNG and condition is not Condition.KILLED
        side.condition = condition
        if went_on and side.power and condition is Condition.HEALTHY:
            # Every INVITE that waited in its sockets is answered now, unless nothing leaves it any more.
            for _, edge_name in side.backlog:
                edge = self.edges[edge_name]
                if not side.cut_off and edge.up and not edge.drops(side.uri):
                    self.takes_call(side)
        if condition is not Condition.HUNG:
            side.backlog.clear()
        self.changed(0)

    def inject(self, name: str) -> bool:
        """A drill makes this side hang. Whether it could be."""
        if not self.sides[name].works:
            return False
        self.set_condition(name, Condition.HUNG)
        self.injected[name] = self.loop.now
        return True

    def take_back(self, name: str) -> None:
        """What a drill did, and nothing else that may be wrong with the side."""
        if self.injected.pop(name, None) is not None and self.sides[name].condition is Condition.HUNG:
            self.set_condition(name, Condition.HEALTHY)

    def set_power(self, name: str, power: bool) -> None:
        """Without power nothing survives: it comes up working."""
        side = self.sides[name]
        if side.works and not power:
            side.broken_since = self.loop.now
        side.power = power
        if power:
            side.condition = Condition.HEALTHY
        side.backlog.clear()
        self.changed(0)

    def edge_down(self, name: str) -> None:
        self.edges[name].up = False
        self.changed(0)

    def edge_up(self, name: str) -> None:
        edge = self.edges[name]
        edge.restart()
        edge.up = True
        self.changed(0)

    # What is seen at the actuators.

    def changed(self, epoch: int) -> None:
        """Called after every change: an observation where the sides that may take new calls are others than before."""
        sides: set[str] = set()
        for edge in self.edges.values():
            side = self.by_uri.get(edge.first)
            if edge.up and side is not None and side.may_answer and not edge.drops(side.uri):
                sides.add(side.name)
        taking = tuple(sorted(sides))
        if taking != self.taking:
            self.taking = taking
            self.observations.append(Taking(at=self.loop.now, group=GROUP, sides=taking, epoch=epoch))

    def obeyed(self, place: str, epoch: int) -> None:
        self.observations.append(Obeyed(at=self.loop.now, group=GROUP, place=place, epoch=epoch))

    # What the actuators are told.

    def cut(self, name: str, what: str, epoch: int) -> bool:
        """The switch port of a side. True: done, or so it is."""
        side = self.sides[name]
        if what == "confirm":
            return side.cut_off
        if epoch < side.cut_epoch:
            return False
        side.cut_epoch = epoch
        self.obeyed(f"port-{name}", epoch)
        side.cut_off = what == "fence"
        if side.cut_off:
            side.backlog.clear()
        self.changed(epoch)
        return True

    def write_list(self, name: str, text: str, epoch: int) -> bool:
        edge = self.edges[name]
        own, _ = parse(edge.list_file, frozenset({ROUTING, FENCING}))
        if edge.gated and any(line.epoch > epoch for line in own):
            return False
        edge.list_file = text
        self.obeyed(f"list-{name}", epoch)
        return True

    def rpc(self, name: str, method: str, parameters: list[object], epoch: int | None) -> object:
        """JSON-RPC's result. Raises Refused for anything but 200."""
        edge = self.edges[name]
        if method in ("dispatcher.set_state", "dispatcher.reload"):
            if epoch is None or (edge.gated and epoch < edge.gate):
                raise Refused(409, str(edge.gate))
            edge.gate = max(edge.gate, epoch)
            self.obeyed(f"edge-{name}-{edge.starts}", epoch)
        result = _METHODS[method](self, edge, parameters)
        self.changed(epoch or 0)
        return result

    def _list(self, edge: EdgeModel, parameters: list[object]) -> object:
        return {
            "RECORDS": [
                {
                    "SET": {
                        "ID": number,
                        "TARGETS": [
                            {
                                "DEST": {
                                    "URI": item.uri,
                                    "FLAGS": "AX" if item.active else "DX",
                                    "PRIORITY": item.priority,
                                    "ATTRS": {"BODY": f"epoch={item.epoch}"},
                                }
                            }
                            for item in items
                        ],
                    }
                }
                for number, items in edge.sets.items()
            ]
        }

    def _set_state(self, edge: EdgeModel, parameters: list[object]) -> object:
        letter, number, uri = parameters
        for item in edge.sets.get(int(str(number)), ()):
            if item.uri == uri:
                item.active = letter == "a"
                return {}
        raise Refused(500, "State Update Failed")

    def _reload(self, edge: EdgeModel, parameters: list[object]) -> object:
        if self.loop.now - edge.reloaded_at < RELOAD_DELTA:
            raise Refused(500, "Ongoing reload")
        edge.reloaded_at = self.loop.now
        edge.load()
        return {}


_METHODS: dict[str, Callable[[Platform, EdgeModel, list[object]], object]] = {
    "dispatcher.list": Platform._list,
    "dispatcher.set_state": Platform._set_state,
    "dispatcher.reload": Platform._reload,
}
