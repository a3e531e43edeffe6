"""What the nodes of one controller see, told to each other: verdicts need several vantages, and each node has one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container

from controller.model.errors import CoordinationError
from controller.model.events import Event, HealthChanged, VantageBeat
from controller.model.health import HealthState, RungKey
from controller.ports import Clock, Sighting, Sightings, Word

log = logging.getLogger(__name__)

RETRY = 0.5
"""Seconds until a broken watch or a refused publication is tried again; meanwhile the others abstain, and so does this."""


class Sharing:
    """Publishes this node's vantage and submits the others'. `shared`: the components that failovers wait for.

    Published with each beat of the prober, and at once when a word changes: never by a timer of its own, which would
    vouch for a prober that hangs.
    """

    def __init__(
        self,
        sightings: Sightings,
        clock: Clock,
        submit: Callable[[Event], None],
        *,
        vantage: str,
        failure_domain: str,
        shared: Container[str],
    ) -> None:
        self._sightings = sightings
        self._clock = clock
        self._submit = submit
        self._vantage = vantage
        self._failure_domain = failure_domain
        self._shared = shared
        self._words: dict[RungKey, HealthChanged] = {}
        self._beat: VantageBeat | None = None
        self._news = asyncio.Event()
        self._heard: dict[str, Sighting] = {}
        self._alive: set[str] = set()  # whose prober was seen to go on

    def notice(self, event: Event) -> None:
        """An event of this node's own prober."""
        match event:
            case HealthChanged() if event.key.component in self._shared:
                self._words[event.key] = event
                self._news.set()
            case VantageBeat():
                self._beat = event
                self._news.set()
            case _:
                pass

    async def publish(self) -> None:
        """Until cancelled."""
        failing = False
        while True:
            await self._news.wait()
            self._news.clear()
            if self._beat is None:
                continue
            try:
                await self._sightings.publish(self._sighting(self._beat))
                failing = False
            except CoordinationError as error:
                if not failing:
                    failing = True
                    log.error(
                        "others don't hear this vantage: %s", error, extra={"action": "sightings_unpublished"}
                    )
                await asyncio.sleep(RETRY)

    async def listen(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async for sighting in self._sightings.watch():
                    self._take(sighting)
            except CoordinationError as error:
                log.error("other vantages are not heard: %s", error, extra={"action": "sightings_unheard"})
            await asyncio.sleep(RETRY)

    def _sighting(self, beat: VantageBeat) -> Sighting:
        now = self._clock.now().mono
        return Sighting(
            vantage=self._vantage,
            failure_domain=self._failure_domain,
            probes=beat.probes,
            late=beat.late,
            lag=beat.lag,
            words={
                key: Word(
                    state=event.current,
                    outcome=event.outcome,
                    code=event.code,
                    failures=event.failures,
                    flapping=event.flapping,
                    last_good=now - event.last_good if event.last_good else None,
                    first_bad=now - event.first_bad if event.first_bad else None,
                    note=event.note,
                )
                for key, event in self._words.items()
            },
        )

    def _take(self, sighting: Sighting) -> None:
        """The first sighting of a node says nothing yet: it may be what a dead one left."""
        before = self._heard.get(sighting.vantage)
        if before is None:
            self._heard[sighting.vantage] = sighting._replace(words={})
            return
        if sighting.probes != before.probes:
            self._alive.add(sighting.vantage)
        elif sighting.vantage not in self._alive:
            return
        self._heard[sighting.vantage] = sighting
        at = self._clock.now()
        if sighting.probes != before.probes:
            self._submit(
                VantageBeat(
                    at=at,
                    vantage=sighting.vantage,
                    probes=sighting.probes,
                    late=sighting.late,
                    lag=sighting.lag,
                    failure_domain=sighting.failure_domain,
                )
            )
        for key, word in sighting.words.items():
            known = before.words.get(key)
            if known is not None and (known.state, known.outcome) == (word.state, word.outcome):
                continue
            self._submit(
                HealthChanged(
                    at=at,
                    vantage=sighting.vantage,
                    key=key,
                    previous=HealthState.UNKNOWN if known is None else known.state,
                    current=word.state,
                    outcome=word.outcome,
                    code=word.code,
                    failures=word.failures,
                    flapping=word.flapping,
                    last_good=0.0 if word.last_good is None else at.mono - word.last_good,
                    first_bad=0.0 if word.first_bad is None else at.mono - word.first_bad,
                    note=word.note,
                )
            )
        for key in before.words.keys() - sighting.words.keys():  # it began anew
            self._submit(
                HealthChanged(
                    at=at,
                    vantage=sighting.vantage,
                    key=key,
                    previous=before.words[key].state,
                    current=HealthState.UNKNOWN,
                    outcome=before.words[key].outcome,
                )
            )
