"""A telephone for tests: the SIP room's own call machine over real UDP, with sound."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from controller.sip.call import Call
from controller.sip.call_plan import CallPlan
from controller.sip.call_record import Answered, CallOutcome, CallOutput, CallRecord, Ended, Reply, Transmit
from controller.sip.echo import EchoProof
from controller.sip.errors import SipParseError
from controller.sip.messages import Message, Request, Response, parse_message
from controller.sip.rtp import RtpSender, parse_rtp
from controller.sip.sdp import PCMU, AudioDescription, build_audio
from controller.sip.transactions import Timers
from demo_platform.datagrams import Datagrams
from demo_platform.layout import Address

PACKET_S = 0.02
GIVE_UP_S = 2.0


@dataclass(kw_only=True)
class Finished:
    outcome: CallOutcome
    record: CallRecord
    proof: EchoProof
    audio: AudioDescription | None
    answer: Response | None


async def dial(
    uri: str,
    *,
    to: Address,
    host: str = "127.0.0.1",
    duration: float = 0.3,
    ring_limit: float = 3.0,
    hang_up_when: Callable[[Call], bool] = lambda call: False,
) -> Finished:
    """Call `uri` by way of `to`, talk for `duration` seconds, hang up; at most 10 s."""
    async with asyncio.timeout(10):
        return await _Phone(uri, to, host, duration, ring_limit, hang_up_when).talk()


class _Phone:
    def __init__(
        self,
        uri: str,
        to: Address,
        host: str,
        duration: float,
        ring_limit: float,
        hang_up_when: Callable[[Call], bool],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._to = to
        self._hang_up_when = hang_up_when
        self._sip = Datagrams(Address(host, 0), self._receive)
        self._rtp = Datagrams(Address(host, 0), self._hear)
        self._ended: asyncio.Future[CallOutcome] = self._loop.create_future()
        self._proof = EchoProof(secrets.token_bytes(8))
        self._audio: AudioDescription | None = None
        self._answer: Response | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._call = Call(
            CallPlan(
                uri=uri,
                from_uri=f"sip:tester@{host}",
                sent_by=str(self._sip.address),
                offer=build_audio(address=host, port=self._rtp.address.port, session_id=1, codecs=(PCMU,)),
                test_id="test",
                duration=duration,
                ring_limit=ring_limit,
                timers=Timers(deadline=GIVE_UP_S),
            ),
            token=secrets.token_hex(10),
        )

    async def talk(self) -> Finished:
        try:
            self._act(self._call.start(self._loop.time()))
            outcome = await self._ended
        finally:
            for task in self._tasks:
                task.cancel()
            if self._timer is not None:
                self._timer.cancel()
            self._sip.close()
            self._rtp.close()
        return Finished(
            outcome=outcome,
            record=self._call.record,
            proof=self._proof,
            audio=self._audio,
            answer=self._answer,
        )

    def _receive(self, data: bytes, source: Address) -> None:
        message = parse_message(data)
        self._act(self._call.receive(message, self._loop.time()), source)
        if self._hang_up_when(self._call):
            self._act(self._call.hang_up(self._loop.time()))

    def _act(self, outputs: list[CallOutput], source: Address | None = None) -> None:
        for output in outputs:
            match output:
                case Transmit(datagram, next_hop):
                    to = self._to if next_hop is None else Address(next_hop.address, next_hop.port or 5060)
                    self._sip.send(datagram, to)
                case Reply(datagram):
                    assert source is not None
                    self._sip.send(datagram, source)
                case Answered(response, audio):
                    self._answer, self._audio = response, audio
                    if audio is not None:
                        self._tasks.append(self._loop.create_task(self._speak(audio)))
                case Ended(outcome):
                    if not self._ended.done():
                        self._ended.set_result(outcome)
        if self._timer is not None:
            self._timer.cancel()
        due = self._call.next_deadline
        if due is not None:
            self._timer = self._loop.call_at(due, lambda: self._act(self._call.wake(self._loop.time())))

    async def _speak(self, audio: AudioDescription) -> None:
        sender = RtpSender(ssrc=7, payload_type=0)
        while True:
            payload = self._proof.payload(self._loop.time())
            packet = sender.next_packet(payload, samples=160)
            self._rtp.send(packet.encode(), Address(audio.address, audio.port))
            await asyncio.sleep(PACKET_S)

    def _hear(self, data: bytes, source: Address) -> None:
        self._proof.receive(parse_rtp(data).payload, self._loop.time())


class Line:
    """A bare UDP socket that speaks SIP message by message, for what a good telephone would never do."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()
        self._datagrams = Datagrams(Address(host, 0), self._take)
        self.address = self._datagrams.address

    def send(self, data: bytes | Request, to: Address) -> None:
        self._datagrams.send(data if isinstance(data, bytes) else data.encode(), to)

    async def response(self, *statuses: int, method: str = "", within: float = 3.0) -> Response:
        """The next response with one of these statuses. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while True:
                message = await self._arrived.get()
                if not isinstance(message, Response) or method not in ("", message.cseq.method):
                    continue
                if not statuses or message.status in statuses:
                    return message

    def request(
        self,
        method: str,
        uri: str,
        *,
        call_id: str = "",
        branch: str = "",
        tag: str = "abc",
        to_tag: str = "",
        sequence: int = 1,
        offer: bool | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Request:
        body = b""
        if method == "INVITE" if offer is None else offer:
            body = build_audio(
                address=self.address.host, port=self.address.port, session_id=1, codecs=(PCMU,)
            )
        return Request(
            method=method,
            uri=uri,
            headers=(
                (
                    "Via",
                    f"SIP/2.0/UDP {self.address};rport;branch={branch or 'z9hG4bK' + secrets.token_hex(8)}",
                ),
                ("Max-Forwards", "70"),
                ("From", f"<sip:tester@{self.address.host}>;tag={tag}"),
                ("To", f"<{uri}>" + (f";tag={to_tag}" if to_tag else "")),
                ("Call-ID", call_id or secrets.token_hex(8)),
                ("CSeq", f"{sequence} {method}"),
                ("Contact", f"<sip:tester@{self.address}>"),
                *headers,
                *((("Content-Type", "application/sdp"),) if body else ()),
            ),
            body=body,
        )

    def close(self) -> None:
        self._datagrams.close()

    def _take(self, data: bytes, source: Address) -> None:
        try:
            self._arrived.put_nowait(parse_message(data))
        except SipParseError as error:
            raise AssertionError(f"not SIP from {source}: {data!r}") from error
