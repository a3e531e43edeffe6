from __future__ import annotations

from demo_platform.restarts import Restarts


def test_so_many_and_no_more_until_the_window_has_passed() -> None:
    restarts = Restarts(2, 60.0)
    assert [restarts.take(now) for now in (0.0, 10.0, 20.0, 59.9)] == [True, True, False, False]
    assert [restarts.take(now) for now in (60.0, 61.0, 70.0, 71.0)] == [True, False, True, False]
