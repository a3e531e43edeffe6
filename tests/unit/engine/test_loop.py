"""The engine: nothing leaves before its commit, nothing is lost while the journal fails, timers are the state's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest
from immutables import Map

from controller.engine import loop
from controller.engine.dispatch import Dispatcher
from controller.engine.loop import Engine
from controller.engine.recovery import durable, restore
from controller.model.commands import Notify, RunAction
from controller.model.drills import Objective, Scenario
from controller.model.errors import ChainBroken, StoreError, StoreFull
from controller.model.events import (
    DrillRequested,
    Event,
    HealthChanged,
    LeaseChanged,
    Measured,
    OperatorPlacedHold,
    OperatorReleasedHold,
    PageWanted,
)
from controller.model.facts import Entry, FactKind
from controller.model.groups import Group
from controller.model.health import HealthState, Outcome, RungKey
from controller.model.moments import Moment
from controller.model.policy import Policy
from controller.model.runbooks import Text
from controller.ports import ActionOutcome, Target
from tests.builders import paging
from tests.builders.journals import MemoryJournal, Platter
from tests.builders.platform import policy

SCENARIO = Scenario(
    name="kill",
    title=Text(zh="停", en="kill"),
    group="",
    component="primary",
    inject=("inject", ()),
    undo=("undo", ()),
    expires=0.2,
    objectives=(Objective(name="detect", limit=1.0),),
)


class HandClock:
    """Real monotonic time with an offset that a test moves."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> Moment:
        mono = time.monotonic() + self.offset
        return Moment(mono, 1_700_000_000.0 + mono)


class IdleProber:
    async def start(self) -> None: ...

    async def assign(self, targets: Sequence[Target]) -> None: ...

    async def run_ladder(self, command: str, keys: Sequence[RungKey], timeout: float, count: int) -> None: ...

    async def events(self) -> AsyncIterator[Event]:
        return
        yield

    async def close(self) -> None: ...


