"""The server's final response to an INVITE, repeated until its ACK comes (RFC 3261 13.3.1.4, 17.2.1)."""

from controller.sip.transactions import Timers


class AwaitedAcknowledgement:
    """Timers G and H, and their like for a 2xx: T1 doubling to T2, for 64 * T1.

    The owner has sent `datagram` once, at `now` in monotonic seconds. A 2xx is repeated over a stream too;
    there pass timers that aren't `reliable`.
    """

    def __init__(self, datagram: bytes, timers: Timers, *, now: float) -> None:
        self.expired = False
        self.repeats = 0
        self._datagram = datagram
        self._timers = timers
        self._interval = timers.t1
        self._end: float | None = now + timers.timeout
        self._repeat = None if timers.reliable else now + self._interval

    @property
    def next_deadline(self) -> float | None:
        """When `wake` must be called next; None once it is acknowledged or has expired."""
        times = [time for time in (self._repeat, self._end) if time is not None]
        return min(times) if times else None

    def wake(self, now: float) -> bytes | None:
        """What is to be sent again at `now`, if anything. After `expired` the server ends the session."""
        if self._end is not None and now >= self._end:
            self.expired = True
            self._repeat = self._end = None
            return None
        if self._repeat is None or now < self._repeat:
            return None
        self.repeats += 1
        self._interval = min(2 * self._interval, self._timers.t2)
        self._repeat = now + self._interval
        return self._datagram

    def acknowledge(self) -> None:
        """The ACK is here."""
        self._repeat = self._end = None
