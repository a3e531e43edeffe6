"""The fault stage: names what is wrong, and what would have to be tried to know.

Rules are looked at again for the component something was heard about and for those whose rules read its variables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controller.core.diagnosis import controls, settling
from controller.core.diagnosis.diagnosing import both_down, look, worth_a_look
from controller.core.diagnosis.raising import cleared, diagnosed, raised
from controller.core.diagnosis.standing import cause_at, faults_at, rebuilt
from controller.core.draft import Draft
from controller.core.topology import topology
from controller.model.diagnosis import Diagnosis
from controller.model.events import (
    Event,
    FaultCleared,
    FaultRaised,
    FaultReported,
    HealthChanged,
    IncidentChanged,
    LadderFinished,
    LeadershipTaken,
    Measured,
    OperatorUpdatedIncident,
    Started,
    SwitchEnded,
    TimerFired,
    VantageBeat,
)
from controller.model.facts import FactKind
from controller.model.faults import EvidenceKind, FaultKey, FaultKind, TermResult, Verdict
from controller.model.groups import Group
from controller.model.moments import Value
from controller.model.policy import GroupPolicy, Policy
from controller.model.state import Decision, State

UNHELD_AFTER = 2
"""Reconciliation intervals, in each of which the last holder is told again, until an address that nobody holds is given
to the other side."""

RETRACTED = 5.0
"""Seconds."""

DIVERGING_AFTER = 5
"""Reconciliation intervals after which edges that are still not as desired need a person."""


def advance(state: State, event: Event, policy: Policy) -> Decision:
    match event:
        case VantageBeat():
            return Decision(state=state)
        case HealthChanged():
            layout = topology(policy)
            name = event.key.component
            watchers = layout.watchers.get(name, ())
            if not watchers and not worth_a_look(state, name, event.current):
                return Decision(state=state)
            draft = Draft(state, event.at, policy)
            _look(draft, (name, *watchers))
            _vantage(draft, event.vantage)
        case Measured():
            draft = Draft(state, event.at, policy)
            _look(draft, (event.key.component, *topology(policy).watchers.get(event.key.component, ())))
        case LadderFinished():
            draft = Draft(state, event.at, policy)
            control = state.controls.get(event.command)
            controls.answered(draft, event)
            heard = dict.fromkeys(result.key.component for result in event.results)
            watchers = tuple(other for name in heard for other in topology(policy).watchers.get(name, ()))
            _look(draft, (*heard, *watchers, *(() if control is None else (control.component,))))
        case TimerFired():
            draft = Draft(state, event.at, policy)
            _timer(draft)
        case SwitchEnded():
            draft = Draft(state, event.at, policy)
            rules = policy.groups.get(event.group)
            if rules is not None:
                _look(draft, (side.component for side in rules.sides))
        case FaultRaised():
            draft = Draft(state, event.at, policy)
            _raised(draft, event.key)
        case FaultCleared():
            draft = Draft(state, event.at, policy)
            _cleared(draft, event)
        case IncidentChanged():
            if not state.diagnosis.settling:
                return Decision(state=state)
            draft = Draft(state, event.at, policy)
            settling.settle(draft)
        case FaultReported():
            draft = Draft(state, event.at, policy)
            _reported(draft, event)
        case OperatorUpdatedIncident() if event.resolved:
            draft = Draft(state, event.at, policy)
            for key in sorted(state.diagnosis.members.get(event.incident, ())):
                if key.kind is FaultKind.REPORTED:
                    cleared(draft, state.faults[key], f"settled by {event.by}")
        case Started():
            return Decision(state=rebuilt(replace(state, diagnosis=Diagnosis())))
        case LeadershipTaken():
            return _taken_over(state, event, policy)
        case _:
            return Decision(state=state)
    return draft.decision()


def wake_at(state: State, policy: Policy) -> float | None:
    deadlines = [
        deadline for deadline in (controls.wake_at(state), settling.wake_at(state)) if deadline is not None
    ]
    deadlines.extend(
        since + wait * policy.groups[name].reconcile_interval
        for name, since in state.diagnosis.drifting.items()
        if name in policy.groups and (wait := _next_look(state, policy.groups[name])) is not None
    )
    for name, rules in policy.groups.items():
        group = state.groups.get(name)
        due = None if group is None or group.switch is not None else _unheld_due(group, rules)
        side = None if group is None else rules.side(group.active)
        if due is None or side is None or FaultKey(FaultKind.VIP_UNHELD, side.component) in state.faults:
            continue
        deadlines.append(due)
    return min(deadlines, default=None)


def _taken_over(state: State, event: LeadershipTaken, policy: Policy) -> Decision:
    """The faults are those of the node that led before, and this node's own; each is looked at with this node's eyes,
    and so is what a control experiment may tell more of: none was made as long as another led."""
    draft = Draft(rebuilt(state), event.at, policy)
    layout = topology(policy)
    sides = {side.component for rules in policy.groups.values() for side in rules.sides}
    untried = {
        name
        for name in state.broken
        if (component := policy.components.get(name)) is not None
        and any(term.probe is not None for rule in layout.rules(component) for term in rule.terms)
    }
    _look(draft, sorted({key.component for key in state.faults} | sides | untried))
    return draft.decision()


def _look(draft: Draft, names: Iterable[str]) -> None:
    groups: dict[str, None] = {}
    places = topology(draft.policy).places
    for name in dict.fromkeys(names):
        look(draft, name)
        if name in places:
            groups[places[name].group] = None
    for group in groups:
        both_down(draft, group)


def _timer(draft: Draft) -> None:
    _look(draft, controls.overdue(draft))
    settling.settle(draft)
    for _, rules in sorted(draft.policy.groups.items()):
        _drift(draft, rules)
        _unheld(draft, rules)
    for vantage in sorted(draft.state.vantages):
        _vantage(draft, vantage)


def _raised(draft: Draft, key: FaultKey) -> None:
    """A parent's new fault explains its dependents, and replaces a cause that was only inferred."""
    fault = draft.state.faults.get(key)
    if fault is None or fault.suppressed_by:
        return
    inferred = draft.state.faults.get(FaultKey(FaultKind.COMMON_CAUSE, fault.component))
    if inferred is not None and not inferred.rule and fault.kind is not FaultKind.COMMON_CAUSE:
        cleared(draft, inferred, f"it is {fault.key}")
    settling.explain_dependents(draft, fault.component)


