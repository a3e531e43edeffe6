"""The switch of a group whose callers come in through Kamailio edges."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable, Sequence

from controller.actions import processes
from controller.actions.fences import Fence
from controller.actions.fields import Argv
from controller.actions.kamailio_dispatcher.edge import Edge, View
from controller.actions.kamailio_dispatcher.edges import Edges, Reached
from controller.actions.kamailio_dispatcher.parameters import (
    DispatcherParameters,
    SideParameters,
    Standby,
)
from controller.actions.kamailio_dispatcher.rpc import Rpc, Unreachable
from controller.model.commands import Drive
from controller.model.errors import (
    ActionError,
    ActionRefused,
    ActionUnknown,
    ConfigurationError,
    Problem,
)
from controller.model.groups import DriverVerb
from controller.model.policy import EdgesRule, GroupPolicy
from controller.ports import ActionOutcome

DESTINATION = re.compile(r"sip:[0-9.]+:[0-9]+|sip:\[[0-9A-Fa-f:.]+\]:[0-9]+")


log = logging.getLogger(__name__)


class KamailioDispatcher:
    """ports.SwitchDriver. Every edge refuses an older epoch by itself.

    A verb that changes the edges needs all of them (`edges: all`) or at least one (`edges: reachable`); a side without
    a fence command is fenced only when every edge drops its traffic. A side is a destination's URI, sip:ADDRESS:PORT,
    byte for byte as in the edges' lists.
    """

    fencing = "token"
    Parameters = DispatcherParameters

    def __init__(self, group: GroupPolicy, parameters: DispatcherParameters) -> None:
        """Raises ConfigurationError when edges or sides are not those of the group."""
        if problems := self.problems(group, parameters):
            raise ConfigurationError(problems)
        self.group = group
        self.parameters = parameters
        self._environment = {"THIRDRING_GROUP": group.name}
        self._fences = {
            name: Fence(side.fence, {**self._environment, "THIRDRING_SIDE": name})
            for name, side in parameters.sides.items()
            if side.fence is not None
        }
        edges = {
            name: Edge(
                name,
                settings,
                routing_set=parameters.set,
                fencing_set=parameters.fence_set,
                rpc=Rpc(
                    settings.rpc,
                    timeout=parameters.rpc_timeout,
                    local_address=parameters.local_address,
                ),
                environment=self._environment,
            )
            for name, settings in parameters.edges.items()
        }
        self._edges = Edges(edges, all_needed=group.edges_rule is EdgesRule.ALL)
        self._returning: set[asyncio.Task[None]] = set()

    @classmethod
    def problems(cls, group: GroupPolicy, parameters: DispatcherParameters) -> list[Problem]:
        return mismatches(group, parameters)

    async def perform(self, command: Drive) -> ActionOutcome:
        side = command.side
        if self.group.side(side) is None or side not in self.parameters.sides:
            raise ActionRefused(f"group {self.group.name} has no side {side}")
        match command.verb:
            case DriverVerb.PRECHECK:
                return await self._precheck(command)
            case DriverVerb.DRAIN:
                return await self._drain(command)
            case DriverVerb.FREEZE:
                return await self._run(command, self._side(side).freeze, "nothing to freeze")
            case DriverVerb.THAW:
                return await self._run(command, self._side(side).thaw, "nothing to thaw")
            case DriverVerb.FENCE:
                return await self._fence(command)
            case DriverVerb.CONFIRM_FENCE:
                return await self._confirm_fence(command)
            case DriverVerb.UNFENCE:
                return await self._unfence(command)
            case DriverVerb.PROMOTE:
                return await self._run(command, self._side(side).promote, "nothing to promote")
            case DriverVerb.REDIRECT:
                return await self._redirect(command)
            case DriverVerb.READ_BACK:
                return await self._read_back(command)
            case DriverVerb.REASSERT:
                return await self._reassert(command)

    async def close(self) -> None:
        for task in tuple(self._returning):
            task.cancel()
        await asyncio.gather(*self._returning, return_exceptions=True)
        await self._edges.close()
        for fence in self._fences.values():
            await fence.close()

    async def _precheck(self, command: Drive) -> ActionOutcome:
        """Every needed edge answers, has a gate that would let this epoch pass, and knows both sides."""
        reached = await self._edges.ask(lambda edge: edge.view(with_gate=True))
        if self.group.edges_rule is EdgesRule.ALL and reached.unreachable:
            raise Unreachable(f"no answer from {', '.join(reached.unreachable)}")
        for name, view in reached.views.items():
            if view.gate is None:
                raise ActionRefused(f"edge {name} has no epoch gate")
            if view.gate > command.epoch:
                raise ActionRefused(f"edge {name}: epoch {command.epoch} is older than {view.gate}")
            unknown = sorted({self._uri(side) for side in self.parameters.sides} - set(view.routing))
            if unknown:
                raise ActionRefused(f"edge {name} has no destination {', '.join(unknown)} (byte for byte)")
        if lacks := await self._fence_lacks(reached):
            raise ActionRefused("a fence is not ready: " + "; ".join(lacks))
        return ActionOutcome(data=reached.data)

    async def _drain(self, command: Drive) -> ActionOutcome:
        """New calls go to the other side; calls in progress stay. `live_calls` None: they can't be counted."""
        old, new = self._uri(command.side), self._uri(self._other(command.side))
        seen = await self._edges.ask(lambda edge: edge.view(), needed=0)
        if away := self._needed_and_away(seen):
            raise Unreachable(f"no answer from {away}")
        reached = await self._edges.change(command.epoch, routing={old: False, new: True}, first=new)
        profile = self.parameters.live_calls
        calls: int | None = None
        if profile:
            host = old.partition(":")[2].rpartition(":")[0]
            calls = await self._edges.live_calls(reached.views, profile, host)
        return ActionOutcome(data=(("live_calls", calls), *reached.data))

    async def _fence(self, command: Drive) -> ActionOutcome:
        """Out of rotation and cut off, by every means declared, at the same time."""
        uri, side, fence = self._uri(command.side), self._side(command.side), self._fences.get(command.side)
        rule = {uri: True} if side.edge_rule else {}
        edges = self._edges.change(command.epoch, routing={uri: False}, fencing=rule)
        if fence is None:
            return ActionOutcome(message="edge rule", data=(await edges).data)
        # The fence first: an edge's list is written to the disk before it is told anything.
        told, changed = await asyncio.gather(fence.fence(command.epoch), edges, return_exceptions=True)
        if isinstance(told, BaseException):
            raise told
        if isinstance(changed, BaseException):
            # Cut off from outside; an edge that can't be reached may still try it, in vain.
            if not isinstance(changed, Unreachable) or self.group.edges_rule is EdgesRule.ALL:
                raise changed
            return ActionOutcome(
                message=told, data=(("edges", ""), ("unreachable", ",".join(self._edges.names)))
            )
        return ActionOutcome(message=told, data=changed.data)

    async def _confirm_fence(self, command: Drive) -> ActionOutcome:
        """The outside fence's own proof, or the drop rule read back on *every* edge."""
        uri, side, fence = self._uri(command.side), self._side(command.side), self._fences.get(command.side)
        if fence is not None:
            told = await fence.confirm(command.epoch)
            if not side.edge_rule:
                return ActionOutcome(message=told)
        reached = await self._edges.ask(lambda edge: edge.view())
        open_edges = [
            name for name, view in reached.views.items() if not view.fences(uri) or view.takes_calls(uri)
        ]
        if fence is None:
            open_edges += reached.unreachable
        if open_edges:
            raise ActionError(f"{command.side} is not fenced at {', '.join(sorted(open_edges))}")
        return ActionOutcome(message="dropped at the edges", data=reached.data)

    async def _unfence(self, command: Drive) -> ActionOutcome:
        """Let back in. As a fallback it takes calls again, after the other side; else it only stands by."""
        uri, side, fence = self._uri(command.side), self._side(command.side), self._fences.get(command.side)
        told = "" if fence is None else await fence.release(command.epoch)
        other = self._uri(self._other(command.side))
        fallback = self.parameters.standby is Standby.FALLBACK
        reached = await self._edges.change(
            command.epoch,
            routing={uri: True} if fallback else {},
            fencing={uri: False} if side.edge_rule else {},
            first=other if fallback else "",
        )
        return ActionOutcome(message=told, data=reached.data)

    async def _redirect(self, command: Drive) -> ActionOutcome:
        """New calls go to this side and to no other, but for a fallback that is not fenced. Where the other one still gets
        some, as on the way back, every edge leaves it before any edge goes to this side: for a moment neither, never both.
        """
        new, other = self._uri(command.side), self._other(command.side)
        old = self._uri(other)
        seen = await self._edges.ask(lambda edge: edge.view(), needed=0)
        away = self._needed_and_away(seen)
        if away and not await self._fenced(command, other):
            # An edge that can't be told would go on sending calls to a side that takes them: better all as they are.
            raise Unreachable(f"no answer from {away}, and {other} is not fenced")
        stays = self.parameters.standby is Standby.FALLBACK and not await self._fenced(command, other)
        serving = frozenset(name for name, view in seen.views.items() if view.takes_calls(old))
        if not stays and serving:
            await self._leave(command, old, serving)
        rule = {new: False} if self._side(command.side).edge_rule else {}
        reached = await self._edges.change(
            command.epoch, routing={old: stays, new: True}, fencing=rule, first=new
        )
        return ActionOutcome(data=reached.data)

    async def _leave(self, command: Drive, old: str, serving: frozenset[str]) -> None:
        """No edge sends calls to `old` any more. When that fails at one of them, all that had sent some go back to it: an
        edge without any side serves nobody, however long a person takes to come. Raises what `Edges.change` does."""

        async def leave(edge: Edge) -> View:
            return await edge.change(command.epoch, routing={old: False})

        async def return_to(edge: Edge) -> None:
            try:
                async with asyncio.timeout(command.timeout):
                    await edge.change(command.epoch, routing={old: True}, first=old)
            except (ActionError, TimeoutError) as error:
                # The command fails in any case; what it leaves behind is said here, and read back next.
                log.error(
                    "edge %s did not go back to %s: %s",
                    edge.name,
                    old,
                    str(error) or "no answer in time",
                    extra={"action": "edge_not_returned"},
                )

        third = command.timeout / 3
        try:
            # In time to go back, and to say so, should one of them hang.
            async with asyncio.timeout(third):
                await self._edges.ask(leave, needed=self._edges.needed)
        except (ActionError, TimeoutError) as error:
            # One that is slow goes back all the same, after this command has ended; its next change waits for it.
            returning = [asyncio.create_task(return_to(edge)) for edge in self._edges.of(serving)]
            for task in returning:
                self._returning.add(task)
                task.add_done_callback(self._returning.discard)
            await asyncio.wait(returning, timeout=third)
            if isinstance(error, TimeoutError):
                raise ActionUnknown("an edge did not answer in time; those that did are as before") from error
            raise

    def _needed_and_away(self, seen: Reached) -> str:
        """The edges that don't answer, where all of them are needed."""
        return ",".join(seen.unreachable) if self.group.edges_rule is EdgesRule.ALL else ""

    async def _reassert(self, command: Drive) -> ActionOutcome:
        """As it should be, at the current epoch, on edges that are not so."""
        new, old = self._uri(command.side), self._uri(self._other(command.side))
        fallback = self.parameters.standby is Standby.FALLBACK

        async def put_right(edge: Edge) -> View:
            view = await edge.view(with_gate=True)
            if not self._drifted(view, command.side) and (view.gate or 0) >= command.epoch:
                return view
            keeps = fallback and view.takes_calls(old) and not view.fences(old)
            rule = {new: False} if self._side(command.side).edge_rule else {}
            return await edge.change(command.epoch, routing={old: keeps, new: True}, fencing=rule, first=new)

        reached = await self._edges.ask(put_right)
        return ActionOutcome(data=reached.data)

    async def _read_back(self, command: Drive) -> ActionOutcome:
        reached = await self._edges.ask(lambda edge: edge.view(with_gate=True, patient=True), needed=0)
        first = {view.first for view in reached.views.values()}
        active = ""
        if len(first) == 1:
            active = next((side for side in self.parameters.sides if self._uri(side) in first), "")
        views = reached.views
        lacks = await self._fence_lacks(reached) if views else ["no edge answers"]
        return ActionOutcome(
            data=(
                ("active", active),
                ("epoch", max((view.epoch for view in views.values()), default=0)),
                ("edges_reached", len(views)),
                ("edges_total", len(self._edges.names)),
                (
                    "drifted",
                    _joined(name for name, view in views.items() if self._drifted(view, command.side)),
                ),
                (
                    "ungated",
                    _joined(name for name, view in views.items() if (view.gate or 0) < command.epoch),
                ),
                ("unreachable", ",".join(reached.unreachable)),
                ("fence_ready", not lacks),
                ("fence_lacks", "; ".join(lacks)),
            )
        )

    def _drifted(self, view: View, side: str) -> bool:
        """Other than this side being the one that gets calls, now and after a restart."""
        uri, other = self._uri(side), self._uri(self._other(side))
        if view.first != uri or view.fences(uri):
            return True
        if view.listed is not None and uri not in view.listed:
            return True
        if self.parameters.standby is Standby.FALLBACK:
            return False
        return view.takes_calls(other) or (view.listed is not None and other in view.listed)

    async def _fenced(self, command: Drive, side: str) -> bool:
        try:
            await self._confirm_fence(_about(command, side))
        except ActionError:
            return False
        return True

    async def _fence_lacks(self, reached: Reached) -> list[str]:
        lacks = [
            f"edge {name} has no epoch gate" for name, view in reached.views.items() if view.gate is None
        ]
        for asked in await asyncio.gather(*(fence.lacks() for fence in self._fences.values())):
            lacks += asked
        for name, side in self.parameters.sides.items():
            if side.edge_rule:
                uri = self._uri(name)
                lacks += [
                    f"edge {edge} has no {uri} in set {self.parameters.fence_set}"
                    for edge, view in reached.views.items()
                    if uri not in view.fencing
                ]
        return lacks

    async def _run(self, command: Drive, argv: Argv | None, otherwise: str) -> ActionOutcome:
        return ActionOutcome(message=otherwise if argv is None else await self._command(command, argv))

    async def _command(self, command: Drive, argv: Sequence[str]) -> str:
        environment = {
            **self._environment,
            "THIRDRING_SIDE": command.side,
            "THIRDRING_EPOCH": str(command.epoch),
        }
        return await processes.run(argv, environment=environment)

    def _side(self, name: str) -> SideParameters:
        return self.parameters.sides[name]

    def _other(self, name: str) -> str:
        return self.group.other(name).name

    def _uri(self, name: str) -> str:
        side = self.group.side(name)
        return "" if side is None else side.destination


