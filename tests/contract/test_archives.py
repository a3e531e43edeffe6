"""One suite for every archive, the fake included."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from controller.model.chain import beginning, link
from controller.model.errors import ChainBroken, StoreError
from controller.model.facts import Entry, Fact
from controller.ports import Archive
from controller.stores.archive import METADATA, SqlArchive
from controller.stores.shipping import Shipper
from tests.builders.archives import MemoryArchive
from tests.builders.journals import MemoryJournal, note
from tests.builders.postgresql import Postgres, binaries


def chain(facts: Sequence[Fact], node: str = "a") -> list[Entry]:
    return [entry for entry, _ in link(facts, beginning(node))]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    server = Postgres(tmp_path_factory.mktemp("postgres"), programs)
    server.start()
    yield server
    server.stop()


async def emptied(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS entries, alembic_version"))
    await engine.dispose()


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)],
)
async def archive(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Archive]:
    made: Archive
    match request.param:
        case "memory":
            made = MemoryArchive()
        case "sqlite":
            made = SqlArchive(f"sqlite+aiosqlite:///{tmp_path / 'archive.sqlite'}")
        case _:
            server: Postgres = request.getfixturevalue("postgres")
            await emptied(server.url)
            made = SqlArchive(server.url)
    await made.open()
    await made.open()  # harmless
    yield made
    await made.close()


async def read(archive: Archive, **how: object) -> list[Entry]:
    return [entry async for entry in archive.entries(**how)]  # type: ignore[arg-type]


async def test_what_is_shipped_comes_back_unchanged(archive: Archive) -> None:
    entries = chain([note(str(n), wall=1000.0 + n / 7, incident="INC-0001") for n in range(20)])
    assert await archive.last_sequence("a") == 0
    await archive.ship(entries)
    assert await read(archive) == entries
    assert await archive.last_sequence("a") == 20
    assert await archive.last_sequence("b") == 0


async def test_shipping_again_changes_nothing(archive: Archive) -> None:
    entries = chain([note(str(n)) for n in range(10)])
    await archive.ship(entries[:6])
    await archive.ship(entries[3:])
    await archive.ship(entries)
    await archive.ship([])
    assert await read(archive) == entries


async def test_a_gap_is_refused_whole(archive: Archive) -> None:
    entries = chain([note(str(n)) for n in range(10)])
    await archive.ship(entries[:3])
    with pytest.raises(ChainBroken, match="sequence 6 would leave a gap"):
        await archive.ship([entries[3], entries[5]])
    assert await archive.last_sequence("a") == 3


async def test_another_history_is_refused(archive: Archive) -> None:
    mine, other = chain([note("a"), note("b"), note("c")]), chain([note("x"), note("y"), note("z")])
    await archive.ship(mine[:2])
    with pytest.raises(ChainBroken, match="another sequence 1"):
        await archive.ship(other)
    with pytest.raises(ChainBroken, match="sequence 3 does not follow"):
        await archive.ship(other[2:])
    assert await read(archive) == mine[:2]


async def test_entries_of_several_nodes_are_merged_by_time(archive: Archive) -> None:
    await archive.ship(chain([note(str(n), wall=float(n * 2), incident="INC-1") for n in range(1, 700)], "a"))
    await archive.ship(chain([note(str(n), wall=float(n * 3)) for n in range(1, 700)], "b"))
    merged = await read(archive)
    assert len(merged) == 1398
    order = [(entry.wall, entry.node, entry.sequence) for entry in merged]
    assert order == sorted(order)
    assert [entry.node for entry in await read(archive, incident="INC-1", after_wall=1390.0)] == ["a"] * 4
    assert await read(archive, limit=601) == merged[:601]


async def test_an_unreachable_archive_is_one_clear_error_without_the_password() -> None:
    with pytest.raises(StoreError, match="archive"):
        SqlArchive("nonsense")
    archive = SqlArchive("sqlite+aiosqlite:////nowhere/at/all.sqlite")
    with pytest.raises(StoreError, match="archive sqlite.*unable to open"):
        await archive.open()
    await archive.close()
    # The driver's thread says goodbye to this loop after it failed: let it, while there is a loop.
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 10.0)


async def test_an_erased_payload_ships(archive: Archive) -> None:
    entries = [entry._replace(payload="") for entry in chain([dataclasses.replace(note(), drill=True)])]
    await archive.ship(entries)
    assert await read(archive) == entries


async def test_an_archive_from_before_there_were_revisions_goes_on(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'archive.sqlite'}"
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    await engine.dispose()
    archive = SqlArchive(url)
    await archive.open()
    entries = chain([note("a")])
    await archive.ship(entries)
    assert await read(archive) == entries
    await archive.close()


async def test_an_archive_of_a_newer_version_is_left_as_it_is(tmp_path: Path) -> None:
    """Old and new version run side by side during an upgrade."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'archive.sqlite'}"
    newer = SqlArchive(url)
    await newer.open()
    await newer.close()
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE entries ADD COLUMN later TEXT"))
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()
    archive = SqlArchive(url)
    await archive.open()
    entries = chain([note("a")])
    await archive.ship(entries)
    assert await archive.last_sequence("a") == 1
    await archive.close()


@pytest.mark.postgresql
async def test_several_nodes_make_the_tables_at_the_same_time(postgres: Postgres) -> None:
    await emptied(postgres.url)
    archives = [SqlArchive(postgres.url) for _ in range(5)]
    await asyncio.gather(*(archive.open() for archive in archives))
    await asyncio.gather(
        *(archive.ship(chain([note("x")], f"node-{number}")) for number, archive in enumerate(archives))
    )
    assert len(await read(archives[0])) == 5
    await asyncio.gather(*(archive.close() for archive in archives))


@pytest.mark.postgresql
async def test_postgresql_away_delays_nothing_and_loses_nothing(postgres: Postgres) -> None:
    """Stopped for a while in the middle of a stream of facts."""
    await emptied(postgres.url)
    journal = MemoryJournal("a")
    await journal.open()
    archive = SqlArchive(postgres.url)
    shipper = Shipper(journal, archive, "a", batch=50, first_pause=0.05, longest_pause=0.2)
    shipper.start(0)
    slowest = 0.0
    for number in range(600):
        if number == 100:
            postgres.stop()
        if number == 400:
            postgres.start()
        began = time.monotonic()
        entries = await journal.record([note(str(number))])
        shipper.notice(entries[-1].sequence)
        await asyncio.sleep(0)
        if number not in (100, 400):
            slowest = max(slowest, time.monotonic() - began)
        if number % 100 == 99:
            await asyncio.sleep(0.3)
    async with asyncio.timeout(30):
        while shipper.waiting:
            await asyncio.sleep(0.05)
    assert [entry.sequence for entry in await read(archive)] == list(range(1, 601))
    assert slowest < 0.2
    await shipper.close()
    await archive.close()
