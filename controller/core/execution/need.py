"""Whether what a rule started is still needed, once its incident is over or the fault that wanted it has cleared.

Only a run that has done nothing yet is given up: one that waits for its turn or for people, of whom nobody reported
anything done. Work that people began is theirs to finish, and an effect that stands is never left alone: while such a
run is live, its incident is not over.
"""

from __future__ import annotations

from controller.core.draft import Draft
from controller.core.execution.clearance import BY_RULE
from controller.core.execution.closing import not_undone
from controller.core.execution.position import LIVE, live_runs, runbook_of, walk
from controller.model.faults import Fault, FaultKind
from controller.model.incidents import Incident
from controller.model.runbooks import Runbook, StepKind
from controller.model.runs import Run, StepRecord, StepState


def without_incident(draft: Draft, incident: Incident) -> list[Run]:
    """Runs to give up now that their incident is over."""
    return [
        run
        for run in _by_rule(draft, incident.id)
        if (runbook := runbook_of(draft, run)) is not None
        and (_only_pending(run, runbook) or _nothing_done(run, runbook))
    ]


def holding(draft: Draft, incident: Incident) -> list[Run]:
    """Runs that keep their incident open: they have begun, and what they did or asked for is not finished."""
    given_up = {run.id for run in without_incident(draft, incident)}
    return [run for run in live_runs(draft.state) if run.incident == incident.id and run.id not in given_up]


def without_fault(draft: Draft, cleared: Fault) -> list[Run]:
    """Runs to give up now that the fault they were started for is gone."""
    return [
        run
        for run in _by_rule(draft, cleared.incident)
        if dict(run.inputs).get("fault") == str(cleared.key)
        and (runbook := runbook_of(draft, run)) is not None
        and _nothing_done(run, runbook)
    ]


def _by_rule(draft: Draft, incident: str) -> list[Run]:
    return [
        run
        for run in live_runs(draft.state)
        if incident and run.incident == incident and run.started_by == BY_RULE and run.ending is None
    ]


def _only_pending(run: Run, runbook: Runbook) -> bool:
    live = _live(run, runbook)
    return bool(live) and all(record.state is StepState.PENDING for record in live)


def _nothing_done(run: Run, runbook: Runbook) -> bool:
    """It waits only, nothing has an effect that stands, and no person did anything for it."""
    if str(dict(run.inputs).get("fault") or "").startswith(f"{FaultKind.SECURITY_ANOMALY}:"):
        return False  # an intruder who has gone quiet is looked into all the same
    steps = dict(walk(runbook))
    live = _live(run, runbook)
    return (
        bool(live)
        and all(
            record.state in (StepState.PENDING, StepState.AWAITING_PERSON) and not record.in_doubt
            for record in live
        )
        and not any(
            record.state is StepState.SUCCEEDED and steps[record.path].kind is StepKind.MANUAL
            for record in run.steps
        )
        and not not_undone(run, runbook)
    )


def _live(run: Run, runbook: Runbook) -> list[StepRecord]:
    """The steps that are not over; a parallel step is where its branches are."""
    parents = {path for path, step in walk(runbook) if step.kind is StepKind.PARALLEL}
    return [record for record in run.steps if record.state in LIVE and record.path not in parents]
