"""Where a run stands: the records of its steps, and how they change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from immutables import Map

from controller.core.draft import Draft
from controller.model.facts import FactKind
from controller.model.groups import Refusal
from controller.model.moments import Value, Values
from controller.model.runbooks import Runbook, Step
from controller.model.runs import Run, RunState, StepRecord, StepState
from controller.model.state import State

LIVE = frozenset(
    {
        StepState.PENDING,
        StepState.INTENDED,
        StepState.RETRYING,
        StepState.VERIFYING,
        StepState.AWAITING_PERSON,
        StepState.UNKNOWN,
        StepState.ROLLING_BACK,
    }
)
"""States that a step leaves again."""

WAITS_FOR_PERSON = frozenset({str(Refusal.ON_HOLD), str(Refusal.MAINTENANCE)})
"""Reasons to wait that only a person, or the end of what a person ordered, takes away."""

LONGEST_DATA = 1000
"""Characters of one value that a record keeps of an action's data."""


class _Memo:
    """The live runs of one value of `State.runs`: asked for on every event, changed on few."""

    def __init__(self) -> None:
        self.runs: Map[str, Run] | None = None
        self.live: tuple[Run, ...] = ()


_memo = _Memo()


def live_runs(state: State) -> tuple[Run, ...]:
    if _memo.runs is not state.runs:
        _memo.live = tuple(run for run in state.runs.values() if run.live)
        _memo.runs = state.runs
    return _memo.live


def walk(runbook: Runbook) -> Iterator[tuple[str, Step]]:
    """Every step with its path, parents before children."""
    for step in runbook.steps:
        yield step.name, step
        for child in step.steps:
            yield f"{step.name}/{child.name}", child


def step_at(runbook: Runbook, path: str) -> Step | None:
    return next((step for found, step in walk(runbook) if found == path), None)


def runbook_of(draft: Draft, run: Run) -> Runbook | None:
    """The revision that the run executes; None when the configuration no longer has it."""
    runbook = draft.policy.runbooks.get(run.runbook)
    return runbook if runbook is not None and runbook.revision == run.revision else None


def put(run: Run, record: StepRecord) -> Run:
    """`run` with this record in the place of the one of the same path, or after all others."""
    if run.step(record.path) is None:
        return replace(run, steps=(*run.steps, record))
    return replace(run, steps=tuple(record if old.path == record.path else old for old in run.steps))


def next_order(run: Run) -> int:
    return max((record.order for record in run.steps), default=0) + 1


def in_flight(record: StepRecord) -> bool:
    """A command, a switch or a pause of this step is under way."""
    return record.state in (StepState.INTENDED, StepState.VERIFYING) or (
        record.state is StepState.ROLLING_BACK and record.command != ""
    )


def standing(run: Run) -> RunState:
    """The state that the records add up to, while the run is live."""
    if not run.live:
        return run.state
    parents = {record.path.rpartition("/")[0] for record in run.steps}
    live = [record for record in run.steps if record.state in LIVE and record.path not in parents]
    if any(_waits_for_person(record) for record in live) and not any(_moves(record) for record in live):
        return RunState.WAITING
    return RunState.RUNNING if run.ending is None else RunState.ROLLING_BACK


def keep(draft: Draft, kind: FactKind, run: Run, data: Values = (), *, actor: str = "") -> Run:
    """Keep a durable change of a run, with the fact that says so."""
    run = replace(run, state=standing(run))
    draft.state = replace(draft.state, runs=draft.state.runs.set(run.id, run))
    draft.record(kind, run.id, data=data, changed=(run,), incident=run.incident, actor=actor, drill=run.drill)
    return run


def remember(draft: Draft, run: Run) -> Run:
    """Keep a change of deadlines only: nothing durable, so no fact."""
    draft.state = replace(draft.state, runs=draft.state.runs.set(run.id, run))
    return run


def due(draft: Draft, run: Run, record: StepRecord, seconds: float) -> Run:
    """Look at this step again after `seconds`."""
    return remember(draft, put(run, replace(record, due=draft.at.mono + seconds)))


def about(record: StepRecord, *more: tuple[str, Value]) -> Values:
    """The data of a fact about a step: its path, its attempt, and `more` that is not empty."""
    return (
        ("step", record.path),
        ("attempt", record.attempt),
        *((name, value) for name, value in more if value not in ("", None)),
    )


def trimmed(data: Values) -> Values:
    return tuple((name, value[:LONGEST_DATA] if isinstance(value, str) else value) for name, value in data)


def _waits_for_person(record: StepRecord) -> bool:
    if record.state is StepState.AWAITING_PERSON:
        return True
    waits = record.state is StepState.PENDING or (
        record.state is StepState.ROLLING_BACK and not record.command
    )
    return waits and bool(WAITS_FOR_PERSON & set(record.message.split(",")))


def _moves(record: StepRecord) -> bool:
    return in_flight(record) or record.state in (StepState.RETRYING, StepState.UNKNOWN)
