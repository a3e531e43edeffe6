"""What an edge answers, however it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controller.actions.kamailio_dispatcher.rpc import Nonsense, Rpc
from controller.model.errors import ActionUnknown


@asynccontextmanager
async def edge(*pieces: bytes) -> AsyncIterator[str]:
    """A server that sends its answer's body piece by piece, each read by the client before the next is sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        length = sum(map(len, pieces))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % length)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        await server.wait_closed()


async def test_an_answer_in_pieces_is_read_whole() -> None:
    body = json.dumps({"jsonrpc": "2.0", "result": {"RECORDS": list(range(500))}, "id": 1}).encode()
    async with edge(body[:10], body[10:900], body[900:]) as url:
        client = Rpc(url, timeout=10.0)
        try:
            assert await client.read("dispatcher.list") == {"RECORDS": list(range(500))}
        finally:
            await client.close()


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"[]", b'{"result": 1}'])
async def test_nonsense_is_an_error_and_for_a_change_an_unknown_outcome(body: bytes) -> None:
    async with edge(body) as url:
        client = Rpc(url, timeout=10.0)
        try:
            with pytest.raises(Nonsense):
                await client.read("dispatcher.list")
            with pytest.raises(ActionUnknown):
                await client.change("dispatcher.set_state", "d", epoch=3)
        finally:
            await client.close()
