"""What an incident's page keeps of its story, and what it reads again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import pytest

from controller.engine.desk import Desk
from controller.engine.records import Records, Told
from controller.model.facts import Entry, Fact, FactKind
from controller.model.moments import Moment
from controller.web import recent
from controller.web.recent import AGAIN, RecentEntries
from tests.builders.archives import MemoryArchive
from tests.builders.clocks import HandClock
from tests.builders.journals import MemoryJournal

OPENED, NOTE, TAKEN = FactKind.INCIDENT_OPENED, FactKind.NOTE, FactKind.LEADERSHIP_TAKEN
LOST, INCIDENT = FactKind.LEADERSHIP_LOST, "INC-1"


def told(kind: FactKind, wall: float, incident: str = INCIDENT) -> Fact:
    return Fact(kind=kind, at=Moment(wall, wall), subject="calls", incident=incident)


@dataclass
class Node:
    """The part of a desk that the page asks, over node b's own records; `reads` counts whole readings."""

    journal: MemoryJournal = field(default_factory=lambda: MemoryJournal("b"))
    archive: MemoryArchive = field(default_factory=MemoryArchive)
    clock: HandClock = field(default_factory=HandClock)
    page: RecentEntries = field(default_factory=RecentEntries)
    reads: int = 0

    def __post_init__(self) -> None:
        self.records = Records(self.journal, self.archive, "b", self.clock, shared=True)

    async def alone(self, incident: str) -> bool:
        return await self.records.alone(incident)

    async def told(self, incident: str, count: int) -> Told:
        self.reads += 1
        return await self.records.newest(incident, count)

    def entries(self, *, after: int, incident: str, limit: int) -> AsyncIterator[Entry]:
        return self.journal.entries(after=after, incident=incident, limit=limit)

    async def record(self, *facts: Fact) -> None:
        self.records.notice(await self.journal.record(facts))

    async def look(self) -> list[tuple[str, int]]:
        entries = await self.page.of(cast(Desk, self), INCIDENT)
        return [(entry.node, entry.sequence) for entry in entries]


@pytest.fixture
async def node() -> Node:
    made = Node()
    await made.journal.open()
    await made.record(told(TAKEN, 10.0, ""))
    return made


@pytest.fixture
async def other(node: Node) -> MemoryJournal:
    """Node a, which opened the incident; nothing of it is archived yet."""
    journal = MemoryJournal("a")
    await journal.open()
    await journal.record([told(OPENED, 1.0), told(NOTE, 2.0)])
    return journal


async def test_what_this_node_alone_tells_is_read_once_and_then_only_what_is_new(node: Node) -> None:
    await node.record(told(OPENED, 11.0))
    assert await node.look() == [("b", 2)]
    await node.record(told(NOTE, 12.0))
    assert await node.look() == [("b", 2), ("b", 3)] and node.reads == 1


async def test_what_the_archive_had_to_add_while_it_was_away_is_shown_as_soon_as_it_is_back(
    node: Node, other: MemoryJournal
) -> None:
    await node.record(told(NOTE, 12.0))
    await node.archive.ship(other.platter.entries)
    node.archive.down = True
    assert await node.look() == [("b", 2)]
    node.archive.down = False
    assert await node.look() == [("a", 1), ("a", 2), ("b", 2)]


async def test_what_a_dead_leader_ships_late_is_shown_a_little_later(
    node: Node, other: MemoryJournal
) -> None:
    await node.record(told(NOTE, 12.0))
    await node.archive.ship(other.platter.entries[:1])
    assert await node.look() == [("a", 1), ("b", 2)]
    await node.archive.ship(other.platter.entries)
    await node.record(told(NOTE, 13.0))
    assert await node.look() == [("a", 1), ("b", 2), ("b", 3)]
    assert node.reads == 1, "a long story is not read for every entry"
    node.clock.mono += AGAIN
    assert await node.look() == [("a", 1), ("a", 2), ("b", 2), ("b", 3)]


async def test_what_this_node_alone_told_is_read_again_once_another_leads(node: Node) -> None:
    await node.record(told(OPENED, 11.0))
    assert await node.look() == [("b", 2)]
    await node.record(told(LOST, 12.0, ""))
    a = MemoryJournal("a")
    await a.open()
    await node.archive.ship(await a.record([told(NOTE, 13.0)]))
    assert await node.look() == [("b", 2), ("a", 1)]


async def test_own_entries_older_than_all_that_are_shown_do_not_come_back_at_the_end(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "MOST_ENTRIES", 2)
    await node.record(told(OPENED, 11.0), told(LOST, 12.0, ""))
    a = MemoryJournal("a")
    await a.open()
    await node.archive.ship(await a.record([told(NOTE, 13.0), told(NOTE, 14.0)]))
    assert await node.look() == [("a", 1), ("a", 2)]


async def test_of_many_incidents_the_ones_looked_at_last_are_kept(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "MOST_INCIDENTS", 2)
    names = ["INC-1", "INC-2", "INC-3"]
    for name in names:
        await node.record(told(OPENED, 11.0, name))
    desk = cast(Desk, node)
    for name in ["INC-1", "INC-2", "INC-1", "INC-3", "INC-1"]:
        await node.page.of(desk, name)
    assert node.reads == 3
    await node.page.of(desk, "INC-2")
    assert node.reads == 4
