"""An asyncio event loop in virtual time: a seeded pick among ready callbacks, a jump only when nothing is ready.

Every callback belongs to the host whose context it was made in. A host has a clock of its own, can be paused, and can be
killed: its callbacks are dropped and its coroutines kept, so that no `finally` of a killed process ever runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

WALL = 1_700_000_000.0
"""Unix seconds at the beginning of every simulation."""


class Deadlock(Exception):
    """Nothing is ready, nothing is due, and the simulation is not over."""


class Host:
    """One incarnation of one process. `drift`: seconds its clock gains a true second. `suspended`: true seconds in which
    its monotonic clock stood still."""

    def __init__(self, name: str, *, offset: float = 0.0, drift: float = 0.0, wall: float = 0.0) -> None:
        self.name = name
        self.offset = offset
        self.rate = 1.0 + drift
        self.wall_offset = wall
        self.paused = False
        self.dead = False
        self.steps = 0
        self.crash_at = 0
        self.crashes: Callable[[], None] = lambda: None
        self.context = contextvars.Context()
        self.context.run(HOST.set, self)
        self.parked: list[Handle | Timer] = []
        self.grave: list[object] = []

    def mono(self, true: float) -> float:
        return self.offset + true * self.rate

    def true(self, mono: float) -> float:
        return (mono - self.offset) / self.rate

    def wall(self, true: float) -> float:
        return WALL + self.wall_offset + true * self.rate


HOST: ContextVar[Host | None] = ContextVar("host", default=None)
"""None: the world itself, which runs in true time."""


class Handle(asyncio.Handle):
    __slots__ = ("host",)


class Timer(asyncio.TimerHandle):
    __slots__ = ("host",)


class Task(asyncio.Task[Any]):
    host: Host | None


class VirtualLoop(asyncio.AbstractEventLoop):
    """`scheduler` picks among what is ready. `now`: true seconds since the beginning."""

    def __init__(self, scheduler: Random) -> None:
        self.now = 0.0
        self.steps = 0
        self.errors: list[str] = []
        self._pick = scheduler.random
        self._ready: list[Handle | Timer] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._closed = False
        self._world = contextvars.Context()
        self._graves: list[Host] = []

    # What hosts see.

    def time(self) -> float:
        host = HOST.get()
        return self.now if host is None else host.mono(self.now)

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, self, context)
        context = handle._context  # type: ignore[attr-defined]
        handle.host = context.get(HOST)
        if not self._closed:
            self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Timer:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Timer:
        timer = Timer(when, callback, args, self, context)
        context = timer._context  # type: ignore[attr-defined]
        host = timer.host = context.get(HOST)
        self._count += 1
        if not self._closed:
            heapq.heappush(self._timers, (when if host is None else host.true(when), self._count, timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = Task(coro, loop=self, name=name, context=context)
        task.host = HOST.get() if context is None else context.get(HOST)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        return task

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Threads are callbacks here: done a moment later, in an order the seed decides."""
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.call_soon(work)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed:
            self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    default_exception_handler = call_exception_handler

    def _timer_handle_cancelled(self, timer: Timer) -> None:
        """A cancelled timer is skipped when it is due."""

    # What the world does.

    def after(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        """In true time, for the world itself."""
        return self._at(self.now + delay, callback, *args)

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> Timer:
        return self._at(max(when, self.now), callback, *args)

    def _at(self, when: float, callback: Callable[..., object], *args: Any) -> Timer:
        timer = Timer(when, callback, args, self, self._world)
        timer.host = None
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def spawn(self, host: Host, coro: Coroutine[Any, Any, T], name: str = "") -> asyncio.Task[T]:
        """A task of a host, in a context of its own."""
        return self.create_task(coro, name=name or None, context=host.context.copy())

    def pause(self, host: Host) -> None:
        host.paused = True

    def resume(self, host: Host) -> None:
        host.paused = False
        self._ready += host.parked
        host.parked = []

    def kill(self, host: Host) -> None:
        """As a power cut does: nothing of it runs again, not even a `finally`."""
        host.dead = True
        host.grave += [task for task in asyncio.all_tasks(self) if getattr(task, "host", None) is host]
        host.grave += host.parked
        host.parked = []
        self._graves.append(host)

    def run(self, until: float) -> None:
        """Raises Deadlock when the world stands still before `until`, true seconds."""
        events._set_running_loop(self)
        ready, timers, pick = self._ready, self._timers, self._pick
        try:
            while True:
                while ready:
                    count = len(ready)
                    if count > 1:
                        index = int(pick() * count)
                        handle = ready[index]
                        ready[index] = ready[-1]
                        ready.pop()
                    else:
                        handle = ready.pop()
                    host = handle.host
                    if handle._cancelled:  # type: ignore[union-attr]
                        continue
                    if host is not None:
                        if host.dead:
                            host.grave.append(handle)
                            continue
                        if host.paused:
                            host.parked.append(handle)
                            continue
                        host.steps += 1
                        if host.steps == host.crash_at:
                            host.grave.append(handle)
                            host.crashes()
                            continue
                    self.steps += 1
                    handle._run()
                while timers and timers[0][2]._cancelled:  # type: ignore[attr-defined]
                    heapq.heappop(timers)
                if not timers:
                    raise Deadlock(f"nothing is ready or due at {self.now:.3f} s")
                when = timers[0][0]
                if when > until:
                    self.now = until
                    return
                if when > self.now:
                    self.now = when
                while timers and timers[0][0] <= self.now:
                    ready.append(heapq.heappop(timers)[2])
        finally:
            events._set_running_loop(None)

    def close(self) -> None:
        """What the garbage collector ends from here on schedules nothing any more."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        for host in self._graves:
            host.grave.clear()
