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


async def stream_timeline(
    request: web.Request, desk: Desk, *, incident: str, after: int
) -> web.StreamResponse:
    """Everything after sequence `after` from the journal, then everything new, each with its sequence as id."""
    waiting: asyncio.Queue[Entry] = asyncio.Queue(MOST_BEHIND)
    behind = asyncio.Event()

    def listen(entries: Sequence[Entry]) -> None:
        for entry in entries:
            if not incident or entry.incident == incident:
                try:
                    waiting.put_nowait(entry)
                except asyncio.QueueFull:
                    behind.set()
                    return

    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    stop = desk.subscribe(listen)
    try:
        await response.prepare(request)
        await response.write(b"retry: 2000\n\n")
        last = after
        async for entry in desk.entries(after=after, incident=incident, limit=MOST_BEHIND):
            await response.write(_event(entry))
            last = entry.sequence
        while not behind.is_set():
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    entry = await waiting.get()
            except TimeoutError:
                await response.write(b": quiet\n\n")
                continue
            if entry.sequence > last:
                await response.write(_event(entry))
                last = entry.sequence
    except ConnectionError:
        pass  # the reader went away; nothing is owed to it
    finally:
        stop()
    return response


def _event(entry: Entry) -> bytes:
    data = json.dumps(entry_view(entry), ensure_ascii=False)
    return f"id: {entry.sequence}\nevent: entry\ndata: {data}\n\n".encode()
