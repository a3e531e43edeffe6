"""Which incident a fault belongs to: opening, joining, merging, and how far it reaches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from controller.core.diagnosis.raising import FAULTS_IN_A_FACT, compact
from controller.core.diagnosis.severity import Assessment, Extent, assess, grade
from controller.core.diagnosis.standing import cause_at, entered, leading, members, root_key
from controller.core.draft import Draft
from controller.core.topology import topology
from controller.model.events import IncidentChanged
from controller.model.facts import FactKind
from controller.model.faults import Fault, FaultKind
from controller.model.incidents import Incident, IncidentState
from controller.model.moments import Values
from controller.model.policy import Policy
from controller.model.state import State


def gathered(draft: Draft, fault: Fault) -> Incident:
    """The fault in its incident: the one it is in, the open one of its cause, or a new one."""
    root = root_of(draft.state, draft.policy, fault)
    name = fault.incident or draft.state.diagnosis.roots.get(root_key(root, fault.drill), "")
    incident = draft.state.incidents.get(name)
    if incident is None or not incident.open:
        incident = _opened(draft, fault, root)
    else:
        incident = _joined(draft, incident, fault)
    if incident.group:
        for ancestor in _above(draft.policy, incident.group):
            other = draft.state.diagnosis.roots.get(root_key(ancestor, incident.drill))
            if other is not None and other != incident.id:
                incident = merged(draft, draft.state.incidents[other], incident)
    return incident


def root_of(state: State, policy: Policy, fault: Fault) -> str:
    """The group for its sides and edges, and for what an already failing side depends on; else the component."""
    if fault.group:
        return fault.group
    for name in sorted(policy.groups):
        if root_key(name, fault.drill) in state.diagnosis.roots and fault.component in _above(policy, name):
            return name
    return fault.component


def _above(policy: Policy, group: str) -> dict[str, None]:
    """Everything the sides of a group depend on, near or far."""
    found: dict[str, None] = {}
    rules = policy.groups.get(group)
    queue = [side.component for side in rules.sides] if rules is not None else []
    while queue:
        component = policy.components.get(queue.pop())
        for parent in component.depends_on if component is not None else ():
            if parent not in found:
                found[parent] = None
                queue.append(parent)
    return found


def _opened(draft: Draft, fault: Fault, root: str) -> Incident:
    found = assess(draft.state, draft.policy, (fault,), _extent(draft, (fault,)), draft.at)
    assert found is not None  # of one fault there is an assessment
    incident = Incident(
        id=draft.number("INC"),
        root=root,
        kind=fault.kind,
        state=IncidentState.OPEN,
        severity=found.severity,
        reason=found.reason,
        group=fault.group,
        grade=grade(found.severity, fault.kind),
        drill=fault.drill,
        affected=1,
        opened_wall=draft.at.wall,
        onset_earliest_wall=fault.last_good_wall,
        onset_latest_wall=fault.first_bad_wall,
    )
    joined = replace(fault, incident=incident.id)
    draft.state = entered(draft.state, joined)
    roots = draft.state.diagnosis.roots.set(root_key(root, incident.drill), incident.id)
    draft.state = replace(draft.state, diagnosis=replace(draft.state.diagnosis, roots=roots))
    return change(
        draft,
        FactKind.INCIDENT_OPENED,
        incident,
        (*described(incident), ("policy", draft.policy.revision), ("rules", _rules(draft, joined))),
        with_faults=(joined,),
        opened=True,
    )


def _joined(draft: Draft, incident: Incident, fault: Fault) -> Incident:
    fresh = fault.incident != incident.id
    if fresh:
        fault = replace(fault, incident=incident.id)
        draft.state = entered(draft.state, fault)
    before = incident
    incident = reassessed(draft, incident)
    if fresh:
        incident = _onset(incident, fault)
        if incident.state is IncidentState.MITIGATED and felt(draft, fault):
            # Whoever acknowledged it believes it over: it wants an acknowledgement again.
            incident = replace(incident, state=IncidentState.OPEN, mitigated_wall=0.0)
    incident = replace(incident, quiet_since=None)
    if incident.severity < before.severity:
        data: Values = (*described(incident), ("previous", f"SEV{before.severity:d}"))
        change(draft, FactKind.SEVERITY_CHANGED, incident, data, with_faults=(fault,) if fresh else ())
    elif fresh or incident.affected != before.affected:
        data = (*described(incident), ("fault", str(fault.key)), ("rules", _rules(draft, fault)))
        change(draft, FactKind.INCIDENT_JOINED, incident, data, with_faults=(fault,) if fresh else ())
    elif incident != before:
        remember(draft, incident)
    return draft.state.incidents[incident.id]


def felt(draft: Draft, fault: Fault) -> bool:
    """Whether callers feel it: not what is wrong with the side its group is no longer on, nor with our way to look."""
    if fault.kind is FaultKind.PROBE_PATH_BROKEN:
        return False
    group = draft.state.groups.get(fault.group)
    return group is None or not fault.side or group.active == fault.side


def _onset(incident: Incident, fault: Fault) -> Incident:
    """Last good .. first bad, over all its faults."""
    latest = incident.onset_latest_wall
    if fault.first_bad_wall and fault.first_bad_wall < latest:
        return replace(
            incident, onset_earliest_wall=fault.last_good_wall, onset_latest_wall=fault.first_bad_wall
        )
    return incident


def reassessed(draft: Draft, incident: Incident) -> Incident:
    """How far it reaches now, and how bad it is: never less than it was."""
    extent = extent_of(draft, incident)
    found = assess(draft.state, draft.policy, leading(draft.state, incident.id), extent, draft.at)
    incident = replace(incident, affected=max(incident.affected, extent.affected))
    if found is None or found.severity >= incident.severity:
        return incident
    return _worsened(incident, found)


def _worsened(incident: Incident, found: Assessment) -> Incident:
    proposed = incident.grade if incident.grade_confirmed_by else grade(found.severity, found.fault.kind)
    return replace(
        incident, severity=found.severity, reason=found.reason, kind=found.fault.kind, grade=proposed
    )


def extent_of(draft: Draft, incident: Incident) -> Extent:
    return _extent(draft, tuple(draft.state.faults[key] for key in members(draft.state, incident)))


def _extent(draft: Draft, faults: tuple[Fault, ...]) -> Extent:
    """Lines behind what failed; a side's count only while its group is on it."""
    lines, vip = 0, False
    for name in dict.fromkeys(fault.component for fault in faults):
        component = draft.policy.components.get(name)
        if component is None:
            continue
        place = topology(draft.policy).places.get(name)
        group = None if place is None else draft.state.groups.get(place.group)
        if group is not None and place is not None and group.active != place.side:
            continue
        lines += component.lines
        vip = vip or component.vip_line
    return Extent(len(faults), lines, vip)


