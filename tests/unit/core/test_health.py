from __future__ import annotations

import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.health import fold
from controller.model.health import HealthState, Hysteresis, Outcome, ProbeResult, RungHealth, RungKey

KEY = RungKey("primary", "sip")
S = HealthState
PLAIN = Hysteresis(fall=3, rise=2)


def result(at: float, up: bool | None, code: int = 0) -> ProbeResult:
    outcome = {True: Outcome.UP, False: Outcome.NO_REPLY, None: Outcome.VOID}[up]
    return ProbeResult(KEY, at - 0.01, at, outcome, up, 0.01, code)


def folded(ups: list[bool | None], hysteresis: Hysteresis = PLAIN, step: float = 1.0) -> list[RungHealth]:
    health = RungHealth()
    seen = []
    for number, up in enumerate(ups, 1):
        health = fold(health, result(number * step, up), hysteresis)
        seen.append(health)
    return seen


def states(ups: list[bool | None], hysteresis: Hysteresis = PLAIN) -> list[HealthState]:
    return [health.state for health in folded(ups, hysteresis)]


T, F, N = True, False, None


@pytest.mark.parametrize(
    ("ups", "expected"),
    [
        ([T], [S.UP]),
        ([F, T], [S.UNKNOWN, S.UP]),
        ([F, F, F], [S.UNKNOWN, S.UNKNOWN, S.DOWN]),
        ([T, F, T], [S.UP, S.SUSPECT, S.UP]),
        ([T, F, F, F, F], [S.UP, S.SUSPECT, S.SUSPECT, S.DOWN, S.DOWN]),
        ([T, F, N, F, N, F], [S.UP, S.SUSPECT, S.SUSPECT, S.SUSPECT, S.SUSPECT, S.DOWN]),
        ([T, F, F, F, T, T], [S.UP, S.SUSPECT, S.SUSPECT, S.DOWN, S.RECOVERING, S.UP]),
        ([T, F, F, F, T, F, T, T], [S.UP, S.SUSPECT, S.SUSPECT, S.DOWN, S.RECOVERING, S.DOWN, S.RECOVERING, S.UP]),
    ],
)  # fmt: skip
def test_hysteresis(ups: list[bool | None], expected: list[HealthState]) -> None:
    assert states(ups) == expected


def test_one_failure_is_down_with_a_fall_of_one() -> None:
    assert states([T, F, T], Hysteresis(fall=1, rise=1)) == [S.UP, S.DOWN, S.UP]


def test_a_void_result_is_the_same_value() -> None:
    health = folded([T, F])[-1]
    assert fold(health, result(9.0, None), Hysteresis()) is health


def test_what_was_seen_is_kept() -> None:
    health = fold(RungHealth(), result(5.0, False, code=503)._replace(note="Busy"), Hysteresis(fall=1))
    assert (health.outcome, health.code, health.note, health.since) == (Outcome.NO_REPLY, 503, "Busy", 5.0)
    again = fold(health, result(6.0, False), Hysteresis(fall=1))
    assert (again.since, again.failures) == (5.0, 2)


FLAPPY = Hysteresis(fall=1, rise=1, flap_count=4, flap_window=10.0)


def test_flapping_is_marked_by_flips_within_the_window_and_cleared_when_stable() -> None:
    seen = folded([T, F, T, F, T, *[T] * 12], FLAPPY)
    assert [health.flapping for health in seen[:5]] == [False, False, False, False, True]
    # The last flip was at 5; a window of 10 without any ends at 15.
    assert [health.flapping for health in seen[5:]] == [True] * 9 + [False] * 3
    assert seen[-1].flips == ()


def test_slow_changes_are_no_flapping() -> None:
    assert not any(health.flapping for health in folded([T, F] * 10, FLAPPY, step=4.0))


def test_a_relapse_while_recovering_is_no_flip() -> None:
    hysteresis = Hysteresis(fall=1, rise=2, flap_count=3, flap_window=100.0)
    seen = folded([T, F, T, F, T, F, T, F], hysteresis)
    assert len(seen[-1].flips) == 1 and not seen[-1].flapping


results = st.lists(
    st.tuples(st.sampled_from([True, False, None]), st.floats(0.01, 50.0)), min_size=1, max_size=200
)
policies = st.builds(
    Hysteresis,
    fall=st.integers(1, 5),
    rise=st.integers(1, 5),
    flap_count=st.integers(1, 6),
    flap_window=st.floats(1.0, 300.0),
)


@given(results, policies)
def test_laws(sequence: list[tuple[bool | None, float]], hysteresis: Hysteresis) -> None:
    """Against a plain model kept beside it: counts in a row, and the flips as a list."""
    health = RungHealth()
    now = 0.0
    row_up = row_down = 0
    flips: list[float] = []
    settled = S.UNKNOWN  # the last of UP and DOWN
    for up, wait in sequence:
        now += wait
        before = health
        health = fold(health, result(now, up), hysteresis)
        if up is None:
            assert health is before
            continue
        row_up, row_down = (row_up + 1, 0) if up else (0, row_down + 1)
        assert (health.successes, health.failures) == (row_up, row_down)
        if settled is S.DOWN:
            expected = S.UP if row_up >= hysteresis.rise else S.RECOVERING if up else S.DOWN
        elif up:
            expected = S.UP
        elif row_down >= hysteresis.fall:
            expected = S.DOWN
        else:
            expected = S.SUSPECT if settled is S.UP else S.UNKNOWN
        assert health.state is expected
        if expected in (S.UP, S.DOWN) and settled not in (S.UNKNOWN, expected):
            flips.append(now)
        if expected in (S.UP, S.DOWN):
            settled = expected
        assert health.since == (before.since if health.state is before.state else now)
        recent = [flip for flip in flips if flip > now - hysteresis.flap_window]
        if len(recent) >= hysteresis.flap_count:
            assert health.flapping
        if not recent:
            assert not health.flapping and health.flips == ()
        if health.flapping and not before.flapping:
            assert len(recent) >= hysteresis.flap_count
        assert len(health.flips) <= hysteresis.flap_count


def test_the_steady_state_is_cheap() -> None:
    """2 us is the budget; five times that is asserted, for the machine may be busy."""
    health = folded([T, T, T])[-1]
    good, hysteresis = result(9.0, True), Hysteresis()
    seconds = min(timeit.repeat(lambda: fold(health, good, hysteresis), number=10_000, repeat=5)) / 10_000
    assert seconds < 10e-6
