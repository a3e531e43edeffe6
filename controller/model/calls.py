"""What the edges counted of live calls, and what of it an incident cost."""

from __future__ import annotations

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


class CallTally(NamedTuple):
    """The sum of an incident's samples, not durable. `partial`: begun after the incident (a restart).

    `baseline`: calls per second before the onset; None when too little was seen of it.
    """

    group: str
    total: int = 0
    failed: int = 0
    answered_aside: int = 0
    polls: int = 0
    partial: bool = False
    baseline: float | None = None
