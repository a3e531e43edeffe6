"""Rows of a bench's result."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def figures(values: Sequence[float]) -> dict[str, float | int]:
    """min, median, max and n of one or more measurements."""
    return {
        "min": min(values),
        "median": statistics.median(values),
        "max": max(values),
        "n": len(values),
    }


def row(
    case: str,
    metric: str,
    unit: str,
    values: Sequence[float],
    *,
    below: float | None = None,
    at_most: float | None = None,
    never_above: float | None = None,
    always: float | None = None,
    peer: tuple[str, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """`below` and `at_most` are aims on our median, `never_above` on our maximum, `always` on every value; `peer` is (name, its values) from the same run."""
    ours = figures(values)
    aim, met = None, None
    if below is not None:
        aim, met = f"< {below:g}", ours["median"] < below
    elif at_most is not None:
        aim, met = f"<= {at_most:g}", ours["median"] <= at_most
    elif never_above is not None:
        aim, met = f"max <= {never_above:g}", ours["max"] <= never_above
    elif always is not None:
        aim, met = f"= {always:g}", ours["min"] == ours["max"] == always
    return {
        "case": case,
        "metric": metric,
        "unit": unit,
        "ours": ours,
        "peer": None if peer is None else {"name": peer[0], **figures(peer[1])},
        "aim": aim,
        "met": met,
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]
