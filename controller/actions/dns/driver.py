"""The switch of a group whose callers find it by name.

A change reaches callers as their caches let go of the old answer: the switch is "converging", and claims neither that one
side alone gets calls nor when. The old side stays cut off by its outside fence all the while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import dns.rdata
import dns.rdataclass

from controller.actions.dns.parameters import DnsParameters
from controller.actions.dns.server import Server, Shown, later
from controller.actions.points import Point, Seen, admitted, look_at
from controller.actions.routed import RoutedSwitch
from controller.model.errors import ActionError, ActionUnknown
from controller.model.policy import EdgesRule, GroupPolicy

MOST_ROUNDS = 3
"""Of read and compare-and-set, while others change the zone too."""

PAUSE = 0.02
"""Seconds between two looks at the servers that follow."""


class Dns(RoutedSwitch):
    """The record and the epoch are replaced in one update, under the condition that both are as read."""

    Parameters = DnsParameters

    def __init__(self, group: GroupPolicy, parameters: DnsParameters) -> None:
        """Raises ConfigurationError when the group and the parameters don't agree."""
        self.parameters = parameters
        super().__init__(group, parameters, lambda: ZoneRouting(group, parameters), fencing="cas")


class ZoneRouting:
    """points.Routing over the authoritative servers of a zone."""

    def __init__(self, group: GroupPolicy, parameters: DnsParameters) -> None:
        self._parameters = parameters
        self._everywhere = group.edges_rule is EdgesRule.ALL
        self._servers = {name: Server(name, parameters) for name in parameters.edges}
        self._primary = self._servers[parameters.primary]
        self._records: Mapping[str, tuple[dns.rdata.Rdata, ...]] = {
            side: tuple(
                dns.rdata.from_text(dns.rdataclass.IN, parameters.type, text, relativize=False)
                for text in given.records
            )
            for side, given in parameters.sides.items()
        }

    @property
    def names(self) -> Collection[str]:
        return self._servers

    async def look(self) -> Seen:
        """`values`: the servers' serials, and which of them have yet to follow the primary."""
        shown: dict[str, Shown] = {}

        async def one(name: str) -> Point:
            shown[name] = await self._servers[name].look()
            return self._point(shown[name])

        seen = await look_at(self.names, one)
        primary = shown.get(self._primary.name)
        behind = [] if primary is None else [n for n, it in shown.items() if later(primary.serial, it.serial)]
        return Seen(
            points=seen.points,
            unreachable=seen.unreachable,
            reasons=seen.reasons,
            values=(
                ("serials", " ".join(f"{name}={item.serial}" for name, item in sorted(shown.items()))),
                ("converging", ",".join(sorted(behind))),
            ),
        )

    async def lacks(self) -> list[str]:
        shown = await self._primary.look()
        lacks = []
        if not self._side(shown):
            lacks.append(f"{self._parameters.name} shows neither side")
        if shown.ttl > self._parameters.ttl:
            lacks.append(
                f"the TTL of {self._parameters.name} is {shown.ttl} s, and so long may callers keep the old answer:"
                f" lower it to {self._parameters.ttl} s beforehand"
            )
        return lacks

    async def send(self, side: str, epoch: int) -> Seen:
        await self._update(side, epoch)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._parameters.converge
        while True:
            seen = await self.look()
            others = sorted({name for name, point in seen.points.items() if point.side != side})
            if self._everywhere:
                others += seen.unreachable
            if not others or loop.time() >= until:
                break
            await asyncio.sleep(PAUSE)
        if others and (self._everywhere or self._primary.name in others):
            raise ActionError(f"{', '.join(others)} doesn't show the change yet")
        return seen

    async def withdraw(self, side: str, epoch: int) -> None:
        """A name leads somewhere: a side is withdrawn when it leads to the other one."""

    async def drain(self, side: str, other: str, epoch: int) -> tuple[int | None, Seen]:
        return None, await self.send(other, epoch)

    async def restore(self, side: str, epoch: int) -> None:
        """Nothing but the routing was changed."""

    async def close(self) -> None:
        """Every exchange has a connection of its own."""

    async def _update(self, side: str, epoch: int) -> None:
        for _ in range(MOST_ROUNDS):
            shown = await self._primary.look()
            if self._as_wanted(shown, side, epoch):
                return
            try:
                done = await self._primary.update(shown, self._records[side], epoch)
            except ActionUnknown as error:
                done = await self._overtaken(shown, str(error))
            if done:
                return
        raise ActionError(f"{self._parameters.name} is changed by somebody else all the time")

    async def _overtaken(self, before: Shown, reason: str) -> bool:
        """No word on an update: while its condition holds it may still be carried out; after that, never."""
        try:
            shown = await self._primary.look()
        except ActionError as error:
            raise ActionUnknown(f"{reason}; {error}") from error
        if shown.still(before):
            raise ActionUnknown(reason)
        return False

    def _as_wanted(self, shown: Shown, side: str, epoch: int) -> bool:
        """Raises ActionRefused where a newer epoch is on record."""
        admitted(self._parameters.name, epoch, shown.epoch)
        return self._side(shown) == side and shown.epoch == epoch

    def _point(self, shown: Shown) -> Point:
        return Point(side=self._side(shown), epoch=shown.epoch)

    def _side(self, shown: Shown) -> str:
        return next((side for side, records in self._records.items() if shown.records == set(records)), "")
