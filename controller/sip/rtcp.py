"""RTCP sender and receiver reports, and the round trip they measure (RFC 3550 6.4)."""

import struct
from dataclasses import dataclass

from controller.sip.errors import RtpError
from controller.sip.rtp import ReceiverStatistics

_SENDER_REPORT = 200
_RECEIVER_REPORT = 201
_SDES = 202
_BLOCK = struct.Struct("!IIIIII")
_HEADER = struct.Struct("!BBHI")
_SENDER = struct.Struct("!QIII")


def ntp_timestamp(seconds: float) -> int:
    """`seconds` as 64-bit fixed point.

    Any clock serves that only its own reader compares with itself, so a monotonic one is right here: the
    peer copies the middle 32 bits back unread.
    """
    return int(seconds * 2**32) & 0xFFFFFFFFFFFFFFFF


def middle_bits(ntp: int) -> int:
    """The middle 32 of the 64 bits, in 1/65536 s: the form of LSR."""
    return ntp >> 16 & 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportBlock:
    """One source as its receiver saw it.

    `fraction_lost` in 1/256 since the last report, `jitter` in timestamp units, `last_sender_report` (LSR)
    and `delay_since` (DLSR) in 1/65536 s.
    """

    ssrc: int
    fraction_lost: int
    lost: int
    highest_sequence: int
    jitter: int
    last_sender_report: int = 0
    delay_since: int = 0

    def round_trip(self, arrival: float) -> float | None:
        """Seconds, from the clock that `arrival` and our sender report's ntp were read from.

        None when the peer has no sender report of ours yet. Never negative: DLSR may be rounded up.
        """
        if self.last_sender_report == 0:
            return None
        ticks = middle_bits(ntp_timestamp(arrival)) - self.last_sender_report - self.delay_since
        ticks = (ticks + 2**31) % 2**32 - 2**31
        return max(0, ticks) / 65536


@dataclass(frozen=True, kw_only=True, slots=True)
class SenderReport:
    """`ntp` 64-bit fixed point; `packets` and `octets` sent so far."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()

    def encode(self) -> bytes:
        sender = _SENDER.pack(
            self.ntp, self.rtp_timestamp, self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF
        )
        return _report(_SENDER_REPORT, self.ssrc, sender, self.blocks)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiverReport:
    """A report of one who has sent nothing."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()

    def encode(self) -> bytes:
        return _report(_RECEIVER_REPORT, self.ssrc, b"", self.blocks)


Report = SenderReport | ReceiverReport


def report_block(
    statistics: ReceiverStatistics, *, sender_report: SenderReport | None = None, age: float = 0.0
) -> ReportBlock:
    """The block on a received stream, for our next report; it starts a new loss interval.

    `sender_report` is the stream's last one and `age` the seconds since it came. Raises ValueError if nothing
    was received: there is no one to report on.
    """
    if statistics.ssrc is None:
        raise ValueError("no stream to report on")
    return ReportBlock(
        ssrc=statistics.ssrc,
        fraction_lost=statistics.interval_fraction_lost(),
        lost=statistics.lost,
        highest_sequence=statistics.highest_sequence,
        jitter=int(statistics.jitter),
        last_sender_report=0 if sender_report is None else middle_bits(sender_report.ntp),
        delay_since=0 if sender_report is None else min(int(age * 65536), 0xFFFFFFFF),
    )


def encode_compound(report: Report, *, cname: str) -> bytes:
    """A report with the SDES CNAME that every compound packet carries (6.1)."""
    name = cname.encode()[:255]
    item = bytes((1, len(name))) + name
    chunk = struct.pack("!I", report.ssrc) + item
    chunk += b"\0" * (4 - len(chunk) % 4)
    return report.encode() + struct.pack("!BBH", 0x81, _SDES, len(chunk) // 4) + chunk


def is_rtcp(datagram: bytes) -> bool:
    """Whether a datagram on a port shared with RTP is RTCP (RFC 5761 4)."""
    return len(datagram) >= 8 and datagram[0] >> 6 == 2 and 200 <= datagram[1] <= 211


def parse_rtcp(datagram: bytes) -> tuple[Report, ...]:
    """The sender and receiver reports of a compound packet, others stepped over. Raises RtpError."""
    reports: list[Report] = []
    position = 0
    while position < len(datagram):
        if len(datagram) - position < 4:
            raise RtpError("truncated RTCP header")
        first, kind, words = struct.unpack_from("!BBH", datagram, position)
        end = position + 4 + 4 * words
        if first >> 6 != 2 or end > len(datagram):
            raise RtpError("not RTCP version 2, or a length beyond the packet")
        if kind in (_SENDER_REPORT, _RECEIVER_REPORT):
            reports.append(_parse_report(datagram[position:end], kind, first & 0x1F))
        position = end
    return tuple(reports)


def _parse_report(packet: bytes, kind: int, count: int) -> Report:
    start = _HEADER.size + (_SENDER.size if kind == _SENDER_REPORT else 0)
    if len(packet) < start + count * _BLOCK.size:
        raise RtpError("report is shorter than its count of blocks")
    ssrc = int(_HEADER.unpack_from(packet)[3])
    blocks = tuple(_parse_block(packet, start + index * _BLOCK.size) for index in range(count))
    if kind == _RECEIVER_REPORT:
        return ReceiverReport(ssrc=ssrc, blocks=blocks)
    ntp, timestamp, packets, octets = _SENDER.unpack_from(packet, _HEADER.size)
    return SenderReport(
        ssrc=ssrc, ntp=ntp, rtp_timestamp=timestamp, packets=packets, octets=octets, blocks=blocks
    )


def _parse_block(packet: bytes, position: int) -> ReportBlock:
    ssrc, loss, highest, jitter, last, delay = _BLOCK.unpack_from(packet, position)
    lost = loss & 0xFFFFFF
    return ReportBlock(
        ssrc=ssrc,
        fraction_lost=loss >> 24,
        lost=lost - 2**24 if lost >= 2**23 else lost,
        highest_sequence=highest,
        jitter=jitter,
        last_sender_report=last,
        delay_since=delay,
    )


def _report(kind: int, ssrc: int, sender: bytes, blocks: tuple[ReportBlock, ...]) -> bytes:
    body = sender + b"".join(_encode_block(block) for block in blocks)
    return _HEADER.pack(0x80 | len(blocks), kind, 1 + len(body) // 4, ssrc) + body


def _encode_block(block: ReportBlock) -> bytes:
    lost = max(-(2**23), min(2**23 - 1, block.lost)) & 0xFFFFFF
    return _BLOCK.pack(
        block.ssrc,
        (block.fraction_lost & 0xFF) << 24 | lost,
        block.highest_sequence,
        block.jitter,
        block.last_sender_report,
        block.delay_since,
    )
