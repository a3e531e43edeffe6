"""Steps that wait for people: approvals, manual steps, and outcomes that only a person can tell.

An approval names run, revision, step and attempt; one that names anything else is stale and refused by name.
"""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.execution import calls
from controller.core.execution.position import about, due, keep, next_order, put, runbook_of, step_at
from controller.model.events import OperatorApproved, OperatorDidManualStep
from controller.model.facts import FactKind
from controller.model.moments import Values
from controller.model.runbooks import Step, StepKind, Text
from controller.model.runs import Run, StepRecord, StepState

ANYONE = "operator"
"""The role that every account has which may operate at all. Any other role is a person's of the configuration."""

REMINDER = 600.0
"""Seconds after which a person is asked again about an outcome that can't be told."""


def ask(draft: Draft, run: Run, record: StepRecord, step: Step) -> None:
    """An approval or a manual step begins: it is recorded, and people are paged."""
    waiting = replace(
        record,
        state=StepState.AWAITING_PERSON,
        attempt=record.attempt + 1,
        due=draft.at.mono + patience(step),
    )
    if step.approval is not None:
        data: Values = (
            ("revision", run.revision),
            ("role", step.approval.role),
            ("expires", step.approval.expires),
            ("default", "grant" if step.approval.default else "refuse"),
        )
        kind = FactKind.APPROVAL_REQUESTED
        need = Text(zh=f"请审批：{step.title.zh}", en=f"Approve or refuse: {step.title.en}")
    elif step.manual is not None:
        data = (
            ("owner", step.manual.owner),
            ("deadline", step.manual.deadline),
            ("proof", step.manual.proof),
        )
        kind = FactKind.MANUAL_REQUESTED
        need = _to_do(step)
    else:
        fail = replace(record, state=StepState.FAILED, message="nobody to ask", finished_wall=draft.at.wall)
        keep(draft, FactKind.STEP_FINISHED, put(run, fail), about(fail, ("state", "failed")))
        return
    keep(draft, kind, put(run, waiting), about(waiting, *data))
    draft.events.append(calls.wanted(draft, run, need.zh, need.en))


def ask_outcome(draft: Draft, run: Run, record: StepRecord, step: Step) -> None:
    """Only a person can tell whether the step took effect."""
    waiting = replace(
        record,
        state=StepState.AWAITING_PERSON,
        in_doubt=True,
        command="",
        due=draft.at.mono + REMINDER,
    )
    data = about(waiting, ("question", "took_effect"), ("message", record.message))
    keep(draft, FactKind.MANUAL_REQUESTED, put(run, waiting), data)
    need = _outcome(step)
    draft.events.append(calls.wanted(draft, run, need.zh, need.en))


def patience(step: Step) -> float:
    """Seconds until an answer is overdue."""
    if step.approval is not None:
        return step.approval.expires
    return step.manual.deadline if step.manual is not None else REMINDER


def overdue(draft: Draft, run: Run, record: StepRecord, step: Step) -> None:
    """Nobody answered in time. An approval's silence means its default; everything else is asked again."""
    if step.approval is not None and not record.in_doubt:
        state = StepState.SUCCEEDED if step.approval.default else StepState.FAILED
        _close(draft, run, record, state, FactKind.APPROVAL_EXPIRED, message="nobody answered in time")
        return
    keep(draft, FactKind.MANUAL_OVERDUE, run, about(record, ("owner", _owner(step))))
    due(draft, draft.state.runs[run.id], record, patience(step))
    need = _outcome(step) if record.in_doubt else _to_do(step)
    late = calls.wanted(draft, run, f"已超时——{need.zh}", f"Overdue: {need.en}")
    draft.events.append(late)


def approved(draft: Draft, event: OperatorApproved) -> Run | None:
    """A person's word on the step that waits. None when it was refused."""
    run = draft.state.runs.get(event.run)
    record = None if run is None else run.step(event.step)
    wrong = _stale(run, record, event)
    if run is None or record is None or wrong:
        data: Values = (
            ("step", event.step),
            ("attempt", event.attempt),
            ("revision", event.revision),
            ("stale", wrong),
            ("granted", event.granted),
        )
        _refuse(draft, FactKind.APPROVAL_STALE, event.run, event.by, data, run)
        return None
    step = _step(draft, run, record)
    reason = _not_for(draft, step, record, event.by)
    if not reason and step.kind is StepKind.MANUAL and not record.in_doubt and event.granted:
        reason = "needs_proof"
    if reason:
        data = (("request", "approval"), ("step", event.step), ("reasons", reason))
        _refuse(draft, FactKind.REQUEST_REFUSED, event.run, event.by, data, run)
        return None
    kind = FactKind.APPROVAL_GIVEN if event.granted else FactKind.APPROVAL_REFUSED
    state = StepState.SUCCEEDED if event.granted else StepState.FAILED
    message = "" if event.granted else "refused by a person"
    _close(draft, run, record, state, kind, by=event.by, message=message)
    return draft.state.runs[run.id]


