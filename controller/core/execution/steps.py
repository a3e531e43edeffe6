"""One step of a run: its attempts, and what their outcomes lead to.

    (untouched) -> skipped | pending -> intended -> verifying -> succeeded | failed
                                  ^         |
                                  +- retrying / unknown (read back first)

Invariants:
- every attempt is a fact before its command leaves, and asks for clearance again;
- an outcome that can't be told is settled by the step's `on_unknown` and never by trying again blindly;
- `order` is given to every step that may have taken effect, so that rollback finds it.
"""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.execution import calls, persons
from controller.core.execution.clearance import Leave, clearance, disruptive
from controller.core.execution.position import about, due, keep, next_order, put, trimmed
from controller.core.execution.references import UnknownReference, names, resolve
from controller.model.facts import FactKind
from controller.model.faults import Verdict
from controller.model.moments import Values
from controller.model.runbooks import ActionCall, OnUnknown, Step, StepKind
from controller.model.runs import ActionStatus, Run, StepRecord, StepState

RECHECK = 0.5
"""Seconds between two looks at whether a waiting step may act."""

FEWEST_REPEATS = 2
"""An idempotent step whose outcome can't be told is repeated at least once, whatever its `retry` says."""


def begin(draft: Draft, run: Run, path: str, step: Step) -> None:
    """First touch of a step."""
    record = StepRecord(path=path, state=StepState.PENDING, started_wall=draft.at.wall)
    if step.when is not None:
        verdict = step.when.evaluate(names(run, draft.state, draft.policy))
        if verdict is Verdict.FALSE:
            skipped = replace(record, state=StepState.SKIPPED, finished_wall=draft.at.wall)
            keep(draft, FactKind.STEP_SKIPPED, put(run, skipped), about(record, ("when", step.when.source)))
            return
        if verdict is Verdict.UNKNOWN:
            finish(draft, run, record, StepState.FAILED, f"condition unknown: {step.when.source}")
            return
    match step.kind:
        case StepKind.ACTION:
            attempt(draft, put(run, record), record, step)
        case StepKind.PARALLEL:
            _fork(draft, run, record, step)
        case StepKind.APPROVE | StepKind.MANUAL:
            persons.ask(draft, run, record, step)


def attempt(draft: Draft, run: Run, record: StepRecord, step: Step) -> bool:
    """Try the step's action now, if it may. False when it goes on waiting."""
    if step.call is None:
        finish(draft, run, record, StepState.FAILED, "no action")
        return True
    leave = clearance(draft.state, draft.at, draft.policy, run, step)
    match leave.leave:
        case Leave.WAIT:
            return _hold(draft, run, record, step, leave.words)
        case Leave.SHADOW:
            shadow(draft, run, record, step.call)
        case Leave.REFUSED:
            finish(draft, run, record, StepState.FAILED, f"refused: {leave.words}")
        case Leave.GO:
            fresh = replace(record, attempt=record.attempt + 1, in_doubt=False)
            dispatch(draft, run, fresh, step, step.call, StepState.INTENDED)
    return True


def dispatch(
    draft: Draft, run: Run, record: StepRecord, step: Step, call: ActionCall, state: StepState
) -> None:
    """Put one call on record and let it go. `state` says what it is for: the act, its verify or its rollback."""
    try:
        parameters = resolve(call.parameters, names(run, draft.state, draft.policy))
        record = replace(record, state=state, message="", command="", due=None)
        record = calls.send(draft, run, record, step, call, parameters)
    except UnknownReference as error:
        _unresolvable(draft, run, record, state, f"no value for {error}")
        return
    except calls.CallRefused as error:
        _unresolvable(draft, run, record, state, str(error))
        return
    if calls.in_flight(call):
        return
    if state is StepState.ROLLING_BACK:
        finish(draft, draft.state.runs[run.id], record, StepState.ROLLED_BACK)
    else:
        answered(draft, draft.state.runs[run.id], record, step, ActionStatus.SUCCEEDED)


def answered(
    draft: Draft,
    run: Run,
    record: StepRecord,
    step: Step,
    status: ActionStatus,
    message: str = "",
    data: Values = (),
) -> None:
    """The outcome of the act or of its verify."""
    record = replace(record, command="", due=None, data=trimmed(data) or record.data)
    if record.state is StepState.VERIFYING:
        _verified(draft, run, record, step, status, message)
        return
    match status:
        case ActionStatus.SUCCEEDED if step.verify is not None:
            noted = _note(draft, run, replace(record, state=StepState.UNKNOWN), status, message)
            verify(draft, noted, replace(record, message=message, tries=0), step)
        case ActionStatus.SUCCEEDED:
            finish(draft, run, record, StepState.SUCCEEDED, message, effect=True)
        case ActionStatus.FAILED:
            _failed(draft, run, record, step, message, effect=False)
        case ActionStatus.REFUSED:
            finish(draft, run, record, StepState.FAILED, message or "refused by the far end")
        case ActionStatus.UNKNOWN:
            doubted(draft, run, record, step, message)
            read_back(draft, draft.state.runs[run.id], record.path, step)


