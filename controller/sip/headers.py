"""Values of the SIP header fields that routing and matching need (RFC 3261 20)."""

import re
from dataclasses import dataclass, field

from controller.sip.errors import SipParseError
from controller.sip.uri import (
    TOKEN,
    Parameters,
    Uri,
    check_ipv6,
    parse_host_port,
    parse_parameters,
    parse_uri,
    quote,
    unquote,
)

MAX_CSEQ = 2**31 - 1  # RFC 3261 8.1.1.5
MAX_SECONDS = 2**32 - 1  # RFC 3261 20.19

_VIA = re.compile(rf"SIP\s*/\s*({TOKEN})\s*/\s*({TOKEN})\s+([^;]+?)\s*(;.*)?", re.IGNORECASE | re.DOTALL)
_CSEQ = re.compile(rf"([0-9]+)\s+({TOKEN})")
_DISPLAY_TOKENS = re.compile(rf"{TOKEN}(?:[ \t]+{TOKEN})*")
_QUOTED_DISPLAY = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_RETRY_AFTER = re.compile(r"([0-9]+)\s*(?:\((?:[^()\\]|\\.)*\)\s*)?(;.*)?", re.DOTALL)


def split_list(value: str) -> tuple[str, ...]:
    """Split at commas outside quoted strings and angle brackets (RFC 3261 7.3.1).

    Raises SipParseError for an open quote or bracket. Elements come back stripped; empty ones stay.
    """
    if '"' not in value and "<" not in value:
        return tuple(part.strip() for part in value.split(","))
    parts: list[str] = []
    start = 0
    quoted = escaped = bracket = False
    for position, character in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            if character == "\\":
                escaped = True
            elif character == '"':
                quoted = False
        elif character == '"' and not bracket:
            quoted = True
        elif character == "<":
            if bracket:
                raise SipParseError("nested angle brackets")
            bracket = True
        elif character == ">":
            bracket = False
        elif character == "," and not bracket:
            parts.append(value[start:position].strip())
            start = position + 1
    if quoted or bracket:
        raise SipParseError("unbalanced quote or angle bracket")
    parts.append(value[start:].strip())
    return tuple(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Via:
    """One Via value. `host` keeps IPv6 brackets; `transport` is upper case."""

    transport: str
    host: str
    port: int | None = None
    parameters: Parameters = field(default_factory=Parameters)

    @property
    def branch(self) -> str | None:
        return self.parameters.get("branch")

    @property
    def received(self) -> str | None:
        """Where the request came from, without brackets, or None (RFC 3261 18.2.1)."""
        value = self.parameters.get("received")
        return None if value is None else value.strip("[]")

    @property
    def rport(self) -> int | None:
        """The source port a server filled in (RFC 3581); None when absent or still empty."""
        value = self.parameters.get("rport")
        return int(value) if value is not None else None

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/2.0/{self.transport} {self.host}{port}{self.parameters}"


def parse_via(value: str) -> Via:
    """Read one Via value (not a list). Raises SipParseError."""
    match = _VIA.fullmatch(value.strip())
    if match is None:
        raise SipParseError("malformed Via")
    if match[1] != "2.0":
        raise SipParseError("Via of another SIP version", status=505)
    host, port = parse_host_port(match[3])
    parameters = parse_parameters(match[4] or "")
    rport = parameters.get("rport")
    if rport is not None:
        _bounded(rport, 65535, "rport")
    received = parameters.get("received")
    if received is not None and ":" in received:
        # RFC 5118 4.5: the grammar has no brackets here, yet many implementations write them.
        check_ipv6(received[1:-1] if received.startswith("[") and received.endswith("]") else received)
    return Via(transport=match[2].upper(), host=host, port=port, parameters=parameters)


@dataclass(frozen=True, kw_only=True, slots=True)
class CSeq:
    """Sequence number, below 2**31, and method."""

    number: int
    method: str

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


def parse_cseq(value: str) -> CSeq:
    """Raises SipParseError, also for a number of 2**31 or more."""
    match = _CSEQ.fullmatch(value.strip())
    if match is None:
        raise SipParseError("malformed CSeq")
    return CSeq(number=_bounded(match[1], MAX_CSEQ, "CSeq"), method=match[2])


@dataclass(frozen=True, kw_only=True, slots=True)
class NameAddress:
    """The value of From, To, Contact, Route or Record-Route: `"name" <uri>;parameters`."""

    uri: Uri
    display_name: str | None = None
    parameters: Parameters = field(default_factory=Parameters)

    @property
    def tag(self) -> str | None:
        return self.parameters.get("tag")

    def __str__(self) -> str:
        name = "" if self.display_name is None else quote(self.display_name) + " "
        return f"{name}<{self.uri}>{self.parameters}"


def parse_name_address(value: str) -> NameAddress:
    """Read one name-addr or addr-spec with its parameters (not a list, not `*`). Raises SipParseError."""
    value = value.strip()
    display: str | None = None
    rest = value
    if value.startswith('"'):
        quoted = _QUOTED_DISPLAY.match(value)
        if quoted is None:
            raise SipParseError("unbalanced quote in a display name")
        display = unquote(quoted[0])
        rest = value[quoted.end() :].lstrip()
        if not rest.startswith("<"):
            raise SipParseError("display name without an address in angle brackets")
    elif "<" in value:
        name, _, tail = value.partition("<")
        if name:
            display = name.strip()
            if _DISPLAY_TOKENS.fullmatch(display) is None:
                raise SipParseError("display name that must be quoted")
        rest = "<" + tail
    if rest.startswith("<"):
        inside, bracket, parameters = rest[1:].partition(">")
        if not bracket:
            raise SipParseError("address without its closing bracket")
        # White space inside the brackets is an error that hurts nobody (RFC 4475 3.1.2.15).
        return NameAddress(
            uri=parse_uri(inside.strip()), display_name=display, parameters=parse_parameters(parameters)
        )
    # Without brackets every parameter is the header's, and `?` and `,` must not occur (RFC 3261 20.10).
    address, semicolon, parameters = rest.partition(";")
    if "?" in address or "?" in parameters.partition('"')[0]:
        raise SipParseError("URI headers outside angle brackets")
    return NameAddress(uri=parse_uri(address.rstrip()), parameters=parse_parameters(semicolon + parameters))


def parse_content_length(value: str) -> int:
    """Bytes of body. Raises SipParseError for anything but digits of a sane size."""
    return _bounded(value.strip(), MAX_SECONDS, "Content-Length")


def parse_max_forwards(value: str) -> int:
    """0 to 255 (RFC 3261 20.22). Raises SipParseError."""
    return _bounded(value.strip(), 255, "Max-Forwards")


def parse_expires(value: str) -> int:
    """Seconds, 0 to 2**32 - 1; also for Min-Expires. Raises SipParseError."""
    return _bounded(value.strip(), MAX_SECONDS, "Expires")


def parse_retry_after(value: str) -> int:
    """Seconds to wait, without the comment and parameters (RFC 3261 20.33). Raises SipParseError."""
    match = _RETRY_AFTER.fullmatch(value.strip())
    if match is None:
        raise SipParseError("malformed Retry-After")
    parse_parameters(match[2] or "")
    return _bounded(match[1], MAX_SECONDS, "Retry-After")


def _bounded(text: str, maximum: int, what: str) -> int:
    # Length first: int() of a megabyte of digits is an attack of its own.
    if not text.isascii() or not text.isdigit():
        raise SipParseError(f"{what} is not a number")
    digits = text.lstrip("0")
    if len(digits) > 10 or int(digits or "0") > maximum:
        raise SipParseError(f"{what} is out of range")
    return int(digits or "0")
