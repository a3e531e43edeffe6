"""TCP connects to many targets: non-blocking, no task and no stream a probe."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Literal

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.ports import Finished, Flight
from controller.probes.datagrams import Address
from controller.probes.fan import Fan, keep_resolved
from controller.probes.parameters import HostPort, Strict, is_literal, split_address

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER


class TcpParameters(Strict):
    """`address` is `host:port`."""

    address: HostPort
    require: Literal["all", "any"] = "all"


class _Target:
    __slots__ = ("addresses", "host", "key", "port", "released", "require_all")

    def __init__(self, key: RungKey, parameters: TcpParameters) -> None:
        self.key = key
        self.host, self.port = split_address(parameters.address, 0)
        if not self.port:
            raise ValueError(f"no port in {parameters.address!r}")
        self.require_all = parameters.require == "all"
        self.addresses: tuple[Address, ...] = ()
        self.released = False


class _Connect:
    """One connection attempt to one address (ports.Flight)."""

    __slots__ = ("address", "done", "probe", "sent_at", "sock", "target", "ticket")

    def __init__(self, probe: Tcp, ticket: object, target: _Target, address: Address, now: float) -> None:
        self.probe = probe
        self.ticket = ticket
        self.target = target
        self.address = address
        self.sent_at = now
        self.sock: socket.socket | None = None
        self.done = False

    def resend(self, now: float) -> None:
        """The kernel repeats a SYN itself."""

    def give_up(self, now: float, void: str) -> None:
        if not self.done:
            self.probe.give_up(self, now, void)


class Tcp:
    """ports.MassProbe. A handshake is UP; a connection is reset at once, so that no port stays in TIME_WAIT."""

    Parameters = TcpParameters
    mass = True
    copies_help = False

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._finished: Finished | None = None
        self._flying: set[_Connect] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._exhausted = 0

    def open(self, loop: asyncio.AbstractEventLoop, finished: Finished) -> None:
        self._loop, self._finished = loop, finished

    def prepare(self, key: RungKey, parameters: object) -> object:
        assert isinstance(parameters, TcpParameters) and self._loop is not None
        target = _Target(key, parameters)
        if is_literal(target.host):
            self._locate(target, [(target.host, target.port)])
        else:
            self._spawn(
                keep_resolved(
                    self._loop,
                    target.host,
                    target.port,
                    lambda hosts: self._locate(target, hosts),
                    lambda: not target.released,
                )
            )
        return target

    def release(self, prepared: object) -> None:
        assert isinstance(prepared, _Target)
        prepared.released = True

    def send(self, ticket: object, prepared: object, timeout: float, now: float) -> Flight:
        assert isinstance(prepared, _Target)
        addresses = prepared.addresses
        if len(addresses) == 1:
            return self._connect(ticket, prepared, addresses[0], now)
        if not addresses:
            unresolved = _Connect(self, ticket, prepared, (prepared.host, prepared.port), now)
            self._end(unresolved, now, Outcome.TRANSPORT, False, f"{prepared.host} does not resolve")
            return unresolved
        fan = Fan(self._report, ticket, expected=len(addresses), require_all=prepared.require_all, now=now)
        for address in addresses:
            fan.parts.append(self._connect(fan, prepared, address, now))
        return fan

    def drain(self) -> None:
        """Nothing is shared here: `give_up` looks at its own connection first."""

    def lost_since(self, sent_at: float) -> bool:
        return False

    def counters(self) -> Mapping[str, int]:
        return {"exhausted": self._exhausted}

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for connect in tuple(self._flying):
            self._release_socket(connect)
            connect.done = True
        self._flying.clear()

    def give_up(self, connect: _Connect, now: float, void: str) -> None:
        if connect.sock is not None:
            poll = select.poll()
            poll.register(connect.sock, select.POLLOUT)
            if poll.poll(0):
                self._ready(connect)
                return
        if void:
            self._end(connect, now, Outcome.VOID, None, void)
        else:
            self._end(connect, now, Outcome.NO_REPLY, False, "")

    def _connect(self, ticket: object, target: _Target, address: Address, now: float) -> _Connect:
        assert self._loop is not None
        connect = _Connect(self, ticket, target, address, now)
        family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
        try:
            connect.sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._exhausted += 1
            self._end(connect, now, Outcome.VOID, None, f"our own sockets: {error.strerror}")
            return connect
        connect.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        code = connect.sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            self._flying.add(connect)
            self._loop.add_writer(connect.sock.fileno(), self._ready, connect)
        else:
            self._judge(connect, code)
        return connect

    def _ready(self, connect: _Connect) -> None:
        if not connect.done and connect.sock is not None:
            self._judge(connect, connect.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _judge(self, connect: _Connect, code: int) -> None:
        now = time.monotonic()
        if code == 0:
            self._end(connect, now, Outcome.UP, True, "")
        elif code in (errno.EADDRNOTAVAIL, errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM):
            # Our own ports or memory are used up.
            self._exhausted += 1
            self._end(connect, now, Outcome.VOID, None, f"our own sockets: {os.strerror(code)}")
        elif code == errno.ETIMEDOUT:
            self._end(connect, now, Outcome.NO_REPLY, False, os.strerror(code))
        else:
            self._end(connect, now, Outcome.TRANSPORT, False, os.strerror(code))

    def _end(self, connect: _Connect, now: float, outcome: Outcome, up: bool | None, note: str) -> None:
        connect.done = True
        self._release_socket(connect)
        latency = now - connect.sent_at
        result = ProbeResult(connect.target.key, connect.sent_at, now, outcome, up, latency, note=note)
        if type(connect.ticket) is Fan:
            connect.ticket.take(str(connect.address[0]), result)
        else:
            self._report(connect.ticket, result)

    def _release_socket(self, connect: _Connect) -> None:
        sock, connect.sock = connect.sock, None
        if sock is None:
            return
        if connect in self._flying:
            self._flying.discard(connect)
            assert self._loop is not None
            self._loop.remove_writer(sock.fileno())
        sock.close()

    def _report(self, ticket: object, result: ProbeResult) -> None:
        if self._finished is not None:
            self._finished(ticket, result)

    def _locate(self, target: _Target, hosts: Sequence[tuple[str, int]]) -> None:
        target.addresses = tuple((host, port, 0, 0) if ":" in host else (host, port) for host, port in hosts)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        assert self._loop is not None
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
