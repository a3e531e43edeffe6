"""The arithmetic of a group: its worst-case outage against its RTO, and the false verdicts its probing would give.

    outage = interval x fall + probe deadline + decide + fence + redirect + edge transaction timer

The first two terms come from the ladder actually used: the slowest failover-relevant rung decides, because every kind
of evidence must have arrived. The edge's timer is declared. Fence and redirect count what each of the driver's verbs may
take, its timeout, unless less is declared for them: an assumption, told as such, that drills hold against what they
measure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from controller.model.health import RungKey
from controller.model.moments import Values
from controller.model.policy import Component, GroupPolicy, Policy, RungPolicy, TimeBudget

MONTH = 30 * 86400.0
"""Seconds."""


class Basis(StrEnum):
    """Why a term counts as much as it does."""

    DECLARED = "declared"  # by a person, who measured it: an assumption
    TIMEOUT = "timeout"  # each verb may take the whole of its timeout
    HOLD = "hold"  # nothing but the side's hold running out confirms the fence


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """`seconds` in all; with TIMEOUT those of `verbs` verbs together."""

    seconds: float
    basis: Basis = Basis.DECLARED
    verbs: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowances:
    """What a switch may take after it is detected, seconds. `freeze`: all of its timeout, for a hung side never answers it.
    `edge_timer`: how long an edge waits for a silent side before it tries the next, which is what callers already on
    their way to the dead side wait."""

    decide: float
    freeze: float
    fence: Allowance
    redirect: Allowance
    edge_timer: float


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkedTerm:
    """One term of the sum with the numbers it was made of, so that it can be shown and checked by hand."""

    name: str
    seconds: float
    values: Values = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstCase:
    """`detected_by` is the rung that decides; a stall shorter than `rides_out` seconds can't bring it DOWN."""

    budget: TimeBudget
    terms: tuple[WorkedTerm, ...]
    detected_by: RungKey
    rides_out: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FalseDowns:
    """Expected false DOWN verdicts of one rung, a month and a vantage, at independent packet loss."""

    key: RungKey
    probes: float  # a month
    failure: float  # chance that one healthy probe fails
    expected: float


def detection(rung: RungPolicy) -> float:
    """Seconds from a break to the DOWN verdict, at worst: the break comes just after a probe was answered.

    The verdict needs `fall` failures in a row. At the schedule's pace the last of them is sent `interval x fall` after
    the break. With enough confirming probes they need not wait for the schedule: after the first failure the others
    are sent `confirm_interval` apart.
    """
    fall = rung.hysteresis.fall
    if rung.confirm < fall - 1 or fall == 1:
        return scheduled(rung)
    confirmed = rung.interval + rung.timeout + rung.confirm_interval * (fall - 1) + rung.timeout
    return min(scheduled(rung), confirmed)


def scheduled(rung: RungPolicy) -> float:
    """`detection` without confirming probes: interval x fall + timeout."""
    return rung.interval * rung.hysteresis.fall + rung.timeout


def rides_out(rung: RungPolicy) -> float:
    """The shortest complete stall, seconds, that can bring the rung DOWN: it begins as a probe is sent.

    A stall that ends before the last needed probe's deadline lets that probe be answered.
    """
    fall = rung.hysteresis.fall
    paced = rung.interval * (fall - 1) + rung.timeout
    if rung.confirm < fall - 1 or fall == 1:
        return paced
    return min(paced, rung.timeout + rung.confirm_interval * (fall - 1) + rung.timeout)


def probe_failure(loss: float, copies: int) -> float:
    """The chance that a healthy target's probe fails, when each packet is lost with chance `loss` each way and
    independently: every copy must lose its request or its reply."""
    round_trip = 1.0 - (1.0 - loss) ** 2
    return float(round_trip ** max(copies, 1))


def false_downs(rung: RungPolicy, loss: float, seconds: float = MONTH) -> float:
    """Expected runs of at least `fall` failures in a row in `seconds` of probing a healthy target.

    N probes failing independently with chance p hold N (1 - p) p^fall maximal runs of that length. Confirming probes
    come after a first failure and lengthen no run, so they do not change it. At 2 % loss each way and 10 probes a
    second, fall 3 gives 1.1 in 30 minutes; two copies with fall 2 give 0.04.
    """
    failure = probe_failure(loss, rung.copies)
    return float(seconds / rung.interval * (1.0 - failure) * failure**rung.hysteresis.fall)


