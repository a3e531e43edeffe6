"""What the diagnosis stages keep between events and see again, or make again, after a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from immutables import Map

from controller.model.faults import EvidenceKind, Fault, FaultKey


class TrafficWindow(NamedTuple):
    """What one edge saw of the INVITEs to one side between two reads. Monotonic seconds; counts."""

    began: float
    ended: float
    invites: int
    failures: int
    timeouts: int

    @property
    def answered(self) -> int:
        return max(0, self.invites - self.failures - self.timeouts)


class Settling(NamedTuple):
    """Faults of one parent's dependents that wait, until `due`, for a fault of the parent itself."""

    due: float
    keys: Map[FaultKey, bool]


class Backoff(NamedTuple):
    """A control experiment may be repeated from `until` on. `waiting`: a rule waits for that moment."""

    attempt: int
    until: float
    waiting: bool = False


class Response(NamedTuple):
    """What was last decided about an incident by rule. `retry_at`: when a refused switch is judged again."""

    fault: FaultKey | None  # what it is about; None: not known since the restart
    runbook: str
    reason: str  # "" when the run was asked for
    evidence: tuple[EvidenceKind, ...] = ()
    retry_at: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """`standing`, `members`, `followers` and `roots` are indexes of the durable faults and incidents.

    `pending` holds faults that are diagnosed but wait in `settling`, by their parent, before they are recorded.
    """

    traffic: Map[tuple[str, str], tuple[TrafficWindow, ...]] = Map()  # (edge component, side)
    pending: Map[FaultKey, Fault] = Map()
    settling: Map[str, Settling] = Map()
    backoff: Map[tuple[str, str], Backoff] = Map()  # (rule, component)
    drifting: Map[str, float] = Map()  # group -> since when its edges differ from what is desired
    standing: Map[str, tuple[FaultKey, ...]] = Map()  # component -> its faults
    members: Map[str, Map[FaultKey, bool]] = Map()  # incident -> its active faults
    followers: Map[str, Map[FaultKey, bool]] = Map()  # broken parent -> faults it explains
    roots: Map[str, str] = Map()  # root of an open incident -> the incident
    responses: Map[str, Response] = Map()  # by incident
