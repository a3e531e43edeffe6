"""Whoever answers calls: the agents, and the echo service that test calls go to.

    python -m demo_platform.echo --listen 127.0.0.21:15062

Rings at once, answers after --ring seconds, and sends every caller's own audio back (media.Echo).
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
from dataclasses import dataclass

from controller.sip import sdp
from controller.sip.errors import SdpError
from controller.sip.messages import Headers, Message, Request, Response
from controller.sip.replies import reply, stamp_source
from controller.sip.screening import Capabilities, screen
from demo_platform.answers import Answers
from demo_platform.datagrams import SipSocket
from demo_platform.layout import Address
from demo_platform.media import Echo
from demo_platform.serving import run

ALLOW: Headers = (("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS"),)
LONGEST_CALL_S = 300.0
CAPABILITIES = Capabilities()


@dataclass(kw_only=True, eq=False)
class _Call:
    invite: Request
    tag: str
    offer: sdp.AudioDescription
    timer: asyncio.TimerHandle | None = None
    media: Echo | None = None
    answered: bool = False


class Answerer:
    """`ring_s`: from the INVITE to the 200."""

    def __init__(self, listen: Address, *, ring_s: float = 0.02) -> None:
        self._ring_s = ring_s
        self._loop = asyncio.get_running_loop()
        self._calls: dict[tuple[str, str | None], _Call] = {}
        self._socket = SipSocket(listen, self._receive)
        self._answers = Answers(self._socket.send)
        self.address = self._socket.address
        self.answered = 0

    @property
    def calls(self) -> int:
        """Under way."""
        return len(self._calls)

    def close(self) -> None:
        for call in list(self._calls.values()):
            self._end(call)
        self._answers.close()
        self._socket.close()

    def _receive(self, message: Message, source: Address) -> None:
        if isinstance(message, Response):
            return  # we send no requests
        request = stamp_source(message, source.host, source.port)
        if request.method == "ACK":
            self._answers.acknowledged(request)
            return
        if self._answers.repeat(request, source):
            return
        refusal = screen(request, CAPABILITIES)
        if refusal is not None:
            self._refuse(request, refusal.status, refusal.headers)
            return
        match request.method:
            case "OPTIONS":
                self._refuse(request, 200, ALLOW)
            case "INVITE" if request.to.tag is None:
                self._ring(request)
            case "INVITE":
                self._refuse(request, 488)  # the session stays as it was answered
            case "CANCEL":
                self._cancel(request)
            case _:
                self._hang_up(request)

    def _refuse(self, request: Request, status: int, headers: Headers = ()) -> None:
        self._answers.give(request, reply(request, status, headers=headers, to_tag=secrets.token_hex(6)))

    def _ring(self, request: Request) -> None:
        try:
            offer = sdp.parse_audio(request.body)
        except SdpError:
            self._refuse(request, 488)
            return
        if not offer.port or sdp.PCMU not in offer.codecs and sdp.PCMA not in offer.codecs:
            self._refuse(request, 488)
            return
        call = _Call(invite=request, tag=secrets.token_hex(6), offer=offer)
        self._calls[_key(request)] = call
        self._answers.give(request, reply(request, 100))
        contact = ("Contact", f"<sip:{self.address}>")
        self._answers.give(request, reply(request, 180, headers=(contact,), to_tag=call.tag))
        call.timer = self._loop.call_later(self._ring_s, self._answer, call)

    def _answer(self, call: _Call) -> None:
        call.answered = True
        self.answered += 1
        call.media = Echo(self.address.host, Address(call.offer.address, call.offer.port))
        codecs = tuple(codec for codec in call.offer.codecs if codec in (sdp.PCMU, sdp.PCMA))
        body = sdp.build_audio(
            address=call.media.address.host,
            port=call.media.address.port,
            session_id=secrets.randbits(31),
            codecs=codecs,
        )
        headers: Headers = (
            ("Contact", f"<sip:{self.address}>"),
            *ALLOW,
            ("Content-Type", sdp.CONTENT_TYPE),
        )
        self._answers.give(call.invite, reply(call.invite, 200, headers=headers, body=body, to_tag=call.tag))
        call.timer = self._loop.call_later(LONGEST_CALL_S, self._end, call)

    def _cancel(self, request: Request) -> None:
        call = self._calls.get(_key(request))
        if call is None:
            self._refuse(request, 481)
            return
        self._answers.give(request, reply(request, 200, to_tag=call.tag))
        if not call.answered:
            self._answers.give(call.invite, reply(call.invite, 487, to_tag=call.tag))
            self._end(call)

    def _hang_up(self, request: Request) -> None:
        call = self._calls.get(_key(request))
        if call is None or request.to.tag != call.tag:
            self._refuse(request, 481)
            return
        self._answers.give(request, reply(request, 200))
        self._end(call)

    def _end(self, call: _Call) -> None:
        self._calls.pop(_key(call.invite), None)
        if call.timer is not None:
            call.timer.cancel()
        if call.media is not None:
            call.media.close()


def _key(request: Request) -> tuple[str, str | None]:
    return request.call_id, request.from_.tag


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo_platform.echo", description=__doc__.partition("\n")[0])
    parser.add_argument("--listen", type=Address.parse, required=True, metavar="HOST:PORT")
    parser.add_argument("--ring", type=float, default=0.02, metavar="SECONDS")
    options = parser.parse_args()

    async def start() -> Answerer:
        return Answerer(options.listen, ring_s=options.ring)

    run(start)


if __name__ == "__main__":
    main()
