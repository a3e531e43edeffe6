"""The engine: drains one queue, folds `step` over it, records in one commit, then dispatches.

No command, acknowledgement or snapshot leaves before its commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from controller.core.step import committing, leaving, step, wake_at
from controller.engine.dispatch import Dispatcher
from controller.engine.recovery import restore, succeeded, succession
from controller.engine.replication import Replica
from controller.model.commands import Command, RunLadder
from controller.model.errors import ChainBroken, CoordinationError, StoreError
from controller.model.events import (
    Event,
    HealthChanged,
    LeadershipLost,
    LeadershipTaken,
    LeaseChanged,
    Measured,
    Started,
    TimerFired,
    VantageBeat,
)
from controller.model.facts import Entry, Fact
from controller.model.moments import Moment
from controller.model.policy import Policy
from controller.model.state import State
from controller.ports import Clock, Journal

log = logging.getLogger(__name__)

MOST_EVENTS = 512
"""Folded in one commit."""

ORDINARY_SLICE = 0.003
"""Seconds given at a time to what no failover waits for: in a storm of it each of a failover's dozen turns waits no longer
than that and one commit."""

SWITCHING_SLICE = 0.0005
"""The same while a group is being switched: one or two events."""

SHORTEST_TIMER = 0.005
"""Seconds; a deadline that a stage leaves in the past can't spin the loop."""

JOURNAL_RETRY = 0.5
"""Seconds between attempts while the journal can't be written."""

MOST_WAITING = 200_000
"""Events of what no failover waits for; past it the oldest are dropped and counted. While the journal is unavailable
what waits is thinned out instead, to the newest word on each target."""


ALONE = (LeadershipTaken, LeadershipLost)
"""Folded in a commit of their own: what was decided on the other side of them never leaves with them."""


@dataclass(slots=True)
class EngineCounters:
    """Monotone counters, read by the metrics collector."""

    events: int = 0
    commits: int = 0
    facts: int = 0
    commands: int = 0
    dropped: int = 0
    journal_failures: int = 0
    withheld: int = 0  # commands of commits that the coordination store refused
    longest_fold: float = 0.0  # seconds, since start
    last_commit_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What readers see: a state whose facts are all durable. `sequence` is the journal's head."""

    state: State
    policy: Policy
    sequence: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    event: Event
    reply: asyncio.Future[tuple[Fact, ...]] | None


