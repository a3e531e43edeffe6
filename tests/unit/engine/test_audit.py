"""The check of a record beside the engine: a real journal, a real process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from controller.core.timeline import fold, lines
from controller.engine.audit import Audit, AuditLate, Order
from controller.model.facts import Entry, FactKind
from controller.stores.journal import SqliteJournal
from tests.builders.journals import note
from tests.builders.records import Story, disobeyed, failover


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[SqliteJournal]:
    made = SqliteJournal(path, "here")
    await made.open()
    yield made
    await made.close()


async def recorded(journal: SqliteJournal, story: Story) -> list[Entry]:
    return list(await journal.record(story.facts))


async def test_a_good_record_has_no_violation(journal: SqliteJournal, path: Path) -> None:
    entries = await recorded(journal, failover())
    live = fold(lines(entries)).values()
    assert await Audit(path).violations(Order(head=journal.head, budgets={}), live) == []
    assert await Audit(path).violations(Order(head=journal.head, budgets={}, after=5), live) == []


async def test_what_was_recorded_since_is_not_held_against_the_state(
    journal: SqliteJournal, path: Path
) -> None:
    """The engine goes on while its record is checked."""
    entries = await recorded(journal, failover())
    order = Order(head=journal.head, budgets={})
    extra = Story()
    extra.add(FactKind.INCIDENT_OPENED, 700.0, "INC-0002", incident="INC-0002")
    await journal.record([*extra.facts, note()])
    assert await Audit(path).violations(order, fold(lines(entries)).values()) == []


async def test_a_state_that_the_record_does_not_add_up_to_is_a_violation(
    journal: SqliteJournal, path: Path
) -> None:
    await recorded(journal, failover())
    found = await Audit(path).violations(Order(head=journal.head, budgets={}), ())
    assert any("the record has group/main and it is not live" in each for each in found), found


async def test_of_the_invariants_only_what_shows_after_a_sequence_and_the_chain_whole(
    journal: SqliteJournal, path: Path
) -> None:
    await recorded(journal, disobeyed())
    order = Order(head=journal.head, budgets={})
    audit = Audit(path)
    (found,) = await audit.violations(order, ())
    assert "primary answers a call while backup takes them" in found
    assert await audit.violations(replace(order, after=journal.head.sequence), ()) == []
    other = replace(order, head=journal.head._replace(digest="0" * 64), after=journal.head.sequence)
    assert await audit.violations(other, ()) == ["sequence 4: it was another entry when it was anchored"]


async def test_a_journal_that_is_not_there_is_a_violation(path: Path, journal: SqliteJournal) -> None:
    gone = path.with_name("other.db")
    found = await Audit(gone).violations(Order(head=journal.head, budgets={}), ())
    assert found == [f"{gone}: no such journal"]


def children(mark: str) -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if mark in child.cmdline()]


async def test_one_that_hangs_is_ended(path: Path, journal: SqliteJournal) -> None:
    hangs = "import time; time.sleep(600)"
    audit = Audit(path, argv=(sys.executable, "-c", hangs), longest=0.2)
    with pytest.raises(AuditLate, match="longer than 0.2 s"):
        await audit.violations(Order(head=journal.head, budgets={}), ())
    assert not children(hangs)


async def test_whoever_gives_up_leaves_no_process(path: Path, journal: SqliteJournal) -> None:
    hangs = "import time; time.sleep(601)"
    audit = Audit(path, argv=(sys.executable, "-c", hangs))
    asked = asyncio.create_task(audit.violations(Order(head=journal.head, budgets={}), ()))
    async with asyncio.timeout(30):
        while not children(hangs):
            await asyncio.sleep(0.01)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert asked.cancelled() and not children(hangs)


async def test_one_that_fails_is_no_clean_bill(path: Path, journal: SqliteJournal) -> None:
    audit = Audit(path, argv=(sys.executable, "-c", "raise SystemExit('no room')"))
    with pytest.raises(RuntimeError, match="no room"):
        await audit.violations(Order(head=journal.head, budgets={}), ())
