"""One outgoing call as a state machine without I/O: INVITE, answer, ACK, hold, BYE (RFC 3261 13, 15).

The owner sends what comes out, feeds in every message with the call's Call-ID, and calls `wake` at
`next_deadline`. Whatever answers is hung up: a call that was answered after it was given up, and a second
answer of a forked INVITE too.
"""

from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from controller.sip import sdp
from controller.sip.authentication import ClientAuthentication
from controller.sip.call_plan import ALLOW, CallPlan
from controller.sip.call_record import (
    Answered,
    CallOutcome,
    CallOutput,
    CallRecord,
    Ended,
    Progress,
    Reply,
    Transmit,
)
from controller.sip.dialog import Dialog, open_dialog
from controller.sip.errors import SdpError, SipParseError
from controller.sip.messages import Headers, Message, Request, Response
from controller.sip.replies import reply
from controller.sip.transactions import (
    Deliver,
    InviteTransaction,
    NonInviteTransaction,
    Output,
    Send,
    State,
    TimedOut,
    TransportFailed,
    cancel,
)
from controller.sip.uri import parse_uri


class Phase(Enum):
    IDLE = "idle"
    INVITING = "inviting"
    CANCELLING = "cancelling"
    ANSWERED = "answered"
    ENDING = "ending"
    ENDED = "ended"


@dataclass(slots=True)
class _Leg:
    """One answer to our INVITE. A forked INVITE can have several."""

    dialog: Dialog
    acknowledgement: bytes
    next_sequence: int
    bye: NonInviteTransaction | None = None
    bye_status: int | None = None
    over: bool = False


