from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.engine.wheel import TimingWheel


def test_items_come_once_an_interval_in_their_slot() -> None:
    wheel: TimingWheel[str] = TimingWheel(1.0, 100.0)
    wheel.add(20, "a", 100.0)
    wheel.add(100, "b", 100.0)
    wheel.add(20, "c", 100.0)
    seen = [(round(due.at, 6), due.items) for due in wheel.take(102.0)]
    assert seen == [
        (100.1, ["a", "c"]),
        (100.5, ["b"]),
        (101.1, ["a", "c"]),
        (101.5, ["b"]),
    ]
    assert wheel.next_due == pytest.approx(102.1)
    assert list(wheel.take(102.0)) == []


def test_an_item_added_behind_the_hand_waits_a_turn() -> None:
    wheel: TimingWheel[str] = TimingWheel(1.0, 100.3)
    wheel.add(20, "a", 100.3)
    assert wheel.next_due == pytest.approx(101.1)


def test_removal() -> None:
    wheel: TimingWheel[str] = TimingWheel(0.1, 0.0)
    wheel.add(3, "a", 0.0)
    wheel.add(3, "b", 0.0)
    wheel.remove(3, "a", 0.0)
    assert [due.items for due in wheel.take(0.05)] == [["b"]]
    wheel.remove(3, "b", 0.05)
    assert wheel.next_due is None and len(wheel) == 0
    with pytest.raises(KeyError):
        wheel.remove(3, "b", 0.05)


def test_a_name_keeps_its_slot_and_names_are_spread() -> None:
    wheel: TimingWheel[str] = TimingWheel(1.0, 0.0)
    slots = [wheel.slot_of(f"north/phone-{number}/sip") for number in range(10_000)]
    assert slots == [wheel.slot_of(f"north/phone-{number}/sip") for number in range(10_000)]
    busiest = max(slots.count(slot) for slot in set(slots))
    assert len(set(slots)) == 200 and busiest < 2 * 50


def test_an_interval_must_be_positive() -> None:
    with pytest.raises(ValueError, match="interval"):
        TimingWheel[str](0.0, 0.0)


@given(
    st.sampled_from([0.03, 0.1, 0.25, 1.0, 3.0]),
    st.lists(st.integers(0, 10_000), min_size=1, max_size=20),
    st.lists(st.floats(0.0, 4.0), max_size=40),
)
def test_every_item_comes_once_a_turn_whatever_the_looks(
    interval: float, names: list[int], waits: list[float]
) -> None:
    start = 1234.567
    wheel: TimingWheel[int] = TimingWheel(interval, start)
    for number, name in enumerate(names):
        wheel.add(wheel.slot_of(str(name)), number, start)
    now = start
    seen: dict[int, list[float]] = {number: [] for number in range(len(names))}
    last = start
    for wait in waits:
        now += wait
        for due in wheel.take(now):
            assert last <= due.at <= now
            last = due.at
            for item in due.items:
                seen[item].append(due.at)
    for times in seen.values():
        assert all(b - a == pytest.approx(interval) for a, b in zip(times, times[1:], strict=False))
        assert abs(len(times) - (now - start) / interval) <= 1.0
