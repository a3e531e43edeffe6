"""A test call: INVITE, audio both ways, which side answered, BYE."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field, SecretStr

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.model.moments import Values
from controller.probes.answers import OUTCOMES
from controller.probes.datagrams import Address
from controller.probes.media import STRAGGLERS, Media, MediaReport
from controller.probes.parameters import HostPort, SipUri, Strict, split_address
from controller.probes.sip_line import SipLine, next_hop_address, resolve
from controller.sip.call import Call
from controller.sip.call_plan import CallPlan
from controller.sip.call_record import Answered, CallOutcome, CallOutput, Ended, Progress, Reply, Transmit
from controller.sip.digest import Credentials
from controller.sip.transactions import Timers
from controller.sip.uri import parse_uri

LINGER = 4.0
"""Seconds a call goes on in the background after its result is out: for the answer to BYE, and for a 200 that crossed
our CANCEL and must be hung up too."""

MARGIN = 0.02
"""Seconds of the timeout kept back for the verdict."""

SHORTEST_AUDIO = 0.1
"""Seconds, five packets; with less time left after a late answer its audio is not measured."""

CLOSE_WITHIN = 0.5
"""Seconds that closing waits for them."""

LONGEST_CALL = 60.0
"""Seconds after which a call is hung up whatever else happens."""


class SipCallParameters(Strict):
    """`uri` is called through `address` (default: what the URI names). `media`: seconds of audio, 0 to hang up once
    answered. `side_header` of the answer says which side served it. `accept`: refusals that count as up."""

    uri: SipUri
    address: HostPort = ""
    from_uri: SipUri = "sip:thirdring-test@invalid"
    username: str = ""
    password: SecretStr = SecretStr("")
    side_header: str = "X-Side"
    expected_side: str = ""
    media: float = Field(default=1.0, ge=0.0, le=30.0)
    minimum_mos: float = Field(default=0.0, ge=0.0, le=4.5)
    longest_post_dial_delay: float = Field(default=0.0, ge=0.0)
    accept: frozenset[int] = frozenset()
    local_address: str = ""


@dataclass(slots=True, eq=False)
class _Running:
    """One call under way. `news` is set whenever it was answered or ended."""

    line: SipLine
    call: Call
    media: Media | None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Answered | None = None
    signalling: asyncio.Task[None] | None = None

    def perform(self, outputs: list[CallOutput], source: Address) -> None:
        for output in outputs:
            match output:
                case Transmit(datagram, next_hop):
                    self.line.send(datagram, next_hop_address(next_hop, self.line.peer))
                case Reply(datagram):
                    self.line.send(datagram, source)
                case Answered():
                    self.answer = output
                    self.news.set()
                case Ended():
                    self.news.set()
                case Progress():
                    pass

    async def signal(self) -> None:
        """Feed the call what arrives and wake it in time, until it is cancelled."""
        while True:
            deadline = self.call.next_deadline
            within = None if deadline is None else max(0.0, deadline - time.monotonic())
            arrived = await self.line.next(within)
            now = time.monotonic()
            if arrived is not None:
                message, source = arrived
                self.perform(self.call.receive(message, now), source)
            if self.line.failure and self.call.record.answered is None:
                self.perform(self.call.fail(self.line.failure, now), self.line.peer)
            self.perform(self.call.wake(now), self.line.peer)

    def hang_up(self) -> None:
        self.perform(self.call.hang_up(time.monotonic()), self.line.peer)
        self.line.wake()

    def close(self) -> None:
        self.line.close()
        if self.media is not None:
            self.media.close()


class SipCall:
    """ports.Probe. Whatever was answered is hung up, also when the probe is cancelled."""

    Parameters = SipCallParameters
    mass = False
    values: ClassVar[Mapping[str, str]] = {
        "side": "string",
        "mos": "double",
        "pdd_ms": "double",
        "loss_percent": "double",
        "sent": "int",
        "received": "int",
        "jitter_ms": "double",
        "answered": "bool",
        "code": "int",
        "one_way": "string",
    }

    def __init__(self, parameters: SipCallParameters) -> None:
        self._parameters = parameters
        uri = parse_uri(parameters.uri)
        self._host, self._port = (
            split_address(parameters.address, 5060) if parameters.address else (uri.address, uri.port or 5060)
        )
        self._lingering: set[asyncio.Task[None]] = set()

    async def run(self, key: RungKey, timeout: float) -> ProbeResult:
        sent_at = time.monotonic()
        until = sent_at + timeout - min(MARGIN, timeout / 10)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + timeout):
                peer = await resolve(asyncio.get_running_loop(), self._host, self._port)
            running = self._dial(peer, until - time.monotonic())
        except TimeoutError:
            return _result(
                key, sent_at, Outcome.NO_REPLY, False, note=f"{self._host} was not resolved in time"
            )
        except OSError as error:
            return _result(key, sent_at, Outcome.TRANSPORT, False, note=error.strerror or str(error))
        try:
            report = await self._talk(running, until)
            return self._judge(key, sent_at, running, report)
        finally:
            running.hang_up()
            task = asyncio.get_running_loop().create_task(_linger(running))
            self._lingering.add(task)
            task.add_done_callback(self._lingering.discard)

    async def close(self) -> None:
        """Waits a little for the calls that are being hung up; BYE or CANCEL are out already."""
        if self._lingering:
            _, pending = await asyncio.wait(self._lingering, timeout=CLOSE_WITHIN)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    def _dial(self, peer: Address, within: float) -> _Running:
        """Raises OSError."""
        parameters = self._parameters
        loop = asyncio.get_running_loop()
        line = SipLine(loop, peer, parameters.local_address)
        media: Media | None = None
        try:
            # The offer is made even for a call without media: an INVITE without one is another test.
            media = Media(loop, line.host)
            credentials: Credentials | None = None
            if parameters.username:
                credentials = Credentials(
                    username=parameters.username, password=parameters.password.get_secret_value()
                )
            plan = CallPlan(
                uri=parameters.uri,
                from_uri=parameters.from_uri,
                sent_by=line.sent_by,
                offer=media.offer(),
                test_id=secrets.token_hex(4),
                credentials=credentials,
                ring_limit=max(0.01, within),
                duration=LONGEST_CALL,
                timers=Timers(deadline=max(0.01, within)),
            )
            running = _Running(line, Call(plan, token=secrets.token_hex(12)), media)
        except BaseException:
            line.close()
            if media is not None:
                media.close()
            raise
        running.perform(running.call.start(time.monotonic()), peer)
        running.signalling = loop.create_task(running.signal())
        return running

    async def _talk(self, running: _Running, until: float) -> MediaReport | None:
        """Wait for the answer and exchange audio; None when there was none to exchange."""
        if not await _happened(running, until):
            return None
        answer = running.answer
        if answer is None or answer.audio is None or running.media is None or not self._parameters.media:
            return None
        left = until - time.monotonic()
        seconds = min(self._parameters.media, left - STRAGGLERS - MARGIN)
        if seconds < min(self._parameters.media, SHORTEST_AUDIO):
            return None
        try:
            async with asyncio.timeout(max(0.0, left)):
                return await running.media.run(answer.audio, seconds)
        except TimeoutError:
            return None

    def _judge(
        self, key: RungKey, sent_at: float, running: _Running, report: MediaReport | None
    ) -> ProbeResult:
        parameters, record = self._parameters, running.call.record
        code = record.status or 0
        delay = record.post_dial_delay
        side = record.header(parameters.side_header) or ""
        answered = record.answered is not None
        outcome, note = self._verdict(running, report, side)
        if outcome is Outcome.VOID:
            return _result(key, sent_at, outcome, None, note=note)
        # What our own lag has spoilt is left out; that audio came through counts however late we were.
        heard = None if report is None or report.doubt else report
        values: Values = (
            ("side", side),
            ("mos", None if heard is None else heard.mos),
            ("pdd_ms", None if delay is None else round(1000 * delay, 1)),
            ("loss_percent", None if heard is None else heard.loss_percent),
            ("sent", 0 if report is None else report.sent),
            ("received", 0 if report is None else report.received),
            ("jitter_ms", None if heard is None else heard.jitter_ms),
            ("answered", answered),
            ("code", code),
            ("one_way", "" if report is None else report.one_way),
        )
        up = outcome is Outcome.UP or (not answered and code in parameters.accept)
        sends = max(1, record.invites_sent)
        return _result(key, sent_at, outcome, up, code=code, sends=sends, note=note, values=values)

    def _verdict(self, running: _Running, report: MediaReport | None, side: str) -> tuple[Outcome, str]:
        parameters, record = self._parameters, running.call.record
        if record.answered is None:
            return self._unanswered(running)
        if record.answer_error is not None:
            return Outcome.MALFORMED, f"answered with a session description of no use: {record.answer_error}"
        if parameters.expected_side and side != parameters.expected_side:
            return Outcome.MISROUTED, f"answered by {side or 'nobody known'}, not {parameters.expected_side}"
        if parameters.media:
            if report is None:
                return Outcome.NO_REPLY, "answered too late to measure its audio"
            poor = report.mos is not None and report.mos < parameters.minimum_mos
            if report.doubt and (report.one_way or poor):
                return Outcome.VOID, report.doubt
            if report.one_way:
                return Outcome.FAILED, {
                    "in": "no audio arrives here",
                    "out": "our audio does not arrive there",
                    "both": "the answer refuses audio",
                }[report.one_way]
            if poor:
                return Outcome.FAILED, f"MOS {report.mos} with {report.loss_percent} % lost"
        delay, longest = record.post_dial_delay or 0.0, parameters.longest_post_dial_delay
        if longest and delay > longest:
            return Outcome.FAILED, f"post-dial delay {delay:.2f} s"
        return Outcome.UP, ""

    @staticmethod
    def _unanswered(running: _Running) -> tuple[Outcome, str]:
        record = running.call.record
        match running.call.outcome:
            case CallOutcome.REJECTED | CallOutcome.UNAUTHORIZED:
                code = record.status or 0
                reason = "" if record.final is None else record.final.reason
                return OUTCOMES[code], reason
            case CallOutcome.TRANSPORT:
                return Outcome.TRANSPORT, running.line.failure
            case _:
                if record.provisional:
                    return Outcome.NO_REPLY, f"no answer after {record.provisional[-1]}"
                if running.line.malformed:
                    return Outcome.MALFORMED, "what came back is no SIP response"
                return Outcome.NO_REPLY, ""


async def _happened(running: _Running, until: float) -> bool:
    """Whether the call was answered or ended by `until`."""
    try:
        async with asyncio.timeout(max(0.0, until - time.monotonic())):
            await running.news.wait()
    except TimeoutError:
        return False
    return True


async def _linger(running: _Running) -> None:
    """Go on signalling until BYE is answered, or as long as the answer to an INVITE without one may still come."""
    settled = (CallOutcome.REJECTED, CallOutcome.UNAUTHORIZED, CallOutcome.TRANSPORT)
    call = running.call
    try:
        async with asyncio.timeout(LINGER):
            while not (call.outcome in settled or (call.outcome is not None and call.record.answered)):
                running.news.clear()
                await running.news.wait()
    except TimeoutError:
        pass
    finally:
        if running.signalling is not None:
            running.signalling.cancel()
            await asyncio.gather(running.signalling, return_exceptions=True)
        running.close()


def _result(
    key: RungKey,
    sent_at: float,
    outcome: Outcome,
    up: bool | None,
    *,
    code: int = 0,
    sends: int = 1,
    note: str = "",
    values: Values = (),
) -> ProbeResult:
    now = time.monotonic()
    return ProbeResult(key, sent_at, now, outcome, up, now - sent_at, code, sends, note, values)
