"""The newest timeline entries of an incident, read from the record once and then only what is new."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from controller.engine.desk import Desk
from controller.model.facts import Entry

MOST_ENTRIES = 300
"""Shown on a page."""

MOST_INCIDENTS = 16
"""Remembered; a page of another one reads its entries again."""

AT_ONCE = 1000


@dataclass(slots=True)
class _Known:
    last: int = 0
    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=MOST_ENTRIES))


class RecentEntries:
    """Every open page of an incident asks after every entry: a long incident must not be read from its start each time."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def of(self, desk: Desk, incident: str) -> list[Entry]:
        """Oldest first, at most MOST_ENTRIES."""
        known = self._known.get(incident)
        if known is None:
            known = _Known()
            known.entries.extend(await desk.newest(MOST_ENTRIES, incident=incident))
            node = desk.snapshot.state.node
            known.last = max((entry.sequence for entry in known.entries if entry.node == node), default=0)
            known = self._known.setdefault(incident, known)  # another page may have asked meanwhile
        self._known.move_to_end(incident)
        while len(self._known) > MOST_INCIDENTS:
            self._known.popitem(last=False)
        found = AT_ONCE
        while found == AT_ONCE:
            found = 0
            async for entry in desk.entries(after=known.last, incident=incident, limit=AT_ONCE):
                found += 1
                if entry.sequence > known.last:  # another page may have been reading meanwhile
                    known.entries.append(entry)
                    known.last = entry.sequence
        return list(known.entries)
