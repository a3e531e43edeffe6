"""The archive as a fake, with a switch for being down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from controller.model.errors import ChainBroken, StoreError
from controller.model.facts import Entry


class MemoryArchive:
    """ports.Archive. While `down`, every call raises StoreError; `calls` counts them."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], Entry] = {}
        self.down = False
        self.calls = 0
        self.lose_reply = False  # the next `ship` takes effect and then fails

    async def open(self) -> None:
        self._answer()

    async def ship(self, entries: Sequence[Entry]) -> None:
        self._answer()
        added = dict(self.kept)
        for entry in sorted(entries, key=lambda entry: (entry.node, entry.sequence)):
            before = added.get((entry.node, entry.sequence - 1))
            there = added.setdefault((entry.node, entry.sequence), entry)
            if entry.sequence > 1 and before is None:
                raise ChainBroken(f"sequence {entry.sequence} would leave a gap")
            if before is not None and before.digest != entry.previous:
                raise ChainBroken(f"sequence {entry.sequence} does not follow what is archived")
            if there.digest != entry.digest:
                raise ChainBroken(f"another sequence {entry.sequence} is archived")
        self.kept = added
        if self.lose_reply:
            self.lose_reply = False
            raise StoreError("the connection broke after the commit")

    async def last_sequence(self, node: str) -> int:
        self._answer()
        return max((sequence for its, sequence in self.kept if its == node), default=0)

    async def entries(
        self, *, incident: str = "", after_wall: float = 0.0, limit: int = 10000
    ) -> AsyncIterator[Entry]:
        self._answer()
        found = [
            entry
            for entry in self.kept.values()
            if entry.wall > after_wall and (not incident or entry.incident == incident)
        ]
        for entry in sorted(found, key=lambda entry: (entry.wall, entry.node, entry.sequence))[:limit]:
            yield entry

    async def close(self) -> None:
        pass

    def _answer(self) -> None:
        self.calls += 1
        if self.down:
            raise StoreError("no route to the archive")
