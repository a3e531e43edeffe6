"""SIP over a byte stream: framing by Content-Length, keep-alives (RFC 3261 18.3, RFC 5626 4.4.1)."""

import re
from enum import Enum

from controller.sip.errors import SipParseError
from controller.sip.messages import MAX_DATAGRAM, Message, parse_message

PING = b"\r\n\r\n"
PONG = b"\r\n"

_LENGTH = re.compile(rb"(?:\A|\r\n)(?:content-length|l)[ \t]*:(?:[ \t]|\r\n[ \t])*([^\r\n]*)", re.IGNORECASE)


class KeepAlive(Enum):
    PING = "ping"  # to be answered with PONG
    PONG = "pong"


Item = Message | KeepAlive | SipParseError


class StreamParser:
    """Cuts a TCP or TLS stream into messages.

    `server` says which end we are: there a double CRLF between messages is a ping, while at the client's
    end every CRLF is a pong. `limit` bounds header section and body, each, in bytes.
    """

    def __init__(self, *, server: bool = False, limit: int = MAX_DATAGRAM) -> None:
        self._server = server
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._broken = False

    def feed(self, data: bytes) -> list[Item]:
        """What is complete now. A malformed message that could be cut out stands as its error in the list.

        Raises SipParseError once framing is lost: no, or no single, Content-Length, or a limit exceeded. What
        came before it in the same `data` is lost with it; close the connection.
        """
        if self._broken:
            raise SipParseError("the stream lost its framing before")
        self._buffer += data
        items: list[Item] = []
        try:
            while (item := self._next()) is not None:
                items.append(item)
        except SipParseError:
            self._broken = True
            raise
        return items

    def _next(self) -> Item | None:
        buffer = self._buffer
        if buffer.startswith(b"\r"):
            keep_alive = self._keep_alive()
            if keep_alive is not None or buffer.startswith(b"\r"):
                return keep_alive
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) > self._limit:
                raise SipParseError("header section is too long", status=513)
            return None
        if end > self._limit:
            raise SipParseError("header section is too long", status=513)
        total = end + 4 + self._body_length(bytes(buffer[:end]))
        if len(buffer) < total:
            # The header section is found again with the next piece; only the search is spared.
            self._searched = end
            return None
        frame = bytes(buffer[:total])
        del buffer[:total]
        self._searched = 0
        try:
            return parse_message(frame)
        except SipParseError as error:
            return error

    def _keep_alive(self) -> KeepAlive | None:
        """Take a keep-alive off the buffer; None if there is none yet, or only a CRLF to be skipped."""
        buffer = self._buffer
        if buffer[:2] not in (b"\r", PONG):
            raise SipParseError("bare CR between messages")
        if not self._server:
            if len(buffer) < 2:
                return None
            del buffer[:2]
            return KeepAlive.PONG
        if buffer.startswith(PING):
            del buffer[:4]
            return KeepAlive.PING
        if not PING.startswith(buffer):
            # A single CRLF before a message (RFC 3261 7.5).
            del buffer[:2]
        return None

    def _body_length(self, head: bytes) -> int:
        values = {match[1].strip() for match in _LENGTH.finditer(head)}
        if len(values) != 1:
            raise SipParseError("no single Content-Length on a stream")
        value = values.pop()
        if not value.isdigit() or len(value) > 9 or int(value) > self._limit:
            raise SipParseError("Content-Length is malformed or too large", status=513)
        return int(value)
