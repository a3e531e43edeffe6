"""What callers of a virtual address lose when its holder, or a part of the ring, fails: three controllers over three members of
etcd with the profile `fast`, beside keepalived with the default advertisements of 1 s and with 0.1 s. The same platform, the
same callers at 100 calls a second through the address, the same faults, in one run.

Who answers as the address is seen at the switch, by the source hardware address of every frame, on one clock.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lab.errors import NotReady
from lab.faults import Fault, HostDead, ProcessKilled, ProcessStopped, Zombie
from lab.laboratory import Lab, LabSettings
from lab.ring import POSTGRESQL, Ring
from lab.ring_faults import Both, HostsCut, RoleKilled, RoleStopped
from lab.ring_files import agent_role
from lab.topology import Host
from lab.trials import Run, in_pair, in_ring
from tests.bench.rows import row

ADVERTS: Final = {"keepalived 2.2, advert 1 s": 1.0, "keepalived 2.2, advert 0.1 s": 0.1}
LASTS: Final = 5.0
LASTS_KEEPALIVED: Final = 6.0
HOLD_TIME: Final = 1000.0
CLOSED: Final = HOLD_TIME + 100.0
MOST_UNWELL: Final = 5

Make = Callable[[Ring, Host], Fault]


@dataclass(frozen=True, kw_only=True)
class Case:
    """`fault` of ours, `peer` of keepalived's (None: it has no such part). `outage`: below how many milliseconds.
    `lossless`: no call may fail. `closed`: the old holder must be silent by D + 100 ms. `still`: nothing may switch."""

    fault: Make
    peer: Callable[[Host], Fault] | None = None
    outage: float | None = None
    lossless: bool = False
    closed: bool = False
    still: bool = False


GATE: Final[Mapping[str, Case]] = {
    "process killed": Case(
        fault=lambda ring, side: ProcessKilled(side=side),
        peer=lambda side: ProcessKilled(side=side),
        outage=500,
    ),
    "process hung": Case(
        fault=lambda ring, side: ProcessStopped(side=side),
        peer=lambda side: ProcessStopped(side=side),
        outage=500,
    ),
    "zombie": Case(
        fault=lambda ring, side: Zombie(side=side), peer=lambda side: Zombie(side=side), outage=500
    ),
    "host dead, the gate alone": Case(
        fault=lambda ring, side: HostDead(host=side), peer=lambda side: HostDead(host=side), outage=1600
    ),
    "holder's agent stopped": Case(
        fault=lambda ring, side: RoleStopped(role=agent_role(side)),
        peer=lambda side: RoleStopped(role=f"keepalived-{side}"),
        closed=True,
    ),
    "hosts cut off from each other": Case(
        fault=lambda ring, side: HostsCut(), peer=lambda side: HostsCut(), lossless=True, still=True
    ),
    "leader and platform together": Case(
        fault=lambda ring, side: Both(first=str(ring.operator.leader()), second=str(side)), outage=3000
    ),
    "leader killed": Case(
        fault=lambda ring, side: RoleKilled(role=str(ring.operator.leader())), lossless=True, still=True
    ),
    "etcd member killed": Case(
        fault=lambda ring, side: RoleKilled(role=str(ring.store.leader())), lossless=True, still=True
    ),
    "PostgreSQL killed": Case(
        fault=lambda ring, side: RoleKilled(role=POSTGRESQL), lossless=True, still=True
    ),
}

OUTSIDE: Final[Mapping[str, Case]] = {
    "host dead, outside fence": Case(fault=lambda ring, side: HostDead(host=side), outage=600),
}


def rows(quick: bool) -> list[dict[str, Any]]:
    """The rows of `deploy/bench vip`: about six minutes when quick, else about half an hour."""
    times = 1 if quick else 5
    peers = _keepalived(times)
    found = _ring(LabSettings(postgresql=True), GATE, times, peers)
    return found + _ring(LabSettings(outside_fence=True, postgresql=True), OUTSIDE, times, {})


Peers = dict[str, dict[str, list[Run]]]


def _keepalived(times: int) -> Peers:
    """Case -> who -> runs."""
    found: Peers = {name: {} for name in GATE}
    with Lab.create(LabSettings()) as lab:
        for who, advert in ADVERTS.items():
            for name, case in GATE.items():
                if case.peer is not None:
                    peer = case.peer
                    found[name][who] = _several(
                        f"{name}, {who}",
                        times,
                        lambda: in_pair(lab, advert, peer, lasts=LASTS_KEEPALIVED),  # noqa: B023
                    )
    return found


def _ring(settings: LabSettings, cases: Mapping[str, Case], times: int, peers: Peers) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    unwell = 0
    with contextlib.ExitStack() as stack:

        def made() -> Ring:
            ring = stack.enter_context(Ring.create(settings))
            ring.arm()
            return ring

        ring = made()
        for name, case in cases.items():
            runs: list[Run] = []
            while len(runs) < times:
                try:
                    runs.append(in_ring(ring, lambda side: case.fault(ring, side), lasts=LASTS))  # noqa: B023
                except NotReady as error:
                    # What the last fault left is a finding of its own; the next one starts from a ring that is well.
                    unwell += 1
                    print(f"{name}: a new ring, for {error}", file=sys.stderr)
                    if unwell > MOST_UNWELL:
                        raise
                    stack.close()
                    ring = made()
                else:
                    print(f"{name}, {len(runs)} of {times}: {runs[-1]}", file=sys.stderr)
            found += _judge(name, case, runs, peers.get(name, {}))
        violations = [len(ring.operator.verify(node)) for node in ring.operator.sequences()]
    case = "outside fence" if settings.outside_fence else "gate alone"
    found.append(row(f"ring, {case}", "violations", "per node", violations, never_above=0))
    found.append(row(f"ring, {case}", "unwell", "rings", [unwell], never_above=0))
    return found


def _several(name: str, times: int, once: Callable[[], Run]) -> list[Run]:
    runs = []
    for number in range(times):
        runs.append(once())
        print(f"{name}, {number + 1} of {times}: {runs[-1]}", file=sys.stderr)
    return runs


def _judge(
    name: str, case: Case, ours: Sequence[Run], peers: Mapping[str, Sequence[Run]]
) -> list[dict[str, Any]]:
    def values(runs: Sequence[Run], metric: str) -> list[float]:
        return [float(getattr(run, metric)) for run in runs]

    def beside(metric: str, unit: str, **aim: float) -> list[dict[str, Any]]:
        mine = values(ours, metric)
        if not peers:
            return [row(name, metric, unit, mine, **aim)]
        return [
            row(f"{name}, beside {who}", metric, unit, mine, peer=(who, values(runs, metric)), **aim)
            for who, runs in peers.items()
        ]

    found = beside("outage", "ms", **({} if case.outage is None else {"below": case.outage}))
    found += beside("failed", "calls", **({"never_above": 0} if case.lossless else {}))
    found += beside("together", "ms with two holders", never_above=0)
    if case.closed:
        found += beside("closed", "ms after the fault", never_above=CLOSED)
    if case.still:
        found += beside("switches", "switches", never_above=0)
    for phase in ours[0].phases:
        times = [run.phases[phase] for run in ours if phase in run.phases]
        found.append(row(name, phase, "ms after the fault", times))
    return found
