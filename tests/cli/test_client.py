"""Answers of the control socket that are no answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from controller.cli.client import CallFailed, Client
from controller.cli.exits import Exit


async def answer(request: web.Request) -> web.StreamResponse:
    status = int(request.query["status"])
    if status == 200:
        return web.Response(
            text='retry: 2000\n\nid: 7\ndata: {"sequence": 7}\n\n', content_type="text/event-stream"
        )
    return web.json_response({"title": "No", "detail": "told why", "reasons": ["on_hold"]}, status=status)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    application = web.Application()
    application.router.add_get("/stream", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "socket")).start()
    yield Client(str(tmp_path / "socket"))
    await runner.cleanup()


async def test_a_stream_is_read(client: Client) -> None:
    assert [entry async for entry in client.events("/stream", status=200)] == [{"sequence": 7}]


@pytest.mark.parametrize(
    ("status", "code", "reasons"),
    [
        (400, Exit.USAGE, ()),
        (404, Exit.NOT_FOUND, ()),
        (409, Exit.REFUSED, ("on_hold",)),
        (503, Exit.PROBLEM, ()),
    ],
)
async def test_a_stream_that_is_not_given_is_one_error(
    client: Client, status: int, code: Exit, reasons: tuple[str, ...]
) -> None:
    with pytest.raises(CallFailed, match="told why") as failed:
        async for _ in client.events("/stream", status=status):
            pytest.fail("nothing was streamed")
    assert (failed.value.code, failed.value.reasons) == (code, reasons)


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(CallFailed, match="no controller answers") as failed:
        async for _ in Client(str(tmp_path / "none")).events("/stream"):
            pytest.fail("nothing was streamed")
    assert failed.value.code is Exit.UNREACHABLE
