"""Named diagnoses."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple

from controller.model.moments import Value, Values


class FaultKind(StrEnum):
    PLATFORM_DEAD = "PlatformDead"
    PLATFORM_HUNG = "PlatformHung"
    PLATFORM_ZOMBIE = "PlatformZombie"
    PROBE_PATH_BROKEN = "ProbePathBroken"
    TEST_TARGET_DOWN = "TestTargetDown"
    COMMON_CAUSE = "CommonCause"
    MEDIA_ONE_WAY = "MediaOneWay"
    TRUNK_DOWN = "TrunkDown"
    EDGE_DRIFT = "EdgeDrift"
    EDGE_DIVERGENCE = "EdgeDivergence"
    REDUNDANCY_LOST = "RedundancyLost"
    DEVICE_DOWN = "DeviceDown"
    BACKUP_STALE = "BackupStale"
    CERTIFICATE_EXPIRING = "CertificateExpiring"
    SECURITY_ANOMALY = "SecurityAnomaly"
    BOTH_SIDES_DOWN = "BothSidesDown"
    VIP_UNHELD = "VipUnheld"  # no side holds the group's address
    REPORTED = "Reported"  # a person reported it (policy 七-2)


class FaultKey(NamedTuple):
    kind: FaultKind
    component: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.component}"


class EvidenceKind(StrEnum):
    """Kinds are independent of each other: two of them can't fail for one broken instrument."""

    PROBE = "probe"  # the controller's own signalling probes
    EDGE = "edge"  # live counters and timeouts of real traffic at the edge
    CALL = "call"  # test calls with media
    AGENT = "agent"  # the side's own host agent
    PEER = "peer"  # other components' view
    CONTROL = "control"  # a control experiment that rules another explanation out
    PERSON = "person"


class Verdict(StrEnum):
    """A condition's result. A runtime error in a condition is UNKNOWN and never TRUE."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


class TermResult(NamedTuple):
    """One term of a fault rule, as it stood: kept for `explain`."""

    name: str
    evidence: EvidenceKind
    verdict: Verdict
    expression: str
    seen: Values  # the variables the term read


class RuleResult(NamedTuple):
    """One rule evaluated on one component: kept for `explain`."""

    rule: str
    fault: FaultKind
    component: str
    fired: bool
    terms: tuple[TermResult, ...]
    blocked_by: tuple[str, ...]  # names of terms or reasons that stopped it


class Impact(IntEnum):
    """How many callers feel it. Lower is worse."""

    ALL_CALLS = 1
    MANY_CALLS = 2
    FEW_CALLS = 3
    NO_CALLS = 4


class Urgency(IntEnum):
    IMMEDIATE = 1
    HIGH = 2
    LOW = 3


class Severity(IntEnum):
    SEV1 = 1
    SEV2 = 2
    SEV3 = 3
    SEV4 = 4


class Grade(StrEnum):
    """Reporting grade (GB/Z 20986 names). Proposed by rule, confirmed by a person."""

    I = "I"  # noqa: E741
    II = "II"
    III = "III"
    IV = "IV"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """An aggregate. `suppressed_by` names the broken parent that explains it, if any."""

    kind: FaultKind
    component: str
    group: str = ""
    side: str = ""
    incident: str = ""
    active: bool = True
    actionable: bool = True
    first_broken_rung: str = ""
    rule: str = ""
    evidence: tuple[TermResult, ...] = ()
    evidence_kinds: tuple[EvidenceKind, ...] = ()
    suppressed_by: str = ""
    flapping: bool = False
    drill: bool = False
    raised_wall: float = 0.0
    cleared_wall: float = 0.0
    last_good_wall: float = 0.0  # onset is an interval: last good .. first bad
    first_bad_wall: float = 0.0
    details: Values = ()
    settle_until: float | None = field(default=None, metadata={"monotonic": True})

    @property
    def key(self) -> FaultKey:
        return FaultKey(self.kind, self.component)

    def detail(self, name: str) -> Value:
        return dict(self.details).get(name)
