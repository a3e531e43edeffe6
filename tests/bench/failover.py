"""What callers lose when the active side fails, at 100 calls a second: the edges' failure_route alone with no controller,
keepalived on a virtual address of the same two Kamailio with a SIP check a second, and the controller with the profile
`fast`. The same fault, the same callers, the same measure, in one run.

The edges wait 100 ms for a side (what `fast` counts on), with and without the controller. An answered call that heard
nothing for 500 ms counts as lost time too. The answerer rings for 20 ms: the two or three calls that are ringing through
a side when it dies are lost with any set-up, and are told apart from those placed afterwards.

Which side a call was sent to is seen at the switch, for every set-up alike: `to_broken` are the calls that were offered to the
broken side while it was broken, `wrong_side` those placed after the calls had moved and offered to it all the same. The edges
alone move nothing, nor does keepalived from a zombie: there is no such figure then.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lab.callers import Callers, CallReport
from lab.faults import Fault, HostDead, Injected, ProcessKilled, ProcessStopped, Zombie, inject
from lab.keepalived import KeepalivedPair
from lab.laboratory import Lab, LabSettings
from lab.offered import Offered
from lab.topology import VIP, Host
from tests.bench.rig import FAST_LAB, GROUP, Rig
from tests.bench.rows import row

FAULTS: Final[Mapping[str, type[Fault]]] = {
    "killed": ProcessKilled,
    "hung": ProcessStopped,
    "zombie": Zombie,
    "host dead": HostDead,
}
NAMED: Final = {
    "killed": "PlatformDead",
    "hung": "PlatformHung",
    "zombie": "PlatformZombie",
    "host dead": "PlatformDead",
}

RATE: Final = 100
BEFORE: Final = 1.5
LASTS: Final = 5.0
"""Seconds the fault lasts for the edges alone and for us: longer than the callers' patience, or calls that were ringing through a
side that comes back would be answered late. Also what every set-up's delay is counted over."""

LASTS_KEEPALIVED: Final = 6.0
HEALED: Final = 2.0
"""Seconds watched after the side is healed: what has queued in it arrives then, or never."""

RINGING: Final = 30.0
"""Milliseconds of outage that only say how many calls were ringing when the side died."""

INFINITY: Final = float("inf")
"""The delay of calls none of which was answered; not a figure to compare with."""

ALONE: Final = "edge failure_route alone"
KEEPALIVED: Final = "keepalived 2.2"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One fault under one set-up. Milliseconds and calls; `wrong_side` None where nothing moved; `phases` of the controller
    alone."""

    outage: float
    failed: int
    failed_after: int
    delay: float
    delay_p95: float
    to_broken: int
    wrong_side: int | None
    stale: int
    lag_p99: float
    phases: Mapping[str, float]


def rows(quick: bool) -> list[dict[str, Any]]:
    """The rows of `deploy/bench failover`: about two minutes when quick, else about seven."""
    times = 1 if quick else 3
    found: list[dict[str, Any]] = []
    for name, kind in FAULTS.items():
        alone = _several(name, ALONE, times, lambda kind=kind: _alone(kind()))
        kept = _several(name, KEEPALIVED, times, lambda kind=kind: _keepalived(kind()))
        ours = _several(name, "thirdring", times, lambda kind=kind, name=name: _ours(kind(), NAMED[name]))
        found += _judge(name, ours, alone, kept)
    return found


def _several(name: str, who: str, times: int, once: Callable[[], Run]) -> list[Run]:
    runs = []
    for number in range(times):
        runs.append(once())
        print(f"{name}, {who}, {number + 1} of {times}: {runs[-1]}", file=sys.stderr)
    return runs


def _alone(fault: Fault) -> Run:
    with Lab.create(FAST_LAB) as lab, Offered(lab.network) as offered:
        with Callers(lab, rate=RATE, seconds=60) as callers:
            time.sleep(BEFORE)
            with inject(lab, fault) as injected:
                _until(injected.applied_at + LASTS)
                to_broken = _offered(offered, injected)
            healed = time.monotonic()
            time.sleep(HEALED)
        return _run(lab, callers.report, injected, healed, to_broken)


def _keepalived(fault: Fault) -> Run:
    with Lab.create(LabSettings()) as lab, KeepalivedPair(lab) as pair, Offered(lab.network) as offered:
        # A side that has answered only just before it dies is no fair start for checks a second apart.
        time.sleep(1.0)
        with Callers(lab, rate=RATE, seconds=60, targets=[VIP]) as callers:
            time.sleep(BEFORE)
            with inject(lab, fault) as injected:
                _until(injected.applied_at + LASTS_KEEPALIVED)
                to_broken, mended = _offered(offered, injected), time.monotonic()
                moved = Host.BACKUP in pair.holders()
            healed = time.monotonic()
            time.sleep(HEALED)
        run = _run(lab, callers.report, injected, healed, to_broken)
        first = offered.first(Host.BACKUP, since=injected.applied_at) if moved else None
        return replace(
            run,
            # The primary takes the address back once it is healed: calls to it are right again then.
            wrong_side=None if first is None else _misled(callers.report, offered, first, mended),
            # With nothing moved the outage lasts as long as the fault: more than this.
            outage=run.outage if moved else (healed - injected.applied_at) * 1000,
        )


def _ours(fault: Fault, named: str) -> Run:
    with Lab.create(FAST_LAB) as lab, Offered(lab.network) as offered, Rig(lab) as rig:
        rig.arm()
        sequence = rig.sequence
        with Callers(lab, rate=RATE, seconds=90) as callers:
            time.sleep(BEFORE)
            with inject(lab, fault) as injected:
                _until(injected.applied_at + LASTS)
                to_broken = _offered(offered, injected)
            healed = time.monotonic()
            time.sleep(HEALED)
            rig.let_back_in()
            time.sleep(HEALED)
            end = time.monotonic()
        report = callers.report
        phases, switched = _phases(rig, sequence, injected, named)
        run = _run(lab, report, injected, healed, to_broken)
        return replace(run, wrong_side=_misled(report, offered, switched, end), phases=phases)


def _offered(offered: Offered, injected: Injected) -> int:
    """Calls that the broken side was offered so far."""
    return len(offered.calls(Host.PRIMARY, since=injected.applied_at))


def _misled(report: CallReport, offered: Offered, since: float, until: float) -> int:
    """Calls placed in [since, until), all of them the backup's, that were offered to the primary too or alone."""
    placed = {call.call_id for call in report.between(since, until)}
    return len(placed & offered.calls(Host.PRIMARY, since=since, until=until))


