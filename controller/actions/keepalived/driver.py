"""The switch of a group whose virtual address is moved by VRRP.

`fencing` is "none": a number in a file compares nothing, and two hosts that can't see each other both hold the address
for as long as that lasts (measured with keepalived 2.2.7). Claims neither I1 nor I3; the old side is cut off by its outside
fence. keepalived repeats its gratuitous ARP after 5 s by default.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Any

from controller.actions import processes
from controller.actions.fields import Argv
from controller.actions.keepalived.parameters import FAULT, KeepalivedParameters
from controller.actions.points import Nonsense, Point, Seen, Unreachable
from controller.actions.routed import RoutedSwitch
from controller.model.errors import ActionError, ActionRefused, ActionUnknown
from controller.model.policy import GroupPolicy

PAUSE = 0.03
"""Seconds between two looks at an address that VRRP is moving."""

MOST_ADDRESSES = 1024 * 1024
"""Octets of `ip -j addr`."""


class Keepalived(RoutedSwitch):
    Parameters = KeepalivedParameters

    def __init__(self, group: GroupPolicy, parameters: KeepalivedParameters) -> None:
        """Raises ConfigurationError when the group and the parameters don't agree."""
        self.parameters = parameters
        super().__init__(group, parameters, lambda: AddressRouting(group.name, parameters), fencing="none")


class AddressRouting:
    """points.Routing over both sides' hosts."""

    def __init__(self, group: str, parameters: KeepalivedParameters) -> None:
        self._group = group
        self._parameters = parameters
        self._sides = parameters.sides

    @property
    def names(self) -> Collection[str]:
        return self._sides

    async def look(self) -> Seen:
        holding, reasons = await self._holding()
        return self._seen(holding, reasons)

    async def lacks(self) -> list[str]:
        """Nothing that a look would not show: every look runs the commands."""
        return []

    async def send(self, side: str, epoch: int) -> Seen:
        """Off before on: for a moment nobody holds the address, never both. A side that does not answer is cut off."""
        holding, reasons = await self._holding()
        if side not in holding:
            raise Unreachable(reasons[side])
        # The numbers are written whatever the addresses show: VRRP may have moved one by itself, against its file.
        others = [name for name in holding if name != side]
        for other in others:
            await self._write(other, FAULT, epoch)
            await self._settled({other: False})
        await self._write(side, self._parameters.active, epoch)
        await self._settled({side: True})
        if self._parameters.standby != FAULT:
            for other in others:
                await self._write(other, self._parameters.standby, epoch)
        return self._seen({side: True, **dict.fromkeys(others, False)}, reasons)

    async def withdraw(self, side: str, epoch: int) -> Seen:
        await self._write(side, FAULT, epoch)
        await self._settled({side: False})
        return await self.look()

    async def drain(self, side: str, other: str, epoch: int) -> tuple[int | None, Seen]:
        """Calls in progress go through the address: it stays with them until REDIRECT takes it away."""
        return None, await self.look()

    async def restore(self, side: str, epoch: int) -> None:
        """It stands by as it is: REDIRECT makes it active."""

    async def close(self) -> None:
        """No command outlives its run."""

    async def _settled(self, wanted: Mapping[str, bool]) -> None:
        """Raises ActionError when VRRP does not follow in time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._parameters.settle
        while True:
            holding, reasons = await self._holding(wanted)
            if holding == wanted:
                return
            if loop.time() >= until:
                side, holds = next(iter(wanted.items()))
                told = reasons.get(side) or ("does not hold" if holds else "still holds")
                raise ActionError(f"{side} {told} {self._parameters.address}")
            await asyncio.sleep(PAUSE)

    async def _holding(self, names: Collection[str] = ()) -> tuple[dict[str, bool], dict[str, str]]:
        """Who holds the address, and why a side gives no usable answer."""
        names = list(names or self._sides)
        answers = await asyncio.gather(*(self._holds(name) for name in names), return_exceptions=True)
        holding: dict[str, bool] = {}
        reasons: dict[str, str] = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, bool):
                holding[name] = answer
            elif isinstance(answer, ActionError):
                reasons[name] = f"{name}: {answer}"
            else:
                raise answer
        return holding, reasons

    async def _holds(self, side: str) -> bool:
        argv = self._sides[side].show
        try:
            async with asyncio.timeout(self._parameters.timeout):
                said = await processes.run(argv, environment=self._environment(side, 0), most=MOST_ADDRESSES)
        except TimeoutError as error:
            raise Unreachable(f"{argv[0]} gave no answer in {self._parameters.timeout:g} s") from error
        return held(said, self._parameters.address)

    async def _write(self, side: str, number: int, epoch: int) -> None:
        """Raises ActionRefused, ActionUnknown (it did not end in time), ActionError."""
        parameters = self._sides[side]
        argv: Argv = parameters.write
        try:
            async with asyncio.timeout(self._parameters.timeout):
                await processes.run(argv, environment=self._environment(side, epoch), text=f"{number}\n")
        except TimeoutError as error:
            raise ActionUnknown(f"{side}: {argv[0]} did not end in {self._parameters.timeout:g} s") from error
        except processes.CommandFailed as error:
            if error.status in parameters.refused:
                raise ActionRefused(f"{side}: {error}") from error
            raise

    def _environment(self, side: str, epoch: int) -> dict[str, str]:
        return {"THIRDRING_GROUP": self._group, "THIRDRING_SIDE": side, "THIRDRING_EPOCH": str(epoch)}

    def _seen(self, holding: Mapping[str, bool], reasons: Mapping[str, str]) -> Seen:
        """A side that holds the address speaks for itself, one that doesn't for the other."""
        points = {
            name: Point(side=name if holds else next(side for side in self._sides if side != name))
            for name, holds in holding.items()
        }
        return Seen(
            points=points,
            unreachable=tuple(sorted(reasons)),
            reasons=tuple(reason for _, reason in sorted(reasons.items())),
            values=(("holding", ",".join(sorted(name for name, holds in holding.items() if holds))),),
        )


def held(said: str, address: str) -> bool:
    """Whether `ip -j addr` shows the address. Raises Nonsense for anything else."""
    wanted = ip_address(address)
    try:
        links: Any = json.loads(said or "[]")
        found = [
            ip_address(entry["local"])
            for link in links
            for entry in link.get("addr_info", ())
            if "local" in entry
        ]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise Nonsense(f"no list of addresses: {said[:80]!r} ({error})") from error
    return wanted in found