def mismatches(group: GroupPolicy, parameters: DispatcherParameters) -> list[Problem]:
    """The driver is told about each edge and side of the group, and about no other."""
    wanted = {"edges": set(group.edges), "sides": {side.name for side in group.sides}}
    given = {"edges": set(parameters.edges), "sides": set(parameters.sides)}
    problems = []
    for what, names in wanted.items():
        for name in sorted(names ^ given[what]):
            message = "is not one of the group's" if name in given[what] else "is missing"
            path = f"driver.with.{what}.{name}"
            problems.append(Problem(file=f"group {group.name}", line=0, path=path, message=message))
    for side in group.sides:
        if not DESTINATION.fullmatch(side.destination):
            message = f"{side.destination!r} is not sip:ADDRESS:PORT, which the edges' drop rule goes by"
            path = f"sides.{side.name}.destination"
            if side.name in parameters.sides and parameters.sides[side.name].edge_rule:
                problems.append(Problem(file=f"group {group.name}", line=0, path=path, message=message))
    return problems


def _about(command: Drive, side: str) -> Drive:
    return Drive(
        id=command.id,
        group=command.group,
        verb=DriverVerb.CONFIRM_FENCE,
        side=side,
        epoch=command.epoch,
        timeout=command.timeout,
    )


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
