"""Stream framing, and the building blocks of a server: replies, screening, forwarding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.sip.errors import SipParseError
from controller.sip.forwarding import TooManyHopsError, forward, take_via_off
from controller.sip.messages import Headers, Request, parse_message
from controller.sip.replies import ReplyCache, reply, reply_address, stamp_source
from controller.sip.screening import Capabilities, screen
from controller.sip.stream import KeepAlive, StreamParser


def request(method: str = "OPTIONS", *, extra: Headers = (), body: bytes = b"", **changes: str) -> Request:
    headers = {
        "Via": "SIP/2.0/UDP 192.0.2.1:5062;rport;branch=z9hG4bKa",
        "From": "<sip:a>;tag=f",
        "To": "<sip:b>",
        "Call-ID": "c",
        "CSeq": f"1 {method}",
    } | changes
    return Request(method=method, uri="sip:b@edge", headers=(*headers.items(), *extra), body=body)


ONE = request(body=b"12345").encode()
TWO = request("BYE").encode()


@given(st.lists(st.integers(1, len(ONE) + len(TWO)), max_size=6))
def test_stream_may_come_in_any_pieces(cuts: list[int]) -> None:
    data, parser, items = b"\r\n" + ONE + TWO, StreamParser(server=True), []
    edges = [0, *sorted(set(cuts)), len(data)]
    for begin, end in zip(edges, edges[1:], strict=False):
        items += parser.feed(data[begin:end])
    assert items == [parse_message(ONE), parse_message(TWO)]


def test_server_sees_pings_and_skips_single_line_ends() -> None:
    parser = StreamParser(server=True)
    assert parser.feed(b"\r\n\r") == []
    assert parser.feed(b"\n" + ONE + b"\r\n") == [KeepAlive.PING, parse_message(ONE)]
    assert parser.feed(ONE) == [parse_message(ONE)]


def test_client_sees_pongs() -> None:
    parser = StreamParser()
    assert parser.feed(b"\r") == []
    assert parser.feed(b"\n") == [KeepAlive.PONG]
    assert parser.feed(b"\r\n" + ONE) == [KeepAlive.PONG, parse_message(ONE)]


def test_malformed_message_does_not_end_the_stream() -> None:
    bad = ONE.replace(b"CSeq: 1", b"CSeq: x")
    error, good = StreamParser().feed(bad + TWO)
    assert isinstance(error, SipParseError)
    assert good == parse_message(TWO)


@pytest.mark.parametrize(
    "data",
    [
        ONE.replace(b"Content-Length: 5\r\n", b""),
        ONE.replace(b"Content-Length: 5\r\n", b"Content-Length: 5\r\nl: 6\r\n"),
        ONE.replace(b"Content-Length: 5", b"Content-Length: -5"),
        ONE.replace(b"Content-Length: 5", b"Content-Length: 99999999"),
        b"A" * 70000,
        b"\rA",
    ],
)
def test_lost_framing_ends_the_stream(data: bytes) -> None:
    parser = StreamParser()
    with pytest.raises(SipParseError):
        parser.feed(data)
    with pytest.raises(SipParseError):
        parser.feed(ONE)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_stream_raises_nothing_else(pieces: list[bytes]) -> None:
    parser = StreamParser(server=True)
    try:
        for piece in pieces:
            parser.feed(piece)
    except SipParseError:
        return


def test_reply_copies_what_it_must() -> None:
    invite = request("INVITE", extra=(("Record-Route", "<sip:edge;lr>"), ("Subject", "x")))
    ringing = reply(invite, 180, to_tag="t")
    assert ringing.reason == "Ringing"
    assert ringing.to.tag == "t"
    assert ringing.get("Record-Route") == "<sip:edge;lr>"
    assert ringing.get("Subject") is None
    assert reply(invite, 100, to_tag="t").to.tag is None
    assert reply(invite, 404, "Gone", to_tag="t").get("Record-Route") is None
    inside = request("BYE", To="<sip:b>;tag=old")
    assert reply(inside, 200, to_tag="t").to.tag == "old"


@pytest.mark.parametrize(
    ("via", "address"),
    [
        ("SIP/2.0/UDP 192.0.2.1:5062;rport;branch=z9hG4bKa", ("198.51.100.7", 6000)),
        ("SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKa", ("198.51.100.7", 5062)),
        ("SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKa", ("198.51.100.7", 5060)),
        ("SIP/2.0/TLS host;branch=z9hG4bKa", ("198.51.100.7", 5061)),
    ],
)
def test_reply_goes_back_to_the_source(via: str, address: tuple[str, int]) -> None:
    stamped = stamp_source(request(Via=via), "198.51.100.7", 6000)
    assert reply_address(reply(parse_message(stamped.encode()), 200)) == address  # type: ignore[arg-type]


def test_reply_address_of_ipv6() -> None:
    stamped = stamp_source(
        request(Via="SIP/2.0/UDP [2001:db8::1];rport;branch=z9hG4bKa"), "2001:db8::9", 7000
    )
    assert reply_address(reply(stamped, 200)) == ("2001:db8::9", 7000)


def test_repeated_request_gets_the_same_answer_for_a_while() -> None:
    cache = ReplyCache(lifetime=10)
    first = request("INVITE")
    assert cache.recall(first, 0.0) is None
    cache.remember(first, b"100", 0.0)
    cache.remember(request(Via="SIP/2.0/UDP h;branch=z9hG4bKb"), b"other", 1.0)
    cache.remember(first, b"200", 2.0)
    assert cache.recall(first, 11.0) == b"200"
    assert len(cache) == 1
    assert cache.recall(first, 12.0) is None
    assert len(cache) == 0


def test_request_without_a_proper_branch_is_told_apart_by_its_fields() -> None:
    cache = ReplyCache()
    old = request(Via="SIP/2.0/UDP h;branch=z9hG4bK")
    cache.remember(old, b"200", 0.0)
    assert cache.recall(old, 1.0) == b"200"
    assert cache.recall(request(Via="SIP/2.0/UDP h;branch=z9hG4bK", **{"Call-ID": "d"}), 1.0) is None


def test_screening_lets_ack_and_cancel_through_with_extensions() -> None:
    for method, status in (("ACK", None), ("CANCEL", None), ("INVITE", 420)):
        refusal = screen(request(method, extra=(("Require", "100rel"),)), Capabilities())
        assert (refusal and refusal.status) == status


def test_screening_says_what_would_have_been_right() -> None:
    refusal = screen(request("PUBLISH"), Capabilities(methods=frozenset(("OPTIONS", "BYE"))))
    assert refusal is not None
    assert (refusal.status, refusal.headers) == (405, (("Allow", "BYE, OPTIONS"),))
    encoded = request(
        "INVITE", extra=(("Content-Type", "application/sdp"), ("Content-Encoding", "gzip")), body=b"x"
    )
    refusal = screen(encoded, Capabilities())
    assert refusal is not None and refusal.headers == (("Accept-Encoding", "identity"),)


@pytest.mark.parametrize(("accept", "status"), [("*/*", None), ("application/*;q=0.5", None), ("a/b", 406)])
def test_screening_of_accept(accept: str, status: int | None) -> None:
    refusal = screen(request(extra=(("Accept", accept),)), Capabilities())
    assert (refusal and refusal.status) == status


VIA = "SIP/2.0/UDP edge:5060;branch=z9hG4bKedge"


def test_forwarding() -> None:
    incoming = request(
        extra=(
            ("Max-Forwards", "70"),
            ("Route", "<sip:edge:5060;lr>, <sip:next;lr>"),
            ("Record-Route", "<sip:before;lr>"),
        )
    )
    forwarded = forward(incoming, via=VIA, own_address=("edge", 5060), record_route="<sip:edge;lr>")
    out = parse_message(forwarded.request.encode())
    assert isinstance(out, Request)
    assert [via.branch for via in out.vias] == ["z9hG4bKedge", "z9hG4bKa"]
    assert out.max_forwards == 69
    assert out.get_list("Route") == ("<sip:next;lr>",)
    assert out.get_list("Record-Route") == ("<sip:edge;lr>", "<sip:before;lr>")
    assert forwarded.next_hop.host == "next"
    back = take_via_off(reply(out, 200))
    assert [via.branch for via in back.vias] == ["z9hG4bKa"]
    with pytest.raises(SipParseError):
        take_via_off(back)


def test_forwarding_without_route_goes_to_the_request_uri() -> None:
    forwarded = forward(request(), via=VIA, own_address=("edge", 5060))
    assert (forwarded.next_hop.host, forwarded.request.max_forwards) == ("edge", 70)


def test_forwarding_stops_at_zero_hops() -> None:
    with pytest.raises(TooManyHopsError):
        forward(request(extra=(("Max-Forwards", "0"),)), via=VIA, own_address=("edge", 5060))
