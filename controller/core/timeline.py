"""Entries read as a story: the live state they add up to, an incident's points in time, its phases and its outage.

Pure, over recorded entries alone: the same for a live incident, a report, a drill and the simulation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from controller.model.encoding import decode_aggregates
from controller.model.facts import Aggregate, Entry, FactKind, aggregate_key, retired
from controller.model.faults import Fault, FaultKind
from controller.model.groups import Group, Phase, SwitchOutcome
from controller.model.incidents import Incident, IncidentState
from controller.model.moments import Values


class Line(NamedTuple):
    """One entry, parsed. `kind` is None for a kind this version does not know (`name` holds it)."""

    sequence: int
    node: str
    wall: float
    kind: FactKind | None
    name: str
    subject: str
    actor: str
    incident: str
    drill: bool
    data: Values
    changed: tuple[Aggregate, ...]

    def get(self, name: str) -> Any:
        return dict(self.data).get(name)


def line(entry: Entry) -> Line:
    """An erased payload gives a line that says only when and what kind."""
    payload: Mapping[str, Any] = json.loads(entry.payload) if entry.payload else {}
    try:
        kind: FactKind | None = FactKind(entry.kind)
    except ValueError:
        kind = None
    return Line(
        sequence=entry.sequence,
        node=entry.node,
        wall=entry.wall,
        kind=kind,
        name=entry.kind,
        subject=str(payload.get("subject", "")),
        actor=str(payload.get("actor", "")),
        incident=entry.incident,
        drill=entry.drill,
        data=tuple(payload.get("data", {}).items()),
        changed=tuple(decode_aggregates(payload)),
    )


def lines(entries: Iterable[Entry]) -> list[Line]:
    return [line(entry) for entry in entries]


def fold(story: Iterable[Line]) -> dict[str, Aggregate]:
    """The live state by key: the last value of each aggregate, the retired left out (I11)."""
    live: dict[str, Aggregate] = {}
    for each in story:
        for aggregate in each.changed:
            key = aggregate_key(aggregate)
            if retired(aggregate):
                live.pop(key, None)
            else:
                live[key] = aggregate
    return live


class Step(StrEnum):
    """The phases of an incident."""

    DETECT = "detect"  # onset -> the incident is opened
    DECIDE = "decide"  # opened -> a switch or a run begins
    SWITCH = "switch"  # begun -> calls go to the other side
    VERIFY = "verify"  # calls redirected -> a real call was answered there
    ACKNOWLEDGE = "acknowledge"  # first page -> a person's acknowledgement
    MITIGATE = "mitigate"  # onset -> the callers' impact is over
    RESOLVE = "resolve"  # onset -> repaired and stable


class Point(NamedTuple):
    """An instant and the entry that proves it. `sequence` 0: read from the incident, no entry of its own."""

    wall: float
    name: str
    sequence: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A phase between two named points; a missing one makes it unknown.

    `earliest` is where the phase may have begun at the earliest, when its beginning is an interval (the onset).
    """

    step: Step
    begins: Point | None
    ends: Point | None
    earliest: float | None = None

    @property
    def seconds(self) -> float | None:
        """At least this long. None: unknown."""
        if self.begins is None or self.ends is None:
            return None
        return max(0.0, self.ends.wall - self.begins.wall)

    @property
    def seconds_at_most(self) -> float | None:
        if self.seconds is None or self.ends is None or self.earliest is None:
            return self.seconds
        return max(0.0, self.ends.wall - self.earliest)


class Relapse(NamedTuple):
    """Callers felt it again, after it was over: the side calls had been moved to failed too. `earliest` and `latest` as
    for the outage."""

    earliest: float
    latest: float
    ends: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """When callers felt it: it began between `earliest` and `latest` (last good, first bad), and ended at `ends`.

    `ends` None: not over, or not known. `ends_earliest`: a switch is proved by a call some time after callers are served
    by the other side; from here on they may have been. `ended_by` names the fact. `relapses` are those that came after `ends`, in order;
    only the last may go on.
    """

    earliest: float | None
    latest: float | None
    ends: float | None
    ends_earliest: float | None = None
    ended_by: str = ""
    relapses: tuple[Relapse, ...] = ()

    @property
    def seconds(self) -> tuple[float, float] | None:
        """(at least, at most), relapses included; None when an end is not known."""
        if self.latest is None or self.ends is None:
            return None
        earliest = self.latest if self.earliest is None else self.earliest
        served = self.ends if self.ends_earliest is None else min(self.ends_earliest, self.ends)
        least, most = max(0.0, served - self.latest), max(0.0, self.ends - earliest)
        for relapse in self.relapses:
            if relapse.ends is None:
                return None
            least += relapse.ends - relapse.latest
            most += relapse.ends - relapse.earliest
        return least, most


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """One incident as the record tells it. `incident` is its last recorded form."""

    incident: Incident
    lines: tuple[Line, ...]
    spans: tuple[Span, ...]
    outage: Outage

    def span(self, step: Step) -> Span:
        return next(span for span in self.spans if span.step is step)


