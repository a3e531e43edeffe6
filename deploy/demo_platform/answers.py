"""The server's side of transactions: each request answered once, its answer repeated as long as needed (RFC 3261 17.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controller.sip.messages import Request, Response
from controller.sip.replies import ReplyCache, reply_address
from demo_platform.layout import Address

T1 = 0.5
T2 = 4.0
LIFETIME = 32.0

Transaction = tuple[str, str | None, int]


class Answers:
    """`send` puts bytes on the wire. Times are the running loop's."""

    def __init__(self, send: Callable[[bytes, Address], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._cache = ReplyCache(lifetime=LIFETIME)
        self._repeating: dict[Transaction, asyncio.TimerHandle] = {}

    def repeat(self, request: Request, source: Address) -> bool:
        """Whether this request has an answer already; it is sent again."""
        known = self._cache.recall(request, self._loop.time())
        if known is None:
            return False
        self._send(known, source)
        return True

    def give(self, request: Request, response: Response, *, until_acknowledged: bool = True) -> None:
        """Send a response to a request as `stamp_source` left it.

        A final one to an INVITE goes out again until its ACK is here (timers G and H, and 13.3.1.4 for a 2xx) unless
        another element sees to that.
        """
        data, to = response.encode(), Address(*reply_address(response))
        self._cache.remember(request, data, self._loop.time())
        self._send(data, to)
        if request.method == "INVITE" and response.status >= 200 and until_acknowledged:
            self._repeat_later(_transaction(request), data, to, T1, self._loop.time() + LIFETIME)

    def acknowledged(self, request: Request) -> bool:
        """Take an ACK; whether it was for an answer of ours."""
        timer = self._repeating.pop(_transaction(request), None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def close(self) -> None:
        for timer in self._repeating.values():
            timer.cancel()
        self._repeating.clear()

    def _repeat_later(
        self, transaction: Transaction, data: bytes, to: Address, interval: float, until: float
    ) -> None:
        def again() -> None:
            if self._loop.time() >= until:
                del self._repeating[transaction]
                return
            self._send(data, to)
            self._repeat_later(transaction, data, to, min(2 * interval, T2), until)

        self._repeating[transaction] = self._loop.call_later(interval, again)


def _transaction(request: Request) -> Transaction:
    return request.call_id, request.from_.tag, request.cseq.number
