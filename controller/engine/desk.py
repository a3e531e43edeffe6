"""What readers and operators may ask of a running controller."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from controller.core.execution.plan import Plan, plan
from controller.core.invariants import Budget
from controller.core.paging.page_text import compose
from controller.core.response.explanation import Explanation, explain
from controller.core.step import step
from controller.core.timeline import line
from controller.engine.audit import Audit, Order
from controller.engine.loop import Engine, EngineCounters, Snapshot
from controller.engine.records import Records, Told
from controller.engine.recovery import durable
from controller.model.chain import Head
from controller.model.drills import Drill
from controller.model.events import Event
from controller.model.facts import Entry, Fact, FactKind
from controller.model.incidents import Incident
from controller.model.moments import Values
from controller.model.pages import Page, PageText
from controller.model.runs import Run
from controller.model.state import State
from controller.ports import Clock, Journal


class Desk:
    """Snapshots, durable requests, the timeline, and plans that do nothing."""

    def __init__(
        self, engine: Engine, journal: Journal, records: Records, audit: Audit, clock: Clock
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._records = records
        self._audit = audit
        self.clock = clock

    @property
    def snapshot(self) -> Snapshot:
        return self._engine.snapshot

    @property
    def counters(self) -> EngineCounters:
        return self._engine.counters

    @property
    def waiting(self) -> int:
        return self._engine.waiting

    @property
    def journal_failing(self) -> bool:
        return self._engine.journal_failing

    @property
    def head(self) -> str:
        return self._engine.head

    async def ask(self, event: Event) -> tuple[Fact, ...]:
        """Submit an operator's event; returns the facts it led to, all durable. Raises StoreError."""
        return await self._engine.ask(event)

    def subscribe(self, listener: Callable[[Sequence[Entry]], None]) -> Callable[[], None]:
        return self._engine.subscribe(listener)

    def entries(self, *, after: int = 0, incident: str = "", limit: int = 1000) -> AsyncIterator[Entry]:
        return self._journal.entries(after=after, incident=incident, limit=limit)

    def story(self, incident: str, *, limit: int = sys.maxsize) -> AsyncIterator[Entry]:
        """The entries of one incident, oldest first, also those of other nodes, which only the archive has."""
        return self._records.of(incident, limit=limit)

    async def alone(self, incident: str) -> bool:
        """Whether the whole story of an incident is in this node's own journal."""
        return await self._records.alone(incident)

    async def told(self, incident: str, count: int) -> Told:
        """The newest entries of an incident's story, in the order of time, and whether there may be others."""
        return await self._records.newest(incident, count)

    async def newest(self, count: int, *, incident: str = "") -> list[Entry]:
        """The newest entries of the journal, or of an incident's whole story, in the order of time."""
        if incident:
            return (await self.told(incident, count)).entries
        after = await self._journal.before_newest(count)
        return [entry async for entry in self.entries(after=after, limit=count)]

    async def recall(self, incident: str) -> Snapshot:
        """The snapshot, with an incident in it that has left the live state, its runs and its pages as they ended."""
        snapshot = self._engine.snapshot
        if incident in snapshot.state.incidents or not _given_out(snapshot.state, incident):
            return snapshot
        found: dict[str, Incident] = {}
        runs, pages = dict[str, Run](), dict[str, Page]()
        async for entry in self.story(incident):
            for aggregate in line(entry).changed:
                match aggregate:
                    case Incident(id=name) if name == incident:
                        found[name] = aggregate
                    case Run(incident=of) if of == incident:
                        runs[aggregate.id] = aggregate
                    case Page(incident=of) if of == incident:
                        pages[aggregate.id] = aggregate
                    case _:
                        pass
        state = snapshot.state
        return replace(
            snapshot,
            state=replace(
                state,
                incidents=state.incidents.update(found),
                runs=state.runs.update(runs),
                pages=state.pages.update(pages),
            ),
        )

    async def recall_run(self, name: str) -> Run | None:
        """The run of that id, also when it has left the live state: then every entry of the journal is looked at."""
        known = self._engine.snapshot.state.runs.get(name)
        found = known if known is not None else await self._last(name)
        return found if isinstance(found, Run) else None

    async def recall_drill(self, name: str) -> Drill | None:
        """As `recall_run`."""
        known = self._engine.snapshot.state.drills.get(name)
        found = known if known is not None else await self._last(name)
        return found if isinstance(found, Drill) else None

    async def _last(self, name: str) -> Run | Drill | None:
        if not _given_out(self._engine.snapshot.state, name):
            return None
        found: Run | Drill | None = None
        mark = f'"id":"{name}"'
        async for entry in self._journal.entries(limit=sys.maxsize):
            if mark in entry.payload:
                for aggregate in line(entry).changed:
                    if isinstance(aggregate, (Run, Drill)) and aggregate.id == name:
                        found = aggregate
        return found

    async def verify(self, *, after: int = 0) -> Sequence[str]:
        """Every violation of the journal's chain, and of the invariants over it and the live state. `after`: of the
        invariants only what shows after that sequence, as of a drill. Raises AuditLate."""
        snapshot, head = self._engine.snapshot, self._engine.head
        budgets = {
            name: Budget(switches=group.switches_per_window, window=group.window)
            for name, group in snapshot.policy.groups.items()
        }
        order = Order(head=Head(snapshot.state.node, snapshot.sequence, head), budgets=budgets, after=after)
        return await self._audit.violations(order, durable(snapshot.state, snapshot.policy))

    def rehearse(self, event: Event) -> tuple[Fact, ...]:
        """The facts this request would lead to now. Nothing is recorded and nothing is done."""
        snapshot = self._engine.snapshot
        return step(snapshot.state, event, snapshot.policy).facts

    def plan_run(self, runbook: str, inputs: Values) -> Plan | None:
        """What a run of this runbook would do; None when there is no such runbook."""
        snapshot = self._engine.snapshot
        found = snapshot.policy.runbooks.get(runbook)
        return (
            None if found is None else plan(found, inputs, snapshot.state, snapshot.policy, self.clock.now())
        )

    def page_text(self, name: str) -> PageText | None:
        """The four lines of an incident's newest page, or of the page of that id, as things stand now."""
        snapshot = self._engine.snapshot
        pages = [page for page in snapshot.state.pages.values() if name in (page.incident, page.id)]
        newest = max(pages, key=lambda page: (page.opened_wall, page.id), default=None)
        return None if newest is None else compose(snapshot.state, newest, snapshot.policy, self.clock.now())

    async def explain(self, incident: str) -> Explanation:
        """Why this incident is what it is, from the record and the last evaluation of every rule."""
        entries = [entry async for entry in self.story(incident, limit=100_000)]
        return explain(self._engine.snapshot.state, entries, incident)


def _given_out(state: State, name: str) -> bool:
    """Whether an id with this number was ever given out, so that the journal is worth reading."""
    prefix, _, number = name.partition("-")
    last = dict(state.counters.numbers).get(prefix)
    return isinstance(last, int) and number.isascii() and number.isdigit() and 0 < int(number[:18]) <= last


def refused(facts: Sequence[Fact]) -> Fact | None:
    """The fact that says a request was refused, if one does."""
    kinds = (FactKind.REQUEST_REFUSED, FactKind.SWITCH_REFUSED, FactKind.APPROVAL_STALE)
    return next((fact for fact in facts if fact.kind in kinds), None)


def refusals(facts: Sequence[Fact]) -> tuple[str, ...]:
    """Why a request was refused, by name; empty when it was not."""
    no = refused(facts)
    if no is None:
        return ()
    if no.kind is FactKind.APPROVAL_STALE:
        return ("stale_approval",)
    named = no.get("refusals") or no.get("reasons") or no.kind.value
    return tuple(str(named).split(","))
