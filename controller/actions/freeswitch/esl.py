"""FreeSWITCH's event socket protocol without I/O: frames of `Name: value` lines, an empty line, and as many octets of body
as Content-Length says. An event's body holds headers of its own, and perhaps a body after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

LONGEST_HEAD = 64 * 1024
LONGEST_BODY = 16 * 1024 * 1024


class EslError(Exception):
    """It does not follow the protocol."""


@dataclass(frozen=True, slots=True)
class Frame:
    """`headers` by name in lower case."""

    headers: Mapping[str, str]
    body: str = ""

    @property
    def kind(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def reply(self) -> str:
        return self.headers.get("reply-text", "")

    def event(self) -> Frame:
        """What a text/event-plain frame holds. Raises EslError."""
        head, _, rest = self.body.partition("\n\n")
        headers = _headers(head)
        length = _length(headers)
        return Frame(headers, rest.encode()[:length].decode("utf-8", "replace") if length else "")


class Parser:
    """Feed it what arrives, in any pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._headers: Mapping[str, str] | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. Raises EslError."""
        self._rest += data
        found: list[Frame] = []
        while True:
            if self._headers is None:
                # Between two frames there may be more empty lines than one.
                self._rest = self._rest.lstrip(b"\n") if self._rest.startswith(b"\n") else self._rest
                head, end, rest = self._rest.partition(b"\n\n")
                if len(head) > LONGEST_HEAD:
                    raise EslError("a head without an end")
                if not end:
                    return found
                self._headers, self._rest = _headers(head.decode("utf-8", "replace")), rest
            length = _length(self._headers)
            if len(self._rest) < length:
                return found
            body, self._rest = self._rest[:length], self._rest[length:]
            found.append(Frame(self._headers, body.decode("utf-8", "replace")))
            self._headers = None


def encoded(command: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Raises ValueError for a command that would go on to another one."""
    lines = [command, *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if any("\n" in line or "\r" in line for line in lines):
        raise ValueError("a command holds a line break")
    return ("\n".join(lines) + "\n\n").encode()


def _headers(text: str) -> dict[str, str]:
    headers = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if not colon:
            raise EslError(f"no header: {line!r:.80}")
        headers[name.strip().lower()] = unquote(value.strip())
    return headers


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not text.isdigit() or int(text) > LONGEST_BODY:
        raise EslError(f"a length of {text!r:.40}")
    return int(text)
