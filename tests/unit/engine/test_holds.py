"""The holds of addresses as evidence: an age on the reader's clock, and nothing at all when the store can't be read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from controller.engine import holds
from controller.engine.holds import Holds
from controller.model.events import Event, HealthChanged, Measured
from controller.model.health import HealthState, Outcome
from controller.model.moments import Moment
from controller.model.state import State
from tests.builders.registers import Store, StoreGrants, StoreLease


class Clock:
    def now(self) -> Moment:
        return Moment(time.monotonic(), time.time())


class Reader:
    def __init__(self, store: Store) -> None:
        self.store = store
        lease = StoreLease(store, "a", lifetime=3600.0)
        self.lease = lease
        self.grants = StoreGrants(store, lease)
        self.heard: list[Event] = []
        self.following = False
        self.holds = Holds(
            self.grants,
            Clock(),
            self.heard.append,
            lambda: State(node="a", following=self.following),
            vantage="a",
            groups={"calls": {"primary": "p", "backup": "b"}},
        )
        self.beats = 0

    async def beat(self) -> None:
        grant = (await self.grants.read("calls"))[0]
        assert grant is not None
        self.beats += 1
        assert self.grants.beat("calls", grant, "agent", self.beats)

    @property
    def ages(self) -> list[tuple[str, float, bool | None]]:
        return [
            (event.key.component, float(dict(event.values)["age"] or 0.0), event.up)
            for event in self.heard
            if isinstance(event, Measured)
        ]

    @property
    def words(self) -> list[tuple[str, HealthState, Outcome]]:
        return [
            (event.key.component, event.current, event.outcome)
            for event in self.heard
            if isinstance(event, HealthChanged)
        ]


@pytest.fixture
async def reader(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reader]:
    monkeypatch.setattr(holds, "PERIOD", 0.01)
    reader = Reader(Store(now=time.monotonic))
    assert await reader.lease.acquire() is not None
    task = asyncio.create_task(reader.holds.read())
    yield reader
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_age_grows_until_the_next_heartbeat(reader: Reader) -> None:
    await reader.grants.open_grant("calls", "primary", 1)
    await reader.beat()
    await until(lambda: bool(reader.ages) and reader.ages[-1][1] > 0.1)
    assert reader.ages[-1] == ("p", reader.ages[-1][1], True)
    await reader.beat()
    await until(lambda: reader.ages[-1][1] < 0.1)
    await until(lambda: reader.ages[-1][2] is False)
    assert reader.ages[-1][1] >= holds.OVERDUE
    assert reader.words == [("p", HealthState.UP, Outcome.UP)]


async def test_a_grant_that_is_closed_or_never_held_says_nothing(reader: Reader) -> None:
    await reader.grants.open_grant("calls", "primary", 1)
    await asyncio.sleep(0.05)
    assert reader.heard == []  # no agent took it yet
    await reader.beat()
    await until(lambda: bool(reader.ages))
    await reader.grants.close_grant("calls", 2)
    await asyncio.sleep(0.03)
    count = len(reader.heard)
    await asyncio.sleep(0.05)
    assert len(reader.heard) == count
    await reader.grants.open_grant("calls", "backup", 2)
    await asyncio.sleep(0.05)
    assert len(reader.heard) == count, "the last heartbeat was of another epoch"
    await reader.beat()
    await until(lambda: reader.ages[-1][0] == "b")


async def test_a_store_that_can_not_be_read_takes_back_what_was_read(reader: Reader) -> None:
    await reader.grants.open_grant("calls", "primary", 1)
    await reader.beat()
    await until(lambda: bool(reader.ages))
    reader.store.down = True
    await until(lambda: reader.words[-1] == ("p", HealthState.UNKNOWN, Outcome.VOID))
    count = len(reader.ages)
    await asyncio.sleep(0.5)
    assert len(reader.ages) == count
    reader.store.down = False
    await until(lambda: len(reader.ages) > count)
    assert reader.ages[count][1] < 0.1, "it counts from when it is seen again"
    assert reader.words[-1] == ("p", HealthState.UP, Outcome.UP)


async def test_a_follower_reads_nothing(reader: Reader) -> None:
    reader.following = True
    await reader.grants.open_grant("calls", "primary", 1)
    await reader.beat()
    await asyncio.sleep(0.1)
    assert reader.heard == []


async def test_it_does_not_end_where_nobody_holds_an_address() -> None:
    """A part of the controller that ends would end all of it."""
    reader = Reader(Store(now=time.monotonic))
    nobodys = Holds(
        reader.grants, Clock(), reader.heard.append, lambda: State(node="a"), vantage="a", groups={}
    )
    reading = asyncio.create_task(nobodys.read())
    await asyncio.sleep(0.01)
    assert not reading.done()
    reading.cancel()
