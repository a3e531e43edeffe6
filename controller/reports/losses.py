"""How many calls an incident cost: measured at the edges, estimated from the rate before it, or unknown; it says which."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from controller.core.timeline import NO_OUTAGE, Line, Timeline
from controller.model.facts import FactKind
from controller.model.faults import Impact


class Source(StrEnum):
    EDGE = "edge"  # counted in live traffic
    ESTIMATE = "estimate"  # the rate before the onset times the outage
    NONE = "none"  # callers do not feel a fault of this kind
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class CallsLost:
    """Calls lost to callers, between `low` and `high`; both None when unknown.

    `attempts`: INVITEs the edges handled meanwhile, `aside` of them served by the side that was not active. `partial`:
    some were missed in a restart. `so_far`: the last timeouts are not in yet. `rate`: calls per second before the onset.
    """

    source: Source
    low: int | None = None
    high: int | None = None
    attempts: int | None = None
    aside: int = 0
    partial: bool = False
    so_far: bool = False
    rate: float | None = None


def calls_lost(story: Timeline) -> CallsLost:
    said = next(
        (
            line
            for line in reversed(story.lines)
            if line.kind in (FactKind.INCIDENT_MITIGATED, FactKind.CALLS_COUNTED, FactKind.INCIDENT_RESOLVED)
            and line.get("calls_source")
        ),
        None,
    )
    if said is not None and said.get("calls_source") == "edge":
        return _measured(said)
    rate = None if said is None else _number(said.get("calls_baseline"))
    if rate is not None and (outage := story.outage.seconds) is not None:
        return _estimated(rate, outage, story.incident.reason.impact)
    if story.incident.kind in NO_OUTAGE:
        return CallsLost(source=Source.NONE, low=0, high=0, rate=rate)
    return CallsLost(source=Source.UNKNOWN, rate=rate)


def _measured(said: Line) -> CallsLost:
    failed, aside = _count(said.get("calls_failed")), _count(said.get("calls_answered_aside"))
    if failed is None:
        return CallsLost(source=Source.UNKNOWN)
    return CallsLost(
        source=Source.EDGE,
        low=max(0, failed - (aside or 0)),
        high=failed,
        attempts=_count(said.get("calls_total")),
        aside=aside or 0,
        partial=said.get("calls_partial") is True,
        so_far=said.kind is FactKind.INCIDENT_MITIGATED,
        rate=_number(said.get("calls_baseline")),
    )


def _estimated(rate: float, outage: tuple[float, float], impact: Impact) -> CallsLost:
    """Calls that would have come, give or take two standard deviations of a Poisson count; of fewer than all calls
    the share is not known, so that the range begins at none."""
    least, most = rate * outage[0], rate * outage[1]
    low = max(0, math.floor(least - 2 * math.sqrt(least))) if impact is Impact.ALL_CALLS else 0
    high = 0 if impact is Impact.NO_CALLS else math.ceil(most + 2 * math.sqrt(most))
    return CallsLost(source=Source.ESTIMATE, low=low, high=high, rate=rate)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _number(value: object) -> float | None:
    usable = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    )
    return float(value) if usable and isinstance(value, (int, float)) else None
