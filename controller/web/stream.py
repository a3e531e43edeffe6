"""The live timeline as server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from aiohttp import web

from controller.engine.desk import Desk
from controller.model.facts import Entry
from controller.web.views import entry_view

MOST_BEHIND = 2000
"""Entries a slow reader may fall behind before it is cut off; it reconnects with Last-Event-ID and catches up."""

KEEP_ALIVE = 10.0
"""Seconds between comments on a quiet stream, so that proxies and phones keep it open."""

PATIENCE = 30.0
"""Seconds one write may wait for a reader that takes nothing."""

STREAMS = web.AppKey("streams", set[asyncio.Task[None]])


def end_with_the_application(application: web.Application) -> None:
    """Streams never end by themselves: without this every stop would wait for its readers."""
    application[STREAMS] = set()

    async def end(stopping: web.Application) -> None:
        for task in stopping[STREAMS]:
            task.cancel()

    application.on_shutdown.append(end)


async def stream_timeline(
    request: web.Request, desk: Desk, *, incident: str, after: int
) -> web.StreamResponse:
    """Everything after sequence `after` from the journal, then everything new, each with its sequence as id."""
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            "X-Content-Type-Options": "nosniff",
        }
    )
    await response.prepare(request)
    task = asyncio.create_task(_stream(response, desk, incident, after))
    streams = request.app[STREAMS]
    streams.add(task)
    try:
        await task
    except (ConnectionError, TimeoutError):
        pass  # the reader went away, or takes nothing any more; nothing is owed to it
    except asyncio.CancelledError:
        if not task.done():  # the request itself was cancelled
            task.cancel()
            raise
    finally:
        streams.discard(task)
    return response


async def _stream(response: web.StreamResponse, desk: Desk, incident: str, after: int) -> None:
    waiting: asyncio.Queue[Entry] = asyncio.Queue(MOST_BEHIND)
    behind = False

    def listen(entries: Sequence[Entry]) -> None:
        nonlocal behind
        for entry in entries:
            if not behind and (not incident or entry.incident == incident):
                try:
                    waiting.put_nowait(entry)
                except asyncio.QueueFull:
                    behind = True

    async def write(data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await response.write(data)

    stop = desk.subscribe(listen)
    try:
        await write(b"retry: 2000\n\n")
        last, found = after, MOST_BEHIND
        while found == MOST_BEHIND:
            found = 0
            async for entry in desk.entries(after=last, incident=incident, limit=MOST_BEHIND):
                await write(_event(entry))
                last, found = entry.sequence, found + 1
        while not behind:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    entry = await waiting.get()
            except TimeoutError:
                await write(b": quiet\n\n")
                continue
            if entry.sequence > last:
                await write(_event(entry))
                last = entry.sequence
    finally:
        stop()


def _event(entry: Entry) -> bytes:
    data = json.dumps(entry_view(entry), ensure_ascii=False)
    return f"id: {entry.sequence}\nevent: entry\ndata: {data}\n\n".encode()
