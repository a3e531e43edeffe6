"""RFC 4475 and RFC 5118: every torture message with what is expected of us, and why."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest

from controller.sip import sdp
from controller.sip.digest import find_authorization
from controller.sip.errors import SdpError, SipParseError
from controller.sip.forwarding import TooManyHopsError, forward
from controller.sip.messages import Request, Response, parse_message
from controller.sip.screening import Capabilities, screen
from controller.sip.uri import parse_uri

DATA = Path(__file__).parents[2] / "data"


class Verdict(Enum):
    ACCEPT = "accept"
    REJECT = "reject"  # the parser refuses it, with the status in the table
    REFUSE = "refuse"  # well formed, but a server answers it with the status in the table


@dataclass(frozen=True)
class Case:
    name: str
    section: str
    verdict: Verdict
    status: int | None = None
    why: str = ""


A, J, F = Verdict.ACCEPT, Verdict.REJECT, Verdict.REFUSE

# A server that takes these methods; it is MESSAGE and REGISTER that make the table about the message itself.
SERVER = Capabilities(
    methods=frozenset(("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "MESSAGE")),
    content_types=frozenset(("application/sdp", "multipart/mixed", "text/plain")),
)

RFC4475 = (
    # 3.1.1 valid messages
    Case("wsinv", "3.1.1.1", A, why="folding, odd white space, empty Subject"),
    Case("intmeth", "3.1.1.2", F, 405, "well formed; the method is simply unknown"),
    Case("esc01", "3.1.1.3", A),
    Case("escnull", "3.1.1.4", A),
    Case("esc02", "3.1.1.5", F, 405, "RE%47IST%45R is not REGISTER"),
    Case("lwsdisp", "3.1.1.6", A),
    Case("longreq", "3.1.1.7", A),
    Case("dblreq", "3.1.1.8", A, why="what follows Content-Length in a datagram is ignored"),
    Case("semiuri", "3.1.1.9", A),
    Case("transports", "3.1.1.10", A),
    Case("mpart01", "3.1.1.11", A),
    Case("unreason", "3.1.1.12", A),
    Case("noreason", "3.1.1.13", A),
    # 3.1.2 invalid messages
    Case("badinv01", "3.1.2.1", J, 400),
    Case("clerr", "3.1.2.2", J, 400),
    Case("ncl", "3.1.2.3", J, 400),
    Case("scalar02", "3.1.2.4", J, 400),
    Case("scalarlg", "3.1.2.5", J, 400, "a response is dropped; the status is never sent"),
    Case("quotbal", "3.1.2.6", J, 400),
    Case("ltgtruri", "3.1.2.7", J, 400, "an element may infer the URI; a prober has no need to"),
    Case("lwsruri", "3.1.2.8", J, 400),
    Case("lwsstart", "3.1.2.9", J, 400, "liberal acceptance is allowed, a strict start line is safer"),
    Case("trws", "3.1.2.10", A, why="lenient: trailing space hurts nobody and real stacks send it"),
    Case("escruri", "3.1.2.11", J, 400),
    Case("baddate", "3.1.2.12", A, why="lenient: Date is of no use to us, so we don't judge it"),
    Case("regbadct", "3.1.2.13", J, 400),
    Case("badaspec", "3.1.2.14", A, why="lenient: space inside angle brackets has one meaning only"),
    Case("baddn", "3.1.2.15", J, 400),
    Case("badvers", "3.1.2.16", J, 505),
    Case("mismatch01", "3.1.2.17", J, 400),
    Case("mismatch02", "3.1.2.18", J, 400, "501 is allowed too"),
    Case("bigcode", "3.1.2.19", J, 400, "a response is dropped; the status is never sent"),
    # 3.2 transaction layer, 3.3 application layer, 3.4 backward compatibility
    Case("badbranch", "3.2.1", A, why="the empty branch is matched the RFC 2543 way"),
    Case("insuf", "3.3.1", J, 400),
    Case("unkscm", "3.3.2", F, 416),
    Case("novelsc", "3.3.3", F, 416),
    Case("unksm2", "3.3.4", A, why="other schemes in To, From and Contact are the registrar's matter"),
    Case("bext01", "3.3.5", F, 420),
    Case("invut", "3.3.6", F, 415),
    Case("regaut01", "3.3.7", A, why="an unknown scheme counts as no credentials: to be challenged"),
    Case("multi01", "3.3.8", J, 400),
    Case("mcl01", "3.3.9", J, 400),
    Case("bcast", "3.3.10", A, why="well formed; nobody's transaction matches it"),
    Case("zeromf", "3.3.11", A, why="an endpoint answers; a proxy says 483"),
    Case("cparam01", "3.3.12", A),
    Case("cparam02", "3.3.13", A),
    Case("regescrt", "3.3.14", A),
    Case("sdp01", "3.3.15", F, 406),
    Case("inv2543", "3.4.1", A, why="RFC 2543: no branch, no From tag, no Max-Forwards, no Content-Length"),
)

RFC5118 = (
    Case("ipv6-good", "4.1", A),
    Case("ipv6-bad", "4.2", J, 400),
    Case("port-ambiguous", "4.3", A, why="the would-be port is part of the address"),
    Case("port-unambiguous", "4.4", A),
    Case("via-received-param-with-delim", "4.5", A, why="lenient, as the RFC asks"),
    Case("via-received-param-no-delim", "4.5", A),
    Case("ipv6-in-sdp", "4.6", A),
    Case("mult-ip-in-header", "4.7", A),
    Case("mult-ip-in-sdp", "4.8", A),
    Case("ipv4-mapped-ipv6", "4.9", A),
    Case("ipv6-bug-abnf-3-colons", "4.10", A, why="lenient, as the RFC asks"),
    Case("ipv6-correct-abnf-2-colons", "4.10", A),
)

ALL = [("rfc4475", case) for case in RFC4475] + [("rfc5118", case) for case in RFC5118]


def read(name: str, folder: str = "rfc4475") -> bytes:
    return (DATA / folder / f"{name}.dat").read_bytes()


def request(name: str, folder: str = "rfc4475") -> Request:
    message = parse_message(read(name, folder))
    assert isinstance(message, Request)
    return message


@pytest.mark.parametrize(("folder", "case"), ALL, ids=[case.name for _, case in ALL])
def test_verdict(folder: str, case: Case) -> None:
    datagram = read(case.name, folder)
    if case.verdict is Verdict.REJECT:
        with pytest.raises(SipParseError) as caught:
            parse_message(datagram)
        assert caught.value.status == case.status
        return
    message = parse_message(datagram)
    refusal = screen(message, SERVER) if isinstance(message, Request) else None
    assert (refusal and refusal.status) == case.status


@pytest.mark.parametrize("folder", ["rfc4475", "rfc5118"])
def test_table_and_directory_agree(folder: str) -> None:
    listed = {case.name for name, case in ALL if name == folder}
    assert listed == {path.stem for path in (DATA / folder).glob("*.dat")}


@pytest.mark.parametrize(
    ("folder", "case"),
    [(folder, case) for folder, case in ALL if case.verdict is not Verdict.REJECT],
    ids=lambda value: value.name if isinstance(value, Case) else value,
)
def test_accepted_message_survives_encoding(folder: str, case: Case) -> None:
    message = parse_message(read(case.name, folder))
    again = parse_message(message.encode())
    assert again.vias == message.vias
    assert again.body == message.body
    assert [h for h in again.headers if h[0].lower() not in ("l", "content-length")] == [
        h for h in message.headers if h[0].lower() not in ("l", "content-length")
    ]


def test_wsinv_values() -> None:
    message = request("wsinv")
    assert message.to.tag == "1918181833n"
    assert message.from_.display_name == 'J Rosenberg \\"'
    assert message.from_.tag == "98asjd8"
    assert message.max_forwards == 68
    assert message.cseq.number == 9
    assert [(via.transport, via.host, via.branch) for via in message.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert message.get("subject") == ""
    assert message.get("NewFangledHeader") == "newfangled value continued newfangled value"
    contact = message.contacts[0]
    assert contact.display_name == 'Quoted string ""'
    assert contact.parameters.items == (("newparam", "newvalue"), ("secondparam", None), ("q", "0.33"))
    assert sdp.parse_audio(message.body).address == "192.0.2.4"


def test_intmeth_values() -> None:
    message = request("intmeth")
    assert message.to.display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.from_.parameters.get("fromParam''~+*_!.-%") == '"работающий"'
    assert message.from_.tag == "_token~1'+`*%!-."
    assert parse_uri(message.uri).password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"


def test_escapes_are_left_alone() -> None:
    assert parse_uri(request("esc01").uri).user == "sips%3Auser%40example.com"
    assert [contact.uri.user for contact in request("escnull").contacts] == ["%00", "%00%00"]
    assert len(request("esc02").contacts) == 2
    assert parse_uri(request("semiuri").uri).user == "user;par=u%40example.net"


def test_longreq_keeps_all_vias_in_order() -> None:
    hosts = [via.host for via in request("longreq").vias]
    assert hosts == [f"sip{n}.example.com" for n in range(33, 0, -1)] + ["host.example.com"]


def test_binary_body_is_kept() -> None:
    body = request("mpart01").body
    assert len(body) == 553
    assert body.endswith(b"\x99\xd0\x05\r\n--7a9cbec02ceef655--\r\n")


def test_odd_reason_phrases() -> None:
    message = parse_message(read("unreason"))
    assert isinstance(message, Response)
    assert message.reason == "= 2**3 * 5**2 но сто девяносто девять - простое"
    empty = parse_message(read("noreason"))
    assert isinstance(empty, Response)
    assert (empty.status, empty.reason) == (100, "")


def test_contact_parameters_belong_where_the_brackets_say() -> None:
    bare, enclosed = request("cparam01").contacts[0], request("cparam02").contacts[0]
    assert "unknownparam" in bare.parameters
    assert "unknownparam" not in bare.uri.parameters
    assert "unknownparam" in enclosed.uri.parameters
    assert request("regescrt").contacts[0].uri.headers == "Route=%3Csip:sip.example.com%3E"


def test_unknown_scheme_is_no_credentials() -> None:
    assert find_authorization(request("regaut01"), realm="example.com") is None


def test_proxy_refuses_zero_max_forwards() -> None:
    with pytest.raises(TooManyHopsError) as caught:
        forward(request("zeromf"), via="SIP/2.0/UDP edge;branch=z9hG4bK1", own_address=("edge", 5060))
    assert caught.value.status == 483


def test_ipv6_values() -> None:
    ambiguous = parse_uri(request("port-ambiguous", "rfc5118").uri)
    assert (ambiguous.host, ambiguous.port) == ("[2001:db8::10:5070]", None)
    clear = parse_uri(request("port-unambiguous", "rfc5118").uri)
    assert (clear.address, clear.port) == ("2001:db8::10", 5070)
    assert request("via-received-param-with-delim", "rfc5118").top_via.received == "2001:db8::9:255"
    assert request("via-received-param-no-delim", "rfc5118").top_via.received == "2001:db8::9:255"
    assert [via.host for via in request("mult-ip-in-header", "rfc5118").vias] == [
        "[2001:db8::9:1]",
        "192.0.2.1",
        "[2001:db8::9:255]",
    ]


def test_ipv6_in_session_descriptions() -> None:
    audio = sdp.parse_audio(request("ipv6-in-sdp", "rfc5118").body)
    assert (audio.address, audio.port, audio.codecs[0].name) == ("2001:db8::20", 6000, "G726-32")
    assert sdp.parse_audio(request("mult-ip-in-sdp", "rfc5118").body).address == "192.0.2.1"
    assert sdp.parse_audio(request("ipv4-mapped-ipv6", "rfc5118").body).address == "::ffff:192.0.2.2"


def test_body_of_another_type_is_not_a_description() -> None:
    with pytest.raises(SdpError):
        sdp.parse_audio(request("invut").body)