def timeline(story: Sequence[Line], incident: str) -> Timeline | None:
    """`story`: at least every line of this incident, in order. None when none of them says what the incident is."""
    its = [each for each in story if each.incident == incident]
    last: Incident | None = None
    for each in its:
        for aggregate in each.changed:
            if isinstance(aggregate, Incident) and aggregate.id == incident:
                last = aggregate
    if last is None:
        return None
    points = _points(its, last)
    onset, earliest = points.get("onset"), last.onset_earliest_wall or None
    begun = points.get("switch_started") or points.get("run_started")

    def span(step: Step, begins: Point | None, ends: str, **more: float | None) -> Span:
        return Span(step=step, begins=begins, ends=points.get(ends), **more)

    return Timeline(
        incident=last,
        lines=tuple(its),
        spans=(
            span(Step.DETECT, onset, "opened", earliest=earliest),
            Span(step=Step.DECIDE, begins=points.get("opened"), ends=begun),
            span(Step.SWITCH, points.get("switch_started"), "redirected"),
            span(Step.VERIFY, points.get("redirected"), "verified"),
            span(Step.ACKNOWLEDGE, points.get("paged"), "acknowledged"),
            span(Step.MITIGATE, onset, "mitigated", earliest=earliest),
            span(Step.RESOLVE, onset, "resolved", earliest=earliest),
        ),
        outage=_outage(points, last, its),
    )


NO_OUTAGE = frozenset(
    {
        FaultKind.PROBE_PATH_BROKEN,
        FaultKind.TEST_TARGET_DOWN,
        FaultKind.REDUNDANCY_LOST,
        FaultKind.EDGE_DRIFT,
        FaultKind.BACKUP_STALE,
        FaultKind.CERTIFICATE_EXPIRING,
        FaultKind.SECURITY_ANOMALY,
        FaultKind.REPORTED,
    }
)
"""Faults that callers do not feel by themselves."""


def _points(its: Sequence[Line], incident: Incident) -> dict[str, Point]:
    """The first occurrence of each named point; of the switch, those of its last attempt."""
    points: dict[str, Point] = {}
    if incident.onset_latest_wall:
        points["onset"] = Point(incident.onset_latest_wall, "first_bad")
    once = {
        FactKind.INCIDENT_OPENED: "opened",
        FactKind.RUN_STARTED: "run_started",
        FactKind.PAGE_SENT: "paged",
        FactKind.INCIDENT_ACKNOWLEDGED: "acknowledged",
        FactKind.INCIDENT_RESOLVED: "resolved",
    }
    for each in its:
        here = Point(each.wall, each.name, each.sequence)
        if each.kind in once:
            points.setdefault(once[each.kind], here)
        elif each.kind is FactKind.INCIDENT_MITIGATED:
            points["mitigated"] = here  # the last: an incident can get worse again
        elif each.kind is FactKind.SWITCH_STARTED:
            points.setdefault("switch_started", here)
            points.pop("redirected", None)
        elif each.kind is FactKind.SWITCH_PHASE and _group_phase(each) is Phase.VERIFYING:
            points.setdefault("redirected", here)
        elif each.kind is FactKind.SWITCH_ENDED and _switch_outcome(each) is SwitchOutcome.VERIFIED:
            points.setdefault("verified", here)
        elif each.kind is FactKind.PAGE_ENDED and each.get("state") == "acknowledged":
            points.setdefault("acknowledged", here)
    return points


def _group_phase(each: Line) -> Phase | None:
    return next((item.phase for item in each.changed if isinstance(item, Group)), None)


def _switch_outcome(each: Line) -> SwitchOutcome | None:
    return next((item.last_outcome for item in each.changed if isinstance(item, Group)), None)


def _outage(points: Mapping[str, Point], incident: Incident, its: Sequence[Line]) -> Outage:
    """From onset until a verified switch, else until mitigated, else resolved; and again for each relapse."""
    if incident.kind in NO_OUTAGE or not incident.onset_latest_wall:
        return Outage(earliest=None, latest=None, ends=None)
    ends = points.get("verified") or points.get("mitigated") or points.get("resolved")
    redirected = points.get("redirected") if "verified" in points else None
    return Outage(
        earliest=incident.onset_earliest_wall or None,
        latest=incident.onset_latest_wall,
        ends=None if ends is None else ends.wall,
        ends_earliest=None if redirected is None else redirected.wall,
        ended_by="" if ends is None else ends.name,
        relapses=tuple(_relapses(its)),
    )


def _relapses(its: Sequence[Line]) -> list[Relapse]:
    """An incident that was mitigated and is open again, from the fault that opened it."""
    found: list[Relapse] = []
    ended: float | None = None
    for each in its:
        going_on = bool(found) and found[-1].ends is None
        if each.kind in (FactKind.INCIDENT_MITIGATED, FactKind.INCIDENT_RESOLVED) or (
            going_on
            and each.kind is FactKind.SWITCH_ENDED
            and _switch_outcome(each) is SwitchOutcome.VERIFIED
        ):
            ended = each.wall
            if going_on:
                found[-1] = found[-1]._replace(ends=each.wall)
            continue
        state = next((item.state for item in each.changed if isinstance(item, Incident)), None)
        if ended is None or going_on or state not in (IncidentState.OPEN, IncidentState.ACKNOWLEDGED):
            continue
        for fault in each.changed:
            if isinstance(fault, Fault) and fault.kind not in NO_OUTAGE:
                latest = min(max(fault.first_bad_wall or each.wall, ended), each.wall)
                found.append(Relapse(min(max(fault.last_good_wall or latest, ended), latest), latest))
                break
    return found


def downtime(outages: Iterable[Outage]) -> float:
    """Seconds of the union of the known outages, each from its first bad to its end: overlaps count once."""
    known = sorted(
        (begins, ends)
        for outage in outages
        for begins, ends in (
            (outage.latest, outage.ends),
            *((relapse.latest, relapse.ends) for relapse in outage.relapses),
        )
        if begins is not None and ends is not None and ends > begins
    )
    total, covered = 0.0, float("-inf")
    for begins, ends in known:
        total += max(0.0, ends - max(begins, covered))
        covered = max(covered, ends)
    return total
