"""A transaction-stateful proxy (RFC 3261 16): what the edge and the platform sides have in common."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from controller.sip.errors import SipParseError
from controller.sip.forwarding import TooManyHopsError, forward, take_via_off
from controller.sip.messages import Headers, Message, Request, Response
from controller.sip.replies import reply, stamp_source
from controller.sip.transactions import (
    Deliver,
    InviteTransaction,
    NonInviteTransaction,
    Output,
    Send,
    State,
    TimedOut,
    Timers,
    TransportFailed,
    cancel,
)
from demo_platform.answers import LIFETIME, Answers
from demo_platform.layout import Address

log = logging.getLogger(__name__)

RING_LIMIT = 60.0
"""Seconds an INVITE may stay without a final response (timer C of 16.6, shortened)."""
CANCEL_LIMIT = 2.0
"""Seconds the far side has to end an INVITE that was cancelled."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer a request here, with this status."""

    status: int
    headers: Headers = ()
    body: bytes = b""


Route = Sequence[Address] | Refuse
"""Where to send a new request: one after the other as they fail, or why not at all."""


class Routing(Protocol):
    """What tells one proxy from another. Requests come as `stamp_source` left them."""

    def route(self, request: Request) -> Route:
        """A request outside any dialog."""

    def outgoing(self, request: Request, destination: Address) -> Request:
        """The request as it goes on. Raises SipParseError to refuse it."""

    def incoming(self, request: Request, response: Response, destination: Address) -> Response:
        """The response as it goes back."""

    def replied(self, request: Request, response: Response, destination: Address) -> None:
        """Told of each response once, before anything is done about it."""

    def next_destination(self, request: Request, response: Response | None) -> bool:
        """After a failure (None: no answer), whether the next destination is to be tried."""

    def unanswered(self, request: Request, destination: Address) -> None:
        """The destination gave no sign of life in time."""

    def finished(self, request: Request) -> None:
        """A dialog ended: its BYE, or a failed INVITE, went through."""


@dataclass(kw_only=True, eq=False)
class _Relay:
    """One request on its way: `untried` are the destinations left."""

    request: Request
    untried: list[Address]
    destination: Address
    client: InviteTransaction | NonInviteTransaction
    give_up_at: float
    heard: bool = False
    cancelled: bool = False
    cancel_sent: bool = False
    final: bool = False
    timer: asyncio.TimerHandle | None = field(default=None)


