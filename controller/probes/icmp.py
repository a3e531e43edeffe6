"""ICMP echo to very many hosts from one socket a family: raw with a filter, or unprivileged where that is allowed."""

from __future__ import annotations

import os
import secrets
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import field_validator

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.probes.datagrams import Address, DatagramSocket
from controller.probes.icmp_packets import (
    ECHO_REPLY,
    ECHO_REPLY_6,
    ECHO_REQUEST,
    ECHO_REQUEST_6,
    HEADER,
    attach_filter,
    echo_reply_filter,
    echo_request,
)
from controller.probes.mass import OURS, MassKind, MassTarget
from controller.probes.parameters import Strict, is_literal, split_address

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


class _Echo:
    """One echo request to one address (ports.Flight)."""

    __slots__ = ("address", "done", "number", "probe", "sends", "sent_at", "target", "ticket")

    def __init__(
        self, probe: Icmp, ticket: object, target: MassTarget, address: Address, number: int, now: float
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


class Icmp(MassKind):
    """ports.MassProbe. A reply must carry our token and come from where the request went."""

    Parameters = IcmpParameters
    copies_help = True

    def __init__(self) -> None:
        super().__init__()
        self._sockets: dict[int, DatagramSocket] = {}
        self._raw: dict[int, bool] = {}
        self._pending: dict[int, _Echo] = {}
        self._prefix = secrets.token_bytes(8)
        self._identifier = secrets.randbelow(65536)
        self._number = 0
        self._late = self._wrong_source = self._foreign = 0

    def prepare(self, key: RungKey, parameters: object) -> object:
        """Raises ValueError where neither kind of socket may be opened."""
        assert isinstance(parameters, IcmpParameters)
        target = MassTarget(key, parameters.host, 0, require_all=parameters.require == "all")
        self.locate(target)
        return target

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
        super().close()
        for each in self._sockets.values():
            each.close()
        self._sockets.clear()
        self._pending.clear()

    def transmit(self, echo: _Echo) -> None:
        family = socket.AF_INET if len(echo.address) == 2 else socket.AF_INET6
        packet = echo_request(
            ECHO_REQUEST if family == socket.AF_INET else ECHO_REQUEST_6,
            self._identifier,
            echo.number & 0xFFFF,
            _TOKEN.pack(self._prefix, echo.number),
        )
        code = self._sockets[family].send(packet, echo.address)
        if code and not echo.done:
            now = time.monotonic()
            if code in OURS:
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
        self.deliver(echo.ticket, echo.address, result)

    def start(self, ticket: object, target: MassTarget, address: Address, now: float) -> _Echo:
        self._number += 1
        echo = _Echo(self, ticket, target, address, self._number, now)
        self._pending[echo.number] = echo
        self.transmit(echo)
        return echo

    def _receive(self, packet: bytes, address: Address) -> None:
        start = 0
        if len(address) == 2 and self._raw[socket.AF_INET]:
            start = 4 * (packet[0] & 0x0F)  # a raw IPv4 socket hands the IP header over as well
        if len(packet) < start + HEADER.size + _TOKEN.size or packet[start] not in (
            ECHO_REPLY,
            ECHO_REPLY_6,
        ):
            self._foreign += 1
            return
        prefix, number = _TOKEN.unpack_from(packet, start + HEADER.size)
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

    def located(self, target: MassTarget, addresses: Sequence[Address]) -> None:
        for address in addresses:
            self._open_socket(socket.AF_INET if len(address) == 2 else socket.AF_INET6)
        super().located(target, addresses)

    def _open_socket(self, family: int) -> None:
        if family in self._sockets:
            return
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
        self._sockets[family] = DatagramSocket(sock, self.loop, self._receive, self._fail)
