"""The edge's dispatcher: which side gets new calls. Behaves as Kamailio 5.6's module does.

The list file has a line a destination, `SET URI FLAGS PRIORITY ATTRIBUTES`; states set at run time live until the next
reload. The gate keeps the highest epoch a command carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from controller.sip.errors import SipParseError
from controller.sip.uri import parse_uri
from demo_platform.layout import Address


class DispatcherError(Exception):
    """What JSON-RPC answers as an error; code, which is the HTTP status as well, and message are Kamailio's own."""

    def __init__(self, message: str, code: int = 500) -> None:
        super().__init__(message)
        self.code = code


class State(Enum):
    """The first letter of FLAGS, and the bit of the list file's flags column."""

    ACTIVE = "A"
    TRYING = "T"
    INACTIVE = "I"
    DISABLED = "D"

    @property
    def takes_calls(self) -> bool:
        return self in (State.ACTIVE, State.TRYING)


INACTIVE_FLAG = 1
TRYING_FLAG = 2
DISABLED_FLAG = 4
PROBING_FLAG = 8


@dataclass(kw_only=True, slots=True)
class Destination:
    uri: str
    address: Address
    state: State
    probing: bool
    priority: int
    attributes: str

    @property
    def flags(self) -> str:
        return self.state.value + ("P" if self.probing else "X")


class Dispatcher:
    """`reload_delta`: seconds that must lie between two reloads."""

    def __init__(self, list_file: Path, *, reload_delta: float = 5.0) -> None:
        self._list_file = list_file
        self._reload_delta = reload_delta
        self._reloaded_at: float | None = None
        self._sets = read_list(list_file)

    @property
    def sets(self) -> dict[int, list[Destination]]:
        """By set number; within one the highest priority comes first."""
        return self._sets

    def active(self, number: int) -> Sequence[Destination]:
        """The destinations that take calls, in the order in which they are to be tried."""
        return [d for d in self._sets.get(number, ()) if d.state.takes_calls]

    def is_active(self, number: int, uri: str) -> bool:
        """Whether this very URI takes calls in the set."""
        return any(d.uri == uri and d.state.takes_calls for d in self._sets.get(number, ()))

    def set_state(self, letters: str, number: int, uri: str) -> None:
        """`letters`: a, t, i or d, and p for probing. `uri` byte for byte as in the list, or `all`, which is not an
        error for a set that is not there. Raises DispatcherError.
        """
        head, tail = letters[:1].upper(), letters[1:].lower()
        states = {state.value: state for state in State}
        if head not in states or tail not in ("", "p"):
            raise DispatcherError("Unknown State Value")
        found = [d for d in self._sets.get(number, ()) if uri in (d.uri, "all")]
        if not found and uri != "all":
            raise DispatcherError("State Update Failed")
        for destination in found:
            destination.state, destination.probing = states[head], tail == "p"

    def reload(self, now: float) -> None:
        """Read the list file again; states set at run time are lost. Raises DispatcherError."""
        if self._reloaded_at is not None and now - self._reloaded_at < self._reload_delta:
            raise DispatcherError("Ongoing reload")
        self._reloaded_at = now
        try:
            self._sets = read_list(self._list_file)
        except OSError:
            raise DispatcherError("Reload Failed") from None


def read_list(path: Path) -> dict[int, list[Destination]]:
    """A line that can't be understood is left out, as Kamailio does. Raises OSError."""
    sets: dict[int, list[Destination]] = {}
    for line in path.read_text().splitlines():
        fields = line.split("#")[0].split()
        if len(fields) < 2 or not fields[0].isdigit():
            continue
        numbers = [*fields[2:4], "0", "0"][: max(2, len(fields[2:4]))]
        try:
            uri = parse_uri(fields[1])
            flags, priority = (int(number) for number in numbers[:2])
        except (SipParseError, ValueError):
            continue
        if not uri.is_sip:
            continue
        sets.setdefault(int(fields[0]), []).append(
            Destination(
                uri=fields[1],
                address=Address(uri.address, uri.port or 5060),
                state=_state(flags),
                probing=bool(flags & PROBING_FLAG),
                priority=priority,
                attributes=fields[4] if len(fields) > 4 else "",
            )
        )
    for destinations in sets.values():
        destinations.sort(key=lambda destination: -destination.priority)
    return sets


def _state(flags: int) -> State:
    if flags & INACTIVE_FLAG:
        return State.INACTIVE
    if flags & DISABLED_FLAG:
        return State.DISABLED
    return State.TRYING if flags & TRYING_FLAG else State.ACTIVE
