"""The edge: where callers send their calls, and where a switch happens.

    python -m demo_platform.edge --listen 127.0.0.10:15060 --rpc 127.0.0.10:18090 --list-file var/demo/dispatcher.list

A new call goes to the active side of highest priority. With --failure-route, one that a side refuses (408, 500 to 509)
or leaves unanswered for --fr-timer goes on to the next active side; without it the caller is told.

Speaks as config/kamailio/edge.cfg does: set 1 routes, set 9 fences, `dlg.profile_get_size side ADDRESS` counts live calls.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from pathlib import Path

from controller.sip.messages import Message, Request, Response
from controller.sip.uri import parse_uri
from demo_platform.datagrams import SipSocket
from demo_platform.dispatcher import Dispatcher
from demo_platform.errors import DemoError
from demo_platform.layout import CONTROLLER, FENCE_SET, SET, Address
from demo_platform.proxy import Proxy, Refuse, Route
from demo_platform.rpc import Rpc
from demo_platform.serving import run

NO_SIDE = Refuse(503, (("Retry-After", "1"),))
LONGEST_CALL_S = 3600.0
"""A call that nobody ended counts no longer than this."""


class Edge:
    """Counts replies to INVITE as `<side address>::<status>`, from 180 on, and silent sides as `<side address>::timeout`.

    Raises DemoError if the list file can't be read.
    """

    def __init__(
        self,
        listen: Address,
        list_file: Path,
        *,
        fr_timer: float = 0.3,
        failure_route: bool = False,
        reload_delta: float = 5.0,
        controller: str = CONTROLLER,
    ) -> None:
        try:
            self.dispatcher = Dispatcher(list_file, reload_delta=reload_delta)
        except OSError as error:
            raise DemoError(f"the dispatcher list can't be read: {error}") from error
        self.counters: Counter[str] = Counter()
        self._failure_route = failure_route
        self._loop = asyncio.get_running_loop()
        self._live: dict[tuple[str, str | None], tuple[str, float]] = {}
        self._sip = SipSocket(listen, self._receive, admit=self._admits)
        self.address = self._sip.address
        self._proxy = Proxy(self.address, self._sip.send, self, fr_timer=fr_timer)
        self.rpc = Rpc(self.dispatcher, self.counters, self.live_calls, controller=controller)

    @property
    def under_way(self) -> int:
        """Requests that wait for their final response."""
        return self._proxy.under_way

    def live_calls(self, host: str) -> int:
        """Calls of the side at this address that are being set up or stand."""
        now = self._loop.time()
        return sum(side == host and until > now for side, until in self._live.values())

    async def close(self) -> None:
        await self.rpc.close()
        self._proxy.close()
        self._sip.close()

    def _admits(self, source: Address) -> bool:
        """The edge's own fence: nothing of a fenced side passes, whatever was queued in it while it hung."""
        return not self.dispatcher.is_active(FENCE_SET, f"sip:{source}")

    def _receive(self, message: Message, source: Address) -> None:
        self._proxy.receive(message, source)

    # What the proxy asks (proxy.Routing).

    def route(self, request: Request) -> Route:
        destinations = [destination.address for destination in self.dispatcher.active(SET)]
        if request.method == "OPTIONS" and parse_uri(request.uri).user is None:
            return Refuse(200) if destinations else NO_SIDE
        return destinations or NO_SIDE

    def outgoing(self, request: Request, destination: Address) -> Request:
        if request.method == "INVITE" and request.to.tag is None:
            self._live[_call(request)] = destination.host, self._loop.time() + LONGEST_CALL_S
        return request

    def incoming(self, request: Request, response: Response, destination: Address) -> Response:
        return response

    def replied(self, request: Request, response: Response, destination: Address) -> None:
        if request.method == "INVITE" and request.to.tag is None and response.status >= 180:
            self.counters[f"{destination.host}::{response.status}"] += 1

    def next_destination(self, request: Request, response: Response | None) -> bool:
        status = 408 if response is None else response.status
        return self._failure_route and (status == 408 or 500 <= status <= 509)

    def unanswered(self, request: Request, destination: Address) -> None:
        if request.method == "INVITE" and request.to.tag is None:
            self.counters[f"{destination.host}::timeout"] += 1

    def finished(self, request: Request) -> None:
        self._live.pop(_call(request), None)


def _call(request: Request) -> tuple[str, str | None]:
    return request.call_id, request.from_.tag


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo_platform.edge", description="The edge of the call platform.")
    parser.add_argument("--listen", type=Address.parse, required=True, metavar="HOST:PORT")
    parser.add_argument("--rpc", type=Address.parse, required=True, metavar="HOST:PORT")
    parser.add_argument("--list-file", type=Path, required=True)
    parser.add_argument("--fr-timer", type=float, default=0.3, metavar="SECONDS")
    parser.add_argument("--failure-route", action="store_true")
    parser.add_argument("--controller", default=CONTROLLER, metavar="HOST", help="may use the JSON-RPC")
    options = parser.parse_args()

    async def start() -> Edge:
        edge = Edge(
            options.listen,
            options.list_file,
            fr_timer=options.fr_timer,
            failure_route=options.failure_route,
            controller=options.controller,
        )
        await edge.rpc.open(options.rpc)
        return edge

    run(start)


if __name__ == "__main__":
    main()
