"""SDP, RTP, RTCP, the echo proof and the E-model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.sip import g711
from controller.sip.echo import EchoProof, MediaPath
from controller.sip.emodel import G711, G711_PLC, G723_1, G729A_VAD, mos, r_factor
from controller.sip.errors import RtpError, SdpError
from controller.sip.rtcp import (
    ReceiverReport,
    ReportBlock,
    SenderReport,
    encode_compound,
    is_rtcp,
    middle_bits,
    ntp_timestamp,
    parse_rtcp,
    report_block,
)
from controller.sip.rtp import ReceiverStatistics, RtpPacket, RtpSender, parse_rtp
from controller.sip.sdp import PCMA, PCMU, Codec, Direction, build_audio, choose_codec, parse_audio


def test_offer_reads_back() -> None:
    offer = build_audio(
        address="2001:db8::1", port=4000, session_id=5, direction=Direction.SENDONLY, ptime=30
    )
    assert b"c=IN IP6 2001:db8::1\r\n" in offer
    audio = parse_audio(offer)
    assert (audio.address, audio.port, audio.rtcp_port) == ("2001:db8::1", 4000, 4001)
    assert (audio.codecs, audio.direction, audio.ptime) == ((PCMU, PCMA), Direction.SENDONLY, 30)


BODY = b"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\na=recvonly\n"


@pytest.mark.parametrize(
    ("media", "address", "port", "rtcp_port", "direction", "codecs"),
    [
        (b"m=audio 4000 RTP/AVP 0\n", "192.0.2.1", 4000, 4001, Direction.RECVONLY, ("PCMU",)),
        (b"m=video 1 RTP/AVP 31\nm=audio 2 RTP/AVP 8\nc=IN IP4 192.0.2.9\na=inactive\n",
         "192.0.2.9", 2, 3, Direction.INACTIVE, ("PCMA",)),
        (b"m=audio 4000 RTP/AVP 96 0\na=rtpmap:96 opus/48000/2\na=rtcp-mux\n",
         "192.0.2.1", 4000, 4000, Direction.RECVONLY, ("opus", "PCMU")),
        (b"m=audio 4000 RTP/AVP 99\na=rtcp:5005 IN IP4 192.0.2.1\n",
         "192.0.2.1", 4000, 5005, Direction.RECVONLY, ()),
        (b"m=audio 0 RTP/AVP 0\n", "192.0.2.1", 0, 0, Direction.RECVONLY, ("PCMU",)),
    ],
)  # fmt: skip
def test_answers(
    media: bytes, address: str, port: int, rtcp_port: int, direction: Direction, codecs: tuple[str, ...]
) -> None:
    audio = parse_audio(BODY + media)
    assert (audio.address, audio.port, audio.rtcp_port) == (address, port, rtcp_port)
    assert audio.direction is direction
    assert tuple(codec.name for codec in audio.codecs) == codecs


def test_hold_is_seen() -> None:
    assert parse_audio(BODY.replace(b"192.0.2.1\nt", b"0.0.0.0\nt") + b"m=audio 4 RTP/AVP 0\n").held


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        BODY,
        BODY + b"m=audio\n",
        BODY + b"m=audio x RTP/AVP 0\n",
        BODY + b"m=audio 99999 RTP/AVP 0\n",
        BODY + b"m=audio 4000 RTP/AVP 300\n",
        BODY + b"m=audio 4000 RTP/AVP 96\na=rtpmap:96 opus\n",
        BODY + b"m=audio 4000 RTP/AVP 0\na=ptime:x\n",
        BODY.replace(b"c=IN IP4 192.0.2.1\n", b"") + b"m=audio 4000 RTP/AVP 0\n",
        BODY.replace(b"c=IN IP4 192.0.2.1", b"c=IN IP4 192.0.2.999") + b"m=audio 4000 RTP/AVP 0\n",
        BODY.replace(b"v=0", b"v=1") + b"m=audio 4000 RTP/AVP 0\n",
    ],
)
def test_malformed_description(body: bytes) -> None:
    with pytest.raises(SdpError):
        parse_audio(body)


@given(st.binary(max_size=300))
def test_description_raises_nothing_else(noise: bytes) -> None:
    for body in (noise, BODY + noise, BODY + b"m=audio 4000 RTP/AVP 0\n" + noise):
        try:
            parse_audio(body)
        except SdpError:
            continue


def test_codec_choice() -> None:
    answer = parse_audio(BODY + b"m=audio 4 RTP/AVP 97 8\na=rtpmap:97 pcmu/8000\n")
    assert choose_codec((PCMU, PCMA), answer) == Codec(payload_type=97, name="pcmu", clock_rate=8000)
    with pytest.raises(SdpError):
        choose_codec((Codec(payload_type=9, name="G722", clock_rate=8000),), answer)


def test_packet_reads_back() -> None:
    packet = RtpPacket(
        payload_type=8, sequence=65535, timestamp=2**32 - 1, ssrc=7, payload=b"abc", marker=True
    )
    assert parse_rtp(packet.encode()) == packet


def test_packet_with_csrc_extension_and_padding() -> None:
    plain = RtpPacket(payload_type=0, sequence=1, timestamp=2, ssrc=3, payload=b"").encode()
    data = bytes((plain[0] | 0x32,)) + plain[1:] + b"c" * 8 + b"\0\0\0\1" + b"e" * 4 + b"pay" + b"\0\0\3"
    assert parse_rtp(data).payload == b"pay"


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80" * 11, b"\x40" + b"\0" * 11, b"\x80\xc8" + b"\0" * 10, b"\x8f\0" + b"\0" * 20,
     b"\x90\0" + b"\0" * 10, b"\xa0\0" + b"\0" * 10, b"\xa0\0" + b"\0" * 9 + b"\xff"],
)  # fmt: skip
def test_not_rtp(data: bytes) -> None:
    with pytest.raises(RtpError):
        parse_rtp(data)


@given(st.binary(max_size=64))
def test_rtp_and_rtcp_raise_nothing_else(data: bytes) -> None:
    for parse in (parse_rtp, parse_rtcp):
        try:
            parse(data)
        except RtpError:
            continue


def stream(count: int, *, start: int = 0, ssrc: int = 1) -> list[RtpPacket]:
    sender = RtpSender(ssrc=ssrc, payload_type=0, sequence=start)
    return [sender.next_packet(b"\xff" * 160, samples=160) for _ in range(count)]


def received(packets: list[RtpPacket], *, interval: float = 0.02) -> ReceiverStatistics:
    statistics = ReceiverStatistics()
    for index, packet in enumerate(packets):
        statistics.receive(packet, index * interval)
    return statistics


def test_sender_numbers_and_marks_the_first() -> None:
    packets = stream(3, start=65535)
    assert [packet.sequence for packet in packets] == [65535, 0, 1]
    assert [packet.timestamp for packet in packets] == [0, 160, 320]
    assert [packet.marker for packet in packets] == [True, False, False]


def test_clean_stream_over_the_wrap() -> None:
    statistics = received(stream(200, start=65500))
    assert (statistics.expected, statistics.received, statistics.lost) == (200, 200, 0)
    assert statistics.highest_sequence == 65500 + 199
    assert statistics.jitter == pytest.approx(0, abs=1e-6)


def test_loss_duplicates_and_reordering() -> None:
    packets = stream(100, start=65500)
    del packets[50:55]
    packets.insert(20, packets[19])
    packets[30], packets[31] = packets[31], packets[30]
    statistics = received(packets)
    assert (statistics.expected, statistics.received, statistics.lost) == (100, 95, 5)
    assert (statistics.duplicates, statistics.reordered) == (1, 1)
    assert statistics.loss_ratio == 0.05


def test_first_packets_swapped() -> None:
    packets = stream(10, start=65535)
    packets[0], packets[1] = packets[1], packets[0]
    statistics = received(packets)
    assert (statistics.expected, statistics.received, statistics.lost) == (10, 10, 0)


def test_a_single_stray_packet_changes_nothing() -> None:
    packets = stream(20)
    packets.insert(10, RtpPacket(payload_type=0, sequence=40000, timestamp=0, ssrc=1, payload=b""))
    statistics = received(packets)
    assert (statistics.expected, statistics.received, statistics.restarts) == (20, 20, 0)


def test_restarts_are_added_up() -> None:
    rerouted = received(stream(10) + stream(5, start=30000, ssrc=2))
    assert (rerouted.expected, rerouted.received, rerouted.restarts) == (15, 15, 1)
    jumped = received(stream(10) + stream(6, start=30000))
    # The packet that announced the jump is not counted (RFC 3550 A.1).
    assert (jumped.expected, jumped.received, jumped.restarts) == (15, 15, 1)


def test_jitter_follows_the_formula() -> None:
    statistics = ReceiverStatistics()
    packets = stream(4)
    expected, arrivals = 0.0, [0.0, 0.025, 0.04, 0.07]
    for packet, arrival in zip(packets, arrivals, strict=True):
        statistics.receive(packet, arrival)
    for difference in (40, 40, 80):
        expected += (difference - expected) / 16
    assert statistics.jitter == pytest.approx(expected)
    assert statistics.jitter_ms == pytest.approx(expected / 8)
    assert statistics.longest_gap == pytest.approx(0.03)


def test_interval_loss() -> None:
    packets = stream(20)
    statistics = received(packets[:5] + packets[10:])
    assert statistics.interval_fraction_lost() == 5 * 256 // 20
    assert statistics.interval_fraction_lost() == 0


def test_nothing_received() -> None:
    statistics = ReceiverStatistics()
    assert (statistics.expected, statistics.lost, statistics.loss_ratio) == (0, 0, 0.0)


BLOCK = ReportBlock(ssrc=9, fraction_lost=12, lost=-3, highest_sequence=70000, jitter=5)


@pytest.mark.parametrize(
    "report",
    [
        SenderReport(ssrc=1, ntp=2**63 + 5, rtp_timestamp=3, packets=4, octets=5, blocks=(BLOCK, BLOCK)),
        SenderReport(ssrc=1, ntp=0, rtp_timestamp=3, packets=4, octets=5),
        ReceiverReport(ssrc=1, blocks=(BLOCK,)),
    ],
)
def test_report_reads_back(report: SenderReport | ReceiverReport) -> None:
    for cname in ("", "a", "ab", "abc", "abcd"):
        data = encode_compound(report, cname=cname)
        assert is_rtcp(data)
        assert len(data) % 4 == 0
        assert parse_rtcp(data) == (report,)


def test_round_trip_from_reports() -> None:
    sent = ntp_timestamp(100.0)
    block = ReportBlock(
        ssrc=1, fraction_lost=0, lost=0, highest_sequence=0, jitter=0,
        last_sender_report=middle_bits(sent), delay_since=65536 // 2,
    )  # fmt: skip
    assert block.round_trip(100.62) == pytest.approx(0.12, abs=1e-4)
    assert block.round_trip(100.4) == 0.0
    assert BLOCK.round_trip(100.0) is None


def test_report_on_a_stream() -> None:
    statistics = received(stream(10)[:4] + stream(10)[6:])
    theirs = SenderReport(ssrc=1, ntp=ntp_timestamp(50.0), rtp_timestamp=0, packets=10, octets=1600)
    block = report_block(statistics, sender_report=theirs, age=0.25)
    assert (block.ssrc, block.lost, block.highest_sequence) == (1, 2, 9)
    assert block.fraction_lost == 2 * 256 // 10
    assert block.round_trip(50.35) == pytest.approx(0.1, abs=1e-4)
    with pytest.raises(ValueError, match="no stream"):
        report_block(ReceiverStatistics())


def test_round_trip_over_the_wrap_of_the_middle_bits() -> None:
    sent = ntp_timestamp(65535.9)
    block = ReportBlock(
        ssrc=1, fraction_lost=0, lost=0, highest_sequence=0, jitter=0,
        last_sender_report=middle_bits(sent), delay_since=0,
    )  # fmt: skip
    assert block.round_trip(65536.1) == pytest.approx(0.2, abs=1e-4)


def test_echo_of_our_own_packets_is_proven() -> None:
    proof = EchoProof(b"12345678")
    payloads = [proof.payload(n * 0.02) for n in range(10)]
    assert all(len(payload) == 160 for payload in payloads)
    for n, payload in enumerate(payloads[:8]):
        proof.receive(payload, n * 0.02 + 0.05)
    proof.receive(payloads[0], 1.0)
    assert (proof.echoed, proof.foreign, proof.path) == (8, 0, MediaPath.BOTH_WAYS)
    assert proof.round_trips == pytest.approx([0.05] * 8)
    assert proof.round_trip_loss == pytest.approx(0.2)


def test_echo_survives_repacketizing() -> None:
    proof = EchoProof(b"12345678")
    audio = proof.payload(0.0) + proof.payload(0.02)
    proof.receive(audio[80:240], 0.1)
    assert proof.echoed == 1


def test_tone_runs_on_from_packet_to_packet() -> None:
    proof = EchoProof(b"12345678", law=g711.Law.A)
    whole = g711.encode(g711.tone(frequency=1004.0, samples=160 * 30), g711.Law.A)
    for n in range(30):
        assert proof.payload(n * 0.02)[24:] == whole[n * 160 + 24 : n * 160 + 160]


def test_mark_is_quiet() -> None:
    for law in g711.Law:
        mark = EchoProof(bytes(range(248, 256)), law=law).payload(0.0)[:24]
        assert all(abs(sample) <= 256 for sample in g711.decode(mark, law))


def test_transcoded_echo_is_known_by_its_tone() -> None:
    proof = EchoProof(b"12345678")
    linear = g711.decode(proof.payload(0.0), g711.Law.MU)
    proof.receive(g711.encode(linear, g711.Law.A), 0.1, law=g711.Law.A)
    assert (proof.echoed, proof.tones, proof.path) == (0, 1, MediaPath.BOTH_WAYS)


def test_other_audio_is_no_proof() -> None:
    proof = EchoProof(b"12345678")
    assert proof.path is MediaPath.NOTHING_SENT
    proof.payload(0.0)
    assert proof.path is MediaPath.NOTHING_RECEIVED
    other = EchoProof(b"87654321")
    for payload in (b"\xff" * 160, g711.encode(g711.tone(frequency=440, samples=160), g711.Law.MU)):
        proof.receive(payload, 0.1)
    assert (proof.foreign, proof.tones, proof.path) == (2, 0, MediaPath.NOT_HEARD)
    assert other.path is MediaPath.NOTHING_SENT


@pytest.mark.parametrize("law", g711.Law)
def test_companding_is_stable(law: g711.Law) -> None:
    for sample in range(-32768, 32768, 37):
        once = g711.decode(g711.encode([sample], law), law)
        assert abs(once[0] - sample) <= max(16, abs(sample) * 0.04)
        assert g711.decode(g711.encode(once, law), law) == once


def test_g711_known_codes() -> None:
    assert g711.encode([0, -1, 32767, -32768], g711.Law.MU) == b"\xff\x7f\x80\x00"
    assert g711.encode([0, -1, 32767, -32768], g711.Law.A) == b"\xd5\x55\xaa\x2a"


def test_emodel_reference_points() -> None:
    assert mos(93.2) == pytest.approx(4.41, abs=0.005)
    assert r_factor(one_way_delay_ms=0, loss_percent=0, codec=G711) == pytest.approx(93.2)
    assert r_factor(one_way_delay_ms=0, loss_percent=5, codec=G711_PLC) == pytest.approx(77, abs=0.5)
    assert r_factor(one_way_delay_ms=0, loss_percent=5, codec=G711) == pytest.approx(42, abs=0.5)


def test_emodel_delay_bends_at_177_ms() -> None:
    below, above = (r_factor(one_way_delay_ms=d, loss_percent=0, codec=G711) for d in (177.3, 277.3))
    assert below == pytest.approx(93.2 - 0.024 * 177.3)
    assert below - above == pytest.approx(2.4 + 11)


def test_emodel_orders_codecs_and_clamps() -> None:
    ratings = [r_factor(one_way_delay_ms=20, loss_percent=1, codec=c) for c in (G711_PLC, G729A_VAD, G723_1)]
    assert ratings == sorted(ratings, reverse=True)
    assert r_factor(one_way_delay_ms=3000, loss_percent=100, codec=G711) == 0.0
    assert (mos(-5), mos(0), mos(120)) == (1.0, 1.0, 4.5)
    assert min(mos(r / 10) for r in range(1000)) >= 1.0


@pytest.mark.parametrize(("delay", "loss", "burst"), [(-1, 0, 1), (0, -1, 1), (0, 101, 1), (0, 1, 0)])
def test_emodel_refuses_nonsense(delay: float, loss: float, burst: float) -> None:
    with pytest.raises(ValueError, match="."):
        r_factor(one_way_delay_ms=delay, loss_percent=loss, codec=G711, burst_ratio=burst)