class Proxy:
    """`own` is how Record-Route and Via name us; `send` puts bytes on the wire; `fr_timer` seconds without any answer
    count as a failure of the destination.
    """

    def __init__(
        self,
        own: Address,
        send: Callable[[bytes, Address], None],
        routing: Routing,
        *,
        fr_timer: float,
    ) -> None:
        self._own = own
        self._send = send
        self._routing = routing
        self._timers = Timers(deadline=fr_timer)
        self._loop = asyncio.get_running_loop()
        self._answers = Answers(send)
        self._by_branch: dict[tuple[str | None, str], _Relay] = {}
        self._by_request: dict[tuple[str | None, str, str], _Relay] = {}

    @property
    def under_way(self) -> int:
        """Requests without a final response yet."""
        return sum(not relay.final for relay in self._by_request.values())

    def receive(self, message: Message, source: Address) -> None:
        """Take in what came over the wire."""
        if isinstance(message, Response):
            self._receive_response(message)
            return
        request = stamp_source(message, source.host, source.port)
        match request.method:
            case "ACK":
                self._receive_ack(request)
            case "CANCEL":
                self._receive_cancel(request, source)
            case _:
                if not self._answers.repeat(request, source) and _key(request) not in self._by_request:
                    self._receive_request(request)

    def close(self) -> None:
        self._answers.close()
        for relay in self._by_branch.values():
            if relay.timer is not None:
                relay.timer.cancel()
        self._by_branch.clear()
        self._by_request.clear()

    def _receive_request(self, request: Request) -> None:
        route = self._in_dialog(request) if request.to.tag is not None else self._routing.route(request)
        if isinstance(route, Refuse):
            self._refuse(request, route)
            return
        if request.method == "INVITE":
            self._answers.give(request, reply(request, 100))
        destination, *untried = route
        self._forward(request, destination, untried)

    def _refuse(self, request: Request, refusal: Refuse) -> None:
        tag = secrets.token_hex(6)
        answer = reply(request, refusal.status, headers=refusal.headers, body=refusal.body, to_tag=tag)
        self._answers.give(request, answer)

    def _in_dialog(self, request: Request) -> Route:
        """By the route set that Record-Route made (16.4, 16.6)."""
        try:
            onward = forward(request, via=self._via(), own_address=self._own).next_hop
        except SipParseError as error:
            return Refuse(error.status)
        destination = Address(onward.address, onward.port or 5060)
        if destination == self._own:
            return Refuse(481)
        if not _is_loopback(destination.host):
            return Refuse(404)
        return (destination,)

    def _forward(self, request: Request, destination: Address, untried: list[Address]) -> None:
        first = request.to.tag is None and request.method == "INVITE"
        try:
            onward = forward(
                self._routing.outgoing(request, destination),
                via=self._via(),
                own_address=self._own,
                record_route=f"<sip:{self._own};lr>" if first else None,
            ).request
        except TooManyHopsError:
            self._refuse(request, Refuse(483))
            return
        except SipParseError as error:
            self._refuse(request, Refuse(error.status))
            return
        kind = InviteTransaction if request.method == "INVITE" else NonInviteTransaction
        relay = _Relay(
            request=request,
            untried=untried,
            destination=destination,
            client=kind(onward, self._timers),
            give_up_at=self._loop.time() + RING_LIMIT,
        )
        self._by_branch[onward.top_via.branch, request.method] = relay
        self._by_request[_key(request)] = relay
        self._handle(relay, relay.client.start(self._loop.time()))

    def _receive_response(self, response: Response) -> None:
        relay = self._by_branch.get((response.top_via.branch, response.cseq.method))
        if relay is None:
            log.debug("response to nothing we sent: %s %s", response.status, response.cseq)
            return
        relay.heard = True
        if relay.final and relay.client.state is State.TERMINATED:
            # The 200 to an INVITE is repeated by who gave it until the caller's ACK arrives there (RFC 6026).
            if response.is_success and relay.request.method == "INVITE":
                self._pass_back(relay, response)
            return
        if relay.client.matches(response):
            self._handle(relay, relay.client.receive(response, self._loop.time()))

    def _handle(self, relay: _Relay, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Send(datagram):
                    self._send(datagram, relay.destination)
                case Deliver(response) if response.is_provisional:
                    self._routing.replied(relay.request, response, relay.destination)
                    if relay.cancelled:
                        self._send_cancel(relay)
                    elif response.status > 100:
                        self._pass_back(relay, response)
                case Deliver(response):
                    self._routing.replied(relay.request, response, relay.destination)
                    self._finish(relay, response)
                case TimedOut() | TransportFailed():
                    self._finish(relay, None)
        self._watch(relay)

    def _watch(self, relay: _Relay) -> None:
        """Keep one timer for what is due next."""
        if relay.timer is not None:
            relay.timer.cancel()
            relay.timer = None
        due = relay.client.next_deadline
        if not relay.final:
            due = relay.give_up_at if due is None else min(due, relay.give_up_at)
        if due is not None:
            relay.timer = self._loop.call_at(due, self._wake, relay)

    def _wake(self, relay: _Relay) -> None:
        relay.timer = None
        now = self._loop.time()
        if not relay.final and now >= relay.give_up_at:
            self._finish(relay, None)
        self._handle(relay, relay.client.wake(now))

    def _finish(self, relay: _Relay, response: Response | None) -> None:
        """The destination's final response, or None for its silence."""
        if relay.final:
            return
        relay.final = True
        self._loop.call_later(LIFETIME, self._forget, relay)
        request = relay.request
        if response is None and not relay.heard:
            self._routing.unanswered(request, relay.destination)
        failed = response is None or response.status >= 300
        again = failed and bool(relay.untried) and not relay.cancelled
        if again and self._routing.next_destination(request, response):
            destination, *untried = relay.untried
            self._forward(request, destination, untried)
            return
        if response is None:
            status = 487 if relay.cancelled else 408
            self._answers.give(request, reply(request, status, to_tag=secrets.token_hex(6)))
        else:
            self._pass_back(relay, response)
        if request.method == "BYE" or (request.method == "INVITE" and failed and request.to.tag is None):
            self._routing.finished(request)

    def _pass_back(self, relay: _Relay, response: Response) -> None:
        try:
            returned = take_via_off(self._routing.incoming(relay.request, response, relay.destination))
        except SipParseError as error:
            log.debug("response dropped: %s", error)
            return
        if returned.status == 503:
            # 16.7, point 6: that one branch is out of service says nothing about us.
            returned = replace(returned, status=500)
        self._answers.give(relay.request, returned, until_acknowledged=not returned.is_success)

    def _receive_ack(self, request: Request) -> None:
        if self._answers.acknowledged(request):
            return  # of a failure that we passed back ourselves (17.2.1)
        if request.to.tag is None:
            return
        route = self._in_dialog(request)
        if isinstance(route, Refuse):
            return
        try:
            onward = forward(request, via=self._via(), own_address=self._own).request
        except SipParseError:
            return
        self._send(onward.encode(), route[0])

    def _receive_cancel(self, request: Request, source: Address) -> None:
        if self._answers.repeat(request, source):
            return
        relay = self._by_request.get(_key(request))
        if relay is None:
            self._answers.give(request, reply(request, 481, to_tag=secrets.token_hex(6)))
            return
        self._answers.give(request, reply(request, 200, to_tag=secrets.token_hex(6)))
        if relay.final or relay.cancelled:
            return
        relay.cancelled = True
        relay.give_up_at = self._loop.time() + CANCEL_LIMIT
        # CANCEL may follow an INVITE only once that has had a provisional response (9.1).
        if relay.client.state is State.PROCEEDING:
            self._send_cancel(relay)
        self._watch(relay)

    def _send_cancel(self, relay: _Relay) -> None:
        if relay.cancel_sent:
            return
        relay.cancel_sent = True
        request = cancel(relay.client.request)
        client = NonInviteTransaction(request, self._timers)
        ours = _Relay(
            request=request,
            untried=[],
            destination=relay.destination,
            client=client,
            give_up_at=relay.give_up_at,
            final=True,  # its answer goes no further: we have answered the caller's CANCEL
        )
        self._by_branch[request.top_via.branch, "CANCEL"] = ours
        self._loop.call_later(LIFETIME, self._forget, ours)
        self._handle(ours, client.start(self._loop.time()))

    def _forget(self, relay: _Relay) -> None:
        branch = relay.client.request.top_via.branch
        self._by_branch.pop((branch, relay.client.request.method), None)
        if self._by_request.get(_key(relay.request)) is relay:
            del self._by_request[_key(relay.request)]
        if relay.timer is not None:
            relay.timer.cancel()

    def _via(self) -> str:
        return f"SIP/2.0/UDP {self._own};branch=z9hG4bK{secrets.token_hex(10)}"


def _key(request: Request) -> tuple[str | None, str, str]:
    """A server transaction; a CANCEL's is that of its INVITE (17.2.3, 9.2)."""
    via = request.top_via
    method = "INVITE" if request.method == "CANCEL" else request.method
    return via.branch, f"{via.host}:{via.port}", method


def _is_loopback(host: str) -> bool:
    """The demo never sends anything to another machine, whatever a message says."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
