"""Why an agent refuses what it is asked, by name."""

from __future__ import annotations

from enum import StrEnum

from controller.model.errors import ThirdRingError


class Refusal(StrEnum):
    """Why a request is refused."""

    OLD_EPOCH = "old_epoch"
    NOT_GRANTED = "not_granted"
    FENCE_NOT_READY = "fence_not_ready"
    NO_STORE = "no_store"
    TIMED_OUT = "timed_out"
    UNKNOWN_GROUP = "unknown_group"
    UNKNOWN_COMMAND = "unknown_command"
    WRONG_VALUE = "wrong_value"
    NOT_ALLOWED = "not_allowed"
    BOUND_BY_PROMISE = "bound_by_promise"
    MALFORMED = "malformed"


class Refused(ThirdRingError):
    def __init__(self, reason: Refusal, message: str) -> None:
        self.reason = reason
        super().__init__(message)
