"""How bad it is: impact x urgency, and the row that says why."""

from __future__ import annotations

import functools
import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from controller.core.diagnosis.diagnosing import PLATFORM, spares
from controller.core.diagnosis.evidence import Evidence
from controller.core.topology import topology
from controller.model.faults import Fault, FaultKind, Grade, Impact, Severity, Urgency, Verdict
from controller.model.incidents import SeverityReason
from controller.model.moments import Moment, Value
from controller.model.policy import BusinessHours, Policy
from controller.model.state import State

UNRATED = SeverityReason("no-row-matched", Impact.MANY_CALLS, Urgency.HIGH)
"""Of a fault that no row is about; configurations end with a row that always matches."""

LARGE = frozenset({Impact.ALL_CALLS, Impact.MANY_CALLS})


class Extent(NamedTuple):
    """How far an incident reaches."""

    affected: int
    lines: int
    vip: bool


class Assessment(NamedTuple):
    severity: Severity
    reason: SeverityReason
    fault: Fault


def assess(
    state: State, policy: Policy, faults: Sequence[Fault], extent: Extent, at: Moment
) -> Assessment | None:
    """The worst of the faults, with its row. None without any fault."""
    found = [rated(state, policy, fault, extent, at) for fault in faults]
    return min(found, key=lambda item: (item.severity, item.reason.impact, item.reason.urgency), default=None)


def rated(state: State, policy: Policy, fault: Fault, extent: Extent, at: Moment) -> Assessment:
    values = variables(state, policy, fault, extent, at)
    reason = UNRATED
    for row in policy.severities:
        if row.when.evaluate(values) is Verdict.TRUE:
            seen = tuple((name, values.get(name)) for name in row.when.variables)
            reason = SeverityReason(row.name, row.impact, row.urgency, seen)
            break
    severity = policy.matrix.get((reason.impact, reason.urgency), Severity.SEV2)
    return Assessment(severity, reason, fault)


def variables(state: State, policy: Policy, fault: Fault, extent: Extent, at: Moment) -> Mapping[str, Value]:
    """As `model.variables.SEVERITY` declares them."""
    component = policy.components.get(fault.component)
    if component is not None:
        kind = str(component.kind)
    else:
        kind = "group" if fault.component in policy.groups else "vantage"
    group = state.groups.get(fault.group)
    on_active = fault.kind is FaultKind.BOTH_SIDES_DOWN or (
        group is not None and bool(fault.side) and group.active == fault.side
    )
    return {
        "fault.kind": str(fault.kind),
        "component.kind": kind,
        "lines": extent.lines,
        "affected": extent.affected,
        "vip": extent.vip,
        "active_side": on_active,
        "masked": on_active and _masked(state, policy, fault, at),
        "business_hours": in_business_hours(policy.hours, at.wall),
        "redundancy_left": _redundancy_left(state, policy, fault),
    }


def grade(severity: Severity, kind: FaultKind) -> Grade:
    """The reporting grade that is proposed; a person confirms it."""
    if severity is Severity.SEV1:
        return Grade.I if kind is FaultKind.BOTH_SIDES_DOWN else Grade.II
    return Grade.III if severity is Severity.SEV2 else Grade.IV


def worse(severity: Severity) -> Severity:
    """One step up."""
    return Severity(max(Severity.SEV1, severity - 1))


@functools.lru_cache(maxsize=8)
def _zone(name: str) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(name)


def in_business_hours(hours: BusinessHours, wall: float) -> bool:
    local = datetime.fromtimestamp(wall, _zone(hours.zone))
    if local.weekday() not in hours.weekdays or local.date().isoformat() in hours.holidays:
        return False
    minute = local.hour * 60 + local.minute
    return hours.opens <= minute < hours.closes


def _masked(state: State, policy: Policy, fault: Fault, at: Moment) -> bool:
    """The edges carry the calls of the broken active side over, and the other side answers them."""
    if fault.kind not in PLATFORM:
        return False
    seen = Evidence(state, policy, topology(policy), fault.component, at.mono).traffic
    return seen is not None and seen.reached > 0 and seen.peer_answered > 0


def _redundancy_left(state: State, policy: Policy, fault: Fault) -> int:
    rules = policy.groups.get(fault.group)
    if rules is not None:
        return sum(
            side.component != fault.component and side.component not in state.broken for side in rules.sides
        )
    if fault.component in state.vantages:
        return sum(other.live for other in state.vantages.values())
    component = policy.components.get(fault.component)
    return 0 if component is None else spares(state, policy, component)
