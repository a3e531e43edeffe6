"""One side of the call platform.

    python -m demo_platform.side --name primary --listen 127.0.0.11:15061 --control 127.0.0.11:18091 \\
        --echo 127.0.0.21:15062 --agents 127.0.0.31:15062

Answers OPTIONS itself, registers those who prove a password, and passes calls on: to the echo service for the user
`echo`, to the agents for any other. It anchors their media, and every reply carries X-Side, so that a caller can prove
which side served it.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from controller.sip import sdp
from controller.sip.errors import SdpError, SipParseError
from controller.sip.messages import Headers, Message, Request, Response, canonical
from controller.sip.uri import parse_uri
from demo_platform.datagrams import SipSocket
from demo_platform.layout import CONTROLLER, ECHO_USER, REALM, REGISTER_PASSWORD, REGISTER_USER, Address
from demo_platform.media import Anchor, OneWay
from demo_platform.proxy import Proxy, Refuse, Route
from demo_platform.registrar import Registrar
from demo_platform.serving import run
from demo_platform.switches import Control, Switches, is_fenced

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER"
SIDE_HEADER = "X-Side"
FR_TIMER_S = 1.0
LONGEST_CALL_S = 300.0

Call = tuple[str, str | None]


class Side:
    """`fence_mark`: while this file exists the side starts fenced."""

    def __init__(
        self,
        name: str,
        listen: Address,
        *,
        echo: Address,
        agents: Address,
        passwords: Mapping[str, str],
        controller: str = CONTROLLER,
        fence_mark: Path | None = None,
    ) -> None:
        self.switches = Switches(fenced=is_fenced(fence_mark))
        self._name = name
        self._echo = echo
        self._agents = agents
        self._controller = controller
        self._loop = asyncio.get_running_loop()
        self._registrar = Registrar(REALM, passwords)
        self._anchors: dict[Call, tuple[Anchor, asyncio.TimerHandle]] = {}
        self._sip = SipSocket(listen, self._receive, admit=self._admits)
        self.address = self._sip.address
        self._proxy = Proxy(self.address, self._sip.send, self, fr_timer=FR_TIMER_S)
        self.control = Control(self.switches, name=name, counters=self._counters)

    @property
    def calls(self) -> int:
        """Under way."""
        return len(self._anchors)

    async def close(self) -> None:
        await self.control.close()
        self._proxy.close()
        self._sip.close()
        for call in list(self._anchors):
            self._release(call)

    def _admits(self, source: Address) -> bool:
        """Behind its fence a side hears the controller, and who answers calls: so a test call of the controller's shows
        whether it is well again, while nobody else's call gets in.
        """
        heard = (self._controller, self._echo.host, self._agents.host)
        return not self.switches.fenced or source.host in heard

    def _receive(self, message: Message, source: Address) -> None:
        self._proxy.receive(message, source)

    def _counters(self) -> dict[str, int]:
        return {"calls": self.calls, "dropped": self._sip.dropped, "malformed": self._sip.malformed}

    # What the proxy asks (proxy.Routing).

    def route(self, request: Request) -> Route:
        match request.method:
            case "OPTIONS":
                return Refuse(200, (*self._mark, ("Allow", ALLOW), ("Accept", sdp.CONTENT_TYPE)))
            case "REGISTER":
                answer = self._registrar.answer(request, self._loop.time())
                return Refuse(answer.status, (*self._mark, *answer.headers))
            case "INVITE" if self.switches.zombie:
                return Refuse(503, self._mark)
            case "INVITE":
                return (self._echo if parse_uri(request.uri).user == ECHO_USER else self._agents,)
            case "BYE":
                return Refuse(481, self._mark)
            case _:
                return Refuse(405, (*self._mark, ("Allow", ALLOW)))

    def outgoing(self, request: Request, destination: Address) -> Request:
        if request.method != "INVITE":
            return request
        if request.to.tag is not None:
            raise SipParseError("the media of a call stays as it was", status=488)
        try:
            offer = sdp.parse_audio(request.body)
        except SdpError as error:
            raise SipParseError(str(error), status=488) from error
        anchor = Anchor(self.address.host, Address(offer.address, offer.port), self._passes)
        call = _call(request)
        self._release(call)
        self._anchors[call] = anchor, self._loop.call_later(LONGEST_CALL_S, self._release, call)
        return replace(request, body=_described(offer, anchor.far))

    def incoming(self, request: Request, response: Response, destination: Address) -> Response:
        marked = replace(response, headers=(*_without(response.headers, SIDE_HEADER), *self._mark))
        held = self._anchors.get(_call(request))
        if request.method != "INVITE" or held is None or not response.body:
            return marked
        try:
            answer = sdp.parse_audio(response.body)
        except SdpError as error:
            raise SipParseError(str(error)) from error
        held[0].answerer = Address(answer.address, answer.port)
        return replace(marked, body=_described(answer, held[0].near))

    def replied(self, request: Request, response: Response, destination: Address) -> None:
        return None

    def next_destination(self, request: Request, response: Response | None) -> bool:
        return False

    def unanswered(self, request: Request, destination: Address) -> None:
        return None

    def finished(self, request: Request) -> None:
        self._release(_call(request))

    @property
    def _mark(self) -> Headers:
        return ((SIDE_HEADER, self._name),)

    def _passes(self, direction: OneWay, caller: Address) -> bool:
        cut_off = self.switches.fenced and caller.host != self._controller
        return not cut_off and self.switches.one_way is not direction

    def _release(self, call: Call) -> None:
        held = self._anchors.pop(call, None)
        if held is not None:
            held[0].close()
            held[1].cancel()


def _call(request: Request) -> Call:
    return request.call_id, request.from_.tag


def _without(headers: Headers, name: str) -> Headers:
    return tuple(header for header in headers if canonical(header[0]) != name.lower())


def _described(audio: sdp.AudioDescription, address: Address) -> bytes:
    """The same session, to be reached at `address`."""
    return sdp.build_audio(
        address=address.host,
        port=address.port if audio.port else 0,
        session_id=address.port,
        codecs=audio.codecs,
        direction=audio.direction,
        ptime=audio.ptime or 20,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo_platform.side", description="One side of the call platform.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen", type=Address.parse, required=True, metavar="HOST:PORT")
    parser.add_argument("--control", type=Address.parse, required=True, metavar="HOST:PORT")
    parser.add_argument("--echo", type=Address.parse, required=True, metavar="HOST:PORT")
    parser.add_argument("--agents", type=Address.parse, required=True, metavar="HOST:PORT")
    parser.add_argument("--controller", default=CONTROLLER, metavar="HOST", help="heard even when fenced")
    parser.add_argument("--fence-mark", type=Path, metavar="FILE")
    options = parser.parse_args()

    async def start() -> Side:
        side = Side(
            options.name,
            options.listen,
            echo=options.echo,
            agents=options.agents,
            passwords={REGISTER_USER: REGISTER_PASSWORD},
            controller=options.controller,
            fence_mark=options.fence_mark,
        )
        await side.control.open(options.control)
        return side

    run(start)


if __name__ == "__main__":
    main()
