"""Defects that the simulation found: the seed that showed each one, as a plan that stays what it was, and what mended it.

| seed | what was wrong | mended in | guarded by |
|---|---|---|---|
| 19 | going back from a planned move while an edge is out of reach left one edge with each side | driver of the Kamailio edges: none is changed unless all answer | this plan |
| 250 | after a stop half-way, a person's settlement let the fenced side in while an edge still sent calls to the other | settlement: the edges first, then the fence | this plan; tests/unit/core/test_failover.py |
| 250 | the last resort of a person's stopped switch ran under no incident although one stood | endings: it belongs to the incident that stands | this plan |
| 26 | `verify` found fault with every record that begins with a takeover | the checkers take over what a new leader read | every seed with several nodes |
| 1291 | the checker took a call that a drained side answered late for a second active side | the checker of I1 | every seed |
| 9027 | the same of a side that had been drained, and that was broken and back before it answered | the checker of I1 | tests/unit/core/test_actuator_invariants.py |
| 809 | on the way back both sides took calls for 23 ms, while the edges went over one after the other | driver of the Kamailio edges: all of them leave the one side before any goes to the other | this plan; I1, which allows a way back no overlap |
| 117 | `verify` found fault with a takeover during a drill: the entry holds the drill and is not marked as one | the checker of I10 | this plan; tests/unit/core/test_invariants.py |
| 103 | an experiment that outlives its node's following and leading again was called unintended | the checker of I2 | this plan |
"""

from __future__ import annotations

from typing import NamedTuple

from tests.simulation.plan import Happening, Kind, Plan


class Bug(NamedTuple):
    seed: int
    plan: Plan


def _plan(
    nodes: int,
    kind: Kind,
    heals: float,
    troubles: tuple[tuple[float, str, float], ...],
    acts: tuple[tuple[float, str], ...] = (),
) -> Plan:
    return Plan(
        kind=kind,
        nodes=nodes,
        troubles=tuple(Happening(at=at, name=name, lasts=lasts) for at, name, lasts in troubles),
        acts=tuple(Happening(at=at, name=name, lasts=0.0) for at, name in acts),
        heals=heals,
        ends=heals + 9.0,
        rate=4.0,
    )


BUGS: dict[str, Bug] = {
    "callers split between edges on the way back": Bug(
        19,
        _plan(
            1,
            Kind.PLANNED,
            10.6,
            ((4.321, "side killed", 2.5), (5.494, "leader cut from an edge", 5.1)),
            ((4.179, "switchover"),),
        ),
    ),
    "a fenced side let in beside the other": Bug(
        250,
        _plan(
            1,
            Kind.STORM,
            11.926,
            (
                (4.441, "disk full", 0.6),
                (5.914, "leader cut from an edge", 5.0),
                (7.25, "leader cut from the busy side", 2.5),
                (9.426, "leader cut from the switch", 2.5),
            ),
            ((4.5, "force"),),
        ),
    ),
    "both sides for a moment on the way back": Bug(
        809,
        _plan(
            1,
            Kind.BROKEN,
            11.291,
            (
                (3.84, "side killed", 2.0),
                (5.11, "both sides broken", 0.3),
                (6.291, "leader cut from an edge", 5.0),
            ),
        ),
    ),
    "a takeover during a drill": Bug(
        117,
        _plan(
            3,
            Kind.DRILL,
            10.661,
            ((4.08, "leader crashes", 5.0), (5.661, "both sides broken", 5.0)),
            ((3.785, "drill"),),
        ),
    ),
    "an experiment across a takeover": Bug(
        103,
        _plan(
            3,
            Kind.BROKEN,
            10.5,
            (
                (3.653, "side a zombie", 30.0),
                (5.494, "test target down", 5.0),
                (6.007, "etcd full", 2.5),
            ),
        ),
    ),
}
