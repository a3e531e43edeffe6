"""ICMP echo to very many hosts from one socket a family: raw with a filter, or unprivileged where that is allowed."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import secrets
import socket
import struct
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Literal

from pydantic import field_validator

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.ports import Finished, Flight
from controller.probes.datagrams import Address, DatagramSocket
from controller.probes.fan import Fan, keep_resolved
from controller.probes.parameters import Strict, is_literal, split_address

ECHO_REQUEST, ECHO_REPLY = 8, 0  # RFC 792
ECHO_REQUEST_6, ECHO_REPLY_6 = 128, 129  # RFC 4443
SO_ATTACH_FILTER = 26
_HEADER = struct.Struct("!BBHHH")
_TOKEN = struct.Struct("!8sQ")


class IcmpParameters(Strict):
    """`host` is a name or an address, IPv6 without brackets."""

    host: str
    require: Literal["all", "any"] = "all"

    @field_validator("host")
    @classmethod
    def _is_host(cls, host: str) -> str:
        if not is_literal(host):
            split_address(host, 1)
        return host


class _Target:
    __slots__ = ("addresses", "host", "key", "released", "require_all")

    def __init__(self, key: RungKey, parameters: IcmpParameters) -> None:
        self.key = key
        self.host = parameters.host
        self.require_all = parameters.require == "all"
        self.addresses: tuple[Address, ...] = ()
        self.released = False


class _Echo:
    """One echo request to one address (ports.Flight)."""

    __slots__ = ("address", "done", "number", "probe", "sends", "sent_at", "target", "ticket")

    def __init__(
        self, probe: Icmp, ticket: object, target: _Target, address: Address, number: int, now: float
    ) -> None:
        self.probe = probe
        self.ticket = ticket
        self.target = target
        self.address = address
        self.number = number
        self.sent_at = now
        self.sends = 1
        self.done = False

    def resend(self, now: float) -> None:
        if not self.done:
            self.sends += 1
            self.probe.transmit(self)

    def give_up(self, now: float, void: str) -> None:
        if void:
            self.probe.end(self, now, Outcome.VOID, None, void)
        else:
            self.probe.end(self, now, Outcome.NO_REPLY, False, "")


class Icmp:
    """ports.MassProbe. A reply must carry our token and come from where the request went."""

    Parameters = IcmpParameters
    mass = True
    copies_help = True

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._finished: Finished | None = None
        self._sockets: dict[int, DatagramSocket] = {}
        self._raw: dict[int, bool] = {}
        self._pending: dict[int, _Echo] = {}
        self._prefix = secrets.token_bytes(8)
        self._identifier = secrets.randbelow(65536)
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._late = self._wrong_source = self._foreign = 0

    def open(self, loop: asyncio.AbstractEventLoop, finished: Finished) -> None:
        self._loop, self._finished = loop, finished

    def prepare(self, key: RungKey, parameters: object) -> object:
        """Raises ValueError where neither kind of socket may be opened."""
        assert isinstance(parameters, IcmpParameters) and self._loop is not None
        target = _Target(key, parameters)
        if is_literal(target.host):
            self._locate(target, [(target.host, 0)])
        else:
            self._spawn(
                keep_resolved(
                    self._loop,
                    target.host,
                    0,
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
            return self._request(ticket, prepared, addresses[0], now)
        if not addresses:
            unresolved = _Echo(self, ticket, prepared, (prepared.host, 0), 0, now)
            self.end(unresolved, now, Outcome.TRANSPORT, False, f"{prepared.host} does not resolve")
            return unresolved
        fan = Fan(self._report, ticket, expected=len(addresses), require_all=prepared.require_all, now=now)
        for address in addresses:
            fan.parts.append(self._request(fan, prepared, address, now))
        return fan

    def drain(self) -> None:
        for each in self._sockets.values():
            each.drain()

    def lost_since(self, sent_at: float) -> bool:
        return any(each.lost_since(sent_at) for each in self._sockets.values())

    def counters(self) -> Mapping[str, int]:
        return {
            "late": self._late,
            "wrong_source": self._wrong_source,
            "foreign": self._foreign,
            "undelivered": sum(each.undelivered for each in self._sockets.values()),
            "overflows": sum(each.overflows for each in self._sockets.values()),
        }

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for each in self._sockets.values():
            each.close()
        self._sockets.clear()
        self._pending.clear()

    def transmit(self, echo: _Echo) -> None:
        family = socket.AF_INET if len(echo.address) == 2 else socket.AF_INET6
        packet = _packet(
            ECHO_REQUEST if family == socket.AF_INET else ECHO_REQUEST_6,
            self._identifier,
            echo.number & 0xFFFF,
            _TOKEN.pack(self._prefix, echo.number),
        )
        code = self._sockets[family].send(packet, echo.address)
        if code and not echo.done:
            now = time.monotonic()
            if code in (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM):
                self.end(echo, now, Outcome.VOID, None, f"our own socket: {os.strerror(code)}")
            else:
                self.end(echo, now, Outcome.TRANSPORT, False, os.strerror(code))

    def end(self, echo: _Echo, now: float, outcome: Outcome, up: bool | None, note: str) -> None:
        if echo.done:
            return
        echo.done = True
        self._pending.pop(echo.number, None)
        latency = now - echo.sent_at
        result = ProbeResult(echo.target.key, echo.sent_at, now, outcome, up, latency, 0, echo.sends, note)
        if type(echo.ticket) is Fan:
            echo.ticket.take(str(echo.address[0]), result)
        else:
            self._report(echo.ticket, result)

    def _report(self, ticket: object, result: ProbeResult) -> None:
        if self._finished is not None:
            self._finished(ticket, result)

    def _request(self, ticket: object, target: _Target, address: Address, now: float) -> _Echo:
        self._number += 1
        echo = _Echo(self, ticket, target, address, self._number, now)
        self._pending[echo.number] = echo
        self.transmit(echo)
        return echo

    def _receive(self, packet: bytes, address: Address) -> None:
        start = 0
        if len(address) == 2 and self._raw[socket.AF_INET]:
            start = 4 * (packet[0] & 0x0F)  # a raw IPv4 socket hands the IP header over as well
        if len(packet) < start + _HEADER.size + _TOKEN.size or packet[start] not in (
            ECHO_REPLY,
            ECHO_REPLY_6,
        ):
            self._foreign += 1
            return
        prefix, number = _TOKEN.unpack_from(packet, start + _HEADER.size)
        if prefix != self._prefix:
            self._foreign += 1
            return
        echo = self._pending.get(number)
        if echo is None:
            self._late += 1
        elif address[0] != echo.address[0]:
            self._wrong_source += 1
        else:
            self.end(echo, time.monotonic(), Outcome.UP, True, "")

    def _fail(self, packet: bytes, address: Address, code: int) -> None:
        """A router or host says the request can't be delivered. The packet is ours, from the ICMP header on."""
        position = packet.find(self._prefix)
        if 0 <= position <= len(packet) - _TOKEN.size:
            echo = self._pending.get(_TOKEN.unpack_from(packet, position)[1])
            if echo is not None and echo.address[0] == address[0]:
                self.end(echo, time.monotonic(), Outcome.TRANSPORT, False, os.strerror(code))

    def _locate(self, target: _Target, hosts: Sequence[tuple[str, int]]) -> None:
        addresses: list[Address] = []
        for host, port in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._open_socket(family)
            addresses.append((host, port) if family == socket.AF_INET else (host, port, 0, 0))
        target.addresses = tuple(addresses)

    def _open_socket(self, family: int) -> None:
        if family in self._sockets:
            return
        assert self._loop is not None
        protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
        try:
            sock = socket.socket(family, socket.SOCK_RAW, protocol)
            self._raw[family] = True
            attach_filter(sock, echo_reply_filter(family, self._identifier))
        except PermissionError:
            try:
                # net.ipv4.ping_group_range: the kernel sets the identifier and hands us only our own replies.
                sock = socket.socket(family, socket.SOCK_DGRAM, protocol)
            except OSError as error:
                raise ValueError(
                    f"needs CAP_NET_RAW, or our group within net.ipv4.ping_group_range: {error.strerror}"
                ) from error
            self._raw[family] = False
        self._sockets[family] = DatagramSocket(sock, self._loop, self._receive, self._fail)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        assert self._loop is not None
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _packet(kind: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """An echo request with its checksum (RFC 1071); for ICMPv6 the kernel puts its own in."""
    packet = _HEADER.pack(kind, 0, 0, identifier, sequence) + payload
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    total += total >> 16
    return _HEADER.pack(kind, 0, ~total & 0xFFFF, identifier, sequence) + payload


Instruction = tuple[int, int, int, int]
"""A classic BPF instruction: code, jump if true, jump if false, operand."""


def echo_reply_filter(family: int, identifier: int) -> list[Instruction]:
    """Passes only echo replies with our identifier: every raw socket gets a copy of all the host's ICMP."""
    if family == socket.AF_INET:
        return [
            (0xB1, 0, 0, 0),  # ldxb 4*([0]&0xf): the IP header's length
            (0x50, 0, 0, 0),  # ldb [x+0]: type
            (0x15, 0, 3, ECHO_REPLY),
            (0x48, 0, 0, 4),  # ldh [x+4]: identifier
            (0x15, 0, 1, identifier),
            (0x06, 0, 0, 0x40000),
            (0x06, 0, 0, 0),
        ]
    return [
        (0x30, 0, 0, 0),  # ldb [0]: type
        (0x15, 0, 3, ECHO_REPLY_6),
        (0x28, 0, 0, 4),  # ldh [4]: identifier
        (0x15, 0, 1, identifier),
        (0x06, 0, 0, 0x40000),
        (0x06, 0, 0, 0),
    ]


def attach_filter(sock: socket.socket, program: Sequence[Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(buffer))
    )