def done(draft: Draft, event: OperatorDidManualStep) -> Run | None:
    """A person brought the proof of a manual step. None when it was refused."""
    run = draft.state.runs.get(event.run)
    record = None if run is None else run.step(event.step)
    step = None if run is None or record is None else _step(draft, run, record)
    if run is None or not run.live:
        reason = "run_not_live"
    elif record is None or step is None or record.state is not StepState.AWAITING_PERSON:
        reason = "step_not_waiting"
    elif step.kind is StepKind.APPROVE:
        reason = "needs_approval"
    elif not event.proof.strip():
        reason = "needs_proof"
    else:
        _close(
            draft,
            run,
            record,
            StepState.SUCCEEDED,
            FactKind.MANUAL_DONE,
            by=event.by,
            proof=event.proof.strip(),
        )
        return draft.state.runs[run.id]
    data: Values = (("request", "manual"), ("step", event.step), ("reasons", reason))
    _refuse(draft, FactKind.REQUEST_REFUSED, event.run, event.by, data, run)
    return None


def _stale(run: Run | None, record: StepRecord | None, event: OperatorApproved) -> str:
    """Which name of the approval is not what waits; empty when all are."""
    if run is None:
        return "run"
    if event.revision != run.revision:
        return "revision"
    if record is None or record.state is not StepState.AWAITING_PERSON or not run.live:
        return "step"
    return "" if event.attempt == record.attempt else "attempt"


def _not_for(draft: Draft, step: Step, record: StepRecord, by: str) -> str:
    """Why this account may not approve: the role is another's."""
    if step.approval is None or record.in_doubt or step.approval.role == ANYONE:
        return ""
    person = draft.policy.people.get(by)
    return "" if person is not None and person.role == step.approval.role else "wrong_role"


def _step(draft: Draft, run: Run, record: StepRecord) -> Step:
    runbook = runbook_of(draft, run)
    step = None if runbook is None else step_at(runbook, record.path)
    if step is None:
        raise RuntimeError(f"{run.id} waits in {record.path}, which its runbook does not have")
    return step


def _close(
    draft: Draft,
    run: Run,
    record: StepRecord,
    state: StepState,
    kind: FactKind,
    *,
    by: str = "",
    proof: str = "",
    message: str = "",
) -> None:
    effect = record.in_doubt and state is StepState.SUCCEEDED
    data: Values = (("granted", state is StepState.SUCCEEDED), ("by", by))
    if proof:
        data = (*data, ("proof", proof))
    closed = replace(
        record,
        state=state,
        by=by,
        proof=proof,
        message=message,
        finished_wall=draft.at.wall,
        in_doubt=False,
        due=None,
        data=(*record.data, *data),
        order=(record.order or next_order(run)) if effect else record.order,
    )
    keep(draft, kind, put(run, closed), about(closed, *data, ("message", message)), actor=by)


def _refuse(draft: Draft, kind: FactKind, subject: str, by: str, data: Values, run: Run | None) -> None:
    incident, drill = ("", False) if run is None else (run.incident, run.drill)
    draft.record(kind, subject, data=data, incident=incident, actor=by, drill=drill)


def _owner(step: Step) -> str:
    return step.manual.owner if step.manual is not None else ""


def _to_do(step: Step) -> Text:
    manual = step.manual
    owner, proof = ("", "") if manual is None else (manual.owner, manual.proof)
    return Text(
        zh=f"人工步骤（负责人 {owner}）：{step.title.zh}；完成凭证：{proof}",
        en=f"Manual step for {owner}: {step.title.en}; proof: {proof}",
    )


def _outcome(step: Step) -> Text:
    return Text(
        zh=f"结果未知，请核实是否已生效：{step.title.zh}",
        en=f"Outcome unknown; find out whether it took effect: {step.title.en}",
    )
