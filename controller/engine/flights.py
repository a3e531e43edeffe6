"""Mass probes on the wire: their second copies and their timeouts, in queues of equal delay.

A heap of deadlines costs several times as much and makes the lag of a storm; equal delays need none.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from controller.engine.lag import LagMeter
from controller.engine.watch import lag_note
from controller.ports import Flight, MassProbe


@dataclass(slots=True)
class _Queue:
    """Flights in the order they were sent; each is due `delay` seconds after its `sent_at`."""

    kind: MassProbe
    delay: float
    flights: deque[Flight] = field(default_factory=deque)

    def head(self) -> float | None:
        """When the first flight still in the air is due."""
        flights = self.flights
        while flights and flights[0].done:
            flights.popleft()
        return flights[0].sent_at + self.delay if flights else None


class Flights:
    def __init__(self, meter: LagMeter) -> None:
        self.given_up = 0
        self.voided = 0
        self._meter = meter
        self._timeouts: dict[tuple[int, float], _Queue] = {}
        self._copies: dict[tuple[int, float], _Queue] = {}

    def track(self, kind: MassProbe, flight: Flight, timeout: float, resends: tuple[float, ...]) -> None:
        key = (id(kind), timeout)
        queue = self._timeouts.get(key)
        if queue is None:
            queue = self._timeouts[key] = _Queue(kind, timeout)
        queue.flights.append(flight)
        for offset in resends:
            if offset >= timeout:
                break
            key = (id(kind), offset)
            copies = self._copies.get(key)
            if copies is None:
                copies = self._copies[key] = _Queue(kind, offset)
            copies.flights.append(flight)

    def next_due(self) -> float | None:
        heads = [
            due
            for queues in (self._timeouts, self._copies)
            for queue in queues.values()
            if (due := queue.head()) is not None
        ]
        return min(heads, default=None)

    def sweep(self, now: float) -> None:
        """Send the copies that are due and give up the flights whose time is over, after draining their sockets.

        A flight is no evidence when our loop lagged over a quarter of its timeout since it was sent, or our own
        socket overflowed.
        """
        self._resend(now)
        due = [queue for queue in self._timeouts.values() if (at := queue.head()) is not None and at <= now]
        for kind in {id(queue.kind): queue.kind for queue in due}.values():
            kind.drain()
        for queue in due:
            flights = queue.flights
            while (at := queue.head()) is not None and at <= now:
                flight = flights.popleft()
                reason = self._doubt(queue, flight, now - at)
                self.given_up += 1
                self.voided += bool(reason)
                flight.give_up(now, reason)

    def _resend(self, now: float) -> None:
        due = [queue for queue in self._copies.values() if (at := queue.head()) is not None and at <= now]
        for kind in {id(queue.kind): queue.kind for queue in due}.values():
            # What has been answered meanwhile needs no second copy.
            kind.drain()
        for queue in due:
            flights = queue.flights
            while (at := queue.head()) is not None and at <= now:
                flights.popleft().resend(now)

    def _doubt(self, queue: _Queue, flight: Flight, late: float) -> str:
        lag = max(late, self._meter.worst_since(flight.sent_at))
        if lag > queue.delay / 4:
            return lag_note(lag)
        if queue.kind.lost_since(flight.sent_at):
            return "our own socket overflowed"
        return ""
