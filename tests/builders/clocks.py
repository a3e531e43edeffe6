"""A clock that the test turns."""

from __future__ import annotations

from dataclasses import dataclass

from controller.model.moments import Moment


@dataclass
class HandClock:
    """ports.Clock. Both times stand still until `mono` is set anew."""

    mono: float = 1000.0

    def now(self) -> Moment:
        return Moment(mono=self.mono, wall=1_700_000_000.0 + self.mono)
