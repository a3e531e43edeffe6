"""The two shipped profiles: how hard failover-relevant rungs are probed, and how long the rest of a switch may take.

`standard` fits an RTO of 3 s and rides out complete stalls of up to 1.35 s. It does not confirm: its schedule is already
four probes a second, and a burst after the first failure would bring the verdict inside such a stall.

`fast` fits an RTO of 0.5 s. Two failures of 100 ms make DOWN, one of them a confirming probe; each probe is sent twice,
40 ms apart, so that packet loss alone hardly ever does (at 1 % loss each way about 4 times a month a vantage, before
the second kind of evidence that a switch needs). It takes a stall of 0.2 s for a death: declare it where that is true.

The edge timer is the edge's own fr_timer: set it on the edges to what is declared here. How long a fence and a redirect
take is not the profile's to say: see a group's `allowances`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.model.policy import Profile


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """Of a failover-relevant rung. Seconds; counts as in RungPolicy."""

    interval: float
    timeout: float
    fall: int
    rise: int
    copies: int
    confirm: int
    confirm_interval: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Seconds. `decide`: what the controller itself takes; the rest are limits."""

    pace: Pace
    decide: float
    freeze_timeout: float
    edge_timer: float
    rto: float
    step_timeout: float


PROFILES: Mapping[Profile, Shape] = {
    Profile.STANDARD: Shape(
        pace=Pace(interval=0.25, timeout=0.24, fall=5, rise=4, copies=1, confirm=0, confirm_interval=0.1),
        decide=0.02,
        freeze_timeout=0.2,
        edge_timer=1.0,
        rto=3.0,
        step_timeout=1.0,
    ),
    Profile.FAST: Shape(
        pace=Pace(interval=0.1, timeout=0.1, fall=2, rise=5, copies=2, confirm=1, confirm_interval=0.03),
        decide=0.02,
        freeze_timeout=0.02,
        edge_timer=0.1,
        rto=0.5,
        step_timeout=0.5,
    ),
}

QUIET = Pace(interval=1.0, timeout=0.5, fall=3, rise=2, copies=1, confirm=0, confirm_interval=0.1)
"""Of a rung no failover waits for."""
