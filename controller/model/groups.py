"""A protected service: its sides, who may act on it, and the switch in progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from controller.model.faults import EvidenceKind
from controller.model.moments import Values


class Phase(StrEnum):
    """Where the failover machine of a group stands. The order is the design's."""

    IDLE = "idle"
    PRECHECKING = "prechecking"
    DRAINING = "draining"  # switchover and failback only
    FREEZING = "freezing"
    FENCING = "fencing"
    CONFIRMING_FENCE = "confirming_fence"
    PROMOTING = "promoting"
    REDIRECTING = "redirecting"
    VERIFYING = "verifying"
    COMPENSATING = "compensating"
    READING_BACK = "reading_back"  # after a restart or a lost reply
    NEEDS_PERSON = "needs_person"  # stopped where only a person may go on


class SwitchVerb(StrEnum):
    SWITCHOVER = "switchover"  # planned, with drain
    FAILOVER = "failover"  # by rule, or a person applying the rule
    FORCE = "force"  # by a person, listing every guard bypassed
    FAILBACK = "failback"  # to the preferred side


class DriverVerb(StrEnum):
    """What a switch driver or fence is told to do. Every one is idempotent and carries the epoch."""

    PRECHECK = "precheck"
    DRAIN = "drain"
    FREEZE = "freeze"
    THAW = "thaw"
    FENCE = "fence"
    CONFIRM_FENCE = "confirm_fence"
    UNFENCE = "unfence"
    PROMOTE = "promote"
    REDIRECT = "redirect"
    READ_BACK = "read_back"
    REASSERT = "reassert"


class Refusal(StrEnum):
    """Why a switch may not start. Each is a guard; `force` lists the ones it bypasses."""

    NOT_ARMED = "not_armed"
    NO_LEASE = "no_lease"
    NOT_LEADER = "not_leader"
    TOO_FEW_VANTAGES = "too_few_vantages"
    ONE_KIND_OF_EVIDENCE = "one_kind_of_evidence"
    ON_HOLD = "on_hold"
    MAINTENANCE = "maintenance"
    COOLDOWN = "cooldown"
    RUN_IN_PROGRESS = "run_in_progress"
    TARGET_NOT_READY = "target_not_ready"
    UNKNOWN_DATA = "unknown_data"
    FENCE_NOT_READY = "fence_not_ready"
    SIDE_FENCED = "side_fenced"  # of a repair: it could let the side back in
    OVER_RTO = "over_rto"
    BUDGET_SPENT = "budget_spent"
    TIMER_GAP = "timer_gap"
    ALREADY_ACTIVE = "already_active"
    NEVER_SWITCH = "never_switch"
    OUTSIDE_DOMAIN = "outside_domain"
    EDGES_UNREACHABLE = "edges_unreachable"
    UNSTABLE = "unstable"
    NEEDS_PERSON = "needs_person"
    UNKNOWN_GROUP = "unknown_group"
    UNKNOWN_SIDE = "unknown_side"
    JOURNAL_UNAVAILABLE = "journal_unavailable"


UNBYPASSABLE = frozenset(
    {
        Refusal.NO_LEASE,
        Refusal.NOT_LEADER,
        Refusal.RUN_IN_PROGRESS,
        Refusal.ALREADY_ACTIVE,
        Refusal.UNKNOWN_GROUP,
        Refusal.UNKNOWN_SIDE,
        Refusal.SIDE_FENCED,
        Refusal.JOURNAL_UNAVAILABLE,
    }
)
"""Not even `force` goes past these."""


