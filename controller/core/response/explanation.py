"""Why an incident is what it is: every rule evaluated, the closest that did not fire, what stood in the way of acting.

Values only; read from the incident's own entries, so that it is the same after a restart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controller.core.timeline import Line, line
from controller.model.facts import Entry, FactKind
from controller.model.faults import Fault, RuleResult, TermResult, Verdict
from controller.model.incidents import Incident, SeverityReason
from controller.model.moments import Value, Values
from controller.model.state import State


@dataclass(frozen=True, kw_only=True, slots=True)
class TermShown:
    name: str
    evidence: str
    verdict: str
    expression: str
    seen: Values


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleShown:
    """`blocked_by`: terms that were false or unknown, rungs it waited for, or that another fault explains it better.
    `fired_wall`: when it first had, Unix seconds; 0.0 when it did not, or when that is not in the incident's entries."""

    rule: str
    fault: str
    component: str
    fired: bool
    terms: tuple[TermShown, ...]
    blocked_by: tuple[str, ...]
    fired_wall: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """`blocked`: reasons by name why nothing was done, in the order they came. `responses`: runbooks that were chosen.
    `suppressed`: how many faults of dependents the cause explains."""

    incident: str
    rules: tuple[RuleShown, ...] = ()
    closest: RuleShown | None = None
    blocked: tuple[str, ...] = ()
    responses: tuple[str, ...] = ()
    suppressed: int = 0
    severity: SeverityReason | None = None


def explain(state: State, entries: Iterable[Entry], incident: str) -> Explanation:
    """Rules as they stood when the incident's faults were found: how each first fired, else the latest word on it; where
    the entries hold none of a component, as they stand now."""
    lines = [line(entry) for entry in entries if entry.incident == incident]
    results: dict[tuple[str, str], RuleResult] = {}
    fired: dict[tuple[str, str], float] = {}
    blocked: dict[str, None] = {}
    responses: dict[str, None] = {}
    faults: dict[str, Fault] = {}
    reason: SeverityReason | None = None
    for each in lines:
        for result in expanded(each.get("rules")):
            name = (result.component, result.rule)
            if name not in fired:
                results[name] = result
                if result.fired:
                    fired[name] = each.wall
        blocked.update(dict.fromkeys(_obstacles(each)))
        if each.kind is FactKind.RESPONSE_CHOSEN and each.get("runbook"):
            responses[str(each.get("runbook"))] = None
        for aggregate in each.changed:
            if isinstance(aggregate, Fault):
                faults[str(aggregate.key)] = aggregate
            elif isinstance(aggregate, Incident) and aggregate.id == incident:
                reason = aggregate.reason
    told = {component for component, _ in results}
    for fault in faults.values():
        if fault.component not in told and not fault.suppressed_by:
            found = state.rule_results.get(fault.component, ()) or _of_fault(fault)
            results.update({(result.component, result.rule): result for result in found})
            fired.setdefault((fault.component, fault.rule or str(fault.kind)), fault.raised_wall)
    found_faults = {str(result.fault) for result in results.values() if result.fired}
    ordered = sorted(
        results.values(),
        key=lambda result: (not result.fired, _distance(result), str(result.fault) not in found_faults),
    )
    nearest = next((result for result in ordered if not result.fired), None)
    return Explanation(
        incident=incident,
        rules=tuple(_shown(result, fired) for result in ordered),
        closest=None if nearest is None else _shown(nearest, fired),
        blocked=tuple(blocked),
        responses=tuple(responses),
        suppressed=sum(bool(fault.suppressed_by) for fault in faults.values()),
        severity=reason,
    )


def expanded(text: Value) -> tuple[RuleResult, ...]:
    """What `raising.compact` wrote. Anything else is no rule results at all."""
    if not isinstance(text, str) or not text:
        return ()
    return tuple(
        RuleResult(
            rule,
            fault,
            component,
            fired,
            tuple(
                TermResult(name, evidence, Verdict(verdict), expression, tuple(seen.items()))
                for name, evidence, verdict, expression, seen in terms
            ),
            tuple(blocked),
        )
        for rule, fault, component, fired, terms, blocked in json.loads(text)
    )


def _distance(result: RuleResult) -> tuple[int, int, int]:
    """Terms that refute it or that saw nothing, then terms that are unknown: the fewer, the closer it was. Of two alike the
    one of which more is true. A rule about an instrument that is not there never gets closer."""
    verdicts = [term.verdict for term in result.terms]
    blind = sum(
        term.verdict is Verdict.UNKNOWN and all(value is None for _, value in term.seen)
        for term in result.terms
    )
    unknown = verdicts.count(Verdict.UNKNOWN) - blind
    return verdicts.count(Verdict.FALSE) + blind, unknown, -verdicts.count(Verdict.TRUE)


def _obstacles(each: Line) -> Sequence[str]:
    match each.kind:
        case FactKind.RESPONSE_WITHHELD:
            named = each.get("reasons") or each.get("reason")
        case FactKind.SWITCH_REFUSED | FactKind.SWITCH_SHADOWED:
            named = each.get("refusals")
        case _:
            named = ""
    return [name for name in str(named or "").split(",") if name]


def _of_fault(fault: Fault) -> tuple[RuleResult, ...]:
    """A fault that no configured rule found: its own evidence is all there is to show."""
    if not fault.evidence:
        return ()
    return (RuleResult(fault.rule or str(fault.kind), fault.kind, fault.component, True, fault.evidence, ()),)


def _shown(result: RuleResult, fired: Mapping[tuple[str, str], float]) -> RuleShown:
    return RuleShown(
        rule=result.rule,
        fault=str(result.fault),
        component=result.component,
        fired=result.fired,
        terms=tuple(
            TermShown(
                name=term.name,
                evidence=str(term.evidence),
                verdict=str(term.verdict),
                expression=term.expression,
                seen=term.seen,
            )
            for term in result.terms
        ),
        blocked_by=result.blocked_by,
        fired_wall=fired.get((result.component, result.rule), 0.0),
    )
