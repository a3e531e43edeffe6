"""Raising, changing and clearing faults: every change of one is a fact, and is handed on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from controller.core import drills
from controller.core.diagnosis.evaluation import Evaluated
from controller.core.diagnosis.standing import all_entered, entered, left
from controller.core.draft import Draft
from controller.core.topology import topology
from controller.model.events import FaultCleared, FaultRaised
from controller.model.facts import FactKind
from controller.model.faults import EvidenceKind, Fault, FaultKind, RuleResult, TermResult
from controller.model.health import RungKey
from controller.model.moments import Values

FAULTS_IN_A_FACT = 100
"""Explained dependents are recorded together: one entry each would make a storm's commit slow."""


def diagnosed(
    draft: Draft,
    kind: FaultKind,
    component: str,
    *,
    rule: str = "",
    actionable: bool = True,
    evidence: tuple[TermResult, ...] = (),
    kinds: Iterable[EvidenceKind] = (),
    details: Values = (),
    group: str = "",
) -> Fault:
    """A fault as it is found now; not recorded yet."""
    state, at = draft.state, draft.at
    place = topology(draft.policy).places.get(component)
    if place is not None:
        group = place.group
    found = draft.policy.components.get(component)
    views = [
        view
        for rung in (found.ladder if found is not None else ())
        if (view := state.rungs.get(RungKey(component, rung.name))) is not None
    ]
    first_bad = min((view.first_bad for view in views if view.first_bad), default=at.mono)
    last_good = max((view.last_good for view in views if 0 < view.last_good <= first_bad), default=0.0)
    wall = at.wall - at.mono
    wanted = set(kinds)
    return Fault(
        kind=kind,
        component=component,
        group=group,
        side="" if place is None else place.side,
        actionable=actionable,
        first_broken_rung=state.broken.get(component, ""),
        rule=rule,
        evidence=evidence,
        evidence_kinds=tuple(item for item in EvidenceKind if item in wanted),
        flapping=any(view.flapping for view in views),
        drill=drills.covering(state, component, group) is not None,
        raised_wall=at.wall,
        first_bad_wall=first_bad + wall,
        last_good_wall=last_good + wall if last_good else 0.0,
        details=details,
    )


def raised(draft: Draft, fault: Fault, results: Sequence[RuleResult] = ()) -> None:
    draft.state = entered(draft.state, fault)
    draft.record(
        FactKind.FAULT_RAISED,
        fault.component,
        data=_described(fault),
        changed=(fault,),
        incident=fault.incident,
        drill=fault.drill,
    )
    draft.events.append(FaultRaised(at=draft.at, key=fault.key))


def changed(draft: Draft, fault: Fault, why: str, results: Sequence[RuleResult] = ()) -> None:
    draft.state = entered(draft.state, fault)
    data: Values = (*_described(fault), ("change", why))
    if results:
        data = (*data, ("rules", compact(results)))
    draft.record(
        FactKind.FAULT_CHANGED,
        fault.component,
        data=data,
        changed=(fault,),
        incident=fault.incident,
        drill=fault.drill,
    )
    draft.events.append(FaultRaised(at=draft.at, key=fault.key))


def cleared(draft: Draft, fault: Fault, why: str) -> None:
    over = replace(fault, active=False, cleared_wall=draft.at.wall)
    draft.state = left(draft.state, fault)
    draft.record(
        FactKind.FAULT_CLEARED,
        fault.component,
        data=(*_described(fault), ("reason", why), ("seconds", round(draft.at.wall - fault.raised_wall, 3))),
        changed=(over,),
        incident=fault.incident,
        drill=fault.drill,
    )
    draft.events.append(FaultCleared(at=draft.at, fault=over))


def suppressed(draft: Draft, faults: Sequence[Fault], cause: Fault) -> None:
    """Faults that `cause` explains: recorded in its incident, with the reason, and never acted upon."""
    for begin in range(0, len(faults), FAULTS_IN_A_FACT):
        batch = tuple(
            replace(fault, suppressed_by=cause.component, incident=cause.incident, drill=cause.drill)
            for fault in faults[begin : begin + FAULTS_IN_A_FACT]
        )
        draft.state = all_entered(
            draft.state, [fault for fault in batch if fault.key not in draft.state.faults]
        )
        for fault in batch:
            before = draft.state.faults[fault.key]
            draft.state = entered(draft.state, fault)
            if before.incident != fault.incident:
                draft.events.append(FaultRaised(at=draft.at, key=fault.key))
        draft.record(
            FactKind.FAULT_SUPPRESSED,
            batch[0].component,
            data=(
                ("kind", str(batch[0].kind)),
                ("suppressed_by", cause.component),
                ("cause", str(cause.key)),
                ("count", len(batch)),
            ),
            changed=batch,
            incident=cause.incident,
            drill=cause.drill,
        )


def _described(fault: Fault) -> Values:
    return (
        ("kind", str(fault.kind)),
        ("component", fault.component),
        ("rule", fault.rule),
        ("actionable", fault.actionable),
        ("first_broken_rung", fault.first_broken_rung),
        ("evidence", ",".join(fault.evidence_kinds)),
        ("suppressed_by", fault.suppressed_by),
        ("flapping", fault.flapping),
        *fault.details,
    )


def results_of(
    evaluated: Iterable[Evaluated], component: str, outranked: Iterable[str] = ()
) -> tuple[RuleResult, ...]:
    """`outranked`: rules whose terms all hold and whose fault another one explains better."""
    names = set(outranked)
    return tuple(
        item.result(component, *(("outranked",) if item.rule.name in names else ())) for item in evaluated
    )


def compact(results: Sequence[RuleResult]) -> str:
    """As JSON text for the journal; `explanation.expanded` reads it back. "" for none."""
    if not results:
        return ""
    rows = [
        [
            result.rule,
            str(result.fault),
            result.component,
            result.fired,
            [
                [term.name, str(term.evidence), str(term.verdict), term.expression, dict(term.seen)]
                for term in result.terms
            ],
            list(result.blocked_by),
        ]
        for result in results
    ]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
