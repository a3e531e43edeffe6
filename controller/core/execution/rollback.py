"""The way down of a run: what took effect is undone in reverse order of completion.

A run goes this way when a step failed, a person cancelled it, or the group was not armed. Steps under way are waited
for; what can't be undone is named at the end; an undo that fails leaves the run to a person.
"""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.execution import calls, closing, steps
from controller.core.execution.clearance import Leave, undoing
from controller.core.execution.position import LIVE, about, due, in_flight, keep, next_order, put, step_at
from controller.model.facts import FactKind
from controller.model.runbooks import Runbook, Step
from controller.model.runs import ActionStatus, Run, RunState, StepRecord, StepState

MOST_ATTEMPTS = 3
"""Attempts at one undo."""

_NOT_UNDER_WAY = frozenset(
    {StepState.PENDING, StepState.RETRYING, StepState.UNKNOWN, StepState.AWAITING_PERSON}
)


def begin(
    draft: Draft, run: Run, runbook: Runbook, ending: RunState, outcome: str, reason: str, actor: str = ""
) -> None:
    """Nothing new is started from here on."""
    run = replace(run, ending=ending, outcome=outcome)
    for record in run.steps:
        step = step_at(runbook, record.path)
        if record.state in LIVE and not _must_be_waited_for(record, step):
            effect = _may_have_taken_effect(record)
            stopped = replace(
                record,
                state=StepState.FAILED,
                message=f"{record.message}; {outcome}" if record.message else outcome,
                command="",
                due=None,
                finished_wall=draft.at.wall,
                order=(record.order or next_order(run)) if effect else 0,
            )
            run = put(run, stopped)
    if actor or _next(run, runbook) is not None or any(in_flight(record) for record in run.steps):
        data = (("outcome", outcome), ("reason", reason))
        keep(draft, FactKind.RUN_ROLLING_BACK, run, data, actor=actor)
    else:
        draft.state = replace(draft.state, runs=draft.state.runs.set(run.id, run))


def proceed(draft: Draft, run: Run, runbook: Runbook) -> bool:
    """The next undo, or the end. False when something has to be waited for."""
    for record in run.steps:
        between_tries = record.state is StepState.VERIFYING and not record.command
        if record.state in _NOT_UNDER_WAY or between_tries:  # a restart or a lost answer led there
            effect = _may_have_taken_effect(record)
            steps.finish(draft, run, record, StepState.FAILED, record.message, effect=effect)
            return True
    if any(record.state in LIVE and record.state is not StepState.ROLLING_BACK for record in run.steps):
        return _join(draft, run, runbook)
    rolling = next((record for record in run.steps if record.state is StepState.ROLLING_BACK), None)
    if rolling is not None:
        step = step_at(runbook, rolling.path)
        if rolling.command or step is None or (rolling.due is not None and draft.at.mono < rolling.due):
            return False
        return _undo(draft, run, rolling, step)
    found = _next(run, runbook)
    if found is not None:
        record, step = found
        return _undo(draft, run, replace(record, attempt=0), step)
    failed = [record.path for record in run.steps if record.state is StepState.ROLLBACK_FAILED]
    if failed:
        closing.stop(draft, run, runbook, f"rollback failed: {', '.join(failed)}")
    else:
        closing.end(draft, run, runbook, run.ending or RunState.FAILED)
    return False


def answered(
    draft: Draft, run: Run, record: StepRecord, step: Step, status: ActionStatus, message: str
) -> None:
    """The outcome of an undo. One that can't be told is repeated only where that does no harm."""
    again = status is ActionStatus.FAILED or (status is ActionStatus.UNKNOWN and step.idempotent)
    if status is ActionStatus.SUCCEEDED:
        steps.finish(draft, run, record, StepState.ROLLED_BACK, message)
    elif again and record.attempt < MOST_ATTEMPTS:
        pause = step.retry.delay * step.retry.factor ** (record.attempt - 1)
        waiting = replace(record, command="", message=message)
        data = about(waiting, ("state", str(status)), ("message", message), ("again_in", pause))
        run = keep(draft, FactKind.STEP_FINISHED, put(run, waiting), data)
        due(draft, run, waiting, pause)
    else:
        steps.finish(draft, run, record, StepState.ROLLBACK_FAILED, message or str(status))


def restarted(draft: Draft, run: Run, record: StepRecord, step: Step) -> None:
    """After a restart the outcome of an undo under way is unknown."""
    if record.command:
        answered(draft, run, record, step, ActionStatus.UNKNOWN, "controller restarted")
    else:
        due(draft, run, record, 0.0)


def _undo(draft: Draft, run: Run, record: StepRecord, step: Step) -> bool:
    if step.rollback is None:
        return False
    leave = undoing(draft.state, draft.at, draft.policy, run, step)
    if leave.leave is Leave.WAIT:
        waiting = replace(record, state=StepState.ROLLING_BACK, command="", message=leave.words)
        if record.state is not StepState.ROLLING_BACK or record.message != leave.words:
            data = about(
                waiting, ("reasons", leave.words), ("action", step.rollback.action), ("for", "rollback")
            )
            run = keep(draft, FactKind.STEP_HELD, put(run, waiting), data)
        due(draft, run, waiting, steps.RECHECK)
        return False
    fresh = replace(record, attempt=record.attempt + 1)
    steps.dispatch(draft, run, fresh, step, step.rollback, StepState.ROLLING_BACK)
    return True


def _next(run: Run, runbook: Runbook) -> tuple[StepRecord, Step] | None:
    """The latest effect that is neither undone nor given up, and can be undone."""
    over = (StepState.ROLLED_BACK, StepState.ROLLBACK_FAILED)
    standing = [record for record in run.steps if record.order and record.state not in over]
    for record in sorted(standing, key=lambda record: record.order, reverse=True):
        step = step_at(runbook, record.path)
        if step is not None and step.rollback is not None:
            return record, step
    return None


def _may_have_taken_effect(record: StepRecord) -> bool:
    unsettled = record.state in (StepState.UNKNOWN, StepState.VERIFYING)
    return unsettled or record.in_doubt or record.order > 0


def _must_be_waited_for(record: StepRecord, step: Step | None) -> bool:
    """It is under way and may take effect. Pauses and probes are dropped."""
    if record.state is StepState.ROLLING_BACK:
        return True
    if step is not None and step.steps:
        return True  # until its branches are over
    return in_flight(record) and not (
        step is not None and step.call is not None and calls.repeatable(step.call)
    )


def _join(draft: Draft, run: Run, runbook: Runbook) -> bool:
    """A parallel step whose branches are over is over."""
    for step in runbook.steps:
        record = run.step(step.name)
        if step.steps and record is not None and record.state in LIVE:
            return steps.join(draft, run, step)
    return False
