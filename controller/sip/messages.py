"""SIP requests and responses as values, and their parser (RFC 3261 7, 25)."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from controller.sip.errors import SipParseError
from controller.sip.headers import (
    CSeq,
    NameAddress,
    Via,
    parse_content_length,
    parse_cseq,
    parse_max_forwards,
    parse_name_address,
    parse_retry_after,
    parse_via,
    split_list,
)
from controller.sip.uri import TOKEN, parse_uri

Headers = tuple[tuple[str, str], ...]

MAX_DATAGRAM = 65535
MAX_HEADERS = 512

# RFC 3261 7.3.3 and the event, refer and session timer RFCs.
COMPACT = {
    "i": "call-id",
    "m": "contact",
    "e": "content-encoding",
    "l": "content-length",
    "c": "content-type",
    "f": "from",
    "s": "subject",
    "k": "supported",
    "t": "to",
    "v": "via",
    "o": "event",
    "u": "allow-events",
    "r": "refer-to",
    "b": "referred-by",
    "x": "session-expires",
    "a": "accept-contact",
    "j": "reject-contact",
    "d": "request-disposition",
    "y": "identity",
}

_REQUEST_LINE = re.compile(rf"({TOKEN}) (\S+) SIP/([0-9]+\.[0-9]+) *", re.IGNORECASE)
_STATUS_LINE = re.compile(r"SIP/([0-9]+\.[0-9]+) ([0-9]+)(?: (.*))?", re.IGNORECASE | re.DOTALL)
_HEADER_NAME = re.compile(TOKEN)
_SINGLE = ("call-id", "cseq", "from", "to", "max-forwards", "content-length")
_MANDATORY = ("via", "from", "to", "call-id", "cseq")


def canonical(name: str) -> str:
    """A header name in lower case with its compact form expanded."""
    name = name.lower()
    return COMPACT.get(name, name)


@dataclass(frozen=True, kw_only=True)
class _Message:
    """What requests and responses share.

    Text is UTF-8 with surrogateescape, so that `encode` gives back the very bytes of a binary value. The
    typed properties raise SipParseError for a message built wrongly by hand; parse_message has checked them.
    """

    headers: Headers = ()
    body: bytes = b""

    def get(self, name: str) -> str | None:
        """The first value of a header field, by its long name in any case; None when it is absent."""
        wanted = canonical(name)
        for key, value in self.headers:
            if canonical(key) == wanted:
                return value
        return None

    def get_all(self, name: str) -> tuple[str, ...]:
        """Every value of a header field, in order, one per header line."""
        wanted = canonical(name)
        return tuple(value for key, value in self.headers if canonical(key) == wanted)

    def get_list(self, name: str) -> tuple[str, ...]:
        """Every element of a comma-separated header field, in order, over all its lines."""
        return tuple(part for value in self.get_all(name) for part in split_list(value))

    def with_header(self, name: str, value: str) -> Self:
        """The same message with one more header line at the end."""
        return replace(self, headers=(*self.headers, (name, value)))

    def _required(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise SipParseError(f"no {name} header")
        return value

    @cached_property
    def vias(self) -> tuple[Via, ...]:
        return tuple(parse_via(value) for value in self.get_list("Via"))

    @property
    def top_via(self) -> Via:
        if not self.vias:
            raise SipParseError("no Via header")
        return self.vias[0]

    @cached_property
    def cseq(self) -> CSeq:
        return parse_cseq(self._required("CSeq"))

    @cached_property
    def from_(self) -> NameAddress:
        return parse_name_address(self._required("From"))

    @cached_property
    def to(self) -> NameAddress:
        return parse_name_address(self._required("To"))

    @property
    def call_id(self) -> str:
        return self._required("Call-ID")

    @cached_property
    def contacts(self) -> tuple[NameAddress, ...]:
        """Contact addresses; empty for none and for `*`."""
        return tuple(parse_name_address(part) for part in self.get_list("Contact") if part != "*")

    def _encode(self, start_line: str) -> bytes:
        lines = [start_line]
        lines += [f"{name}: {value}" for name, value in self.headers if canonical(name) != "content-length"]
        lines.append(f"Content-Length: {len(self.body)}")
        for line in lines:
            if "\r" in line or "\n" in line:
                raise SipParseError("line break inside a header to send")
        return "\r\n".join((*lines, "", "")).encode("utf-8", "surrogateescape") + self.body


@dataclass(frozen=True, kw_only=True)
class Request(_Message):
    """A SIP request. `uri` is kept as text; `parse_uri(request.uri)` gives its parts."""

    method: str = ""
    uri: str = ""

    @property
    def max_forwards(self) -> int | None:
        value = self.get("Max-Forwards")
        return None if value is None else parse_max_forwards(value)

    def encode(self) -> bytes:
        """The bytes for the wire; Content-Length is always the body's length."""
        return self._encode(f"{self.method} {self.uri} SIP/2.0")


