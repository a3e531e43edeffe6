"""The arithmetic of outages and false verdicts, against figures worked by hand and measured."""

from __future__ import annotations

import random

import pytest

from controller.core.objectives import (
    Allowance,
    Allowances,
    detection,
    false_downs,
    false_verdicts,
    fits,
    probe_failure,
    rides_out,
    worst_case,
)
from controller.model.health import Hysteresis, RungKey
from controller.model.policy import GroupPolicy, RungPolicy, TimeBudget
from controller.model.runbooks import Text


def rung(*, interval=0.1, timeout=0.12, fall=2, copies=1, confirm=0, confirm_interval=0.03) -> RungPolicy:
    return RungPolicy(
        name="sip",
        probe="sip_options",
        parameters=None,
        interval=interval,
        timeout=timeout,
        hysteresis=Hysteresis(fall=fall),
        failover_relevant=True,
        copies=copies,
        confirm=confirm,
        confirm_interval=confirm_interval,
    )


@pytest.mark.parametrize(
    ("shape", "seconds"),
    [
        ({"fall": 3}, 0.1 * 3 + 0.12),
        ({"fall": 1, "confirm": 5}, 0.1 + 0.12),
        # a slow schedule: the confirming probes bring the verdict forward
        (
            {"interval": 2.0, "timeout": 0.5, "fall": 3, "confirm": 2, "confirm_interval": 0.1},
            2.0 + 0.5 + 0.2 + 0.5,
        ),
        # too few of them: the schedule decides
        ({"interval": 2.0, "timeout": 0.5, "fall": 3, "confirm": 1}, 6.5),
        # a fast schedule is never made slower by confirming
        ({"fall": 2, "confirm": 1, "confirm_interval": 1.0}, 0.32),
    ],
)
def test_detection(shape, seconds) -> None:
    assert detection(rung(**shape)) == pytest.approx(seconds)


def first_down(subject: RungPolicy, broken_from: float, broken_until: float) -> float | None:
    """When a prober at the schedule's pace says DOWN, if every probe whose deadline lies in the break fails."""
    failures, sent = 0, 0.0
    while sent < broken_until + 10:
        deadline = sent + subject.timeout
        if broken_from <= sent and deadline <= broken_until:
            failures += 1
            if failures == subject.hysteresis.fall:
                return deadline
        else:
            failures = 0
        sent += subject.interval
    return None


def test_detection_bounds_a_simulated_prober() -> None:
    subject = rung(interval=0.25, timeout=0.35, fall=6)
    worst = max(first_down(subject, start, 1e3) - start for start in (n * 0.0131 for n in range(400)))
    assert worst <= detection(subject) + 1e-9
    assert worst >= detection(subject) - 0.02


def test_a_shorter_stall_never_brings_it_down() -> None:
    subject = rung(interval=0.25, timeout=0.35, fall=6)
    starts = [n * 0.0131 for n in range(400)] + [0.25]
    assert all(first_down(subject, start, start + rides_out(subject) - 1e-6) is None for start in starts)
    assert first_down(subject, 0.25, 0.25 + rides_out(subject) + 1e-6) is not None


def test_false_downs_agree_with_the_reference() -> None:
    """2 % loss each way, 10 probes a second, 30 minutes, one vantage."""
    assert false_downs(rung(fall=3), 0.02, 1800) == pytest.approx(1.1, abs=0.05)
    assert false_downs(rung(fall=2, copies=2), 0.02, 1800) == pytest.approx(0.04, abs=0.005)


def test_false_downs_agree_with_a_simulation() -> None:
    chance = random.Random(7)
    subject, loss, probes = rung(fall=2), 0.1, 200_000
    failure = probe_failure(loss, 1)
    downs = failures = 0
    for _ in range(probes):
        failures = failures + 1 if chance.random() < failure else 0
        downs += failures == 2
    assert downs == pytest.approx(false_downs(subject, loss, probes * subject.interval), rel=0.05)


