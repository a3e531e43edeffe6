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
