"""The phase bar as inline SVG: one row a phase over a common time scale, the RTO as a line."""

from __future__ import annotations

import math
from typing import NamedTuple

from markupsafe import Markup

from controller.reports.document import PhaseBar

ROW = 30


class Frame(NamedTuple):
    """User units; the drawing scales with its container."""

    name: str
    width: int
    left: int
    right: int


PAPER = Frame("paper", 720, 96, 96)
PHONE = Frame("phone", 370, 84, 84)

STEPS = (1, 2, 5)


def phase_bar(chart: PhaseBar, phone: bool = False) -> Markup:
    """Every text goes through markupsafe: names and labels may hold anything."""
    frame = PHONE if phone else PAPER
    bottom = ROW * len(chart.bars) + 14
    parts = [
        Markup('<svg class="phases {}" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            frame.name, frame.width, bottom + 40, chart.title
        )
    ]
    for tick in ticks(chart.seconds, 5 if phone else 9):
        x = _x(tick, chart, frame)
        parts.append(Markup('<line class="grid" x1="{0}" y1="8" x2="{0}" y2="{1}"/>').format(x, bottom))
        parts.append(
            Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                x, bottom + 16, f"{tick:g}"
            )
        )
    for number, bar in enumerate(chart.bars):
        y = 14 + number * ROW
        begins, ends = _x(bar.begins, chart, frame), _x(bar.ends, chart, frame)
        width = max(2.0, round(ends - begins, 1))
        parts.append(
            Markup('<text class="name" x="{}" y="{}" text-anchor="end">{}</text>').format(
                frame.left - 10, y + 15, bar.name
            )
        )
        parts.append(
            Markup('<rect class="bar b{}" x="{}" y="{}" width="{}" height="20" rx="2"/>').format(
                number, begins, y, width
            )
        )
        parts.append(
            Markup('<text class="took" x="{}" y="{}">{}</text>').format(
                round(begins + width + 6, 1), y + 15, bar.label
            )
        )
    if chart.limit is not None and chart.limit <= chart.seconds:
        x = _x(chart.limit, chart, frame)
        parts.append(Markup('<line class="limit" x1="{0}" y1="4" x2="{0}" y2="{1}"/>').format(x, bottom))
        parts.append(
            Markup('<text class="limit-label" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                x, bottom + 32, chart.limit_label
            )
        )
    parts.append(
        Markup('<text class="scale" x="{}" y="{}">{}</text></svg>').format(
            frame.left, bottom + 34, chart.title
        )
    )
    return Markup("").join(parts)


def ticks(seconds: float, most: int = 9) -> list[float]:
    """At most `most` + 1 round values from 0, none above `seconds`."""
    if not math.isfinite(seconds) or seconds <= 0:
        return [0.0]
    decade = 10.0 ** math.floor(math.log10(seconds / most))
    step = next(
        (decade * factor for factor in (*STEPS, 10) if seconds / (decade * factor) <= most), decade * 10
    )
    return [round(step * number, 9) for number in range(int(seconds / step) + 1)]


def _x(seconds: float, chart: PhaseBar, frame: Frame) -> float:
    share = min(1.0, max(0.0, seconds / chart.seconds))
    return round(frame.left + share * (frame.width - frame.left - frame.right), 1)
