from __future__ import annotations

import pytest

from controller.engine.watch import Watch, resend_offsets
from controller.model.health import HealthState, Hysteresis, Outcome, ProbeResult, RungKey
from controller.model.policy import RungPolicy

KEY = RungKey("primary", "sip")


def watch() -> Watch:
    return Watch(
        key=KEY, interval=1.0, timeout=0.5, hysteresis=Hysteresis(fall=2, rise=1), confirm=0, confirm_interval=0.1,
        resends=(), on_demand=False, reports_values=False, kind="x", mass=None, prepared=None, probe=None,
    )  # fmt: skip


def result(sent: float, up: bool | None, outcome: Outcome | None = None, code: int = 0) -> ProbeResult:
    found = outcome or (Outcome.UP if up else Outcome.NO_REPLY)
    return ProbeResult(KEY, sent, sent + 0.5, found, up, 0.5, code)


def test_a_missing_answer_older_than_a_later_answer_is_a_lost_packet() -> None:
    one = watch()
    one.take(result(2.0, True))
    assert one.take(result(1.9, False)) is None
    assert one.health.state is HealthState.UP and one.first_bad == 0.0
    assert one.take(result(2.1, False)) is not None
    assert one.health.state is HealthState.SUSPECT


def test_only_what_the_engine_has_to_know_is_a_change() -> None:
    one = watch()
    assert one.take(result(1.0, True, code=200)) is not None
    assert one.take(result(2.0, True, code=202)) is None
    assert one.take(result(3.0, None, Outcome.VOID)) is None
    assert one.take(result(4.0, False)) is not None
    assert one.first_failure()
    assert one.take(result(5.0, False)) is not None
    assert not one.first_failure()
    assert one.take(result(6.0, False)) is None
    assert one.take(result(7.0, False, Outcome.REFUSING, 503)) is not None
    assert one.take(result(8.0, False, Outcome.REFUSING, 480)) is not None
    assert (one.last_good, one.first_bad) == (2.5, 4.0)


def voided(one: Watch, *sent: float) -> list[HealthState]:
    """The states that void results led to, one a change."""
    return [one.health.state for at in sent if one.take(result(at, None, Outcome.VOID)) is not None]


@pytest.mark.parametrize("word", [HealthState.UP, HealthState.DOWN])
def test_what_was_known_does_not_outlive_ten_intervals_of_void_results(word: HealthState) -> None:
    one = watch()
    for at in (1.0, 2.0):
        one.take(result(at, word is HealthState.UP))
    assert voided(one, *map(float, range(3, 13))) == [], "10 s after the last result that said anything"
    assert one.health.state is word
    assert voided(one, 13.0, 14.0, 1000.0) == [HealthState.UNKNOWN], "said once, and never down"
    assert one.health.outcome is Outcome.VOID
    assert one.take(result(1001.0, word is HealthState.UP)) is not None
    assert one.health.state is word, "the first result that says anything is folded into what was known"
    assert voided(one, 1002.0) == []


def test_a_rung_of_short_intervals_lasts_through_a_stall() -> None:
    one = watch()
    one.interval = 0.1
    one.take(result(1.0, True))
    assert voided(one, 2.5, 5.9) == [] and voided(one, 6.1) == [HealthState.UNKNOWN]


def test_a_good_result_after_void_ones_needs_what_a_recovery_needs() -> None:
    one = watch()
    one.hysteresis = Hysteresis(fall=1, rise=2)
    one.take(result(1.0, False))
    assert voided(one, 20.0) == [HealthState.UNKNOWN]
    one.take(result(21.0, True))
    assert one.health.state is HealthState.RECOVERING


def test_what_is_probed_on_demand_is_not_forgotten() -> None:
    one = watch()
    one.on_demand = True
    one.take(result(1.0, True))
    assert voided(one, 100.0, 200.0) == []


@pytest.mark.parametrize(
    ("timeout", "copies", "help_", "expected"),
    [
        (0.3, 1, True, ()),
        (0.3, 2, True, (0.04,)),
        (0.3, 3, True, (0.04, 0.08)),
        (2.0, 2, True, (0.04, 0.5, 1.5)),
        (2.0, 2, False, ()),
        (0.03, 2, True, ()),
    ],
)
def test_copies(timeout: float, copies: int, help_: bool, expected: tuple[float, ...]) -> None:
    rung = RungPolicy(name="sip", probe="x", parameters=None, timeout=timeout, copies=copies)
    assert resend_offsets(rung, help_) == pytest.approx(expected)
