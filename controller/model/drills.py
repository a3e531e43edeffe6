"""Drills: a fault put in on purpose, timed against objectives, and scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from controller.model.moments import Values
from controller.model.runbooks import Text


class DrillState(StrEnum):
    PREPARING = "preparing"
    INJECTED = "injected"
    UNDOING = "undoing"
    FINISHED = "finished"
    ABORTED = "aborted"


class InjectState(StrEnum):
    PLANNED = "planned"
    ACTIVE = "active"
    UNDOING = "undoing"
    UNDONE = "undone"
    UNDO_FAILED = "undo_failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """A time that must not be exceeded, seconds, between the inject and a named point."""

    name: str  # detect, decide, switch, verify, acknowledge, outage
    limit: float
    weight: float = 1.0
    hard: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """`inject` and `undo` are action calls: (action kind, parameters)."""

    name: str
    title: Text
    group: str
    component: str
    inject: tuple[str, Values]
    undo: tuple[str, Values]
    expires: float  # seconds after which the inject is undone whatever happens
    objectives: tuple[Objective, ...]
    expected_fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveResult:
    """`met` is None where it was not measured: the drill ended before it could be told."""

    name: str
    limit: float
    actual: float | None
    met: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Drill:
    """An aggregate. The undo is recorded here, durable, before the inject is dispatched."""

    id: str
    scenario: str
    component: str
    group: str
    state: DrillState
    inject_state: InjectState
    by: str
    inject: tuple[str, Values]
    undo: tuple[str, Values]
    started_wall: float
    injected_wall: float = 0.0
    undone_wall: float = 0.0
    finished_wall: float = 0.0
    expires_wall: float = 0.0
    incidents: tuple[str, ...] = ()
    milestones: tuple[
        tuple[str, float], ...
    ] = ()  # (detect, decide, switch, verify, acknowledge; Unix seconds)
    took: tuple[tuple[str, float], ...] = ()  # (fence, redirect): seconds of the switch it led to
    diagnosed: str = ""  # the first fault named
    results: tuple[ObjectiveResult, ...] = ()
    score: float | None = None
    passed: bool | None = None
    abort_reason: str = ""
    command: str = ""
    undo_attempts: int = 0
    expires_at: float | None = field(default=None, metadata={"monotonic": True})
    retry_at: float | None = field(default=None, metadata={"monotonic": True})

    @property
    def live(self) -> bool:
        return self.state not in (DrillState.FINISHED, DrillState.ABORTED)

    def milestone(self, name: str) -> float | None:
        return dict(self.milestones).get(name)
