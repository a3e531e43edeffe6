"""The engine: drains one queue, folds `step` over it, records in one commit, then dispatches.

No command, acknowledgement or snapshot leaves before its commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from controller.core.step import committing, leaving, step, wake_at
from controller.engine.dispatch import Dispatcher
from controller.engine.inbox import Inbox, Waiting, failover_relevant
from controller.engine.recovery import restore, succeeded, succession
from controller.engine.replication import Replica
from controller.model.commands import Command, Drive, RunLadder
from controller.model.errors import (
    ChainBroken,
    CoordinationError,
    CoordinationUnknown,
    StoreError,
    StoreUnknown,
)
from controller.model.events import (
    Event,
    LeadershipTaken,
    Started,
    TimerFired,
)
from controller.model.facts import Entry, Fact
from controller.model.policy import Policy
from controller.model.state import State
from controller.ports import Clock, Journal

log = logging.getLogger(__name__)

SHORTEST_TIMER = 0.005
"""Seconds; a deadline that a stage leaves in the past can't spin the loop."""

TURNS_TO_LEAVE = 4
"""Turns of the loop in which a command that was just dispatched reaches the wire: the next fold may take milliseconds."""

JOURNAL_RETRY = 0.5
"""Seconds between attempts while the journal can't be written."""


UNPROVED = "not done: it can't be proved at this moment that this node leads; try again in a second"


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
        self._inbox = Inbox(failover_relevant(policy))
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._subscribers: list[Callable[[Sequence[Entry]], None]] = []
        self._state = State(node=node)
        self._sequence = 0
        self._head = ""
        self._failing_since: float | None = None
        self._trial: asyncio.TimerHandle | None = None

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
        return len(self._inbox)

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
        self._put(Waiting(event, None))

    async def ask(self, event: Event) -> tuple[Fact, ...]:
        """Queue an event and wait until everything it led to is durable; returns those facts."""
        reply: asyncio.Future[tuple[Fact, ...]] = asyncio.get_running_loop().create_future()
        self._put(Waiting(event, reply))
        return await reply

    def subscribe(self, listener: Callable[[Sequence[Entry]], None]) -> Callable[[], None]:
        """`listener` gets every batch of entries after its commit. Returns the way to stop."""
        self._subscribers.append(listener)
        return lambda: self._subscribers.remove(listener)

    async def run(self) -> None:
        """Until cancelled. A defect in a stage stops the engine: a half-folded state is never acted on. So does
        ChainBroken: with a journal that does not hold what this state came of, only a new start can tell what is true."""
        while True:
            await self._inbox.filled()
            dispatched = self.counters.commands
            await self._fold()
            for _ in range(TURNS_TO_LEAVE if self.counters.commands > dispatched else 1):
                await asyncio.sleep(0)

    def _put(self, waiting: Waiting) -> None:
        self._inbox.put(waiting)
        self.counters.dropped = self._inbox.dropped

    async def _fold(self) -> None:
        began = self._clock.now().mono
        state = committing(self._state)
        turn = self._inbox.turn(self._clock)
        batch = turn.batch
        recorded: list[Fact] = []
        commands: list[Command] = []
        replies: list[tuple[asyncio.Future[tuple[Fact, ...]], tuple[Fact, ...]]] = []
        while (waiting := turn.next(state)) is not None:
            event = waiting.event
            if waiting.reply is not None and self._unproved(state):
                if not waiting.reply.done():
                    waiting.reply.set_exception(StoreError(UNPROVED))
                continue
            if isinstance(event, LeadershipTaken):
                event = replace(event, aggregates=succession(state, event.aggregates, self.policy))
                state = succeeded(state, event.aggregates, self.policy, event.at)
            decision = step(state, event, self.policy)
            state = decision.state
            recorded.extend(decision.facts)
            commands.extend(decision.commands)
            if waiting.reply is not None:
                replies.append((waiting.reply, decision.facts))
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
                reply.set_exception(_unanswered(refusal))
        if refusal is not None:
            self._resign(str(refusal))
        if entries:
            for listener in tuple(self._subscribers):
                listener(entries)
        self._arm(wake_at(state, self.policy))

    def _unproved(self, state: State) -> bool:
        """One of several nodes leads but can't prove it: what a person asks for now might be written all the same, once
        the store answers again, after it was called not done."""
        deadline = state.lease_deadline
        return (
            self._replica is not None
            and not state.following
            and (deadline is None or self._clock.now().mono >= deadline)
        )

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
        if waits or any(_changes(command) for command in commands):
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

    async def _wait_for_journal(self, batch: Sequence[Waiting], error: StoreError) -> None:
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
        self._inbox.put_back(kept, gap)

    @staticmethod
    def _refuse(batch: Sequence[Waiting], error: StoreError) -> None:
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


def _unanswered(refusal: CoordinationError) -> StoreError:
    if isinstance(refusal, CoordinationUnknown):
        return StoreUnknown(f"it may have been recorded or not: {refusal}")
    return StoreError(f"not done, leadership can't be proved: {refusal}")


def _changes(command: Command) -> bool:
    """Whether it changes anything outside. What only looks may leave before the store knows of it: a leader that takes
    over looks for itself."""
    match command:
        case RunLadder():
            return False
        case Drive():
            return command.disruptive
        case _:
            return True