class Recorder:
    """An action that remembers what it was told, and what the journal held at that moment."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.seen: list[tuple[str, list[str]]] = []
        self.called = asyncio.Event()

    async def run(self, command: RunAction) -> ActionOutcome:
        self.seen.append((command.action, [entry.kind for entry in self.journal.platter.entries]))
        self.called.set()
        return ActionOutcome()

    async def close(self) -> None: ...


class NoPager:
    async def send(self, command: Notify) -> str:
        raise AssertionError("nobody is paged here")


class Telephone:
    """Hands every page over, and remembers it."""

    def __init__(self) -> None:
        self.rung: list[Notify] = []

    async def send(self, command: Notify) -> str:
        self.rung.append(command)
        return "handed over"


class Bench:
    """An engine over a memory journal, running."""

    def __init__(self, rules: Policy, platter: Platter, pager: NoPager | Telephone | None = None) -> None:
        self.clock = HandClock()
        self.journal = MemoryJournal("a", platter)
        self.action = Recorder(self.journal)
        self.dispatcher = Dispatcher(
            clock=self.clock,
            prober=IdleProber(),
            actions={"inject": self.action, "undo": self.action},
            drivers={},
            pager=pager or NoPager(),
        )
        self.engine = Engine(
            node="a", policy=rules, journal=self.journal, dispatcher=self.dispatcher, clock=self.clock
        )
        self.recorded: list[Entry] = []
        self.engine.subscribe(self.recorded.extend)

    async def __aenter__(self) -> Bench:
        await self.engine.open()
        self.task = asyncio.create_task(self.engine.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.dispatcher.close()

    def hold(self, scope: str = "calls") -> OperatorPlacedHold:
        at = self.clock.now()
        return OperatorPlacedHold(at=at, scope=scope, by="wang", reason="test", until_wall=at.wall + 600)

    def lead(self) -> None:
        self.engine.submit(LeaseChanged(at=self.clock.now(), deadline=self.clock.now().mono + 3600))

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.recorded]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    rules = replace(policy(), scenarios=Map({"kill": SCENARIO}), timer_gap=0.2)
    async with Bench(rules, Platter()) as running:
        yield running


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def test_what_was_asked_for_is_durable_when_the_answer_comes(bench: Bench) -> None:
    facts = await bench.engine.ask(bench.hold())
    assert [fact.kind for fact in facts] == [FactKind.HOLD_PLACED]
    assert bench.journal.platter.entries[-1].kind == FactKind.HOLD_PLACED
    assert "calls" in bench.engine.snapshot.state.holds
    assert bench.engine.snapshot.sequence == bench.journal.head.sequence


async def test_a_command_leaves_only_after_the_commit_that_holds_its_intent(bench: Bench) -> None:
    see_primary_up(bench)
    bench.lead()
    await bench.engine.ask(drill(bench))
    await asyncio.wait_for(bench.action.called.wait(), 5)
    action, journal = bench.action.seen[0]
    assert action == "inject"
    assert FactKind.DRILL_STARTED in journal


async def test_while_the_journal_fails_nothing_is_done_and_a_person_is_told(bench: Bench) -> None:
    see_primary_up(bench)
    bench.lead()
    await until(lambda: bench.engine.waiting == 0)
    bench.journal.platter.failing = StoreFull("no room")
    with pytest.raises(StoreError, match="no room"):
        await bench.engine.ask(drill(bench))
    assert bench.engine.journal_failing
    assert not bench.action.seen
    assert not bench.engine.snapshot.state.drills


async def test_only_a_commit_says_that_the_journal_works_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "JOURNAL_RETRY", 0.02)
    await until(lambda: bench.engine.counters.events > 1)  # the start, and what the reading back of it said
    bench.journal.platter.failing = StoreFull("no room")
    with pytest.raises(StoreError):
        await bench.engine.ask(bench.hold())
    failures = bench.engine.counters.journal_failures
    folded = bench.engine.counters.events
    await until(lambda: bench.engine.counters.events > folded)  # of nothing that is recorded
    assert bench.engine.journal_failing
    await until(lambda: bench.engine.counters.journal_failures > failures)
    assert bench.engine.journal_failing, "it was tried again, and failed"
    bench.journal.platter.failing = None
    await until(lambda: not bench.engine.journal_failing)
    assert bench.kinds()[-1] == FactKind.TIMER_GAP, "nobody had to ask for anything"


async def test_what_happened_while_the_journal_failed_is_folded_afterwards(bench: Bench) -> None:
    bench.journal.platter.failing = StoreError("down")
    bench.engine.submit(bench.hold())
    await until(lambda: bench.engine.journal_failing)
    bench.journal.platter.failing = None
    await until(lambda: "calls" in bench.engine.snapshot.state.holds)
    assert not bench.engine.journal_failing
    assert bench.engine.snapshot.state.gap_until > 0, (
        "after an outage of the journal the node only observes first"
    )


async def test_what_was_seen_while_the_journal_failed_does_not_pass_for_fresh(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "JOURNAL_RETRY", 0.02)
    key, seen = RungKey("primary", "sip"), bench.clock.now()
    bench.journal.platter.failing = StoreError("down")
    bench.engine.submit(
        Measured(at=seen, vantage="a", key=key, outcome=Outcome.UP, up=True, values=(("mos", 4.2),))
    )
    bench.engine.submit(bench.hold())
    await until(lambda: bench.engine.journal_failing)
    bench.clock.offset = 100.0
    failures = bench.engine.counters.journal_failures
    await until(lambda: bench.engine.counters.journal_failures > failures + 1)
    bench.journal.platter.failing = None
    await until(lambda: not bench.engine.journal_failing and bench.engine.waiting == 0)
    assert bench.engine.snapshot.state.measurements[key].at == seen.mono


async def test_a_journal_that_is_not_what_this_state_came_of_ends_the_engine(bench: Bench) -> None:
    bench.journal.platter.failing = ChainBroken("it ends at sequence 7, not at 6")
    with pytest.raises(StoreError, match="not done"):
        await bench.engine.ask(bench.hold())
    with pytest.raises(ChainBroken, match="sequence 7"):
        await asyncio.wait_for(asyncio.shield(bench.task), 5)


async def test_the_state_s_earliest_deadline_wakes_the_engine(bench: Bench) -> None:
    see_primary_up(bench)
    bench.lead()
    await bench.engine.ask(drill(bench))
    await until(lambda: [action for action, _ in bench.action.seen] == ["inject", "undo"])
    await until(lambda: FactKind.DRILL_FINISHED in bench.kinds())


async def test_without_the_lease_nothing_disruptive_leaves(bench: Bench) -> None:
    see_primary_up(bench)
    bench.lead()
    await until(lambda: bench.engine.snapshot.state.lease_deadline is not None)
    command = RunAction(id="CMD-9", action="inject", parameters=(), timeout=1.0, disruptive=True)
    answers: list[Event] = []
    bench.clock.offset = 7200.0  # the lease ran out between the decision and the dispatch
    bench.dispatcher.dispatch(command, bench.engine.snapshot.state, answers.append)
    assert not bench.action.seen
    assert "leadership" in answers[0].message  # type: ignore[union-attr]


async def test_outcomes_and_people_go_before_a_storm(bench: Bench) -> None:
    await until(lambda: bench.engine.waiting == 0)
    order: list[str] = []
    bench.engine.subscribe(lambda entries: order.extend(entry.kind for entry in entries))
    for number in range(3000):
        bench.engine.submit(
            HealthChanged(
                at=bench.clock.now(),
                vantage="a",
                key=RungKey(f"phone{number}", "sip"),
                previous=HealthState.UP,
                current=HealthState.DOWN,
                outcome=Outcome.NO_REPLY,
            )
        )
    await bench.engine.ask(bench.hold())
    assert bench.engine.waiting > 0, "the person's request waited for the whole storm"
    await until(lambda: bench.engine.waiting == 0)
    assert order[0] == FactKind.HOLD_PLACED


async def test_an_outage_of_the_journal_keeps_the_newest_word_on_each_target(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it lasts, what waits does not grow; nothing that happened once is lost."""
    monkeypatch.setattr(loop, "JOURNAL_RETRY", 0.02)
    bench.journal.platter.failing = StoreError("down")
    bench.lead()
    await until(lambda: bench.engine.journal_failing)
    failures = bench.engine.counters.journal_failures
    for number in range(2000):
        name, last = ("primary", "phone1")[number % 2], number >= 1998
        bench.engine.submit(
            HealthChanged(
                at=bench.clock.now(),
                vantage="a",
                key=RungKey(name, "sip"),
                previous=HealthState.UP,
                current=HealthState.DOWN if last else HealthState.UP,
                outcome=Outcome.NO_REPLY if last else Outcome.UP,
            )
        )
        bench.lead()
    asked = bench.hold()
    bench.engine.submit(asked)
    await until(lambda: bench.engine.counters.journal_failures > failures + 1)
    assert bench.engine.waiting < 20
    bench.journal.platter.failing = None
    await until(lambda: not bench.engine.journal_failing and bench.engine.waiting == 0)
    state = bench.engine.snapshot.state
    assert state.lease_deadline is not None
    assert "calls" in state.holds
    for name in ("primary", "phone1"):
        assert state.rungs[RungKey(name, "sip")].by_vantage["a"] is HealthState.DOWN


