"""The instrument itself: time jumps only when nothing is ready, a killed host runs nothing more, the disk keeps its word."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from controller.model.errors import StoreFull
from tests.builders.journals import note
from tests.simulation.disk import Disk, SimulatedJournal
from tests.simulation.loop import Deadlock, Host, VirtualLoop
from tests.simulation.network import Network


def test_time_jumps_to_the_next_deadline_and_no_further() -> None:
    loop, host, seen = VirtualLoop(Random(1)), Host("a", offset=100.0, drift=0.01), []

    async def sleeper() -> None:
        await asyncio.sleep(1.01)
        seen.append((loop.now, loop.time()))

    loop.spawn(host, sleeper())
    loop.run(until=0.99)
    assert seen == []
    loop.after(5.0, seen.append, "world")
    loop.run(until=1.5)
    assert seen[0] == (pytest.approx(1.0), pytest.approx(101.01))
    with pytest.raises(Deadlock):
        loop.run(until=100.0)
    assert seen[1] == "world"


def test_the_seed_decides_the_order_of_what_is_ready() -> None:
    def order(seed: int) -> list[int]:
        loop, host, seen = VirtualLoop(Random(seed)), Host("a"), []

        async def say(number: int) -> None:
            seen.append(number)

        for number in range(8):
            loop.spawn(host, say(number))
        loop.after(1.0, seen.append, -1)
        loop.run(until=0.5)
        return seen

    assert order(1) == order(1)
    assert sorted(order(1)) == list(range(8))
    assert len({tuple(order(seed)) for seed in range(20)}) > 10


def test_a_killed_host_runs_no_finally_and_a_paused_one_runs_late() -> None:
    loop, ended = VirtualLoop(Random(1)), []
    dead, slow = Host("dead"), Host("slow")

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(1.0)
        finally:
            ended.append((name, loop.now))

    loop.spawn(dead, work("dead"))
    loop.spawn(slow, work("slow"))
    loop.after(0.5, loop.kill, dead)
    loop.after(0.5, loop.pause, slow)
    loop.after(3.0, loop.resume, slow)
    loop.after(9.0, lambda: None)
    loop.run(until=8.0)
    assert ended == [("slow", 3.0)]


def test_a_power_cut_keeps_what_was_synced_and_nothing_half() -> None:
    kept = set()
    for seed in range(20):
        loop, host, disk = VirtualLoop(Random(seed)), Host("a"), Disk(Random(seed))
        journal = SimulatedJournal("a", disk)

        async def write(journal: SimulatedJournal = journal) -> None:
            await journal.open()
            await journal.record([note("one")])
            await journal.record([note("two"), note("three")])

        loop.spawn(host, write())
        while disk.acknowledged < 1:
            loop.run(until=loop.now + 0.0001)
        loop.kill(host)
        disk.power_cut()
        kept.add(len(disk.platter.entries))
        assert asyncio.run(SimulatedJournal("a", disk).open()).last_sequence == len(disk.platter.entries)
    assert kept == {1, 3}


def test_a_full_disk_records_nothing() -> None:
    loop, host, disk, seen = VirtualLoop(Random(1)), Host("a"), Disk(Random(1), full=True), []

    async def write() -> None:
        journal = SimulatedJournal("a", disk)
        await journal.open()
        try:
            await journal.record([note()])
        except StoreFull as error:
            seen.append(error)

    loop.spawn(host, write())
    loop.after(1.0, lambda: None)
    loop.run(until=0.5)
    assert len(seen) == 1 and not disk.platter.entries


def test_a_partition_is_one_way_and_heals() -> None:
    loop = VirtualLoop(Random(1))
    network = Network(loop, Random(1))
    heal = network.partition({"a"}, {"b"})
    assert network.delay("a", "b") is None
    assert network.delay("b", "a") is not None
    heal()
    assert network.delay("a", "b") is not None
