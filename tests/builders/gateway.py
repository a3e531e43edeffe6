"""A member of etcd as its gateway shows it, that answers as a test says: late, wrongly, or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Answer = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]

CLUSTER = "77"
VERSION = "3.5.21"


class Gateway:
    """Answers every path with a header at `revision` unless `answers` has another one for it."""

    def __init__(self) -> None:
        self.cluster = CLUSTER
        self.version = VERSION
        self.revision = 10
        self.asked: list[str] = []
        """Paths after /v3/, the vetting of the member left out."""
        self.requests: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.connections: set[int] = set()
        self.answers: dict[str, Answer] = {}
        self.hung = asyncio.Event()
        """Set: nothing is answered any longer."""
        self.watches: list[web.StreamResponse] = []
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        application = web.Application()
        application.router.add_post("/v3/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        server = site._server
        assert isinstance(server, asyncio.Server)
        self._port = server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def header(self) -> dict[str, str]:
        return {"cluster_id": self.cluster, "member_id": "1", "revision": str(self.revision)}

    async def tell(self, *events: tuple[str, str, int], **more: Any) -> None:
        """To every watch: (key, value or "" for deleted, revision)."""
        import base64

        def coded(text: str) -> str:
            return base64.b64encode(text.encode()).decode()

        listed = [
            {
                "type": "PUT" if value else "DELETE",
                "kv": {"key": coded(key), "value": coded(value), "mod_revision": str(revision)},
            }
            for key, value, revision in events
        ]
        message = json.dumps({"result": {"header": self.header, "events": listed, **more}}) + "\n"
        for watch in self.watches:
            await watch.write(message.encode())

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        body = await request.json()
        if request.transport is not None:
            self.connections.add(id(request.transport))
        self.tokens.append(request.headers.get("Authorization", ""))
        if path != "maintenance/status":
            self.asked.append(path)
            self.requests.append(body)
        if self.hung.is_set():
            await asyncio.sleep(3600)
        if path in self.answers:
            return await self.answers[path](body)
        if path == "maintenance/status":
            return web.json_response({"header": self.header, "version": self.version})
        if path == "watch":
            response = web.StreamResponse()
            await response.prepare(request)
            created = json.dumps({"result": {"header": self.header, "created": True}}) + "\n"
            await response.write(created.encode())
            self.watches.append(response)
            try:
                await asyncio.sleep(3600)
            finally:
                self.watches.remove(response)
        return web.json_response(
            {"header": self.header, "succeeded": True, "token": "t", "ID": "5", "TTL": "1"}
        )


def refusal(message: str, code: int, status: int = 400) -> Answer:
    async def answer(_: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"error": message, "message": message, "code": code}, status=status)

    return answer
