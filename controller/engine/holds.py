"""Reads how long ago each group's address holder last confirmed its hold, as evidence beside the probes'."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from controller.model.errors import CoordinationError
from controller.model.events import Event, HealthChanged, Measured
from controller.model.health import HealthState, Outcome, RungKey
from controller.model.state import State
from controller.ports import Clock, GrantPhase, Grants

log = logging.getLogger(__name__)

RUNG = "hold"

PERIOD = 0.1
"""Seconds between two reads: as often as a holder confirms."""

OVERDUE = 0.4
"""Seconds without a heartbeat after which the rung is not up: four of them are missing."""


class _Seen(NamedTuple):
    revision: int
    at: float  # monotonic seconds at which this revision was first seen


class Holds:
    """`groups`: (group, component of each of its sides by name) whose active side has a rung `hold`.

    A read that fails says nothing, and so does one of a grant that is being closed: then nobody is to renew it. Only the
    node that leads has a use for it.
    """

    def __init__(
        self,
        grants: Grants,
        clock: Clock,
        submit: Callable[[Event], None],
        state: Callable[[], State],
        *,
        vantage: str,
        groups: dict[str, dict[str, str]],
    ) -> None:
        self._grants = grants
        self._clock = clock
        self._submit = submit
        self._state = state
        self._vantage = vantage
        self._groups = groups
        self._seen: dict[str, _Seen] = {}
        self._known: set[str] = set()  # components whose rung has a word

    async def read(self) -> None:
        """Until cancelled."""
        if not self._groups:
            await asyncio.Event().wait()  # a part of the controller that ends would end all of it
        failing = False
        while True:
            try:
                if not self._state().following:
                    for group in self._groups:
                        await self._look(group)
                failing = False
            except CoordinationError as error:
                self._seen.clear()  # what was not looked at may have been renewed
                if not failing:
                    failing = True
                    log.error("holds can't be read: %s", error, extra={"action": "holds_unread"})
                    self._void()
            await asyncio.sleep(PERIOD)

    def _void(self) -> None:
        """What was read before says nothing any more."""
        for component in sorted(self._known):
            self._submit(self._word(component, HealthState.UNKNOWN, Outcome.VOID))
        self._known.clear()

    def _word(self, component: str, state: HealthState, outcome: Outcome) -> HealthChanged:
        return HealthChanged(
            at=self._clock.now(),
            vantage=self._vantage,
            key=RungKey(component, RUNG),
            previous=HealthState.UNKNOWN,
            current=state,
            outcome=outcome,
        )

    async def _look(self, group: str) -> None:
        grant, beat = await self._grants.read(group)
        at = self._clock.now()
        if grant is None or beat is None or grant.phase is not GrantPhase.HELD or beat.epoch != grant.epoch:
            self._seen.pop(group, None)
            return
        seen = self._seen.get(group)
        if seen is None or seen.revision != beat.revision:
            self._seen[group] = seen = _Seen(beat.revision, at.mono)
        component = self._groups[group].get(grant.holder)
        if component is None:
            return
        if component not in self._known:
            self._known.add(component)
            self._submit(self._word(component, HealthState.UP, Outcome.UP))
        age = at.mono - seen.at
        up = age < OVERDUE
        self._submit(
            Measured(
                at=at,
                vantage=self._vantage,
                key=RungKey(component, RUNG),
                outcome=Outcome.UP if up else Outcome.NO_REPLY,
                up=up,
                values=(("age", round(age, 3)),),
            )
        )
