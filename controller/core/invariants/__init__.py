"""What must hold, checked: in simulation, in drills, and in production by `thirdring verify`.

The checkers are deliberately independent of the stages: they know the record and what actuators testify to, not the code
that made them. The numbers are those of the fault matrix's list of invariants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from controller.core.invariants.actuators import (
    MOVES,
    Answered,
    Healing,
    Obeyed,
    Observation,
    Taking,
    i1_one_side,
    i3_obeyed,
    i12_healed,
)
from controller.core.invariants.record import (
    CHECKERS,
    i2_dispatched,
    i5_budget,
    i9_chain,
    i11_fold,
)
from controller.core.invariants.testimony import witnessed
from controller.core.invariants.violation import Budget, Violation
from controller.core.invariants.window import Window, lead
from controller.core.timeline import Line, lines
from controller.model.facts import Aggregate, Entry

__all__ = [
    "CHECKERS",
    "Answered",
    "Budget",
    "Healing",
    "Obeyed",
    "Observation",
    "Taking",
    "Violation",
    "Window",
    "broken",
    "lead",
    "observed",
    "witnessed",
    "violations",
]


def violations(
    entries: Sequence[Entry],
    *,
    live: Iterable[Aggregate] | None = None,
    budgets: Mapping[str, Budget] | None = None,
    dispatched: Mapping[str, int] | None = None,
    chain: bool = True,
) -> tuple[Violation, ...]:
    """Every violation in one node's whole record, what its actuators testified to included, oldest first; empty when all
    holds.

    `live`: the state to hold against the record (I11). `budgets`: by group (I5). `dispatched`: for each command that
    left, the newest durable sequence at that moment (I2). `chain` False leaves I9 out, where it is checked already.
    """
    found = broken(lines(entries), live=live, budgets=budgets, dispatched=dispatched)
    return tuple(sorted([*found, *i9_chain(entries)])) if chain else found


def broken(
    story: Sequence[Line],
    *,
    live: Iterable[Aggregate] | None = None,
    budgets: Mapping[str, Budget] | None = None,
    dispatched: Mapping[str, int] | None = None,
) -> tuple[Violation, ...]:
    """As `violations`, of lines: all but the chain (I9), which lines do not have."""
    found = [violation for checker in CHECKERS.values() for violation in checker(story)]
    seen = witnessed(story)
    found += [*i1_one_side(seen, story), *i3_obeyed(seen)]
    found += i5_budget(story, budgets or {})
    found += i2_dispatched(story, dispatched or {})
    if live is not None:
        found += i11_fold(story, live)
    return tuple(sorted(found))


def observed(
    observations: Sequence[Observation],
    records: Iterable[Sequence[Entry]],
    *,
    healing: Healing | None = None,
) -> tuple[Violation, ...]:
    """Every violation that actuators testify to, held against the records of all nodes. `healing`: when everything was
    well again, if it was (I12)."""
    story = [line for entries in records for line in lines(each for each in entries if each.kind in MOVES)]
    found = [*i1_one_side(observations, story), *i3_obeyed(observations)]
    if healing is not None:
        found += i12_healed(observations, healing)
    return tuple(found)
