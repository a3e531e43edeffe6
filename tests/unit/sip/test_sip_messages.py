"""Parsing and encoding; the parser raises SipParseError or nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.sip.errors import SipParseError
from controller.sip.headers import parse_cseq, parse_name_address, parse_retry_after, parse_via, split_list
from controller.sip.messages import MAX_DATAGRAM, Request, Response, parse_message
from controller.sip.options import match_response
from controller.sip.uri import parse_parameters, parse_uri

INVITE = (
    b"INVITE sip:echo@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bK2\r\n"
    b'f: "Probe" <sip:probe@example.com>;tag=a1\r\n'
    b"t: sip:echo@example.com\r\n"
    b"i: call-1\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Record-Route: <sip:edge1;lr>, <sip:edge2;lr>\r\n"
    b"Record-Route: <sip:edge3;lr>\r\n"
    b"X-Binary: \xff\xfe raw\r\n"
    b"l: 4\r\n"
    b"\r\n"
    b"bodyand more"
)
RESPONSE = (
    b"SIP/2.0 503 Service Unavailable\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.9;rport=5062\r\n"
    b"From: <sip:probe@example.com>;tag=a1\r\nTo: <sip:echo@example.com>;tag=b2\r\n"
    b"Call-ID: call-1\r\nCSeq: 1 OPTIONS\r\nRetry-After: 18 (in maintenance);duration=60\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def parsed(data: bytes = INVITE) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def test_lookup_ignores_case_and_compact_form() -> None:
    message = parsed()
    assert message.get("FROM") == message.get("f") == '"Probe" <sip:probe@example.com>;tag=a1'
    assert message.get("Content-Length") == "4"
    assert message.get("Subject") is None
    assert message.get_all("record-route") == ("<sip:edge1;lr>, <sip:edge2;lr>", "<sip:edge3;lr>")
    assert message.get_list("record-route") == ("<sip:edge1;lr>", "<sip:edge2;lr>", "<sip:edge3;lr>")


def test_values_on_one_line_are_several() -> None:
    assert [via.branch for via in parsed().vias] == ["z9hG4bK1", "z9hG4bK2"]
    assert "rport" in parsed().top_via.parameters
    assert parsed().top_via.rport is None


def test_body_is_cut_at_content_length() -> None:
    assert parsed().body == b"body"


def test_body_shorter_than_content_length_is_refused() -> None:
    with pytest.raises(SipParseError):
        parse_message(INVITE.replace(b"l: 4", b"l: 400"))


def test_body_without_content_length_is_the_rest() -> None:
    assert parsed(INVITE.replace(b"l: 4\r\n", b"")).body == b"bodyand more"


def test_binary_header_survives() -> None:
    assert b"X-Binary: \xff\xfe raw\r\n" in parsed().encode()


def test_encode_counts_the_body() -> None:
    message = Request(method="OPTIONS", uri="sip:x", headers=(("l", "999"),), body=b"12345")
    assert message.encode() == b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 5\r\n\r\n12345"


@pytest.mark.parametrize("value", ["a\r\nEvil: 1", "a\nb", "a\rb"])
def test_encode_refuses_to_split_a_header(value: str) -> None:
    with pytest.raises(SipParseError):
        Response(status=200, reason="OK", headers=(("Subject", value),)).encode()


def test_response_values() -> None:
    message = parse_message(RESPONSE)
    assert isinstance(message, Response)
    assert (message.status, message.reason) == (503, "Service Unavailable")
    assert message.retry_after == 18
    assert (message.top_via.received, message.top_via.rport) == ("192.0.2.9", 5062)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"CSeq: 7", b"CSeq: 2147483648"),
        (b"CSeq: 7", b"CSeq: -7"),
        (b"CSeq: 7", "CSeq: ٧".encode()),
        (b"CSeq: 7", b"CSeq: " + b"9" * 5000),
        (b"l: 4", b"l: -4"),
        (b"l: 4", b"l: 4, 4"),
        (b"l: 4", b"l:"),
        (b"i: call-1\r\n", b""),
        (b"i: call-1", b"i:"),
        (b"i: call-1\r\n", b"i: call-1\r\ni: call-2\r\n"),
        (b"INVITE sip", b"INVITE  sip"),
        (b"CSeq: 7 INVITE", b"CSeq: 7 OPTIONS"),
        (b"192.0.2.1:5060", b"192.0.2.1:70000"),
        (b"[2001:db8::1]", b"[2001:db8::g]"),
        (b"[2001:db8::1]", b"2001:db8::1"),
        (b"X-Binary:", b"X Binary:"),
        (b"X-Binary:", b"X-\rBinary:"),
        (b"<sip:edge3;lr>", b"<sip:edge3;lr"),
        (b"\r\n\r\n", b"\r\n"),
        (b"Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1,", b" folded"),
    ],
)
def test_malformed_is_refused(old: bytes, new: bytes) -> None:
    assert old in INVITE
    with pytest.raises(SipParseError):
        parse_message(INVITE.replace(old, new))


def test_largest_cseq_is_accepted() -> None:
    assert parsed(INVITE.replace(b"CSeq: 7", b"CSeq: 2147483647")).cseq.number == 2**31 - 1


def test_too_large_is_refused() -> None:
    with pytest.raises(SipParseError) as caught:
        parse_message(INVITE + b"x" * MAX_DATAGRAM)
    assert caught.value.status == 513


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("a, b", ("a", "b")),
        ('"x, y" <sip:a,b@c>, <sip:d>', ('"x, y" <sip:a,b@c>', "<sip:d>")),
        (r'"q\", z" <sip:a>, b', (r'"q\", z" <sip:a>', "b")),
        ("", ("",)),
        ("a,,b", ("a", "", "b")),
    ],
)
def test_split_list(value: str, parts: tuple[str, ...]) -> None:
    assert split_list(value) == parts


@pytest.mark.parametrize("value", ['"open', "<open", "<<a>"])
def test_split_list_refuses_what_is_open(value: str) -> None:
    with pytest.raises(SipParseError):
        split_list(value)


def test_uri_parts() -> None:
    uri = parse_uri("SIPS:al%20ice:pw@[2001:db8::1]:5061;transport=tcp;lr?Subject=x")
    assert (uri.scheme, uri.user, uri.password, uri.host, uri.port) == (
        "sips",
        "al%20ice",
        "pw",
        "[2001:db8::1]",
        5061,
    )
    assert uri.address == "2001:db8::1"
    assert uri.parameters.items == (("transport", "tcp"), ("lr", None))
    assert uri.headers == "Subject=x"
    assert str(uri) == "sips:al%20ice:pw@[2001:db8::1]:5061;transport=tcp;lr?Subject=x"


@pytest.mark.parametrize(
    "text",
    ["", "sip:", "alice@host", "sip:a b@c", "sip:a%zz@c", "sip:@c", "sip:a@b@c", "sip:a@b;;x", "sip:<a>"],
)
def test_malformed_uri(text: str) -> None:
    with pytest.raises(SipParseError):
        parse_uri(text)


def test_small_values() -> None:
    assert parse_retry_after("120") == 120
    assert str(parse_cseq(" 4711   INVITE ")) == "4711 INVITE"
    assert str(parse_via("SIP / 2.0 / udp host : 5060 ; x")) == "SIP/2.0/UDP host:5060;x"
    assert str(parse_name_address("A B <sip:x>;tag=1")) == '"A B" <sip:x>;tag=1'
    assert str(parse_parameters(" ; a = 1 ;b").replacing("A", "2").replacing("c", None)) == ";a=2;b;c"


@given(st.binary(max_size=400))
def test_arbitrary_bytes(data: bytes) -> None:
    _parse_or_refuse(data)
    match_response(data)


@settings(max_examples=400)
@given(
    st.sampled_from([INVITE, RESPONSE]),
    st.lists(
        st.tuples(
            st.integers(0, 600),
            st.integers(0, 12),
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from(
                    [b"\r\n", b"\r\n ", b'"', b"<", b">", b";", b",", b"=", b"%", b"[", b":", b"\0"]
                ),
            ),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_mutated_messages(data: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    for position, length, replacement in edits:
        data = data[:position] + replacement + data[position + length :]
    _parse_or_refuse(data)
    match_response(data)


def _parse_or_refuse(data: bytes) -> None:
    """What is accepted can be read in full and encoded, and means the same again."""
    try:
        message = parse_message(data)
    except SipParseError:
        return
    again = parse_message(message.encode())
    assert (again.vias, again.cseq, again.from_, again.to, again.call_id, again.contacts, again.body) == (
        message.vias,
        message.cseq,
        message.from_,
        message.to,
        message.call_id,
        message.contacts,
        message.body,
    )
    if isinstance(message, Request):
        assert isinstance(again, Request)
        assert (again.method, again.uri, again.max_forwards) == (
            message.method,
            message.uri,
            message.max_forwards,
        )
    else:
        assert isinstance(again, Response)
        assert (again.status, again.reason, again.retry_after) == (
            message.status,
            message.reason,
            message.retry_after,
        )
