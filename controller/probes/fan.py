"""One probe of a name with several addresses: a flight to each, one result."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from controller.model.health import ProbeResult
from controller.ports import Finished, Flight

RESOLVE_EVERY = 30.0
"""Seconds between two look-ups of a name."""


class Fan:
    """ports.Flight. With `require_all` it is up when all addresses are, else when one is."""

    __slots__ = ("_expected", "_finished", "_require_all", "_results", "_ticket", "done", "parts", "sent_at")

    def __init__(
        self, finished: Finished, ticket: object, *, expected: int, require_all: bool, now: float
    ) -> None:
        self.sent_at = now
        self.done = False
        self.parts: list[Flight] = []
        self._finished = finished
        self._ticket = ticket
        self._expected = expected
        self._require_all = require_all
        self._results: list[tuple[str, ProbeResult]] = []

    def resend(self, now: float) -> None:
        for part in self.parts:
            part.resend(now)

    def give_up(self, now: float, void: str) -> None:
        for part in self.parts:
            part.give_up(now, void)

    def take(self, host: str, result: ProbeResult) -> None:
        self._results.append((host, result))
        if len(self._results) == self._expected:
            self.done = True
            self._finished(self._ticket, self._combined())

    def _combined(self) -> ProbeResult:
        """What decides: where all must answer the first that failed, else the first that answered. A void part
        leaves the whole undecided unless another one decides it."""
        decisive = not self._require_all
        order: list[bool | None] = [decisive, None, not decisive]
        host, result = min(self._results, key=lambda part: order.index(part[1].up))
        note = f"{host}: {result.note}" if result.note else host
        return result._replace(note=note, sent_at=self.sent_at)


async def keep_resolved(
    loop: asyncio.AbstractEventLoop,
    host: str,
    port: int,
    located: Callable[[Sequence[tuple[str, int]]], None],
    wanted: Callable[[], bool],
) -> None:
    """Look a name up again and again while it is `wanted`, and hand every answer on.

    A look-up that fails leaves the last addresses standing: a name server that is away is no fault of the target.
    """
    while wanted():
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError:
            found = []
        if found:
            located(sorted({(str(entry[4][0]), port) for entry in found}))
        await asyncio.sleep(RESOLVE_EVERY)
