"""From evaluated rules to the faults of one component.

A side of a group has one fault at a time. ProbePathBroken and CommonCause explain a side's silence better than any
platform fault and go first. A side that its group is not on loses redundancy: no caller feels it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from controller.core.diagnosis import controls, settling
from controller.core.diagnosis.evaluation import Evaluated, evaluate, first, promising
from controller.core.diagnosis.evidence import Evidence
from controller.core.diagnosis.raising import changed, cleared, diagnosed, raised, results_of
from controller.core.diagnosis.standing import faults_at
from controller.core.diagnosis.vantages import BAD
from controller.core.draft import Draft
from controller.core.topology import topology
from controller.model.faults import EvidenceKind, Fault, FaultKey, FaultKind, RuleResult, TermResult, Verdict
from controller.model.health import HealthState, RungKey
from controller.model.policy import Component, FaultRule, Policy
from controller.model.state import State

EXPLAINING = (FaultKind.PROBE_PATH_BROKEN, FaultKind.TEST_TARGET_DOWN, FaultKind.COMMON_CAUSE)
PLATFORM = (FaultKind.PLATFORM_DEAD, FaultKind.PLATFORM_HUNG, FaultKind.PLATFORM_ZOMBIE)
"""The side takes no calls."""

ORDER: tuple[FaultKind, ...] = (*EXPLAINING, *PLATFORM, FaultKind.MEDIA_ONE_WAY, FaultKind.REDUNDANCY_LOST)
"""Of the faults of one side the first that is found stands."""

CALLS_FAIL = frozenset({*PLATFORM, FaultKind.MEDIA_ONE_WAY})
"""What a fenced side was found with: the fence makes the symptoms of another one."""

LESS_WITH_A_SPARE = frozenset({*CALLS_FAIL, FaultKind.DEVICE_DOWN})
"""While the group is on the other side, or another member of the redundancy group stands, this is RedundancyLost."""


def look(draft: Draft, name: str) -> None:
    """Evaluate the rules of one component and raise, change or clear its faults."""
    component = draft.policy.components.get(name)
    if component is None:
        return
    layout = topology(draft.policy)
    rules = layout.rules(component)
    if not rules:
        return
    standing = [fault for fault in faults_at(draft.state, name) if fault.rule]
    pending = _pending(draft.state, name, rules)
    evidence = Evidence(draft.state, draft.policy, layout, name, draft.at.mono)
    begun = [first(rule, evidence) for rule in rules]
    if not standing and not pending and not any(promising(said) for said in begun):
        if draft.state.diagnosis.backoff:
            controls.forget(draft, name, rules)
        return
    evaluated = [evaluate(rule, evidence, said) for rule, said in zip(rules, begun, strict=True)]
    if name in layout.places:
        _of_side(draft, component, evaluated, standing)
    else:
        _of_other(draft, component, evaluated, standing, pending)
    stands = faults_at(draft.state, name)
    if name in layout.places and stands:
        # What could not take the standing fault's place needs no experiment.
        rank = min(_standing_rank(fault) for fault in stands)
        evaluated = [
            item
            for item in evaluated
            if _rank(item)[:2] <= rank or item.rule.fault is diagnosis_of(stands[0])
        ]
    if not draft.state.following:
        # Whoever leads tries it. Three nodes that all do would call the platform three times in its worst moment.
        controls.request(draft, name, evaluated, frozenset(fault.rule for fault in stands))


def _pending(state: State, name: str, rules: Sequence[FaultRule]) -> dict[FaultKind, Fault]:
    pending = state.diagnosis.pending
    if not pending:
        return {}
    kinds = {rule.fault for rule in rules} | {FaultKind.REDUNDANCY_LOST}
    return {kind: fault for kind in kinds if (fault := pending.get(FaultKey(kind, name))) is not None}


def _of_side(
    draft: Draft, component: Component, evaluated: Sequence[Evaluated], standing: Sequence[Fault]
) -> None:
    name = component.name
    fired = sorted((item for item in evaluated if item.fired), key=_rank)
    best = fired[0] if fired else None
    outranked = [
        item.rule.name for item in fired if best is not None and item.rule.fault is not best.rule.fault
    ]
    results = results_of(evaluated, name, outranked)
    _kept(draft, name, results)
    current = standing[0] if standing else None
    if _of_our_fence(draft, component, current, best):
        return
    if current is None:
        if best is not None:
            raised(draft, _side_fault(draft, component, best, fired), results)
        return
    diagnosis = diagnosis_of(current)
    if best is None:
        if _over(evaluated, current):
            cleared(draft, current, "its symptoms are gone")
        return
    if best.rule.fault is diagnosis:
        found = _side_fault(draft, component, best, fired)
        if found.kind is not current.kind and current.kind is FaultKind.REDUNDANCY_LOST:
            cleared(draft, current, "its group is on this side now")
            raised(draft, found, results)
        else:
            _grown(draft, current, found, results)
        return
    if _gives_way(current, diagnosis, best, evaluated):
        found = _side_fault(draft, component, best, fired)
        if found.kind is current.kind:
            better = replace(
                found, incident=current.incident, drill=current.drill, raised_wall=current.raised_wall
            )
            changed(draft, better, f"it is {best.rule.fault}", results)
        else:
            cleared(draft, current, f"it is {best.rule.fault}")
            raised(draft, found, results)


def _of_our_fence(draft: Draft, component: Component, current: Fault | None, best: Evaluated | None) -> bool:
    """Whether what is new about a side is what we did to it. A hung platform that is fenced refuses its port as a dead
    one does, and one that is fenced to be left was never ill. What stood before the fence stands until it answers again;
    that the group has no spare any more is worth saying once the switch is over."""
    place = topology(draft.policy).places[component.name]
    group, side = draft.state.groups.get(place.group), place.side
    if group is None or side not in group.fenced or component.name not in draft.state.broken:
        return False
    if best is not None and best.rule.fault not in (*PLATFORM, FaultKind.REDUNDANCY_LOST):
        return False
    if current is None:
        if best is not None and best.rule.fault is FaultKind.REDUNDANCY_LOST:
            return False
        return group.switch is not None and group.switch.origin == side
    return current.kind in CALLS_FAIL and (best is None or best.rule.fault is not diagnosis_of(current))


def diagnosis_of(fault: Fault) -> FaultKind:
    """What was found wrong with it, whatever that means for the group."""
    found = fault.detail("diagnosis")
    return FaultKind(found) if isinstance(found, str) and found else fault.kind


def _rank(item: Evaluated) -> tuple[bool, bool, int]:
    kind = item.rule.fault
    explaining = kind in EXPLAINING
    return (
        not explaining,
        not explaining and not item.rule.actionable,
        ORDER.index(kind) if kind in ORDER else len(ORDER),
    )


def _standing_rank(fault: Fault) -> tuple[bool, bool]:
    explaining = diagnosis_of(fault) in EXPLAINING
    return (not explaining, not explaining and not fault.actionable)


def _gives_way(current: Fault, diagnosis: FaultKind, best: Evaluated, evaluated: Sequence[Evaluated]) -> bool:
    """A standing diagnosis stays until its symptoms are gone, unless a better one is found."""
    if _over(evaluated, current):
        return True
    if best.rule.fault is FaultKind.REDUNDANCY_LOST:
        return False  # a dead side stays dead when its group has left it
    if any(item.fired and item.rule.fault is diagnosis for item in evaluated):
        mine = min(_rank(item) for item in evaluated if item.fired and item.rule.fault is diagnosis)
        return _rank(best) < mine
    if best.rule.actionable and diagnosis in PLATFORM and best.rule.fault in PLATFORM:
        return PLATFORM.index(best.rule.fault) < PLATFORM.index(diagnosis)
    return (
        diagnosis in EXPLAINING
        or diagnosis is FaultKind.REDUNDANCY_LOST
        or not current.actionable
        or (best.rule.fault in EXPLAINING)
    )


def _over(evaluated: Sequence[Evaluated], fault: Fault) -> bool:
    """The rule that found it has a symptom that is gone, and no other rule of the same diagnosis has all of its own."""
    kind = diagnosis_of(fault)
    mine = [item for item in evaluated if item.rule.fault is kind]
    own = [item for item in mine if item.rule.name == fault.rule] or mine
    return all(item.ended for item in own) and not any(item.meant for item in mine)


def _side_fault(draft: Draft, component: Component, best: Evaluated, fired: Iterable[Evaluated]) -> Fault:
    same = [item for item in fired if item.rule.fault is best.rule.fault]
    return _fault(draft, component, best, same, spare=not _is_active(draft, component))


def _is_active(draft: Draft, component: Component) -> bool:
    place = topology(draft.policy).places[component.name]
    group = draft.state.groups.get(place.group)
    return group is None or group.active == place.side


def _fault(
    draft: Draft, component: Component, best: Evaluated, same: Sequence[Evaluated], *, spare: bool
) -> Fault:
    kind = best.rule.fault
    less = spare and kind in LESS_WITH_A_SPARE
    kinds = frozenset[EvidenceKind]().union(*(item.kinds() for item in same))
    return diagnosed(
        draft,
        FaultKind.REDUNDANCY_LOST if less else kind,
        component.name,
        rule=best.rule.name,
        actionable=less or best.rule.actionable,
        evidence=best.terms,
        kinds=kinds,
        details=(("diagnosis", str(kind)),) if less else (),
    )


def _grown(draft: Draft, current: Fault, found: Fault, results: Sequence[RuleResult]) -> None:
    """More kinds of evidence, or now enough of it to act: worth a line. Less of it never is."""
    kinds = set(current.evidence_kinds) | set(found.evidence_kinds)
    better = found.actionable and not current.actionable
    if not better and len(kinds) == len(current.evidence_kinds):
        return
    grown = replace(
        current,
        actionable=current.actionable or found.actionable,
        rule=found.rule if better else current.rule,
        evidence=found.evidence if better else current.evidence,
        evidence_kinds=tuple(kind for kind in EvidenceKind if kind in kinds),
    )
    changed(draft, grown, "more evidence", results)


def _of_other(
    draft: Draft,
    component: Component,
    evaluated: Sequence[Evaluated],
    standing: Sequence[Fault],
    pending: Mapping[FaultKind, Fault],
) -> None:
    results: tuple[RuleResult, ...] = ()
    waits = bool(settling.parents(draft.policy, component.name))
    if not waits:
        # A dependent's fault carries its own evidence; keeping all its rules would double a storm's work.
        results = results_of(evaluated, component.name)
        _kept(draft, component.name, results)
    by_kind: dict[FaultKind, list[Evaluated]] = {}
    for item in evaluated:
        if item.fired:
            by_kind.setdefault(item.rule.fault, []).append(item)
    held = {diagnosis_of(fault): fault for fault in (*standing, *pending.values())}
    for kind, fault in held.items():
        if kind not in by_kind and _over(evaluated, fault):
            if fault.key in draft.state.faults:
                cleared(draft, fault, "its symptoms are gone")
            else:
                settling.withdraw(draft, fault.key)
    for kind, items in by_kind.items():
        best = min(items, key=lambda item: not item.rule.actionable)
        spare = kind in LESS_WITH_A_SPARE and spares(draft.state, draft.policy, component) > 0
        if kind in held:
            if held[kind].key in draft.state.faults:
                _grown(draft, held[kind], _fault(draft, component, best, items, spare=spare), results)
            continue
        fault = _fault(draft, component, best, items, spare=spare)
        if waits:
            settling.defer(draft, fault)
        else:
            raised(draft, fault, results)


def spares(state: State, policy: Policy, component: Component) -> int:
    """Members of the redundancy group, but this one, that are not broken."""
    together = topology(policy).redundant.get(component.redundancy, ())
    return sum(name != component.name and name not in state.broken for name in together)


def _kept(draft: Draft, component: str, results: tuple[RuleResult, ...]) -> None:
    draft.state = replace(draft.state, rule_results=draft.state.rule_results.set(component, results))


def both_down(draft: Draft, name: str) -> None:
    """A group none of whose sides takes calls: nothing to switch to."""
    group = draft.policy.groups[name]
    key = FaultKey(FaultKind.BOTH_SIDES_DOWN, name)
    standing = draft.state.faults.get(key)
    found = [_dead(draft, side.component) for side in group.sides]
    down = [fault for fault in found if fault is not None]
    if len(down) == len(group.sides):
        if standing is None:
            terms = tuple(
                TermResult(
                    f"{fault.side}-down",
                    EvidenceKind.PROBE,
                    Verdict.TRUE,
                    str(diagnosis_of(fault)),
                    (("since", fault.raised_wall),),
                )
                for fault in down
            )
            fault = diagnosed(
                draft,
                FaultKind.BOTH_SIDES_DOWN,
                name,
                evidence=terms,
                kinds={kind for fault in down for kind in fault.evidence_kinds},
                group=name,
                details=tuple((fault.side, str(diagnosis_of(fault))) for fault in down),
            )
            raised(draft, fault)
    elif standing is not None:
        cleared(draft, standing, "a side is back")


def _dead(draft: Draft, component: str) -> Fault | None:
    """Its fault, when it takes no calls: diagnosed so, or its failover-relevant probes fail, of a standby or of a side
    that fails as the other one does."""
    found = draft.policy.components.get(component)
    silent = found is not None and any(
        rung.failover_relevant
        and (view := draft.state.rungs.get(RungKey(component, rung.name))) is not None
        and view.state in BAD
        for rung in found.ladder
    )
    for fault in faults_at(draft.state, component):
        kind = diagnosis_of(fault)
        if kind in PLATFORM or (kind in (FaultKind.REDUNDANCY_LOST, FaultKind.COMMON_CAUSE) and silent):
            return fault
    return None


def worth_a_look(state: State, name: str, word: HealthState | None) -> bool:
    """Whether a rung's news can change anything: a component that is well and has no fault stays so."""
    if word not in (HealthState.UP, HealthState.UNKNOWN):
        return True
    return name in state.diagnosis.standing or bool(state.diagnosis.pending) or name in state.broken
