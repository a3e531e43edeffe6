"""Links between hosts, one for each direction: delay, loss, copies, cuts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from tests.simulation.loop import VirtualLoop

T = TypeVar("T")


@dataclass(slots=True)
class Link:
    """`slow`: seconds added to each packet's delay. `loss`, `copies`: chances. `cut`: how many partitions lie across it."""

    slow: float = 0.0
    loss: float = 0.0
    copies: float = 0.0
    cut: int = 0


@dataclass(slots=True)
class NetworkCounters:
    sent: int = 0
    lost: int = 0
    doubled: int = 0
    cut: int = 0


class Network:
    """Between names, not incarnations: a restarted host is reached as its predecessor was."""

    def __init__(self, loop: VirtualLoop, random: Random) -> None:
        self.counters = NetworkCounters()
        self._loop = loop
        self._random = random
        self._links: dict[tuple[str, str], Link] = {}
        self.down: set[str] = set()
        """Hosts without power, or whose process is gone: what is sent to them is lost."""

    def link(self, source: str, target: str) -> Link:
        found = self._links.get((source, target))
        if found is None:
            found = self._links[source, target] = Link()
        return found

    def delay(self, source: str, target: str) -> float | None:
        """Seconds one packet takes; None: it never arrives."""
        self.counters.sent += 1
        random = self._random.random
        link = self._links.get((source, target))
        if link is None:
            return 0.0003 + 0.0012 * random()
        if link.cut:
            self.counters.cut += 1
            return None
        if link.loss and random() < link.loss:
            self.counters.lost += 1
            return None
        return 0.0003 + 0.0012 * random() + link.slow * (0.5 + random())

    def round_trip(self, source: str, target: str) -> float | None:
        """Seconds there and back, decided at once."""
        if target in self.down:
            return None
        there, back = self.delay(source, target), self.delay(target, source)
        return None if there is None or back is None else there + back

    def send(self, source: str, target: str, arrive: Callable[[], object]) -> None:
        """One way, in true time; may be lost, or arrive twice."""
        delay = self.delay(source, target)
        if delay is not None:
            self._loop.after(delay, arrive)
        link = self._links.get((source, target))
        if link is not None and link.copies and self._random.random() < link.copies:
            again = self.delay(source, target)
            if again is not None:
                self.counters.doubled += 1
                self._loop.after(again + 2.0 * self._random.random(), arrive)

    def ask(
        self, source: str, target: str, serve: Callable[[], T], *, work: float = 0.0
    ) -> asyncio.Future[T]:
        """`serve` runs at the target, in true time, at once and whole; an exception of it is the answer as well. The
        answer may never come: whoever asks keeps the time."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def answer(value: object, error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        def done() -> None:
            value: object = None
            failed: Exception | None = None
            try:
                value = serve()
            except Exception as error:
                failed = error
            delay = self.delay(target, source)
            if delay is not None:
                self._loop.after(delay, answer, value, failed)

        def arrive() -> None:
            if target in self.down:
                return
            if work:
                self._loop.after(work, done)
            else:
                done()

        self.send(source, target, arrive)
        return future

    def partition(self, sources: set[str], targets: set[str]) -> Callable[[], None]:
        """Nothing from these reaches those. Returns the way to heal it."""
        links = [
            self.link(source, target)
            for source in sorted(sources)
            for target in sorted(targets)
            if source != target
        ]
        for link in links:
            link.cut += 1

        def heal() -> None:
            for link in links:
                link.cut -= 1

        return heal
