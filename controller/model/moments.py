"""A point in time, as two clocks saw it."""

from __future__ import annotations

from typing import NamedTuple

Value = str | int | float | bool | None
"""What a fact, a measurement or a condition may hold."""

Values = tuple[tuple[str, Value], ...]
"""Named values, in the order they are shown."""


class Moment(NamedTuple):
    """`mono`: monotonic seconds of this node and boot (decisions). `wall`: Unix seconds (people)."""

    mono: float
    wall: float
