"""The run stage: executes runbooks, step by step, for an incident, a drill or a person.

A run's position is the set of its live step records. Every change is a fact that holds the run (position.keep), so a
restart finds every run where it was; what was under way then is read back before anything is repeated.
"""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.execution import calls, closing, need, persons, resumption, rollback, starting, steps
from controller.core.execution.position import LIVE, live_runs, runbook_of, step_at, walk
from controller.core.execution.references import UnknownReference, names, resolve
from controller.model.events import (
    ActionFinished,
    Event,
    FaultCleared,
    IncidentChanged,
    LadderFinished,
    LeadershipTaken,
    OperatorApproved,
    OperatorCancelledRun,
    OperatorDidManualStep,
    OperatorStartedRun,
    RunWanted,
    Started,
    SwitchEnded,
)
from controller.model.facts import FactKind
from controller.model.groups import SwitchOutcome
from controller.model.moments import Values
from controller.model.policy import Policy
from controller.model.runbooks import Step, StepKind
from controller.model.runs import NOT_NEEDED, Run, RunState, StepRecord, StepState
from controller.model.state import Decision, State


def advance(state: State, event: Event, policy: Policy) -> Decision:
    draft = Draft(state, event.at, policy)
    match event:
        case RunWanted():
            _proceed(draft, starting.wanted(draft, event))
        case OperatorStartedRun():
            _proceed(draft, starting.asked(draft, event))
        case ActionFinished():
            _answered(draft, event)
        case LadderFinished():
            _probed(draft, event)
        case SwitchEnded():
            _switched(draft, event)
        case OperatorApproved():
            _proceed(draft, persons.approved(draft, event))
        case OperatorDidManualStep():
            _proceed(draft, persons.done(draft, event))
        case OperatorCancelledRun():
            _cancel(draft, event)
        case IncidentChanged():
            incident = draft.state.incidents.get(event.incident)
            if incident is not None and not incident.open:
                over = need.without_incident(draft, incident)
                _give_up(draft, over, f"incident {incident.state}")
        case FaultCleared():
            _give_up(draft, need.without_fault(draft, event.fault), f"{event.fault.key} cleared")
        case Started() | LeadershipTaken():
            _restarted(draft)
        case _:
            pass
    _deadlines(draft)
    return draft.decision()


def wake_at(state: State, policy: Policy) -> float | None:
    deadlines = [
        record.due
        for run in live_runs(state)
        for record in run.steps
        if record.due is not None and record.state in LIVE
    ]
    return min(deadlines, default=None)


def _proceed(draft: Draft, run: Run | None) -> None:
    """Start everything that can start now."""
    while run is not None and _advanced(draft, draft.state.runs[run.id]):
        pass


def _advanced(draft: Draft, run: Run) -> bool:
    """One move of a run. False when it has to wait for something, or is over."""
    if not run.live:
        return False
    runbook = runbook_of(draft, run)
    if runbook is None:
        closing.stop(draft, run, None, "its runbook has changed or is gone")
        return False
    if run.ending is not None:
        return rollback.proceed(draft, run, runbook)
    for step in runbook.steps:
        record = run.step(step.name)
        if record is None:
            steps.begin(draft, run, step.name, step)
            return True
        match record.state:
            case StepState.SKIPPED if record.message == steps.SHADOWED:
                rollback.begin(draft, run, runbook, RunState.CANCELLED, steps.SHADOWED, step.name)
                return True
            case StepState.SUCCEEDED | StepState.SKIPPED:
                continue
            case StepState.FAILED if step.on_failure == "continue":
                continue
            case StepState.FAILED:
                reason = f"{step.name}: {record.message}"
                rollback.begin(draft, run, runbook, RunState.FAILED, str(RunState.FAILED), reason)
                return True
            case StepState.INTENDED if step.kind is StepKind.PARALLEL:
                return _branches(draft, run, step)
            case _:
                return resumption.retry(draft, run, record, step)
    closing.end(draft, run, runbook, RunState.SUCCEEDED)
    return False


def _branches(draft: Draft, run: Run, parent: Step) -> bool:
    """A move of any branch, or the end of them all."""
    for child in parent.steps:
        record = run.step(f"{parent.name}/{child.name}")
        if record is not None and resumption.retry(draft, run, record, child):
            return True
        run = draft.state.runs[run.id]
    return steps.join(draft, run, parent)


def _answered(draft: Draft, event: ActionFinished) -> None:
    found = _waiting_for(draft, event.command)
    if found is None:
        return
    run, record, step = found
    if record.state is StepState.ROLLING_BACK:
        rollback.answered(draft, run, record, step, event.status, event.message)
    else:
        steps.answered(draft, run, record, step, event.status, event.message, event.data)
    _proceed(draft, run)


