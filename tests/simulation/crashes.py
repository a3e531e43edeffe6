"""Crash at every await: a switch once to count its steps, then again for each of them, the leader dead before it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.simulation.plan import Happening, Kind, Plan
from tests.simulation.policies import policy
from tests.simulation.runs import unlogged
from tests.simulation.world import World

BACK_AFTER = 0.4
"""Seconds until a crashed controller is started again."""


@dataclass
class Crashes:
    steps: int = 0
    failed: dict[int, list[str]] = field(default_factory=dict)


def simple(nodes: int, trouble: str = "side hung") -> Plan:
    """One side breaks for good, and nothing else goes wrong."""
    broken = Happening(at=4.0, name=trouble, lasts=5.0)
    return Plan(kind=Kind.BROKEN, nodes=nodes, troubles=(broken,), acts=(), heals=9.0, ends=18.0, rate=4.0)


@unlogged()
def everywhere(seed: int, *, nodes: int, trouble: str = "side hung", stride: int = 1) -> Crashes:
    """`stride`: only each so many-th step."""
    chosen = simple(nodes, trouble)
    counted = World(seed, chosen, policy(nodes))
    report = counted.run()
    if report.violations or counted.marks is None:
        raise AssertionError(f"seed {seed} has no switch to crash in: {report.violations}")
    name, first, last = counted.marks
    found = Crashes()
    for step in range(first, last + 1, stride):
        again = World(seed, chosen, policy(nodes))
        again.crash_before(name, step, BACK_AFTER)
        report = again.run()
        found.steps += 1
        if report.violations:
            found.failed[step] = [str(violation) for violation in report.violations]
    return found
