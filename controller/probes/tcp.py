"""TCP connects to many targets: non-blocking, no task and no stream a probe."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Mapping
from typing import Literal

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.probes.datagrams import Address
from controller.probes.mass import OURS, MassKind, MassTarget
from controller.probes.parameters import HostPort, Strict, split_address

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER


class TcpParameters(Strict):
    """`address` is `host:port`."""

    address: HostPort
    require: Literal["all", "any"] = "all"


class _Connect:
    """One connection attempt to one address (ports.Flight)."""

    __slots__ = ("address", "done", "probe", "sent_at", "sock", "target", "ticket")

    def __init__(self, probe: Tcp, ticket: object, target: MassTarget, address: Address, now: float) -> None:
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


class Tcp(MassKind):
    """ports.MassProbe. A handshake is UP; a connection is reset at once, so that no port stays in TIME_WAIT."""

    Parameters = TcpParameters
    copies_help = False

    def __init__(self) -> None:
        super().__init__()
        self._flying: set[_Connect] = set()
        self._exhausted = 0

    def prepare(self, key: RungKey, parameters: object) -> object:
        assert isinstance(parameters, TcpParameters)
        host, port = split_address(parameters.address, 0)
        if not port:
            raise ValueError(f"no port in {parameters.address!r}")
        target = MassTarget(key, host, port, require_all=parameters.require == "all")
        self.locate(target)
        return target

    def drain(self) -> None:
        """Nothing is shared here: `give_up` looks at its own connection first."""

    def lost_since(self, sent_at: float) -> bool:
        return False

    def counters(self) -> Mapping[str, int]:
        return {"exhausted": self._exhausted}

    def close(self) -> None:
        super().close()
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

    def start(self, ticket: object, target: MassTarget, address: Address, now: float) -> _Connect:
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
            self.loop.add_writer(connect.sock.fileno(), self._ready, connect)
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
        elif code in OURS:
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
        self.deliver(connect.ticket, connect.address, result)

    def _release_socket(self, connect: _Connect) -> None:
        sock, connect.sock = connect.sock, None
        if sock is None:
            return
        if connect in self._flying:
            self._flying.discard(connect)
            self.loop.remove_writer(sock.fileno())
        sock.close()
