"""Settings, frozen, as the core reads them. `configuration` makes them from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from immutables import Map

from controller.model.conditions import Condition
from controller.model.drills import Scenario
from controller.model.faults import EvidenceKind, FaultKind, Impact, Severity, Urgency
from controller.model.groups import DriverVerb
from controller.model.health import Hysteresis, RungKey
from controller.model.moments import Values
from controller.model.runbooks import Runbook, Text


class ComponentKind(StrEnum):
    PLATFORM = "platform"
    EDGE = "edge"
    ECHO = "echo"  # the test-call destination: the control of call probes
    TRUNK = "trunk"
    SBC = "sbc"
    GATEWAY = "gateway"
    PHONE = "phone"
    SWITCH = "switch"
    HOST = "host"
    DATABASE = "database"
    CERTIFICATE = "certificate"
    BACKUP = "backup"
    SECURITY = "security"
    OTHER = "other"


class Role(StrEnum):
    """Whose variables a fault rule reads, beside `self`."""

    SELF = "self"
    PEER = "peer"  # the group's other side
    EDGE = "edge"  # the group's edges, summed, counters of this side only
    ECHO = "echo"  # the group's echo service, called directly
    PARENT = "parent"


@dataclass(frozen=True, kw_only=True, slots=True)
class RungPolicy:
    """One probe of a ladder. `interval`, `timeout` in seconds.

    `confirm` > 0: after a first failure of a failover-relevant rung, that many extra probes are sent
    `confirm_interval` apart before the verdict (provoke before concluding).
    `copies` > 1: each probe is sent again after 40 ms unless answered.
    `on_demand`: not scheduled; run only when a rule or a step asks (control calls on paid trunks).
    `probed` False: no prober has it; the node that leads reads it elsewhere.
    """

    name: str
    probe: str
    parameters: object  # the probe kind's own validated params model
    interval: float = 1.0
    timeout: float = 0.5
    hysteresis: Hysteresis = Hysteresis()
    failover_relevant: bool = False
    confirm: int = 0
    confirm_interval: float = 0.1
    copies: int = 1
    on_demand: bool = False
    reports_values: bool = False  # every result goes to the engine, not only changes
    probed: bool = True
    evidence: EvidenceKind = EvidenceKind.PROBE


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    name: str
    kind: ComponentKind
    title: Text
    ladder: tuple[RungPolicy, ...] = ()
    depends_on: tuple[str, ...] = ()
    redundancy: str = ""  # redundancy group: losing one member is RedundancyLost
    failure_domain: str = ""  # host, switch or hypervisor; a vantage in it says nothing against the component
    vip_line: bool = False
    lines: int = 0  # phones, agents or channels behind it: impact
    group: str = ""
    side: str = ""
    values: Values = ()  # what the configuration says of it by name; runbooks read them as component.<name>

    def rung(self, name: str) -> RungPolicy | None:
        return next((rung for rung in self.ladder if rung.name == name), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    name: str
    component: str
    destination: str  # as the driver names it: for Kamailio the SIP URI, byte for byte as in its list


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadinessItem:
    """Either a rung that must be UP within `freshness` seconds, or a manual item a person ticks."""

    name: str
    key: RungKey | None = None
    freshness: float = 60.0
    manual: bool = False
    owner: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """After the redirect, `calls` test calls by `rung` must be answered by the target side, with audio both ways
    and, unless empty, in `codec` (the name in the answer's rtpmap, RFC 8866 6.6)."""

    rung: RungKey
    codec: str = ""
    calls: int = 1
    timeout: float = 3.0
    attempts: int = 3


class Profile(StrEnum):
    STANDARD = "standard"
    FAST = "fast"


class EdgesRule(StrEnum):
    ALL = "all"
    REACHABLE = "reachable"


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeBudget:
    """Seconds of the worst case, term by term; `total` is what is held against the RTO."""

    detect: float
    decide: float
    fence: float
    redirect: float
    edge_timer: float

    @property
    def total(self) -> float:
        return self.detect + self.decide + self.fence + self.redirect + self.edge_timer


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupPolicy:
    name: str
    title: Text
    sides: tuple[Side, ...]
    preferred: str
    driver: str
    driver_parameters: object
    idle_verbs: frozenset[DriverVerb] = frozenset()  # the driver has nothing to do for these: not commanded
    single_holder: bool = (
        False  # the driver gives nothing to a side while the other one has it: see core/switching
    )
    edges: tuple[str, ...] = ()  # component names
    edges_rule: EdgesRule = EdgesRule.REACHABLE
    echo: str = ""  # component name
    readiness: tuple[ReadinessItem, ...] = ()
    verification: Verification | None = None
    rto: float = 3.0
    profile: Profile = Profile.STANDARD
    budget: TimeBudget | None = None
    vantages: int = 1  # k
    evidence_kinds: int = 2
    cooldown: float = 300.0
    switches_per_window: int = 2
    window: float = 3600.0
    failback_stable: float = 600.0
    automatic_failback: bool = False
    failback_below: float | None = (
        None  # calls per second: an automatic failback waits for as few; None: it does not
    )
    drain_deadline: float = 60.0
    step_timeout: float = 1.0  # of one driver verb
    freeze_timeout: float = 0.2  # of a failover's freeze: a hung side never answers it, and is fenced next
    reconcile_interval: float = 1.0
    runbook: str = "failover"
    last_resort: str = "both-sides-down"  # runbook
    media_anchored: bool = False  # the media anchor is part of the side: one-way audio may switch

    def side(self, name: str) -> Side | None:
        return next((side for side in self.sides if side.name == name), None)

    def other(self, name: str) -> Side:
        return next(side for side in self.sides if side.name != name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One condition of a fault rule. `probe`: the rung to run at once when the term is UNKNOWN or its
    values are older than `fresh` seconds (a control experiment); None: never provoked."""

    name: str
    evidence: EvidenceKind
    when: Condition
    fresh: float = 0.0
    probe: tuple[Role, str] | None = None  # (role, rung name)


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultRule:
    """All `terms` must be TRUE. The kinds of evidence of the true terms are counted by the permit."""

    name: str
    fault: FaultKind
    kinds: frozenset[ComponentKind]
    terms: tuple[Term, ...]
    title: Text
    actionable: bool = True
    side_only: bool = False  # applies only to the sides of groups


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainRow:
    """What may be done about a fault. `switch` and `repair` name runbooks; empty means none."""

    fault: FaultKind
    domain: str  # platform | trunk | device | data | security | edge | none
    repair: str = ""
    switch: str = ""
    never_switch: bool = True
    no_action: str = ""  # the reason, where there is deliberately neither


@dataclass(frozen=True, kw_only=True, slots=True)
class SeverityRow:
    """First row that matches wins. `when` reads fault.kind, component.kind, lines, affected, vip,
    active_side, business_hours, redundancy_left."""

    name: str
    when: Condition
    impact: Impact
    urgency: Urgency
    because: Text


@dataclass(frozen=True, kw_only=True, slots=True)
class BusinessHours:
    """Weekdays 0 = Monday; hours as minutes from local midnight; `zone` is an IANA name."""

    zone: str = "Asia/Shanghai"
    weekdays: frozenset[int] = frozenset(range(7))
    opens: int = 0
    closes: int = 24 * 60
    holidays: frozenset[str] = frozenset()  # ISO dates


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    name: str
    kind: str
    parameters: object


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    name: str
    display: str
    role: str
    language: str = "zh"
    channels: tuple[Channel, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class EscalationLevel:
    """After `after` seconds without an acknowledgement the next level is paged as well."""

    people: tuple[str, ...]
    after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Escalation:
    """Everybody paged so far is paged again every `repeat` seconds, `rounds` times, and at doubling gaps after that.

    A channel that has not said "sent" within `delivery_timeout` seconds has failed. `most_per_minute` pages reach one
    person; the first page of a SEV1 always does.
    """

    name: str
    levels: tuple[EscalationLevel, ...]
    repeat: float = 60.0
    rounds: int = 10
    delivery_timeout: float = 15.0
    most_per_minute: int = 6
    severities: frozenset[Severity] = frozenset({Severity.SEV1, Severity.SEV2})


@dataclass(frozen=True, kw_only=True, slots=True)
class CommonCausePolicy:
    """`minimum` or more children of one parent, and at least `share` of them, within `window` s."""

    minimum: int = 5
    share: float = 0.5
    window: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    name: str
    revision: str  # SHA-256 over the configuration and every runbook, hex
    components: Map[str, Component]
    groups: Map[str, GroupPolicy]
    rules: tuple[FaultRule, ...]
    domains: Mapping[FaultKind, DomainRow]
    severities: tuple[SeverityRow, ...]
    matrix: Mapping[tuple[Impact, Urgency], Severity]
    hours: BusinessHours = BusinessHours()
    runbooks: Map[str, Runbook] = Map()
    people: Map[str, Person] = Map()
    escalation: Escalation | None = None
    scenarios: Map[str, Scenario] = Map()
    common_cause: CommonCausePolicy = CommonCausePolicy()
    settle: float = 0.5  # a child's fault waits this long for its parent's
    resolve_after: float = 30.0  # an incident with no active fault for this long is resolved
    beat_timeout: float = 1.0  # a vantage without a heartbeat for this long abstains
    timer_gap: float = 1.0  # a gap this long in our own timers: observe, do not act
    children: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # parent -> dependents
