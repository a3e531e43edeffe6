"""Takes and renews the lease, and watches the node's own timers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from controller.model.errors import ThirdRingError
from controller.model.events import Event, LeaseChanged, TimerFired
from controller.ports import Clock, Lease

log = logging.getLogger(__name__)


async def keep_leadership(
    lease: Lease, clock: Clock, submit: Callable[[Event], None], *, period: float
) -> None:
    """Every `period` seconds, until cancelled. A lease that can't be proved is not held."""
    failing = False
    while True:
        try:
            deadline = await lease.acquire()
            failing = False
        except ThirdRingError as error:
            deadline = None
            if not failing:
                failing = True
                log.error("leadership can't be proved: %s", error, extra={"action": "lease_unproved"})
        submit(LeaseChanged(at=clock.now(), deadline=deadline))
        await asyncio.sleep(period)


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
