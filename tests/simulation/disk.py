"""A host's disk: what was synced survives a power cut; a transaction in the air survives whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from controller.model.chain import Linked, link
from controller.model.errors import StoreError, StoreFull
from controller.model.facts import Entry, Fact
from tests.builders.journals import MemoryJournal, Platter


@dataclass
class Disk:
    """`stall`: seconds added to each sync. `commits`: (true seconds, first sequence, last) of what was synced.
    `acknowledged`: the newest sequence whoever wrote was told of."""

    random: Random
    platter: Platter = field(default_factory=Platter)
    stall: float = 0.0
    full: bool = False
    torn: int = 0
    acknowledged: int = 0
    unsynced: int = 0
    _flying: list[Linked] = field(default_factory=list)

    def begin(self, linked: list[Linked]) -> None:
        self._flying = linked

    def sync(self) -> None:
        for entry, encoded in self._flying:
            self.platter.entries.append(entry)
            for key, text, gone in encoded.aggregates:
                self.platter.aggregates.pop(key, None)
                if not gone:
                    self.platter.aggregates[key] = text
        self._flying = []

    def power_cut(self) -> None:
        """The tail that was being written is there whole, or its transaction is undone when the file is opened again."""
        if self._flying:
            if self.random.random() < 0.5:
                self.sync()
            else:
                self.torn += 1
            self._flying = []
        self.platter.holder = None


class SimulatedJournal(MemoryJournal):
    """ports.Journal on a disk that takes its time."""

    def __init__(self, node: str, disk: Disk) -> None:
        super().__init__(node, disk.platter)
        self.disk = disk

    async def record(self, facts: Sequence[Fact]) -> Sequence[Entry]:
        disk = self.disk
        if disk.full:
            await asyncio.sleep(0.001)
            raise StoreFull("no space left on the simulated disk")
        linked = link(facts, self.head)
        disk.begin(linked)
        await asyncio.sleep(0.0002 + 0.001 * disk.random.random() + disk.stall)
        if self.platter.holder is not self:
            raise StoreError("the journal is not open")
        disk.sync()
        entries = [entry for entry, _ in linked]
        disk.acknowledged = entries[-1].sequence
        return entries
