"""The incident stage: the faults of one cause are one incident, from its first fault to its quiet end.

The root is the group for anything wrong with one of its sides, else the topmost broken ancestor. An incident is never
silently made less severe while it is open; a failed repair makes it more so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controller.core.diagnosis.severity import worse
from controller.core.diagnosis.standing import leading, members, root_key
from controller.core.draft import Draft
from controller.core.execution.need import holding
from controller.core.response import gathering, impact, response
from controller.core.response.gathering import change, extent_of
from controller.model.diagnosis import Response
from controller.model.events import (
    Event,
    FaultCleared,
    FaultRaised,
    IncidentChanged,
    LeadershipTaken,
    OperatorAcknowledged,
    OperatorUpdatedIncident,
    RunEnded,
    Started,
    SwitchEnded,
    TimerFired,
)
from controller.model.facts import FactKind
from controller.model.faults import Fault, FaultKey
from controller.model.groups import Phase, SwitchOutcome
from controller.model.incidents import Incident, IncidentState, SeverityReason
from controller.model.moments import Values
from controller.model.policy import Policy
from controller.model.runs import NOT_NEEDED, Run, RunState
from controller.model.state import Decision, State

FAILED = frozenset({RunState.FAILED, RunState.NEEDS_PERSON})
NO_FAULT = "no fault is left"
SIDE_IS_WELL = "the side in use is well again"


def advance(state: State, event: Event, policy: Policy) -> Decision:
    state = impact.count(state, event, policy)
    match event:
        case FaultRaised():
            draft = Draft(state, event.at, policy)
            _raised(draft, event.key)
        case FaultCleared():
            draft = Draft(state, event.at, policy)
            _cleared(draft, event)
        case SwitchEnded():
            draft = Draft(state, event.at, policy)
            _switched(draft, event)
        case RunEnded():
            draft = Draft(state, event.at, policy)
            _run_ended(draft, event)
        case OperatorAcknowledged():
            draft = Draft(state, event.at, policy)
            _acknowledged(draft, event)
        case OperatorUpdatedIncident():
            draft = Draft(state, event.at, policy)
            _updated(draft, event)
        case TimerFired():
            draft = Draft(state, event.at, policy)
            _timer(draft)
        case Started():
            draft = Draft(state, event.at, policy)
            _restarted(draft)
        case LeadershipTaken():
            draft = Draft(state, event.at, policy)
            _restarted(draft)
            _orphans(draft)
        case _:
            return Decision(state=state)
    # What is done about an incident starts before people are told, so that the page says what is being done.
    draft.events.sort(key=lambda handed: isinstance(handed, IncidentChanged))
    return draft.decision()


def wake_at(state: State, policy: Policy) -> float | None:
    deadlines = [
        incident.quiet_since + _quiet_for(incident, policy)
        for incident in _open(state)
        if incident.quiet_since is not None
    ]
    deadlines.extend(
        answer.retry_at for answer in state.diagnosis.responses.values() if answer.retry_at is not None
    )
    counted = impact.counted_at(state)
    if counted is not None:
        deadlines.append(counted)
    return min(deadlines, default=None)


def _quiet_for(incident: Incident, policy: Policy) -> float:
    """Seconds without a fault until it is looked at: to resolve it, or, while callers may still feel it, whether its
    group is at rest."""
    return policy.resolve_after if incident.state is IncidentState.MITIGATED else response.RETRY


def _open(state: State) -> Iterable[Incident]:
    return [state.incidents[name] for name in sorted(state.diagnosis.roots.values())]


def _raised(draft: Draft, key: FaultKey) -> None:
    fault = draft.state.faults.get(key)
    if fault is None:
        return
    if fault.suppressed_by:
        gathering.emptied(draft, fault)
        return
    incident = gathering.gathered(draft, fault)
    if incident.state is IncidentState.MITIGATED:
        response.leave(draft, incident, draft.state.faults[key], extent_of(draft, incident))
    else:
        response.respond(draft, incident, extent_of(draft, incident))


def _cleared(draft: Draft, event: FaultCleared) -> None:
    incident = draft.state.incidents.get(event.fault.incident)
    if incident is None or not incident.open:
        return
    response.forget(draft, incident, event.fault.key)
    if _another_name(draft.state, event.fault):
        return
    if members(draft.state, incident):
        if _left_aside(draft, incident, event.fault):
            _mitigate(draft, incident, SIDE_IS_WELL)
        return
    quiet = replace(incident, quiet_since=draft.at.mono)
    if incident.state is IncidentState.MITIGATED or _switching(draft.state, incident):
        gathering.remember(draft, quiet)
    else:
        _mitigate(draft, quiet, NO_FAULT)


def _left_aside(draft: Draft, incident: Incident, cleared: Fault) -> bool:
    """Whether all that is left is wrong with the side its group is not on: people repair that in their time, and callers
    are not without service for as long as they take."""
    if not incident.group or incident.state is IncidentState.MITIGATED or _switching(draft.state, incident):
        return False
    left = leading(draft.state, incident.id)
    return gathering.felt(draft, cleared) and not any(gathering.felt(draft, fault) for fault in left)


def _switching(state: State, incident: Incident) -> bool:
    """Whether its group is between two sides: symptoms that are gone prove nothing there. A hung side that was fenced,
    or a controller that restarted in mid-switch, shows none either."""
    group = state.groups.get(incident.group)
    return group is not None and (group.switch is not None or group.phase is Phase.NEEDS_PERSON)


def _another_name(state: State, cleared: Fault) -> bool:
    """Whether the same thing is still broken under another fault, which joins the incident in its turn: a hung platform
    that was fenced is a dead one, and nothing is over."""
    return any(
        fault.component == cleared.component and fault.drill == cleared.drill and not fault.suppressed_by
        for fault in state.faults.values()
    )


def _mitigate(draft: Draft, incident: Incident, why: str, by: str = "") -> None:
    mitigated = replace(
        incident,
        state=IncidentState.MITIGATED,
        mitigated_wall=draft.at.wall,
        calls=impact.counted(draft.state, incident.id),
    )
    data: Values = (("reason", why), *impact.calls_lost(draft.state, incident.id))
    change(draft, FactKind.INCIDENT_MITIGATED, mitigated, data, actor=by)


def _resolve(draft: Draft, incident: Incident, why: str, by: str = "") -> None:
    resolved = replace(
        incident,
        state=IncidentState.RESOLVED,
        resolved_wall=draft.at.wall,
        resolved_by=by,
        kept_open_by=(),
        mitigated_wall=incident.mitigated_wall or draft.at.wall,
        quiet_since=None,
    )
    data: Values = (("reason", why), *impact.calls_lost(draft.state, incident.id))
    change(draft, FactKind.INCIDENT_RESOLVED, resolved, data, actor=by)
    gathering.closed(draft, resolved)


def _switched(draft: Draft, event: SwitchEnded) -> None:
    """A verified switch ends what callers feel, whoever asked for it; a refused one is asked for again in time."""
    run = draft.state.runs.get(event.run)
    rules = draft.policy.groups.get(event.group)
    if event.outcome is SwitchOutcome.VERIFIED:
        for drill in (False, True):
            name = draft.state.diagnosis.roots.get(root_key(event.group, drill))
            incident = draft.state.incidents.get(name or "")
            if incident is None or incident.state is IncidentState.MITIGATED or rules is None:
                continue
            group = draft.state.groups.get(event.group)
            if any(
                group is not None and fault.side == group.active
                for fault in leading(draft.state, incident.id)
            ):
                continue
            _mitigate(draft, incident, f"switch {event.switch} verified")
        return
    if run is None or not run.incident:
        return
    known = draft.state.diagnosis.responses.get(run.incident)
    if known is None or known.runbook != run.runbook:
        return
    reasons = {
        SwitchOutcome.REFUSED: response.Withheld.REFUSED,
        SwitchOutcome.SHADOWED: response.Withheld.SHADOWED,
    }
    reason = reasons.get(event.outcome)
    if reason is not None:
        look = response.next_look(draft, momentary=response.unread(draft, event.group))
        response.note(draft, run.incident, known._replace(reason=str(reason), retry_at=look))


def _run_ended(draft: Draft, event: RunEnded) -> None:
    incident = draft.state.incidents.get(event.incident)
    if incident is None or not incident.open:
        return
    if event.run and event.run not in incident.runs:
        incident = replace(incident, runs=(*incident.runs, event.run))
    known = draft.state.diagnosis.responses.get(incident.id)
    run = draft.state.runs.get(event.run)
    failed = not event.succeeded and (run is None or run.state in FAILED)
    ours = known is not None and known.runbook == event.runbook
    if known is not None and ours and known.reason in (response.Withheld.REFUSED, response.Withheld.SHADOWED):
        failed = False  # nothing was done, so nothing failed
    elif known is not None and ours and event.outcome == SwitchOutcome.SHADOWED:
        # Only described, the group being unarmed: looked at again once it is armed.
        failed = False
        shadowed = known._replace(
            reason=str(response.Withheld.SHADOWED), retry_at=draft.at.mono + response.RETRY
        )
        response.note(draft, incident.id, shadowed)
    elif event.outcome == NOT_NEEDED:
        # Given up before it did anything: whatever stands now, or comes back, is decided anew.
        if ours:
            diagnosis = draft.state.diagnosis
            responses = diagnosis.responses.delete(incident.id)
            draft.state = replace(draft.state, diagnosis=replace(diagnosis, responses=responses))
        if incident.state is not IncidentState.MITIGATED:
            response.respond(draft, incident, extent_of(draft, incident))
    elif known is not None and ours and not event.succeeded:
        response.note(draft, incident.id, known._replace(reason=str(response.Withheld.ENDED), retry_at=None))
    data: Values = (
        ("run", event.run),
        ("runbook", event.runbook),
        ("succeeded", event.succeeded),
        ("outcome", event.outcome),
    )
    if not failed or worse(incident.severity) is incident.severity:
        change(draft, FactKind.NOTE, incident, data, quietly=True)
        return
    raised = replace(
        incident,
        severity=worse(incident.severity),
        reason=SeverityReason(
            "repair-failed",
            incident.reason.impact,
            incident.reason.urgency,
            (("runbook", event.runbook), ("before", int(incident.severity)), ("row", incident.reason.rule)),
        ),
    )
    change(draft, FactKind.SEVERITY_CHANGED, raised, (*gathering.described(raised), *data))


def _acknowledged(draft: Draft, event: OperatorAcknowledged) -> None:
    page = draft.state.pages.get(event.incident)
    if page is not None and not page.incident:
        return  # a run without an incident paged: only the page is acknowledged, by the escalation stage
    name = event.incident if page is None else page.incident
    incident = _asked(draft, name, event.by, "acknowledge")
    if incident is None:
        return
    if incident.acknowledged_wall and incident.state is not IncidentState.OPEN:
        return  # a second click: the first one counts
    state = IncidentState.ACKNOWLEDGED if incident.state is IncidentState.OPEN else incident.state
    acknowledged = replace(incident, state=state, acknowledged_wall=draft.at.wall, acknowledged_by=event.by)
    change(draft, FactKind.INCIDENT_ACKNOWLEDGED, acknowledged, (("via", event.via),), actor=event.by)


def _asked(draft: Draft, name: str, by: str, request: str) -> Incident | None:
    """The open incident a person means; a refusal by name when there is none."""
    incident = draft.state.incidents.get(name)
    while incident is not None and incident.state is IncidentState.MERGED:
        incident = draft.state.incidents.get(incident.merged_into)
    if incident is not None and incident.open:
        return incident
    reason = "unknown_incident" if incident is None else "incident_closed"
    data: Values = (("request", request), ("reasons", reason))
    draft.record(FactKind.REQUEST_REFUSED, name, data=data, incident=name if incident else "", actor=by)
    return None


def _updated(draft: Draft, event: OperatorUpdatedIncident) -> None:
    if event.note or event.grade is not None:
        # Both are worth recording after the end as well.
        known = draft.state.incidents.get(event.incident)
        if known is not None and event.note:
            change(draft, FactKind.NOTE, known, (("note", event.note),), actor=event.by)
        if known is not None and event.grade is not None:
            graded = replace(draft.state.incidents[known.id], grade=event.grade, grade_confirmed_by=event.by)
            change(draft, FactKind.GRADE_CONFIRMED, graded, (("grade", str(event.grade)),), actor=event.by)
        if known is not None and not (event.command or event.mitigated or event.resolved):
            return
    incident = _asked(draft, event.incident, event.by, "update")
    if incident is None:
        return
    if event.command:
        commanded = replace(incident, commander=event.by)
        incident = change(draft, FactKind.COMMAND_TAKEN, commanded, actor=event.by)
    if event.mitigated and incident.state is not IncidentState.MITIGATED:
        _mitigate(draft, incident, "a person says so", event.by)
        incident = draft.state.incidents[incident.id]
    if event.resolved:
        standing, unfinished = leading(draft.state, incident.id), holding(draft, incident)
        if standing or unfinished:
            why = (("fault_active", bool(standing)), ("run_live", bool(unfinished)))
            data: Values = (
                ("request", "resolve"),
                ("reasons", ",".join(reason for reason, holds in why if holds)),
                ("faults", ",".join(str(fault.key) for fault in standing)),
                ("runs", ",".join(run.id for run in unfinished)),
            )
            draft.record(
                FactKind.REQUEST_REFUSED, incident.id, data=data, incident=incident.id, actor=event.by
            )
        else:
            _resolve(draft, incident, "a person says so", event.by)


def _timer(draft: Draft) -> None:
    draft.state, settled = impact.settled(draft.state, draft.at.mono)
    for name in settled:
        if data := impact.calls_lost(draft.state, name):
            counted = replace(draft.state.incidents[name], calls=impact.counted(draft.state, name))
            change(draft, FactKind.CALLS_COUNTED, counted, data, quietly=True)
    for incident in tuple(_open(draft.state)):
        quiet = incident.quiet_since
        if quiet is None or draft.at.mono < quiet + _quiet_for(incident, draft.policy):
            continue
        if incident.state is not IncidentState.MITIGATED:
            again = replace(incident, quiet_since=draft.at.mono)
            if _switching(draft.state, incident):
                gathering.remember(draft, again)
            else:
                _mitigate(draft, again, NO_FAULT)
        elif (keeping := _keeping(draft, incident)) or _acting(draft.state, incident):
            _put_off(draft, incident, keeping)
        else:
            _resolve(draft, incident, f"no fault for {draft.policy.resolve_after:g} s")
    for name, answer in sorted(draft.state.diagnosis.responses.items()):
        incident_now = draft.state.incidents.get(name)
        if answer.retry_at is None or draft.at.mono < answer.retry_at:
            continue
        if incident_now is None or not incident_now.open or incident_now.state is IncidentState.MITIGATED:
            response.note(draft, name, answer._replace(retry_at=None))
        else:
            response.again(draft, incident_now, extent_of(draft, incident_now))


def _keeping(draft: Draft, incident: Incident) -> tuple[str, ...]:
    return tuple(sorted(run.id for run in holding(draft, incident)))


def _put_off(draft: Draft, incident: Incident, keeping: tuple[str, ...]) -> None:
    """Recorded when what keeps it open changes, not at every look: a run that waits for a person may wait for long."""
    later = replace(incident, quiet_since=draft.at.mono, kept_open_by=keeping)
    if keeping and keeping != incident.kept_open_by:
        change(draft, FactKind.NOTE, later, (("kept_open_by", ", ".join(keeping)),), quietly=True)
    else:
        gathering.remember(draft, later)


def _acting(state: State, incident: Incident) -> bool:
    return any(run.state in (RunState.RUNNING, RunState.ROLLING_BACK) for run in _runs(state, incident.id))


def _runs(state: State, incident: str) -> list[Run]:
    return [run for run in state.runs.values() if run.incident == incident]


def _orphans(draft: Draft) -> None:
    """Faults that this node named while it followed, and that nobody gathered yet."""
    for key, fault in sorted(draft.state.faults.items()):
        if not fault.incident and not fault.suppressed_by:
            draft.events.append(FaultRaised(at=draft.at, key=key))


def _restarted(draft: Draft) -> None:
    """Deadlines again in full; what was decided before the restart is looked at, not done, again."""
    for incident in tuple(_open(draft.state)):
        if not members(draft.state, incident):
            gathering.remember(draft, replace(incident, quiet_since=draft.at.mono))
        elif incident.state is not IncidentState.MITIGATED:
            runs = _runs(draft.state, incident.id)
            last = runs[-1].runbook if runs else ""
            refused = response.Withheld.REFUSED if not runs or not runs[-1].live else ""
            evidence = tuple(
                kind for fault in leading(draft.state, incident.id) for kind in fault.evidence_kinds
            )
            known = Response(None, last, str(refused), evidence, draft.at.mono + response.RETRY)
            response.note(draft, incident.id, known)