def emptied(draft: Draft, fault: Fault) -> None:
    """A fault was found to be another's doing. When nothing else leads the incident it had opened, that one is part of
    the cause's."""
    name = draft.state.diagnosis.roots.get(root_key(fault.component, fault.drill))
    if name is None or name == fault.incident or leading(draft.state, name):
        return
    cause = cause_at(draft.state, fault.suppressed_by)
    target = draft.state.incidents.get(cause.incident if cause is not None else fault.incident)
    if target is not None and target.open:
        merged(draft, draft.state.incidents[name], target)


def merged(draft: Draft, source: Incident, target: Incident) -> Incident:
    """One cause after all: the source's faults become the target's. Returns the target as it then is."""
    over = replace(
        source,
        state=IncidentState.MERGED,
        merged_into=target.id,
        resolved_wall=draft.at.wall,
        quiet_since=None,
    )
    moved = [
        replace(draft.state.faults[key], incident=target.id) for key in sorted(members(draft.state, source))
    ]
    for fault in moved:
        draft.state = entered(draft.state, fault)
    data: Values = (("into", target.id), ("root", source.root), ("faults", len(moved)))
    change(draft, FactKind.INCIDENT_MERGED, over, data, with_faults=tuple(moved[:FAULTS_IN_A_FACT]))
    for batch in _batches(moved[FAULTS_IN_A_FACT:]):
        draft.record(
            FactKind.INCIDENT_JOINED,
            target.id,
            data=(("from", source.id),),
            changed=batch,
            incident=target.id,
        )
    closed(draft, over)
    earliest = target
    if source.onset_latest_wall and source.onset_latest_wall < target.onset_latest_wall:
        earliest = replace(
            target,
            onset_earliest_wall=source.onset_earliest_wall,
            onset_latest_wall=source.onset_latest_wall,
        )
    joined = reassessed(draft, earliest)
    if joined.severity > source.severity:
        joined = replace(joined, severity=source.severity, reason=source.reason)
    data = (*described(joined), ("merged", source.id))
    return change(draft, FactKind.INCIDENT_JOINED, joined, data)


def _batches(faults: list[Fault]) -> Iterator[tuple[Fault, ...]]:
    for begin in range(0, len(faults), FAULTS_IN_A_FACT):
        yield tuple(faults[begin : begin + FAULTS_IN_A_FACT])


def change(
    draft: Draft,
    kind: FactKind,
    incident: Incident,
    data: Values = (),
    *,
    actor: str = "",
    with_faults: tuple[Fault, ...] = (),
    opened: bool = False,
    quietly: bool = False,
) -> Incident:
    """Keep a durable change, with the fact that says so, and hand it on unless `quietly`."""
    remember(draft, incident)
    draft.record(
        kind,
        incident.id,
        data=data,
        changed=(incident, *with_faults),
        incident=incident.id,
        actor=actor,
        drill=incident.drill,
    )
    if not quietly:
        draft.events.append(IncidentChanged(at=draft.at, incident=incident.id, opened=opened))
    return incident


def remember(draft: Draft, incident: Incident) -> None:
    draft.state = replace(draft.state, incidents=draft.state.incidents.set(incident.id, incident))


def closed(draft: Draft, incident: Incident) -> None:
    """Its root may have another incident from now on."""
    diagnosis = draft.state.diagnosis
    key = root_key(incident.root, incident.drill)
    roots, responses = diagnosis.roots, diagnosis.responses
    if roots.get(key) == incident.id:
        roots = roots.delete(key)
    if incident.id in responses:
        responses = responses.delete(incident.id)
    draft.state = replace(draft.state, diagnosis=replace(diagnosis, roots=roots, responses=responses))


def _rules(draft: Draft, fault: Fault) -> str:
    """Every rule of the component as it stood, for `explain`, in the incident's own entries."""
    return compact(draft.state.rule_results.get(fault.component, ()))


def described(incident: Incident) -> Values:
    return (
        ("kind", str(incident.kind)),
        ("root", incident.root),
        ("severity", f"SEV{incident.severity:d}"),
        ("rule", incident.reason.rule),
        ("impact", incident.reason.impact.name),
        ("urgency", incident.reason.urgency.name),
        ("affected", incident.affected),
        *incident.reason.values,
    )
