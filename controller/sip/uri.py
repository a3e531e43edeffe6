"""SIP URIs (RFC 3261 19.1), hosts with IPv6 references (RFC 5118), and ;parameters."""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from controller.sip.errors import SipParseError

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]+"
_TOKEN = re.compile(TOKEN)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):(.+)", re.DOTALL)
_ESCAPE = r"%[0-9A-Fa-f]{2}"
_USER = re.compile(rf"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/]|{_ESCAPE})+")
_PASSWORD = re.compile(rf"(?:[A-Za-z0-9\-_.!~*'()&=+$,]|{_ESCAPE})*")
_URI_PARAMETER = re.compile(rf"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|{_ESCAPE})+")
_URI_HEADERS = re.compile(rf"(?:[A-Za-z0-9\-_.!~*'()\[\]/?:+$&=]|{_ESCAPE})+")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-_.]*[A-Za-z0-9])?\.?")
_OPAQUE = re.compile(r"[!-;=?-~]+")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
# A value is a token, a host or a quoted string; real stacks also leave '/', ':' and '@' bare.
_PARAMETER_VALUE = re.compile(r'[^\s;,"<>=]+(?:=[^\s;,"<>]*)?')


@dataclass(frozen=True, slots=True)
class Parameters:
    """Ordered `;name=value` pairs; a name without a value has None. Names compare without case."""

    items: tuple[tuple[str, str | None], ...] = ()

    def get(self, name: str) -> str | None:
        """The value of the first parameter of that name; None when absent or without a value."""
        name = name.lower()
        for key, value in self.items:
            if key.lower() == name:
                return value
        return None

    def __contains__(self, name: str) -> bool:
        name = name.lower()
        return any(key.lower() == name for key, _ in self.items)

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        return iter(self.items)

    def replacing(self, name: str, value: str | None) -> "Parameters":
        """The same parameters with `name` set, in its place if it was there, else last."""
        if name not in self:
            return Parameters((*self.items, (name, value)))
        lowered = name.lower()
        return Parameters(tuple((k, value if k.lower() == lowered else v) for k, v in self.items))

    def __str__(self) -> str:
        return "".join(f";{k}" if v is None else f";{k}={v}" for k, v in self.items)


def parse_parameters(text: str) -> Parameters:
    """Read `;a=b;c;d="e;f"` with white space allowed around `;` and `=`. Raises SipParseError."""
    items: list[tuple[str, str | None]] = []
    position, end = 0, len(text)
    while True:
        while position < end and text[position] in " \t":
            position += 1
        if position == end:
            return Parameters(tuple(items))
        if text[position] != ";":
            raise SipParseError("parameter without a leading semicolon")
        position += 1
        while position < end and text[position] in " \t":
            position += 1
        name = _TOKEN.match(text, position)
        if name is None:
            raise SipParseError("empty or malformed parameter name")
        position = name.end()
        after = position
        while after < end and text[after] in " \t":
            after += 1
        if after == end or text[after] != "=":
            items.append((name[0], None))
            continue
        position = after + 1
        while position < end and text[position] in " \t":
            position += 1
        value = _QUOTED.match(text, position) or _PARAMETER_VALUE.match(text, position)
        if value is None:
            raise SipParseError(f"parameter {name[0]!r} has a malformed value")
        items.append((name[0], value[0]))
        position = value.end()


def unquote(text: str) -> str:
    """The content of a quoted-string, escapes resolved; any other text is returned as it is."""
    if len(text) >= 2 and text[0] == '"' == text[-1]:
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    return text


