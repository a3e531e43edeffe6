"""A timing wheel: what recurs at one interval, spread over slots of about 5 ms, at a fixed rate."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar
from zlib import crc32

T = TypeVar("T")

SLOT = 0.005
"""Seconds a slot is wide, at most a rounding away: a whole number of slots makes the interval."""


class Due(NamedTuple, Generic[T]):
    """A slot whose time has come: its own time, in seconds of the clock that `take` was given, and its items."""

    at: float
    items: list[T]


class TimingWheel(Generic[T]):
    """Items that recur every `interval` seconds, each in the slot its name hashes to.

    Slots are laid out from the clock's zero, so that an item keeps its phase when the wheel is made anew. The cost
    of a turn grows with the items and the occupied slots, never with the empty ones.
    """

    def __init__(self, interval: float, now: float) -> None:
        if interval <= 0:
            raise ValueError(f"an interval of {interval} s")
        self.interval = interval
        self._count = max(1, round(interval / SLOT))
        self._width = interval / self._count
        self._slots: dict[int, list[T]] = {}
        self._occupied: list[int] = []  # sorted
        self._size = 0
        self._turn = 0
        self._position = 0  # in `_occupied`, of the next slot of this turn
        self._seek(now)

    def __len__(self) -> int:
        return self._size

    def slot_of(self, name: str) -> int:
        """The slot of an item of this name: the same in every process and after every restart."""
        return crc32(name.encode()) % self._count

    def add(self, slot: int, item: T, now: float) -> None:
        """Put an item into a slot. It is due at that slot's next time after `now`."""
        items = self._slots.get(slot)
        if items is None:
            items = self._slots[slot] = []
            insort(self._occupied, slot)
            self._seek(now)
        items.append(item)
        self._size += 1

    def remove(self, slot: int, item: T, now: float) -> None:
        """Take an item out. Raises ValueError or KeyError if it is not there."""
        items = self._slots[slot]
        items.remove(item)
        self._size -= 1
        if not items:
            del self._slots[slot]
            del self._occupied[bisect_left(self._occupied, slot)]
            self._seek(now)

    @property
    def next_due(self) -> float | None:
        """When the next slot with items is due; None when the wheel is empty."""
        if not self._occupied:
            return None
        if self._position == len(self._occupied):
            return (self._turn + 1) * self.interval + self._occupied[0] * self._width
        return self._turn * self.interval + self._occupied[self._position] * self._width

    def take(self, now: float) -> Iterator[Due[T]]:
        """Every slot that became due up to `now`, oldest first: also those that are far too late."""
        while (due := self.next_due) is not None and due <= now:
            if self._position == len(self._occupied):
                self._turn += 1
                self._position = 0
            items = self._slots[self._occupied[self._position]]
            self._position += 1
            yield Due(due, items)

    def _seek(self, now: float) -> None:
        """Point at the first occupied slot after `now`."""
        self._turn = int(now // self.interval)
        slot = int((now - self._turn * self.interval) / self._width)
        self._position = bisect_left(self._occupied, slot + 1)
