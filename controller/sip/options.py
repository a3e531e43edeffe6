"""OPTIONS probes at ten thousand a second: a prepared request and a reply matcher without a full parse.

The parser of messages.py stays the judge of what is SIP: whatever is not plainly laid out goes through it.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from controller.sip.errors import SipParseError
from controller.sip.messages import Headers, Request, parse_message
from controller.sip.uri import parse_uri


class ReplyKey(NamedTuple):
    """What identifies the probe that a response answers (RFC 3261 17.1.3), and its status."""

    status: int
    branch: bytes
    method: bytes
    cseq: int
    call_id: bytes
    from_tag: bytes


class OptionsTemplate:
    """An OPTIONS request to one target with only its tokens left open.

    `sent_by` is our host and port as they stand in Via and Contact, IPv6 in brackets; with a wildcard socket
    any address of ours serves, since `rport` brings the reply back (RFC 3581). Raises SipParseError if the
    parts don't make a valid request.
    """

    __slots__ = ("_layout", "_to", "_uri")

    def __init__(
        self,
        *,
        uri: str,
        sent_by: str,
        transport: str = "UDP",
        from_uri: str = "sip:thirdring@invalid",
        to_uri: str | None = None,
        user_agent: str = "Third-Ring",
        max_forwards: int = 70,
        extra_headers: Headers = (),
    ) -> None:
        parse_uri(uri)
        to = uri if to_uri is None else to_uri
        if "\r" in to or "\n" in to:
            raise SipParseError("line break inside a header to send")
        self._uri = uri.encode()
        self._to = self._uri if to == uri else to.encode()
        self._layout = _layout(sent_by, transport, from_uri, user_agent, max_forwards, extra_headers)
        parse_message(self.render(branch=b"z9hG4bK1", tag=b"1", call_id=b"1", cseq=1))

    def render(self, *, branch: bytes, tag: bytes, call_id: bytes, cseq: int = 1) -> bytes:
        """The datagram. The tokens must be RFC 3261 tokens; `branch` starts with z9hG4bK."""
        return self._layout % (self._uri, branch, tag, self._to, call_id, cseq)


@lru_cache(maxsize=1024)
def _layout(
    sent_by: str,
    transport: str,
    from_uri: str,
    user_agent: str,
    max_forwards: int,
    extra_headers: Headers,
) -> bytes:
    """Everything but the URIs and tokens. Ten thousand targets share it: it is most of what each would hold."""
    lines = [
        "OPTIONS \0 SIP/2.0",
        f"Via: SIP/2.0/{transport} {sent_by};rport;branch=\0",
        f"Max-Forwards: {max_forwards}",
        f"From: <{from_uri}>;tag=\0",
        "To: <\0>",
        "Call-ID: \0",
        "CSeq: \1 OPTIONS",
        f"Contact: <sip:{sent_by};transport={transport.lower()}>",
        "Accept: application/sdp",
        f"User-Agent: {user_agent}",
        *(f"{name}: {value}" for name, value in extra_headers),
        "Content-Length: 0",
    ]
    if any("\r" in line or "\n" in line for line in lines):
        raise SipParseError("line break inside a header to send")
    text = "\r\n".join((*lines, "", "")).encode()
    return text.replace(b"%", b"%%").replace(b"\0", b"%b").replace(b"\1", b"%d")


# Each pattern takes the plain form of one line: one value, nothing quoted, not folded.
_PLAIN_VIA = re.compile(
    rb"\r\nVia: SIP/2\.0/[A-Z]+ [^\r\n,\"]*?;branch=([A-Za-z0-9\-.!%*_+`'~]+)(?:;[^\r\n,\"]*)?\r\n(?![ \t])"
)
_PLAIN_FROM = re.compile(rb"\r\nFrom: [^\r\n]*;tag=([A-Za-z0-9\-.!%*_+`'~]+)(?:;[^\r\n>\"]*)?\r\n(?![ \t])")
_PLAIN_CALL_ID = re.compile(rb"\r\nCall-ID: ([^\s]+)\r\n(?![ \t])")
_PLAIN_CSEQ = re.compile(rb"\r\nCSeq: ([0-9]{1,9}) ([A-Za-z]+)\r\n(?![ \t])")


def match_response(datagram: bytes) -> ReplyKey | None:
    """Identify a response: its status, top Via branch, CSeq, Call-ID and From tag.

    None for a request, for anything that isn't SIP, and for a response without those fields. Never raises.
    """
    status = datagram[8:11]
    if datagram[:8] != b"SIP/2.0 " or not status.isdigit() or datagram[11:12] != b" ":
        return _match_slowly(datagram)
    # Via right after the status line is sure to be the top one, whatever its spelling further down.
    via = _PLAIN_VIA.match(datagram, datagram.find(b"\r\n", 12))
    from_ = _PLAIN_FROM.match(datagram, datagram.find(b"\r\nFrom: "))
    call_id = _PLAIN_CALL_ID.match(datagram, datagram.find(b"\r\nCall-ID: "))
    cseq = _PLAIN_CSEQ.match(datagram, datagram.find(b"\r\nCSeq: "))
    if via is None or from_ is None or call_id is None or cseq is None:
        return _match_slowly(datagram)
    end = datagram.find(b"\r\n\r\n")
    if not (from_.start() < end and call_id.start() < end and cseq.start() < end) or not (
        b"100" <= status <= b"699"
    ):
        return _match_slowly(datagram)
    return ReplyKey(int(status), via[1], cseq[2], int(cseq[1]), call_id[1], from_[1])


def _match_slowly(datagram: bytes) -> ReplyKey | None:
    try:
        message = parse_message(datagram)
    except SipParseError:
        return None
    branch, tag = message.top_via.branch, message.from_.tag
    if isinstance(message, Request) or branch is None or tag is None:
        return None
    return ReplyKey(
        message.status,
        branch.encode("utf-8", "surrogateescape"),
        message.cseq.method.encode(),
        message.cseq.number,
        message.call_id.encode("utf-8", "surrogateescape"),
        tag.encode("utf-8", "surrogateescape"),
    )
