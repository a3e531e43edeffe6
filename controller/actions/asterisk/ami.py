"""Asterisk's manager protocol without I/O: one banner line, then messages of `Name: value` lines, each ended by an empty
line. A response carries the ActionID of its action, and so do the events of a list; others may come in between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_LINE = 16 * 1024
MOST_FIELDS = 20_000
OLDEST = 3
"""Major version of the protocol (Asterisk 14): older ones send a command's output outside of any field."""


class AmiError(Exception):
    """It does not follow the protocol, or too old a version of it."""


@dataclass(frozen=True, slots=True)
class Message:
    """Names may repeat (`Output`) and are compared without regard to case."""

    fields: tuple[tuple[str, str], ...]

    def get(self, name: str, otherwise: str = "") -> str:
        """The first one."""
        wanted = name.lower()
        return next((value for key, value in self.fields if key.lower() == wanted), otherwise)

    def all(self, name: str) -> list[str]:
        wanted = name.lower()
        return [value for key, value in self.fields if key.lower() == wanted]

    @property
    def is_response(self) -> bool:
        return bool(self.get("Response"))

    @property
    def succeeded(self) -> bool:
        return self.get("Response").lower() in ("success", "goodbye", "pong")

    @property
    def ends_list(self) -> bool:
        return self.get("EventList").lower() in ("complete", "cancelled")


class Parser:
    """Feed it what arrives, in any pieces. `banner`: None until it came."""

    def __init__(self) -> None:
        self.banner: str | None = None
        self._rest = b""
        self._fields: list[tuple[str, str]] = []

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole now. Raises AmiError."""
        found = []
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            raise AmiError("a line without an end")
        for raw in lines:
            line = raw.rstrip(b"\r").decode("utf-8", "replace")
            if self.banner is None:
                self.banner = _checked(line)
            elif line:
                name, colon, value = line.partition(":")
                if not colon:
                    raise AmiError(f"no field: {line!r:.80}")
                self._fields.append((name.strip(), value.removeprefix(" ")))
                if len(self._fields) > MOST_FIELDS:
                    raise AmiError("a message without an end")
            elif self._fields:
                found.append(Message(tuple(self._fields)))
                self._fields = []
        return found


def encoded(action: str, action_id: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """Raises ValueError for a value that would begin another field."""
    lines = [f"Action: {action}", f"ActionID: {action_id}", *(f"{name}: {value}" for name, value in fields)]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a value holds a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _checked(line: str) -> str:
    product, _, version = line.rpartition("/")
    major = version.strip().split(".")[0]
    if not product or not major.isdigit():
        raise AmiError(f"no manager interface: {line!r:.80}")
    if int(major) < OLDEST:
        raise AmiError(f"manager interface {version.strip()}: {OLDEST} or newer is needed (Asterisk 14)")
    return line
