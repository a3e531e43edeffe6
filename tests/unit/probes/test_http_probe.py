from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.probes.http import Http, HttpParameters
from tests.builders.responders import free_port

KEY = RungKey("console", "http")


async def probe(url: str, timeout: float = 10.0, **settings: Any) -> ProbeResult:
    one = Http(HttpParameters(url=url, **settings))  # type: ignore[arg-type]
    try:
        return await one.run(KEY, timeout)
    finally:
        await one.close()


async def served(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> TestServer:
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", handler)
    server = TestServer(application)
    await server.start_server()
    return server


async def test_status_body_and_method() -> None:
    async def handler(request: web.Request) -> web.Response:
        status = 503 if request.path == "/busy" else 301 if request.path == "/moved" else 200
        return web.Response(status=status, text=f"{request.method} ready", headers={"Location": "/"})

    async with await served(handler) as server:
        base = str(server.make_url("/"))
        good = await probe(base, body="^POST ready$", method="POST")
        mismatch = await probe(base, body="^PUT")
        busy = await probe(base + "busy")
        moved = await probe(base + "moved")
        wanted = await probe(base + "moved", status=frozenset({301}))
    assert (good.outcome, good.up, good.code) == (Outcome.UP, True, 200)
    assert mismatch.outcome is Outcome.FAILED and mismatch.up is False
    assert (busy.outcome, busy.code) == (Outcome.REFUSING, 503)
    assert (moved.outcome, moved.code) == (Outcome.ERROR, 301)
    assert wanted.up is True


async def test_silence_and_refusal() -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with await served(handler) as server:
        silent = await probe(str(server.make_url("/")), timeout=0.1)
    refused = await probe(f"http://127.0.0.1:{free_port(1)}/")
    assert (silent.outcome, silent.up) == (Outcome.NO_REPLY, False)
    assert (refused.outcome, refused.up) == (Outcome.TRANSPORT, False)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"SIP/2.0 200 OK\r\n\r\n", Outcome.MALFORMED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", Outcome.MALFORMED),
        (b"", Outcome.TRANSPORT),
    ],
)
async def test_bad_peers(answer: bytes, outcome: Outcome) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        result = await probe(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert result.outcome is outcome and result.up is False


def test_parameters_are_checked() -> None:
    for wrong in ({"url": "ftp://a"}, {"url": "http://a", "body": "("}, {"url": "http://a", "x": 1}):
        with pytest.raises(ValidationError):
            HttpParameters(**wrong)  # type: ignore[arg-type]
