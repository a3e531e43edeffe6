"""A SIP user agent server for test calls and registrations, with the faults of real ones as switches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from controller.sip.digest import Algorithm, Challenge, find_authorization, verify
from controller.sip.messages import Headers, Request, parse_message
from controller.sip.replies import reply
from controller.sip.rtp import parse_rtp
from controller.sip.sdp import build_audio

PASSWORD = "correct horse"


class EchoMedia(asyncio.DatagramProtocol):
    """Echoes RTP. `keep` is asked for every packet's number: False drops it."""

    def __init__(self) -> None:
        self.received = 0
        self.echo = True
        self.noise = False  # audio comes back, but never the caller's
        self.drop_every = 0
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received += 1
        if not self.echo or (self.drop_every and self.received % self.drop_every == 0):
            return
        if self.noise:
            packet = parse_rtp(data)
            data = data[: len(data) - len(packet.payload)] + b"\xff" * len(packet.payload)
        self.transport.sendto(data, addr)


class Answerer(asyncio.DatagramProtocol):
    """`status` 200 answers; `ring` sends 180 first and, with `answer` False, nothing after it."""

    def __init__(self, media: EchoMedia) -> None:
        self.media = media
        self.status = 200
        self.ring = True
        self.answer = True
        self.silent = False
        self.headers: Headers = (("X-Side", "a"),)
        self.challenge: Challenge | None = None
        self.body: bytes | None = None
        self.requests: list[Request] = []
        self.news = asyncio.Condition()
        self.transport: asyncio.DatagramTransport
        self._invite: tuple[Request, tuple[str, int]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])

    def methods(self) -> list[str]:
        return [request.method for request in self.requests]

    async def until(self, method: str, count: int = 1) -> Request:
        async with asyncio.timeout(20), self.news:
            await self.news.wait_for(lambda: self.methods().count(method) >= count)
        return [request for request in self.requests if request.method == method][count - 1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = parse_message(data)
        assert isinstance(request, Request)
        self.requests.append(request)
        task = asyncio.get_running_loop().create_task(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.silent:
            return
        match request.method:
            case "INVITE":
                self._receive_invite(request, addr)
            case "REGISTER":
                self._receive_register(request, addr)
            case "CANCEL":
                self._send(request, addr, 200)
                if self._invite is not None:
                    self._send(self._invite[0], self._invite[1], 487)
            case "BYE" | "OPTIONS":
                self._send(request, addr, 200)

    async def _tell(self) -> None:
        async with self.news:
            self.news.notify_all()

    def accept_now(self) -> None:
        """Answer the call that rings."""
        assert self._invite is not None
        self._accept(*self._invite)

    def _receive_invite(self, request: Request, addr: tuple[str, int]) -> None:
        if not self._let_in(request, addr):
            return
        self._invite = (request, addr)
        if self.ring:
            self._send(request, addr, 180)
        if self.answer:
            self._accept(request, addr)

    def _accept(self, request: Request, addr: tuple[str, int]) -> None:
        if self.status != 200:
            self._send(request, addr, self.status, self.headers)
            return
        body = self.body
        if body is None:
            body = build_audio(address="127.0.0.1", port=self.media.port, session_id=1)
        contact = ("Contact", f"<sip:echo@127.0.0.1:{self.port}>")
        self._send(request, addr, 200, (*self.headers, contact), body)

    def _receive_register(self, request: Request, addr: tuple[str, int]) -> None:
        if not self._let_in(request, addr):
            return
        contact = request.get("Contact")
        headers: Headers = () if contact is None else (("Contact", f"{contact};expires=60"),)
        self._send(request, addr, self.status, headers)

    def _let_in(self, request: Request, addr: tuple[str, int]) -> bool:
        challenge = self.challenge
        if challenge is None:
            return True
        answer = find_authorization(request, realm=challenge.realm)
        if answer is not None and verify(answer, challenge, password=PASSWORD, method=request.method):
            return True
        self._send(request, addr, 401, (("WWW-Authenticate", str(challenge)),))
        return False

    def _send(
        self,
        request: Request,
        addr: tuple[str, int],
        status: int,
        headers: Headers = (),
        body: bytes = b"",
    ) -> None:
        if body:
            headers = (*headers, ("Content-Type", "application/sdp"))
        response = reply(request, status, headers=headers, body=body, to_tag="answerer")
        self.transport.sendto(response.encode(), addr)


CHALLENGE = Challenge(realm="lab", nonce="n0nce", algorithm=Algorithm.SHA_256)


@asynccontextmanager
async def answerer() -> AsyncIterator[Answerer]:
    loop = asyncio.get_running_loop()
    media_transport, media = await loop.create_datagram_endpoint(EchoMedia, local_addr=("127.0.0.1", 0))
    transport, peer = await loop.create_datagram_endpoint(
        lambda: Answerer(media), local_addr=("127.0.0.1", 0)
    )
    try:
        yield peer
    finally:
        transport.close()
        media_transport.close()
