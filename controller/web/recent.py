"""The newest timeline entries of an incident, read from the record once and then only what is new."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from controller.engine.desk import Desk
from controller.model.facts import Entry

MOST_ENTRIES = 300
"""Shown on a page."""

MOST_INCIDENTS = 16
"""Remembered; a page of another one reads its entries again."""

AT_ONCE = 1000

AGAIN = 5.0
"""Seconds after which the story is read again where other nodes had a part in it: one that was down may ship more."""


@dataclass(slots=True)
class _Known:
    alone: bool
    read_at: float  # monotonic
    entries: deque[Entry]
    last: int  # of this node's own


class RecentEntries:
    """Every open page of an incident asks after every entry: a long incident must not be read from its start each time.
    What may be wanting something of other nodes is read again."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def of(self, desk: Desk, incident: str) -> list[Entry]:
        """Oldest first, at most MOST_ENTRIES."""
        known = self._known.get(incident)
        if known is None or not await self._stands(desk, incident, known):
            known = await self._read(desk, incident)
        elif incident in self._known:  # another page may have let it go meanwhile
            self._known.move_to_end(incident)
        found = AT_ONCE
        while found == AT_ONCE:
            found = 0
            async for entry in desk.entries(after=known.last, incident=incident, limit=AT_ONCE):
                found += 1
                if entry.sequence > known.last:  # another page may have been reading meanwhile
                    known.entries.append(entry)
                    known.last = entry.sequence
        return list(known.entries)

    async def _stands(self, desk: Desk, incident: str, known: _Known) -> bool:
        if known.alone:
            return await desk.alone(incident)  # until another node leads
        return desk.clock.now().mono < known.read_at + AGAIN

    async def _read(self, desk: Desk, incident: str) -> _Known:
        """Kept, unless what other nodes archived could not be read."""
        at = desk.clock.now().mono
        told = await desk.told(incident, MOST_ENTRIES)
        known = _Known(
            alone=told.alone,
            read_at=at,
            entries=deque(told.entries, maxlen=MOST_ENTRIES),
            last=told.last,
        )
        if told.whole:
            self._known[incident] = known
            self._known.move_to_end(incident)
            while len(self._known) > MOST_INCIDENTS:
                self._known.popitem(last=False)
        else:
            self._known.pop(incident, None)
        return known