def relevant(component: Component) -> tuple[tuple[RungKey, RungPolicy], ...]:
    """The component's scheduled rungs that a failover waits for."""
    return tuple(
        (RungKey(component.name, rung.name), rung)
        for rung in component.ladder
        if rung.failover_relevant and not rung.on_demand
    )


def deciding(group: GroupPolicy, policy: Policy) -> tuple[tuple[RungKey, RungPolicy], ...]:
    """Those of the group's sides."""
    components = (policy.components.get(side.component) for side in group.sides)
    return tuple(rung for component in components if component is not None for rung in relevant(component))


def worst_case(
    sides: Iterable[tuple[RungKey, RungPolicy]],
    edges: Iterable[tuple[RungKey, RungPolicy]],
    allowances: Allowances,
) -> WorstCase:
    """The failover-relevant rungs of the sides must say DOWN; those of the edges bring live counters: the first call
    after the break is given up by the edge after `edge_timer`, and the next reading tells.

    Raises ValueError when no side has one: then no failure would be seen at all.
    """
    sides, edges = tuple(sides), tuple(edges)
    if not sides:
        raise ValueError("no scheduled failover-relevant rung")
    slowest = max(sides, key=lambda item: detection(item[1]))
    detect = detection(slowest[1])
    by = "schedule" if detect == scheduled(slowest[1]) else "confirmation"
    for item in edges:
        reading = allowances.edge_timer + item[1].interval + item[1].timeout
        if reading > detect + 1e-9:
            slowest, detect, by = item, reading, "reading"
    key, rung = slowest
    budget = TimeBudget(
        detect=detect,
        decide=allowances.decide,
        fence=allowances.freeze + allowances.fence.seconds,
        redirect=allowances.redirect.seconds,
        edge_timer=allowances.edge_timer,
    )
    return WorstCase(
        budget=budget,
        terms=(
            WorkedTerm(
                name="detect",
                seconds=budget.detect,
                values=(
                    ("by", by),
                    ("rung", f"{key.component}.{key.rung}"),
                    ("interval", rung.interval),
                    ("fall", rung.hysteresis.fall),
                    ("timeout", rung.timeout),
                    ("edge_timer", allowances.edge_timer),
                    ("confirm", rung.confirm),
                    ("confirm_interval", rung.confirm_interval),
                ),
            ),
            WorkedTerm(name="decide", seconds=budget.decide),
            WorkedTerm(
                name="fence",
                seconds=budget.fence,
                values=(
                    *_worked(allowances.fence),
                    ("freeze", allowances.freeze),
                    ("fence", allowances.fence.seconds),
                ),
            ),
            WorkedTerm(name="redirect", seconds=budget.redirect, values=_worked(allowances.redirect)),
            WorkedTerm(name="edge_timer", seconds=budget.edge_timer),
        ),
        detected_by=key,
        rides_out=min(rides_out(item) for _, item in sides),
    )


def _worked(allowance: Allowance) -> Values:
    return (
        ("by", str(allowance.basis)),
        ("verbs", allowance.verbs),
        ("each", allowance.seconds / allowance.verbs),
    )


def false_verdicts(
    rungs: Iterable[tuple[RungKey, RungPolicy]], loss: float, seconds: float = MONTH
) -> tuple[FalseDowns, ...]:
    """Rung by rung, the most expected first. One vantage; k vantages and a second kind of evidence divide it further."""
    rows = [
        FalseDowns(
            key=key,
            probes=seconds / rung.interval,
            failure=probe_failure(loss, rung.copies),
            expected=false_downs(rung, loss, seconds),
        )
        for key, rung in rungs
    ]
    return tuple(sorted(rows, key=lambda row: (-row.expected, row.key)))


def fits(group: GroupPolicy) -> bool:
    """Whether the group may be armed: its worst case is known and not over its RTO."""
    return group.budget is not None and group.budget.total <= group.rto