def quote(text: str) -> str:
    """`text` as a quoted-string (RFC 3261 25.1)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse_host_port(text: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `192.0.2.1:5060` or `[2001:db8::1]:5060`; the host keeps its brackets.

    Raises SipParseError for a bare IPv6 address, as RFC 5118 4.2 asks.
    """
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        if not bracket:
            raise SipParseError("IPv6 reference without its closing bracket")
        host += "]"
        check_ipv6(host[1:-1])
    else:
        host, colon, port = text.partition(":")
        host = host.rstrip()
        rest = colon + port
        if _HOST_NAME.fullmatch(host) is None:
            raise SipParseError(f"malformed host {host[:80]!r}")
    rest = rest.strip()
    if not rest:
        return host, None
    digits = rest[1:].strip()
    if rest[0] != ":" or not digits.isascii() or not digits.isdigit() or len(digits) > 5:
        raise SipParseError(f"malformed port in {text[:80]!r}")
    port_number = int(digits)
    if port_number > 65535:
        raise SipParseError(f"port {port_number} is out of range")
    return host, port_number


def check_ipv6(text: str) -> None:
    """Raise SipParseError unless `text` is an IPv6 address without brackets.

    RFC 3261's grammar let a third colon through before an embedded IPv4 address; RFC 5118 4.10 says to
    be lenient with it.
    """
    if text.count(":::") == 1:
        text = text.replace(":::", "::")
    try:
        ipaddress.IPv6Address(text)
    except ValueError as error:
        raise SipParseError(f"malformed IPv6 address {text[:80]!r}") from error


def bracketed(host: str) -> str:
    """`host` as it stands in a URI or Via: IPv6 in brackets, anything else unchanged."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


@dataclass(frozen=True, kw_only=True, slots=True)
class Uri:
    """A sip or sips URI in its parts, or any other scheme with everything after the colon in `opaque`.

    `user` and `password` stay escaped; `host` keeps IPv6 brackets; `headers` is what follows `?`.
    """

    scheme: str
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    parameters: Parameters = field(default_factory=Parameters)
    headers: str | None = None
    opaque: str | None = None

    @property
    def is_sip(self) -> bool:
        return self.scheme in ("sip", "sips")

    @property
    def address(self) -> str:
        """The host without IPv6 brackets: what a resolver or socket takes."""
        return self.host.strip("[]")

    def __str__(self) -> str:
        if self.opaque is not None:
            return f"{self.scheme}:{self.opaque}"
        user = "" if self.user is None else self.user
        if self.password is not None:
            user += f":{self.password}"
        at = "@" if self.user is not None else ""
        port = "" if self.port is None else f":{self.port}"
        headers = "" if self.headers is None else f"?{self.headers}"
        return f"{self.scheme}:{user}{at}{self.host}{port}{self.parameters}{headers}"


def parse_uri(text: str) -> Uri:
    """Read a URI of any scheme. Raises SipParseError; a sip or sips URI is checked in full."""
    match = _SCHEME.fullmatch(text)
    if match is None or _OPAQUE.fullmatch(match[2]) is None:
        raise SipParseError(f"malformed URI {text[:80]!r}")
    scheme, rest = match[1].lower(), match[2]
    if scheme not in ("sip", "sips"):
        return Uri(scheme=match[1], opaque=rest)
    user: str | None = None
    password: str | None = None
    if "@" in rest:
        userinfo, _, rest = rest.partition("@")
        user, colon, secret = userinfo.partition(":")
        password = secret if colon else None
        if _USER.fullmatch(user) is None or (password is not None and _PASSWORD.fullmatch(password) is None):
            raise SipParseError("malformed user part of a SIP URI")
    rest, question, headers = rest.partition("?")
    if question and _URI_HEADERS.fullmatch(headers) is None:
        raise SipParseError("malformed headers of a SIP URI")
    hostport, _, parameters = rest.partition(";")
    host, port = parse_host_port(hostport)
    return Uri(
        scheme=scheme,
        user=user,
        password=password,
        host=host,
        port=port,
        parameters=_uri_parameters(parameters) if ";" in rest else Parameters(),
        headers=headers if question else None,
    )


def _uri_parameters(text: str) -> Parameters:
    items: list[tuple[str, str | None]] = []
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if _URI_PARAMETER.fullmatch(name) is None or (equals and _URI_PARAMETER.fullmatch(value) is None):
            raise SipParseError("malformed parameter of a SIP URI")
        items.append((name, value if equals else None))
    return Parameters(tuple(items))
