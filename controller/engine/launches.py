"""Probes in the air: started within bounds, and each result handed over once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from controller.engine.flights import Flights
from controller.engine.kinds import ProbeKinds
from controller.engine.ladders import Extra, LadderRun
from controller.engine.lag import LagMeter
from controller.engine.watch import Watch, printable
from controller.model.health import Outcome, ProbeResult

MOST_FLIGHTS = 60_000
MOST_TASKS = 500
"""Probes in the air, mass and coroutine; what is due beyond is skipped and counted."""


@dataclass(slots=True)
class ProberCounters:
    """Monotone. `skipped`: probes left out because their slot was too late, their target still busy or a bound met."""

    probes: int = 0
    skipped: int = 0
    voided: int = 0


class Launches:
    """`took(watch, ladder, result)` is called once a probe. A ticket is the watch itself for a scheduled probe, else an
    Extra."""

    def __init__(
        self,
        kinds: ProbeKinds,
        meter: LagMeter,
        took: Callable[[Watch, LadderRun | None, ProbeResult], None],
    ) -> None:
        self.counters = ProberCounters()
        self.flights = Flights(meter, self._broke, kinds.raised)
        self.tasks: set[asyncio.Task[None]] = set()
        self._kinds = kinds
        self._meter = meter
        self._took = took
        self._mass_flying = 0

    @property
    def in_the_air(self) -> int:
        return self._mass_flying + len(self.tasks)

    def start(self, watch: Watch, ticket: Watch | Extra, timeout: float) -> bool:
        """Whether it was: beyond the bounds it is skipped and counted."""
        mass = watch.mass
        if mass is not None:
            if self._mass_flying >= MOST_FLIGHTS:
                self.counters.skipped += 1
                return False
            self._mass_flying += 1
            sent_at = time.monotonic()
            try:
                flight = mass.send(ticket, watch.prepared, timeout, sent_at)
            except Exception as error:
                self.finished(ticket, self._kinds.defective(watch, sent_at, error))
                return True
            if not flight.done:
                self.flights.track(mass, flight, ticket, timeout, watch.resends)
            return True
        if len(self.tasks) >= MOST_TASKS:
            self.counters.skipped += 1
            return False
        self.spawn(self._run(watch, ticket, timeout))
        return True

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def finished(self, ticket: object, result: ProbeResult) -> None:
        """A mass probe came to its end. One that its kind had failed to finish may do so late: it is over already."""
        if not _over(ticket):
            self._mass_flying -= 1
            self._take(ticket, result)

    async def close(self) -> None:
        """What is in the air is dropped."""
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _run(self, watch: Watch, ticket: Watch | Extra, timeout: float) -> None:
        self._take(ticket, await self._kinds.run(watch, timeout, self._meter.worst_since))

    def _broke(self, ticket: object, sent_at: float, error: Exception) -> None:
        """A mass kind raised where it had to finish a probe: nobody else would, and its target never be probed again."""
        assert isinstance(ticket, (Watch, Extra))
        watch = ticket if isinstance(ticket, Watch) else ticket.watch
        self.finished(ticket, self._kinds.defective(watch, sent_at, error))

    def _take(self, ticket: object, result: ProbeResult) -> None:
        self.counters.probes += 1
        ladder: LadderRun | None = None
        if type(ticket) is Watch:
            watch = ticket
            watch.flying = 0
        else:
            assert isinstance(ticket, Extra)
            ticket.finished = True
            watch, ladder = ticket.watch, ticket.ladder
        if result.note or result.values:
            result = printable(result)
        if result.outcome is Outcome.VOID:
            self.counters.voided += 1
        self._took(watch, ladder, result)


def _over(ticket: object) -> bool:
    """Whether the result of a probe with this ticket was taken."""
    if type(ticket) is Watch:
        return not ticket.flying
    assert isinstance(ticket, Extra)
    return ticket.finished
