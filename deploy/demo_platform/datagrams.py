"""A UDP socket on the event loop, opened without waiting, and SIP over one."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from controller.sip.errors import SipParseError
from controller.sip.messages import Message, parse_message
from demo_platform.errors import AddressInUse
from demo_platform.layout import Address

log = logging.getLogger(__name__)

BATCH = 64
"""Datagrams taken in a wake-up."""


class Datagrams:
    """`address` port 0 takes a free one; the address in use is in `address` afterwards.

    Raises AddressInUse. Must be made inside a running loop.
    """

    def __init__(self, address: Address, received: Callable[[bytes, Address], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = received
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind(address)
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise AddressInUse(f"udp {address} is in use by another program") from None
        self.address = Address(*self._socket.getsockname())
        self._loop.add_reader(self._socket, self._drain)

    def send(self, data: bytes, to: Address) -> None:
        """A datagram that can't be sent is like one lost on the way: those who wait for an answer repeat or give up."""
        try:
            self._socket.sendto(data, to)
        except OSError as error:
            log.debug("datagram to %s not sent: %s", to, error)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _drain(self) -> None:
        for _ in range(BATCH):
            if self._socket.fileno() < 0:
                return  # closed by what the last datagram led to
            try:
                data, source = self._socket.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:
                continue
            self._received(data, Address(*source))


class SipSocket:
    """SIP over UDP. What is not SIP is dropped and counted, and so is what `admit` turns away."""

    def __init__(
        self,
        address: Address,
        received: Callable[[Message, Address], None],
        *,
        admit: Callable[[Address], bool] = lambda source: True,
    ) -> None:
        self.malformed = 0
        self.dropped = 0
        self._handle = received
        self._admit = admit
        self._datagrams = Datagrams(address, self._parse)
        self.address = self._datagrams.address

    def send(self, data: bytes, to: Address) -> None:
        self._datagrams.send(data, to)

    def close(self) -> None:
        self._datagrams.close()

    def _parse(self, data: bytes, source: Address) -> None:
        if not self._admit(source):
            self.dropped += 1
            return
        if not data.strip(b"\r\n\0"):
            return  # a keep-alive (RFC 5626 3.5.1)
        try:
            message = parse_message(data)
        except SipParseError as error:
            self.malformed += 1
            log.debug("not SIP, from %s: %s", source, error)
            return
        self._handle(message, source)
