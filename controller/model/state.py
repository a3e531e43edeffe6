"""Everything the core knows between two events."""

from __future__ import annotations

from dataclasses import dataclass, field

from immutables import Map

from controller.model.calls import CallSample, CallTally
from controller.model.commands import Command
from controller.model.diagnosis import Diagnosis
from controller.model.drills import Drill
from controller.model.events import Handoff
from controller.model.facts import Counters, Fact
from controller.model.faults import Fault, FaultKey, RuleResult
from controller.model.groups import Group, Hold
from controller.model.health import HealthState, Measurement, Outcome, RungKey, Vantage
from controller.model.incidents import Incident
from controller.model.pages import Page
from controller.model.runs import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class RungView:
    """One rung over all vantages. `by_vantage` holds each vantage's word; `state` is the k-of-n verdict.

    `last_good` and `first_bad` are monotonic seconds, 0.0 unknown."""

    state: HealthState = HealthState.UNKNOWN
    by_vantage: Map[str, HealthState] = Map()
    outcome: Outcome = Outcome.VOID
    code: int = 0
    failures: int = 0
    flapping: bool = False
    since: float = 0.0
    last_good: float = 0.0
    first_bad: float = 0.0
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingControl:
    """A control experiment that a rule asked for and that has not answered yet."""

    command: str
    rule: str
    component: str
    keys: tuple[RungKey, ...]
    due: float


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """`broken` holds, for each component with a broken rung, the first broken rung's name.

    Durable: faults, incidents, runs, groups, pages, drills, holds, counters. The rest is seen again after a restart.
    """

    node: str
    started_at: float = 0.0
    lease_deadline: float | None = None
    following: bool = False  # one of several nodes, and another may lead: only diagnosis goes on
    leader: str = ""  # who leads, as far as this node knows
    tidied_at: float = 0.0  # when what ended was last looked at, monotonic
    gap_until: float = 0.0  # after a timer gap: observe, do not act, until then
    vantages: Map[str, Vantage] = Map()
    rungs: Map[RungKey, RungView] = Map()
    measurements: Map[RungKey, Measurement] = Map()
    broken: Map[str, str] = Map()
    controls: Map[str, PendingControl] = Map()
    rule_results: Map[str, tuple[RuleResult, ...]] = Map()  # by component: last evaluation
    recent_failures: Map[str, tuple[tuple[float, str], ...]] = (
        Map()
    )  # parent -> (mono, child), within the window
    call_samples: Map[str, tuple[CallSample, ...]] = Map()  # by group: the edges' latest polls
    call_tallies: Map[str, CallTally] = Map()  # by open incident
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    faults: Map[FaultKey, Fault] = Map()
    incidents: Map[str, Incident] = Map()
    runs: Map[str, Run] = Map()
    groups: Map[str, Group] = Map()
    pages: Map[str, Page] = Map()
    undispatched: frozenset[str] = frozenset()  # commands of pages that wait for the commit under way
    drills: Map[str, Drill] = Map()
    holds: Map[str, Hold] = Map()
    counters: Counters = field(default_factory=Counters)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What one event led to."""

    state: State
    facts: tuple[Fact, ...] = ()
    commands: tuple[Command, ...] = ()
    events: tuple[Handoff, ...] = ()
