"""The system's two clocks."""

from __future__ import annotations

import time

from controller.model.moments import Moment


class SystemClock:
    """ports.Clock over CLOCK_MONOTONIC (shared by all processes of a host) and CLOCK_REALTIME."""

    def now(self) -> Moment:
        return Moment(time.monotonic(), time.time())
