"""The two locks of one group on this host, as the round uses them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from controller.agent.address import AddressError, Addresses
from controller.agent.announce import Announcer
from controller.agent.gate import Gate, Guarded

REFRESH: Final = 0.4
"""Seconds between two refreshes of an address: what is left of its lifetime always outlasts a hold of a second, and a round
costs a third less."""

log = logging.getLogger(__name__)


class KernelLocks:
    """hold.Locks."""

    def __init__(self, guarded: Sequence[Guarded], gate: Gate, addresses: Addresses) -> None:
        self._guarded = tuple(guarded)
        self._plain = tuple(one.address for one in guarded)
        self._gate = gate
        self._addresses = addresses
        self._announcer = Announcer(guarded)
        self._refreshed = float("-inf")

    def arm(self) -> None:
        self._gate.arm(self._plain)

    def extend(self, seconds: float, *, first: bool) -> None:
        self._gate.extend(self._plain, seconds, first=first)

    def shut(self) -> None:
        self._announcer.stop()
        self._gate.shut(self._plain)

    async def take(self, *, first: bool) -> None:
        now = time.monotonic()
        if first or now - self._refreshed >= REFRESH:
            self._refreshed = now
            for one in self._guarded:
                try:
                    await self._addresses.refresh(one)
                except AddressError as error:
                    self._refreshed = float("-inf")
                    log.error("%s", error, extra={"action": "address"})
        if first:
            self._announcer.start()

    async def drop(self) -> bool:
        self._announcer.stop()
        gone = True
        for one in self._guarded:
            try:
                await self._addresses.remove(one)
            except AddressError as error:
                log.error("%s", error, extra={"action": "address"})
                gone = False
        return gone
