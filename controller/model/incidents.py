"""Incidents: the faults of one cause, and what people did about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from controller.model.calls import CallCount
from controller.model.faults import FaultKind, Grade, Impact, Severity, Urgency
from controller.model.moments import Values


class IncidentState(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    MITIGATED = "mitigated"  # the callers' impact is over
    RESOLVED = "resolved"  # repaired and stable
    MERGED = "merged"  # belongs to another incident's cause


class SeverityReason(NamedTuple):
    """Why the severity is what it is; prose is rendered at the edge ("SEV1 because ...")."""

    rule: str
    impact: Impact
    urgency: Urgency
    values: Values = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Incident:
    """An aggregate. Walls are Unix seconds; 0.0 means it has not happened."""

    id: str
    root: str  # the component or group that is the cause
    kind: FaultKind  # the leading fault
    state: IncidentState
    severity: Severity
    reason: SeverityReason
    group: str = ""
    grade: Grade | None = None
    grade_confirmed_by: str = ""
    drill: bool = False
    affected: int = 0  # components with a fault of this cause, suppressed ones included
    opened_wall: float = 0.0
    onset_earliest_wall: float = 0.0
    onset_latest_wall: float = 0.0
    acknowledged_wall: float = 0.0
    acknowledged_by: str = ""
    mitigated_wall: float = 0.0
    resolved_wall: float = 0.0
    resolved_by: str = ""
    merged_into: str = ""
    commander: str = ""
    runs: tuple[str, ...] = ()
    kept_open_by: tuple[str, ...] = ()  # runs for which its resolution was last put off
    calls: CallCount | None = None  # as counted at its mitigation, and again when the last timeouts were in
    quiet_since: float | None = field(default=None, metadata={"monotonic": True})

    @property
    def open(self) -> bool:
        return self.state not in (IncidentState.RESOLVED, IncidentState.MERGED)
