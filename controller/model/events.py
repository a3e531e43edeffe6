"""What happened, in the past tense. Every event carries when: decisions read no clock."""

from __future__ import annotations

from dataclasses import dataclass

from controller.model.facts import Aggregate
from controller.model.faults import Fault, FaultKey, Grade
from controller.model.groups import Refusal, SwitchOutcome, SwitchVerb
from controller.model.health import HealthState, Outcome, ProbeResult, RungKey
from controller.model.moments import Moment, Values
from controller.model.pages import DeliveryState
from controller.model.runs import ActionStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthChanged:
    """A prober's verdict on one rung changed, as `vantage` sees it. `last_good` and `first_bad` are
    monotonic seconds (0.0 unknown)."""

    at: Moment
    vantage: str
    key: RungKey
    previous: HealthState
    current: HealthState
    outcome: Outcome
    code: int = 0
    failures: int = 0
    flapping: bool = False
    last_good: float = 0.0
    first_bad: float = 0.0
    note: str = ""
    values: Values = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A result of a rung that reports its values each time."""

    at: Moment
    vantage: str
    key: RungKey
    outcome: Outcome
    up: bool | None
    values: Values


@dataclass(frozen=True, kw_only=True, slots=True)
class VantageBeat:
    """A prober's heartbeat: monotone counters and its worst loop lag, seconds, since the last beat. Vantages of one
    `failure_domain` (host, switch, hypervisor) have one vote; empty: the vantage's own."""

    at: Moment
    vantage: str
    probes: int
    late: int
    lag: float
    failure_domain: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class VantageLost:
    at: Moment
    vantage: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LadderFinished:
    """The answer to `RunLadder`."""

    at: Moment
    command: str
    results: tuple[ProbeResult, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionFinished:
    """The outcome of `RunAction` or `Drive`, exceptions and timeouts included."""

    at: Moment
    command: str
    status: ActionStatus
    message: str = ""
    data: Values = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NotificationFinished:
    at: Moment
    command: str
    state: DeliveryState
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseChanged:
    """`deadline`: monotonic seconds until which leadership is proved; None when not held."""

    at: Moment
    deadline: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """First event after a start. `recovered`: durable state was read back from the journal."""

    at: Moment
    node: str
    recovered: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LeadershipTaken:
    """This node leads from now on. `aggregates`: the coordinated state as the store holds it, which replaces this
    node's own; whatever was under way in it has an unknown outcome."""

    at: Moment
    deadline: float  # monotonic seconds
    aggregates: tuple[Aggregate, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LeadershipLost:
    """Another node may lead: from now on this one only observes and diagnoses. `leader`: its name, when known."""

    at: Moment
    reason: str
    leader: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimerFired:
    """`wake_at` was reached. `gap`: seconds it came late."""

    at: Moment
    gap: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleDue:
    at: Moment
    schedule: str
    date: str  # local ISO date


# Operators: a person did something. `by` is the account; `via` is web, cli, link.


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorAcknowledged:
    at: Moment
    incident: str
    by: str
    via: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorApproved:
    """An approval names run, revision, step and attempt; a stale one is refused by name."""

    at: Moment
    run: str
    revision: str
    step: str
    attempt: int
    granted: bool
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorDidManualStep:
    at: Moment
    run: str
    step: str
    by: str
    proof: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorArmed:
    """`armed` False disarms."""

    at: Moment
    group: str
    armed: bool
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorRequestedSwitch:
    """`overrides`: the guards a `force` names. The reply to the operator is made from the decision's facts."""

    at: Moment
    group: str
    verb: SwitchVerb
    target: str
    by: str
    reason: str
    overrides: tuple[Refusal, ...] = ()
    drill: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorPlacedHold:
    at: Moment
    scope: str
    by: str
    reason: str
    until_wall: float
    maintenance: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorReleasedHold:
    at: Moment
    scope: str
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorTickedReadiness:
    at: Moment
    group: str
    item: str
    by: str
    until_wall: float


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorStartedRun:
    at: Moment
    runbook: str
    inputs: Values
    by: str
    incident: str = ""
    group: str = ""
    drill: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorCancelledRun:
    at: Moment
    run: str
    by: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorReleasedGroup:
    """A person says a group that stopped at NEEDS_PERSON is settled, and which side is active."""

    at: Moment
    group: str
    active: str
    by: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorUpdatedIncident:
    """Any of: a note, taking command, mitigated, resolved, confirming the grade."""

    at: Moment
    incident: str
    by: str
    note: str = ""
    command: bool = False
    mitigated: bool = False
    resolved: bool = False
    grade: Grade | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultReported:
    """A person reports a fault (policy 七-2)."""

    at: Moment
    report: str
    component: str
    symptom: str
    noticed_wall: float
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DrillRequested:
    at: Moment
    drill: str
    scenario: str
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DrillAborted:
    at: Moment
    drill: str
    by: str
    reason: str


Operator = (
    OperatorAcknowledged
    | OperatorApproved
    | OperatorDidManualStep
    | OperatorArmed
    | OperatorRequestedSwitch
    | OperatorPlacedHold
    | OperatorReleasedHold
    | OperatorTickedReadiness
    | OperatorStartedRun
    | OperatorCancelledRun
    | OperatorReleasedGroup
    | OperatorUpdatedIncident
    | FaultReported
    | DrillRequested
    | DrillAborted
)
"""What a person asks for: only the node that leads can do it."""

# What one stage hands to the next, folded before the commit.


@dataclass(frozen=True, kw_only=True, slots=True)
class SwitchWanted:
    """A run's `failover` step asks the failover stage."""

    at: Moment
    group: str
    verb: SwitchVerb
    target: str
    run: str
    step: str
    incident: str
    fault: str
    by: str
    automatic: bool
    drill: bool
    reason: str = ""
    overrides: tuple[Refusal, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SwitchEnded:
    """The failover stage answers the run that waits."""

    at: Moment
    group: str
    switch: str
    run: str
    step: str
    outcome: SwitchOutcome
    refusals: tuple[Refusal, ...] = ()
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunWanted:
    """The incident stage asks for a runbook."""

    at: Moment
    runbook: str
    incident: str
    group: str
    fault: str
    inputs: Values
    drill: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnded:
    at: Moment
    run: str
    incident: str
    runbook: str
    succeeded: bool
    outcome: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultRaised:
    """A fault is active, or an active one changed in evidence or suppression; read it from the state."""

    at: Moment
    key: FaultKey


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultCleared:
    """`fault` as it was last; it is no longer in the state."""

    at: Moment
    fault: Fault


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentChanged:
    """Opened, worsened, acknowledged, mitigated, resolved or merged; read it from the state."""

    at: Moment
    incident: str
    opened: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PageWanted:
    """Page the escalation policy, now: about an incident, or without one. `by`: the run or the group that asks."""

    at: Moment
    incident: str
    by: str
    need_zh: str
    need_en: str
    drill: bool


Handoff = (
    SwitchWanted
    | SwitchEnded
    | RunWanted
    | RunEnded
    | FaultRaised
    | FaultCleared
    | IncidentChanged
    | PageWanted
)

Event = (
    HealthChanged
    | Measured
    | VantageBeat
    | VantageLost
    | LadderFinished
    | ActionFinished
    | NotificationFinished
    | LeaseChanged
    | LeadershipTaken
    | LeadershipLost
    | Started
    | TimerFired
    | ScheduleDue
    | Operator
    | Handoff
)
