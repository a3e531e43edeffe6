"""The round of a hold: a confirmed write, then the gate, then the address; a hundred milliseconds later again.

It starts not holding. It is told to hold by a grant that was opened while it watched, or by a controller's request that
the standing grant agrees with; a grant it finds at its start is none, so that a side that comes back stays inert. A grant
that is being closed, or is another's, ends the hold at once. Without confirmation the hold runs out in the kernel, by
itself; nothing here needs to run for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from controller.agent.coordination import Beat, Coordination, Grant, Phase, Unconfirmed
from controller.agent.gate import FrozenTooLong, GateError, HoldExpired, TableChanged, TableMissing
from controller.agent.memory import Memory
from controller.agent.refusals import Refusal, Refused
from controller.agent.settings import ROUND
from controller.model.errors import StoreError

WATCH_RETRY: Final = 0.2

log = logging.getLogger(__name__)


class Locks(Protocol):
    """The gate and the addresses of one group, and their announcement. Errors: GateError; `take` and `drop` don't raise."""

    def arm(self) -> None: ...

    def extend(self, seconds: float, *, first: bool) -> None: ...

    def shut(self) -> None: ...

    async def take(self, *, first: bool) -> None:
        """After an extension: refresh the addresses, and announce them if they were not here before."""

    async def drop(self) -> bool:
        """Remove the addresses. Whether they are gone."""


class Promises(Protocol):
    """The other agents' word while etcd is silent."""

    async def ask(self, grant: Grant) -> bool:
        """Whether every one of them promised to refuse promotion for a hold time from its receipt."""

    def bound_until(self, group: str) -> float:
        """Monotonic seconds until which this agent itself must not take the group's addresses."""


class Standing(StrEnum):
    INERT = "inert"  # not told to hold
    WAITING = "waiting"  # told, and not confirmed yet or any longer
    HOLDING = "holding"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """What stands. `deadline`: monotonic seconds at which the gate closes unless extended. `count`: confirmed
    heartbeats. `kept`: the last extension rested on promises. `trouble`: why it was not extended, empty when it was."""

    standing: Standing
    epoch: int
    deadline: float
    count: int
    kept: bool
    trouble: str


