"""Ten minutes without PostgreSQL, by what ten minutes write: nothing waits for it, nothing is lost, and nothing piles up in
memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from controller.engine.clock import SystemClock
from controller.engine.dispatch import Dispatcher
from controller.engine.loop import Engine
from controller.model.events import LeaseChanged, OperatorPlacedHold, OperatorRequestedSwitch
from controller.model.facts import Entry, Fact, FactKind
from controller.model.groups import UNBYPASSABLE, Group, Refusal, SwitchVerb
from controller.stores.archive import SqlArchive
from controller.stores.journal import SqliteJournal
from controller.stores.shipping import Shipper
from tests.builders.driving import Edges, FakeDriver
from tests.builders.platform import GROUP, policy
from tests.builders.postgresql import Postgres, binaries
from tests.unit.engine.test_loop import IdleProber, NoPager

pytestmark = pytest.mark.postgresql

SECONDS, RATE = 600, 20
"""Of the outage; facts a second, which is what a busy hour with an incident writes."""

BATCH = 500
MOST_BYTES = 3 * 2**20
"""Of Python's own memory while all that is shipped: the whole backlog at once takes three times as much."""


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    server = Postgres(tmp_path_factory.mktemp("postgres"), programs)
    server.start()
    yield server
    server.stop()


class Watched(SqlArchive):
    """`sizes`: of each batch that was tried."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sizes: list[int] = []

    async def ship(self, entries: Sequence[Entry]) -> None:
        self.sizes.append(len(entries))
        await super().ship(entries)


class Node:
    """An engine over a real journal, shipping to a real archive as a controller does."""

    def __init__(self, directory: Path, url: str) -> None:
        self.clock = SystemClock()
        self.edges = Edges.of("edge1", "edge2", epoch=1)
        self.journal = SqliteJournal(directory / "journal.db", "a")
        self.archive = Watched(url)
        self.shipper = Shipper(self.journal, self.archive, "a", batch=BATCH)
        self.dispatcher = Dispatcher(
            clock=self.clock,
            prober=IdleProber(),
            actions={},
            drivers={GROUP: FakeDriver(self.edges)},
            pager=NoPager(),
        )
        self.engine = Engine(
            node="a",
            policy=policy(verification=None),
            journal=self.journal,
            dispatcher=self.dispatcher,
            clock=self.clock,
        )
        self._stop_noticing = self.engine.subscribe(lambda entries: self.shipper.notice(entries[-1].sequence))

    async def start(self) -> None:
        await self.engine.open()
        self._running = asyncio.create_task(self.engine.run())
        self.shipper.start(self.engine.snapshot.sequence)
        at = self.clock.now()
        self.engine.submit(LeaseChanged(at=at, deadline=at.mono + 3600.0))

    async def write(self, second: int) -> None:
        """What one second of the outage writes; returns when it is durable here."""
        at = self.clock.now()
        for number in range(RATE):
            hold = OperatorPlacedHold(
                at=at,
                scope=f"phone-{number}",
                by="wang",
                reason=f"second {second}",
                until_wall=at.wall + 3600.0,
            )
            if number < RATE - 1:
                self.engine.submit(hold)
            else:
                await self.engine.ask(hold)

    async def switch(self) -> tuple[Fact, ...]:
        return await self.engine.ask(
            OperatorRequestedSwitch(
                at=self.clock.now(),
                group=GROUP,
                verb=SwitchVerb.FORCE,
                target="backup",
                by="wang",
                reason="the primary burns",
                overrides=tuple(set(Refusal) - UNBYPASSABLE),
            )
        )

    @property
    def group(self) -> Group:
        return self.engine.snapshot.state.groups[GROUP]

    async def close(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.dispatcher.close()
        await self.shipper.close()
        await self.archive.close()
        await self.journal.close()


@pytest.fixture
async def node(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Node]:
    node = Node(tmp_path, postgres.url)
    await node.start()
    yield node
    await node.close()


async def until(condition: object, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def test_ten_minutes_without_postgresql_delay_nothing_and_lose_nothing(
    node: Node, postgres: Postgres
) -> None:
    await node.write(0)
    await until(lambda: node.shipper.waiting == 0)
    archived = node.shipper.shipped
    await asyncio.to_thread(postgres.stop)

    for second in range(1, SECONDS + 1):
        await node.write(second)
        if second == SECONDS // 2:
            facts = await node.switch()
            assert FactKind.SWITCH_STARTED in [fact.kind for fact in facts]
            await until(lambda: node.group.active == "backup" and node.group.switch is None)
    assert node.shipper.archive_down and node.shipper.shipped == archived, "all of that without it"
    assert node.shipper.waiting > SECONDS * RATE
    assert {frozenset(edge.active) for edge in node.edges.edges.values()} == {frozenset({"backup"})}
    assert node.edges.violations == []

    node.archive.sizes.clear()
    tracemalloc.start()
    try:
        await asyncio.to_thread(postgres.start)
        await until(lambda: node.shipper.shipped > archived + 3 * BATCH)
        await asyncio.to_thread(postgres.stop)  # and once more, in the middle of it
        await node.write(SECONDS + 1)
        await asyncio.to_thread(postgres.start)
        await until(lambda: node.shipper.waiting == 0)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert max(node.archive.sizes) <= BATCH
    assert most < MOST_BYTES
    assert not node.shipper.archive_down and node.shipper.stopped_by is None

    last = node.engine.snapshot.sequence
    mine = [entry async for entry in node.journal.entries(limit=last)]
    theirs = [entry async for entry in node.archive.entries(limit=2 * last)]
    assert [entry.sequence for entry in theirs] == list(range(1, last + 1)), "in order, each once"
    assert theirs == mine
    ended = [entry for entry in theirs if entry.kind == FactKind.SWITCH_ENDED]
    assert len(ended) == 1


async def test_what_was_not_shipped_when_the_process_ended_is_shipped_by_the_next(
    node: Node, postgres: Postgres, tmp_path: Path
) -> None:
    await node.write(0)
    await until(lambda: node.shipper.waiting == 0)
    await asyncio.to_thread(postgres.stop)
    for second in range(1, 60):
        await node.write(second)
    last = node.engine.snapshot.sequence
    await node.close()
    await asyncio.to_thread(postgres.start)
    again = Node(tmp_path, postgres.url)
    await again.start()
    try:
        await until(lambda: again.shipper.shipped >= last)
        found = [entry async for entry in again.archive.entries(limit=2 * last)]
        assert [entry.sequence for entry in found[:last]] == list(range(1, last + 1))
    finally:
        await again.close()
