"""What the timeline keeps, and the hash chain that makes it tamper-evident."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from controller.model.drills import Drill
from controller.model.faults import Fault
from controller.model.groups import Group, Hold
from controller.model.incidents import Incident
from controller.model.moments import Moment, Value, Values
from controller.model.pages import Page
from controller.model.runs import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """The last number given out, by prefix (INC, RUN, SW, PAGE, DRILL, CMD)."""

    numbers: Values = ()

    def next(self, prefix: str) -> tuple[Counters, str]:
        numbers = dict(self.numbers)
        number = int(numbers.get(prefix) or 0) + 1
        numbers[prefix] = number
        return Counters(numbers=tuple(sorted(numbers.items()))), f"{prefix}-{number:04d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gone:
    """In the place of an aggregate that leaves the live state; what it was stays in the log."""

    key: str


Aggregate = Fault | Incident | Run | Group | Page | Drill | Hold | Counters | Gone
"""What survives a restart. Folding the log's `changed` aggregates, last one wins, gives the live state (I11)."""


def aggregate_key(aggregate: Aggregate) -> str:
    """The key under which an aggregate is stored, e.g. "run/RUN-0001"."""
    match aggregate:
        case Fault():
            return f"fault/{aggregate.kind}/{aggregate.component}"
        case Incident() | Run() | Page() | Drill():
            return f"{type(aggregate).__name__.lower()}/{aggregate.id}"
        case Group():
            return f"group/{aggregate.name}"
        case Hold():
            return f"hold/{aggregate.scope}"
        case Counters():
            return "counters"
        case Gone():
            return aggregate.key


def retired(aggregate: Aggregate) -> bool:
    """Whether it leaves the live state: a cleared fault, a released hold (`until_wall` 0), what is gone."""
    match aggregate:
        case Gone():
            return True
        case Fault():
            return not aggregate.active
        case Hold():
            return aggregate.until_wall == 0.0
        case _:
            return False


