"""OPTIONS to very many targets at one-second intervals through the prober process: cost, lag, losses, false DOWNs.

The prober is pinned to one core; the responder and this process, which stands for the engine, share another. Everything
a probe goes through is in it: schedule, encode, send, match, fold, report of changes. What both processes occupy is then
measured of a whole controller, its configuration, core and journal included.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil

from controller.engine.clock import SystemClock
from controller.engine.prober_process import ProcessProber
from controller.model.events import HealthChanged
from controller.model.health import HealthState, RungKey
from controller.model.policy import RungPolicy
from controller.ports import Target
from controller.probes.sip_options import OptionsParameters
from tests.bench import memory
from tests.bench.rows import row

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PORTS = 64
INTERVAL, TIMEOUT = 1.0, 0.5
WARM_UP = 3.0
STALL = 1.5
LONGEST_SILENCE = 30.0
"""Seconds without a report after which the bench is broken."""

Row = dict[str, Any]


def rows(quick: bool) -> list[Row]:
    """The rows of `deploy/bench probes`. Under a minute and a half when quick, else under seven minutes."""
    found = asyncio.run(_rows(quick))
    for count in (10_000,) if quick else (10_000, 20_000):
        found += memory.rows(count, 4 if quick else 15)
    return found


async def _rows(quick: bool) -> list[Row]:
    seconds = 4 if quick else 15
    counts = (1_000, 10_000) if quick else (1_000, 10_000, 20_000, 50_000)
    found: list[Row] = []
    for count in counts:
        async with _watching(count) as bench:
            found += _judge(count, await bench.measure(seconds))
    async with _watching(10_000) as bench:
        found += await bench.stall()
    return found


def _judge(count: int, measured: dict[str, list[float]]) -> list[Row]:
    """`measured`: a figure a second. Medians are held against the aims; what must be zero is summed up first."""
    case = f"{count} targets"
    core = {10_000: 45.0, 20_000: 80.0}.get(count)
    lag = {10_000: 15.0, 20_000: 25.0}.get(count)
    return [
        row(case, "core_share", "percent", measured["core_share"], below=core),
        row(case, "cpu_per_probe", "us", measured["cpu_per_probe"]),
        row(case, "probes", "1/s", measured["probes"]),
        row(case, "lag_p99", "ms", measured["lag_p99"], below=lag),
        row(
            case, "lost", "replies", [sum(measured["lost"])], at_most=0 if count in (10_000, 20_000) else None
        ),
        row(case, "voided", "probes", [sum(measured["voided"])]),
        row(case, "skipped", "probes", [sum(measured["skipped"])]),
        row(case, "false_downs", "targets", [sum(measured["false_downs"])], at_most=0),
        row(case, "pss", "MB", measured["pss"], below=80),
    ]


class _Bench:
    def __init__(self, prober: ProcessProber) -> None:
        self.downs = 0
        self.changes = 0
        self.prober = prober
        self._reported = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        known = self.prober.statistics
        async for event in self.prober.events():
            if isinstance(event, HealthChanged):
                self.changes += 1
                self.downs += event.current is HealthState.DOWN
            if self.prober.statistics is not known:
                known = self.prober.statistics
                self._reported.set()

    async def settled(self, count: int) -> None:
        """All targets assigned and seen up, and the first seconds over."""
        while (await self._report()).get("targets", 0) < count:
            pass
        await asyncio.sleep(WARM_UP)

    async def measure(self, seconds: int) -> dict[str, list[float]]:
        measured: dict[str, list[float]] = {}
        before = await self._sample()
        for _ in range(seconds):
            after = await self._sample()
            span = after["at"] - before["at"]
            cpu = after["cpu"] - before["cpu"]
            probes = after["probes"] - before["probes"]
            voided = after["voided"] - before["voided"]
            figures = {
                "core_share": 100 * cpu / span,
                "cpu_per_probe": 1e6 * cpu / max(1.0, probes),
                "probes": probes / span,
                "lag_p99": 1000 * after["lag_p99"],
                "lost": after["unanswered"] - before["unanswered"] - voided,
                "voided": voided,
                "skipped": after["skipped"] - before["skipped"],
                "false_downs": after["downs"] - before["downs"],
                "pss": after["pss"],
            }
            for name, value in figures.items():
                measured.setdefault(name, []).append(value)
            before = after
        return measured

    async def stall(self) -> list[Row]:
        """The prober stands still for 1.5 s, as a paused virtual machine does, three times."""
        pid = self.prober.pid
        assert pid is not None
        downs, skipped, restarts = [], [], self.prober.restarts
        for _ in range(3):
            before = await self._sample()
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(STALL)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(2.0)
            after = await self._sample()
            downs.append(after["downs"] - before["downs"])
            skipped.append(after["skipped"] - before["skipped"])
        case = "10000 targets, stalled 1.5 s"
        return [
            row(case, "false_downs", "targets", [sum(downs)], at_most=0),
            row(case, "skipped", "probes", skipped),
            row(case, "restarts", "probers", [self.prober.restarts - restarts], at_most=0),
        ]

    async def _sample(self) -> dict[str, float]:
        """The child's next report, which comes once a second, and what the kernel says of it at that moment."""
        report = await self._report()
        pid = self.prober.pid
        assert pid is not None
        process = psutil.Process(pid)
        cpu = process.cpu_times()
        return {
            **report,
            "at": time.monotonic(),
            "cpu": cpu.user + cpu.system,
            "pss": process.memory_full_info().pss / 2**20,
            "downs": self.downs,
        }

    async def _report(self) -> dict[str, float]:
        """The next one."""
        self._reported.clear()
        async with asyncio.timeout(LONGEST_SILENCE):
            await self._reported.wait()
        return self.prober.statistics

    async def close(self) -> None:
        await self.prober.close()
        await self._reading


@contextlib.asynccontextmanager
async def _watching(count: int) -> AsyncIterator[_Bench]:
    """A responder, a prober on a core of its own, and `count` targets that are being probed."""
    cores = sorted(os.sched_getaffinity(0))
    ours, theirs = cores[0], cores[-1]
    responder = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "responder.py"),
        str(PORTS),
        str(theirs),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert responder.stdout is not None and responder.stdin is not None
    ports = [int(port) for port in (await responder.stdout.readline()).split()]
    os.sched_setaffinity(0, {theirs})

    def argv(fd: int) -> tuple[str, ...]:
        start = (
            f"import os, runpy, sys; os.sched_setaffinity(0, {{{ours}}}); sys.path.insert(0, {str(ROOT)!r}); "
            f"sys.argv = ['prober', '{fd}']; "
        )
        child = HERE.parent / "builders" / "prober_child.py"
        return (sys.executable, "-c", f"{start}runpy.run_path({str(child)!r}, run_name='__main__')")

    prober = ProcessProber("bench", SystemClock(), argv=argv)
    await prober.start()
    bench = _Bench(prober)
    try:
        await prober.assign([_target(number, ports[number % len(ports)]) for number in range(count)])
        await bench.settled(count)
        yield bench
    finally:
        await bench.close()
        responder.stdin.close()
        await responder.wait()
        os.sched_setaffinity(0, set(cores))


def _target(number: int, port: int) -> Target:
    name = f"phone-{number:05}"
    return Target(
        RungKey(name, "sip"),
        RungPolicy(
            name="sip",
            probe="sip_options",
            parameters=OptionsParameters(uri=f"sip:{name}@127.0.0.1:{port}"),
            interval=INTERVAL,
            timeout=TIMEOUT,
        ),
    )
