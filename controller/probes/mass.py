"""What every mass kind does alike: it looks names up, fans out over addresses, and hands results on."""

from __future__ import annotations

import asyncio
import errno
import sys
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.ports import Finished, Flight
from controller.probes.datagrams import Address
from controller.probes.fan import Fan, keep_resolved
from controller.probes.parameters import is_literal

OURS = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE})
"""Errors of sending that are our own trouble, and say nothing about the target."""


class MassTarget:
    """What is prepared of a target. `addresses` is empty as long as a name has not been resolved."""

    __slots__ = ("addresses", "host", "key", "port", "released", "require_all")

    def __init__(self, key: RungKey, host: str, port: int, *, require_all: bool) -> None:
        self.key = key
        self.host = sys.intern(host)
        self.port = port
        self.require_all = require_all
        self.addresses: tuple[Address, ...] = ()
        self.released = False


class MassKind(ABC):
    """The base of mass kinds; subclasses make the flights."""

    mass = True

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._finished: Finished | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses: dict[Address, Address] = {}

    def open(self, loop: asyncio.AbstractEventLoop, finished: Finished) -> None:
        self._loop, self._finished = loop, finished

    def release(self, prepared: object) -> None:
        assert isinstance(prepared, MassTarget)
        prepared.released = True

    def send(self, ticket: object, prepared: object, timeout: float, now: float) -> Flight:
        assert isinstance(prepared, MassTarget)
        addresses = prepared.addresses
        if len(addresses) == 1:
            return self.start(ticket, prepared, addresses[0], now)
        fan = Fan(
            self.report,
            ticket,
            expected=max(1, len(addresses)),
            require_all=prepared.require_all,
            now=now,
        )
        for address in addresses:
            fan.parts.append(self.start(fan, prepared, address, now))
        if not addresses:
            # Ends at once: there is nobody to ask.
            note = "does not resolve"
            fan.take(prepared.host, ProbeResult(prepared.key, now, now, Outcome.TRANSPORT, False, note=note))
        return fan

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    @abstractmethod
    def start(self, ticket: object, target: MassTarget, address: Address, now: float) -> Flight:
        """One flight to one address, whose result goes to `deliver` once."""

    def located(self, target: MassTarget, addresses: Sequence[Address]) -> None:
        """The target's addresses are known, or known anew."""
        # Many targets behind one address share one tuple of it.
        target.addresses = tuple(self._addresses.setdefault(address, address) for address in addresses)

    def deliver(self, ticket: object, address: Address, result: ProbeResult) -> None:
        if type(ticket) is Fan:
            ticket.take(str(address[0]), result)
        else:
            self.report(ticket, result)

    def report(self, ticket: object, result: ProbeResult) -> None:
        if self._finished is not None:
            self._finished(ticket, result)

    def locate(self, target: MassTarget) -> None:
        """Fill `addresses`: now for a literal, else as soon as its name is resolved, and again ever after."""

        def found(hosts: Sequence[tuple[str, int]]) -> None:
            self.located(target, [(h, p, 0, 0) if ":" in h else (h, p) for h, p in hosts])

        if is_literal(target.host):
            found([(target.host, target.port)])
        else:
            self.spawn(keep_resolved(self.loop, target.host, target.port, found, lambda: not target.released))

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the probe kind was not opened")
        return self._loop
