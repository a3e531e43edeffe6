"""How late our own loop ran: what decides whether a missing answer is evidence."""

from __future__ import annotations

from array import array
from collections import deque

HORIZON = 60.0
"""Seconds; no probe of a mass kind is in flight for longer."""

BUCKETS = 1000
"""One a millisecond; the last holds everything longer."""


class LagMeter:
    """Lateness of our timers: the worst of a recent span, and a histogram of all of it."""

    def __init__(self) -> None:
        self.histogram = array("Q", bytes(8 * BUCKETS))
        self.worst_since_beat = 0.0
        # Lags of the recent past, each larger than all that follow it: a sliding maximum.
        self._peaks: deque[tuple[float, float]] = deque()

    def record(self, now: float, lag: float, weight: int = 1) -> None:
        """At `now` a timer was served `lag` seconds late; `weight` probes went with it."""
        self.histogram[min(int(lag * 1000), BUCKETS - 1)] += weight
        if lag > self.worst_since_beat:
            self.worst_since_beat = lag
        peaks = self._peaks
        while peaks and peaks[-1][1] <= lag:
            peaks.pop()
        peaks.append((now, lag))
        while peaks[0][0] < now - HORIZON:
            peaks.popleft()

    def worst_since(self, since: float) -> float:
        """The largest lag seen at or after `since`, seconds; for `since` within HORIZON."""
        for at, lag in self._peaks:
            if at >= since:
                return lag
        return 0.0

    def take_worst(self) -> float:
        """The largest lag since the last call."""
        worst, self.worst_since_beat = self.worst_since_beat, 0.0
        return worst

    def percentile(self, share: float) -> float:
        """Upper bound, in seconds, of the smallest bucket that `share` (0 to 1) of the weight lies in or below."""
        total = sum(self.histogram)
        if total == 0:
            return 0.0
        wanted = share * total
        seen = 0
        for index, count in enumerate(self.histogram):
            seen += count
            if seen >= wanted:
                return (index + 1) / 1000
        return BUCKETS / 1000