def _cleared(draft: Draft, event: FaultCleared) -> None:
    fault = event.fault
    if fault.suppressed_by:
        settling.dwindled(draft, fault.suppressed_by)
    if cause_at(draft.state, fault.component) is None:
        settling.release(draft, fault.component)


def _reported(draft: Draft, event: FaultReported) -> None:
    """Kept whatever the rest knows: a report is never lost (policy 七-2)."""
    data = (
        ("report", event.report),
        ("component", event.component),
        ("symptom", event.symptom),
        ("noticed_wall", event.noticed_wall),
    )
    draft.record(FactKind.FAULT_REPORTED, event.component, data=data, actor=event.by)
    known = draft.state.faults.get(FaultKey(FaultKind.REPORTED, event.component))
    if known is not None:
        return
    seen: tuple[tuple[str, Value], ...] = (
        ("symptom", event.symptom),
        ("by", event.by),
        ("report", event.report),
    )
    term = TermResult("a-person-noticed", EvidenceKind.PERSON, Verdict.TRUE, event.symptom, seen)
    fault = diagnosed(
        draft,
        FaultKind.REPORTED,
        event.component,
        actionable=False,
        evidence=(term,),
        kinds=(EvidenceKind.PERSON,),
        details=seen,
    )
    raised(
        draft, replace(fault, first_bad_wall=event.noticed_wall or fault.first_bad_wall, last_good_wall=0.0)
    )


def _vantage(draft: Draft, name: str) -> None:
    """A vantage that reaches nothing can't tell its own cut from everything being down: a person must look."""
    vantage = draft.state.vantages.get(name)
    standing = draft.state.faults.get(FaultKey(FaultKind.PROBE_PATH_BROKEN, name))
    if vantage is None or name in draft.policy.components:
        return
    if vantage.isolated and standing is None:
        term = TermResult(
            "nothing-answers-this-vantage", EvidenceKind.PROBE, Verdict.TRUE, "isolated", (("vantage", name),)
        )
        fault = diagnosed(
            draft,
            FaultKind.PROBE_PATH_BROKEN,
            name,
            actionable=False,
            evidence=(term,),
            kinds=(EvidenceKind.PROBE,),
            details=(("vantage", name),),
        )
        raised(draft, fault)
        _retract(draft)
    elif vantage.live and not vantage.isolated and standing is not None:
        cleared(draft, standing, "it reaches something again")


