"""How a run begins: a rule wants it, or a person asks for it."""

from __future__ import annotations

from controller.core.draft import Draft
from controller.core.execution.clearance import BY_RULE
from controller.core.execution.position import keep, live_runs
from controller.core.execution.references import starting_inputs
from controller.model.events import OperatorStartedRun, RunEnded, RunWanted
from controller.model.facts import FactKind
from controller.model.moments import Values
from controller.model.runbooks import Runbook
from controller.model.runs import Run, RunState


def wanted(draft: Draft, event: RunWanted) -> Run | None:
    """A rule's run. None, with the reason on record, when it is not started."""
    runbook = draft.policy.runbooks.get(event.runbook)
    reason = "" if runbook is not None else "unknown_runbook"
    if any(run.runbook == event.runbook and run.incident == event.incident for run in live_runs(draft.state)):
        reason = "already_running"
    if reason or runbook is None:
        data: Values = (("runbook", event.runbook), ("reason", reason), ("fault", event.fault))
        draft.record(
            FactKind.RESPONSE_WITHHELD,
            event.group or event.runbook,
            data=data,
            incident=event.incident,
            drill=event.drill,
        )
        if reason == "unknown_runbook":
            draft.events.append(
                RunEnded(
                    at=event.at,
                    run="",
                    incident=event.incident,
                    runbook=event.runbook,
                    succeeded=False,
                    outcome=reason,
                )
            )
        return None
    return _start(
        draft, runbook, event.inputs, event.incident, event.group, event.fault, BY_RULE, event.drill
    )


def asked(draft: Draft, event: OperatorStartedRun) -> Run | None:
    """A person's run. None when it is refused, with every reason."""
    reasons = []
    runbook = draft.policy.runbooks.get(event.runbook)
    if runbook is None:
        reasons.append("unknown_runbook")
    if event.incident and event.incident not in draft.state.incidents:
        reasons.append("unknown_incident")
    if event.group and event.group not in draft.policy.groups:
        reasons.append("unknown_group")
    if event.incident and any(
        run.runbook == event.runbook and run.incident == event.incident for run in live_runs(draft.state)
    ):
        reasons.append("already_running")
    if runbook is not None and not reasons:
        given = dict(
            starting_inputs(
                event.inputs,
                group=event.group,
                incident=event.incident,
                fault="",
                state=draft.state,
                policy=draft.policy,
            )
        )
        missing = [name for name in runbook.inputs if given.get(name) in (None, "")]
        reasons.extend(f"missing_input:{name}" for name in missing)
    if reasons or runbook is None:
        data: Values = (("request", "run"), ("runbook", event.runbook), ("reasons", ",".join(reasons)))
        draft.record(
            FactKind.REQUEST_REFUSED, event.runbook, data=data, incident=event.incident, actor=event.by
        )
        return None
    return _start(draft, runbook, event.inputs, event.incident, event.group, "", event.by, event.drill)


def _start(
    draft: Draft,
    runbook: Runbook,
    given: Values,
    incident: str,
    group: str,
    fault: str,
    by: str,
    drill: bool,
) -> Run:
    inputs = starting_inputs(
        given, group=group, incident=incident, fault=fault, state=draft.state, policy=draft.policy
    )
    run = Run(
        id=draft.number("RUN"),
        runbook=runbook.name,
        revision=runbook.revision,
        state=RunState.RUNNING,
        incident=incident,
        group=str(dict(inputs).get("group") or ""),
        inputs=inputs,
        drill=drill,
        started_by=by,
        started_wall=draft.at.wall,
    )
    data: Values = (
        ("runbook", runbook.name),
        ("revision", runbook.revision),
        ("group", run.group),
        ("by", by),
        *((f"input.{name}", value) for name, value in inputs if value not in ("", None)),
    )
    return keep(draft, FactKind.RUN_STARTED, run, data, actor="" if by == BY_RULE else by)
