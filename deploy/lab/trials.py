"""One fault in a ring, or in a pair with keepalived, under calls through the virtual address: what callers lost, who answered
as the address, and what the controllers did."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lab.callers import Callers
from lab.faults import Fault, Injected, inject
from lab.holders import Both, Holders
from lab.keepalived import KeepalivedPair
from lab.laboratory import Lab
from lab.ring import Ring
from lab.topology import VIP, Host

RATE: Final = 100
BEFORE: Final = 1.5
AFTER: Final = 1.0

STEPS: Final = {
    "detected": ("fault_raised", {}),
    "first_command": ("switch_intended", {"verb": "fence"}),
    "fenced": ("switch_step_finished", {"verb": "confirm_fence", "status": "succeeded"}),
    "redirected": ("switch_step_finished", {"verb": "redirect", "status": "succeeded"}),
    "verified": ("switch_ended", {"outcome": "verified"}),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """Milliseconds, calls and counts. `closed`: from the fault to the last frame of the side that held at first;
    `together`: as long as two hosts answered as the address; `switches`: ended, of whatever outcome; `phases`: from the fault to each step of the
    first switch, as the nodes wrote it down."""

    outage: float
    failed: int
    closed: float
    together: float
    both: int
    switches: int
    phases: dict[str, float]
    faults: tuple[str, ...]
    lag_p99: float


def in_ring(ring: Ring, fault: Callable[[Host], Fault], *, lasts: float) -> Run:
    """The fault of the side that is active, for `lasts` seconds. Raises NotReady when the ring was not well before."""
    active = ring.settle()
    before = ring.operator.sequences()
    with Holders(ring) as seen, Callers(ring, rate=RATE, seconds=90, targets=[VIP]) as callers:
        time.sleep(BEFORE)
        with inject(ring, fault(active)) as injected:
            until(injected.applied_at + lasts)
            healed = time.monotonic()
        time.sleep(AFTER)
    entries = written(ring, before)
    return Run(
        **_seen(injected, healed, callers, seen, active),
        switches=sum(entry["kind"] == "switch_ended" for entry in entries),
        phases=_phases(entries, injected),
        faults=tuple(
            sorted({str(one["data"].get("kind")) for one in entries if one["kind"] == "fault_raised"})
        ),
    )


def in_pair(lab: Lab, advert: float, fault: Callable[[Host], Fault], *, lasts: float) -> Run:
    """The same under keepalived, whose primary holds the address at first."""
    with KeepalivedPair(lab, advert_s=advert) as pair:
        time.sleep(1.0)  # a check a second must have passed twice for a fair start
        with Holders(lab) as seen, Callers(lab, rate=RATE, seconds=90, targets=[VIP]) as callers:
            time.sleep(BEFORE)
            with inject(lab, fault(Host.PRIMARY)) as injected:
                until(injected.applied_at + lasts)
                healed = time.monotonic()
                moved = pair.holders() != (Host.PRIMARY,)
            time.sleep(AFTER)
    return Run(
        **_seen(injected, healed, callers, seen, Host.PRIMARY), switches=int(moved), phases={}, faults=()
    )


def written(ring: Ring, before: dict[Host, int]) -> list[dict[str, Any]]:
    """What the nodes that answer wrote since, by the wall clock; they share one here."""
    found = [
        entry | {"node": str(node)}
        for node in ring.operator.sequences()
        for entry in ring.operator.timeline(node, after=before.get(node, 0))
    ]
    return sorted(found, key=lambda entry: entry["wall"])


def until(moment: float) -> None:
    """Sleep until this monotonic second."""
    time.sleep(max(0.0, moment - time.monotonic()))


def _seen(injected: Injected, healed: float, callers: Callers, seen: Holders, active: Host) -> dict[str, Any]:
    report, fault = callers.report, injected.applied_at
    outage = report.outage(since=fault - 0.5, until=healed)
    last = seen.last(active, until=healed)
    both: list[Both] = seen.both(until=healed)
    return {
        "outage": 0.0 if outage is None else outage.duration_ms if outage.over else (healed - fault) * 1000,
        "failed": sum(not call.answered for call in report.between(fault - 0.5, healed)),
        "closed": 0.0 if last is None else max(0.0, last - fault) * 1000,
        "together": seen.both_s(until=healed) * 1000,
        "both": len(both),
        "lag_p99": report.lag_p99_ms,
    }


def _phases(entries: list[dict[str, Any]], injected: Injected) -> dict[str, float]:
    began = injected.applied_at + time.time() - time.monotonic()
    found = {}
    for name, (kind, data) in STEPS.items():
        for entry in entries:
            if entry["kind"] == kind and all(entry["data"].get(key) == value for key, value in data.items()):
                found[name] = round((entry["wall"] - began) * 1000, 1)
                break
    return found
