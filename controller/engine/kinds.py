"""The probe kinds a prober uses: classes loaded once, one instance a mass kind, one a target of any other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from controller.engine.watch import Unbuildable, Watch, resend_offsets, void, void_for_lag
from controller.model.health import Hysteresis, ProbeResult
from controller.ports import Finished, MassProbe, Target

log = logging.getLogger(__name__)

COROUTINE_GRACE = 0.5
"""Seconds past its timeout after which a coroutine probe counts as defective and is cancelled."""

ProbeFactory = Callable[[str], type[Any]]
"""A probe kind's class, as the registry has it. Raises KeyError or ImportError."""


class ProbeKinds:
    def __init__(self, factory: ProbeFactory) -> None:
        self._factory = factory
        self._classes: dict[str, type[Any]] = {}
        self._tried: set[str] = set()
        self._mass: dict[str, MassProbe] = {}
        # Targets by the ten thousand have few different policies; each would bring its own copy over from the engine.
        self._hysteresis: dict[Hysteresis, Hysteresis] = {}
        self._seconds: dict[float, float] = {}
        self._complained: set[str] = set()

    async def load(self, names: Iterable[str]) -> None:
        """Import what is not imported yet, beside the loop: libraries take a second on a busy machine, in which no
        heartbeat would leave. What can't be imported is found again, and said, by `build`."""
        for name in sorted(set(names) - self._tried):
            self._tried.add(name)
            with contextlib.suppress(Exception):
                await asyncio.to_thread(self._class, name)

    def build(self, target: Target, loop: asyncio.AbstractEventLoop, finished: Finished) -> Watch:
        """A target's watch. What can't be probed here becomes one that yields void results which say why: a missing
        library or permission is this host's own trouble, and the other targets must still be watched."""
        rung = target.rung
        mass: MassProbe | None = None
        probe: Any = None
        prepared: object = None
        try:
            kind = self._class(rung.probe)
            if kind.mass:
                mass = self._instance(rung.probe, kind, loop, finished)
                prepared = mass.prepare(target.key, rung.parameters)
            else:
                probe = kind(rung.parameters)
        except Exception as error:
            reason = f"{rung.probe} can't be used here: {error}"
            self.complain(rung.probe, reason)
            mass, probe = None, Unbuildable(reason)
        return Watch(
            key=target.key,
            interval=self._seconds.setdefault(rung.interval, rung.interval),
            timeout=self._seconds.setdefault(rung.timeout, rung.timeout),
            hysteresis=self._hysteresis.setdefault(rung.hysteresis, rung.hysteresis),
            confirm=rung.confirm if rung.failover_relevant else 0,
            confirm_interval=self._seconds.setdefault(rung.confirm_interval, rung.confirm_interval),
            resends=resend_offsets(rung, mass is not None and mass.copies_help),
            on_demand=rung.on_demand,
            reports_values=rung.reports_values,
            kind=sys.intern(rung.probe),
            mass=mass,
            prepared=prepared,
            probe=probe,
        )

    def drain(self) -> None:
        for kind in self._mass.values():
            try:
                kind.drain()
            except Exception as error:
                self.raised(kind, error)

    def counters(self) -> Iterator[tuple[str, Mapping[str, int]]]:
        """Kind and its counters."""
        for name, kind in self._mass.items():
            yield name, kind.counters()

    def close(self) -> None:
        """The mass kinds; other probes are closed one by one."""
        for kind in self._mass.values():
            kind.close()

    async def close_probe(self, watch: Watch) -> None:
        if watch.probe is None or isinstance(watch.probe, Unbuildable):
            return
        try:
            await watch.probe.close()
        except Exception as error:
            self.complain(watch.kind, f"{watch.kind} did not close: {error}")

    async def run(self, watch: Watch, timeout: float, worst_lag: Callable[[float], float]) -> ProbeResult:
        """A coroutine probe. Whatever it does, exactly one result comes of it; `worst_lag(since)` is our own."""
        sent_at = time.monotonic()
        probe = watch.probe
        if probe is None or isinstance(probe, Unbuildable):
            return void(watch.key, sent_at, sent_at, "no probe" if probe is None else probe.reason)
        try:
            async with asyncio.timeout(timeout + COROUTINE_GRACE):
                result = await probe.run(watch.key, timeout)
            return void_for_lag(result, timeout, worst_lag(sent_at))
        except TimeoutError:
            note = f"{watch.kind} did not end within its timeout"
        except Exception as error:
            return self.defective(watch, sent_at, error)
        return void(watch.key, sent_at, time.monotonic(), note)

    def defective(self, watch: Watch, sent_at: float, error: Exception) -> ProbeResult:
        """The result of a probe that raised: it says nothing about the target."""
        note = f"{watch.kind} raised {type(error).__name__}: {error}"
        self.complain(f"{watch.kind} {type(error).__name__}", note)
        return void(watch.key, sent_at, time.monotonic(), note)

    def raised(self, kind: MassProbe, error: Exception) -> None:
        """A mass kind raised where no one target is concerned."""
        name = type(kind).__name__
        self.complain(f"{name} {type(error).__name__}", f"{name} raised {type(error).__name__}: {error}")

    def complain(self, about: str, message: str) -> None:
        """Log the first of its kind only."""
        if about not in self._complained:
            self._complained.add(about)
            log.warning("%s", message, extra={"action": "probe_defect"})

    def _class(self, name: str) -> type[Any]:
        found = self._classes.get(name)
        if found is None:
            found = self._classes[name] = self._factory(name)
        return found

    def _instance(
        self, name: str, kind: type[Any], loop: asyncio.AbstractEventLoop, finished: Finished
    ) -> MassProbe:
        mass = self._mass.get(name)
        if mass is None:
            made: MassProbe = kind()
            made.open(loop, finished)
            mass = self._mass[name] = made
        return mass
