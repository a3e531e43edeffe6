"""The agent's pin: what it remembers of the store it obeys, and when."""

from __future__ import annotations

import asyncio
from pathlib import Path

from controller.agent.belonging import Belonging
from controller.agent.memory import Memory
from tests.builders.holding import FakeStore, VirtualLoop


def remembered(directory: Path) -> str:
    """As a new start would read it."""
    memory = Memory(directory)
    memory._read()
    return memory.store


async def test_the_first_store_that_answers_is_remembered_and_its_word_as_soon_as_it_shows_one(
    tmp_path: Path,
) -> None:
    memory, store = Memory(tmp_path), FakeStore(VirtualLoop())
    store.store = "1234"
    keeping = asyncio.create_task(Belonging(memory, store).keep())
    async with asyncio.timeout(5):
        while not (tmp_path / "agent.json").exists():
            await asyncio.sleep(0.005)
    assert not keeping.done() and remembered(tmp_path) == "1234"
    store.show("1234/word")
    await asyncio.wait_for(keeping, 5)
    assert remembered(tmp_path) == "1234/word"


async def test_what_was_remembered_is_asked_for_after_a_new_start(tmp_path: Path) -> None:
    memory, store = Memory(tmp_path), FakeStore(VirtualLoop())
    await memory.pin("1234/word")
    Belonging(memory, store).recall()
    assert store.store == "1234/word"


async def test_an_adopted_store_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    memory, store = Memory(tmp_path), FakeStore(VirtualLoop())
    belonging = Belonging(memory, store)
    store.show("1234/word")
    await belonging.keep()
    await belonging.adopt("1234/another")
    assert store.store == memory.store == remembered(tmp_path) == "1234/another"
    await belonging.keep()
    assert remembered(tmp_path) == "1234/another"
