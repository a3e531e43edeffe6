"""How many components are in which health, without holding up the engine that shares this thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from controller.engine.desk import Desk
from controller.engine.loop import Snapshot
from controller.web.views import component_health

FEW = 500
"""Components that are counted on the spot."""

FRESH = 1.0
"""Seconds a count of more than that is shown for; then it is made again, in another thread."""


class Census:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._counts: Mapping[str, int] = {}
        self._made_at = 0.0
        self._making: asyncio.Future[None] | None = None

    def counts(self) -> Mapping[str, int]:
        """By health. With many components those of a second ago, or while they are counted again, of before that."""
        snapshot, now = self._desk.snapshot, self._desk.clock.now().mono
        if len(snapshot.policy.components) <= FEW or not self._counts:
            self._counts, self._made_at = count(snapshot), now
        elif now - self._made_at >= FRESH and (self._making is None or self._making.done()):
            self._making = asyncio.get_running_loop().run_in_executor(None, self._count, snapshot, now)
        return self._counts

    def _count(self, snapshot: Snapshot, at: float) -> None:
        self._counts, self._made_at = count(snapshot), at


def count(snapshot: Snapshot) -> Mapping[str, int]:
    counted: dict[str, int] = {}
    for name in snapshot.policy.components:
        health = component_health(name, snapshot)
        counted[health] = counted.get(health, 0) + 1
    return counted
