"""Mass probes on the wire: their second copies and their timeouts, in queues of equal delay.

A heap of deadlines costs several times as much and makes the lag of a storm; equal delays need none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from controller.engine.lag import LagMeter
from controller.engine.watch import lag_note
from controller.ports import Flight, MassProbe


@dataclass(slots=True)
class _Queue:
    """Flights in the order they were sent; each is due `delay` seconds after its `sent_at`."""

    kind: MassProbe
    delay: float
    flights: deque[tuple[Flight, object]] = field(default_factory=deque)  # each with its ticket

    def head(self) -> float | None:
        """When the first flight still in the air is due."""
        flights = self.flights
        while flights and flights[0][0].done:
            flights.popleft()
        return flights[0][0].sent_at + self.delay if flights else None


class Flights:
    """`broke(ticket, sent_at, error)` finishes a flight whose kind raised instead of finishing it; `complain(kind, error)`
    is told of a kind that raised elsewhere."""

    def __init__(
        self,
        meter: LagMeter,
        broke: Callable[[object, float, Exception], None],
        complain: Callable[[MassProbe, Exception], None],
    ) -> None:
        self.given_up = 0
        self.voided = 0
        self._meter = meter
        self._broke = broke
        self._complain = complain
        self._timeouts: dict[tuple[int, float], _Queue] = {}
        self._copies: dict[tuple[int, float], _Queue] = {}

    def track(
        self, kind: MassProbe, flight: Flight, ticket: object, timeout: float, resends: tuple[float, ...]
    ) -> None:
        tracked = (flight, ticket)
        key = (id(kind), timeout)
        queue = self._timeouts.get(key)
        if queue is None:
            queue = self._timeouts[key] = _Queue(kind, timeout)
        queue.flights.append(tracked)
        for offset in resends:
            if offset >= timeout:
                break
            key = (id(kind), offset)
            copies = self._copies.get(key)
            if copies is None:
                copies = self._copies[key] = _Queue(kind, offset)
            copies.flights.append(tracked)

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

        A flight is no evidence when our loop lagged over a quarter of its timeout since it was sent, our own socket
        overflowed, or could not be drained. A kind that raises keeps no other flight in the air.
        """
        self._resend(now)
        due = [queue for queue in self._timeouts.values() if (at := queue.head()) is not None and at <= now]
        undrained = self._drain(due)
        for queue in due:
            flights = queue.flights
            while (at := queue.head()) is not None and at <= now:
                flight, ticket = flights.popleft()
                self.given_up += 1
                try:
                    reason = undrained.get(id(queue.kind)) or self._doubt(queue, flight, now - at)
                    self.voided += bool(reason)
                    flight.give_up(now, reason)
                except Exception as error:
                    self._broke(ticket, flight.sent_at, error)

    def _resend(self, now: float) -> None:
        due = [queue for queue in self._copies.values() if (at := queue.head()) is not None and at <= now]
        self._drain(due)  # what has been answered meanwhile needs no second copy
        for queue in due:
            flights = queue.flights
            while (at := queue.head()) is not None and at <= now:
                flight, _ = flights.popleft()
                try:
                    flight.resend(now)
                except Exception as error:
                    self._complain(queue.kind, error)

    def _drain(self, due: Iterable[_Queue]) -> dict[int, str]:
        """The kinds, by identity, that could not be drained, and why."""
        failed: dict[int, str] = {}
        for kind in {id(queue.kind): queue.kind for queue in due}.values():
            try:
                kind.drain()
            except Exception as error:
                self._complain(kind, error)
                failed[id(kind)] = f"our own socket could not be read: {error!r}"
        return failed

    def _doubt(self, queue: _Queue, flight: Flight, late: float) -> str:
        lag = max(late, self._meter.worst_since(flight.sent_at))
        if lag > queue.delay / 4:
            return lag_note(lag)
        if queue.kind.lost_since(flight.sent_at):
            return "our own socket overflowed"
        return ""