class SwitchOutcome(StrEnum):
    VERIFIED = "verified"
    COMPENSATED = "compensated"  # verification failed and the old state was put back
    FAILED = "failed"
    REFUSED = "refused"
    NEEDS_PERSON = "needs_person"
    SHADOWED = "shadowed"  # would have been done, had the group been armed


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """One recovery of one group. `walls` are (phase, Unix seconds it was entered), for the report."""

    id: str
    verb: SwitchVerb
    origin: str
    target: str
    epoch: int
    automatic: bool
    by: str = ""
    reason: str = ""
    run: str = ""
    step: str = ""  # the run's step that waits for it
    incident: str = ""
    drill: bool = False
    fault: str = ""
    evidence_kinds: tuple[EvidenceKind, ...] = ()
    bypassed: tuple[Refusal, ...] = ()
    attempt: int = 1
    command: str = ""
    verb_in_flight: DriverVerb | None = None
    undo: tuple[
        DriverVerb, ...
    ] = ()  # what compensation does, in this order; see core/switching/compensation.py
    let_in: bool = False  # the target was fenced before this switch, which let it in, or tried to
    resume: Phase | None = None  # where READING_BACK returns to
    reads: int = field(default=0, metadata={"monotonic": True})  # failed attempts to read back
    failure: str = ""  # why it is being compensated, or stopped
    live_calls: int | None = None  # on the old side, at the last count
    walls: tuple[tuple[str, float], ...] = ()
    detail: Values = ()
    due: float | None = field(default=None, metadata={"monotonic": True})
    drain_until: float | None = field(default=None, metadata={"monotonic": True})
    verify_until: float | None = field(default=None, metadata={"monotonic": True})


@dataclass(frozen=True, kw_only=True, slots=True)
class Upkeep:
    """One act on an idle group: REASSERT of drifted edges, UNFENCE of a side that comes back as the standby (its
    outcome read back by CONFIRM_FENCE). Without a command it waits for its next attempt."""

    verb: DriverVerb
    side: str
    epoch: int
    command: str = ""
    attempt: int = 1
    by: str = ""
    due: float | None = field(default=None, metadata={"monotonic": True})


@dataclass(frozen=True, kw_only=True, slots=True)
class Arming:
    by: str
    wall: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ManualCheck:
    """A readiness item only a person can tick, with until when the tick counts (Unix seconds)."""

    name: str
    by: str
    until_wall: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """An aggregate. `automatic_walls` are the completion times of recent automatic switches.

    `epoch` 0: nothing was ever asserted; the first read of the edges adopts what they say.
    `fenced`: sides that must be let back in before they can take calls. `edge_epoch`: the highest any edge showed.
    `read_at`, `fence_ready`: of the last successful read; None until one succeeded in this process.
    `unheld_since`: the driver reads that no side holds the group's address; None while one does.
    `standby_since`: the side that is not active has stood unbroken since then; None while it does not.
    """

    name: str
    active: str
    epoch: int = 0
    phase: Phase = Phase.IDLE
    armed: Arming | None = None
    switch: Switch | None = None
    cooldown_until: float | None = field(default=None, metadata={"monotonic": True, "restart": "cooldown"})
    automatic_walls: tuple[float, ...] = ()
    manual_checks: tuple[ManualCheck, ...] = ()
    drifted_edges: tuple[str, ...] = ()
    unreachable_edges: tuple[str, ...] = ()
    last_switch: str = ""
    last_outcome: SwitchOutcome | None = None
    fenced: tuple[str, ...] = ()
    edge_epoch: int = 0
    upkeep: Upkeep | None = None
    shadowed: str = ""  # the incident whose switch was last only described
    ended_wall: float = 0.0  # of the last switch
    reading_back: str = field(default="", metadata={"monotonic": True})  # the reconciliation read in flight
    read_due: float | None = field(
        default=None, metadata={"monotonic": True}
    )  # it counts as lost from then on
    read_at: float | None = field(default=None, metadata={"monotonic": True})
    fence_ready: bool | None = field(default=None, metadata={"monotonic": True})
    fence_lacks: str = field(default="", metadata={"monotonic": True})  # the driver's own words
    unheld_since: float | None = field(default=None, metadata={"monotonic": True})
    standby_since: float | None = field(default=None, metadata={"monotonic": True})
    next_read: float | None = field(default=None, metadata={"monotonic": True})


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """Automation paused for a scope ("*", a group or a component), by a person, until a wall time."""

    scope: str
    by: str
    reason: str
    since_wall: float
    until_wall: float
    maintenance: bool = False
