"""The process that places calls, on the caller's host: `python -m lab.calling`, its plan as JSON on standard input.

One thread, two sockets, a heap of deadlines: at 100 calls a second its own delay stays far below a millisecond, and each
call carries how late it was sent. Writes one JSON object a line to the plan's `output`: calls when they end, and "late"
lines for answers to calls already given up.

A call is INVITE (again after 0.5 and 1.5 s while nothing at all comes back, RFC 3261 17.1.1), ACK, hold, BYE. With
`patience_s` gone it is cancelled if anything was heard, and it has timed out.
"""

import contextlib
import heapq
import itertools
import json
import secrets
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, TextIO

from lab import sip
from lab.topology import SIP_PORT

SIGNALLING_PORT: Final = 5060
MEDIA_PORT: Final = 7000
RETRANSMIT_S: Final = (0.5, 1.5, 3.5)
BYE_PATIENCE_S: Final = 2.0
PACKET_S: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`calls` calls at `rate` a second, to the `targets` in turn, each held for `hold_s` and ended.

    `rtp_packets`: how many 20 ms packets of sound each answered call sends while held.
    """

    output: str
    local: str
    targets: list[str]
    user: str
    rate: float
    calls: int
    hold_s: float
    patience_s: float
    rtp_packets: int
    signalling_port: int = SIGNALLING_PORT
    media_port: int = MEDIA_PORT
    target_port: int = SIP_PORT


class Outcome(StrEnum):
    ANSWERED = "answered"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"


@dataclass(kw_only=True)
class Record:
    """One call as written. Times are the monotonic clock in seconds; see callers.Call."""

    call_id: str
    target: str
    started: float
    lag_ms: float
    outcome: Outcome | None = None
    status: int | None = None
    side: str | None = None
    post_dial_delay_ms: float | None = None
    answer_ms: float | None = None
    ended: float | None = None
    released: bool = False
    rtp_sent: int = 0
    rtp_received: int = 0


@dataclass(kw_only=True)
class _Call:
    record: Record
    number: int
    target: tuple[str, int]
    uri: str
    tag: str
    via: str
    invite: bytes
    heard: bool = False
    to: str = ""
    remote: str = ""
    routes: tuple[str, ...] = ()
    next_hop: tuple[str, int] = ("", 0)
    bye: bytes = b""
    written: bool = False
    late: bool = False
    acks: bytes = b""
    media: tuple[str, int] | None = field(default=None)


class Caller:
    """Runs a plan to its end. `stop` keeps new calls from starting; those under way are finished."""

    def __init__(self, plan: Plan, output: TextIO) -> None:
        self._plan = plan
        self._output = output
        self._calls: dict[str, _Call] = {}
        self._open = 0
        self._to_dial = plan.calls
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._stopping = False
        self._sip = self._socket(plan.signalling_port)
        self._rtp = self._socket(plan.media_port)
        self._by_number: list[_Call] = []

    def _socket(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((self._plan.local, port))
        sock.setblocking(False)
        return sock

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        began = time.monotonic() + 0.01
        for number in range(self._plan.calls):
            # A heap entry a call, made beforehand: the rate is fixed and never waits for the calls before.
            due = began + number / self._plan.rate
            self._timers.append((due, next(self._order), lambda n=number, d=due: self._dial(n, d)))  # type: ignore[misc]
        while self._open or (self._to_dial and not self._stopping):
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            if not self._timers:
                break  # the last call has just ended: an open one always has its end due
            # select, as poll and epoll round the wait up to whole milliseconds, which would make the rate uneven.
            wait_s = max(0.0, self._timers[0][0] - time.monotonic())
            if select.select([self._sip, self._rtp], [], [], wait_s)[0]:
                self._drain()

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (when, next(self._order), act))

    def _send(self, sock: socket.socket, data: bytes, to: tuple[str, int]) -> None:
        # Nobody hears a datagram that can't be sent: like one lost, it shows as a missing answer.
        with contextlib.suppress(OSError):
            sock.sendto(data, to)

    def _dial(self, number: int, due: float) -> None:
        if self._stopping:
            return
        self._to_dial -= 1
        plan = self._plan
        host = plan.targets[number % len(plan.targets)]
        call_id, via, tag = f"{secrets.token_hex(8)}-{number}", sip.branch(), secrets.token_hex(4)
        uri = f"sip:{plan.user}@{host}:{plan.target_port}"
        started = time.monotonic()
        invite = sip.request(
            "INVITE",
            uri,
            local=(plan.local, plan.signalling_port),
            via_branch=via,
            call_id=call_id,
            from_tag=tag,
            to=f"<{uri}>",
            extra=(f"X-Sent: {time.monotonic_ns()}",),
            body=sip.offer(plan.local, plan.media_port),
        )
        call = _Call(
            record=Record(call_id=call_id, target=host, started=started, lag_ms=(started - due) * 1000),
            number=len(self._by_number),
            target=(host, plan.target_port),
            uri=uri,
            tag=tag,
            via=via,
            invite=invite,
        )
        self._by_number.append(call)
        self._calls[call_id] = call
        self._open += 1
        self._send(self._sip, invite, call.target)
        for delay in RETRANSMIT_S:
            if delay < plan.patience_s:
                self._at(started + delay, lambda: self._repeat_invite(call))
        self._at(started + plan.patience_s, lambda: self._give_up(call))

    def _repeat_invite(self, call: _Call) -> None:
        if not call.heard and call.record.outcome is None:
            self._send(self._sip, call.invite, call.target)

    def _give_up(self, call: _Call) -> None:
        if call.record.outcome is not None:
            return
        call.record.outcome = Outcome.TIMED_OUT
        if call.heard:
            self._send(self._sip, self._request(call, "CANCEL", via=call.via), call.target)
        self._end(call)

    def _request(self, call: _Call, method: str, *, via: str, to: str = "", cseq: int = 1) -> bytes:
        in_dialog = bool(call.remote)
        return sip.request(
            method,
            call.remote or call.uri,
            local=(self._plan.local, self._plan.signalling_port),
            via_branch=via,
            call_id=call.record.call_id,
            from_tag=call.tag,
            to=to or call.to or f"<{call.uri}>",
            cseq=cseq,
            routes=call.routes if in_dialog else (),
        )

    def _drain(self) -> None:
        for sock, handle in ((self._sip, self._on_sip), (self._rtp, self._on_rtp)):
            for _ in range(256):
                try:
                    data, source = sock.recvfrom(65535)
                except BlockingIOError:
                    break
                except ConnectionError:
                    continue
                handle(data, source)

    def _on_rtp(self, data: bytes, source: tuple[str, int]) -> None:
        if len(data) >= 12:
            number = struct.unpack_from("!I", data, 8)[0]
            if number < len(self._by_number):
                self._by_number[number].record.rtp_received += 1

    def _on_sip(self, data: bytes, source: tuple[str, int]) -> None:
        response = sip.parse(data, source)
        if response is None or (call := self._calls.get(response.one("call-id") or "")) is None:
            return
        method = (response.one("cseq") or "").rpartition(" ")[2]
        if method == "INVITE":
            self._on_invite_response(call, response)
        elif method == "BYE" and response.status >= 200 and call.bye and not call.written:
            call.record.released = response.status < 300
            self._end(call)

    def _on_invite_response(self, call: _Call, response: sip.Response) -> None:
        now = time.monotonic()
        record = call.record
        call.heard = True
        if response.status >= 180 and record.post_dial_delay_ms is None and response.status < 300:
            record.post_dial_delay_ms = (now - record.started) * 1000
        if response.status < 200:
            return
        if response.status >= 300:
            ack = self._request(call, "ACK", via=call.via, to=response.one("to") or "")
            self._send(self._sip, ack, call.target)
            if record.outcome is None:
                record.outcome = Outcome.REFUSED
                record.status, record.side = response.status, response.side
                self._end(call)
            return
        if call.acks:
            self._send(
                self._sip, call.acks, call.next_hop
            )  # the 200 again: our ACK was lost (RFC 3261 13.2.2.4)
            return
        call.to = response.one("to") or ""
        call.remote, call.routes = sip.dialog(response, call.uri)
        call.next_hop = _next_hop(call.routes[0] if call.routes else call.remote)
        call.acks = self._request(call, "ACK", via=sip.branch())
        self._send(self._sip, call.acks, call.next_hop)
        if record.outcome is not None:
            self._late_answer(call, response, now)
            return
        record.outcome, record.status, record.side = Outcome.ANSWERED, response.status, response.side
        record.answer_ms = (now - record.started) * 1000
        call.media = sip.media_address(response.body)
        if call.media is not None:
            for index in range(self._plan.rtp_packets):
                self._at(now + index * PACKET_S, lambda i=index: self._speak(call, i))  # type: ignore[misc]
        self._at(now + self._plan.hold_s, lambda: self._hang_up(call))

    def _late_answer(self, call: _Call, response: sip.Response, now: float) -> None:
        """An answer to a call the caller has left: end it, and say that it happened."""
        self._send(self._sip, self._request(call, "BYE", via=sip.branch(), cseq=2), call.next_hop)
        if not call.late:
            call.late = True
            line = {"late": call.record.call_id, "at": now, "side": response.side}
            self._output.write(json.dumps(line) + "\n")

    def _speak(self, call: _Call, index: int) -> None:
        if call.media is not None and not call.written:
            header = struct.pack("!BBHII", 0x80, 0, index, index * 160, call.number)
            self._send(self._rtp, header + b"\xff" * 160, call.media)
            call.record.rtp_sent += 1

    def _hang_up(self, call: _Call) -> None:
        now = time.monotonic()
        call.bye = self._request(call, "BYE", via=sip.branch(), cseq=2)
        self._send(self._sip, call.bye, call.next_hop)
        for delay in RETRANSMIT_S:
            if delay < BYE_PATIENCE_S:
                self._at(now + delay, lambda: self._repeat_bye(call))
        self._at(now + BYE_PATIENCE_S, lambda: self._end(call))

    def _repeat_bye(self, call: _Call) -> None:
        if not call.written:
            self._send(self._sip, call.bye, call.next_hop)

    def _end(self, call: _Call) -> None:
        if call.written:
            return
        call.written = True
        call.record.ended = time.monotonic()
        self._open -= 1
        self._output.write(json.dumps(asdict(call.record)) + "\n")


def _next_hop(value: str) -> tuple[str, int]:
    """Host and port of a SIP URI, or of a header value that holds one in angle brackets."""
    uri = value.partition("<")[2].partition(">")[0] or value
    host, _, port = uri.removeprefix("sip:").partition(";")[0].rpartition("@")[2].partition(":")
    return host, int(port or SIP_PORT)


def main() -> None:
    plan = Plan(**json.load(sys.stdin))
    with Path(plan.output).open("w", buffering=1) as output:
        caller = Caller(plan, output)
        signal.signal(signal.SIGTERM, lambda *_: caller.stop())
        print("ready", flush=True)
        caller.run()


if __name__ == "__main__":
    main()
