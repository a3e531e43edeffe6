"""A group's switch made of two parts that know nothing of each other: where new calls are routed, and what cuts a side
off. Redirection is no fence: without an outside fence for every side the fence is never ready, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol, Self

from pydantic import model_validator

from controller.actions import processes
from controller.actions.fences import Fence, FenceParameters
from controller.actions.fields import Argv, Strict
from controller.actions.points import Routing, Seen, Unreachable
from controller.model.commands import Drive
from controller.model.errors import ActionError, ActionRefused, ConfigurationError, Problem
from controller.model.groups import DriverVerb
from controller.model.policy import EdgesRule, GroupPolicy
from controller.ports import ActionOutcome


class SideParameters(Strict):
    """`freeze` stops what the side does on its own (diallers, call-backs, cron, trunk registrations); `thaw` takes it
    back; `promote` starts it on the side that takes over, which freezes again should the switch go back. `live_calls` prints how many calls the side has, a number;
    without it the driver's own count is used, where it has one."""

    fence: FenceParameters | None = None
    freeze: Argv | None = None
    thaw: Argv | None = None
    promote: Argv | None = None
    live_calls: Argv | None = None

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.freeze is None) != (self.thaw is None):
            raise ValueError("freeze and thaw belong together")
        return self


def idle_verbs(sides: Iterable[SideParameters]) -> frozenset[DriverVerb]:
    """The verbs a switch leaves out because no side has anything to do for them."""
    given = tuple(sides)
    idle = set()
    if all(side.freeze is None for side in given):
        idle.add(DriverVerb.FREEZE)
    if all(side.promote is None for side in given):
        idle.add(DriverVerb.PROMOTE)
    return frozenset(idle)


class RoutedParameters(Protocol):
    """`longest`: seconds that one verb may take while everything keeps within its bounds."""

    @property
    def sides(self) -> Mapping[str, SideParameters]: ...

    @property
    def longest(self) -> float: ...


