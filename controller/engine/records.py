"""What is on record of one incident: in this node's journal, and in the archive where other nodes had a part in it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple

from controller.model.errors import StoreError
from controller.model.facts import Entry, FactKind
from controller.ports import Archive, Clock, Journal

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds the archive has to answer; after that the reader gets what this node has."""

SPARED = 30.0
"""Seconds for which nobody waits again for an archive that let somebody wait that long in vain."""

_CHANGES = frozenset({FactKind.LEADERSHIP_TAKEN, FactKind.LEADERSHIP_LOST})


class Told(NamedTuple):
    """The newest entries of an incident, in the order of time. `last`: the sequence of this node's own newest, 0 without
    one. `alone`: its own record is the whole of it. `whole`: what others archived of it is there too; where they had a part
    in it they may archive more."""

    entries: list[Entry]
    last: int
    alone: bool
    whole: bool


class Records:
    """A journal holds what its own node decided. Who takes over goes on with the incidents of others, whose beginning,
    and whose whole story once they are retired, only the archive has; who lost the lead finds there how its own went on.

    `shared`: other nodes may lead too. `notice` gets every entry of this node's after its commit.
    """

    def __init__(self, journal: Journal, archive: Archive, node: str, clock: Clock, *, shared: bool) -> None:
        self._journal = journal
        self._archive = archive
        self._node = node
        self._clock = clock
        # Since which sequence this node has led without a break; one that starts among others follows first.
        self._leads_since = sys.maxsize if shared else 0
        self._failing = False
        self._spared_until = 0.0

    def notice(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind in _CHANGES:
                self._leads_since = entry.sequence

    async def alone(self, incident: str) -> bool:
        """Whether nobody else can have added to it: it was opened here, and this node has led ever since."""
        async for entry in self._journal.entries(incident=incident, limit=1):
            return entry.kind == FactKind.INCIDENT_OPENED and entry.sequence > self._leads_since
        return False

    async def of(self, incident: str, *, limit: int = sys.maxsize) -> AsyncIterator[Entry]:
        """Oldest first, each node's in its own order. Without the archive's part while that can't be read."""
        if await self.alone(incident):
            async for entry in self._journal.entries(incident=incident, limit=limit):
                yield entry
            return
        own = await self._own(incident, limit)
        others = await self._elsewhere(incident, limit)
        for entry in itertools.islice(_merged(own, others or ()), limit):
            yield entry

    async def newest(self, incident: str, count: int) -> Told:
        if await self.alone(incident):
            after = await self._journal.before_newest(count, incident=incident)
            own = await self._own(incident, count, after=after)
            return Told(own, last=own[-1].sequence if own else 0, alone=True, whole=True)
        own = await self._own(incident, sys.maxsize)
        others = await self._elsewhere(incident, sys.maxsize)
        newest = list(deque(_merged(own, others or ()), maxlen=count))
        return Told(newest, last=own[-1].sequence if own else 0, alone=False, whole=others is not None)

    async def _own(self, incident: str, limit: int, *, after: int = 0) -> list[Entry]:
        found = self._journal.entries(after=after, incident=incident, limit=limit)
        return [entry async for entry in found]

    async def _elsewhere(self, incident: str, limit: int) -> list[Entry] | None:
        """None when the archive can't be read."""
        if self._clock.now().mono < self._spared_until:
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                archived = self._archive.entries(incident=incident, limit=limit)
                found = [entry async for entry in archived if entry.node != self._node]
        except TimeoutError:
            self._spared_until = self._clock.now().mono + SPARED
            self._complain(incident, "no answer in time")
            return None
        except StoreError as error:
            self._complain(incident, str(error))
            return None
        if self._failing:
            self._failing = False
            log.info("what other nodes archived can be read again", extra={"action": "archive_read"})
        return found

    def _complain(self, incident: str, reason: str) -> None:
        """Once: every look at an incident asks again."""
        if not self._failing:
            self._failing = True
            log.warning(
                "%s is shown without what other nodes archived of it, and so is every other that they had a part in: %s",
                incident,
                reason,
                extra={"action": "archive_unread"},
            )


def _merged(own: Iterable[Entry], others: Iterable[Entry]) -> Iterable[Entry]:
    return heapq.merge(own, others, key=lambda entry: entry.wall)
