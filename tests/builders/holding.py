"""A hold without a kernel and a store, in virtual time: both behave as the real ones, and do as a test says."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from controller.agent.coordination import Beat, Grant, Phase, Unconfirmed
from controller.agent.gate import ARMED, FrozenTooLong, HoldExpired, TableMissing
from controller.agent.hold import Holder
from controller.agent.memory import Remembered
from controller.model.errors import StoreError

Result = TypeVar("Result")
GROUP = "calls"
D = 1.0


class _Selector(selectors.SelectSelector):
    """Waiting takes no time: the clock jumps to when something is due."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        assert timeout is not None or ready, "everything waits for nothing"
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = _Selector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now

    def freeze(self, seconds: float) -> None:
        """This process does not run for so long; everybody else does."""
        self.clock.now += seconds


def in_virtual_time(work: Callable[[VirtualLoop], Coroutine[Any, Any, Result]]) -> Result:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(work(loop))
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.close()


class FakeMemory:
    def __init__(self) -> None:
        self.groups: dict[str, Remembered] = {}
        self.failing = False
        self.written: list[int] = []

    def of(self, group: str) -> Remembered:
        return self.groups.get(group, Remembered())

    async def remember(
        self, group: str, *, epoch: int | None = None, held: bool | None = None, stopped: bool | None = None
    ) -> None:
        await asyncio.sleep(0.001)
        if self.failing:
            raise StoreError("the disk is full")
        before = self.of(group)
        self.groups[group] = replace(
            before,
            epoch=max(before.epoch, epoch or 0),
            held=before.held if held is None else held,
            stopped=before.stopped if stopped is None else stopped,
        )
        self.written.append(self.groups[group].epoch)


class FakeKernel:
    """hold.Locks. `open_at` says whether traffic passed; `frozen` runs after stage one, `late` when
    stage two has been computed and has not reached the kernel yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._armed = self._held = 0.0
        self.table = True
        self.one_stage = False  # taken away: nothing asks how long ago `arm` was
        self.frozen: Callable[[], None] = lambda: None
        self.late: Callable[[], None] = lambda: None
        self.open: list[tuple[float, float]] = []
        """(opened, closes) of every hold, in order."""
        self.address = False
        self.announced = 0

    @property
    def passes(self) -> bool:
        return not self.table or self._loop.time() < self._held

    def arm(self) -> None:
        if not self.table:
            raise TableMissing("no table")
        if self._loop.time() >= self._armed:
            self._armed = self._loop.time() + ARMED
        self.frozen()

    def extend(self, seconds: float, *, first: bool) -> None:
        self.late()
        now = self._loop.time()
        if seconds < 0.001:
            raise HoldExpired("no time left")
        if not self.table:
            raise TableMissing("no table")
        if now >= self._armed and not self.one_stage:
            raise FrozenTooLong("armed is dead")
        if not first and now >= self._held:
            raise HoldExpired("held is dead")
        self._armed, self._held = 0.0, now + seconds
        if first or not self.open:
            self.open.append((now, self._held))
        else:
            self.open[-1] = (self.open[-1][0], self._held)

    def shut(self) -> None:
        if not self.table:
            raise TableMissing("no table")
        now = self._loop.time()
        if now < self._held and self.open:
            self.open[-1] = (self.open[-1][0], now)
        self._armed = self._held = 0.0

    async def take(self, *, first: bool) -> None:
        self.address = True
        self.announced += first

    async def drop(self) -> bool:
        self.address = False
        return True


class FakeStore:
    """coordination.Coordination. `silent`: nothing is answered; `slow`: seconds an answer takes."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.store = "fake"
        self.word = asyncio.Event()
        self.grant: Grant | None = None
        self._revisions = itertools.count(1)
        self._changed = asyncio.Condition()
        self.silent = False
        self.deaf = False  # watches hear nothing
        self.slow = 0.002
        self.beats: list[tuple[float, Beat]] = []
        """(when it was committed, the heartbeat)."""

    async def put(self, epoch: int, holder: str, phase: Phase = Phase.HELD) -> Grant:
        self.grant = Grant(epoch, holder, phase, next(self._revisions))
        async with self._changed:
            self._changed.notify_all()
        return self.grant

    def pin(self, store: str) -> None:
        self.store = store or self.store

    def show(self, store: str) -> None:
        """It answers, and shows what it is."""
        self.store = store
        self.word.set()

    async def identified(self) -> None:
        await self.word.wait()

    async def read(self, group: str) -> Grant | None:
        await self._answer()
        return self.grant

    async def beat(self, group: str, grant: Grant, beat: Beat) -> Grant | None:
        await self._answer()
        stands = self.grant
        if stands == grant:
            self.beats.append((self._loop.time(), beat))
        return stands

    async def watch(self, group: str) -> AsyncIterator[Grant | None]:
        while True:
            grant = self.grant
            if not self.silent and not self.deaf:
                yield grant
            async with self._changed:
                await self._changed.wait_for(lambda seen=grant: self.grant != seen)

    async def close(self) -> None: ...

    async def _answer(self) -> None:
        await asyncio.sleep(self.slow)
        if self.silent:
            await asyncio.sleep(3600)
            raise Unconfirmed("silence")


@dataclass
class FakePromises:
    answer: bool = True
    until: float = 0.0
    asked: int = 0

    async def ask(self, grant: Grant) -> bool:
        await asyncio.sleep(0.002)
        self.asked += 1
        return self.answer

    def bound_until(self, group: str) -> float:
        return self.until


@dataclass
class World:
    """One holder (side "primary") and all it works with."""

    loop: VirtualLoop
    kernel: FakeKernel
    store: FakeStore
    memory: FakeMemory
    holder: Holder
    promises: FakePromises | None
    released: list[int] = field(default_factory=list)
    lost: list[Exception] = field(default_factory=list)

    @classmethod
    def make(cls, loop: VirtualLoop, *, promises: FakePromises | None = None) -> World:
        released: list[int] = []
        lost: list[Exception] = []

        async def on_release(epoch: int) -> None:
            released.append(epoch)

        kernel, store, memory = FakeKernel(loop), FakeStore(loop), FakeMemory()
        holder = Holder(
            group=GROUP,
            side="primary",
            agent="a",
            boot="boot",
            hold_time=D,
            write_timeout=0.150,
            locks=kernel,
            coordination=store,
            memory=memory,  # type: ignore[arg-type]
            monotonic=loop.time,
            released=on_release,
            table_lost=lost.append,
            promises=promises,
        )
        return cls(loop, kernel, store, memory, holder, promises, released, lost)

    async def start(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.holder.run())
        await self.holder.seen()
        return task
