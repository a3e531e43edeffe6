"""The prober: wheels, flights, probes and health in one loop; only changes leave it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from controller.engine.kinds import ProbeFactory, ProbeKinds
from controller.engine.ladders import Extra, LadderRun
from controller.engine.lag import LagMeter
from controller.engine.launches import Launches
from controller.engine.outbox import Outbox
from controller.engine.watch import Unbuildable, Watch, void
from controller.engine.wheel import SLOT, TimingWheel
from controller.model.events import Event, LadderFinished, VantageBeat
from controller.model.health import ProbeResult, RungKey
from controller.ports import Clock, Target

BEAT = 0.1
"""Seconds between two heartbeats."""

SKIP_AFTER = 0.1
"""Seconds; a slot later than this is skipped and counted, never caught up with."""

FINEST_LAG = 0.025
"""Seconds; with probes in flight the loop's lag is measured at least this often."""

FIRST_PROBE_WITHIN = 2.0
"""Seconds after its assignment in which a target with a long interval is probed for the first time."""

CHUNK = 100
"""Targets built between two turns of the loop."""

BUILD_SLICE = 0.02
"""Seconds after which the loop has its turn in the middle of a chunk: some probes read certificates when built."""


class LocalProber:
    """ports.Prober in this process and loop."""

    def __init__(self, vantage: str, clock: Clock, probe_factory: ProbeFactory) -> None:
        self.vantage = vantage
        self.meter = LagMeter()
        self._clock = clock
        self._kinds = ProbeKinds(probe_factory)
        self._outbox = Outbox()
        self._launches = Launches(self._kinds, self.meter, self._took)
        self.counters = self._launches.counters
        self._wheels: dict[float, TimingWheel[Watch]] = {}
        self._watches: dict[RungKey, Watch] = {}
        self._ladders: set[LadderRun] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._beat_timer: asyncio.TimerHandle | None = None
        self._beat_due = 0.0
        self._assigning = asyncio.Lock()
        self._closed = False

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._beat_due = time.monotonic()
        self._beat()

    async def assign(self, targets: Sequence[Target]) -> None:
        """Replace the whole assignment; health of targets that stay is kept. A target that can't be probed yields
        void results that say why."""

        async def chunks() -> AsyncIterator[Sequence[Target]]:
            for start in range(0, len(targets), CHUNK):
                yield targets[start : start + CHUNK]

        await self.assign_stream(chunks())

    async def assign_stream(self, chunks: AsyncIterator[Sequence[Target]]) -> None:
        """As `assign`, a piece at a time, so that neither the loop stands still nor all targets are held at once."""
        async with self._assigning:
            kept: set[RungKey] = set()
            async for chunk in chunks:
                await self._kinds.load(target.rung.probe for target in chunk)
                until = time.monotonic() + BUILD_SLICE
                for target in chunk:
                    if time.monotonic() > until:
                        self._arm()
                        await asyncio.sleep(0)
                        until = time.monotonic() + BUILD_SLICE
                    kept.add(target.key)
                    self._place(target)
                self._arm()
                await asyncio.sleep(0)
            for key in [key for key in self._watches if key not in kept]:
                self._drop(self._watches.pop(key))

    def knows(self, keys: Sequence[RungKey]) -> bool:
        """Whether all of them are assigned."""
        return all(key in self._watches for key in keys)

    async def run_ladder(self, command: str, keys: Sequence[RungKey], timeout: float, count: int) -> None:
        run = LadderRun(
            command=command,
            keys=keys,
            deadline=time.monotonic() + timeout,
            count=count,
            launch=self._launch_extra,
            answer=self._answer,
            now=time.monotonic,
        )
        self._ladders.add(run)
        run.start(self._watches, self._running())

    def events(self) -> AsyncIterator[Event]:
        return self._outbox.events()

    def batches(self) -> AsyncIterator[list[Event]]:
        """As `events`, everything that waits at once."""
        return self._outbox.batches()

    async def close(self) -> None:
        """Probes in flight are dropped; the events that are out can still be read."""
        if self._closed:
            return
        self._closed = True
        for timer in (self._timer, self._beat_timer):
            if timer is not None:
                timer.cancel()
        for run in tuple(self._ladders):
            run.finish()
        await self._launches.close()
        self._kinds.close()
        for watch in self._watches.values():
            await self._kinds.close_probe(watch)
        self._outbox.close()

    def statistics(self) -> dict[str, float]:
        """Everything countable, for metrics: monotone but `targets`, `in_flight` and the lag percentiles, which are
        of the probes since the last call."""
        p50, p99 = self.meter.take_percentiles(0.5, 0.99)
        figures: dict[str, float] = {
            "probes": self.counters.probes,
            "skipped": self.counters.skipped,
            "voided": self.counters.voided,
            "unanswered": self._launches.flights.given_up,
            "dropped_events": self._outbox.dropped,
            "targets": len(self._watches),
            "in_flight": self._launches.in_the_air,
            "lag_p50": p50,
            "lag_p99": p99,
        }
        for name, counters in self._kinds.counters():
            figures.update({f"{name}.{counter}": value for counter, value in counters.items()})
        return figures

    # Assignment

    def _place(self, target: Target) -> None:
        now = time.monotonic()
        watch = self._kinds.build(target, self._running(), self._launches.finished)
        earlier = self._watches.get(target.key)
        if earlier is not None:
            watch.inherit(earlier)
            self._drop(earlier)
        self._watches[target.key] = watch
        if isinstance(watch.probe, Unbuildable) and earlier is None:
            # Said once, so that someone may read why this rung stays unknown.
            result = void(watch.key, now, now, watch.probe.reason)
            event = watch.changed(self._clock.now(), self.vantage, watch.health, result)
            self._outbox.put(replace(event, note=watch.probe.reason))
        if watch.on_demand:
            return
        wheel = self._wheels.get(watch.interval)
        if wheel is None:
            wheel = self._wheels[watch.interval] = TimingWheel(watch.interval, now)
        name = f"{self.vantage}/{watch.key.component}/{watch.key.rung}"
        watch.slot = wheel.slot_of(name)
        wheel.add(watch.slot, watch, now)
        if earlier is None and watch.interval > FIRST_PROBE_WITHIN:
            share = watch.slot * SLOT / watch.interval
            self._running().call_later(share * FIRST_PROBE_WITHIN, self._launch_first, watch)

    def _drop(self, watch: Watch) -> None:
        watch.gone = True
        if watch.slot >= 0:
            wheel = self._wheels[watch.interval]
            wheel.remove(watch.slot, watch, time.monotonic())
            if not len(wheel):
                del self._wheels[watch.interval]
        if watch.mass is not None:
            watch.mass.release(watch.prepared)
        elif watch.probe is not None:
            self._launches.spawn(self._kinds.close_probe(watch))

    # Time

    def _arm(self) -> None:
        """Be woken at the next slot, copy or timeout, but no more often than once a slot's width."""
        if self._closed:
            return
        dues = [due for wheel in self._wheels.values() if (due := wheel.next_due) is not None]
        if (flight := self._launches.flights.next_due()) is not None:
            dues.append(flight)
        now = time.monotonic()
        if self._launches.tasks or flight is not None:
            dues.append(now + FINEST_LAG)
        if not dues:
            return
        due = max(min(dues), now + SLOT / 2) if self._timer is None else min(dues)
        if self._timer is not None:
            if due >= self._timer_due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._running().call_later(max(0.0, due - now), self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        self._timer = None
        self.meter.record(now, max(0.0, now - self._timer_due), 0)
        try:
            self._launches.flights.sweep(now)
            for wheel in tuple(self._wheels.values()):
                for due in wheel.take(now):
                    started = time.monotonic()
                    if started - due.at > SKIP_AFTER:
                        self.meter.record(started, started - due.at, 0)
                        self.counters.skipped += len(due.items)
                        continue
                    for watch in due.items:
                        self._launch(watch)
                    ended = time.monotonic()
                    self.meter.record(ended, ended - due.at, len(due.items))
                    self._kinds.drain()
        finally:
            # Whatever a kind's defect broke off, the next slot must come: a prober that only beats looks well.
            self._arm()

    def _beat(self) -> None:
        now = time.monotonic()
        self.meter.record(now, max(0.0, now - self._beat_due), 0)
        self._outbox.put(
            VantageBeat(
                at=self._clock.now(),
                vantage=self.vantage,
                probes=self.counters.probes,
                late=self.counters.skipped + self.counters.voided,
                lag=self.meter.take_worst(),
            )
        )
        self._beat_due = max(self._beat_due + BEAT, now)
        self._beat_timer = self._running().call_later(max(0.0, self._beat_due - now), self._beat)

    # Probes

    def _launch_first(self, watch: Watch) -> None:
        if not (self._closed or watch.gone):
            self._launch(watch)
            self._arm()

    def _launch(self, watch: Watch) -> None:
        """A scheduled probe. One that is still in the air is never doubled."""
        if watch.flying:
            self.counters.skipped += 1
            return
        watch.flying = 1
        if not self._launches.start(watch, watch, watch.timeout):
            watch.flying = 0

    def _launch_extra(self, ticket: Extra, timeout: float) -> None:
        if self._launches.start(ticket.watch, ticket, timeout):
            self._arm()
        elif ticket.ladder is not None:
            now = time.monotonic()
            ticket.ladder.take(ticket.watch, void(ticket.watch.key, now, now, "too many probes in flight"))

    def _took(self, watch: Watch, ladder: LadderRun | None, result: ProbeResult) -> None:
        if not (watch.gone or self._closed):
            previous = watch.take(result)
            if previous is not None:
                self._outbox.put(watch.changed(self._clock.now(), self.vantage, previous, result))
                if watch.confirm and watch.first_failure():
                    self._confirm(watch)
            if watch.reports_values and result.up is not None:
                self._outbox.put(watch.measured(self._clock.now(), self.vantage, result))
        if ladder is not None:
            ladder.take(watch, result)

    def _confirm(self, watch: Watch) -> None:
        """Provoke before concluding: a burst of extra probes on the first failure."""
        loop = self._running()
        for number in range(watch.confirm):
            loop.call_later(number * watch.confirm_interval, self._launch_confirming, watch)

    def _launch_confirming(self, watch: Watch) -> None:
        # A success meanwhile has settled it.
        if not (self._closed or watch.gone) and watch.health.failures:
            self._launch_extra(Extra(watch), watch.timeout)

    def _answer(self, run: LadderRun) -> None:
        self._ladders.discard(run)
        self._outbox.put(
            LadderFinished(at=self._clock.now(), command=run.command, results=tuple(run.results))
        )

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the prober was not started")
        return self._loop
