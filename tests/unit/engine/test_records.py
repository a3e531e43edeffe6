"""The story of an incident over the nodes that led meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.engine import records
from controller.engine.records import Records
from controller.model.facts import Entry, Fact, FactKind
from controller.model.moments import Moment
from controller.stores.archive import SqlArchive
from tests.builders.archives import MemoryArchive
from tests.builders.journals import MemoryJournal


def told(kind: FactKind, incident: str, wall: float) -> Fact:
    return Fact(kind=kind, at=Moment(wall, wall), subject=incident, incident=incident)


OPENED, NOTE, RESOLVED = FactKind.INCIDENT_OPENED, FactKind.NOTE, FactKind.INCIDENT_RESOLVED


@dataclass
class Two:
    """Node a led, then b; `archive` has what both shipped."""

    a: MemoryJournal
    b: MemoryJournal
    archive: SqlArchive

    async def story(self, incident: str, limit: int = 100) -> list[tuple[str, int]]:
        found = Records(self.b, self.archive, "b").of(incident, limit=limit)
        return [(entry.node, entry.sequence) async for entry in found]


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Two]:
    a, b = MemoryJournal("a"), MemoryJournal("b")
    archive = SqlArchive(f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}")
    await archive.open()
    for journal, facts in (
        (a, [told(OPENED, "INC-1", 10.0), told(RESOLVED, "INC-1", 11.0), told(OPENED, "INC-2", 12.0)]),
        (b, [told(NOTE, "", 1.0), told(NOTE, "INC-2", 20.0), told(OPENED, "INC-3", 21.0)]),
    ):
        await journal.open()
        await archive.ship(await journal.record(facts))
    yield Two(a, b, archive)
    await archive.close()


async def test_what_another_node_began_and_ended_comes_from_the_archive(nodes: Two) -> None:
    assert await nodes.story("INC-1") == [("a", 1), ("a", 2)]


async def test_what_was_taken_over_is_told_from_its_beginning(nodes: Two) -> None:
    assert await nodes.story("INC-2") == [("a", 3), ("b", 2)]
    assert await nodes.story("INC-2", limit=1) == [("a", 3)]


async def test_for_what_this_node_began_the_archive_is_not_asked(nodes: Two) -> None:
    archive = MemoryArchive()
    found = Records(nodes.b, archive, "b").of("INC-3", limit=10)
    assert [entry.sequence async for entry in found] == [3]
    assert archive.calls == 0


async def test_an_archive_that_is_away_takes_nothing_of_this_node_s_away(nodes: Two) -> None:
    archive = MemoryArchive()
    archive.down = True
    found = Records(nodes.b, archive, "b").of("INC-2", limit=10)
    assert [(entry.node, entry.sequence) async for entry in found] == [("b", 2)]


async def test_nobody_waits_long_for_an_archive_that_says_nothing(
    nodes: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(MemoryArchive):
        async def entries(
            self, *, incident: str = "", after_wall: float = 0.0, limit: int = 10000
        ) -> AsyncIterator[Entry]:
            await asyncio.Event().wait()
            yield

    monkeypatch.setattr(records, "PATIENCE", 0.01)
    found = Records(nodes.b, Silent(), "b").of("INC-2", limit=10)
    assert [(entry.node, entry.sequence) async for entry in found] == [("b", 2)]
