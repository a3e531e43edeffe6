"""Which coordination store this agent obeys: the first that answers, after a restart too, until a person adopts another."""

from __future__ import annotations

import asyncio

from controller.agent.coordination import Coordination
from controller.agent.memory import Memory


class Belonging:
    def __init__(self, memory: Memory, coordination: Coordination) -> None:
        self._memory = memory
        self._coordination = coordination
        self._pinning = asyncio.Lock()

    def recall(self) -> None:
        """Answers of any other store than the one remembered are refused from now on."""
        self._coordination.pin(self._memory.store)

    async def keep(self) -> None:
        """Once the store has answered. Returns when all that tells it from another is remembered. Raises StoreError."""
        await self._remember()
        await self._coordination.identified()
        await self._remember()

    async def adopt(self, store: str) -> None:
        """Raises StoreError; then nothing has changed."""
        async with self._pinning:
            await self._memory.pin(store)
            self._coordination.pin(store)

    async def _remember(self) -> None:
        async with self._pinning:
            if self._memory.store != self._coordination.store:
                await self._memory.pin(self._coordination.store)
