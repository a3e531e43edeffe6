"""This host's kernel as far as an agent holds addresses by it: the gate, the addresses, and the test of both."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

from controller.agent.address import AddressError, Addresses
from controller.agent.alone import Alone
from controller.agent.gate import Gate, Guarded
from controller.agent.hold import Locks
from controller.agent.locks import KernelLocks
from controller.agent.nftables import Nftables
from controller.agent.selftest import self_test


class Kernel(Protocol):
    async def open(self) -> None:
        """The gate is closed and no address is left when it returns. Raises AnotherAgent, GateError, AddressError."""

    def locks(self, guarded: Sequence[Guarded]) -> Locks: ...

    async def test(self) -> None:
        """Raises SelfTestFailed, GateError."""

    def verify(self) -> None:
        """Raises TableMissing, TableChanged."""

    def make(self) -> None:
        """The gate anew, closed. Raises GateError."""

    async def close(self) -> None:
        """The closed gate stays: without an agent nothing may answer as the address."""


class HostKernel:
    """Kernel."""

    def __init__(self, guarded: Sequence[Guarded]) -> None:
        self._guarded = tuple(guarded)
        self._nft = Nftables()
        self._gate = Gate(self._nft, self._guarded)
        self._addresses = Addresses()
        self._alone = Alone()

    async def open(self) -> None:
        self._alone.take()
        self._gate.make()
        await self._addresses.open()
        for one in self._guarded:
            await self._addresses.remove(one)

    def locks(self, guarded: Sequence[Guarded]) -> Locks:
        return KernelLocks(guarded, self._gate, self._addresses)

    async def test(self) -> None:
        await self_test(one.device for one in self._guarded)
        self._gate.verify()

    def verify(self) -> None:
        self._gate.verify()

    def make(self) -> None:
        self._gate.make()

    async def close(self) -> None:
        with contextlib.suppress(AddressError):
            for one in self._guarded:
                await self._addresses.remove(one)
        await self._addresses.close()
        self._nft.close()
        self._alone.give_up()
