"""One suite for every lease, the fake included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from controller.leases.local import LocalLease
from controller.ports import Lease
from tests.builders.leases import MemoryLease, Register


class Clock:
    def __init__(self) -> None:
        self.register = Register()

    def __call__(self) -> float:
        return self.register.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "local"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[[], Lease]:
    """Every call is another candidate for the same leadership."""

    def build() -> Lease:
        if request.param == "memory":
            return MemoryLease(clock.register, lifetime=3.0)
        return LocalLease(tmp_path / "run" / "leader.lock", lifetime=3.0, monotonic=clock)

    return build


async def test_the_deadline_counts_from_before_the_request(make: Callable[[], Lease], clock: Clock) -> None:
    lease = make()
    clock.register.now = 100.0
    assert await lease.acquire() == 103.0
    clock.register.now = 101.0
    assert await lease.acquire() == 104.0
    await lease.release()


async def test_only_one_holds_it(make: Callable[[], Lease], clock: Clock) -> None:
    first, second = make(), make()
    assert await first.acquire() is not None
    assert await second.acquire() is None
    clock.register.now = 2.9
    assert await second.acquire() is None
    assert await first.acquire() == pytest.approx(5.9)
    await first.release()
    assert await second.acquire() is not None
    assert await first.acquire() is None
    await second.release()


async def test_releasing_what_is_not_held_changes_nothing(make: Callable[[], Lease]) -> None:
    first, second = make(), make()
    await first.release()
    assert await first.acquire() is not None
    await second.release()
    assert await second.acquire() is None
    await first.release()
    await first.release()
    assert await first.acquire() is not None
    await first.release()
