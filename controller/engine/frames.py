"""Messages between the engine and its prober process: length-prefixed pickles over a socketpair of our own."""

from __future__ import annotations

import asyncio
import pickle
import struct
from dataclasses import dataclass
from typing import Any

from controller.model.events import Event
from controller.model.health import RungKey
from controller.ports import Target

_LENGTH = struct.Struct("!I")
LARGEST = 64 * 1024 * 1024
"""Bytes; more can only be a broken stream."""


@dataclass(frozen=True, slots=True)
class Configure:
    """The first message to a prober: who it is."""

    vantage: str


@dataclass(frozen=True, slots=True)
class AssignPart:
    """A piece of an assignment. Pieces of one `generation` replace, once `last` came, all earlier ones."""

    generation: int
    targets: tuple[Target, ...]
    last: bool


@dataclass(frozen=True, slots=True)
class AskLadder:
    command: str
    keys: tuple[RungKey, ...]
    timeout: float
    count: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Close and exit."""


@dataclass(frozen=True, slots=True)
class Report:
    """Events of a prober, in order, and its figures when they were taken anew."""

    events: tuple[Event, ...]
    statistics: dict[str, float] | None = None


Message = Configure | AssignPart | AskLadder | Stop | Report


class BrokenStream(Exception):
    """What came is no message of ours."""


def encode(message: Message) -> bytes:
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


async def read(reader: asyncio.StreamReader) -> Any:
    """The next message. Raises asyncio.IncompleteReadError at the end, BrokenStream for what can't be read.

    Pickle is safe here only because both ends are our own process and its child, on an unnamed socketpair.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > LARGEST:
        raise BrokenStream(f"a message of {length} bytes")
    body = await reader.readexactly(length)
    try:
        return pickle.loads(body)
    except Exception as error:
        raise BrokenStream(f"{type(error).__name__}: {error}") from error