class FactKind(StrEnum):
    CONTROLLER_STARTED = "controller_started"
    LEASE_ACQUIRED = "lease_acquired"
    LEASE_LOST = "lease_lost"
    LEADERSHIP_TAKEN = "leadership_taken"
    LEADERSHIP_LOST = "leadership_lost"
    STORE_ADOPTED = "store_adopted"
    TIMER_GAP = "timer_gap"
    VANTAGE_LOST = "vantage_lost"
    VANTAGE_RETURNED = "vantage_returned"
    HEALTH_CHANGED = "health_changed"
    FAULT_RAISED = "fault_raised"
    FAULT_CHANGED = "fault_changed"
    FAULT_CLEARED = "fault_cleared"
    FAULT_SUPPRESSED = "fault_suppressed"
    FAULT_REPORTED = "fault_reported"
    CONTROL_REQUESTED = "control_requested"
    CONTROL_FINISHED = "control_finished"
    INCIDENT_OPENED = "incident_opened"
    INCIDENT_JOINED = "incident_joined"
    INCIDENT_MERGED = "incident_merged"
    SEVERITY_CHANGED = "severity_changed"
    INCIDENT_ACKNOWLEDGED = "incident_acknowledged"
    INCIDENT_MITIGATED = "incident_mitigated"
    CALLS_COUNTED = "calls_counted"
    INCIDENT_RESOLVED = "incident_resolved"
    COMMAND_TAKEN = "command_taken"
    GRADE_CONFIRMED = "grade_confirmed"
    NOTE = "note"
    RESPONSE_CHOSEN = "response_chosen"
    RESPONSE_WITHHELD = "response_withheld"
    RUN_STARTED = "run_started"
    STEP_INTENDED = "step_intended"
    STEP_FINISHED = "step_finished"
    STEP_HELD = "step_held"  # waits until what stands in its way is gone
    STEP_SHADOWED = "step_shadowed"  # would have been done, had the group been armed
    STEP_SKIPPED = "step_skipped"
    STEP_UNKNOWN = "step_unknown"
    APPROVAL_REQUESTED = "approval_requested"
    APPROVAL_GIVEN = "approval_given"
    APPROVAL_REFUSED = "approval_refused"
    APPROVAL_STALE = "approval_stale"
    APPROVAL_EXPIRED = "approval_expired"
    MANUAL_REQUESTED = "manual_requested"
    MANUAL_DONE = "manual_done"
    MANUAL_OVERDUE = "manual_overdue"
    RUN_ROLLING_BACK = "run_rolling_back"
    RUN_FINISHED = "run_finished"
    GROUP_ADOPTED = "group_adopted"
    GROUP_ARMED = "group_armed"
    GROUP_DISARMED = "group_disarmed"
    READINESS_TICKED = "readiness_ticked"
    HOLD_PLACED = "hold_placed"
    HOLD_RELEASED = "hold_released"
    HOLD_EXPIRED = "hold_expired"
    SWITCH_REFUSED = "switch_refused"
    SWITCH_SHADOWED = "switch_shadowed"
    SWITCH_STARTED = "switch_started"
    SWITCH_PHASE = "switch_phase"
    SWITCH_INTENDED = "switch_intended"
    SWITCH_STEP_FINISHED = "switch_step_finished"
    SWITCH_ENDED = "switch_ended"
    EDGE_DRIFTED = "edge_drifted"
    EDGE_REASSERTED = "edge_reasserted"
    GROUP_RELEASED = "group_released"
    REQUEST_REFUSED = "request_refused"
    PAGE_OPENED = "page_opened"
    PAGE_REPEATED = "page_repeated"
    PAGE_SENT = "page_sent"
    PAGE_DELIVERY = "page_delivery"
    PAGE_ESCALATED = "page_escalated"
    PAGE_ENDED = "page_ended"
    PAGE_WITHHELD = "page_withheld"
    DRILL_STARTED = "drill_started"
    DRILL_INJECTED = "drill_injected"
    DRILL_UNDONE = "drill_undone"
    DRILL_UNDO_FAILED = "drill_undo_failed"
    DRILL_FINISHED = "drill_finished"
    DRILL_ABORTED = "drill_aborted"
    RECORDS_RETIRED = "records_retired"  # what ended long ago leaves the live state, not the journal


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One line of the timeline. Prose is rendered from `kind` and `data` at the edge.

    `subject` is what it is about (a component, a run, a group). `changed` holds the new value of every
    durable aggregate that this fact changed.
    """

    kind: FactKind
    at: Moment
    subject: str
    incident: str = ""
    actor: str = ""  # a person's account; empty: the controller by rule
    drill: bool = False
    data: Values = ()
    changed: tuple[Aggregate, ...] = ()

    def get(self, name: str) -> Value:
        return dict(self.data).get(name)


class Entry(NamedTuple):
    """A recorded fact. `payload` is canonical JSON of subject, actor, data and changed aggregates.

    `digest` = SHA-256(previous digest || header || SHA-256(payload)), hex. The chain carries the payload's
    hash, so personal data in a payload can be erased without breaking it.
    """

    sequence: int  # gapless from 1, per node
    node: str
    wall: float
    kind: str
    incident: str
    drill: bool
    payload: str
    payload_hash: str
    previous: str
    digest: str


GENESIS = "0" * 64


def payload_digest(payload: str) -> str:
    return hashlib.sha256(payload.encode()).hexdigest()


def chain_digest(
    previous: str,
    sequence: int,
    node: str,
    wall: float,
    kind: str,
    incident: str,
    drill: bool,
    payload_hash: str,
) -> str:
    """The chained hash of one entry (RFC 6962 spirit: h_i = H(h_{i-1} || H(event)))."""
    header = f"{previous}|{sequence}|{node}|{wall!r}|{kind}|{incident}|{int(drill)}|{payload_hash}"
    return hashlib.sha256(header.encode()).hexdigest()


def entry_payload(entry: Entry, decoded: Mapping[str, object]) -> Mapping[str, object]:
    """`decoded` is the parsed payload; returned with the entry's header beside it, for people and APIs."""
    return {
        "sequence": entry.sequence,
        "node": entry.node,
        "wall": entry.wall,
        "kind": entry.kind,
        "incident": entry.incident,
        "drill": entry.drill,
        "digest": entry.digest,
        **decoded,
    }