class Engine:
    """One queue, one writer. `submit` may be called from the loop's thread only."""

    def __init__(
        self,
        *,
        node: str,
        policy: Policy,
        journal: Journal,
        dispatcher: Dispatcher,
        clock: Clock,
        replica: Replica | None = None,
        resign: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """With a `replica` this node is one of several, and follows until it is told that it leads. `resign` is called
        when a write to it fails: nothing of that commit leaves."""
        self.policy = policy
        self.counters = EngineCounters()
        self._node = node
        self._journal = journal
        self._dispatcher = dispatcher
        self._clock = clock
        self._replica = replica
        self._resign = resign
        self._trail: asyncio.Task[None] | None = None
        self._urgent: deque[_Waiting] = deque()
        self._ordinary: deque[_Waiting] = deque()
        self._wakeup = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._subscribers: list[Callable[[Sequence[Entry]], None]] = []
        self._state = State(node=node)
        self._sequence = 0
        self._head = ""
        self._failing_since: float | None = None
        self._trial: asyncio.TimerHandle | None = None
        self._relevant = failover_relevant(policy)

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(state=self._state, policy=self.policy, sequence=self._sequence)

    @property
    def head(self) -> str:
        """The digest of the newest recorded entry."""
        return self._head

    @property
    def journal_failing(self) -> bool:
        return self._failing_since is not None

    @property
    def waiting(self) -> int:
        """Events not folded yet."""
        return len(self._urgent) + len(self._ordinary)

    async def open(self) -> None:
        """Read the journal and take up where it ended. Raises StoreError or ChainBroken."""
        recovered = await self._journal.open()
        self._sequence, self._head = recovered.last_sequence, recovered.head
        now = self._clock.now()
        self._state = replace(
            restore(self._node, recovered.aggregates, self.policy, now), following=self._replica is not None
        )
        self.submit(Started(at=now, node=self._node, recovered=recovered.last_sequence > 0))

    def submit(self, event: Event) -> None:
        """Queue an event. Outcomes, operators and whatever a failover may wait for go before the rest."""
        self._put(_Waiting(event, None))

    async def ask(self, event: Event) -> tuple[Fact, ...]:
        """Queue an event and wait until everything it led to is durable; returns those facts."""
        reply: asyncio.Future[tuple[Fact, ...]] = asyncio.get_running_loop().create_future()
        self._put(_Waiting(event, reply))
        return await reply

    def subscribe(self, listener: Callable[[Sequence[Entry]], None]) -> Callable[[], None]:
        """`listener` gets every batch of entries after its commit. Returns the way to stop."""
        self._subscribers.append(listener)
        return lambda: self._subscribers.remove(listener)

    async def run(self) -> None:
        """Until cancelled. A defect in a stage stops the engine: a half-folded state is never acted on. So does
        ChainBroken: with a journal that does not hold what this state came of, only a new start can tell what is true."""
        while True:
            if not self._urgent and not self._ordinary:
                self._wakeup.clear()
                await self._wakeup.wait()
            await self._fold()
            await asyncio.sleep(0)

    def _put(self, waiting: _Waiting) -> None:
        event = waiting.event
        ordinary = isinstance(event, (HealthChanged, Measured)) and event.key.component not in self._relevant
        (self._ordinary if ordinary else self._urgent).append(waiting)
        if len(self._ordinary) > MOST_WAITING:
            self._ordinary.popleft()
            self.counters.dropped += 1
        self._wakeup.set()

    async def _fold(self) -> None:
        began = self._clock.now().mono
        state = committing(self._state)
        batch: list[_Waiting] = []
        recorded: list[Fact] = []
        commands: list[Command] = []
        replies: list[tuple[asyncio.Future[tuple[Fact, ...]], tuple[Fact, ...]]] = []
        slice_ends: float | None = None
        while len(batch) < MOST_EVENTS:
            if self._urgent:
                if batch and isinstance(self._urgent[0].event, ALONE):
                    break
                waiting = self._urgent.popleft()
            elif self._ordinary:
                if slice_ends is None:
                    switching = any(group.switch is not None for group in state.groups.values())
                    slice_ends = self._clock.now().mono + (SWITCHING_SLICE if switching else ORDINARY_SLICE)
                elif self._clock.now().mono >= slice_ends:
                    break
                waiting = self._ordinary.popleft()
            else:
                break
            batch.append(waiting)
            event = waiting.event
            if isinstance(event, LeadershipTaken):
                event = replace(event, aggregates=succession(state, event.aggregates, self.policy))
                state = succeeded(state, event.aggregates, self.policy, event.at)
            decision = step(state, event, self.policy)
            state = decision.state
            recorded.extend(decision.facts)
            commands.extend(decision.commands)
            if waiting.reply is not None:
                replies.append((waiting.reply, decision.facts))
            if isinstance(event, ALONE):
                break
        commands = list(leaving(state, commands))
        folded = self._clock.now().mono
        self.counters.longest_fold = max(self.counters.longest_fold, folded - began)
        if recorded:
            try:
                entries = await self._journal.record(recorded)
            except ChainBroken as error:
                self._refuse(batch, error)
                raise
            except StoreError as error:
                await self._wait_for_journal(batch, error)
                return
            self.counters.commits += 1
            self.counters.facts += len(entries)
            self.counters.last_commit_seconds = self._clock.now().mono - folded
            self._journal_works()
        else:
            entries = ()
            self._try_journal_later()
        self.counters.events += len(batch)
        refusal = await self._coordinated(state, recorded, commands, waits=bool(replies))
        if entries:  # together with the state that they led to: readers hold one against the other
            self._sequence, self._head = entries[-1].sequence, entries[-1].digest
        if refusal is None:
            self._state = state
            self.counters.commands += len(commands)
            for command in commands:
                self._dispatcher.dispatch(command, state, self.submit)
        else:
            self._state = replace(state, lease_deadline=None)
            self.counters.withheld += len(commands)
        for reply, facts in replies:
            if reply.done():
                continue
            if refusal is None:
                reply.set_result(facts)
            else:
                reply.set_exception(StoreError(f"not done, leadership can't be proved: {refusal}"))
        if refusal is not None:
            self._resign(str(refusal))
        if entries:
            for listener in tuple(self._subscribers):
                listener(entries)
        self._arm(wake_at(state, self.policy))

    async def _coordinated(
        self,
        state: State,
        recorded: Sequence[Fact],
        commands: Sequence[Command],
        *,
        waits: bool,
    ) -> CoordinationError | None:
        """None when what this commit decided may leave: the store has it, or nothing that leaves asks for that. A node
        that can't put it there does nothing of it, and follows: the journal keeps the intent, the store says that it
        never was. `waits`: a person waits for the answer."""
        replica = self._replica
        if replica is None or state.following:
            return None
        replica.note(recorded)
        if waits or any(not isinstance(command, RunLadder) for command in commands):
            try:
                await replica.settle()
            except CoordinationError as error:
                replica.forget()
                return error
        if replica.behind and (self._trail is None or self._trail.done()):
            self._trail = asyncio.create_task(self._follow_up(replica))
        return None

    async def _follow_up(self, replica: Replica) -> None:
        try:
            await replica.trail()
        except CoordinationError as error:
            self._resign(str(error))

    async def _wait_for_journal(self, batch: Sequence[_Waiting], error: StoreError) -> None:
        """Nothing was recorded, so nothing happened: the old state stands, the events wait, a person who asked is
        told at once. What was decided meanwhile is decided again, after a gap, and therefore not acted upon blindly."""
        now = self._clock.now().mono
        if self._failing_since is None:
            self._failing_since = now
            log.error(
                "journal unavailable, observing only: %s", error, extra={"action": "journal_unavailable"}
            )
        self.counters.journal_failures += 1
        self._refuse(batch, error)
        kept = [waiting for waiting in batch if waiting.reply is None]
        await asyncio.sleep(JOURNAL_RETRY)
        at = self._clock.now()
        gap = TimerFired(at=at, gap=at.mono - self._failing_since)
        again = _newest([*kept, *self._urgent])
        self._urgent = deque(
            [_Waiting(gap, None), *(_Waiting(_dated(each.event, at), each.reply) for each in again)]
        )
        self._ordinary = deque(_newest(self._ordinary))

    @staticmethod
    def _refuse(batch: Sequence[_Waiting], error: StoreError) -> None:
        for waiting in batch:
            if waiting.reply is not None and not waiting.reply.done():
                waiting.reply.set_exception(StoreError(f"not done, the journal can't be written: {error}"))

    def _try_journal_later(self) -> None:
        """Only a commit proves that the journal works again. Where nothing asks for one, the gap is reported until it
        is long enough to be recorded."""
        if self._failing_since is None or self._trial is not None:
            return

        def report() -> None:
            self._trial = None
            if self._failing_since is not None:
                at = self._clock.now()
                self.submit(TimerFired(at=at, gap=at.mono - self._failing_since))

        self._trial = asyncio.get_running_loop().call_later(JOURNAL_RETRY, report)

    def _journal_works(self) -> None:
        if self._failing_since is not None:
            seconds = self._clock.now().mono - self._failing_since
            self._failing_since = None
            log.warning("journal works again after %.1f s", seconds, extra={"action": "journal_available"})

    def _arm(self, due: float | None) -> None:
        """The engine's one timer: set to the state's earliest deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is None:
            return
        self._timer_due = due
        delay = max(due - self._clock.now().mono, SHORTEST_TIMER)
        self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        at = self._clock.now()
        self.submit(TimerFired(at=at, gap=max(0.0, at.mono - self._timer_due)))


def _dated(event: Event, at: Moment) -> Event:
    """As it is folded after an outage of the journal: what was asked for or came about counts from now on, what was seen
    stays as old as it is, or it would pass for fresh evidence."""
    return event if isinstance(event, (HealthChanged, Measured)) else replace(event, at=at)


def _newest(waiting: Iterable[_Waiting]) -> list[_Waiting]:
    """Without what a later event makes void, so that an outage of the journal, however long, fills no memory: of each
    target and of the lease the newest word counts, timers and beats come again by themselves."""
    kept: dict[object, _Waiting] = {}
    for number, each in enumerate(waiting):
        event = each.event
        match event:
            case VantageBeat() | TimerFired():
                continue
            case HealthChanged() | Measured():
                name: object = (type(event), event.vantage, event.key)
            case LeaseChanged():
                name = LeaseChanged
            case _:
                name = number
        kept.pop(name, None)
        kept[name] = each
    return list(kept.values())


def failover_relevant(policy: Policy) -> frozenset[str]:
    """Components a group's decision may wait for."""
    names: set[str] = set()
    for group in policy.groups.values():
        names.update(side.component for side in group.sides)
        names.update(group.edges)
        if group.echo:
            names.add(group.echo)
    return frozenset(names)
