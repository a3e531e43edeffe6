"""What the edges counted of live calls, and what of it an incident cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class CallSample(NamedTuple):
    """One poll of one edge, over all sides of one group. `at`: monotonic seconds.

    `total` INVITEs ended or were given up in it; `failed` of them met a 408, a 5xx or silence; `answered_aside` were
    served by a side that is not the active one: what the edge carried over by itself.
    """

    at: float
    total: int
    failed: int
    answered_aside: int


SHORTEST_RATE = 5.0
"""Seconds of samples without which there is no rate to speak of."""


def call_rate(samples: Sequence[CallSample]) -> float | None:
    """Calls per second over these samples, in their order; None when they say too little."""
    if len(samples) < 2 or samples[-1].at - samples[0].at < SHORTEST_RATE:
        return None
    # The first sample's calls belong to the window before it.
    return sum(item.total for item in samples[1:]) / (samples[-1].at - samples[0].at)


class CallCount(NamedTuple):
    """The sum of an incident's samples, durable with it from its mitigation on. `partial`: some were missed (a restart).

    `baseline`: calls per second before the onset; None when too little was seen of it. `settled`: what timed out after
    the mitigation is in.
    """

    total: int = 0
    failed: int = 0
    answered_aside: int = 0
    polls: int = 0
    partial: bool = False
    baseline: float | None = None
    settled: bool = False


class CallTally(NamedTuple):
    """An incident's count as it goes on, not durable. `due`: when what timed out after the mitigation is in, monotonic;
    None before it, and once that was recorded."""

    group: str
    so_far: CallCount = CallCount()
    due: float | None = None
