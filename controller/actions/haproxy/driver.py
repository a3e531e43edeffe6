"""The switch of a group whose callers come in through HAProxy.

`fencing` is "none". The epoch is kept in a map for everybody to see, and a newer one is refused here; but between the look
and the command nothing compares, so the driver is for reconciliation and claims neither I1 nor I3.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from controller.actions.haproxy.parameters import EdgeParameters, HaproxyParameters, Standby
from controller.actions.haproxy.runtime import Runtime, ServerState
from controller.actions.points import Nonsense, Point, Seen, admitted, change, look_at
from controller.actions.routed import RoutedSwitch, needed
from controller.model.errors import ActionError, ActionRefused, Problem
from controller.model.policy import EdgesRule, GroupPolicy

DESTINATION = re.compile(r"[^\s;/]+/[^\s;/]+")
PAUSE = 0.02
"""Seconds between two looks at a server that is coming up."""


class Haproxy(RoutedSwitch):
    Parameters = HaproxyParameters

    def __init__(self, group: GroupPolicy, parameters: HaproxyParameters) -> None:
        """Raises ConfigurationError when the group and the parameters don't agree."""
        self.parameters = parameters
        super().__init__(group, parameters, lambda: BalancerRouting(group, parameters), fencing="none")

    @classmethod
    def problems(cls, group: GroupPolicy, parameters: Any) -> list[Problem]:
        found = super().problems(group, parameters)
        for side in group.sides:
            if not DESTINATION.fullmatch(side.destination):
                message = f"{side.destination!r} is not BACKEND/SERVER"
                path = f"sides.{side.name}.destination"
                found.append(Problem(file=f"group {group.name}", line=0, path=path, message=message))
        if len({side.destination for side in group.sides}) < len(group.sides):
            message = "both sides are the same server"
            found.append(Problem(file=f"group {group.name}", line=0, path="sides", message=message))
        return found


class BalancerRouting:
    """points.Routing over the edges' servers."""

    def __init__(self, group: GroupPolicy, parameters: HaproxyParameters) -> None:
        servers = {side.name: side.destination for side in group.sides}
        self._edges = {
            name: Balancer(name, edge, group.name, servers, parameters)
            for name, edge in parameters.edges.items()
        }
        self._needed = needed(group, self._edges)
        self._everywhere = group.edges_rule is EdgesRule.ALL

    @property
    def names(self) -> Collection[str]:
        return self._edges

    async def look(self) -> Seen:
        return await look_at(self.names, lambda name: self._edges[name].look())

    async def lacks(self) -> list[str]:
        answers = await asyncio.gather(*(edge.lacks() for edge in self._edges.values()))
        return [lack for answer in answers for lack in answer]

    async def send(self, side: str, epoch: int) -> Seen:
        return await change(self.names, lambda name: self._edges[name].send(side, epoch), needed=self._needed)

    async def withdraw(self, side: str, epoch: int) -> Seen:
        return await change(
            self.names, lambda name: self._edges[name].withdraw(side, epoch), needed=self._needed
        )

    async def drain(self, side: str, other: str, epoch: int) -> tuple[int | None, Seen]:
        """A connection may carry many calls or none: how many there are is told, but is no count of calls."""
        left: dict[str, int] = {}

        async def one(name: str) -> Point:
            point, left[name] = await self._edges[name].drain(side, other, epoch)
            return point

        seen = await change(self.names, one, needed=self._needed)
        values = (*seen.values, ("connections", sum(left.values())))
        return None, Seen(
            points=seen.points, unreachable=seen.unreachable, reasons=seen.reasons, values=values
        )

    async def restore(self, side: str, epoch: int) -> None:
        """It stands by as it is: REDIRECT makes it ready."""

    async def close(self) -> None:
        """Every command has a connection of its own."""