def _probed(draft: Draft, event: LadderFinished) -> None:
    found = _waiting_for(draft, event.command)
    if found is None:
        return
    run, record, step = found
    call = step.call
    if record.state is StepState.VERIFYING:
        call = step.verify
    elif record.state is StepState.ROLLING_BACK:
        call = step.rollback
    parameters: Values = ()
    if call is not None:
        try:
            parameters = resolve(call.parameters, names(run, draft.state, draft.policy))
        except UnknownReference:
            parameters = call.parameters
    status, message, data = calls.judged(event.results, parameters)
    if record.state is StepState.ROLLING_BACK:
        rollback.answered(draft, run, record, step, status, message)
    else:
        steps.answered(draft, run, record, step, status, message, data)
    _proceed(draft, run)


def _switched(draft: Draft, event: SwitchEnded) -> None:
    run = draft.state.runs.get(event.run)
    record = None if run is None else run.step(event.step)
    runbook = None if run is None else runbook_of(draft, run)
    step = None if runbook is None else step_at(runbook, event.step)
    if (
        run is None
        or not run.live
        or record is None
        or step is None
        or record.state is not StepState.INTENDED
    ):
        return
    status, message, data = calls.switched(event)
    if event.outcome is SwitchOutcome.SHADOWED:
        steps.finish(
            draft,
            run,
            replace(record, data=data),
            StepState.SKIPPED,
            steps.SHADOWED,
            kind=FactKind.STEP_SHADOWED,
        )
    elif event.outcome is SwitchOutcome.NEEDS_PERSON:
        steps.finish(draft, run, replace(record, data=data), StepState.FAILED, message, effect=True)
        closing.stop(draft, draft.state.runs[run.id], runbook, f"{event.step}: {message}")
    else:
        steps.answered(draft, run, record, step, status, message, data)
    _proceed(draft, run)


def _cancel(draft: Draft, event: OperatorCancelledRun) -> None:
    """Stop and roll back. A second time: stop rolling back as well."""
    run = draft.state.runs.get(event.run)
    if run is None or not run.live:
        reason = "unknown_run" if run is None else "run_not_live"
        data: Values = (("request", "cancel"), ("reasons", reason))
        draft.record(FactKind.REQUEST_REFUSED, event.run, data=data, actor=event.by)
        return
    runbook = runbook_of(draft, run)
    if runbook is None or run.ending is not None:
        closing.stop(draft, run, runbook, f"stopped by {event.by}: {event.reason}".rstrip(": "))
        return
    outcome = str(RunState.CANCELLED)
    rollback.begin(draft, run, runbook, RunState.CANCELLED, outcome, event.reason, actor=event.by)
    _proceed(draft, run)


def _give_up(draft: Draft, runs: list[Run], reason: str) -> None:
    for run in runs:
        runbook = runbook_of(draft, run)
        if runbook is not None:
            rollback.begin(draft, run, runbook, RunState.CANCELLED, NOT_NEEDED, reason)
            _proceed(draft, run)


def _restarted(draft: Draft) -> None:
    for run in live_runs(draft.state):
        runbook = runbook_of(draft, run)
        for path, step in () if runbook is None else walk(runbook):
            current = draft.state.runs[run.id]
            record = current.step(path)
            if record is None or record.state not in LIVE:
                continue
            if record.state is StepState.ROLLING_BACK:
                rollback.restarted(draft, current, record, step)
            else:
                resumption.restarted(draft, current, record, step)
        _proceed(draft, run)


def _deadlines(draft: Draft) -> None:
    """Everything whose time has come: lost answers, pauses, people who did not answer."""
    now = draft.at.mono
    for run in live_runs(draft.state):
        late = [record for record in run.steps if record.due is not None and record.due <= now]
        runbook = runbook_of(draft, run)
        for record in late if runbook is not None else ():
            current = draft.state.runs[run.id]
            step = step_at(runbook, record.path) if runbook is not None else None
            if step is not None and current.live and current.step(record.path) == record:
                resumption.expired(draft, current, record, step)
        if late:
            _proceed(draft, run)


def _waiting_for(draft: Draft, command: str) -> tuple[Run, StepRecord, Step] | None:
    """The step whose command this is."""
    for run in live_runs(draft.state) if command else ():
        for record in run.steps:
            runbook = runbook_of(draft, run) if record.command == command else None
            step = None if runbook is None else step_at(runbook, record.path)
            if step is not None:
                return run, record, step
    return None
