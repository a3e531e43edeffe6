"""One suite for every archive, the fake included."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from controller.model.chain import beginning, link
from controller.model.errors import ChainBroken, StoreError
from controller.model.facts import Entry, Fact
from controller.ports import Archive
from controller.stores.archive import SqlArchive
from tests.builders.archives import MemoryArchive
from tests.builders.journals import note


def chain(facts: Sequence[Fact], node: str = "a") -> list[Entry]:
    return [entry for entry, _ in link(facts, beginning(node))]


@pytest.fixture(params=["memory", "sqlite"])
async def archive(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Archive]:
    made: Archive = (
        MemoryArchive()
        if request.param == "memory"
        else SqlArchive(f"sqlite+aiosqlite:///{tmp_path / 'archive.sqlite'}")
    )
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