class Call:
    """`token` is random text of the caller, an RFC 3261 token of 64 bits or more: every identifier derives from it.

    Raises SipParseError for a plan whose Request-URI is none.
    """

    def __init__(self, plan: CallPlan, *, token: str) -> None:
        parse_uri(plan.uri)
        self.plan = plan
        self.record = CallRecord()
        self.phase = Phase.IDLE
        self.outcome: CallOutcome | None = None
        self._token = token
        self._branches = 0
        self._sequence = 0
        self._authentication = ClientAuthentication(plan.credentials, cnonce=f"{token}c")
        self._invite: InviteTransaction | None = None
        self._cancel: NonInviteTransaction | None = None
        self._cancel_wanted = False
        self._alive = False  # a provisional response to the current INVITE is in
        self._legs: dict[str | None, _Leg] = {}
        self._first: _Leg | None = None
        self._hang_up_at: float | None = None
        self._ring_until: float | None = None
        self._give_up_at: float | None = None

    @property
    def call_id(self) -> str:
        return self._token

    @property
    def from_tag(self) -> str:
        return f"{self._token}f"

    @property
    def next_deadline(self) -> float | None:
        """When `wake` must be called next; None when nothing is pending."""
        times = [self._hang_up_at, self._ring_until, self._give_up_at]
        times += [t.next_deadline for t in self._transactions()]
        return min((t for t in times if t is not None), default=None)

    def start(self, now: float) -> list[CallOutput]:
        """Send the INVITE."""
        if self.phase is not Phase.IDLE:
            raise RuntimeError("the call was started before")
        self.phase = Phase.INVITING
        self.record.started = now
        self._ring_until = now + self.plan.ring_limit
        return self._send_invite(now)

    def hang_up(self, now: float) -> list[CallOutput]:
        """End the call: BYE, or CANCEL as soon as a provisional response permits it (RFC 3261 9.1)."""
        match self.phase:
            case Phase.IDLE | Phase.CANCELLING | Phase.ENDING | Phase.ENDED:
                return []
            case Phase.INVITING:
                self._ring_until = None
                self._cancel_wanted = True
                return self._send_cancel(now) if self._alive else []
            case Phase.ANSWERED:
                self.phase = Phase.ENDING
                self._hang_up_at = None
                return [out for leg in self._legs.values() for out in self._send_bye(leg, now)]
            case _:
                assert_never(self.phase)

    def fail(self, reason: str, now: float) -> list[CallOutput]:
        """The transport failed."""
        outputs: list[CallOutput] = []
        for transaction in self._transactions():
            outputs += self._handle(transaction, transaction.fail(reason), now)
        if self.phase in (Phase.INVITING, Phase.CANCELLING, Phase.ANSWERED):
            outputs += self._end(CallOutcome.TRANSPORT, now)
        return outputs

    def wake(self, now: float) -> list[CallOutput]:
        """Do what is due at `now`."""
        outputs: list[CallOutput] = []
        for transaction in self._transactions():
            due = transaction.next_deadline
            if due is not None and now >= due:
                outputs += self._handle(transaction, transaction.wake(now), now)
        if self._ring_until is not None and now >= self._ring_until:
            outputs += self.hang_up(now)
        if self._hang_up_at is not None and now >= self._hang_up_at:
            outputs += self.hang_up(now)
        if self._give_up_at is not None and now >= self._give_up_at:
            outputs += self._end(CallOutcome.NO_ANSWER, now)
        return outputs

    def receive(self, message: Message, now: float) -> list[CallOutput]:
        """Take in a message of this Call-ID; one that doesn't belong to the call changes nothing."""
        if message.call_id != self.call_id:
            return []
        if isinstance(message, Request):
            return self._receive_request(message, now)
        if message.from_.tag != self.from_tag:
            return []
        # The transaction of an INVITE ends with its first 2xx; those that follow are for us (13.2.2.4).
        invite = self._invite
        if (
            invite is not None
            and invite.state is State.TERMINATED
            and message.is_success
            and message.cseq == invite.request.cseq
        ):
            return self._receive_success(message, now)
        for transaction in self._transactions():
            if transaction.matches(message):
                return self._handle(transaction, transaction.receive(message, now), now)
        return []

    def _transactions(self) -> list[InviteTransaction | NonInviteTransaction]:
        byes = [leg.bye for leg in self._legs.values()]
        return [t for t in (self._invite, self._cancel, *byes) if t is not None]

    def _via(self) -> str:
        self._branches += 1
        branch = f"z9hG4bK{self._token}.{self._branches}"
        return f"SIP/2.0/{self.plan.transport} {self.plan.sent_by};rport;branch={branch}"

    def _send_invite(self, now: float) -> list[CallOutput]:
        plan = self.plan
        self._sequence += 1
        self._alive = False
        request = plan.invite(
            via=self._via(),
            call_id=self.call_id,
            from_tag=self.from_tag,
            sequence=self._sequence,
            authorization=self._authentication.headers(method="INVITE", uri=plan.uri),
        )
        self._invite = InviteTransaction(request, plan.timers)
        return self._handle(self._invite, self._invite.start(now), now)

    def _send_cancel(self, now: float) -> list[CallOutput]:
        if self._invite is None:
            return []
        self.phase = Phase.CANCELLING
        self._give_up_at = now + self.plan.timers.timeout
        self._cancel = NonInviteTransaction(cancel(self._invite.request), self.plan.timers)
        return self._handle(self._cancel, self._cancel.start(now), now)

    def _send_bye(self, leg: _Leg, now: float) -> list[CallOutput]:
        if leg.over or leg.bye is not None:
            return []
        self._authentication.begin_request()
        return self._start_bye(leg, now)

    def _start_bye(self, leg: _Leg, now: float) -> list[CallOutput]:
        sequence = leg.next_sequence
        leg.next_sequence += 1
        request = leg.dialog.request("BYE", sequence=sequence, via=self._via(), headers=self.plan.marks)
        answers = self._authentication.headers(method="BYE", uri=request.uri)
        request = Request(method="BYE", uri=request.uri, headers=(*request.headers, *answers))
        leg.bye = NonInviteTransaction(request, self.plan.timers)
        return self._handle(leg.bye, leg.bye.start(now), now)

    def _handle(
        self, transaction: InviteTransaction | NonInviteTransaction, outputs: list[Output], now: float
    ) -> list[CallOutput]:
        """Turn what a transaction says into what the call does."""
        leg = next((leg for leg in self._legs.values() if leg.bye is transaction), None)
        results: list[CallOutput] = []
        for output in outputs:
            match output:
                case Send(datagram):
                    self.record.invites_sent += int(datagram.startswith(b"INVITE "))
                    results.append(Transmit(datagram, None if leg is None else leg.dialog.next_hop))
                case Deliver(response):
                    if transaction is self._invite:
                        results += self._receive_invite_response(response, now)
                    elif leg is not None and not response.is_provisional:
                        results += self._receive_bye_response(leg, response, now)
                case TimedOut():
                    if transaction is self._invite:
                        results += self._end(CallOutcome.NO_REPLY, now)
                    elif leg is not None:
                        results += self._close(leg, now)
                case TransportFailed():
                    if transaction is self._invite:
                        results += self._end(CallOutcome.TRANSPORT, now)
                    elif leg is not None:
                        results += self._close(leg, now)
                case _:
                    assert_never(output)
        return results

    def _receive_invite_response(self, response: Response, now: float) -> list[CallOutput]:
        if self.record.first_response is None:
            self.record.first_response = now
        if response.is_provisional:
            self.record.provisional = (*self.record.provisional, response.status)
            if 180 <= response.status <= 183 and self.record.alerted is None:
                self.record.alerted = now
            self._alive = True
            outputs: list[CallOutput] = [Progress(response)]
            if self._cancel_wanted and self.phase is Phase.INVITING:
                outputs += self._send_cancel(now)
            return outputs
        if response.is_success:
            return self._receive_success(response, now)
        self.record.final = response
        challenged = response.status in (401, 407)
        if challenged and not self._cancel_wanted and self._authentication.accept(response):
            return self._send_invite(now)
        if self._cancel_wanted:
            return self._end(CallOutcome.NO_ANSWER, now)
        return self._end(CallOutcome.UNAUTHORIZED if challenged else CallOutcome.REJECTED, now)

    def _receive_success(self, response: Response, now: float) -> list[CallOutput]:
        known = self._legs.get(response.to.tag)
        if known is not None:
            return [Transmit(known.acknowledgement, known.dialog.next_hop)]
        if self._invite is None:
            return []
        try:
            dialog = open_dialog(self._invite.request, response)
        except SipParseError:
            return []
        leg = _Leg(
            dialog=dialog,
            acknowledgement=self._acknowledge(dialog),
            next_sequence=dialog.invite_sequence + 1,
        )
        self._legs[response.to.tag] = leg
        outputs: list[CallOutput] = [Transmit(leg.acknowledgement, dialog.next_hop)]
        if self._first is not None or self.phase is Phase.ENDED:
            return outputs + self._send_bye(leg, now)
        self._first = leg
        self._ring_until = self._give_up_at = None
        record = self.record
        record.final, record.answered = response, now
        record.alerted = now if record.alerted is None else record.alerted
        audio = self._read_answer(response)
        outputs.append(Answered(response, audio))
        cancelled = self.phase is Phase.CANCELLING or self._cancel_wanted
        self.phase = Phase.ANSWERED
        if cancelled or audio is None:
            return outputs + self.hang_up(now)
        self._hang_up_at = now + self.plan.duration
        return outputs

    def _read_answer(self, response: Response) -> sdp.AudioDescription | None:
        try:
            return sdp.parse_audio(response.body)
        except SdpError as error:
            self.record.answer_error = str(error)
            return None

    def _acknowledge(self, dialog: Dialog) -> bytes:
        """The ACK of a 2xx: a request of its own, with the INVITE's number and credentials (13.2.2.4)."""
        credentials: Headers = ()
        if self._invite is not None:
            credentials = tuple(
                header
                for header in self._invite.request.headers
                if header[0] in ("Authorization", "Proxy-Authorization")
            )
        request = dialog.request(
            "ACK",
            sequence=dialog.invite_sequence,
            via=self._via(),
            headers=(*self.plan.marks, *credentials),
        )
        return request.encode()

    def _receive_bye_response(self, leg: _Leg, response: Response, now: float) -> list[CallOutput]:
        leg.bye_status = response.status
        if response.status in (401, 407) and self._authentication.accept(response):
            return self._start_bye(leg, now)
        return self._close(leg, now)

    def _receive_request(self, request: Request, now: float) -> list[CallOutput]:
        if request.method == "ACK":
            return []
        leg = self._legs.get(request.from_.tag)
        if leg is None or request.to.tag != self.from_tag:
            return [Reply(reply(request, 481).encode())]
        match request.method:
            case "BYE":
                outputs: list[CallOutput] = [Reply(reply(request, 200).encode())]
                if leg.over:
                    return outputs
                if leg is self._first and self.phase is Phase.ANSWERED:
                    self.record.hung_up_by_peer = True
                return outputs + self._close(leg, now)
            case "OPTIONS" | "INFO" | "NOTIFY":
                return [Reply(reply(request, 200, headers=(("Allow", ALLOW),)).encode())]
            case "INVITE" | "UPDATE":
                # A test call keeps the session it has measured from the start.
                return [Reply(reply(request, 488).encode())]
            case _:
                return [Reply(reply(request, 405, headers=(("Allow", ALLOW),)).encode())]

    def _close(self, leg: _Leg, now: float) -> list[CallOutput]:
        leg.over = True
        if leg is not self._first:
            return []
        self.record.bye_status = leg.bye_status
        if self._cancel_wanted:
            return self._end(CallOutcome.NO_ANSWER, now)
        bad = self.record.answer_error is not None
        return self._end(CallOutcome.BAD_ANSWER if bad else CallOutcome.COMPLETED, now)

    def _end(self, outcome: CallOutcome, now: float) -> list[CallOutput]:
        if self.phase is Phase.ENDED:
            return []
        self.phase = Phase.ENDED
        self.outcome = outcome
        self.record.ended = now
        self._hang_up_at = self._ring_until = self._give_up_at = None
        return [Ended(outcome)]
