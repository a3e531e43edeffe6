"""Going on with a step: after a pause, a deadline, or a restart of the controller."""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.execution import calls, persons, rollback, steps
from controller.core.execution.clearance import FAILOVER
from controller.core.execution.position import about, due, keep, put, remember
from controller.model.facts import FactKind
from controller.model.runbooks import Step, StepKind
from controller.model.runs import ActionStatus, Run, StepRecord, StepState


def retry(draft: Draft, run: Run, record: StepRecord, step: Step) -> bool:
    """A pause is over, or something that stood in the way may be gone. False when it goes on waiting."""
    match record.state:
        case StepState.PENDING:
            return steps.attempt(draft, run, record, step)
        case StepState.RETRYING:
            if record.due is not None and draft.at.mono < record.due:
                return False
            return steps.attempt(draft, run, record, step)
        case StepState.UNKNOWN:
            return steps.read_back(draft, run, record.path, step)
        case StepState.VERIFYING if not record.command:
            if record.due is not None and draft.at.mono < record.due:
                return False
            return steps.read_back(draft, run, record.path, step)
        case _:
            return False


def restarted(draft: Draft, run: Run, record: StepRecord, step: Step) -> None:
    """After a restart: what was under way has an unknown outcome, every pause and deadline starts again."""
    match record.state:
        case StepState.INTENDED if step.kind is StepKind.PARALLEL:
            return
        case StepState.INTENDED if step.call is not None and calls.repeatable(step.call):
            again = replace(record, state=StepState.PENDING, command="", due=draft.at.mono)
            data = about(again, ("message", "controller restarted"))
            keep(draft, FactKind.STEP_UNKNOWN, put(run, again), data)
        case StepState.INTENDED if calls.switching(draft, run, step):
            due(draft, run, record, calls.SWITCH_RECHECK)
        case StepState.INTENDED if step.call is not None and step.call.action == FAILOVER:
            steps.finish(draft, run, record, StepState.FAILED, "controller restarted before the switch began")
        case StepState.INTENDED:
            steps.doubted(draft, run, record, step, "controller restarted")
        case StepState.VERIFYING:
            lost = replace(record, state=StepState.UNKNOWN, command="", due=draft.at.mono)
            data = about(lost, ("message", "controller restarted while verifying"))
            keep(draft, FactKind.STEP_UNKNOWN, put(run, lost), data)
        case StepState.RETRYING:
            due(draft, run, record, step.retry.delay * step.retry.factor ** max(record.attempt - 1, 0))
        case StepState.AWAITING_PERSON:
            due(draft, run, record, persons.patience(step))
        case StepState.PENDING | StepState.UNKNOWN:
            remember(draft, put(run, replace(record, due=draft.at.mono)))
        case _:
            return


def expired(draft: Draft, run: Run, record: StepRecord, step: Step) -> None:
    action = step.call.action if step.call is not None else ""
    match record.state:
        case StepState.AWAITING_PERSON:
            persons.overdue(draft, run, record, step)
        case StepState.INTENDED if action == calls.WAIT:
            steps.answered(draft, run, record, step, ActionStatus.SUCCEEDED)
        case StepState.INTENDED if action == calls.PROBE:
            steps.answered(draft, run, record, step, ActionStatus.FAILED, "no answer")
        case StepState.INTENDED if calls.switching(draft, run, step):
            due(draft, run, record, calls.SWITCH_RECHECK)
        case StepState.INTENDED if action == FAILOVER:
            message = "the switch ended without an answer"
            steps.answered(draft, run, record, step, ActionStatus.FAILED, message)
        case StepState.INTENDED | StepState.VERIFYING if record.command:
            steps.answered(draft, run, record, step, ActionStatus.UNKNOWN, "no answer")
        case StepState.ROLLING_BACK if record.command:
            rollback.answered(draft, run, record, step, ActionStatus.UNKNOWN, "no answer")
        case _:
            return
