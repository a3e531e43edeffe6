"""What waits to be folded: first whatever a failover may wait for, then of the rest a slice at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from controller.model.events import (
    Event,
    HealthChanged,
    LeadershipLost,
    LeadershipTaken,
    LeaseChanged,
    Measured,
    TimerFired,
    VantageBeat,
)
from controller.model.facts import Fact
from controller.model.moments import Moment
from controller.model.policy import Policy
from controller.model.state import State
from controller.ports import Clock

MOST_EVENTS = 512
"""Folded in one commit."""

ORDINARY_SLICE = 0.003
"""Seconds given at a time to what no failover waits for: in a storm of it each of a failover's dozen turns waits no longer
than that and one commit."""

SWITCHING_SLICE = 0.0005
"""The same while a group is being switched: one or two events."""

MOST_WAITING = 200_000
"""Events of what no failover waits for; past it the oldest are dropped and counted. While the journal is unavailable
what waits is thinned out instead, to the newest word on each target."""

ALONE = (LeadershipTaken, LeadershipLost)
"""Folded in a commit of their own: what was decided on the other side of them never leaves with them."""


@dataclass(frozen=True, slots=True)
class Waiting:
    event: Event
    reply: asyncio.Future[tuple[Fact, ...]] | None


class Inbox:
    """`relevant`: the components that a failover may wait for. Used from the loop's thread only."""

    def __init__(self, relevant: frozenset[str]) -> None:
        self.dropped = 0
        self._relevant = relevant
        self._urgent: deque[Waiting] = deque()
        self._ordinary: deque[Waiting] = deque()
        self._wakeup = asyncio.Event()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._ordinary)

    def put(self, waiting: Waiting) -> None:
        event = waiting.event
        ordinary = isinstance(event, (HealthChanged, Measured)) and event.key.component not in self._relevant
        (self._ordinary if ordinary else self._urgent).append(waiting)
        if len(self._ordinary) > MOST_WAITING:
            self._ordinary.popleft()
            self.dropped += 1
        self._wakeup.set()

    async def filled(self) -> None:
        """Returns when something waits."""
        if not self:
            self._wakeup.clear()
            await self._wakeup.wait()

    def turn(self, clock: Clock) -> Turn:
        """What is folded in one commit."""
        return Turn(self._urgent, self._ordinary, clock)

    def put_back(self, batch: Iterable[Waiting], gap: TimerFired) -> None:
        """After an outage of the journal, `gap`: before what has come since, and thinned out with it."""
        again = _newest([*batch, *self._urgent])
        self._urgent = deque(
            [Waiting(gap, None), *(Waiting(_dated(each.event, gap.at), each.reply) for each in again)]
        )
        self._ordinary = deque(_newest(self._ordinary))


class Turn:
    """`batch`: what was taken so far."""

    def __init__(self, urgent: deque[Waiting], ordinary: deque[Waiting], clock: Clock) -> None:
        self.batch: list[Waiting] = []
        self._urgent = urgent
        self._ordinary = ordinary
        self._clock = clock
        self._slice_ends: float | None = None

    def next(self, state: State) -> Waiting | None:
        """`state`: of what was folded before it. None: the turn is over."""
        batch, urgent = self.batch, self._urgent
        if len(batch) >= MOST_EVENTS or (batch and isinstance(batch[-1].event, ALONE)):
            return None
        if urgent:
            if batch and isinstance(urgent[0].event, ALONE):
                return None
            waiting = urgent.popleft()
        elif self._ordinary:
            if self._slice_ends is None:
                switching = any(group.switch is not None for group in state.groups.values())
                self._slice_ends = self._clock.now().mono + (SWITCHING_SLICE if switching else ORDINARY_SLICE)
            elif self._clock.now().mono >= self._slice_ends:
                return None
            waiting = self._ordinary.popleft()
        else:
            return None
        batch.append(waiting)
        return waiting


def failover_relevant(policy: Policy) -> frozenset[str]:
    """Components a group's decision may wait for."""
    names: set[str] = set()
    for group in policy.groups.values():
        names.update(side.component for side in group.sides)
        names.update(group.edges)
        if group.echo:
            names.add(group.echo)
    return frozenset(names)


def _dated(event: Event, at: Moment) -> Event:
    """As it is folded after an outage of the journal: what was asked for or came about counts from now on, what was seen
    stays as old as it is, or it would pass for fresh evidence."""
    return event if isinstance(event, (HealthChanged, Measured)) else replace(event, at=at)


def _newest(waiting: Iterable[Waiting]) -> list[Waiting]:
    """Without what a later event makes void, so that an outage of the journal, however long, fills no memory: of each
    target and of the lease the newest word counts, timers and beats come again by themselves."""
    kept: dict[object, Waiting] = {}
    for number, each in enumerate(waiting):
        event = each.event
        match event:
            case VantageBeat() | TimerFired():
                continue
            case HealthChanged() | Measured():
                name: object = (type(event), event.vantage, event.key)
            case LeaseChanged():
                name = LeaseChanged
            case _:
                name = number
        kept.pop(name, None)
        kept[name] = each
    return list(kept.values())
