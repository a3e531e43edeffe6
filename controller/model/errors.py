"""The error tree. Every foreign error is mapped onto it at the adapter.

ThirdRingError
├── ConfigurationError      a file the user wrote is wrong; carries every problem found
├── ConditionError          a CEL condition does not parse or does not type-check
├── ActionError             an action or driver could not do its work
│   ├── ActionRefused       the far end answered and said no (stale epoch, unknown destination)
│   └── ActionUnknown       whether it took effect cannot be told: read back before repeating
├── NotificationError       a page could not be handed over (temporary or permanent)
├── StoreError              a journal, archive or coordination store failed
│   ├── ChainBroken         the journal's hash chain does not hold
│   ├── StoreUnknown        whether what a person asked for took effect can't be told: look before it is asked again
│   └── StoreFull           no room to record: nothing disruptive may start
├── CoordinationError       the coordination store can't be used, or its word can't be trusted
│   ├── CoordinationConflict    another node leads, or wrote first; nothing was changed
│   ├── CoordinationUnknown     a write may have been applied: read before anything is done
│   └── CoordinationForeign     it is not the store that was used before: wiped, restored, or another's
├── LeaseLost               leadership is not held, or cannot be proved
└── RequestRefused          an operator's request is refused; carries the named reasons
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ThirdRingError(Exception):
    """Base of every error this product raises on purpose."""


@dataclass(frozen=True, kw_only=True, order=True)
class Problem:
    """One thing wrong in one place of a user's file. `line` is 1-based; 0 when unknown."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigurationError(ThirdRingError):
    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConditionError(ThirdRingError):
    pass


class ActionError(ThirdRingError):
    pass


class ActionRefused(ActionError):
    pass


class ActionUnknown(ActionError):
    pass


class NotificationError(ThirdRingError):
    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class CoordinationError(ThirdRingError):
    """The coordination store can't be used, or what it answers can't be trusted: nothing may be done on its word."""


class CoordinationConflict(CoordinationError):
    """Another node leads, or wrote first; nothing was changed."""


class CoordinationUnknown(CoordinationError):
    """A write may have been applied: read before anything is done."""


class CoordinationForeign(CoordinationError):
    """What answers is not the store that was used before: it was wiped or restored, or is another's. Nothing is done on
    its word until a person adopts it (`thirdring adopt`)."""


class StoreError(ThirdRingError):
    pass


class ChainBroken(StoreError):
    pass


class StoreUnknown(StoreError):
    """Whether what a person asked for took effect can't be told."""


class StoreFull(StoreError):
    pass


class LeaseLost(ThirdRingError):
    pass


class RequestRefused(ThirdRingError):
    def __init__(self, reasons: Sequence[str], message: str = "") -> None:
        self.reasons = tuple(reasons)
        super().__init__(message or ", ".join(self.reasons))
