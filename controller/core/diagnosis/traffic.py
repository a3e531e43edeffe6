"""Live calls as the edges count them: a ring of read windows by edge and side, and what they add up to."""

from __future__ import annotations

from typing import NamedTuple

from immutables import Map

from controller.model.diagnosis import TrafficWindow
from controller.model.moments import Value, Values
from controller.model.policy import GroupPolicy

MOST_WINDOWS = 64
STALE_WINDOWS = 3
"""An edge not read for so many windows counts as not reached."""

SHORTEST_FRESHNESS = 0.5
"""Seconds."""

Traffic = Map[tuple[str, str], tuple[TrafficWindow, ...]]


def extended(
    traffic: Traffic, edge: str, groups: tuple[GroupPolicy, ...], began: float, ended: float, values: Values
) -> Traffic:
    """With what one read of an edge counted for each side since its previous read."""
    seen = dict(values)
    for group in groups:
        for side in group.sides:
            invites = _count(seen.get(f"{side.name}.invites"))
            if invites is None:
                continue
            window = TrafficWindow(
                began,
                ended,
                invites,
                _count(seen.get(f"{side.name}.failures")) or 0,
                _count(seen.get(f"{side.name}.timeouts")) or 0,
            )
            key = (edge, side.name)
            traffic = traffic.set(key, (*traffic.get(key, ())[1 - MOST_WINDOWS :], window))
    return traffic


def _count(value: Value) -> int | None:
    return None if value is None or isinstance(value, str) else int(value)


class Summary(NamedTuple):
    """Sums over the edges that were read lately. `onset`: when the oldest window of the present failing began, or the
    first one without the answers that were to be expected; 0.0 when nothing fails."""

    total: int
    reached: int
    invites: int
    failures: int
    timeouts: int
    failed_in_a_row: int
    timeouts_in_a_row: int
    missed_answers: float
    answered_meanwhile: int
    failed_meanwhile: int
    quiet: float
    peer_answered: int
    onset: float


def summary(
    traffic: Traffic, edges: tuple[str, ...], side: str, peer: str, now: float, first_bad: float
) -> Summary:
    """`first_bad`: when the side's first failed probe was sent; 0.0 when none failed."""
    reached = invites = failures = timeouts = failed = timed_out = meanwhile = failed_meanwhile = (
        peer_answered
    ) = 0
    missed, quiet, onset = 0.0, float("inf"), 0.0
    for edge in edges:
        windows = traffic.get((edge, side))
        if not windows or _stale(windows[-1], now):
            continue
        last = windows[-1]
        reached += 1
        invites += last.invites
        failures += last.failures
        timeouts += last.timeouts
        run = _run(windows)
        failed += run.failed
        timed_out += run.timeouts
        missed += run.missed
        since = run.began if run.failed or run.missed >= 1.0 else 0.0
        if since and (not onset or since < onset):
            onset = since
        if first_bad:
            meanwhile += sum(window.answered for window in windows if window.began >= first_bad)
            failed_meanwhile += sum(
                window.failures + window.timeouts for window in windows if window.began >= first_bad
            )
        quiet = min(quiet, _quiet(windows, now))
        for window in reversed(traffic.get((edge, peer), ())):
            if window.began < (since or last.began):
                break
            peer_answered += window.answered
    return Summary(
        total=len(edges),
        reached=reached,
        invites=invites,
        failures=failures,
        timeouts=timeouts,
        failed_in_a_row=failed,
        timeouts_in_a_row=timed_out,
        missed_answers=missed,
        answered_meanwhile=meanwhile,
        failed_meanwhile=failed_meanwhile,
        quiet=quiet,
        peer_answered=peer_answered,
        onset=onset,
    )


def _stale(last: TrafficWindow, now: float) -> bool:
    return now - last.ended > max(STALE_WINDOWS * (last.ended - last.began), SHORTEST_FRESHNESS)


def _quiet(windows: tuple[TrafficWindow, ...], now: float) -> float:
    """Seconds since an INVITE was last seen; since the oldest window when none was."""
    for window in reversed(windows):
        if window.invites:
            return now - window.ended
    return now - windows[0].began


class _Run(NamedTuple):
    """Since the last window with an answer. `missed`: answers to expect at the rate before, up to the last read."""

    began: float
    failed: int
    timeouts: int
    missed: float


def _run(windows: tuple[TrafficWindow, ...]) -> _Run:
    failed = timeouts = 0
    index = len(windows)
    while index and windows[index - 1].answered == 0:
        index -= 1
        failed += windows[index].failures + windows[index].timeouts
        timeouts += windows[index].timeouts
    if index == len(windows):
        return _Run(0.0, 0, 0, 0.0)
    began = windows[index].began
    if not index:
        return _Run(began, failed, timeouts, 0.0)
    before = windows[:index]
    span = before[-1].ended - before[0].began
    rate = sum(window.answered for window in before) / span if span > 0 else 0.0
    return _Run(began, failed, timeouts, rate * (windows[-1].ended - began))
