"""The end of a record, checked without the whole of it, shows what the whole shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.core.invariants import Budget, Violation, Window, broken, lead, violations
from controller.core.timeline import fold, lines
from controller.model.facts import Entry, FactKind
from tests.builders.records import failover, group, switch

BUDGETS = {"main": Budget(switches=1, window=100.0)}
LATER = 5000.0


def twice() -> tuple[list[Entry], int]:
    """A good failover; long after it another one, by an older epoch and for an incident that is resolved, with a page that
    had ended. And the sequence after which that comes."""
    story = failover()
    for second in range(1000, int(LATER), 500):
        story.add(FactKind.NOTE, float(second), "here", incident="")
    before = len(story.facts)
    started = group(active="backup", epoch=5, switch=switch(id="SW-0002", epoch=5))
    story.add(FactKind.SWITCH_STARTED, LATER, "main", started, switch="SW-0002", epoch=5)
    story.add(
        FactKind.SWITCH_INTENDED, LATER, "main", switch="SW-0002", verb="fence", epoch=5, command="CMD-0050"
    )
    story.add(FactKind.PAGE_REPEATED, LATER, "PAGE-0001")
    story.add(FactKind.PAGE_DELIVERY, LATER, "PAGE-0001", command="CMD-0077", state="sent")
    return story.entries(), before


def window(record: list[Entry], after: int, budgets: dict[str, Budget]) -> Window:
    made = Window(after, lead(budgets.values()))
    for entry in record:
        made.add(entry)
    return made


def shown(found: tuple[Violation, ...], after: int) -> list[Violation]:
    return [each for each in found if each.sequence > after]


def test_the_check_of_a_window_finds_what_the_check_of_the_whole_finds_there() -> None:
    record, before = twice()
    made = window(record, before, BUDGETS)
    assert made.lines()[0].kind is FactKind.LEADERSHIP_TAKEN and len(made.lines()) < 10 < before
    found = shown(broken(made.lines(), budgets=BUDGETS), before)
    assert found == shown(violations(record, budgets=BUDGETS), before)
    assert {each.invariant for each in found} == {"I2", "I3", "I8", "I13"}


@pytest.mark.parametrize("after", range(len(twice()[0]) + 1))
def test_wherever_it_begins(after: int) -> None:
    record, _ = twice()
    live = fold(lines(record)).values()
    made = window(record, after, BUDGETS)
    assert fold(made.lines()) == fold(lines(record))
    found = broken(made.lines(), live=live, budgets=BUDGETS)
    assert shown(found, after) == shown(violations(record, live=live, budgets=BUDGETS), after)


def test_the_switches_that_count_are_all_seen() -> None:
    record, before = twice()
    budgets = {"main": Budget(switches=1, window=2 * LATER)}
    found = shown(broken(window(record, before, budgets).lines(), budgets=budgets), before)
    assert "I5" in {each.invariant for each in found}
    assert found == shown(violations(record, budgets=budgets), before)


def test_a_state_that_is_not_what_the_record_adds_up_to_shows() -> None:
    record, before = twice()
    made = window(record, before, BUDGETS)
    live = dict(fold(made.lines()))
    live["group/main"] = replace(group(), active="elsewhere")
    assert "I11" in {each.invariant for each in shown(broken(made.lines(), live=live.values()), before)}
