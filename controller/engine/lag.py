"""How late our own loop ran: what decides whether a missing answer is evidence."""

from __future__ import annotations

from array import array
from collections import deque

HORIZON = 60.0
"""Seconds; no probe of a mass kind is in flight for longer."""

BUCKETS = 1000
"""One a millisecond; the last holds everything longer."""


class LagMeter:
    """Lateness of our timers: the worst of a recent span, and a histogram between two readings."""

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

    def take_percentiles(self, *shares: float) -> tuple[float, ...]:
        """For each share (0 to 1) the lag, in seconds and rounded up to a bucket, that so much of the weight since
        the last call kept within; 0.0 when there was none."""
        counts = self.histogram
        self.histogram = array("Q", bytes(8 * BUCKETS))
        total = sum(counts)
        return tuple(_percentile(counts, total, share) for share in shares)


def _percentile(counts: array[int], total: int, share: float) -> float:
    if total == 0:
        return 0.0
    seen = 0
    bucket = 0
    while seen < share * total:
        seen += counts[bucket]
        bucket += 1
    return bucket / 1000
