"""The media of one test call: RTP out at a steady pace, what comes back, and what it says of both directions."""

from __future__ import annotations

import asyncio
import math
import secrets
import socket
import time
from typing import NamedTuple

from controller.probes.datagrams import Address, DatagramSocket
from controller.probes.mass import OURS
from controller.sip import g711
from controller.sip.echo import EchoProof, MediaPath
from controller.sip.emodel import G711_PLC, mos, r_factor
from controller.sip.errors import RtpError, SdpError
from controller.sip.rtp import ReceiverStatistics, RtpSender, parse_rtp
from controller.sip.sdp import PCMA, PCMU, AudioDescription, Codec, build_audio, choose_codec

PACKET_TIME = 0.02
SAMPLES = 160
CODECS: tuple[Codec, ...] = (PCMU, PCMA)
STRAGGLERS = 0.2
"""Seconds to wait for the last packets after ours have all been sent."""

LAG_TOLERATED = STRAGGLERS / 4
"""Seconds that our own sender or wait may be late, a quarter of what every packet has to come back in. Later than that
packets leave in bursts, which the far side's jitter buffer drops, and what is missing or bad may be our own doing."""


class MediaReport(NamedTuple):
    """`loss_percent` is of our packets that did not come back, both directions together; `mos` is reckoned from it and
    from half the round trip. `one_way` names the direction without proof of audio: "" none, "in" nothing arrives here
    (whether we are heard can't be told then), "out" audio arrives, but never ours, "both" the answer refuses audio.
    `doubt` says why, through our own fault, nothing bad in it is evidence; empty when it is."""

    sent: int = 0
    received: int = 0
    loss_percent: float = 0.0
    jitter_ms: float = 0.0
    round_trip: float | None = None
    mos: float | None = None
    one_way: str = ""
    codec: str = ""
    doubt: str = ""


class Media:
    """Open before the INVITE, since the offer names its port."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((host, 0))
        self._host = host
        self._port = int(sock.getsockname()[1])
        self._loop = loop
        self._statistics = ReceiverStatistics()
        self._proof: EchoProof | None = None
        self._complete = asyncio.Event()
        self._all_sent = False
        self._lag = 0.0  # the worst lateness of our own timers, seconds
        self._unsent = 0  # packets that our own host did not take
        self._socket = DatagramSocket(sock, loop, self._receive, lambda datagram, address, code: None)

    def offer(self) -> bytes:
        return build_audio(
            address=self._host, port=self._port, session_id=secrets.randbelow(2**31), codecs=CODECS
        )

    async def run(self, answer: AudioDescription, seconds: float) -> MediaReport:
        """Send for `seconds` and report. An answer with a name that does not resolve, or with an address of the other IP
        version than we offered, counts as refusing audio."""
        if answer.port == 0 or answer.held:
            return MediaReport(one_way="both")
        try:
            codec = choose_codec(CODECS, answer)
            remote = await self._remote(answer)
        except (SdpError, OSError):
            return MediaReport(one_way="both")
        law = g711.Law.A if codec.name.upper() == "PCMA" else g711.Law.MU
        proof = self._proof = EchoProof(secrets.token_bytes(8), law=law)
        sender = RtpSender(
            ssrc=secrets.randbits(32),
            payload_type=codec.payload_type,
            sequence=secrets.randbits(15),
            timestamp=secrets.randbits(31),
        )
        started = time.monotonic()
        for number in range(max(1, round(seconds / PACKET_TIME))):
            due = started + number * PACKET_TIME
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            self._lag = max(self._lag, now - due)
            payload = proof.payload(now, samples=SAMPLES)
            code = self._socket.send(sender.next_packet(payload, samples=SAMPLES).encode(), remote)
            self._unsent += code in OURS
        self._all_sent = True
        self._check_complete()
        due = time.monotonic() + STRAGGLERS
        try:
            async with asyncio.timeout(STRAGGLERS):
                await self._complete.wait()
        except TimeoutError:
            self._lag = max(self._lag, time.monotonic() - due)
            # A loop that was late serves the timer before it has read all that waits.
            self._socket.drain()
        return self._report(proof, codec)._replace(doubt=self._doubt(started))

    def _doubt(self, started: float) -> str:
        if self._unsent:
            return f"our own host did not send {self._unsent} packets"
        if self._lag > LAG_TOLERATED:
            return f"our own loop lagged {math.ceil(self._lag * 1000)} ms"
        if self._socket.lost_since(started):
            return "our own socket overflowed"
        return ""

    def close(self) -> None:
        self._socket.close()

    async def _remote(self, answer: AudioDescription) -> Address:
        family = self._socket.socket.family
        found = await self._loop.getaddrinfo(
            answer.address, answer.port, family=family, type=socket.SOCK_DGRAM
        )
        address: Address = found[0][4]
        return address

    def _receive(self, datagram: bytes, address: Address) -> None:
        now = time.monotonic()
        try:
            packet = parse_rtp(datagram)
        except RtpError:
            return
        self._statistics.receive(packet, now)
        if self._proof is not None:
            law = {PCMU.payload_type: g711.Law.MU, PCMA.payload_type: g711.Law.A}.get(packet.payload_type)
            self._proof.receive(packet.payload, now, law=law)
            self._check_complete()

    def _check_complete(self) -> None:
        proof = self._proof
        if self._all_sent and proof is not None and proof.echoed + proof.tones >= proof.sent:
            self._complete.set()

    def _report(self, proof: EchoProof, codec: Codec) -> MediaReport:
        trips = sorted(proof.round_trips)
        round_trip = trips[len(trips) // 2] if trips else None
        loss = min(100.0, max(0.0, 100 * proof.round_trip_loss))
        match proof.path:
            case MediaPath.BOTH_WAYS:
                one_way = ""
            case MediaPath.NOT_HEARD:
                one_way = "out"
            case MediaPath.NOTHING_RECEIVED:
                one_way = "in"
            case MediaPath.NOTHING_SENT:
                one_way = "both"
        score = mos(
            r_factor(one_way_delay_ms=1000 * (round_trip or 0.0) / 2, loss_percent=loss, codec=G711_PLC)
        )
        return MediaReport(
            sent=proof.sent,
            received=self._statistics.received,
            loss_percent=round(loss, 2),
            jitter_ms=round(self._statistics.jitter_ms, 3),
            round_trip=round_trip,
            mos=round(score, 2) if not one_way else 1.0,
            one_way=one_way,
            codec=codec.name,
        )
