"""The server's side of transactions: each request answered once, its answer repeated as long as needed (RFC 3261 17.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controller.sip.acknowledgement import AwaitedAcknowledgement
from controller.sip.messages import Request, Response
from controller.sip.replies import ReplyCache, reply_address
from controller.sip.transactions import Timers
from demo_platform.layout import Address

LIFETIME = 32.0
"""Seconds a transaction is remembered: 64 * T1."""

Transaction = tuple[str, str | None, int]


class Answers:
    """`send` puts bytes on the wire. Times are the running loop's."""

    def __init__(self, send: Callable[[bytes, Address], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._cache = ReplyCache(lifetime=LIFETIME)
        self._awaited: dict[Transaction, asyncio.TimerHandle] = {}

    def repeat(self, request: Request, source: Address) -> bool:
        """Whether this request has an answer already; it is sent again."""
        known = self._cache.recall(request, self._loop.time())
        if known is None:
            return False
        self._send(known, source)
        return True

    def give(self, request: Request, response: Response, *, until_acknowledged: bool = True) -> None:
        """Send a response to a request as `stamp_source` left it.

        A final one to an INVITE goes out again until its ACK is here, unless another element sees to that.
        """
        data, to = response.encode(), Address(*reply_address(response))
        now = self._loop.time()
        self._cache.remember(request, data, now)
        self._send(data, to)
        if request.method == "INVITE" and response.status >= 200 and until_acknowledged:
            self._wait(_transaction(request), AwaitedAcknowledgement(data, Timers(), now=now), to)

    def acknowledged(self, request: Request) -> bool:
        """Take an ACK; whether it was for an answer of ours."""
        timer = self._awaited.pop(_transaction(request), None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def close(self) -> None:
        for timer in self._awaited.values():
            timer.cancel()
        self._awaited.clear()

    def _wait(self, transaction: Transaction, awaited: AwaitedAcknowledgement, to: Address) -> None:
        due = awaited.next_deadline
        if due is None:
            self._awaited.pop(transaction, None)
            return
        self._awaited[transaction] = self._loop.call_at(due, self._wake, transaction, awaited, to)

    def _wake(self, transaction: Transaction, awaited: AwaitedAcknowledgement, to: Address) -> None:
        again = awaited.wake(self._loop.time())
        if again is not None:
            self._send(again, to)
        self._wait(transaction, awaited, to)


def _transaction(request: Request) -> Transaction:
    return request.call_id, request.from_.tag, request.cseq.number
