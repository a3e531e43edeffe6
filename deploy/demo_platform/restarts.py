"""How often something that ended is started again."""

from __future__ import annotations

from collections import deque


class Restarts:
    """At most `most` within any `window` seconds: what ends again and again is not mended by another start."""

    def __init__(self, most: int, window: float) -> None:
        self.most = most
        self.window = window
        self._times: deque[float] = deque()

    def take(self, now: float) -> bool:
        """Whether another one is due at `now`, monotonic seconds; one that is counts."""
        while self._times and self._times[0] <= now - self.window:
            self._times.popleft()
        if len(self._times) >= self.most:
            return False
        self._times.append(now)
        return True