class Balancer:
    """One edge. `servers`: BACKEND/SERVER by side."""

    def __init__(
        self,
        name: str,
        settings: EdgeParameters,
        group: str,
        servers: dict[str, str],
        parameters: HaproxyParameters,
    ) -> None:
        self.name = name
        self._key = re.sub(r"[\s;]", "_", group)
        self._state_file = settings.state_file
        self._servers = servers
        self._standby = parameters.standby
        self._epochs = settings.epochs
        self._close = parameters.close_connections
        self._settle = parameters.settle
        self._runtime = Runtime(settings.socket, timeout=parameters.timeout)

    async def look(self) -> Point:
        return self._point(await self._states(), await self._epoch())

    async def lacks(self) -> list[str]:
        """What a switch of it would fail for, as far as it answers."""
        try:
            states = await self._states()
            await self._epoch()
        except ActionRefused as error:
            return [f"{self.name}: {error}"]
        except ActionError:
            return []
        lacks = []
        if self._state_file is not None and not os.access(self._state_file.parent, os.W_OK | os.X_OK):
            lacks.append(f"{self.name}: {self._state_file} can't be written")
        lacks += [
            f"{self.name}: {server} is down"
            for server, state in states.items()
            if server in self._servers.values() and state.enabled and not state.takes_calls
        ]
        return lacks

    async def send(self, side: str, epoch: int) -> Point:
        """Out before in: for a moment no side gets calls, never both."""
        await self._admit(epoch)
        states = await self._states()
        for other, server in self._servers.items():
            if other != side:
                await self._take_out(server, states[server])
        await self._bring_in(self._servers[side], states[self._servers[side]])
        return await self._settled(side)

    async def withdraw(self, side: str, epoch: int) -> Point:
        await self._admit(epoch)
        server = self._servers[side]
        await self._take_out(server, (await self._states())[server], strictly=True)
        await self._persist()
        return await self.look()

    async def drain(self, side: str, other: str, epoch: int) -> tuple[Point, int]:
        """Connections stay. Returns how many there are."""
        await self._admit(epoch)
        states = await self._states()
        server = self._servers[side]
        if not states[server].drained and not states[server].maintained:
            await self._runtime.change(f"set server {server} state drain")
        await self._bring_in(self._servers[other], states[self._servers[other]])
        backend, _, name = server.partition("/")
        return await self._settled(other), await self._runtime.connections(backend, name)

    async def _take_out(self, server: str, state: ServerState, *, strictly: bool = False) -> None:
        """`strictly`: not even what a stick table leads there."""
        wanted = Standby.MAINT if strictly else self._standby
        done = state.maintained or (wanted is Standby.DRAIN and state.drained)
        if not done:
            await self._runtime.change(f"set server {server} state {wanted}")
        if self._close:
            await self._runtime.change(f"shutdown sessions server {server}")

    async def _bring_in(self, server: str, state: ServerState) -> None:
        if state.maintained or state.drained:
            await self._runtime.change(f"set server {server} state ready")
        if state.weight == 0:
            await self._runtime.change(f"set server {server} weight 100%")

    async def _settled(self, side: str) -> Point:
        """Once its server is up and no other one is. Raises ActionError when it is not in time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settle
        while True:
            point = await self.look()
            if point.side == side:
                break
            if loop.time() >= until:
                raise ActionError(f"{self.name}: {self._servers[side]} is not the one server that is up")
            await asyncio.sleep(PAUSE)
        await self._persist()
        return point

    async def _persist(self) -> None:
        """As it is now, so it comes up after a reload."""
        path = self._state_file
        if path is None:
            return
        try:
            await asyncio.to_thread(_replace, path, await self._runtime.state())
        except OSError as error:
            raise ActionError(f"{self.name}: {path} can't be written: {error}") from error

    async def _admit(self, epoch: int) -> None:
        """On record before anything is changed. Raises ActionRefused where a newer epoch is."""
        if self._epochs is None:
            return
        written = await self._runtime.entry(self._epochs, self._key)
        shown = _number(written)
        admitted(self.name, epoch, shown)
        if shown < epoch:
            await self._runtime.set_entry(self._epochs, self._key, str(epoch), there=written is not None)

    async def _epoch(self) -> int | None:
        if self._epochs is None:
            return None
        return _number(await self._runtime.entry(self._epochs, self._key))

    async def _states(self) -> dict[str, ServerState]:
        """By BACKEND/SERVER. Raises ActionRefused for a server that the edge does not have."""
        states: dict[str, ServerState] = {}
        for backend in dict.fromkeys(server.partition("/")[0] for server in self._servers.values()):
            for name, state in (await self._runtime.servers(backend)).items():
                states[f"{backend}/{name}"] = state
        if unknown := sorted(set(self._servers.values()) - set(states)):
            raise ActionRefused(f"{self.name} has no server {', '.join(unknown)} (byte for byte)")
        return states

    def _point(self, states: dict[str, ServerState], epoch: int | None) -> Point:
        """A third server of the backend that takes calls is neither side."""
        taking = [server for server, state in states.items() if state.takes_calls]
        side = next((name for name, server in self._servers.items() if [server] == taking), "")
        return Point(side=side, epoch=epoch)


def _number(text: str | None) -> int:
    if text is None:
        return 0
    if not text.strip().isdigit():
        raise Nonsense(f"the map holds {text!r:.40}, which is no epoch")
    return int(text)


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.new")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