async def test_a_restart_takes_up_what_was_recorded() -> None:
    rules = policy()
    platter = Platter()
    async with Bench(rules, platter) as first:
        await first.engine.ask(first.hold())
    platter.holder = None  # killed
    async with Bench(rules, platter) as second:
        assert "calls" in second.engine.snapshot.state.holds
        await second.engine.ask(OperatorReleasedHold(at=second.clock.now(), scope="calls", by="li"))
    platter.holder = None
    async with Bench(rules, platter) as third:
        assert "calls" not in third.engine.snapshot.state.holds
        assert third.engine.snapshot.sequence == len(platter.entries)


async def test_events_of_one_commit_page_a_person_once_and_the_next_commit_again() -> None:
    """Each has its own moment, and their pages leave together."""
    rules = replace(policy(), people=paging.policy().people, escalation=paging.TWO_LEVELS)
    telephone = Telephone()

    def asked(need: str) -> PageWanted:
        at = bench.clock.now()
        return PageWanted(at=at, incident="INC-1", by="RUN-1", need_zh="", need_en=need, drill=False)

    async with Bench(rules, Platter(), telephone) as bench:
        bench.lead()
        await until(lambda: bench.engine.snapshot.state.lease_deadline is not None)
        for need in ("sign", "sign again"):
            bench.engine.submit(asked(need))
            bench.clock.offset += 0.001
        await until(lambda: FactKind.PAGE_REPEATED in bench.kinds() and bool(telephone.rung))
        assert [page.text.need.en for page in telephone.rung] == ["Needed: sign again"]
        bench.engine.submit(asked("and once more"))
        await until(lambda: len(telephone.rung) == 2)
    assert [page.person for page in telephone.rung] == ["li", "li"]


