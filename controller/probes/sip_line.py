"""A UDP socket of its own for one call or registration, and the driving of its state machine."""

from __future__ import annotations

import asyncio
import os
import socket

from controller.probes.datagrams import Address, DatagramSocket
from controller.sip.errors import SipParseError
from controller.sip.messages import Message, parse_message
from controller.sip.uri import Uri, bracketed

MOST_WAITING = 1000
"""Messages; a peer that floods us gets no more attention than that."""


class SipLine:
    """Reads SIP messages from one socket. `peer` is where requests go; `failure` what the network said last of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, peer: Address, local: str = "") -> None:
        """Raises OSError without a route to `peer`, or for a `local` address that isn't ours."""
        self.peer = peer
        self.failure = ""
        self.malformed = 0
        family = socket.AF_INET if len(peer) == 2 else socket.AF_INET6
        ours = local or _address_towards(family, peer)
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.bind((ours, 0))
        except OSError:
            sock.close()
            raise
        self.host = ours
        self.port = int(sock.getsockname()[1])
        self._arrived: asyncio.Queue[tuple[Message, Address] | None] = asyncio.Queue(MOST_WAITING)
        self._socket = DatagramSocket(sock, loop, self._receive, self._fail)

    @property
    def sent_by(self) -> str:
        """Our host and port for Via and Contact."""
        return f"{bracketed(self.host)}:{self.port}"

    def send(self, datagram: bytes, address: Address | None = None) -> None:
        code = self._socket.send(datagram, address or self.peer)
        if code:
            self.failure = os.strerror(code)
            self.wake()

    def wake(self) -> None:
        """Let `next` return, so that deadlines are looked at anew."""
        if not self._arrived.full():
            self._arrived.put_nowait(None)

    async def next(self, within: float | None) -> tuple[Message, Address] | None:
        """The next message and where it came from; None after `within` seconds, a failure or `wake`."""
        try:
            async with asyncio.timeout(within):
                return await self._arrived.get()
        except TimeoutError:
            return None

    def close(self) -> None:
        self._socket.close()

    def _receive(self, datagram: bytes, address: Address) -> None:
        try:
            message = parse_message(datagram)
        except SipParseError:
            self.malformed += 1
            return
        if not self._arrived.full():
            self._arrived.put_nowait((message, address))

    def _fail(self, datagram: bytes, address: Address, code: int) -> None:
        if address[:2] == self.peer[:2]:
            self.failure = os.strerror(code)
            self.wake()


def _address_towards(family: int, peer: Address) -> str:
    with socket.socket(family, socket.SOCK_DGRAM) as finder:
        finder.connect(peer)
        return str(finder.getsockname()[0])


async def resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Address:
    """The first address of a host. Raises OSError."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    address: Address = found[0][4]
    return address


def next_hop_address(uri: Uri | None, fallback: Address) -> Address:
    """Where a request inside a dialog goes. A name is not looked up in the middle of a call: the first hop has it then."""
    if uri is None:
        return fallback
    try:
        family = socket.AF_INET6 if ":" in uri.address else socket.AF_INET
        socket.inet_pton(family, uri.address)
    except OSError:
        return fallback
    port = uri.port or 5060
    return (uri.address, port) if family == socket.AF_INET else (uri.address, port, 0, 0)
