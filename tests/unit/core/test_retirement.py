"""What ended long ago leaves the live state, and only that."""

from __future__ import annotations

from dataclasses import replace

from immutables import Map

from controller.core import retirement
from controller.core.step import step, wake_at
from controller.model.drills import Drill, DrillState, InjectState
from controller.model.encoding import decode_aggregate, encode_aggregate
from controller.model.events import TimerFired
from controller.model.facts import FactKind, Gone, aggregate_key
from controller.model.incidents import Incident, IncidentState
from controller.model.moments import Moment
from controller.model.pages import Page, PageState
from controller.model.runs import Run, RunState
from controller.model.state import State
from tests.builders.paging import EPOCH, incident, policy

NOW = Moment(mono=50_000.0, wall=EPOCH + 50_000.0)


def ended(number: int, ago: float, **changes: object) -> Incident:
    given = {"state": IncidentState.RESOLVED, "resolved_wall": NOW.wall - ago} | changes
    return incident(number, **given)


def page_of(number: int, state: PageState = PageState.CLOSED, of: str | None = None) -> Page:
    return Page(
        id=f"PAGE-{number:04d}",
        incident=f"INC-{number:04d}" if of is None else of,
        state=state,
        policy="default",
        opened_wall=NOW.wall - 40_000.0 + number,
    )


def run_of(number: int, state: RunState = RunState.SUCCEEDED, of: str | None = None) -> Run:
    return Run(
        id=f"RUN-{number:04d}",
        runbook="failover",
        revision="r",
        state=state,
        incident=f"INC-{number:04d}" if of is None else of,
        finished_wall=NOW.wall - 40_000.0 + number,
    )


def state_of(*aggregates: Incident | Page | Run | Drill) -> State:
    return State(
        node="n1",
        lease_deadline=1e9,
        incidents=Map({item.id: item for item in aggregates if isinstance(item, Incident)}),
        pages=Map({item.id: item for item in aggregates if isinstance(item, Page)}),
        runs=Map({item.id: item for item in aggregates if isinstance(item, Run)}),
        drills=Map({item.id: item for item in aggregates if isinstance(item, Drill)}),
    )


def crowd(count: int, ago: float = 10_000.0) -> list[Incident | Page | Run]:
    """The higher its number, the later it ended."""
    return [
        made
        for number in range(1, count + 1)
        for made in (ended(number, ago - number), page_of(number), run_of(number))
    ]


def looked(state: State) -> tuple[State, list[Gone]]:
    decision = retirement.advance(state, TimerFired(at=NOW), policy())
    gone = [item for fact in decision.facts for item in fact.changed if isinstance(item, Gone)]
    assert all(fact.kind is FactKind.RECORDS_RETIRED and not fact.incident for fact in decision.facts)
    return decision.state, gone


def test_the_newest_stay_and_the_rest_goes_with_its_pages_and_runs() -> None:
    before = state_of(*crowd(250))
    after, gone = looked(before)
    assert sorted(after.incidents) == [f"INC-{number:04d}" for number in range(51, 251)]
    assert len(after.pages) == len(after.runs) == 200
    assert {item.key for item in gone} == {
        f"{kind}-{number:04d}" for number in range(1, 51) for kind in ("incident/INC", "page/PAGE", "run/RUN")
    }


def test_the_facts_give_the_live_state() -> None:
    before = state_of(*crowd(500))
    kept = {
        aggregate_key(item): encode_aggregate(item)
        for item in (*before.incidents.values(), *before.pages.values(), *before.runs.values())
    }
    after, gone = looked(before)
    for item in gone:
        assert decode_aggregate(encode_aggregate(item)) == item
        del kept[item.key]
    live = (*after.incidents.values(), *after.pages.values(), *after.runs.values())
    assert kept == {aggregate_key(item): encode_aggregate(item) for item in live}


def test_what_ended_within_the_hour_stays_however_much_it_is() -> None:
    after, gone = looked(state_of(*crowd(400, ago=3_500.0)))
    assert len(after.incidents) == 400 and not gone


def test_what_is_open_or_still_at_work_stays_however_old() -> None:
    old = [
        incident(9001, opened_wall=1.0),
        ended(9002, 49_000.0),
        run_of(9002, RunState.WAITING),
        ended(9003, 49_000.0),
        page_of(9003, PageState.ACTIVE),
        ended(9004, 49_000.0, state=IncidentState.MERGED, merged_into="INC-9001"),
        ended(9005, 49_000.0, state=IncidentState.MERGED, merged_into="INC-0001"),
        run_of(9006, RunState.RUNNING, of=""),
        page_of(9007, PageState.ACTIVE, of=""),
    ]
    after, _ = looked(state_of(*crowd(300), *old))
    assert {"INC-9001", "INC-9002", "INC-9003", "INC-9004"} <= set(after.incidents)
    assert {"RUN-9002", "RUN-9006"} <= set(after.runs) and {"PAGE-9003", "PAGE-9007"} <= set(after.pages)
    assert "INC-0001" not in after.incidents


def test_runs_and_pages_of_nobody_and_drills_leave_too() -> None:
    drills = [
        Drill(
            id=f"DRILL-{number:04d}",
            scenario="kill",
            component="primary",
            group="main",
            state=DrillState.FINISHED,
            inject_state=InjectState.UNDONE,
            by="li",
            inject=("command", ()),
            undo=("command", ()),
            started_wall=1.0,
            finished_wall=NOW.wall - 40_000.0 + number,
        )
        for number in range(1, 211)
    ]
    made = [
        item for number in range(1, 211) for item in (run_of(number, of=""), page_of(number, of="INC-7777"))
    ]
    after, gone = looked(state_of(*made, *drills))
    assert (len(after.runs), len(after.pages), len(after.drills), len(gone)) == (200, 200, 200, 30)
    assert "DRILL-0010" not in after.drills and "DRILL-0011" in after.drills
    live = replace(drills[-1], state=DrillState.INJECTED)
    assert looked(state_of(*made, *drills[:-1], live))[1] == [], "not in the middle of a drill"


def test_it_looks_once_a_minute_and_wakes_nobody() -> None:
    state, gone = looked(state_of(*crowd(250)))
    assert gone and retirement.wake_at(state, policy()) is None
    again = replace(state, incidents=state_of(*crowd(250)).incidents)
    assert looked(again)[1] == []
    later = TimerFired(at=Moment(NOW.mono + 60.0, NOW.wall + 60.0))
    assert retirement.advance(again, later, policy()).facts


def test_through_all_stages_what_a_wake_looks_at_does_not_grow() -> None:
    state = step(state_of(*crowd(2_000)), TimerFired(at=NOW), policy()).state
    assert len(state.pages) == len(state.runs) == len(state.incidents) == 200
    assert wake_at(state, policy()) is None
