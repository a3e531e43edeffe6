"""A driver for mass probes without a prober: sends, waits for the result, keeps the time itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from controller.model.health import ProbeResult, RungKey
from controller.ports import Flight, MassProbe


class Driver:
    def __init__(self, kind: MassProbe) -> None:
        self.kind = kind
        self.calls = 0
        self._results: dict[object, asyncio.Future[ProbeResult]] = {}
        kind.open(asyncio.get_running_loop(), self._finished)

    def prepare(self, parameters: object, component: str = "a") -> object:
        return self.kind.prepare(RungKey(component, "rung"), parameters)

    def send(self, prepared: object, timeout: float = 5.0) -> tuple[Flight, asyncio.Future[ProbeResult]]:
        ticket = object()
        future = self._results[ticket] = asyncio.get_running_loop().create_future()
        return self.kind.send(ticket, prepared, timeout, time.monotonic()), future

    async def probe(self, prepared: object) -> ProbeResult:
        """Send and wait for an end that comes by itself."""
        _, future = self.send(prepared)
        async with asyncio.timeout(20):
            return await future

    def give_up(self, flight: Flight, void: str = "") -> None:
        flight.give_up(time.monotonic(), void)

    def _finished(self, ticket: object, result: ProbeResult) -> None:
        self.calls += 1
        self._results[ticket].set_result(result)  # raises when called twice


@pytest.fixture
def drive() -> Iterator[Any]:
    drivers: list[Driver] = []

    def make(kind: MassProbe) -> Driver:
        drivers.append(Driver(kind))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.kind.close()
