"""Events on their way out of a prober: one writer, one reader, bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from controller.model.events import Event, Measured, VantageBeat

MOST_WAITING = 50_000
"""Events; past it beats and measurements are dropped and counted. Changes of health never are."""


class Outbox:
    def __init__(self) -> None:
        self.dropped = 0
        self._events: deque[Event] = deque()
        self._filled = asyncio.Event()
        self._closed = False

    def put(self, event: Event) -> None:
        if len(self._events) >= MOST_WAITING and isinstance(event, (Measured, VantageBeat)):
            self.dropped += 1
            return
        self._events.append(event)
        self._filled.set()

    def close(self) -> None:
        """What waits is still read; then the iteration ends."""
        self._closed = True
        self._filled.set()

    async def batches(self) -> AsyncIterator[list[Event]]:
        """Everything that waits, again and again."""
        while await self._wait():
            batch = list(self._events)
            self._events.clear()
            yield batch

    async def events(self) -> AsyncIterator[Event]:
        """One by one; what was not asked for stays for the next reader."""
        while await self._wait():
            yield self._events.popleft()

    async def _wait(self) -> bool:
        """Until there is something to read; False when there won't be any more."""
        while not self._events:
            if self._closed:
                return False
            self._filled.clear()
            await self._filled.wait()
        return True
