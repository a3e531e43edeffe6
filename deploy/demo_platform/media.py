"""RTP: sent back by who answers, and anchored by a platform side."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable
from enum import StrEnum

from demo_platform.datagrams import Datagrams
from demo_platform.layout import Address

PACKET_S = 0.02
PATIENCE_S = 0.06
SPEECH_S = 2.0
SILENCE = b"\xff" * 160


class OneWay(StrEnum):
    """A fault of a side's media: which direction it loses, as its callers experience it."""

    NONE = ""
    IN = "in"  # what callers say gets lost
    OUT = "out"  # callers hear nothing


class Echo:
    """One answered call's audio: every packet goes back to where it came from, unchanged.

    Who hears nothing speaks first: from 60 ms after the answer until the caller's first packet, and for 2 s at most,
    silence is sent to `remote`. So a caller can tell not being heard from not hearing.
    """

    def __init__(self, host: str, remote: Address) -> None:
        self._remote = remote
        self._loop = asyncio.get_running_loop()
        self._sequence = 0
        self._heard = False
        # Far from the small numbers a caller may use to tell its calls apart.
        self._ssrc = secrets.randbits(31) | 1 << 31
        self._socket = Datagrams(Address(host, 0), self._receive)
        self.address = self._socket.address
        self._timer = self._loop.call_later(PATIENCE_S, self._speak)

    def close(self) -> None:
        self._timer.cancel()
        self._socket.close()

    def _receive(self, data: bytes, source: Address) -> None:
        self._heard = True
        self._socket.send(data, source)

    def _speak(self) -> None:
        if self._heard or self._sequence * PACKET_S >= SPEECH_S:
            return
        header = struct.pack("!BBHII", 0x80, 0, self._sequence, self._sequence * 160, self._ssrc)
        self._socket.send(header + SILENCE, self._remote)
        self._sequence += 1
        self._timer = self._loop.call_later(PACKET_S, self._speak)


class Anchor:
    """One call's audio on its way through a platform side: `near` faces the caller, `far` who answers.

    `pass_audio(direction, caller)` says whether a packet of that direction goes through now: OneWay.IN towards the
    answerer, OneWay.OUT towards the caller.
    """

    def __init__(self, host: str, caller: Address, pass_audio: Callable[[OneWay, Address], bool]) -> None:
        self._pass_audio = pass_audio
        self.caller = caller
        self.answerer: Address | None = None
        self._near = Datagrams(Address(host, 0), self._from_caller)
        try:
            self._far = Datagrams(Address(host, 0), self._from_answerer)
        except OSError:
            self._near.close()
            raise
        self.near = self._near.address
        self.far = self._far.address

    def close(self) -> None:
        self._near.close()
        self._far.close()

    def _from_caller(self, data: bytes, source: Address) -> None:
        if self.answerer is not None and self._pass_audio(OneWay.IN, self.caller):
            self._far.send(data, self.answerer)

    def _from_answerer(self, data: bytes, source: Address) -> None:
        if self._pass_audio(OneWay.OUT, self.caller):
            self._near.send(data, self.caller)
