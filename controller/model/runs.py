"""One execution of a runbook revision."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from controller.model.moments import Values

NOT_NEEDED = "no_longer_needed"
"""The outcome of a run that a rule started, and that was given up before it had done anything."""


class RunState(StrEnum):
    RUNNING = "running"
    WAITING = "waiting"  # for a person: approval or manual step
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # nothing left half done: rolled back, or nothing to roll back
    NEEDS_PERSON = "needs_person"  # stopped where only a person may go on
    CANCELLED = "cancelled"


class StepState(StrEnum):
    PENDING = "pending"
    SKIPPED = "skipped"  # its `when` was false
    INTENDED = "intended"  # recorded and dispatched; outcome not known yet
    RETRYING = "retrying"  # waits for its next attempt
    VERIFYING = "verifying"
    AWAITING_PERSON = "awaiting_person"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"


class ActionStatus(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # it did not take effect
    REFUSED = "refused"  # the far end said no (stale epoch, no such destination)
    UNKNOWN = "unknown"  # it may have taken effect


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """Where one step of a run stands. `path` is the step names from the top, joined by "/"."""

    path: str
    state: StepState
    attempt: int = 0
    command: str = ""  # id of the command in flight
    message: str = ""
    started_wall: float = 0.0
    finished_wall: float = 0.0
    order: int = 0  # completion order of what may have taken effect, for rollback in reverse; 0: no effect
    tries: int = 0  # of the verify under way
    in_doubt: bool = False  # its outcome could not be told; its `verify` decides
    by: str = ""
    proof: str = ""
    data: Values = ()
    due: float | None = field(default=None, metadata={"monotonic": True})


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """An aggregate. `steps` holds a record for every step that is no longer untouched.

    `ending`: what it becomes once everything is rolled back; None until it fails, is cancelled or shadowed.
    `outcome` is a word: succeeded, failed, cancelled, shadowed (would have been done, had the group been armed),
    needs_person, no_longer_needed.
    """

    id: str
    runbook: str
    revision: str
    state: RunState
    incident: str = ""
    group: str = ""
    inputs: Values = ()
    drill: bool = False
    started_by: str = "rule"
    steps: tuple[StepRecord, ...] = ()
    started_wall: float = 0.0
    finished_wall: float = 0.0
    outcome: str = ""
    ending: RunState | None = None

    @property
    def live(self) -> bool:
        return self.state in (RunState.RUNNING, RunState.WAITING, RunState.ROLLING_BACK)

    def step(self, path: str) -> StepRecord | None:
        return next((record for record in self.steps if record.path == path), None)
