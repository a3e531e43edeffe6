"""Switching by trunk registrations: the side whose call server is registered with the carriers gets their calls.

Every side is a point of its own. A registration is run-time state that nobody compares: a side that restarts registers
again by itself, which is why its fence must hold and why both sides are read all the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from controller.actions.points import Point, Seen, Unreachable, admitted
from controller.model.errors import ActionError
from controller.model.moments import Values
from controller.ports import ActionOutcome

PAUSE = 0.05
"""Seconds between two looks at a registration that was asked for: the carrier answers when it does."""


class TrunkState(StrEnum):
    REGISTERED = "registered"
    WITHDRAWN = "withdrawn"  # not registered, and nothing is going to
    TRYING = "trying"  # anything else: on its way, rejected, or about to register again by itself
    UNKNOWN_NAME = "unknown name"  # the call server has no such trunk


@dataclass(frozen=True, kw_only=True, slots=True)
class ExchangeView:
    """One call server. `trunks`: the configured ones, with the server's own word for each. `epoch`: None: not kept.
    `paused`: None where that can't be seen."""

    trunks: Mapping[str, tuple[TrunkState, str]]
    epoch: int | None
    paused: bool | None

    def all(self, state: TrunkState) -> bool:
        return all(found is state for found, _ in self.trunks.values())

    @property
    def told(self) -> str:
        return ", ".join(f"{name} {word}" for name, (_, word) in sorted(self.trunks.items()))


class Exchange(Protocol):
    """One side's call server. Errors as of ports.Action; Unreachable where nothing was asked of it."""

    async def look(self) -> ExchangeView: ...

    async def register(self, trunk: str) -> None:
        """Returns when the request was taken, not when the carrier answered."""

    async def unregister(self, trunk: str) -> None: ...

    async def record(self, epoch: int) -> None: ...

    async def calls(self) -> int: ...

    async def pause(self) -> None:
        """No new calls; those in progress stay. Idempotent."""

    async def resume(self) -> None:
        """Take a pause back. Idempotent."""

    async def close(self) -> None: ...


async def reached(exchange: Exchange, wanted: TrunkState) -> ActionOutcome:
    """Once the one trunk that `exchange` knows is in that state, however long the carrier takes: whoever waits sets the
    limit. Raises ActionError when there is no such trunk, and as `look`."""
    while True:
        view = await exchange.look()
        ((state, word),) = view.trunks.values()
        if state is wanted:
            return ActionOutcome(message=view.told, data=(("status", word),))
        if state is TrunkState.UNKNOWN_NAME:
            raise ActionError(f"{view.told}: no such trunk")
        await asyncio.sleep(PAUSE)


