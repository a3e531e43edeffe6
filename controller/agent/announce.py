"""Tells the link who has an address now: five times at once, then each second for half a minute.

The repetition is against a holder that was paused with its machine: when it resumes it may answer once more, and what it
said is corrected within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from typing import Final

from controller.agent.frames import announcement
from controller.agent.gate import Guarded

BURST: Final = 5
BURST_GAP: Final = 0.010
REPEAT: Final = 1.0
LONG: Final = 30.0

log = logging.getLogger(__name__)


class Announcer:
    """Of one group's addresses. `start` and `stop` are harmless when repeated."""

    def __init__(self, guarded: Sequence[Guarded]) -> None:
        self._guarded = tuple(guarded)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The first announcement has left when it returns, or why not is in the log."""
        self.stop()
        self._send()
        self._task = asyncio.create_task(self._repeat(), name="announce")

    def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _repeat(self) -> None:
        for _ in range(BURST - 1):
            await asyncio.sleep(BURST_GAP)
            self._send()
        for _ in range(int(LONG / REPEAT)):
            await asyncio.sleep(REPEAT)
            self._send()

    def _send(self) -> None:
        for one in self._guarded:
            try:
                with contextlib.closing(link_socket(one.device)) as link:
                    link.send(announcement(hardware_address(link), one.address))
            except OSError as error:
                log.warning(
                    "announcing %s at %s: %s", one.address, one.device, error, extra={"action": "announce"}
                )


def link_socket(device: str, kind: int = 0) -> socket.socket:
    """A raw socket of one interface. `kind`: the EtherType it hears; 0: it hears nothing. Raises OSError."""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(kind))
    try:
        link.bind((device, kind))
    except OSError:
        link.close()
        raise
    return link


def hardware_address(link: socket.socket) -> bytes:
    return bytes(link.getsockname()[4])
