"""The prober as a child process: started, watched, restarted and assigned anew."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from controller.engine import frames
from controller.engine.outbox import Outbox
from controller.engine.watch import void
from controller.model.events import Event, LadderFinished, VantageBeat, VantageLost
from controller.model.health import RungKey
from controller.ports import Clock, Target

log = logging.getLogger(__name__)

SILENT_AFTER = 1.0
"""Seconds without a heartbeat after which the vantage is reported lost: it abstains until it beats again."""

RESTART_AFTER = 5.0
"""Seconds without a heartbeat after which the child is killed. A stall that ends by itself keeps its health."""

START_WITHIN = 15.0
"""Seconds a new child may take to its first heartbeat."""

LOOK_EVERY = 0.1
"""Seconds between two looks at the heartbeat."""

BACKOFF = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the next start, by the number of failures in a row."""

SETTLED_AFTER = 60.0
"""Seconds a child must have lived for its end to count as a first failure."""

STOP_WITHIN = 2.0
"""Seconds an orderly stop may take before the child is killed."""

CHUNK = 100
"""Targets a message: encoding them takes about a millisecond of the engine's loop."""


def default_argv(fd: int) -> Sequence[str]:
    return (sys.executable, "-m", "controller", "prober", "--fd", str(fd))


class _Assignment:
    """Targets in columns, for the next child: as so many tuples they would occupy six times as much, all the time."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._components = tuple(target.key.component for target in targets)
        self._names = tuple(target.key.rung for target in targets)
        self._rungs = tuple(target.rung for target in targets)

    def __len__(self) -> int:
        return len(self._rungs)

    def part(self, start: int) -> tuple[Target, ...]:
        """At most `CHUNK` from there on."""
        end = start + CHUNK
        columns = zip(
            self._components[start:end], self._names[start:end], self._rungs[start:end], strict=True
        )
        return tuple(Target(RungKey(component, name), rung) for component, name, rung in columns)


@dataclass(slots=True)
class _Ladder:
    keys: tuple[RungKey, ...]
    count: int
    handle: asyncio.TimerHandle


@dataclass(slots=True)
class _Child:
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    generation: int = 0  # of the assignment it has


class ProcessProber:
    """ports.Prober over a child process. `argv(fd)` starts one that serves `prober_main.main` on that descriptor."""

    def __init__(
        self,
        vantage: str,
        clock: Clock,
        *,
        argv: Callable[[int], Sequence[str]] = default_argv,
        silent_after: float = SILENT_AFTER,
        restart_after: float = RESTART_AFTER,
    ) -> None:
        self.vantage = vantage
        self.restarts = 0
        self.statistics: dict[str, float] = {}  # the child's latest, see LocalProber.statistics
        self._clock = clock
        self._argv = argv
        self._silent_after = silent_after
        self._restart_after = restart_after
        self._outbox = Outbox()
        self._assignment: _Assignment | None = None
        self._generation = 0
        self._assigning = asyncio.Lock()
        self._ladders: dict[str, _Ladder] = {}
        self._child: _Child | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._last_beat: float | None = None
        self._spawned = 0.0
        self._lost = False
        self._closing = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the child that runs now."""
        return None if self._child is None else self._child.process.pid

    async def start(self) -> None:
        """Raises OSError if the child can't be started at all; later failures are retried for ever."""
        child = await self._spawn()
        self._supervisor = asyncio.create_task(self._supervise(child))

    async def assign(self, targets: Sequence[Target]) -> None:
        self._assignment = _Assignment(targets)
        self._generation += 1
        if self._child is not None:
            await self._send_assignment(self._child)

    async def run_ladder(self, command: str, keys: Sequence[RungKey], timeout: float, count: int) -> None:
        loop = asyncio.get_running_loop()
        handle = loop.call_later(timeout, self._give_up_ladder, command, "the prober did not answer in time")
        self._ladders[command] = _Ladder(tuple(keys), count, handle)
        if self._child is None:
            self._give_up_ladder(command, "the prober is not running")
            return
        # The child answers a little before us, so that its own results are not lost to a race.
        within = max(timeout - min(0.02, timeout / 10), 0.0)
        self._child.writer.write(frames.encode(frames.AskLadder(command, tuple(keys), within, count)))

    def events(self) -> AsyncIterator[Event]:
        return self._outbox.events()

    async def close(self) -> None:
        if self._closing.is_set():
            return
        self._closing.set()
        child = self._child
        if child is not None:
            with contextlib.suppress(ConnectionError):
                child.writer.write(frames.encode(frames.Stop()))
                await child.writer.drain()
            try:
                async with asyncio.timeout(STOP_WITHIN):
                    await child.process.wait()
            except TimeoutError:
                child.process.kill()
        if self._supervisor is not None:
            await self._supervisor
        self._abandon_ladders("closed")
        self._outbox.close()

    # The child

    async def _spawn(self) -> _Child:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *self._argv(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                )
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        child = self._child = _Child(process, reader, writer)
        self._last_beat = None
        self._spawned = time.monotonic()
        writer.write(frames.encode(frames.Configure(self.vantage)))
        return child

    async def _supervise(self, child: _Child) -> None:
        failures = 0
        following: _Child | None = child
        while following is not None:
            child = following
            began = time.monotonic()
            assigning = asyncio.create_task(self._send_assignment(child))
            reason = await self._follow(child)
            assigning.cancel()
            await asyncio.gather(assigning, return_exceptions=True)
            await self._bury(child)
            if self._closing.is_set():
                return
            self._lose(reason)
            self._abandon_ladders(reason)
            log.error("prober lost: %s", reason, extra={"action": "prober_lost"})
            failures = 1 if time.monotonic() - began > SETTLED_AFTER else failures + 1
            following = await self._restart(failures)

    async def _restart(self, failures: int) -> _Child | None:
        """A new child, however often that takes; None when we are closing."""
        while not await self._closed_within(BACKOFF[min(failures, len(BACKOFF)) - 1]):
            try:
                child = await self._spawn()
            except OSError as error:
                failures += 1
                log.error("prober can't be started: %s", error, extra={"action": "prober_start_failed"})
                continue
            self.restarts += 1
            log.warning("prober started again", extra={"action": "prober_restarted"})
            return child
        return None

    async def _closed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True

    async def _follow(self, child: _Child) -> str:
        """Take reports in until the child ends or stays silent too long; returns what happened."""
        reading = asyncio.create_task(self._read(child))
        try:
            while True:
                before = time.monotonic()
                done, _ = await asyncio.wait((reading,), timeout=LOOK_EVERY)
                if done:
                    return reading.result()
                now = time.monotonic()
                if now - before > 2 * LOOK_EVERY:
                    # We were late ourselves: its beats may wait in the socket.
                    continue
                if self._last_beat is None:
                    # It may take its time to start; the vantage abstains meanwhile.
                    if now - self._spawned > START_WITHIN:
                        return f"no first heartbeat within {START_WITHIN:g} s"
                    continue
                silent = now - self._last_beat
                if silent > self._restart_after:
                    return f"no heartbeat for {silent:.1f} s"
                if silent > self._silent_after:
                    self._lose(f"no heartbeat for {silent:.1f} s")
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, child: _Child) -> str:
        try:
            while True:
                message = await frames.read(child.reader)
                if not isinstance(message, frames.Report):
                    return f"sent {type(message).__name__}"
                for event in message.events:
                    self._take(event)
                if message.statistics is not None:
                    self.statistics = message.statistics
        except (asyncio.IncompleteReadError, ConnectionError):
            return await self._how_it_ended(child)
        except frames.BrokenStream as error:
            return f"broken stream: {error}"

    @staticmethod
    async def _how_it_ended(child: _Child) -> str:
        try:
            async with asyncio.timeout(STOP_WITHIN):
                status = await child.process.wait()
        except TimeoutError:
            return "closed its connection"
        return f"exited with status {status}" if status >= 0 else f"killed by signal {-status}"

    async def _bury(self, child: _Child) -> None:
        self._child = None
        child.writer.close()
        if child.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.process.kill()
        await child.process.wait()

    async def _send_assignment(self, child: _Child) -> None:
        """All targets, in pieces, unless this child has them already."""
        async with self._assigning:
            if self._assignment is None or child.generation == self._generation:
                return
            generation, assignment = self._generation, self._assignment
            starts = range(0, max(1, len(assignment)), CHUNK)
            for start in starts:
                part = frames.AssignPart(generation, assignment.part(start), start == starts[-1])
                try:
                    child.writer.write(frames.encode(part))
                    await child.writer.drain()
                except ConnectionError:
                    # The supervisor sees the child end, and assigns to the next one.
                    return
                await asyncio.sleep(0)
            child.generation = generation

    # What it says

    def _take(self, event: Event) -> None:
        if isinstance(event, VantageBeat):
            self._last_beat = time.monotonic()
            self._lost = False
        elif isinstance(event, LadderFinished):
            ladder = self._ladders.pop(event.command, None)
            if ladder is None:
                return
            ladder.handle.cancel()
        self._outbox.put(event)

    def _lose(self, reason: str) -> None:
        if not self._lost:
            self._lost = True
            self._outbox.put(VantageLost(at=self._clock.now(), vantage=self.vantage, reason=reason))

    def _give_up_ladder(self, command: str, note: str) -> None:
        ladder = self._ladders.pop(command, None)
        if ladder is None:
            return
        ladder.handle.cancel()
        now = time.monotonic()
        results = tuple(void(key, now, now, note) for key in ladder.keys for _ in range(ladder.count))
        self._outbox.put(LadderFinished(at=self._clock.now(), command=command, results=results))

    def _abandon_ladders(self, reason: str) -> None:
        for command in tuple(self._ladders):
            self._give_up_ladder(command, f"prober: {reason}")
