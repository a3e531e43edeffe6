"""REGISTER as a state machine without I/O: digest, 423, one answer (RFC 3261 10)."""

from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from controller.sip.authentication import ClientAuthentication
from controller.sip.digest import Credentials
from controller.sip.errors import SipParseError
from controller.sip.headers import parse_expires
from controller.sip.messages import Headers, Message, Request, Response
from controller.sip.transactions import (
    Deliver,
    NonInviteTransaction,
    Output,
    Send,
    TimedOut,
    Timers,
    TransportFailed,
)
from controller.sip.uri import parse_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistrationPlan:
    """`registrar` is the Request-URI, `aor` the address of record (From and To).

    `contact` None asks for the present bindings and changes nothing; `expires` in seconds, 0 takes the
    binding away. `sent_by` is our host:port.
    """

    registrar: str
    aor: str
    sent_by: str
    contact: str | None = None
    expires: int = 60
    transport: str = "UDP"
    credentials: Credentials | None = None
    headers: Headers = ()
    user_agent: str = "Third-Ring"
    timers: Timers = Timers()


class RegistrationOutcome(Enum):
    REGISTERED = "registered"
    UNAUTHORIZED = "unauthorized"  # 401, 407 that we couldn't satisfy, or 403
    REJECTED = "rejected"
    NO_REPLY = "no_reply"
    TRANSPORT = "transport"


@dataclass(frozen=True, slots=True)
class Registered:
    """The registration is over. `response` is the last final one, None when there was none.

    `granted` is the seconds that the registrar gave our contact, None when it didn't say; `challenged` tells
    that it asked for a password: a registrar that lets anyone in is a finding.
    """

    outcome: RegistrationOutcome
    response: Response | None
    granted: int | None
    challenged: bool
    attempts: int


RegistrationOutput = Send | Registered


class Registration:
    """One registration. `token` is the caller's random text; keep it and `first_sequence` growing to refresh.

    Raises SipParseError for a plan whose registrar is not a URI.
    """

    def __init__(self, plan: RegistrationPlan, *, token: str, first_sequence: int = 1) -> None:
        parse_uri(plan.registrar)
        self.plan = plan
        self.result: Registered | None = None
        self.next_sequence = first_sequence
        self._token = token
        self._expires = plan.expires
        self._interval_raised = False
        self._challenged = False
        self._attempts = 0
        self._authentication = ClientAuthentication(plan.credentials, cnonce=f"{token}c")
        self._transaction: NonInviteTransaction | None = None

    @property
    def call_id(self) -> str:
        return self._token

    @property
    def next_deadline(self) -> float | None:
        """When `wake` must be called next; None when the registration is over."""
        if self._transaction is None or self.result is not None:
            return None
        return self._transaction.next_deadline

    def start(self, now: float) -> list[RegistrationOutput]:
        """Send the first REGISTER at `now`, monotonic seconds."""
        return self._send(now)

    def receive(self, message: Message, now: float) -> list[RegistrationOutput]:
        """Take in a message; one that isn't for this registration changes nothing."""
        transaction = self._transaction
        if self.result is not None or isinstance(message, Request) or transaction is None:
            return []
        return self._handle(transaction.receive(message, now), now) if transaction.matches(message) else []

    def wake(self, now: float) -> list[RegistrationOutput]:
        """Do what is due at `now`."""
        if self.result is not None or self._transaction is None:
            return []
        return self._handle(self._transaction.wake(now), now)

    def fail(self, reason: str, now: float) -> list[RegistrationOutput]:
        """The transport failed."""
        if self.result is not None or self._transaction is None:
            return []
        return self._handle(self._transaction.fail(reason), now)

    def _send(self, now: float) -> list[RegistrationOutput]:
        plan = self.plan
        sequence = self.next_sequence
        self.next_sequence += 1
        binding: Headers = ()
        if plan.contact is not None:
            binding = (("Contact", f"<{plan.contact}>"), ("Expires", str(self._expires)))
        request = Request(
            method="REGISTER",
            uri=plan.registrar,
            headers=(
                (
                    "Via",
                    f"SIP/2.0/{plan.transport} {plan.sent_by};rport;branch=z9hG4bK{self._token}.{sequence}",
                ),
                ("Max-Forwards", "70"),
                ("From", f"<{plan.aor}>;tag={self._token}f"),
                ("To", f"<{plan.aor}>"),
                ("Call-ID", self.call_id),
                ("CSeq", f"{sequence} REGISTER"),
                *binding,
                ("User-Agent", plan.user_agent),
                *plan.headers,
                *self._authentication.headers(method="REGISTER", uri=plan.registrar),
            ),
        )
        self._transaction = NonInviteTransaction(request, plan.timers)
        return self._handle(self._transaction.start(now), now)

    def _handle(self, outputs: list[Output], now: float) -> list[RegistrationOutput]:
        results: list[RegistrationOutput] = []
        for output in outputs:
            match output:
                case Send():
                    self._attempts += 1
                    results.append(output)
                case Deliver(response):
                    if not response.is_provisional:
                        results += self._receive_final(response, now)
                case TimedOut():
                    results += self._finish(RegistrationOutcome.NO_REPLY, None)
                case TransportFailed():
                    results += self._finish(RegistrationOutcome.TRANSPORT, None)
                case _:
                    assert_never(output)
        return results

    def _receive_final(self, response: Response, now: float) -> list[RegistrationOutput]:
        if response.is_success:
            return self._finish(RegistrationOutcome.REGISTERED, response)
        match response.status:
            case 401 | 407:
                self._challenged = True
                if self._authentication.accept(response):
                    return self._send(now)
                return self._finish(RegistrationOutcome.UNAUTHORIZED, response)
            case 403:
                return self._finish(RegistrationOutcome.UNAUTHORIZED, response)
            case 423 if self._raise_interval(response):
                # The longer interval is a new request and may be challenged anew.
                self._authentication.begin_request()
                return self._send(now)
            case _:
                return self._finish(RegistrationOutcome.REJECTED, response)

    def _raise_interval(self, response: Response) -> bool:
        """Take Min-Expires over from a 423 (10.2.8), once; True if it is longer than what we asked for."""
        minimum = _seconds(response.get("Min-Expires"))
        if self._interval_raised or minimum is None or minimum <= self._expires:
            return False
        self._interval_raised = True
        self._expires = minimum
        return True

    def _finish(self, outcome: RegistrationOutcome, response: Response | None) -> list[RegistrationOutput]:
        granted = None if response is None or not response.is_success else self._granted(response)
        self.result = Registered(
            outcome=outcome,
            response=response,
            granted=granted,
            challenged=self._challenged,
            attempts=self._attempts,
        )
        return [self.result]

    def _granted(self, response: Response) -> int | None:
        """The expiry of our own contact, which stands in its parameter or in the Expires header (10.2.4)."""
        wanted = None if self.plan.contact is None else parse_uri(self.plan.contact)
        for contact in response.contacts:
            uri = contact.uri
            if wanted is not None and (uri.user, uri.host, uri.port) == (
                wanted.user,
                wanted.host,
                wanted.port,
            ):
                return _seconds(contact.parameters.get("expires") or response.get("Expires"))
        return None


def _seconds(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_expires(value)
    except SipParseError:
        return None
