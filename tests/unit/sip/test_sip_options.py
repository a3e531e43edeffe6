"""The fast path says what the parser says, or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.sip.errors import SipParseError
from controller.sip.messages import Request, Response, parse_message
from controller.sip.options import OptionsTemplate, ReplyKey, match_response

KAMAILIO = (
    b"SIP/2.0 200 OK\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.2:5060;rport=5060;branch=z9hG4bKabc;received=192.0.2.2\r\n"
    b"From: <sip:thirdring@invalid>;tag=f1\r\n"
    b"To: <sip:192.0.2.1>;tag=b27e1a1d33761e85846fc98f5f3a7e58.1234\r\n"
    b"Call-ID: c1\r\n"
    b"CSeq: 5 OPTIONS\r\n"
    b"Server: kamailio (5.6.3 (x86_64/linux))\r\n"
    b"Content-Length: 0\r\n\r\n"
)
KEY = ReplyKey(200, b"z9hG4bKabc", b"OPTIONS", 5, b"c1", b"f1")


def test_template_is_a_valid_request() -> None:
    template = OptionsTemplate(
        uri="sip:ping@[2001:db8::1]:5070;x=%41",
        sent_by="[2001:db8::2]:5060",
        extra_headers=(("X-Third-Ring-Test", "1"),),
        max_forwards=2,
    )
    message = parse_message(template.render(branch=b"z9hG4bKx", tag=b"t", call_id=b"c@h", cseq=9))
    assert isinstance(message, Request)
    assert message.uri == "sip:ping@[2001:db8::1]:5070;x=%41"
    assert (message.top_via.branch, message.from_.tag, message.call_id) == ("z9hG4bKx", "t", "c@h")
    assert (message.cseq.number, message.max_forwards) == (9, 2)
    assert message.get("X-Third-Ring-Test") == "1"


@pytest.mark.parametrize("uri", ["nonsense", "sip:a b", "sip:a\r\nX: y"])
def test_template_refuses_a_bad_target(uri: str) -> None:
    with pytest.raises(SipParseError):
        OptionsTemplate(uri=uri, sent_by="192.0.2.2:5060")


def test_template_refuses_a_split_header() -> None:
    with pytest.raises(SipParseError):
        OptionsTemplate(uri="sip:a", sent_by="192.0.2.2:5060", user_agent="x\r\nEvil: 1")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b""),
        (b"Via: ", b"v:"),
        (b"Call-ID: ", b"i : "),
        (b"CSeq: 5 OPTIONS", b"cseq:   5\r\n OPTIONS"),
        (b"From: <", b'From: "a;tag=evil>" <'),
        (b"From: <sip:thirdring@invalid>;tag=f1", b'From: <sip:a;tag=evil>;tag=f1;x=";tag=evil"'),
        (b";received=192.0.2.2", b", SIP/2.0/UDP other;branch=z9hG4bKother"),
        (b"Via: SIP/2.0/UDP 192.0.2.2", b"Via: SIP/2.0/UDP\r\n 192.0.2.2"),
    ],
)
def test_match(old: bytes, new: bytes) -> None:
    assert match_response(KAMAILIO.replace(old, new, 1)) == KEY


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        KAMAILIO[:-2],
        KAMAILIO.replace(b"200 OK", b"999 OK"),
        KAMAILIO.replace(b"200 OK", b"20x OK"),
        KAMAILIO.replace(b"200 OK", b"2000 OK"),
        KAMAILIO.replace(b";branch=z9hG4bKabc", b""),
        KAMAILIO.replace(b";tag=f1", b""),
        KAMAILIO.replace(b"CSeq: 5", b"CSeq: 5555555555"),
        KAMAILIO.replace(b"Call-ID: c1", b"Call-ID: "),
        OptionsTemplate(uri="sip:a", sent_by="h:1").render(branch=b"z9hG4bKa", tag=b"t", call_id=b"c"),
    ],
)
def test_no_match(datagram: bytes) -> None:
    assert match_response(datagram) is None


@pytest.mark.parametrize(
    "line", [b"From: <sip:thirdring@invalid>;tag=f1\r\n", b"Call-ID: c1\r\n", b"CSeq: 5 OPTIONS\r\n"]
)
def test_header_in_the_body_is_no_header(line: bytes) -> None:
    moved = KAMAILIO.replace(line, b"").replace(b"Content-Length: 0", b"Content-Length: 100")
    assert match_response(moved + b"x\r\n" + line + b"x" * 100) is None


@given(st.integers(0, len(KAMAILIO)), st.integers(0, 8), st.binary(max_size=5))
def test_match_never_says_other_than_the_parser(position: int, length: int, replacement: bytes) -> None:
    datagram = KAMAILIO[:position] + replacement + KAMAILIO[position + length :]
    key = match_response(datagram)
    try:
        message = parse_message(datagram)
    except SipParseError:
        # The fast path does not look at every header; what it read it read right.
        return
    if isinstance(message, Response) and message.top_via.branch and message.from_.tag:
        assert key is not None
        assert (key.status, key.branch.decode("utf-8", "surrogateescape"), key.cseq) == (
            message.status,
            message.top_via.branch,
            message.cseq.number,
        )
        assert key.call_id.decode("utf-8", "surrogateescape") == message.call_id
        assert key.from_tag.decode("utf-8", "surrogateescape") == message.from_.tag