def doubted(draft: Draft, run: Run, record: StepRecord, step: Step, message: str) -> None:
    """Put on record that the outcome can't be told; `read_back` settles it."""
    record = replace(
        record,
        state=StepState.UNKNOWN,
        in_doubt=True,
        tries=0,
        command="",
        message=message,
        due=draft.at.mono,
    )
    data = about(record, ("message", message), ("on_unknown", str(step.on_unknown)))
    keep(draft, FactKind.STEP_UNKNOWN, put(run, record), data)


def verify(draft: Draft, run: Run, record: StepRecord, step: Step) -> None:
    """Look whether the act shows."""
    if step.verify is not None:
        tried = replace(record, tries=record.tries + 1)
        dispatch(draft, run, tried, step, step.verify, StepState.VERIFYING)


def read_back(draft: Draft, run: Run, path: str, step: Step) -> bool:
    """Settle a step whose outcome can't be told, or whose verify was lost. False when it can't be done yet."""
    record = run.step(path)
    if record is None:
        return False
    if run.ending is not None:
        finish(draft, run, record, StepState.FAILED, record.message or "outcome unknown", effect=True)
        return True
    leave = clearance(
        draft.state, draft.at, draft.policy, run, replace(step, disruptive=False, drops_calls=False)
    )
    if leave.leave is Leave.WAIT:
        due(draft, run, record, RECHECK)
        return False
    if not record.in_doubt or step.on_unknown is OnUnknown.VERIFY:
        if step.verify is None:
            persons.ask_outcome(draft, run, record, step)
        else:
            verify(draft, run, record, step)
        return True
    match step.on_unknown:
        case OnUnknown.REPEAT if step.idempotent:
            if record.attempt >= max(step.retry.attempts, FEWEST_REPEATS):
                finish(
                    draft, run, record, StepState.FAILED, "outcome unknown, tried often enough", effect=True
                )
                return True
            return attempt(draft, run, record, step)
        case OnUnknown.REPEAT | OnUnknown.MANUAL | OnUnknown.VERIFY:
            persons.ask_outcome(draft, run, record, step)
        case OnUnknown.FAIL:
            finish(draft, run, record, StepState.FAILED, record.message or "outcome unknown", effect=True)
    return True


def finish(
    draft: Draft,
    run: Run,
    record: StepRecord,
    state: StepState,
    message: str = "",
    *,
    effect: bool = False,
    kind: FactKind = FactKind.STEP_FINISHED,
    actor: str = "",
) -> None:
    """The step is over. `effect`: it may have taken effect."""
    record = replace(
        record,
        state=state,
        command="",
        due=None,
        message=message,
        finished_wall=draft.at.wall,
        order=(record.order or next_order(run)) if effect else record.order,
    )
    data = about(record, ("state", str(state)), ("message", message), *record.data)
    keep(draft, kind, put(run, record), data, actor=actor)


def shadow(draft: Draft, run: Run, record: StepRecord, call: ActionCall) -> None:
    """Record what would have been done; the run ends there."""
    try:
        parameters = resolve(call.parameters, names(run, draft.state, draft.policy))
    except UnknownReference:
        parameters = call.parameters
    record = replace(
        record, state=StepState.SKIPPED, message=SHADOWED, finished_wall=draft.at.wall, command="", due=None
    )
    data = about(record, ("action", call.action), *calls.shown(parameters))
    keep(draft, FactKind.STEP_SHADOWED, put(run, record), data)


SHADOWED = "shadowed"
"""The message of a step that was only described."""


def _hold(draft: Draft, run: Run, record: StepRecord, step: Step, reasons: str) -> bool:
    """Wait, and say once why, and what would be done."""
    known = run.step(record.path)
    if known is None or known.state is not StepState.PENDING or known.message != reasons:
        waiting = replace(record, state=StepState.PENDING, message=reasons, command="")
        action = step.call.action if step.call is not None else str(step.kind)
        run = keep(
            draft,
            FactKind.STEP_HELD,
            put(run, waiting),
            about(waiting, ("reasons", reasons), ("action", action)),
        )
        record = waiting
    due(draft, run, record, RECHECK)
    return False


