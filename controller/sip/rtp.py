"""RTP packets, a sender's numbering and a receiver's statistics (RFC 3550 5.1, 6.4, A.1, A.3, A.8)."""

import struct
from dataclasses import dataclass

from controller.sip.errors import RtpError

_HEADER = struct.Struct("!BBHII")
_VERSION = 2
_WINDOW = 1024  # sequence numbers behind the highest in which a duplicate is told from a late packet
_MAX_DROPOUT = 3000
_MAX_MISORDER = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class RtpPacket:
    """`sequence` 16 bits, `timestamp` in units of the codec's clock, `ssrc` 32 bits."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def encode(self) -> bytes:
        return (
            _HEADER.pack(
                _VERSION << 6,
                self.marker << 7 | self.payload_type,
                self.sequence,
                self.timestamp,
                self.ssrc,
            )
            + self.payload
        )


def parse_rtp(datagram: bytes) -> RtpPacket:
    """Read one packet; CSRCs, header extension and padding are stepped over. Raises RtpError."""
    if len(datagram) < _HEADER.size:
        raise RtpError("shorter than an RTP header")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(datagram)
    if first >> 6 != _VERSION:
        raise RtpError("not RTP version 2")
    if 200 <= second <= 211:
        # On one port with RTP these are RTCP (RFC 5761 4).
        raise RtpError("an RTCP packet")
    start = _HEADER.size + 4 * (first & 0x0F)
    if first & 0x10:
        if len(datagram) < start + 4:
            raise RtpError("truncated header extension")
        start += 4 + 4 * int(struct.unpack_from("!H", datagram, start + 2)[0])
    end = len(datagram)
    if first & 0x20:
        if datagram[-1] == 0:
            raise RtpError("padding of length 0")
        end -= datagram[-1]
    if end < start:
        raise RtpError("header or padding is longer than the packet")
    return RtpPacket(
        payload_type=second & 0x7F,
        sequence=sequence,
        timestamp=timestamp,
        ssrc=ssrc,
        payload=datagram[start:end],
        marker=bool(second & 0x80),
    )


class RtpSender:
    """Numbers outgoing packets. `ssrc`, first sequence and timestamp are the caller's random tokens."""

    def __init__(self, *, ssrc: int, payload_type: int, sequence: int = 0, timestamp: int = 0) -> None:
        self.ssrc = ssrc
        self.payload_type = payload_type
        self.packets = 0
        self.octets = 0
        self._sequence = sequence & 0xFFFF
        self._timestamp = timestamp & 0xFFFFFFFF

    @property
    def timestamp(self) -> int:
        """The RTP timestamp of the next packet."""
        return self._timestamp

    def next_packet(self, payload: bytes, *, samples: int) -> RtpPacket:
        """The next packet, covering `samples` of the codec's clock (160 for 20 ms of G.711)."""
        packet = RtpPacket(
            payload_type=self.payload_type,
            sequence=self._sequence,
            timestamp=self._timestamp,
            ssrc=self.ssrc,
            payload=payload,
            marker=self.packets == 0,
        )
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + samples) & 0xFFFFFFFF
        self.packets += 1
        self.octets += len(payload)
        return packet


class ReceiverStatistics:
    """What one received stream looked like.

    A new SSRC or a jump of the sequence (confirmed by a second packet) starts a new segment whose numbers
    are added up with the earlier ones: a platform that reroutes media in a call loses nothing by it.
    """

    def __init__(self, *, clock_rate: int = 8000) -> None:
        self.received = 0  # distinct packets
        self.duplicates = 0
        self.reordered = 0
        self.restarts = 0
        self.first_arrival: float | None = None
        self.last_arrival: float | None = None
        self.ssrc: int | None = None
        self.longest_gap = 0.0  # seconds between two arrivals
        self._clock_rate = clock_rate
        self._jitter = 0.0
        self._transit: float | None = None
        self._base = 0
        self._highest = 0  # extended sequence number
        self._seen = 0  # bit n: highest - n has arrived
        self._earlier_expected = 0
        self._suspect: int | None = None
        self._reported_expected = 0
        self._reported_received = 0

    @property
    def expected(self) -> int:
        if self.ssrc is None:
            return 0
        return self._earlier_expected + self._highest - self._base + 1

    @property
    def lost(self) -> int:
        return max(0, self.expected - self.received)

    @property
    def loss_ratio(self) -> float:
        """0.0 to 1.0; times 100 is the Ppl of the E-model."""
        return self.lost / self.expected if self.expected else 0.0

    @property
    def highest_sequence(self) -> int:
        """Extended highest sequence number, 32 bits, as in a report block."""
        return self._highest & 0xFFFFFFFF

    @property
    def jitter(self) -> float:
        """Interarrival jitter in RTP timestamp units."""
        return self._jitter

    @property
    def jitter_ms(self) -> float:
        return self._jitter / self._clock_rate * 1000

    def receive(self, packet: RtpPacket, now: float) -> None:
        """Count a packet that arrived at `now`, monotonic seconds."""
        if packet.ssrc != self.ssrc:
            self._start(packet)
        elif not self._place(packet.sequence):
            return
        self.received += 1
        if self.first_arrival is None:
            self.first_arrival = now
        if self.last_arrival is not None:
            self.longest_gap = max(self.longest_gap, now - self.last_arrival)
        self.last_arrival = now
        transit = (now * self._clock_rate - packet.timestamp) % 2**32
        if self._transit is not None:
            difference = (transit - self._transit + 2**31) % 2**32 - 2**31
            self._jitter += (abs(difference) - self._jitter) / 16
        self._transit = transit

    def interval_fraction_lost(self) -> int:
        """Loss since the previous call in 1/256, as in a report block (A.3)."""
        expected = self.expected - self._reported_expected
        lost = expected - (self.received - self._reported_received)
        self._reported_expected, self._reported_received = self.expected, self.received
        return 0 if expected <= 0 or lost <= 0 else min(255, (lost << 8) // expected)

    def _start(self, packet: RtpPacket) -> None:
        if self.ssrc is not None:
            self._earlier_expected = self.expected
            self.restarts += 1
        self.ssrc = packet.ssrc
        self._base = self._highest = packet.sequence
        self._seen = 1
        self._transit = None
        self._suspect = None

    def _place(self, sequence: int) -> bool:
        """Fit a sequence number in; True if the packet counts as received."""
        ahead = (sequence - self._highest) & 0xFFFF
        if 0 < ahead < _MAX_DROPOUT:
            self._highest += ahead
            self._seen = (self._seen << ahead | 1) & ((1 << _WINDOW) - 1)
            self._suspect = None
            return True
        behind = -ahead & 0xFFFF
        if behind < _WINDOW and (self._seen >> behind & 1 or behind <= _MAX_MISORDER):
            if self._seen >> behind & 1:
                self.duplicates += 1
                return False
            self._seen |= 1 << behind
            self._base = min(self._base, self._highest - behind)
            self.reordered += 1
            return True
        if self._suspect == sequence:
            self._earlier_expected = self.expected
            self.restarts += 1
            self._base = self._highest = sequence
            self._seen = 1
            self._transit = None
            self._suspect = None
            return True
        self._suspect = (sequence + 1) & 0xFFFF
        return False
