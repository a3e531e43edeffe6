from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.engine.lag import LagMeter


def test_the_worst_lag_of_a_span() -> None:
    meter = LagMeter()
    for at, lag in [(1.0, 0.3), (2.0, 0.01), (3.0, 0.05), (4.0, 0.02)]:
        meter.record(at, lag)
    assert meter.worst_since(0.5) == 0.3
    assert meter.worst_since(1.5) == 0.05
    assert meter.worst_since(3.5) == 0.02
    assert meter.worst_since(4.5) == 0.0


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=100), st.integers(0, 100))
def test_the_sliding_maximum_is_exact(lags: list[float], since: int) -> None:
    meter = LagMeter()
    for number, lag in enumerate(lags):
        meter.record(number / 10, lag)
    recent = [lag for number, lag in enumerate(lags) if number / 10 >= since / 10]
    assert meter.worst_since(since / 10) == max(recent, default=0.0)


def test_percentiles_are_of_the_time_since_the_last_reading() -> None:
    meter = LagMeter()
    meter.record(1.0, 0.0004, weight=98)
    meter.record(1.0, 0.0204, weight=2)
    assert meter.take_percentiles(0.5, 0.98, 0.99) == (0.001, 0.001, 0.021)
    assert meter.take_percentiles(0.99) == (0.0,)
    meter.record(2.0, 5.0, weight=1)
    assert meter.take_percentiles(0.99) == (1.0,)


def test_the_worst_since_the_last_beat() -> None:
    meter = LagMeter()
    meter.record(1.0, 0.2)
    meter.record(1.1, 0.1)
    assert meter.take_worst() == 0.2
    assert meter.take_worst() == 0.0
