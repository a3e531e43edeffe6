"""5,000 targets behind one switch fail within a second while 10,000 are probed, and in the middle of it the platform's
active side dies for real: the storm must be one incident, named at once, and the failover must not wait for it.

Then failovers one after the other beside 10,000 probed targets: how long from the last reply that was missing or failed
to the first switch command that leaves the controller, the commit that records it included. Beside it, in the same minutes,
what the machine asks for the least that this takes: a process that does nothing else appends as many octets, syncs them, and
starts the same command.
"""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from controller.app import WARM
from lab.callers import Callers
from lab.faults import ProcessKilled, inject
from lab.laboratory import Lab
from lab.topology import Host
from tests.bench.rig import FAST_LAB, GROUP, Rig
from tests.bench.rows import percentile, row

RESPONDER: Final = Path(__file__).with_name("responder.py")
BEHIND: Final = 5_000
BESIDE: Final = 5_000
PORTS: Final = 32

INTERVAL, TIMEOUT, FALL = 1.0, 0.5, 3
FIRST_DOWN: Final = (FALL - 1) * INTERVAL + TIMEOUT
"""Seconds after the storm's beginning from which its targets are found down, all of them within one more interval."""

EXTRA: Final = """
components:
  room-switch:
    kind: switch
    title: Switch of the room
    rungs: [{{name: sip, probe: sip_options, with: {{uri: "sip:127.0.0.1:{port}"}}, interval: 200ms, timeout: 200ms, fall: 2}}]
fleets:
  behind: {{csv: behind.csv, kind: phone, title: "${{name}}", depends_on: [room-switch], rungs: [{rung}]}}
  beside: {{csv: beside.csv, kind: phone, title: "${{name}}", rungs: [{rung}]}}
"""
TRIES: Final = 4
COMMIT_OCTETS: Final = 32 * 1024
"""About what SQLite writes to its log for the decision's commit."""

RUNG: Final = (
    '{{name: sip, probe: sip_options, with: {{uri: "sip:127.0.0.1:${{port}}"}}, '
    "interval: {interval:g}s, timeout: {timeout:g}s, fall: {fall}}}"
)


def rows(quick: bool) -> list[dict[str, Any]]:
    """The rows of `deploy/bench storm`: about two minutes when quick, else about seven."""
    storms, switches = (1, 5) if quick else (3, 25)
    found = _judge([_storm() for _ in range(storms)])
    latencies, least = _latencies(switches)
    case = f"{switches} failovers, {BEHIND + BESIDE} targets"
    for metric, ours, bare, aim in (
        ("to_first_command_p99", [percentile(latencies, 0.99)], [percentile(least, 0.99)], {"below": 20.0}),
        ("to_first_command", latencies, least, {}),
    ):
        found.append(row(case, metric, "ms", ours, peer=("sync and start", bare), **aim))
    return found


@dataclass(frozen=True, kw_only=True)
class Storm:
    """`named_ms` from the first failed reply there could be; `suppressed`: dependents explained by the switch."""

    incidents: int
    named_ms: float
    suppressed: int
    gathered_ms: float
    outage_ms: float
    detected_ms: float
    redirected_ms: float
    longest_fold_ms: float


