"""The prober process: a LocalProber behind a socketpair. Imports nothing of the engine's loop, the web or the stores."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence

from controller.engine import frames, precedence
from controller.engine.clock import SystemClock
from controller.engine.kinds import ProbeFactory
from controller.engine.prober import LocalProber
from controller.model.events import VantageBeat
from controller.ports import Target

STATISTICS_EVERY = 10
"""Heartbeats between two reports of statistics."""


def main(fd: int, probe_factory: ProbeFactory) -> int:
    """Serve the engine at the other end of socket `fd` until it says stop or is gone. Returns the exit status."""
    # Ctrl-C at a terminal reaches the whole process group; the engine decides when its prober ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        import uvloop

        loop_factory = uvloop.new_event_loop
    except ImportError:
        loop_factory = None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(socket.socket(fileno=fd), probe_factory))
    return 0


async def _serve(connection: socket.socket, probe_factory: ProbeFactory) -> None:
    connection.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        hello = await frames.read(reader)
        if not isinstance(hello, frames.Configure):
            raise frames.BrokenStream(f"{type(hello).__name__} before Configure")
        prober = LocalProber(hello.vantage, SystemClock(), probe_factory)
        await prober.start()
        # Whichever ends first ends the process: a prober that nobody hears must not go on.
        pumping = asyncio.create_task(_pump(prober, writer))
        obeying = asyncio.create_task(_obey(prober, reader))
        try:
            await asyncio.wait((pumping, obeying), return_when=asyncio.FIRST_COMPLETED)
        finally:
            obeying.cancel()
            await prober.close()
            await asyncio.gather(obeying, pumping, return_exceptions=True)
        for task in (obeying, pumping):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
    except* (asyncio.IncompleteReadError, ConnectionError):
        # The engine is gone, and nobody is left to tell.
        pass
    finally:
        writer.close()


async def _pump(prober: LocalProber, writer: asyncio.StreamWriter) -> None:
    beats = 0
    async for batch in prober.batches():
        beats += sum(isinstance(event, VantageBeat) for event in batch)
        statistics = None
        if beats >= STATISTICS_EVERY:
            beats = 0
            statistics = prober.statistics()
            precedence.follow(os.getppid(), precedence.Precedence.PROBER)
        writer.write(frames.encode(frames.Report(tuple(batch), statistics)))
        await writer.drain()


async def _obey(prober: LocalProber, reader: asyncio.StreamReader) -> None:
    async with asyncio.TaskGroup() as group:
        assignments = _Assignments(prober)
        assigner = group.create_task(assignments.run())
        while True:
            message = await frames.read(reader)
            match message:
                case frames.AssignPart():
                    await assignments.put(message)
                case frames.AskLadder():
                    group.create_task(_run_ladder(prober, assignments, message))
                case frames.Stop():
                    break
                case _:
                    raise frames.BrokenStream(f"{type(message).__name__} is no request")
        assigner.cancel()


async def _run_ladder(prober: LocalProber, assignments: _Assignments, ask: frames.AskLadder) -> None:
    """A ladder may name targets whose assignment came just before it and is still being built."""
    asked = time.monotonic()
    if not prober.knows(ask.keys):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ask.timeout / 2):
                await assignments.settled.wait()
    left = max(0.0, ask.timeout - (time.monotonic() - asked))
    await prober.run_ladder(ask.command, ask.keys, left, ask.count)


class _Assignments:
    """Takes assignments in, one after the other, without ever holding one whole."""

    def __init__(self, prober: LocalProber) -> None:
        self.settled = asyncio.Event()
        self.settled.set()
        self._prober = prober
        self._parts: asyncio.Queue[frames.AssignPart] = asyncio.Queue(maxsize=4)

    async def put(self, part: frames.AssignPart) -> None:
        self.settled.clear()
        await self._parts.put(part)

    async def run(self) -> None:
        while True:
            await self._prober.assign_stream(self._chunks(await self._parts.get()))
            # Ten thousand long-lived records are nothing for the collector to walk through again and again.
            gc.collect()
            gc.freeze()
            if self._parts.empty():
                self.settled.set()

    async def _chunks(self, first: frames.AssignPart) -> AsyncIterator[Sequence[Target]]:
        part = first
        yield part.targets
        while not part.last:
            part = await self._parts.get()
            yield part.targets