class Holder:
    """Of one group. `released` is called (once a loss) when a hold ends by a grant that is closed or another's, with that
    grant's epoch; not when it merely runs out."""

    def __init__(
        self,
        *,
        group: str,
        side: str,
        agent: str,
        boot: str,
        hold_time: float,
        write_timeout: float,
        locks: Locks,
        coordination: Coordination,
        memory: Memory,
        monotonic: Callable[[], float],
        released: Callable[[int], Awaitable[None]],
        table_lost: Callable[[TableMissing | TableChanged], None],
        promises: Promises | None = None,
    ) -> None:
        self.group = group
        self.side = side
        self.hold_time = hold_time
        self.ready = ""
        """Why this host can't hold ("" : it can). Set by whoever tests the fence."""
        self._agent, self._boot = agent, boot
        self._write_timeout = write_timeout
        self._locks = locks
        self._coordination = coordination
        self._memory = memory
        self._now = monotonic
        self._released = released
        self._table_lost = table_lost
        self._promises = promises
        self._grant: Grant | None = None
        self._seen = asyncio.Event()  # what stood at the start is known
        self._told: int | None = None  # at which epoch; a group that never switched has 0
        self._releases = 0
        self._holding = False
        self._deadline = 0.0
        self._attempts = 0
        self._count = 0
        self._kept = False
        self._trouble = ""
        self._wake = asyncio.Event()
        self._changed = asyncio.Condition()
        self._addresses = asyncio.Lock()
        self._acts: set[asyncio.Task[None]] = set()

    @property
    def hold(self) -> Hold:
        standing = Standing.INERT
        if self._told is not None:
            alive = self._holding and self._now() < self._deadline
            standing = Standing.HOLDING if alive else Standing.WAITING
        return Hold(
            standing=standing,
            epoch=self._told or 0,
            deadline=self._deadline,
            count=self._count,
            kept=self._kept,
            trouble=self._trouble,
        )

    @property
    def grant(self) -> Grant | None:
        """The newest that was seen."""
        return self._grant

    async def seen(self) -> None:
        """Returns once it is known what stood when this agent started."""
        await self._seen.wait()

    async def run(self) -> None:
        """Until cancelled; a hold is released then."""
        watching = asyncio.create_task(self._watch(), name=f"watch-{self.group}")
        due = self._now()
        try:
            while True:
                await self._round()
                due = max(due + ROUND, self._now())
                with contextlib.suppress(TimeoutError):
                    # Told or released in between: don't wait the round out.
                    await asyncio.wait_for(self._wake.wait(), due - self._now())
                if self._wake.is_set():
                    self._wake.clear()
                    due = self._now()
        finally:
            watching.cancel()
            self._let_go()
            self._shut()
            await self._drop()

    async def told(self, epoch: int) -> None:
        """A controller asks this side to hold at `epoch`: the standing grant must say the same. Returns when told, not
        when held. Raises Refused."""
        if self.ready:
            raise Refused(Refusal.FENCE_NOT_READY, self.ready)
        self._refuse_old(epoch)
        try:
            grant = await asyncio.wait_for(self._coordination.read(self.group), 4 * self._write_timeout)
        except (Unconfirmed, TimeoutError) as error:
            raise Refused(Refusal.NO_STORE, f"the grant can't be read: {error}") from error
        await self._observe(grant)
        if grant is None or grant.epoch != epoch or not self._ours(grant):
            raise Refused(Refusal.NOT_GRANTED, f"the grant is {_shown(grant)}")
        try:
            await self._tell(grant)
        except StoreError as error:
            raise Refused(Refusal.NO_STORE, str(error)) from error

    async def held(self, epoch: int, timeout: float) -> None:
        """Returns once held at `epoch`. Raises Refused (timed out, or no longer told)."""

        def settled() -> bool:
            return self._told != epoch or (self._holding and self._now() < self._deadline)

        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(settled)
        except TimeoutError:
            raise Refused(Refusal.TIMED_OUT, self._trouble or "the hold was not confirmed in time") from None
        if self._told != epoch:
            raise Refused(Refusal.NOT_GRANTED, f"the grant is {_shown(self._grant)}")

    async def release(self, epoch: int) -> bool:
        """Close now and stay inert until told again. Whether the addresses are gone, too. Raises Refused."""
        self._refuse_old(epoch)
        self._let_go()
        self._shut()
        try:
            await self._memory.remember(self.group, epoch=epoch, held=False)
        finally:
            gone = await self._drop()
        return gone

    def forget(self) -> None:
        """What was seen of the grant was another store's. The next that is seen counts as found at the start."""
        self._grant = None
        self._seen.clear()

    def _refuse_old(self, epoch: int) -> None:
        highest = self._memory.of(self.group).epoch
        if epoch < highest:
            raise Refused(Refusal.OLD_EPOCH, f"epoch {epoch} is older than {highest}")

    def _ours(self, grant: Grant | None) -> bool:
        return grant is not None and grant.phase is Phase.HELD and grant.holder == self.side

    async def _watch(self) -> None:
        """Every change of the grant. When the watch breaks, what stands is read again."""
        while True:
            try:
                async for grant in self._coordination.watch(self.group):
                    await self._observe(grant)
            except Unconfirmed as error:
                log.debug("%s: the watch of the grant broke: %s", self.group, error)
            await asyncio.sleep(WATCH_RETRY)

    async def _observe(self, grant: Grant | None) -> None:
        known = self._grant
        if grant is not None and known is not None and grant.revision < known.revision:
            return  # an answer that was overtaken
        first = not self._seen.is_set()
        if grant == known and not first:
            return
        self._grant = grant
        self._seen.set()
        if grant is not None and grant.epoch < self._memory.of(self.group).epoch:
            log.warning("%s: the grant's epoch %d is older than what was seen", self.group, grant.epoch)
            self._grant = None
            return
        if self._ours(grant):
            assert grant is not None
            if not first and not self.ready:
                try:
                    await self._tell(grant)
                except StoreError as error:
                    log.error("%s: %s", self.group, error, extra={"action": "remember"})
        elif self._told is not None or (grant is not None and not first):
            self._lose(grant)

    def _lose(self, grant: Grant | None) -> None:
        """Closed first; everything else may take its time."""
        was_told = self._told
        self._let_go()
        self._shut()
        epoch = grant.epoch if grant is not None else was_told or 0

        async def follow() -> None:
            await self._drop()
            try:
                # Told again meanwhile: that is newer.
                await self._memory.remember(
                    self.group, epoch=epoch, held=False if self._told is None else None
                )
            except StoreError as error:
                log.error("%s: %s", self.group, error, extra={"action": "remember"})
            if was_told is not None or (
                grant is not None and grant.holder == self.side and grant.phase is Phase.FENCING
            ):
                log.info("%s: released: the grant is %s", self.group, _shown(grant))
                await self._released(epoch)

        task = asyncio.create_task(follow(), name=f"lose-{self.group}")
        self._acts.add(task)
        task.add_done_callback(self._acts.discard)

    async def _tell(self, grant: Grant) -> None:
        """Raises StoreError: an epoch that could not be remembered is not acted on."""
        if self._told == grant.epoch:
            return
        releases = self._releases
        await self._memory.remember(self.group, epoch=grant.epoch, held=True)
        # It may have been closed, or we released, while the disk was written.
        if self._grant == grant and self._releases == releases:
            self._told = grant.epoch
            self._wake.set()

    def _let_go(self) -> None:
        self._releases += 1
        self._told = None
        self._holding = False
        self._kept = False
        self._trouble = ""

    def _shut(self) -> None:
        try:
            self._locks.shut()
        except (TableMissing, TableChanged) as error:
            self._table_lost(error)
        except GateError as error:
            log.error("%s: the gate can't be closed: %s", self.group, error, extra={"action": "gate"})

    async def _drop(self) -> bool:
        async with self._addresses:
            if self._holding:
                return False
            return await self._locks.drop()

    async def _round(self) -> None:
        if self._holding and self._now() >= self._deadline:
            self._expired()
        grant = self._grant
        if self._told is None or grant is None or not self._ours(grant) or grant.epoch != self._told:
            return
        bound = self._promises.bound_until(self.group) if self._promises is not None else 0.0
        if not self._holding and (self.ready or self._now() < bound):
            self._trouble = self.ready or "bound by a promise to the holder"
            return
        started = self._now()  # before the request: what the hold time counts from
        kept = False
        try:
            self._attempts += 1
            beat = Beat(self._agent, self._boot, self._attempts)
            stands = await asyncio.wait_for(
                self._coordination.beat(self.group, grant, beat), self._write_timeout
            )
            if stands is None or stands.revision != grant.revision:
                await self._observe(stands)
                return
            self._count += 1
        except (Unconfirmed, TimeoutError) as error:
            self._trouble = str(error) or "the heartbeat was not confirmed in time"
            if self._promises is None or not self._holding:
                return
            started = self._now()
            kept = await self._promises.ask(grant)
            if not kept:
                self._trouble = "etcd is silent, and so is another agent"
                return
        first = not self._holding
        if self._extend(grant, started, first=first):
            self._kept = kept
            await self._take(first=first)

    def _extend(self, grant: Grant, started: float, *, first: bool) -> bool:
        """Whether it is held until `started` + D. Without a pause in it: nothing else of this process runs in between."""
        if self._told != grant.epoch or self._grant != grant:
            return False
        try:
            self._locks.arm()
            self._locks.extend(started + self.hold_time - self._now(), first=first)
        except FrozenTooLong as error:
            self._trouble = str(error)
            return False
        except HoldExpired as error:
            self._trouble = str(error)
            self._expired()
            return False
        except (TableMissing, TableChanged) as error:
            self._trouble = str(error)
            self._table_lost(error)
            self._expired()
            return False
        except GateError as error:
            self._trouble = str(error)
            log.error("%s: the gate can't be extended: %s", self.group, error, extra={"action": "gate"})
            return False
        self._deadline = started + self.hold_time
        self._holding, self._trouble = True, ""
        return True

    async def _take(self, *, first: bool) -> None:
        async with self._addresses:
            if not self._holding:
                return
            await self._locks.take(first=first)
        if first:
            log.info("%s: held at epoch %d", self.group, self._told, extra={"action": "hold"})
            async with self._changed:
                self._changed.notify_all()

    def _expired(self) -> None:
        """Its gate has closed by itself. Still told: it is taken again when a write is confirmed."""
        if self._holding:
            log.warning("%s: the hold ran out: %s", self.group, self._trouble, extra={"action": "hold"})
        self._holding = False
        self._shut()
        task = asyncio.create_task(self._dropped(), name=f"drop-{self.group}")
        self._acts.add(task)
        task.add_done_callback(self._acts.discard)

    async def _dropped(self) -> None:
        await self._drop()


def _shown(grant: Grant | None) -> str:
    return "absent" if grant is None else f"{grant.holder}'s at epoch {grant.epoch}, {grant.phase}"