def _phases(rig: Rig, after: int, injected: Injected, named: str) -> tuple[dict[str, float], float]:
    """Milliseconds from the fault to each phase, and when (monotonic) the calls were all with the backup."""
    offset = time.time() - time.monotonic()
    began = injected.applied_at + offset
    entries = rig.timeline(after=after)

    def first(kind: str, **data: str) -> float:
        return next(
            entry["wall"]
            for entry in entries
            if entry["kind"] == kind and all(entry["data"].get(name) == value for name, value in data.items())
        )

    raised = [entry["data"]["kind"] for entry in entries if entry["kind"] == "fault_raised"]
    ended = [entry["data"] for entry in entries if entry["kind"] == "switch_ended"]
    if raised[:1] != [named] or [end["outcome"] for end in ended] != ["verified"]:
        raise RuntimeError(f"expected {named} and one verified switch: {raised}, {ended}\n{rig.log[-2000:]}")
    if rig.group()["active"] != "backup" or rig.violations():
        raise RuntimeError(f"{GROUP} is on {rig.group()['active']}; violations: {rig.violations()}")
    walls = {
        "detected": first("fault_raised"),
        "first_command": first("switch_intended", verb="fence"),
        "fenced": first("switch_step_finished", verb="confirm_fence", status="succeeded"),
        "redirected": first("switch_step_finished", verb="redirect", status="succeeded"),
        "verified": first("switch_ended"),
    }
    return {name: (wall - began) * 1000 for name, wall in walls.items()}, walls["redirected"] - offset


def _run(lab: Lab, report: CallReport, injected: Injected, healed: float, to_broken: int) -> Run:
    fault = injected.applied_at
    outage = report.outage(since=fault - 0.5, until=healed)
    until = fault + LASTS
    delay = report.extra_post_dial_delay_ms(fault, until=until)
    late = report.extra_post_dial_delay_ms(fault, share=0.95, until=until)
    return Run(
        outage=0.0 if outage is None else outage.duration_ms,
        failed=sum(not call.answered for call in report.between(fault - 0.5, healed)),
        failed_after=sum(not call.answered for call in report.between(injected.acted_at, healed)),
        delay=INFINITY if delay is None else delay,
        delay_p95=INFINITY if late is None else late,
        to_broken=to_broken,
        wrong_side=None,
        stale=len(report.stale(lab.arrivals())),
        lag_p99=report.lag_p99_ms,
        phases={},
    )


def _judge(case: str, ours: Sequence[Run], alone: Sequence[Run], kept: Sequence[Run]) -> list[dict[str, Any]]:
    def values(runs: Sequence[Run], metric: str) -> list[float]:
        found = [getattr(run, metric) for run in runs]
        return [float(one) for one in found if one is not None]

    def against(metric: str, unit: str, peer: str, **aim: float) -> dict[str, Any]:
        other = alone if peer == ALONE else kept
        return row(
            f"{case}, against {peer}",
            metric,
            unit,
            values(ours, metric),
            peer=(peer, seen) if (seen := [one for one in values(other, metric) if one < INFINITY]) else None,
            **aim,
        )

    def median(metric: str) -> float:
        return statistics.median(values(alone, metric))

    found = [
        against("outage", "ms", KEEPALIVED, below=500.0),
        against("outage", "ms", ALONE, at_most=round(median("outage") + RINGING, 1)),
        against("failed", "calls", KEEPALIVED),
        against("failed", "calls", ALONE, at_most=median("failed") + RINGING * RATE / 1000),
        against("failed_after", "calls", KEEPALIVED),
        against("failed_after", "calls", ALONE, at_most=median("failed_after")),
        against("delay", "ms", KEEPALIVED),
        against("delay", "ms", ALONE, at_most=round(median("delay") + 1.0, 2)),
        against("delay_p95", "ms", ALONE, at_most=round(median("delay_p95") * 1.1 + 1.0, 2)),
        against("to_broken", "calls", KEEPALIVED),
        against("to_broken", "calls", ALONE, at_most=median("to_broken")),
        against("wrong_side", "calls after the switch", KEEPALIVED, never_above=0),
        against("stale", "calls", ALONE, never_above=0),
        against("stale", "calls", KEEPALIVED, never_above=0),
    ]
    for phase in ours[0].phases:
        found.append(row(case, phase, "ms after the fault", [run.phases[phase] for run in ours]))
    return found


def _until(moment: float) -> None:
    """Sleep until this monotonic second."""
    time.sleep(max(0.0, moment - time.monotonic()))
