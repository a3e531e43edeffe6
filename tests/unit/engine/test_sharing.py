"""What one node's vantage says reaches the others, and stops counting when its prober stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from controller.engine import sharing
from controller.engine.sharing import Sharing
from controller.model.events import Event, HealthChanged, VantageBeat
from controller.model.health import HealthState, Outcome, RungKey
from controller.model.moments import Moment
from tests.builders.registers import Board, StoreSightings

KEY = RungKey("primary", "sip")


class Clock:
    """Each node counts from a zero of its own."""

    def __init__(self, zero: float) -> None:
        self.zero = zero

    def now(self) -> Moment:
        return Moment(time.monotonic() - self.zero, time.time())


class Node:
    def __init__(self, board: Board, name: str, zero: float) -> None:
        self.name = name
        self.clock = Clock(zero)
        self.sightings = StoreSightings(board, name)
        self.heard: list[Event] = []
        self.sharing = Sharing(
            self.sightings,
            self.clock,
            self.heard.append,
            vantage=name,
            failure_domain=f"rack-{name}",
            shared={"primary", "backup"},
        )
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self.tasks = [
            asyncio.create_task(self.sharing.publish()),
            asyncio.create_task(self.sharing.listen()),
        ]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def beat(self, probes: int) -> None:
        self.sharing.notice(
            VantageBeat(at=self.clock.now(), vantage=self.name, probes=probes, late=0, lag=0.001)
        )

    def says(self, state: HealthState, key: RungKey = KEY, ago: float = 2.0) -> None:
        at = self.clock.now()
        self.sharing.notice(
            HealthChanged(
                at=at,
                vantage=self.name,
                key=key,
                previous=HealthState.UP,
                current=state,
                outcome=Outcome.NO_REPLY,
                first_bad=at.mono - ago,
            )
        )

    def words(self) -> list[tuple[str, HealthState]]:
        return [(e.vantage, e.current) for e in self.heard if isinstance(e, HealthChanged)]

    def beats(self) -> list[int]:
        return [e.probes for e in self.heard if isinstance(e, VantageBeat)]


@pytest.fixture
async def nodes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Node, Node, Board]]:
    monkeypatch.setattr(sharing, "RETRY", 0.02)
    board = Board()
    first, second = Node(board, "a", 0.0), Node(board, "b", 5_000.0)
    first.start()
    second.start()
    await until(lambda: len(board.readers) == 2)
    first.beat(0)  # the first sighting says nothing yet
    await until(lambda: "a" in board.newest)
    yield first, second, board
    await first.stop()
    await second.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_word_reaches_the_other_with_its_age_on_that_ones_clock(
    nodes: tuple[Node, Node, Board],
) -> None:
    first, second, _ = nodes
    first.beat(1)
    first.says(HealthState.DOWN, ago=2.0)
    await until(lambda: second.words() == [("a", HealthState.DOWN)])
    (event,) = (event for event in second.heard if isinstance(event, HealthChanged))
    assert event.at.mono - event.first_bad == pytest.approx(2.0, abs=0.5)
    assert event.last_good == 0.0
    assert next(e for e in second.heard if isinstance(e, VantageBeat)).failure_domain == "rack-a"
    assert first.heard == []


async def test_only_progress_of_the_prober_counts_as_a_beat(nodes: tuple[Node, Node, Board]) -> None:
    first, second, _ = nodes
    first.beat(1)
    await until(lambda: second.beats() == [1])
    first.says(HealthState.DOWN)  # published at once, with the beat that is known
    await until(lambda: len(second.words()) == 1)
    assert second.beats() == [1]
    first.beat(2)
    await until(lambda: second.beats() == [1, 2])


async def test_what_no_failover_waits_for_is_not_shared(nodes: tuple[Node, Node, Board]) -> None:
    first, second, board = nodes
    first.says(HealthState.DOWN, RungKey("phone-9", "sip"))
    first.beat(1)
    await until(lambda: second.beats() == [1])
    assert second.words() == []
    assert board.newest["a"].words == {}


async def test_nothing_is_vouched_for_before_the_prober_beat(nodes: tuple[Node, Node, Board]) -> None:
    first, _, board = nodes
    fresh = Node(board, "c", 0.0)
    fresh.start()
    fresh.says(HealthState.DOWN)
    await asyncio.sleep(0.02)
    assert "c" not in board.newest
    await fresh.stop()


async def test_what_a_dead_node_left_behind_is_no_word(nodes: tuple[Node, Node, Board]) -> None:
    first, _, board = nodes
    first.beat(1)
    first.says(HealthState.DOWN)
    await until(lambda: bool(board.newest["a"].words))
    await first.stop()
    late = Node(board, "c", 0.0)
    late.start()
    await until(lambda: len(board.readers) == 2)
    await asyncio.sleep(0.02)
    assert late.heard == []
    await late.stop()


async def test_a_node_that_comes_back_to_the_store_is_heard_again(nodes: tuple[Node, Node, Board]) -> None:
    first, second, board = nodes
    first.beat(1)
    await until(lambda: second.beats() == [1])
    board.cut_off("b")
    first.beat(2)
    await until(lambda: board.newest["a"].probes == 2)
    assert second.beats() == [1]
    board.cut.clear()
    await until(lambda: second.beats() == [1, 2])


async def test_a_rung_that_is_no_longer_spoken_of_is_unknown(nodes: tuple[Node, Node, Board]) -> None:
    first, second, board = nodes
    first.beat(1)
    first.says(HealthState.DOWN)
    await until(lambda: second.words() == [("a", HealthState.DOWN)])
    await first.stop()
    again = Node(board, "a", 0.0)
    again.start()
    again.beat(2)
    await until(lambda: second.words()[-1] == ("a", HealthState.UNKNOWN))
    await again.stop()