def _retract(draft: Draft) -> None:
    """What was just concluded from silence alone, while the vantage was being cut off, was not known."""
    layout = topology(draft.policy)
    for name in layout.landmarks:
        for fault in faults_at(draft.state, name):
            fresh = draft.at.wall - fault.raised_wall <= RETRACTED
            if fault.rule and fresh and EvidenceKind.EDGE not in fault.evidence_kinds:
                cleared(draft, fault, "the vantage that saw it is cut off itself")
    for group in sorted(draft.policy.groups):
        both_down(draft, group)


def _drift(draft: Draft, rules: GroupPolicy) -> None:
    """Edges that are not as desired for longer than one reconciliation; longer still, and a person must look."""
    group = draft.state.groups.get(rules.name)
    drifted = set(group.drifted_edges) & set(rules.edges) if group is not None else set()
    since = draft.state.diagnosis.drifting.get(rules.name)
    drifting = draft.state.diagnosis.drifting
    if drifted and since is None:
        drifting = drifting.set(rules.name, draft.at.mono)
    elif not drifted and since is not None:
        drifting = drifting.delete(rules.name)
    if drifting is not draft.state.diagnosis.drifting:
        draft.state = replace(draft.state, diagnosis=replace(draft.state.diagnosis, drifting=drifting))
        since = drifting.get(rules.name)
    age = draft.at.mono - since if since is not None else 0.0
    diverges = len(rules.edges) > 1 and age >= DIVERGING_AFTER * rules.reconcile_interval
    for edge in rules.edges:
        wanted = edge in drifted and age >= rules.reconcile_interval
        _edge(draft, rules, edge, FaultKind.EDGE_DRIFT, wanted and not diverges)
        _edge(draft, rules, edge, FaultKind.EDGE_DIVERGENCE, wanted and diverges)


def _unheld(draft: Draft, rules: GroupPolicy) -> None:
    """Nobody holds the address, and the side that should does not take it again though it was told: calls are lost
    whatever the probes of the sides themselves say."""
    group = draft.state.groups.get(rules.name)
    if group is None:
        return
    for side in rules.sides:
        standing = draft.state.faults.get(FaultKey(FaultKind.VIP_UNHELD, side.component))
        due = _unheld_due(group, rules) if side.name == group.active and group.switch is None else None
        if standing is None and due is not None and draft.at.mono >= due:
            seconds = round(draft.at.mono - (group.unheld_since or 0.0), 3)
            term = TermResult(
                "no-side-holds-the-address",
                EvidenceKind.AGENT,
                Verdict.TRUE,
                f"unheld for {seconds:g} s",
                (("side", side.name), ("epoch", group.epoch), ("seconds", seconds)),
            )
            fault = diagnosed(
                draft,
                FaultKind.VIP_UNHELD,
                side.component,
                actionable=True,
                evidence=(term,),
                kinds=(EvidenceKind.AGENT,),
                group=rules.name,
            )
            raised(draft, fault)
        elif standing is not None and (group.unheld_since is None or side.name != group.active):
            cleared(draft, standing, "a side holds the address again")


def _unheld_due(group: Group, rules: GroupPolicy) -> float | None:
    """When an address that is held by nobody is given up on; None while one holds it, and before it was ever given."""
    since = group.unheld_since
    return None if since is None or group.epoch == 0 else since + UNHELD_AFTER * rules.reconcile_interval


def _edge(draft: Draft, rules: GroupPolicy, edge: str, kind: FaultKind, wanted: bool) -> None:
    standing = next((fault for fault in faults_at(draft.state, edge) if fault.kind is kind), None)
    if wanted and standing is None:
        group = draft.state.groups[rules.name]
        term = TermResult(
            "edge-differs-from-the-desired-state",
            EvidenceKind.EDGE,
            Verdict.TRUE,
            f"active {group.active}, epoch {group.epoch}",
            (("edge", edge), ("epoch", group.epoch), ("edge_epoch", group.edge_epoch)),
        )
        fault = diagnosed(
            draft,
            kind,
            edge,
            actionable=False,
            evidence=(term,),
            kinds=(EvidenceKind.EDGE,),
            group=rules.name,
        )
        raised(draft, fault)
    elif not wanted and standing is not None:
        cleared(
            draft, standing, "as desired again" if kind is FaultKind.EDGE_DRIFT else "the edges agree again"
        )


def _next_look(state: State, rules: GroupPolicy) -> int | None:
    """Intervals since the drift began at which its faults change; None when there is nothing to wait for."""
    kinds = {key.kind for edge in rules.edges for key in state.diagnosis.standing.get(edge, ())}
    if FaultKind.EDGE_DRIFT in kinds:
        return DIVERGING_AFTER if len(rules.edges) > 1 else None
    return None if FaultKind.EDGE_DIVERGENCE in kinds else 1