class Responders:
    """Two processes on the controller's own loopback that answer OPTIONS: one behind the switch, one beside it."""

    def __init__(self, lab: Lab) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self.behind_ports, self.beside_ports = (self._start(lab) for _ in range(2))

    def _start(self, lab: Lab) -> list[str]:
        process = lab.popen(
            Host.CONTROLLER,
            [sys.executable, str(RESPONDER), str(PORTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._processes.append(process)
        assert process.stdout is not None
        return process.stdout.readline().split()

    def stop_behind(self) -> None:
        """Silence, as behind a switch without power."""
        self._processes[0].send_signal(signal.SIGSTOP)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


@contextlib.contextmanager
def _watching(lab: Lab, **settings: Any) -> Iterator[tuple[Rig, Responders]]:
    """A controller that has seen all targets up, and is armed."""
    responders = Responders(lab)
    try:
        rung = RUNG.format(interval=INTERVAL, timeout=TIMEOUT, fall=FALL)
        rig = Rig(lab, extra=EXTRA.format(port=responders.behind_ports[0], rung=rung), **settings)
        for name, ports, count in (
            ("behind", responders.behind_ports, BEHIND),
            ("beside", responders.beside_ports, BESIDE),
        ):
            with (rig.directory / f"{name}.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(("name", "port"))
                writer.writerows(
                    (f"{name}-{number:05}", ports[number % len(ports)]) for number in range(count)
                )
        with rig:
            rig.wait(
                lambda: rig.status()["health"].get("UP", 0) > BEHIND + BESIDE,
                "all targets up",
                timeout_s=60,
                pause_s=1.0,
            )
            rig.arm(timeout_s=60)
            time.sleep(WARM)
            yield rig, responders
    finally:
        responders.close()


def _storm() -> Storm:
    with Lab.create(FAST_LAB) as lab, _watching(lab) as (rig, responders):
        with Callers(lab, rate=100, seconds=60) as callers:
            time.sleep(1.0)
            began = time.time()
            responders.stop_behind()
            time.sleep(FIRST_DOWN + 0.3)
            with inject(lab, ProcessKilled()) as injected:
                broken = time.time() - time.monotonic() + injected.applied_at
                rig.wait(lambda: rig.group()["last_outcome"], "the switch to end", timeout_s=30)
                rig.wait(lambda: _suppressed(rig) >= BEHIND, "all dependents", timeout_s=30, pause_s=0.5)
                healed = time.monotonic()
        return _read(rig, callers, began, broken, injected.applied_at, healed)


def _read(rig: Rig, callers: Callers, began: float, broken: float, applied_at: float, healed: float) -> Storm:
    raised = rig.facts("fault_raised")
    named = next(entry for entry in raised if entry["data"]["component"] == "room-switch")
    detected = next(entry for entry in raised if entry["data"]["component"] == "primary")
    redirected = next(
        entry
        for entry in rig.facts("switch_step_finished")
        if (entry["data"]["verb"], entry["data"]["status"]) == ("redirect", "succeeded")
    )
    if (group := rig.group())["active"] != "backup" or group["last_outcome"] != "verified":
        raise RuntimeError(f"the switch ended {group['last_outcome']} on {group['active']}")
    if violations := rig.violations():
        raise RuntimeError(f"the journal does not hold: {violations}")
    outage = callers.report.outage(since=applied_at - 0.5, until=healed)
    last = max(entry["wall"] for entry in rig.facts("fault_suppressed"))
    storm = Storm(
        incidents=sum(incident["root"] != GROUP for incident in rig.incidents()),
        named_ms=(named["wall"] - began) * 1000,
        suppressed=_suppressed(rig),
        gathered_ms=(last - began - FIRST_DOWN - INTERVAL) * 1000,
        outage_ms=0.0 if outage is None else outage.duration_ms,
        detected_ms=(detected["wall"] - broken) * 1000,
        redirected_ms=(redirected["wall"] - broken) * 1000,
        longest_fold_ms=_longest_fold(rig) * 1000,
    )
    print(storm, file=sys.stderr)
    return storm


def _suppressed(rig: Rig) -> int:
    return sum(entry["data"]["count"] for entry in rig.facts("fault_suppressed"))


def _longest_fold(rig: Rig) -> float:
    """Seconds."""
    for line in rig.client.text("/metrics").splitlines():
        name, _, value = line.partition(" ")
        if name.endswith("fold_longest_seconds"):
            return float(value)
    raise RuntimeError("no longest fold among the metrics")


def _judge(storms: Sequence[Storm]) -> list[dict[str, Any]]:
    case = f"{BEHIND} of {BEHIND + BESIDE} targets, and a failover"

    def values(metric: str) -> list[float]:
        return [float(getattr(storm, metric)) for storm in storms]

    return [
        row(case, "incidents", "count", values("incidents"), always=1),
        row(case, "named_after", "ms", values("named_ms"), below=1000.0),
        row(case, "suppressed", "count", values("suppressed")),
        row(case, "last_gathered_after_due", "ms", values("gathered_ms")),
        row(case, "failover_outage", "ms", values("outage_ms"), below=500.0),
        row(case, "failover_detected", "ms after the fault", values("detected_ms")),
        row(case, "failover_redirected", "ms after the fault", values("redirected_ms"), below=500.0),
        row(case, "longest_fold", "ms", values("longest_fold_ms")),
    ]


def _latencies(times: int) -> tuple[list[float], list[float]]:
    """Milliseconds, a failover each, to and fro between the sides; and the least there could be, tried in between."""
    with Lab.create(FAST_LAB) as lab:
        stamps = lab.directory / "stamps"
        script = lab.directory / "stamped"
        script.write_text(f'#!/bin/bash\necho "$EPOCHREALTIME" >>{stamps}\nexec "$@"\n')
        script.chmod(0o755)

        def stamped(group: dict[str, Any]) -> None:
            for side in group["driver"]["with"]["sides"].values():
                side["fence"]["fence"] = [str(script), *side["fence"]["fence"]]
            group["cooldown"] = "1s"
            group["switches_per_window"] = 1000

        found: list[float] = []
        least: list[float] = []
        with _watching(lab, change=stamped) as (rig, _):
            for number in range(times):
                found.append(_latency(lab, rig, (Host.PRIMARY, Host.BACKUP)[number % 2]))
                tried = [_least(lab, script) for _ in range(TRIES)]
                least += tried
                print(f"to the first command: {found[-1]:.1f} ms, at least {max(tried):.1f}", file=sys.stderr)
        if len(stamps.read_text().splitlines()) != times * (1 + TRIES):
            raise RuntimeError("fences and failovers differ in number")
    return found, least


def _least(lab: Lab, script: Path) -> float:
    """Milliseconds from now to the command's own stamp, a sync in between."""
    handle = os.open(lab.directory / "synced", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        began = time.time()
        os.write(handle, bytes(COMMIT_OCTETS))
        os.fdatasync(handle)
        subprocess.run([script, "true"], check=True, timeout=10)
    finally:
        os.close(handle)
    return (float((lab.directory / "stamps").read_text().splitlines()[-1]) - began) * 1000


def _latency(lab: Lab, rig: Rig, side: Host) -> float:
    after, before = rig.sequence, rig.group()["last_switch"]
    stamps = lab.directory / "stamps"
    with Callers(lab, rate=50, seconds=30):
        time.sleep(1.0)
        with inject(lab, ProcessKilled(side=side)):
            rig.wait(
                lambda: (group := rig.group())["switch"] is None and group["last_switch"] != before,
                "the switch to end",
            )
    stamp = float(stamps.read_text().splitlines()[-1])
    detected = next(
        entry["wall"]
        for entry in rig.facts("fault_raised", after=after)
        if entry["data"]["component"] == side
    )
    rig.let_back_in()
    rig.arm(timeout_s=30)
    return (stamp - detected) * 1000
