"""Peers for probes on loopback, good ones and bad ones: real sockets, nothing mocked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

Answer = Callable[[bytes], list[bytes]]
"""What to send back for one datagram; an empty list is silence."""


def sip_answer(status: int = 200, reason: str = "OK", *extra: bytes) -> Answer:
    """A response to whatever request comes, with its own headers and `extra` header lines."""

    def answer(request: bytes) -> list[bytes]:
        head, _, _ = request.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")[1:]
        kept = [line for line in lines if line.split(b":")[0] in (b"Via", b"From", b"Call-ID", b"CSeq")]
        to = next(line for line in lines if line.startswith(b"To:"))
        start = f"SIP/2.0 {status} {reason}".encode()
        return [b"\r\n".join((start, *kept, to + b";tag=peer", *extra, b"Content-Length: 0", b"", b""))]

    return answer


def silence(_: bytes) -> list[bytes]:
    return []


class DatagramPeer(asyncio.DatagramProtocol):
    """Answers with `answer`, which a test may change, and keeps what it received."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.received: list[bytes] = []
        self.arrived = asyncio.Event()
        self.via: asyncio.DatagramTransport | None = None  # answers leave from here when set
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.append(data)
        self.arrived.set()
        for reply in self.answer(data):
            (self.via or self.transport).sendto(reply, addr)


@asynccontextmanager
async def datagram_peer(
    answer: Answer, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[DatagramPeer]:
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(
        lambda: DatagramPeer(answer), local_addr=(host, port)
    )
    try:
        yield peer
    finally:
        transport.close()


def free_port(kind: int = socket.SOCK_DGRAM, host: str = "127.0.0.1") -> int:
    """A port nobody listens at, as far as can be told."""
    with socket.socket(socket.AF_INET, kind) as finder:
        finder.bind((host, 0))
        return int(finder.getsockname()[1])