def test_a_group_whose_edges_were_only_read_is_as_it_started() -> None:
    """The first read is in flight, and leaves no trace unless it finds something: held against the record, a group that
    the record does not have was a violation."""
    rules = policy()
    (name,) = rules.groups
    fresh = restore("a", (), rules, Moment(1.0, 1_700_000_000.0))
    reading = replace(fresh.groups[name], reading_back="READ-1", read_due=2.0, standby_since=1.0)
    seen = replace(fresh, groups=fresh.groups.set(name, reading))
    assert durable(seen, rules) == ()
    adopted = replace(seen, groups=fresh.groups.set(name, replace(reading, epoch=1)))
    assert [group.epoch for group in durable(adopted, rules) if isinstance(group, Group)] == [1]


async def test_a_listener_sees_every_entry_once_and_in_order(bench: Bench) -> None:
    for number in range(20):
        await bench.engine.ask(bench.hold(f"component{number}"))
    sequences = [entry.sequence for entry in bench.recorded]
    assert sequences == list(range(1, len(bench.journal.platter.entries) + 1))


def drill(bench: Bench) -> DrillRequested:
    return DrillRequested(at=bench.clock.now(), drill="", scenario="kill", by="wang")


def see_primary_up(bench: Bench) -> None:
    bench.engine.submit(
        HealthChanged(
            at=bench.clock.now(),
            vantage="a",
            key=RungKey("primary", "sip"),
            previous=HealthState.UNKNOWN,
            current=HealthState.UP,
            outcome=Outcome.UP,
        )
    )


async def test_a_storm_is_folded_in_slices_and_everything_in_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(HandClock):
        """Every look at it costs 3 ms: the third event of a slice closes it."""

        def now(self) -> Moment:
            self.offset += 0.003
            return super().now()

    monkeypatch.setattr(bench.engine, "_clock", Slow())
    storm = [
        HealthChanged(
            at=bench.clock.now(),
            vantage="a",
            key=RungKey(f"phone-{number}", "sip"),
            previous=HealthState.UP,
            current=HealthState.SUSPECT,
            outcome=Outcome.NO_REPLY,
            first_bad=0.0,
            last_good=0.0,
        )
        for number in range(50)
    ]
    for event in storm:
        bench.engine.submit(event)
    before = bench.engine.counters.events
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.engine.counters.events - before < 10
    await bench.engine.ask(bench.hold())
    assert bench.engine.waiting > 0, "a person does not wait for the storm"
    await until(lambda: bench.engine.waiting == 0)
