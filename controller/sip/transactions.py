"""Client transactions as state machines without I/O (RFC 3261 17.1).

The owner sends what comes out, feeds in what arrives, and calls `wake` at `next_deadline`.
"""

from dataclasses import dataclass
from enum import Enum

from controller.sip.messages import Headers, Request, Response, canonical


@dataclass(frozen=True, kw_only=True, slots=True)
class Timers:
    """Seconds. `deadline` replaces 64 * T1 (timers B and F): a prober gives up long before 32 s.

    `reliable` is for TCP and TLS: no retransmissions and no lingering.
    """

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    deadline: float | None = None
    reliable: bool = False

    @property
    def timeout(self) -> float:
        return 64 * self.t1 if self.deadline is None else self.deadline


class State(Enum):
    CALLING = "calling"  # INVITE only; "trying" for the rest
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class Send:
    """Put these bytes on the wire, to where the request goes."""

    datagram: bytes


@dataclass(frozen=True, slots=True)
class Deliver:
    """A response for the transaction's user: each provisional one, and the final one once."""

    response: Response


@dataclass(frozen=True, slots=True)
class TimedOut:
    """No final response in time (timer B or F)."""


@dataclass(frozen=True, slots=True)
class TransportFailed:
    """The transport said that the request can't be delivered."""

    reason: str


Output = Send | Deliver | TimedOut | TransportFailed


class _ClientTransaction:
    def __init__(self, request: Request, timers: Timers) -> None:
        self.request = request
        self.state = State.CALLING
        self.sent = 0  # copies of the request on the wire; more than 1 when answered is a sign of loss
        self._timers = timers
        self._datagram = request.encode()
        self._branch = request.top_via.branch
        self._interval = timers.t1
        self._retransmit: float | None = None
        self._timeout: float | None = None
        self._end: float | None = None

    @property
    def next_deadline(self) -> float | None:
        """When `wake` must be called next, monotonic seconds; None when nothing is pending."""
        times = [t for t in (self._retransmit, self._timeout, self._end) if t is not None]
        return min(times) if times else None

    def matches(self, response: Response) -> bool:
        """RFC 3261 17.1.3: the branch of the top Via and the method of CSeq; and our Call-ID and From tag."""
        return (
            response.top_via.branch == self._branch
            and response.cseq == self.request.cseq
            and response.call_id == self.request.call_id
            and response.from_.tag == self.request.from_.tag
        )

    def start(self, now: float) -> list[Output]:
        """Send the request for the first time, at `now` in monotonic seconds."""
        self._timeout = now + self._timers.timeout
        if not self._timers.reliable:
            self._retransmit = now + self._interval
        return self._send()

    def fail(self, reason: str) -> list[Output]:
        """The transport failed (RFC 3261 17.1.4)."""
        if self.state in (State.COMPLETED, State.TERMINATED):
            return []
        self._terminate()
        return [TransportFailed(reason)]

    def _send(self) -> list[Output]:
        self.sent += 1
        return [Send(self._datagram)]

    def _terminate(self) -> None:
        self.state = State.TERMINATED
        self._retransmit = self._timeout = self._end = None

    def _expire(self, now: float) -> list[Output] | None:
        """What an elapsed timeout or end of lingering gives; None if neither is due."""
        if self._end is not None and now >= self._end:
            self._terminate()
            return []
        if self._timeout is not None and now >= self._timeout:
            self._terminate()
            return [TimedOut()]
        return None


class NonInviteTransaction(_ClientTransaction):
    """OPTIONS, REGISTER, BYE, CANCEL and the rest: timers E, F and K (RFC 3261 17.1.2)."""

    def receive(self, response: Response, now: float) -> list[Output]:
        """Take in a response that `matches`."""
        if self.state in (State.COMPLETED, State.TERMINATED):
            return []
        if response.is_provisional:
            self.state = State.PROCEEDING
            return [Deliver(response)]
        self._terminate()
        if not self._timers.reliable:
            self.state = State.COMPLETED
            self._end = now + self._timers.t4
        return [Deliver(response)]

    def wake(self, now: float) -> list[Output]:
        """Do what is due at `now`."""
        expired = self._expire(now)
        if expired is not None:
            return expired
        if self._retransmit is None or now < self._retransmit:
            return []
        # In Proceeding timer E runs at T2 straight away (17.1.2.2).
        proceeding = self.state is State.PROCEEDING
        self._interval = self._timers.t2 if proceeding else min(2 * self._interval, self._timers.t2)
        self._retransmit = now + self._interval
        return self._send()


class InviteTransaction(_ClientTransaction):
    """INVITE: timers A, B and D; a final response but 2xx is acknowledged here (RFC 3261 17.1.1).

    A 2xx ends the transaction; its ACK is the dialog's. Once a provisional response is in, nothing here
    limits the ringing.
    """

    LINGER = 32.0  # timer D, at least 32 s

    def __init__(self, request: Request, timers: Timers) -> None:
        super().__init__(request, timers)
        self._acknowledgement: bytes | None = None

    def receive(self, response: Response, now: float) -> list[Output]:
        """Take in a response that `matches`."""
        if self.state is State.TERMINATED:
            return []
        if self.state is State.COMPLETED:
            again = self._acknowledgement is not None and response.status >= 300
            return [Send(self._acknowledgement)] if again and self._acknowledgement else []
        if response.is_provisional:
            self.state = State.PROCEEDING
            self._retransmit = self._timeout = None
            return [Deliver(response)]
        self._terminate()
        if response.is_success:
            return [Deliver(response)]
        self._acknowledgement = acknowledge_failure(self.request, response).encode()
        if not self._timers.reliable:
            self.state = State.COMPLETED
            self._end = now + self.LINGER
        return [Send(self._acknowledgement), Deliver(response)]

    def wake(self, now: float) -> list[Output]:
        """Do what is due at `now`."""
        expired = self._expire(now)
        if expired is not None:
            return expired
        if self._retransmit is None or now < self._retransmit:
            return []
        self._interval *= 2
        self._retransmit = now + self._interval
        return self._send()


def acknowledge_failure(invite: Request, response: Response) -> Request:
    """The ACK of a final response but 2xx: one Via, the INVITE's (RFC 3261 17.1.1.3)."""
    to = response.get("To") or invite.get("To") or ""
    return Request(
        method="ACK",
        uri=invite.uri,
        headers=_same_transaction(invite, "ACK", to=to),
    )


def cancel(invite: Request) -> Request:
    """The CANCEL of an INVITE that has had a provisional response (RFC 3261 9.1)."""
    return Request(
        method="CANCEL",
        uri=invite.uri,
        headers=_same_transaction(invite, "CANCEL", to=invite.get("To") or ""),
    )


def _same_transaction(invite: Request, method: str, *, to: str) -> Headers:
    credentials = ("authorization", "proxy-authorization") if method == "ACK" else ()
    return (
        ("Via", str(invite.top_via)),
        ("Max-Forwards", invite.get("Max-Forwards") or "70"),
        ("From", invite.get("From") or ""),
        ("To", to),
        ("Call-ID", invite.call_id),
        ("CSeq", f"{invite.cseq.number} {method}"),
        *((n, v) for n, v in invite.headers if canonical(n) == "route" or canonical(n) in credentials),
    )
