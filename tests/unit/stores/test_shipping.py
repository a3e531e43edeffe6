from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from controller.model.chain import beginning, link
from controller.stores.shipping import Shipper
from tests.builders.archives import MemoryArchive
from tests.builders.holding import VirtualLoop, in_virtual_time
from tests.builders.journals import MemoryJournal, note


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
async def journal() -> MemoryJournal:
    made = MemoryJournal("here")
    await made.open()
    return made


def shipper(journal: MemoryJournal, archive: MemoryArchive) -> Shipper:
    return Shipper(journal, archive, "here", batch=7, first_pause=0.001, longest_pause=0.005)


async def test_everything_is_shipped_in_order_and_more_follows(journal: MemoryJournal) -> None:
    archive = MemoryArchive()
    await journal.record([note(str(n)) for n in range(30)])
    ship = shipper(journal, archive)
    ship.start(30)
    await until(lambda: ship.shipped == 30)
    await journal.record([note("later")])
    ship.notice(31)
    await until(lambda: ship.shipped == 31)
    assert [entry async for entry in archive.entries()] == journal.platter.entries
    assert (ship.waiting, ship.archive_down) == (0, False)
    await ship.close()


async def test_a_dead_archive_delays_nothing_and_loses_nothing(journal: MemoryJournal) -> None:
    archive = MemoryArchive()
    archive.down = True
    ship = shipper(journal, archive)
    ship.start(0)
    for n in range(10):
        await journal.record([note(str(n))])
        ship.notice(n + 1)
    await until(lambda: archive.calls >= 4)
    assert ship.archive_down
    assert ship.waiting == 10
    archive.down = False
    await until(lambda: ship.shipped == 10)
    assert not ship.archive_down
    assert await archive.last_sequence("here") == 10
    await ship.close()


async def test_a_new_shipper_resumes_where_the_archive_stands(journal: MemoryJournal) -> None:
    archive = MemoryArchive()
    entries = await journal.record([note(str(n)) for n in range(20)])
    await archive.ship(entries[:13])
    ship = shipper(journal, archive)
    ship.start(20)
    await until(lambda: ship.shipped == 20)
    await ship.close()
    assert [entry async for entry in archive.entries()] == list(entries)


async def test_a_lost_reply_is_harmless(journal: MemoryJournal) -> None:
    archive = MemoryArchive()
    await journal.record([note(str(n)) for n in range(9)])
    archive.lose_reply = True
    ship = shipper(journal, archive)
    ship.start(9)
    await until(lambda: ship.shipped == 9)
    assert len(archive.kept) == 9
    await ship.close()


async def test_another_history_in_the_archive_stops_shipping(journal: MemoryJournal) -> None:
    archive = MemoryArchive()
    await archive.ship([entry for entry, _ in link([note("x"), note("y")], beginning("here"))])
    await journal.record([note("a"), note("b"), note("c")])
    ship = shipper(journal, archive)
    ship.start(3)
    await until(lambda: ship.stopped_by is not None)
    assert "does not follow" in str(ship.stopped_by)
    assert len(archive.kept) == 2
    await ship.close()


def test_after_a_long_outage_it_goes_on_within_the_longest_pause() -> None:
    """As it runs in a controller: an hour of trying in vain has not made it patient."""

    async def work(loop: VirtualLoop) -> None:
        journal, archive = MemoryJournal("here"), MemoryArchive()
        await journal.open()
        archive.down = True
        ship = Shipper(journal, archive, "here")
        ship.start(0)
        await journal.record([note("x")])
        ship.notice(1)
        await asyncio.sleep(3600.0)
        assert archive.calls < 3600 / 2, "nor has it hammered at it"
        archive.down, began = False, loop.time()
        while ship.waiting:
            await asyncio.sleep(0.01)
        assert loop.time() - began < 5.0 + 0.5 + 0.05
        await ship.close()

    in_virtual_time(work)
