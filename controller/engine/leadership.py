"""Takes and renews the lease, takes over and steps down, and watches the node's own timers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from controller.engine.replication import Replica
from controller.model.errors import ThirdRingError
from controller.model.events import Event, LeadershipLost, LeadershipTaken, LeaseChanged, TimerFired
from controller.ports import Clock, Lease

log = logging.getLogger(__name__)


class Leadership:
    """Keeps the lease every `period` seconds. With a `replica` this node is one of several: it begins as a follower,
    reads the coordinated state before it leads, and follows again when it can't prove that it leads.

    A renewal that fails once costs the right to act until the next one succeeds; the lead itself is given up only when
    another node holds it, when a write of this one was refused, or when the last proof has run out.
    """

    def __init__(
        self,
        lease: Lease,
        clock: Clock,
        submit: Callable[[Event], None],
        *,
        period: float,
        replica: Replica | None = None,
    ) -> None:
        """Raises ValueError for a replica under a lease that each node could hold for itself."""
        if replica is not None and not lease.shared:
            raise ValueError("a state that nodes share asks for a lease that they share")
        self._lease = lease
        self._clock = clock
        self._submit = submit
        self._period = period
        self._replica = replica
        self._leading = False
        self._leader = ""
        self._deadline = 0.0
        self._failing = False
        self._early = asyncio.Event()

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            await self._renew()
            await self._wait()

    def step_down(self, reason: str) -> None:
        """A write was refused or its outcome can't be told: this node no longer knows that it leads."""
        if self._leading:
            self._follow(reason)
            self._early.set()

    async def _renew(self) -> None:
        resigned = self._early.is_set()
        self._early.clear()
        try:
            if resigned:
                await self._lease.release()
            deadline = await self._lease.acquire()
            if self._replica is not None and deadline is not None and not self._leading:
                await self._take(self._replica, deadline)
                return
            self._failing = False
        except ThirdRingError as error:
            if not self._failing:
                self._failing = True
                log.error("leadership can't be proved: %s", error, extra={"action": "lease_unproved"})
            if self._leading and self._clock.now().mono >= self._deadline:
                self._follow(str(error))
            else:
                self._submit(LeaseChanged(at=self._clock.now(), deadline=None))
            return
        if deadline is None and self._replica is not None:
            if self._leading or self._lease.holder != self._leader:
                self._follow("another node leads")
            return
        self._deadline = deadline or 0.0
        self._submit(LeaseChanged(at=self._clock.now(), deadline=deadline))

    async def _take(self, replica: Replica, deadline: float) -> None:
        aggregates = await replica.read()
        self._failing = False
        self._leading = True
        self._deadline = deadline
        log.warning("this node leads from now on", extra={"action": "leadership_taken"})
        self._submit(LeadershipTaken(at=self._clock.now(), deadline=deadline, aggregates=aggregates))

    def _follow(self, reason: str) -> None:
        if self._leading:
            log.warning("this node no longer leads: %s", reason, extra={"action": "leadership_lost"})
        self._leading = False
        self._leader = self._lease.holder
        self._submit(LeadershipLost(at=self._clock.now(), reason=reason, leader=self._leader))

    async def _wait(self) -> None:
        """A period; less when this node stepped down, or when it follows and nobody leads any longer."""
        waits: list[asyncio.Task[object]] = [asyncio.create_task(self._early.wait())]
        if self._replica is not None and not self._leading:
            waits.append(asyncio.create_task(self._vacant()))
        try:
            await asyncio.wait(waits, timeout=self._period, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _vacant(self) -> None:
        try:
            await self._lease.vacant()
        except ThirdRingError:
            await asyncio.Event().wait()


async def watch_timers(
    clock: Clock, submit: Callable[[Event], None], *, period: float, tolerated: float
) -> None:
    """Reports a pause of this process (a stop, a suspend, a starved host) longer than `tolerated` seconds, even
    when no deadline was due. Until cancelled."""
    due = clock.now().mono + period
    while True:
        await asyncio.sleep(max(0.0, due - clock.now().mono))
        at = clock.now()
        late = at.mono - due
        if late > tolerated or late < 0:
            submit(TimerFired(at=at, gap=abs(late)))
        due = at.mono + period
