"""The end of a record, with what came before it as one line: so that the check of a drill need not hold months of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from controller.core.invariants.violation import Budget
from controller.core.timeline import Line, line
from controller.model.facts import Aggregate, Entry, FactKind, aggregate_key, retired

SHORTEST = 600.0
"""Seconds before the window within which a command's intent is looked for at least."""


def lead(budgets: Iterable[Budget]) -> float:
    """Seconds before the window that have to be seen whole: intents of what is in flight, switches that count."""
    return max((budget.window for budget in budgets), default=0.0) + SHORTEST


class Window:
    """Takes entries one after the other and gives the lines from `lead` seconds before sequence `after` on. They begin
    with the state that the record adds up to until there, in the words in which a new leader reads its predecessor's.
    `after` 0: every line."""

    def __init__(self, after: int, lead: float) -> None:
        self._after = after
        self._lead = lead
        self._recent: deque[Entry] = deque()
        self._folded: Entry | None = None
        self._live: dict[str, Aggregate] = {}
        self._lines: list[Line] = []

    def add(self, entry: Entry) -> None:
        if entry.sequence > self._after:
            self._lines.append(line(entry))
            return
        self._recent.append(entry)
        while self._recent[0].wall < entry.wall - self._lead:
            self._fold(self._recent.popleft())

    def lines(self) -> list[Line]:
        return [*self._opening(), *(line(entry) for entry in self._recent), *self._lines]

    def _fold(self, entry: Entry) -> None:
        self._folded = entry
        for aggregate in line(entry).changed:
            if retired(aggregate):
                self._live.pop(aggregate_key(aggregate), None)
            else:
                self._live[aggregate_key(aggregate)] = aggregate

    def _opening(self) -> list[Line]:
        if self._folded is None:
            return []
        return [
            Line(
                sequence=self._folded.sequence,
                node=self._folded.node,
                wall=self._folded.wall,
                kind=FactKind.LEADERSHIP_TAKEN,
                name=FactKind.LEADERSHIP_TAKEN,
                subject=self._folded.node,
                actor="",
                incident="",
                drill=False,
                data=(),
                changed=tuple(self._live.values()),
            )
        ]
