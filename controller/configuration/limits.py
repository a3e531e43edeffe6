"""Waiting times and thresholds of the whole controller."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from controller.configuration.documents import Document
from controller.configuration.fields import PositiveCount, PositiveSeconds, Seconds, Section, Share
from controller.configuration.validation import validate
from controller.model.errors import Problem
from controller.model.policy import CommonCausePolicy


class CommonCauseEntry(Section):
    """`minimum` or more children of one parent, and at least `share` of them, failing within `window`."""

    minimum: Annotated[PositiveCount, Field(ge=2)] = 5
    share: Share = 0.5
    window: PositiveSeconds = 2.0


class LimitsEntry(Section):
    """See the fields of the same names in the policy."""

    common_cause: CommonCauseEntry = CommonCauseEntry()
    settle: Seconds = 0.5
    resolve_after: Seconds = 30.0
    beat_timeout: PositiveSeconds = 1.0
    timer_gap: PositiveSeconds = 1.0


def build_limits(document: Document | None, problems: list[Problem]) -> tuple[LimitsEntry, CommonCausePolicy]:
    entry = LimitsEntry() if document is None else validate(LimitsEntry, document, problems) or LimitsEntry()
    cause = entry.common_cause
    return entry, CommonCausePolicy(minimum=cause.minimum, share=cause.share, window=cause.window)
