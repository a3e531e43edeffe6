"""The story of an incident over the nodes that led meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.engine import records as records_module
from controller.engine.records import Records
from controller.model.facts import Entry, Fact, FactKind
from controller.model.moments import Moment
from controller.ports import Archive
from controller.stores.archive import SqlArchive
from tests.builders.archives import MemoryArchive
from tests.builders.clocks import HandClock
from tests.builders.journals import MemoryJournal


def told(kind: FactKind, incident: str, wall: float) -> Fact:
    return Fact(kind=kind, at=Moment(wall, wall), subject=incident, incident=incident)


OPENED, NOTE, RESOLVED = FactKind.INCIDENT_OPENED, FactKind.NOTE, FactKind.INCIDENT_RESOLVED
TAKEN = FactKind.LEADERSHIP_TAKEN


@dataclass
class Two:
    """Node a led, then b; `archive` has what both shipped."""

    a: MemoryJournal
    b: MemoryJournal
    archive: SqlArchive

    async def story(self, incident: str, limit: int = 100) -> list[tuple[str, int]]:
        return await told_by(shared(self.b, self.archive), incident, limit)


def shared(journal: MemoryJournal, archive: Archive, clock: HandClock | None = None) -> Records:
    """Of one of several nodes."""
    return Records(journal, archive, journal.head.node, clock or HandClock(), shared=True)


async def told_by(records: Records, incident: str, limit: int = 100) -> list[tuple[str, int]]:
    return [(entry.node, entry.sequence) async for entry in records.of(incident, limit=limit)]


async def recorded(journal: MemoryJournal, records: Records, *facts: Fact) -> Sequence[Entry]:
    """Facts as the engine records them: the records notice them after the commit."""
    entries = await journal.record(facts)
    records.notice(entries)
    return entries


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


async def test_what_began_here_and_ended_elsewhere_is_told_to_its_end(nodes: Two) -> None:
    """a opens it and dies; b reads it, mitigates and resolves it; a is back and follows."""
    records = shared(nodes.a, nodes.archive)
    await nodes.archive.ship(await nodes.b.record([told(RESOLVED, "INC-2", 30.0)]))
    assert await told_by(records, "INC-2") == [("a", 3), ("b", 2), ("b", 4)]
    newest = await records.newest("INC-2", 2)
    assert [(entry.node, entry.sequence) for entry in newest.entries] == [("b", 2), ("b", 4)]
    assert (newest.last, newest.alone, newest.whole) == (3, False, True)


async def test_while_this_node_has_led_since_it_was_opened_the_archive_is_not_asked(nodes: Two) -> None:
    archive = MemoryArchive()
    records = shared(nodes.b, archive)
    await recorded(nodes.b, records, told(TAKEN, "", 30.0))
    await recorded(nodes.b, records, told(OPENED, "INC-4", 31.0), told(RESOLVED, "INC-4", 32.0))
    assert await told_by(records, "INC-4") == [("b", 5), ("b", 6)]
    assert await records.newest("INC-4", 1) == (nodes.b.platter.entries[5:], 6, True, True)
    assert archive.calls == 0
    assert await told_by(records, "INC-3") == [("b", 3)]
    assert archive.calls == 1, "another may have led between its beginning and this node's lead"


@pytest.mark.parametrize("change", [FactKind.LEADERSHIP_LOST, FactKind.LEADERSHIP_TAKEN])
async def test_after_a_change_of_leadership_others_may_have_gone_on_with_it(
    nodes: Two, change: FactKind
) -> None:
    records = shared(nodes.b, nodes.archive)
    await recorded(nodes.b, records, told(TAKEN, "", 30.0), told(OPENED, "INC-4", 31.0))
    assert await records.alone("INC-4")
    await recorded(nodes.b, records, told(change, "", 33.0))
    assert not await records.alone("INC-4")
    await nodes.archive.ship(await nodes.a.record([told(RESOLVED, "INC-4", 32.0)]))
    assert await told_by(records, "INC-4") == [("b", 5), ("a", 4)]


async def test_a_node_that_stands_alone_asks_no_archive_for_what_it_began(nodes: Two) -> None:
    archive = MemoryArchive()
    records = Records(nodes.b, archive, "b", HandClock(), shared=False)
    assert await told_by(records, "INC-3") == [("b", 3)]
    assert archive.calls == 0


async def test_an_archive_that_is_away_takes_nothing_of_this_node_s_away(
    nodes: Two, caplog: pytest.LogCaptureFixture
) -> None:
    archive = MemoryArchive()
    archive.down = True
    records = shared(nodes.b, archive)
    assert await told_by(records, "INC-2") == [("b", 2)]
    assert not (await records.newest("INC-2", 10)).whole
    said = [record for record in caplog.records if record.name == records_module.__name__]
    assert [(record.levelno, "INC-2" in record.message) for record in said] == [(logging.WARNING, True)]
    archive.down = False
    archive.kept = {("a", 3): nodes.a.platter.entries[2]}
    newest = await records.newest("INC-2", 10)
    assert [(entry.node, entry.sequence) for entry in newest.entries] == [("a", 3), ("b", 2)] and newest.whole


async def test_nobody_waits_long_for_an_archive_that_says_nothing_and_not_each_time(
    nodes: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(MemoryArchive):
        async def entries(
            self, *, incident: str = "", after_wall: float = 0.0, limit: int = 10000
        ) -> AsyncIterator[Entry]:
            self.calls += 1
            await asyncio.Event().wait()
            yield nodes.b.platter.entries[0]

    monkeypatch.setattr(records_module, "PATIENCE", 0.01)
    archive, clock = Silent(), HandClock()
    records = shared(nodes.b, archive, clock)
    for _ in range(2):
        assert await told_by(records, "INC-2") == [("b", 2)]
    assert archive.calls == 1
    clock.mono += records_module.SPARED
    assert await told_by(records, "INC-2") == [("b", 2)]
    assert archive.calls == 2
