"""Three controllers over etcd and a platform that is well, on a network that is not: 2 % of all packets lost, each controller
hearing everything up to 50 ms late, and every ten seconds one controller, one after the other, stopped for half a second to
five. Nothing may be done to the platform, nobody may be paged about it, and its address is always held, by one side.

Who leads may change, as a leader that is stopped for longer than its lease has to lose it.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections import Counter
from typing import Any, Final

from lab.callers import Callers
from lab.faults import PacketLoss, inject
from lab.holders import Holders
from lab.jitter import Jitter
from lab.laboratory import LabSettings
from lab.ring import Ring
from lab.ring_faults import RoleStopped
from lab.topology import NODES, VIP
from lab.trials import until, written
from tests.bench.rows import row

LOSS_PER_MILLE: Final = 20
JITTER_MS: Final = 50
EVERY: Final = 10.0
STOPS: Final = (0.5, 2.0, 5.0)
"""Seconds, in turn: within a lease, about as long, and longer."""

RATE: Final = 50
ACTIONS: Final = ("switch_started", "switch_intended", "run_started", "group_disarmed", "page_opened")
"""What is written down before anything is done to the platform, or people are woken."""

UNHELD: Final = 1000.0
"""Milliseconds for which nothing may be heard from the address: its gate never closed, though answers were lost."""


def rows(quick: bool) -> list[dict[str, Any]]:
    """The rows of `deploy/bench ring`: about three minutes when quick, else a little over thirty."""
    seconds = 120 if quick else 1800
    case = f"{seconds} s, {LOSS_PER_MILLE / 10:g} % loss, {JITTER_MS} ms jitter, stops"
    with Ring.create(LabSettings(postgresql=True)) as ring:
        ring.arm()
        ring.settle()
        before = ring.operator.sequences()
        with (
            Holders(ring) as seen,
            Callers(ring, rate=RATE, seconds=seconds + 120, targets=[VIP]) as callers,
            contextlib.ExitStack() as network,
        ):
            for node in NODES:
                network.enter_context(inject(ring, Jitter(host=node, ms=JITTER_MS)))
            network.enter_context(inject(ring, PacketLoss(per_mille=LOSS_PER_MILLE)))
            began = time.monotonic()
            stops = _stops(ring, began + seconds)
            until(began + seconds)
            ended = time.monotonic()
        ring.settle()
        entries = written(ring, before)
        violations = [len(ring.operator.verify(node)) for node in ring.operator.sequences()]
    found = Counter(str(entry["kind"]) for entry in entries)
    for entry in entries:
        if entry["kind"] in (*ACTIONS, "fault_raised"):
            print(f"{entry['node']}: {entry['kind']} {entry['subject']} {entry['data']}", file=sys.stderr)
    report = callers.report
    return [
        *(row(case, kind, "count", [found[kind]], never_above=0) for kind in ACTIONS),
        row(case, "two_holders", "ms", [seen.both_s(until=ended) * 1000], never_above=0),
        row(case, "unheard_address", "ms", [seen.silence_s(began, ended) * 1000], never_above=UNHELD),
        row(case, "violations", "per node", violations, never_above=0),
        row(case, "stops", "count", [stops]),
        row(case, "faults_raised", "count", [found["fault_raised"]]),
        row(case, "leaderships", "count", [found["leadership_taken"]]),
        row(case, "calls", "count", [report.attempted]),
        row(case, "calls_failed", "calls", [report.failed]),
    ]


def _stops(ring: Ring, end: float) -> int:
    stops = 0
    for node, seconds in zip(itertools.cycle(NODES), itertools.cycle((*STOPS, STOPS[0])), strict=False):
        began = time.monotonic()
        if began + EVERY > end:
            break
        with inject(ring, RoleStopped(role=str(node))):
            time.sleep(seconds)
        stops += 1
        until(began + EVERY)
    return stops