@dataclass(frozen=True, kw_only=True)
class Response(_Message):
    """A SIP response; `status` is 100 to 699."""

    status: int = 0
    reason: str = ""

    @property
    def is_provisional(self) -> bool:
        return self.status < 200

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def retry_after(self) -> int | None:
        """Seconds, or None when the header is absent."""
        value = self.get("Retry-After")
        return None if value is None else parse_retry_after(value)

    def encode(self) -> bytes:
        """The bytes for the wire; Content-Length is always the body's length."""
        return self._encode(f"SIP/2.0 {self.status} {self.reason}")


Message = Request | Response


def parse_message(datagram: bytes) -> Message:
    """Parse one whole message.

    A body longer than Content-Length is cut, a shorter one is refused (RFC 3261 18.3). Raises SipParseError
    and nothing else, whatever the bytes.
    """
    if len(datagram) > MAX_DATAGRAM:
        raise SipParseError("message is too large", status=513)
    head, separator, body = datagram.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not separator:
        raise SipParseError("header section does not end")
    text = head.decode("utf-8", "surrogateescape")
    start_line, line_break, rest = text.partition("\r\n")
    if "\n" in start_line or "\r" in start_line:
        raise SipParseError("line break inside the start line")
    headers = _parse_headers(rest) if line_break else ()
    for name, value in headers:
        if canonical(name) == "content-length":
            declared = parse_content_length(value)
            if declared > len(body):
                raise SipParseError("body is shorter than Content-Length")
            body = body[:declared]
    message = _start(start_line, headers, body)
    _check(message)
    return message


def _parse_headers(text: str) -> Headers:
    lines: list[str] = []
    for line in text.split("\r\n"):
        if "\r" in line or "\n" in line:
            raise SipParseError("line break inside a header")
        if line[:1] in (" ", "\t"):
            if not lines:
                raise SipParseError("folded line with nothing before it")
            lines[-1] = f"{lines[-1].rstrip()} {line.strip()}"
        else:
            lines.append(line)
    if len(lines) > MAX_HEADERS:
        raise SipParseError("too many headers", status=513)
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t")
        if not colon or _HEADER_NAME.fullmatch(name) is None:
            raise SipParseError(f"malformed header line {line[:80]!r}")
        headers.append((name, value.strip(" \t")))
    return tuple(headers)


def _start(line: str, headers: Headers, body: bytes) -> Message:
    response = _STATUS_LINE.fullmatch(line)
    if response is not None:
        if response[1] != "2.0":
            raise SipParseError("another SIP version", status=505)
        if len(response[2]) != 3 or not "100" <= response[2] <= "699":
            raise SipParseError("status code is out of range")
        return Response(headers=headers, body=body, status=int(response[2]), reason=response[3] or "")
    request = _REQUEST_LINE.fullmatch(line)
    if request is None:
        raise SipParseError(f"malformed start line {line[:80]!r}")
    if request[3] != "2.0":
        raise SipParseError("another SIP version", status=505)
    uri = parse_uri(request[2])
    if uri.headers is not None:
        raise SipParseError("Request-URI with headers")
    return Request(headers=headers, body=body, method=request[1], uri=request[2])


def _check(message: Message) -> None:
    counts: dict[str, int] = {}
    for name, value in message.headers:
        key = canonical(name)
        counts[key] = counts.get(key, 0) + 1
        check = _CHECKS.get(key)
        if check is not None:
            check(value)
    for key in _MANDATORY:
        if key not in counts:
            raise SipParseError(f"no {key} header")
    for key in _SINGLE:
        if counts.get(key, 0) > 1:
            raise SipParseError(f"more than one {key} header")
    # Fill the cached values while we are at it: every user asks for them.
    _ = message.vias, message.from_, message.to
    if isinstance(message, Request) and message.cseq.method != message.method:
        raise SipParseError("CSeq names another method")


def _check_address_list(value: str) -> None:
    for part in split_list(value):
        if part != "*":
            parse_name_address(part)


def _check_not_empty(value: str) -> None:
    if not value or len(value.split()) != 1:
        raise SipParseError("Call-ID is empty or has white space")


_CHECKS: dict[str, Callable[[str], object]] = {
    "call-id": _check_not_empty,
    "cseq": parse_cseq,
    "contact": _check_address_list,
    "route": _check_address_list,
    "record-route": _check_address_list,
    "max-forwards": parse_max_forwards,
    "content-length": parse_content_length,
    "retry-after": parse_retry_after,
}
