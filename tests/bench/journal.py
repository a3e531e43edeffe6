"""How long a decision waits for the disk: facts recorded by a whole controller while its prober probes 10,000 targets.

A decision is an event that leads to one fact, from its submission until the fact is durable. Between the decisions the
same disk is asked, by a file of its own and its fdatasync, how long it takes at best: what the journal adds is ours, the
rest is the disk's. Then as many facts as five times that rate, for as long: what waits must stay bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import uvloop

from controller.app import COLLECTING, Controller, load_settings
from controller.model.events import FaultReported, OperatorUpdatedIncident
from tests.bench.fleet import responder, write
from tests.bench.rows import percentile, row

TARGETS: Final = 10_000
STEADY, FULL = 1_000, 5_000
"""Facts a second."""

BURST: Final = 0.01
"""Seconds between two bursts of facts: the steady rate comes in tens, as it does from a platform."""

SYNC_EVERY: Final = 0.05
"""Seconds between two looks at the disk itself."""


def rows(quick: bool) -> list[dict[str, Any]]:
    """The rows of `deploy/bench journal`: half a minute when quick, else under two minutes."""
    gc.set_threshold(*COLLECTING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_rows(8.0 if quick else 30.0))


async def _rows(seconds: float) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="bench-journal-", dir=Path.cwd() / "var") as name:
        directory = Path(name)
        with responder() as ports:
            configuration = write(directory, ports, TARGETS)
            async with _running(configuration) as controller:
                await _warm(controller)
                incident = await _incident(controller)
                steady = await _decide(controller, incident, STEADY, seconds, directory)
                full = await _decide(controller, incident, FULL, seconds, directory)
    case = f"{STEADY} facts/s, {TARGETS} targets"
    sync99 = percentile(steady.syncs, 0.99)
    found = [
        row(case, "decision_p99", "ms", [percentile(steady.decisions, 0.99)], at_most=round(sync99 + 5.0, 3),
            peer=("fdatasync p99", [sync99])),
        row(case, "decision", "ms", steady.decisions, peer=("fdatasync", steady.syncs)),
        row(case, "facts", "1/s", [steady.rate]),
    ]  # fmt: skip
    case = f"{FULL} facts/s, {TARGETS} targets"
    return [
        *found,
        row(case, "facts", "1/s", [full.rate]),
        row(case, "shortfall", "facts/s", [max(0.0, FULL - full.rate)], at_most=0.02 * FULL),
        row(case, "waiting", "events", [max(full.waiting)], never_above=FULL),
        row(case, "decision_p99", "ms", [percentile(full.decisions, 0.99)]),
    ]


class _Measured:
    """Milliseconds of each decision and each fdatasync; events that waited at each look; facts a second."""

    def __init__(self) -> None:
        self.decisions: list[float] = []
        self.syncs: list[float] = []
        self.waiting: list[int] = []
        self.rate = 0.0


async def _decide(
    controller: Controller, incident: str, rate: int, seconds: float, directory: Path
) -> _Measured:
    measured = _Measured()
    pending: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        began = time.perf_counter()
        await controller.desk.ask(
            OperatorUpdatedIncident(
                at=controller.clock.now(), incident=incident, by="bench", note=f"{number}"
            )
        )
        measured.decisions.append((time.perf_counter() - began) * 1000)

    async def watch() -> None:
        while True:
            measured.syncs.append(await asyncio.to_thread(_sync, directory))
            measured.waiting.append(controller.engine.waiting)
            await asyncio.sleep(SYNC_EVERY)

    watching = asyncio.create_task(watch())
    began = time.perf_counter()
    sent = 0
    while (passed := time.perf_counter() - began) < seconds:
        while sent < passed * rate:
            task = asyncio.create_task(one(sent))
            pending.add(task)
            task.add_done_callback(pending.discard)
            sent += 1
        await asyncio.sleep(BURST)
    if pending:
        await asyncio.gather(*pending)
    measured.rate = len(measured.decisions) / (time.perf_counter() - began)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return measured


def _sync(directory: Path) -> float:
    """Milliseconds to append a page to a file and have it on the disk."""
    descriptor = os.open(directory / "page", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, b"\0" * 4096)
        began = time.perf_counter()
        os.fdatasync(descriptor)
        return (time.perf_counter() - began) * 1000
    finally:
        os.close(descriptor)


async def _incident(controller: Controller) -> str:
    """A person reports a fault, so that there is something to write notes on."""
    now = controller.clock.now()
    await controller.desk.ask(
        FaultReported(
            at=now,
            report="R-1",
            component="phones-1",
            symptom="noise",
            noticed_wall=now.wall,
            by="bench",
        )
    )
    (incident,) = controller.desk.snapshot.state.incidents
    return incident


async def _warm(controller: Controller) -> None:
    async with asyncio.timeout(60):
        while len(controller.desk.snapshot.state.rungs) < TARGETS:
            await asyncio.sleep(0.2)
    await asyncio.sleep(5.0)
    gc.collect()
    gc.freeze()


@contextlib.asynccontextmanager
async def _running(configuration: Path) -> AsyncIterator[Controller]:
    controller = Controller(load_settings(configuration))
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(controller.run(lambda address: ready.set(), stop))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if running.done():
            running.result()
        yield controller
    finally:
        stop.set()
        await running