def _unresolvable(draft: Draft, run: Run, record: StepRecord, state: StepState, message: str) -> None:
    """The call could not be made. Of a verify: nothing is known; of the act: nothing was done."""
    if state is StepState.VERIFYING:
        finish(draft, run, record, StepState.FAILED, f"not verified: {message}", effect=True)
    elif state is StepState.ROLLING_BACK:
        finish(draft, run, record, StepState.ROLLBACK_FAILED, message, effect=True)
    else:
        finish(draft, run, record, StepState.FAILED, message)


def _note(draft: Draft, run: Run, record: StepRecord, status: ActionStatus, message: str) -> Run:
    """The act is done and goes on to be verified."""
    data = about(record, ("state", "acted"), ("status", str(status)), ("message", message), *record.data)
    return keep(draft, FactKind.STEP_FINISHED, put(run, record), data)


def _verified(
    draft: Draft, run: Run, record: StepRecord, step: Step, status: ActionStatus, message: str
) -> None:
    """What the verify says is believed. In doubt, a plain no means that the act did not take effect."""
    if status is ActionStatus.FAILED and step.verify is not None and record.tries < step.verify.attempts:
        data = about(record, ("state", "acted"), ("message", f"not yet: {message}"), ("tries", record.tries))
        run = keep(draft, FactKind.STEP_FINISHED, put(run, record), data)
        due(draft, run, record, step.verify.pause)
        return
    match status:
        case ActionStatus.SUCCEEDED:
            read = "read back: it took effect" if record.in_doubt else message
            finish(draft, run, replace(record, in_doubt=False), StepState.SUCCEEDED, read, effect=True)
        case ActionStatus.FAILED | ActionStatus.REFUSED:
            effect = not record.in_doubt
            _failed(draft, run, record, step, f"not verified: {message}", effect=effect)
        case ActionStatus.UNKNOWN:
            if record.in_doubt and run.ending is None:
                persons.ask_outcome(draft, run, record, step)
            else:
                _failed(draft, run, record, step, f"not verified: {message}", effect=True)


def _failed(draft: Draft, run: Run, record: StepRecord, step: Step, message: str, *, effect: bool) -> None:
    """Try again later, if attempts are left and a second effect would do no harm."""
    harmless = step.idempotent or not effect
    if run.ending is not None or record.attempt >= step.retry.attempts or not harmless:
        finish(draft, run, record, StepState.FAILED, message, effect=effect)
        return
    pause = step.retry.delay * step.retry.factor ** (record.attempt - 1)
    record = replace(
        record,
        state=StepState.RETRYING,
        command="",
        message=message,
        order=(record.order or next_order(run)) if effect else record.order,
    )
    data = about(record, ("state", str(StepState.RETRYING)), ("message", message), ("again_in", pause))
    run = keep(draft, FactKind.STEP_FINISHED, put(run, record), data)
    due(draft, run, record, pause)


def _fork(draft: Draft, run: Run, record: StepRecord, step: Step) -> None:
    """All branches at once. The configuration refuses disruptive ones; so does this."""
    unfit = [child.name for child in step.steps if disruptive(child) or child.kind is StepKind.PARALLEL]
    if unfit or not step.steps:
        finish(draft, run, record, StepState.FAILED, f"may not run in parallel: {', '.join(unfit)}")
        return
    forked = replace(record, state=StepState.INTENDED, attempt=1)
    branches = ",".join(child.name for child in step.steps)
    keep(draft, FactKind.STEP_INTENDED, put(run, forked), about(forked, ("parallel", branches)))
    for child in step.steps:
        begin(draft, draft.state.runs[run.id], f"{record.path}/{child.name}", child)


def join(draft: Draft, run: Run, step: Step) -> bool:
    """The end of a parallel step, once every branch is over."""
    record = run.step(step.name)
    branches = [run.step(f"{step.name}/{child.name}") for child in step.steps]
    if record is None or any(branch is None or branch.state in _UNFINISHED for branch in branches):
        return False
    stopped = [
        child.name
        for child, branch in zip(step.steps, branches, strict=True)
        if branch is not None and branch.state is StepState.FAILED and child.on_failure != "continue"
    ]
    state = StepState.FAILED if stopped else StepState.SUCCEEDED
    finish(draft, run, record, state, f"failed: {', '.join(stopped)}" if stopped else "")
    return True


_UNFINISHED = frozenset(
    {
        StepState.PENDING,
        StepState.INTENDED,
        StepState.RETRYING,
        StepState.VERIFYING,
        StepState.AWAITING_PERSON,
        StepState.UNKNOWN,
    }
)
