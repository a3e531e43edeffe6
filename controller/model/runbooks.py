"""Runbooks as their authors wrote them: typed steps, frozen, with a content hash as revision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from controller.model.conditions import Condition
from controller.model.moments import Values


class OnUnknown(StrEnum):
    """What to do when a step's outcome can't be told (a crash, a lost reply)."""

    VERIFY = "verify"  # run the step's own verify and believe it
    REPEAT = "repeat"  # only for idempotent steps
    MANUAL = "manual"  # ask a person
    FAIL = "fail"  # treat as failed: roll back


class StepKind(StrEnum):
    ACTION = "action"
    PARALLEL = "parallel"
    APPROVE = "approve"
    MANUAL = "manual"


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text a person reads, in both languages."""

    zh: str
    en: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    attempts: int = 1
    delay: float = 1.0  # seconds before the second attempt
    factor: float = 2.0  # each further delay is this many times longer


@dataclass(frozen=True, kw_only=True, slots=True)
class Approval:
    role: str
    expires: float  # seconds
    default: bool = False  # what silence means


@dataclass(frozen=True, kw_only=True, slots=True)
class Manual:
    owner: str
    deadline: float  # seconds
    proof: str  # what the person must bring: a text, a number, a picture's address


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionCall:
    """One call of a registered action. `parameters` may hold `${name}` references to run inputs.

    `attempts` and `pause` (seconds between them) are a verify's: what was done may need a while to show."""

    action: str
    parameters: Values = ()
    timeout: float = 30.0
    attempts: int = 1
    pause: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """`undo` of an action step is `rollback`, or `irreversible` gives the reason there is none."""

    name: str
    kind: StepKind
    title: Text
    call: ActionCall | None = None
    when: Condition | None = None
    retry: Retry = Retry()
    idempotent: bool = False
    disruptive: bool = False
    drops_calls: bool = False
    verify: ActionCall | None = None
    on_unknown: OnUnknown = OnUnknown.MANUAL
    rollback: ActionCall | None = None
    irreversible: str = ""
    approval: Approval | None = None
    manual: Manual | None = None
    steps: tuple[Step, ...] = ()  # of a parallel step
    on_failure: str = "stop"  # stop (roll back) | continue


@dataclass(frozen=True, kw_only=True, slots=True)
class Runbook:
    """`revision` is the SHA-256 of the canonical content, hex; it names what was executed."""

    name: str
    revision: str
    title: Text
    summary: Text
    steps: tuple[Step, ...]
    inputs: tuple[str, ...] = ()
    expected_seconds: float = 0.0
    clause: str = ""  # policy clause it answers to, e.g. 七-3
