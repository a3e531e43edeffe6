"""A switch driver as a fake: edges that keep their state, refuse old epochs, and fail on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from controller.model.commands import Drive
from controller.model.errors import ActionError, ActionRefused, ActionUnknown
from controller.model.groups import DriverVerb
from controller.model.moments import Values
from controller.ports import ActionOutcome


@dataclass(frozen=True, kw_only=True)
class Nature:
    """What the things that a driver works on can't help being, as its contract suite takes them.

    `points`: where calls come in, as READ_BACK names them. `forgets`: one that restarts obeys any epoch. `live_calls`: what
    a drain counts while a call goes on. `meddled`: what is then active and drifted when the second was meddled with.
    `unreached`: how many are reached, and what is active, when none of the points answers. `single`: what the sides have
    to give can be one's only, so that the other is fenced before, and a drain moves nothing.
    """

    points: tuple[str, str] = ("edge1", "edge2")
    forgets: bool = False
    live_calls: int | None = None
    meddled: tuple[str, str] = ("", "edge2")
    unreached: tuple[int, str] = (0, "")
    single: bool = False


class Mishap(StrEnum):
    """What goes wrong with one verb."""

    NONE = "none"
    FAILS = "fails"  # not done, and said so
    REFUSED = "refused"
    LOST_BEFORE = "lost_before"  # not done, no answer
    LOST_AFTER = "lost_after"  # done, no answer


@dataclass
class EdgeModel:
    """One edge: which sides take calls, and the epochs it obeys and has on disk."""

    active: set[str]
    gate: int = 0
    list_epoch: int = 0
    listed: set[str] = field(default_factory=set)
    up: bool = True

    def restart(self) -> None:
        """Runtime state is lost; the list file is read again."""
        self.gate = 0
        self.active = set(self.listed)


@dataclass
class Edges:
    """The world a driver acts on. `violations` collects what must never be true at the actuator. `single`: as with an
    address, a side gets nothing while the other one, the `holder`, has it and is not fenced; `confirmed`: whose fence was."""

    sides: tuple[str, str] = ("primary", "backup")
    edges: dict[str, EdgeModel] = field(default_factory=dict)
    fenced: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    calls: dict[str, int] = field(default_factory=dict)
    applied: list[Drive] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    fence_ready: bool = True
    fence_works: bool = True
    single: bool = False
    holder: str = ""
    confirmed: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, *names: str, active: str = "primary", epoch: int = 0) -> Edges:
        return cls(
            holder=active,
            edges={
                name: EdgeModel(active={active}, listed={active}, gate=epoch, list_epoch=epoch)
                for name in names
            },
        )

    def other(self, side: str) -> str:
        return next(item for item in self.sides if item != side)

    def apply(self, command: Drive) -> Values:
        """Do it. Raises ActionRefused for an old epoch, ActionError when it can't be done."""
        if command.verb is DriverVerb.READ_BACK:
            return self.look(command)
        reachable = {name: edge for name, edge in self.edges.items() if edge.up}
        if any(edge.gate > command.epoch for edge in reachable.values()):
            raise ActionRefused("stale epoch")
        self.applied.append(command)
        side, other = command.side, self.other(command.side)
        match command.verb:
            case DriverVerb.FREEZE:
                self.frozen.add(side)
            case DriverVerb.THAW:
                self.frozen.discard(side)
            case DriverVerb.FENCE:
                self._need(reachable)
                for edge in reachable.values():
                    self._write(edge, command.epoch, edge.active - {side})
                self.confirmed.discard(side)
                if self.fence_works:
                    self.fenced.add(side)
            case DriverVerb.CONFIRM_FENCE:
                if side not in self.fenced:
                    raise ActionError(f"{side} is not fenced")
                self.confirmed.add(side)
            case DriverVerb.UNFENCE:
                self.fenced.discard(side)
            case DriverVerb.PROMOTE:
                if other not in self.fenced:
                    self.violations.append(f"promoted {side} while {other} was not fenced")
            case DriverVerb.DRAIN:
                self._need(reachable)
                for edge in () if self.single else reachable.values():
                    self._write(edge, command.epoch, {other})
                left = self.calls.get(side, 0)
                self.calls[side] = max(0, left - 1)
                return (("live_calls", left),)
            case DriverVerb.REDIRECT | DriverVerb.REASSERT:
                self._need(reachable)
                if self.single and self.holder == other:
                    if other not in self.fenced and any(other in edge.active for edge in reachable.values()):
                        raise ActionRefused(f"{other} has it, and is not fenced")
                    if other not in self.confirmed:
                        self.violations.append(f"{side} was given what {other}, not confirmed fenced, held")
                self.holder = side
                # Asserted by a person who settled on it, it is let in next: until then calls only fail.
                if side in self.fenced and command.verb is DriverVerb.REDIRECT:
                    self.violations.append(f"calls were sent to {side}, which is fenced")
                for edge in reachable.values():
                    self._write(edge, command.epoch, {side})
        return ()

    def look(self, command: Drive) -> Values:
        reached = {name: edge for name, edge in self.edges.items() if edge.up}
        active = {tuple(sorted(edge.active)) for edge in reached.values()}
        single = active.pop() if len(active) == 1 else ()
        desired = {command.side}
        return (
            ("active", single[0] if len(single) == 1 else ""),
            ("epoch", max((max(edge.gate, edge.list_epoch) for edge in reached.values()), default=0)),
            ("edges_reached", len(reached)),
            ("edges_total", len(self.edges)),
            ("drifted", ",".join(name for name, edge in reached.items() if edge.active != desired)),
            ("ungated", ",".join(name for name, edge in reached.items() if edge.gate < command.epoch)),
            ("unreachable", ",".join(name for name, edge in self.edges.items() if not edge.up)),
            ("fence_ready", self.fence_ready),
            ("fence_lacks", "" if self.fence_ready else "a command"),
        )

    def _need(self, reachable: dict[str, EdgeModel]) -> None:
        if not reachable:
            raise ActionError("no edge answers")

    def _write(self, edge: EdgeModel, epoch: int, active: set[str]) -> None:
        if epoch < edge.gate:
            self.violations.append("an edge obeyed an older epoch")
        edge.gate = edge.list_epoch = epoch
        edge.active = set(active)
        edge.listed = set(active)
        if len(edge.active) > 1:
            self.violations.append("two sides were active at one edge")


class FakeDriver:
    """ports.SwitchDriver over `Edges`. `mishap` is asked for each command; its default never strikes."""

    fencing = "token"

    def __init__(self, edges: Edges, mishap: Callable[[Drive], Mishap] = lambda command: Mishap.NONE) -> None:
        self.edges = edges
        self.mishap = mishap
        self.commands: list[Drive] = []
        self.closed = False

    async def perform(self, command: Drive) -> ActionOutcome:
        self.commands.append(command)
        return ActionOutcome(data=suffer(self.edges, command, self.mishap(command)))

    async def close(self) -> None:
        self.closed = True


def suffer(edges: Edges, command: Drive, mishap: Mishap) -> Values:
    """Apply a command with a mishap. Raises ActionError, ActionRefused or ActionUnknown accordingly."""
    match mishap:
        case Mishap.FAILS:
            raise ActionError("it did not work")
        case Mishap.REFUSED:
            raise ActionRefused("no")
        case Mishap.LOST_BEFORE:
            raise ActionUnknown("no answer")
        case Mishap.LOST_AFTER:
            edges.apply(command)
            raise ActionUnknown("no answer")
        case Mishap.NONE:
            return edges.apply(command)
