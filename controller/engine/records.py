"""What is on record of one incident: in this node's journal, and in the archive where another node began it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import sys
from collections.abc import AsyncIterator

from controller.model.errors import StoreError
from controller.model.facts import Entry, FactKind
from controller.ports import Archive, Journal

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds the archive has to answer; after that the reader gets what this node has."""


class Records:
    """A journal holds what its own node decided. Who takes over goes on with the incidents of others, whose beginning,
    and whose whole story once they are retired, only the archive has."""

    def __init__(self, journal: Journal, archive: Archive, node: str) -> None:
        self._journal = journal
        self._archive = archive
        self._node = node

    async def begun_here(self, incident: str) -> bool:
        async for entry in self._journal.entries(incident=incident, limit=1):
            return entry.kind == FactKind.INCIDENT_OPENED
        return False

    async def of(self, incident: str, *, limit: int = sys.maxsize) -> AsyncIterator[Entry]:
        """Oldest first, each node's in its own order. Without the archive's part while that can't be read."""
        if await self.begun_here(incident):
            async for entry in self._journal.entries(incident=incident, limit=limit):
                yield entry
            return
        own = [entry async for entry in self._journal.entries(incident=incident, limit=limit)]
        others = await self._elsewhere(incident, limit)
        for entry in itertools.islice(heapq.merge(own, others, key=lambda entry: entry.wall), limit):
            yield entry

    async def _elsewhere(self, incident: str, limit: int) -> list[Entry]:
        try:
            async with asyncio.timeout(PATIENCE):
                archived = self._archive.entries(incident=incident, limit=limit)
                return [entry async for entry in archived if entry.node != self._node]
        except (StoreError, TimeoutError) as error:
            log.warning(
                "%s is shown without what other nodes archived of it: %s",
                incident,
                error or "no answer in time",
                extra={"action": "archive_unread"},
            )
            return []
