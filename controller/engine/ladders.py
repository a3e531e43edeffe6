"""Ladders that were asked for: probes now, counted, answered within the time given whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from controller.engine.watch import Watch, void
from controller.model.health import ProbeResult, RungKey

MARGIN = 0.01
"""Seconds of a ladder's timeout kept back for answering."""

SHORTEST = 0.005
"""Seconds; with less than that left a probe would only measure our own haste."""


@dataclass(slots=True, eq=False)
class Extra:
    """The ticket of a probe outside the schedule: of a ladder, or (`ladder` None) of a confirming burst."""

    watch: Watch
    ladder: LadderRun | None = None
    finished: bool = False


Launch = Callable[[Extra, float], None]
"""Starts a probe with this ticket and timeout."""


@dataclass(slots=True, eq=False)
class LadderRun:
    """Each key's probes go out one after the other, all keys side by side."""

    command: str
    keys: Sequence[RungKey]
    deadline: float
    count: int
    launch: Launch
    answer: Callable[[LadderRun], None]
    now: Callable[[], float]
    results: list[ProbeResult] = field(default_factory=list)
    _missing: dict[RungKey, int] = field(default_factory=dict)
    _handle: asyncio.TimerHandle | None = None
    _answered: bool = False

    def start(self, watches: Mapping[RungKey, Watch], loop: asyncio.AbstractEventLoop) -> None:
        started = self.now()
        known = [(key, watch) for key in dict.fromkeys(self.keys) if (watch := watches.get(key)) is not None]
        for key in dict.fromkeys(self.keys):
            if key not in watches:
                self.results.append(void(key, started, started, "not assigned to this prober"))
        self._missing = {key: self.count for key, _ in known}
        self._handle = loop.call_later(max(0.0, self.deadline - started), self.finish)
        for _, watch in known:
            self._next(watch)
        if not self._missing:
            self.finish()

    def take(self, watch: Watch, result: ProbeResult) -> None:
        if self._answered:
            return
        self.results.append(result)
        left = self._missing[watch.key] - 1
        if left > 0:
            self._missing[watch.key] = left
            self._next(watch)
            return
        del self._missing[watch.key]
        if not self._missing:
            self.finish()

    def finish(self) -> None:
        """Answer, with a void result for every probe that has none."""
        if self._answered:
            return
        self._answered = True
        if self._handle is not None:
            self._handle.cancel()
        now = self.now()
        for key, left in self._missing.items():
            self.results.extend(
                void(key, now, now, "no result within the ladder's time") for _ in range(left)
            )
        self.answer(self)

    def _next(self, watch: Watch) -> None:
        timeout = min(watch.timeout, self.deadline - MARGIN - self.now())
        if timeout >= SHORTEST:
            self.launch(Extra(watch, self), timeout)
