"""The journal as a fake: the same chain and the same promises, in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from controller.model.chain import Head, beginning, broken_links, head_of, link
from controller.model.encoding import decode_aggregate
from controller.model.errors import ChainBroken, StoreError
from controller.model.facts import Entry, Fact, FactKind
from controller.model.moments import Moment
from controller.ports import Recovered


@dataclass
class Platter:
    """What survives the process: give it to a second MemoryJournal to restart. `failing` is raised by `record`."""

    entries: list[Entry] = field(default_factory=list)
    aggregates: dict[str, str] = field(default_factory=dict)
    holder: object = None
    failing: StoreError | None = None


class MemoryJournal:
    """ports.Journal."""

    def __init__(self, node: str, platter: Platter | None = None) -> None:
        self._node = node
        self.platter = platter or Platter()

    @property
    def head(self) -> Head:
        return head_of(self.platter.entries[-1]) if self.platter.entries else beginning(self._node)

    async def open(self) -> Recovered:
        if self.platter.holder is not None:
            raise StoreError("another controller has this journal open")
        if problems := broken_links(self.platter.entries, beginning(self._node)):
            raise ChainBroken("; ".join(problems))
        if self.head.node != self._node:
            raise StoreError(f"it is the journal of node {self.head.node!r}")
        self.platter.holder = self
        decoded = [decode_aggregate(text) for _, text in sorted(self.platter.aggregates.items())]
        return Recovered([item for item in decoded if item is not None], self.head.sequence, self.head.digest)

    async def record(self, facts: Sequence[Fact]) -> Sequence[Entry]:
        if self.platter.holder is not self:
            raise StoreError("the journal is not open")
        if self.platter.failing is not None:
            raise self.platter.failing
        linked = link(facts, self.head)
        for entry, encoded in linked:
            self.platter.entries.append(entry)
            for key, text, gone in encoded.aggregates:
                self.platter.aggregates.pop(key, None)
                if not gone:
                    self.platter.aggregates[key] = text
        return [entry for entry, _ in linked]

    async def entries(self, *, after: int = 0, incident: str = "", limit: int = 1000) -> AsyncIterator[Entry]:
        found = [
            entry for entry in self.platter.entries[after:] if not incident or entry.incident == incident
        ]
        for entry in found[:limit]:
            yield entry

    async def before_newest(self, count: int, *, incident: str = "") -> int:
        found = [
            entry.sequence for entry in self.platter.entries if not incident or entry.incident == incident
        ]
        return found[-count - 1] if len(found) > count else 0

    async def verify(self) -> Sequence[str]:
        return broken_links(self.platter.entries, beginning(self._node))

    async def close(self) -> None:
        if self.platter.holder is self:
            self.platter.holder = None

    def crash(self) -> None:
        """The process dies; the platter stays."""
        self.platter.holder = None


def note(text: str = "something was noted", *, wall: float = 1_700_000_000.0, incident: str = "") -> Fact:
    return Fact(
        kind=FactKind.NOTE,
        at=Moment(mono=wall, wall=wall),
        subject="platform",
        incident=incident,
        data=(("text", text),),
    )