def test_no_loss_no_false_downs() -> None:
    assert false_downs(rung(), 0.0) == 0.0
    assert probe_failure(1.0, 2) == 1.0


def test_the_slowest_rung_decides_and_the_sum_can_be_redone_by_hand() -> None:
    fast, slow = rung(), rung(interval=0.5, timeout=0.3, fall=3)
    worst = worst_case(
        [(RungKey("a", "sip"), fast), (RungKey("b", "sip"), slow)],
        [(RungKey("edge", "edge"), rung(interval=1.0, timeout=0.5))],
        Allowances(
            decide=0.02,
            freeze=0.01,
            fence=Allowance(seconds=0.02),
            redirect=Allowance(seconds=0.05),
            edge_timer=0.2,
        ),
    )
    assert worst.detected_by == RungKey("b", "sip")
    assert worst.budget.total == pytest.approx(1.8 + 0.02 + 0.03 + 0.05 + 0.2)
    assert sum(term.seconds for term in worst.terms) == pytest.approx(worst.budget.total)
    seen = dict(worst.terms[0].values)
    assert seen["interval"] * seen["fall"] + seen["timeout"] == pytest.approx(worst.terms[0].seconds)
    assert worst.rides_out == pytest.approx(0.22)


def test_an_edge_read_too_seldom_decides() -> None:
    worst = worst_case(
        [(RungKey("a", "sip"), rung())],
        [(RungKey("edge", "edge"), rung(interval=1.0, timeout=0.5))],
        Allowances(
            decide=0.0,
            freeze=0.0,
            fence=Allowance(seconds=0.0),
            redirect=Allowance(seconds=0.0),
            edge_timer=0.0,
        ),
    )
    assert worst.detected_by == RungKey("edge", "edge")
    assert dict(worst.terms[0].values)["by"] == "reading"
    assert worst.budget.total == pytest.approx(1.5)


def test_an_edge_knows_of_a_failed_call_only_after_its_own_timer() -> None:
    worst = worst_case(
        [(RungKey("a", "sip"), rung())],
        [(RungKey("edge", "edge"), rung(interval=0.25, timeout=0.35))],
        Allowances(
            decide=0.0,
            freeze=0.0,
            fence=Allowance(seconds=0.0),
            redirect=Allowance(seconds=0.0),
            edge_timer=2.0,
        ),
    )
    assert worst.detected_by == RungKey("edge", "edge")
    assert worst.budget.detect == pytest.approx(2.0 + 0.25 + 0.35)
    seen = dict(worst.terms[0].values)
    assert seen["edge_timer"] + seen["interval"] + seen["timeout"] == pytest.approx(worst.budget.detect)


def test_nothing_to_see_a_failure_with_is_an_error() -> None:
    with pytest.raises(ValueError, match="no scheduled failover-relevant rung"):
        worst_case(
            [],
            [],
            Allowances(
                decide=0, freeze=0, fence=Allowance(seconds=0), redirect=Allowance(seconds=0), edge_timer=0
            ),
        )


def test_most_expected_false_verdict_first() -> None:
    rows = false_verdicts(
        [(RungKey("a", "sip"), rung(fall=3)), (RungKey("b", "sip"), rung(fall=2))], 0.01, seconds=3600
    )
    assert [row.key.component for row in rows] == ["b", "a"]
    assert rows[0].probes == pytest.approx(36_000)


@pytest.mark.parametrize(("total", "expected"), [(0.5, True), (0.51, False), (None, False)])
def test_fits(total, expected) -> None:
    budget = None
    if total is not None:
        budget = TimeBudget(detect=total, decide=0.0, fence=0.0, redirect=0.0, edge_timer=0.0)
    group = GroupPolicy(
        name="calls",
        title=Text(zh="", en=""),
        sides=(),
        preferred="primary",
        driver="",
        driver_parameters=None,
        rto=0.5,
        budget=budget,
    )
    assert fits(group) is expected
