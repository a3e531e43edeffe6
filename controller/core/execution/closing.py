"""How a run ends, and who is told."""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.execution import calls
from controller.core.execution.clearance import FAILOVER
from controller.core.execution.position import LIVE, keep, walk
from controller.model.events import RunEnded
from controller.model.facts import FactKind
from controller.model.moments import Values
from controller.model.runbooks import Runbook, Step
from controller.model.runs import Run, RunState, StepState

CHANGES_NOTHING = calls.OWN - {FAILOVER}


def end(draft: Draft, run: Run, runbook: Runbook | None, state: RunState, reason: str = "") -> None:
    """The run is over, in this state."""
    outcome = run.outcome if state in (RunState.FAILED, RunState.CANCELLED) and run.outcome else str(state)
    steps = tuple(
        replace(record, due=None, command="") if record.state in LIVE else record for record in run.steps
    )
    run = replace(run, state=state, steps=steps, outcome=outcome, finished_wall=draft.at.wall)
    failed = ",".join(record.path for record in run.steps if record.state is StepState.FAILED)
    data: Values = (
        ("runbook", run.runbook),
        ("state", str(state)),
        ("outcome", outcome),
        ("seconds", round(draft.at.wall - run.started_wall, 3)),
        ("failed", failed),
        ("not_undone", "" if state is RunState.SUCCEEDED else ",".join(not_undone(run, runbook))),
        ("reason", reason),
    )
    keep(draft, FactKind.RUN_FINISHED, run, tuple(item for item in data if item[1] != ""))
    draft.events.append(
        RunEnded(
            at=draft.at,
            run=run.id,
            incident=run.incident,
            runbook=run.runbook,
            succeeded=state is RunState.SUCCEEDED,
            outcome=outcome,
        )
    )


def stop(draft: Draft, run: Run, runbook: Runbook | None, reason: str) -> None:
    """Only a person may go on from here: they are paged."""
    title = runbook.title if runbook is not None else None
    zh, en = (title.zh, title.en) if title is not None else (run.runbook, run.runbook)
    wanted = calls.wanted(
        draft,
        run,
        f"处置“{zh}”已停下，须人工接管（{run.id}）：{reason}",
        f'runbook "{en}" has stopped and needs a person ({run.id}): {reason}',
    )
    end(draft, run, runbook, RunState.NEEDS_PERSON, reason)
    draft.events.append(wanted)


def not_undone(run: Run, runbook: Runbook | None) -> list[str]:
    """Steps that may have taken effect and still stand."""
    by_path: dict[str, Step] = {} if runbook is None else dict(walk(runbook))
    found = []
    for record in run.steps:
        step = by_path.get(record.path)
        harmless = step is not None and (step.call is None or step.call.action in CHANGES_NOTHING)
        if record.order and record.state is not StepState.ROLLED_BACK and not harmless:
            found.append(record.path)
    return found
