"""Stands between a client and a member of etcd, and loses answers or keeps requests back."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web


class Mode(StrEnum):
    PASS = "pass"
    LOSE = "lose"  # the request is carried out, and its answer never comes
    KEEP = "keep"  # the request is carried out when `let_go` is called


class Relay:
    """In front of `member`, a URL. Its `mode` is of transactions; everything else passes."""

    def __init__(self, member: str) -> None:
        self._member = member
        self.mode = Mode.PASS
        self.kept: list[bytes] = []
        self.carried = 0
        """Transactions that were carried out."""
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        application = web.Application()
        application.router.add_post("/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        server = site._server
        assert isinstance(server, asyncio.Server)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._runner is not None and self._session is not None
        await self._runner.cleanup()
        await self._session.close()

    async def let_go(self) -> list[str]:
        """What was kept reaches the member now; the answers."""
        kept, self.kept = self.kept, []
        return [(await self._carry_out("v3/kv/txn", body))[1].decode() for body in kept]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path, body = request.match_info["path"], await request.read()
        transaction = path == "v3/kv/txn"
        if transaction and self.mode is Mode.KEEP:
            self.kept.append(body)
            await asyncio.sleep(3600)
        status, answer = await self._carry_out(path, body)
        if transaction:
            self.carried += 1
            if self.mode is Mode.LOSE:
                await asyncio.sleep(3600)
        return web.Response(status=status, body=answer, content_type="application/json")

    async def _carry_out(self, path: str, body: bytes) -> tuple[int, bytes]:
        assert self._session is not None
        async with self._session.post(f"{self._member}/{path}", data=body) as response:
            return response.status, await response.read()