class RoutedSwitch:
    """ports.SwitchDriver over a `Routing`. `fencing` is what the routing's points do with an old epoch.

    A verb that changes the routing needs all points (`edges: all`) or at least one (`edges: reachable`). One verb at a
    time, and none under an epoch older than one this process has acted under.
    """

    def __init__(
        self,
        group: GroupPolicy,
        parameters: RoutedParameters,
        routing: Callable[[], Routing],
        *,
        fencing: str,
    ) -> None:
        """`routing` is made once nothing was found wrong. Raises ConfigurationError."""
        if problems := self.problems(group, parameters):
            raise ConfigurationError(problems)
        self.group = group
        self.fencing = fencing
        self._sides = parameters.sides
        self._routing = routing()
        self._environment = {"THIRDRING_GROUP": group.name}
        self._fences = {
            name: Fence(side.fence, {**self._environment, "THIRDRING_SIDE": name})
            for name, side in self._sides.items()
            if side.fence is not None
        }
        self._changing = asyncio.Lock()
        self._floor = 0

    @classmethod
    def problems(cls, group: GroupPolicy, parameters: Any) -> list[Problem]:
        """What only the group and the driver's parameters together show to be wrong."""
        found = mismatches(group, "sides", parameters.sides, [side.name for side in group.sides])
        if hasattr(parameters, "edges"):
            found += mismatches(group, "edges", parameters.edges, group.edges)
        if group.step_timeout < parameters.longest:
            message = (
                f"{group.step_timeout:g} s cut off a verb of the driver that may take {parameters.longest:g} s: its outcome"
                " would stay unknown; raise it, or lower the driver's timeout"
            )
            found.append(Problem(file=f"group {group.name}", line=0, path="step_timeout", message=message))
        return found

    async def perform(self, command: Drive) -> ActionOutcome:
        if self.group.side(command.side) is None or command.side not in self._sides:
            raise ActionRefused(f"group {self.group.name} has no side {command.side}")
        match command.verb:
            case DriverVerb.READ_BACK:
                return await self._read_back(command)
            case DriverVerb.PRECHECK:
                return await self._precheck(command)
            case DriverVerb.CONFIRM_FENCE:
                return ActionOutcome(message=await self._fence_of(command.side).confirm(command.epoch))
            case _:
                async with self._changing:
                    if command.epoch < self._floor:
                        raise ActionRefused(f"epoch {command.epoch} is older than {self._floor}")
                    self._floor = command.epoch
                    return await self._change(command)

    async def close(self) -> None:
        await self._routing.close()
        for fence in self._fences.values():
            await fence.close()

    async def _change(self, command: Drive) -> ActionOutcome:
        side = self._sides[command.side]
        match command.verb:
            case DriverVerb.DRAIN:
                return await self._drain(command)
            case DriverVerb.FREEZE:
                return await self._run(command, side.freeze, "nothing to freeze")
            case DriverVerb.THAW:
                return await self._run(command, side.thaw, "nothing to thaw")
            case DriverVerb.PROMOTE:
                return await self._run(command, side.promote, "nothing to promote")
            case DriverVerb.FENCE:
                return await self._cut_off(command)
            case DriverVerb.UNFENCE:
                return await self._let_in(command)
            case DriverVerb.REDIRECT | DriverVerb.REASSERT:
                return ActionOutcome(data=(await self._routing.send(command.side, command.epoch)).data)
            case DriverVerb.PRECHECK | DriverVerb.CONFIRM_FENCE | DriverVerb.READ_BACK:
                raise ActionError(f"{command.verb} changes nothing")

    async def _precheck(self, command: Drive) -> ActionOutcome:
        """Every needed point answers, shows no newer epoch and can be switched; every fence is ready."""
        if lacks := await self._routing.lacks():
            raise ActionRefused("; ".join(lacks))
        seen = await self._routing.look()
        if seen.unreachable and (self.group.edges_rule is EdgesRule.ALL or not seen.points):
            raise Unreachable("; ".join(seen.reasons))
        if seen.epoch > command.epoch:
            raise ActionRefused(f"epoch {command.epoch} is older than {seen.epoch}")
        if lacks := await self._fence_lacks():
            raise ActionRefused("fence not ready: " + "; ".join(lacks))
        return ActionOutcome(data=seen.data)

    async def _drain(self, command: Drive) -> ActionOutcome:
        """New calls go to the other side; calls in progress stay until the deadline of whoever asked."""
        other = self.group.other(command.side).name
        calls, seen = await self._routing.drain(command.side, other, command.epoch)
        counter = self._sides[command.side].live_calls
        if counter is not None:
            told = await self._command(command, counter)
            try:
                calls = int(told)
            except ValueError:
                raise ActionError(f"{counter[0]} printed {told!r:.80}, which is no number of calls") from None
        return ActionOutcome(data=(("live_calls", calls), *seen.data))

    async def _cut_off(self, command: Drive) -> ActionOutcome:
        """Out of the routing and cut off, at the same time; a stale epoch does neither."""
        fence = self._fence_of(command.side)
        seen = await self._routing.look()
        if seen.epoch > command.epoch:
            raise ActionRefused(f"epoch {command.epoch} is older than {seen.epoch}")
        withdrawn, told = await asyncio.gather(
            self._routing.withdraw(command.side, command.epoch),
            fence.fence(command.epoch),
            return_exceptions=True,
        )
        if isinstance(told, BaseException):
            raise told
        # Cut off, a side gets no call from a point that could not be told, or only in vain; but a newer epoch counts.
        if isinstance(withdrawn, ActionRefused) or not isinstance(withdrawn, Seen | ActionError | None):
            raise withdrawn
        seen = withdrawn if isinstance(withdrawn, Seen) else seen
        message = f"{told}; {withdrawn}" if isinstance(withdrawn, ActionError) else told
        return ActionOutcome(message=message, data=seen.data)

    async def _let_in(self, command: Drive) -> ActionOutcome:
        """It stands by: it gets calls only when it is redirected to."""
        fence = self._fences.get(command.side)
        told = "" if fence is None else await fence.release(command.epoch)
        await self._routing.restore(command.side, command.epoch)
        return ActionOutcome(message=told)

    async def _read_back(self, command: Drive) -> ActionOutcome:
        seen, lacks = await asyncio.gather(self._routing.look(), self._fence_lacks())
        if not seen.points:
            lacks = ["no edge answers"]
        points = seen.points.items()
        return ActionOutcome(
            message="; ".join(seen.reasons),
            data=(
                ("active", seen.active),
                ("epoch", seen.epoch),
                ("edges_reached", len(seen.points)),
                ("edges_total", len(self._routing.names)),
                ("drifted", _joined(name for name, point in points if point.side != command.side)),
                (
                    "ungated",
                    _joined(
                        name
                        for name, point in points
                        if point.epoch is not None and point.epoch < command.epoch
                    ),
                ),
                ("unreachable", ",".join(seen.unreachable)),
                ("fence_ready", not lacks),
                ("fence_lacks", "; ".join(lacks)),
                *seen.values,
            ),
        )

    async def _fence_lacks(self) -> list[str]:
        lacks = [f"{name} has no outside fence" for name in sorted(set(self._sides) - set(self._fences))]
        asked = await asyncio.gather(*(fence.lacks() for fence in self._fences.values()))
        return lacks + [item for items in asked for item in items]

    def _fence_of(self, side: str) -> Fence:
        try:
            return self._fences[side]
        except KeyError:
            raise ActionRefused(f"fence not ready: {side} has no outside fence") from None

    async def _run(self, command: Drive, argv: Argv | None, otherwise: str) -> ActionOutcome:
        return ActionOutcome(message=otherwise if argv is None else await self._command(command, argv))

    async def _command(self, command: Drive, argv: Argv) -> str:
        environment = {
            **self._environment,
            "THIRDRING_SIDE": command.side,
            "THIRDRING_EPOCH": str(command.epoch),
        }
        return await processes.run(argv, environment=environment)


def needed(group: GroupPolicy, points: Collection[str]) -> int:
    """How many points a change must reach."""
    return len(points) if group.edges_rule is EdgesRule.ALL else 1


def mismatches(
    group: GroupPolicy, what: str, given: Collection[str], wanted: Collection[str]
) -> list[Problem]:
    """The driver is told about each of the group's by name, and about no other."""
    return [
        Problem(
            file=f"group {group.name}",
            line=0,
            path=f"driver.with.{what}.{name}",
            message="is not one of the group's" if name in given else "is missing",
        )
        for name in sorted(set(given) ^ set(wanted))
    ]


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