class TrunkRouting:
    """points.Routing over both sides' exchanges. `pauses`: a drain also makes the side refuse new calls of its own
    phones. `settle`: how long a carrier may take to answer, seconds."""

    def __init__(self, exchanges: Mapping[str, Exchange], *, pauses: bool, settle: float) -> None:
        self._exchanges = exchanges
        self._pauses = pauses
        self._settle = settle

    @property
    def names(self) -> Collection[str]:
        return self._exchanges

    async def look(self) -> Seen:
        views, reasons = await self._views()
        return self._seen(views, reasons)

    async def lacks(self) -> list[str]:
        views, _ = await self._views()
        return [
            f"{side} has no trunk {trunk}"
            for side, view in views.items()
            for trunk, (state, _) in view.trunks.items()
            if state is TrunkState.UNKNOWN_NAME
        ]

    async def send(self, side: str, epoch: int) -> Seen:
        """The old side unregisters before the new one registers, where it answers at all: one that does not is cut off,
        and its binding ends at the carrier by itself. Raises ActionError while a carrier has not answered."""
        views, reasons = await self._admitted(epoch)
        if side not in views:
            raise Unreachable(reasons[side])
        others = [name for name in views if name != side]
        await asyncio.gather(*(self._leave(name, views[name]) for name in others), return_exceptions=True)
        target, view = self._exchanges[side], views[side]
        if view.paused or (view.paused is None and self._pauses):
            await target.resume()
        for trunk, (state, _) in view.trunks.items():
            if state is not TrunkState.REGISTERED:
                await target.register(trunk)
        return await self._settled(side, views, reasons)

    async def withdraw(self, side: str, epoch: int) -> Seen:
        views, reasons = await self._admitted(epoch)
        if side not in views:
            raise Unreachable(reasons[side])
        await self._leave(side, views[side])
        return await self.look()

    async def drain(self, side: str, other: str, epoch: int) -> tuple[int | None, Seen]:
        seen = await self.send(other, epoch)
        exchange = self._exchanges[side]
        try:
            if self._pauses:
                await exchange.pause()
            return await exchange.calls(), seen
        except Unreachable:
            return None, seen  # ended with its last call, or hung: nobody can tell from here

    async def restore(self, side: str, epoch: int) -> None:
        """It takes calls of its own phones again; the trunks stay where they are."""
        exchange = self._exchanges[side]
        try:
            view = await exchange.look()
        except Unreachable:
            return  # a pause is run-time state: what comes up later comes up without it
        if view.paused or (view.paused is None and self._pauses):
            await exchange.resume()

    async def close(self) -> None:
        for exchange in self._exchanges.values():
            await exchange.close()

    async def _leave(self, side: str, view: ExchangeView) -> None:
        for trunk, (state, _) in view.trunks.items():
            if state in (TrunkState.REGISTERED, TrunkState.TRYING):
                await self._exchanges[side].unregister(trunk)

    async def _settled(
        self, side: str, views: Mapping[str, ExchangeView], reasons: Mapping[str, str]
    ) -> Seen:
        """Only those that answered before are asked again: a dead side must not use up the time of the other."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settle
        while True:
            now, lost = await self._views(views)
            seen = self._seen(now, {**reasons, **lost})
            if side in now and all(point.side == side for point in seen.points.values()):
                return seen
            if loop.time() >= until:
                told = "; ".join(f"{name}: {view.told}" for name, view in sorted(now.items()))
                raise ActionError(f"the trunks are not at {side}: {told}")
            await asyncio.sleep(PAUSE)

    async def _admitted(self, epoch: int) -> tuple[dict[str, ExchangeView], dict[str, str]]:
        """On record before anything is changed. Raises ActionRefused where a newer epoch is."""
        views, reasons = await self._views()
        for name, view in views.items():
            admitted(name, epoch, view.epoch)
        for name, view in views.items():
            if view.epoch is not None and view.epoch < epoch:
                await self._exchanges[name].record(epoch)
        return views, reasons

    async def _views(self, names: Collection[str] = ()) -> tuple[dict[str, ExchangeView], dict[str, str]]:
        """By side, all of them unless some are named, and why a side gives no usable answer."""
        names = names or self._exchanges
        answers = await asyncio.gather(
            *(self._exchanges[name].look() for name in names), return_exceptions=True
        )
        views: dict[str, ExchangeView] = {}
        reasons: dict[str, str] = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, ExchangeView):
                views[name] = answer
            elif isinstance(answer, ActionError):
                reasons[name] = f"{name}: {answer}"
            else:
                raise answer
        return views, reasons

    def _seen(self, views: Mapping[str, ExchangeView], reasons: Mapping[str, str]) -> Seen:
        """A side with all its trunks speaks for itself, one with none for the other, one in between for nobody."""
        points = {}
        for name, view in views.items():
            other = next(side for side in self._exchanges if side != name)
            shown = ""
            if view.all(TrunkState.REGISTERED):
                shown = name
            elif view.all(TrunkState.WITHDRAWN):
                shown = other
            points[name] = Point(side=shown, epoch=view.epoch)
        values: Values = tuple((f"{name}.trunks", view.told) for name, view in sorted(views.items()))
        return Seen(
            points=points,
            unreachable=tuple(sorted(reasons)),
            reasons=tuple(reason for _, reason in sorted(reasons.items())),
            values=values,
        )
