"""A checker that can't fail is a defect: each one is shown a violation and must name it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from controller.core.invariants import CHECKERS, Budget, Violation, violations
from controller.core.timeline import fold, lines
from controller.model.drills import Drill, DrillState, InjectState
from controller.model.facts import Entry, Fact, FactKind
from controller.model.groups import Group, Hold, Phase, SwitchVerb
from controller.model.incidents import Incident, IncidentState
from controller.model.pages import Page
from controller.model.runs import Run, RunState
from tests.builders.records import (
    BASE,
    INCIDENT,
    Story,
    changing,
    entries,
    failover,
    group,
    spoiled,
    switch,
)


def found(record: list[Entry], **how: object) -> list[tuple[str, str]]:
    return [(each.invariant, each.message) for each in violations(record, **how)]  # type: ignore[arg-type]


def data(fact: Fact, **values: object) -> Fact:
    return dataclasses.replace(fact, data=tuple({**dict(fact.data), **values}.items()))  # type: ignore[arg-type]


def test_a_good_record_has_no_violation() -> None:
    record = failover().entries()
    live = fold(lines(record)).values()
    dispatched = {"CMD-0001": record[-1].sequence}
    assert (
        violations(
            record, live=live, budgets={"main": Budget(switches=2, window=3600.0)}, dispatched=dispatched
        )
        == ()
    )
    assert violations([]) == ()
    assert violations(record[5:]) != ()  # without its beginning it explains nothing


def test_i2_an_outcome_without_its_intent() -> None:
    record = spoiled(failover().facts, FactKind.SWITCH_INTENDED, lambda fact: None)
    assert ("I2", "the outcome of CMD-0001 comes without its intent") in found(record)


def test_i2_a_page_outcome_without_its_intent() -> None:
    record = spoiled(failover().facts, FactKind.PAGE_SENT, lambda fact: None)
    assert found(record) == [("I2", "the outcome of CMD-0009 comes without its intent")]


def test_i2_a_command_before_the_decision() -> None:
    record = spoiled(failover().facts, FactKind.SWITCH_STARTED, lambda fact: None)
    assert ("I2", "SW-0001 commands before it was decided") in found(record)


def test_i2_a_control_experiment_without_its_request() -> None:
    story = failover()
    story.add(FactKind.CONTROL_REQUESTED, 601.0, "primary", rule="dead", command="CMD-0020")
    story.add(FactKind.CONTROL_FINISHED, 602.0, "primary", rule="dead", command="CMD-0020")
    assert found(story.entries()) == []
    record = spoiled(story.facts, FactKind.CONTROL_REQUESTED, lambda fact: None)
    assert found(record) == [("I2", "the outcome of CMD-0020 comes without its intent")]


def run_story(**run: object) -> Story:
    story = failover()
    del story.facts[-2:]
    made = Run(
        id="RUN-0001",
        runbook="repair",
        revision="abc",
        state=RunState.RUNNING,
        incident=INCIDENT,
        **run,  # type: ignore[arg-type]
    )
    story.add(FactKind.RUN_STARTED, 2.0, "RUN-0001", made)
    story.add(FactKind.STEP_INTENDED, 2.1, "RUN-0001", made, step="restart")
    story.add(FactKind.STEP_FINISHED, 2.2, "RUN-0001", made, step="restart", state="succeeded")
    return story


def test_i2_steps_of_a_run() -> None:
    facts = run_story().facts
    assert found(entries(facts)) == []
    assert found(spoiled(facts, FactKind.STEP_INTENDED, lambda fact: None)) == [
        ("I2", "RUN-0001 step restart ends without its intent")
    ]
    assert found(spoiled(facts, FactKind.RUN_STARTED, lambda fact: None)) == [
        ("I2", "RUN-0001 acts before it was started")
    ]
    assert found(spoiled(facts, FactKind.RUN_STARTED, changing(Run, revision=""))) == [
        ("I2", "RUN-0001 runs no revision")
    ]


def test_i2_a_command_that_left_too_early() -> None:
    record = failover().entries()
    intent = next(entry.sequence for entry in record if '"command":"CMD-0002"' in entry.payload)
    assert found(record, dispatched={"CMD-0002": intent}) == []
    assert found(record, dispatched={"CMD-0002": intent - 1}) == [
        ("I2", "CMD-0002 left before its intent was durable")
    ]
    assert found(record, dispatched={"CMD-7777": 99}) == [
        ("I2", "CMD-7777 left before its intent was durable")
    ]


def test_i3_an_epoch_that_does_not_rise() -> None:
    before = Story()
    before.add(FactKind.GROUP_ARMED, 0.5, "main", group(epoch=7), incident="")
    record = entries([*before.facts, *failover().facts])
    assert found(record) == [("I3", "main starts a switch under epoch 7 after 7")]


def test_i3_an_epoch_that_falls_back() -> None:
    record = spoiled(failover().facts, FactKind.SWITCH_ENDED, changing(Group, epoch=6))
    assert found(record) == [("I3", "main goes back from epoch 7 to 6")]


def test_i3_a_command_under_an_old_epoch() -> None:
    record = spoiled(failover().facts, FactKind.SWITCH_INTENDED, lambda fact: data(fact, epoch=6))
    assert ("I3", "main commands under epoch 6 after 7") in found(record)


@pytest.mark.parametrize("scope", ["*", "main"])
def test_i4_an_automatic_switch_on_hold(scope: str) -> None:
    hold = Hold(scope=scope, by="li", reason="work", since_wall=BASE, until_wall=BASE + 100.0)
    before = Story()
    before.add(FactKind.HOLD_PLACED, 0.0, scope, hold, incident="")
    facts = [*before.facts, *failover().facts]
    assert found(entries(facts)) == [("I4", f"main switches by itself while {scope} is on hold")]
    by_hand = changing(Group, switch=switch(automatic=False))
    assert found(spoiled(facts, FactKind.SWITCH_STARTED, by_hand)) == []
    over = spoiled(facts, FactKind.HOLD_PLACED, changing(Hold, until_wall=BASE + 1.0))
    assert found(over) == []
    released = Story()
    released.add(FactKind.HOLD_RELEASED, 0.9, scope, dataclasses.replace(hold, until_wall=0.0), incident="")
    assert found(entries([*before.facts, *released.facts, *failover().facts])) == []


def test_i4_an_automatic_switch_of_an_unarmed_group() -> None:
    record = spoiled(failover().facts, FactKind.SWITCH_STARTED, changing(Group, armed=None))
    assert found(record) == [("I4", "main switches by itself and nobody armed it")]


def test_i5_more_switches_than_the_budget() -> None:
    second = failover()
    raised = {"switch": switch(id="SW-0002", epoch=8), "epoch": 8}
    story = Story()
    story.add(FactKind.SWITCH_STARTED, 500.0, "main", group(**raised), switch="SW-0002")
    facts = [fact for fact in second.facts if fact.at.mono < 500.0] + story.facts
    assert found(entries(facts), budgets={"main": Budget(switches=2, window=3600.0)}) == []
    assert found(entries(facts), budgets={"main": Budget(switches=1, window=400.0)}) == []
    assert found(entries(facts), budgets={"main": Budget(switches=1, window=3600.0)}) == [
        ("I5", "main starts automatic switch 2 within 3600 s")
    ]


def repeated(*between: tuple[FactKind, dict[str, str]], status: str = "unknown") -> list[Entry]:
    """A redirect whose outcome is not known, what happened then, and the redirect again."""
    facts = [fact for fact in failover().facts if not fact.kind.startswith("page")]
    cut = next(n for n, fact in enumerate(facts) if fact.get("phase") == "verifying")
    story = Story()
    story.facts = facts[:cut]
    if status:
        story.facts[-1] = data(story.facts[-1], status=status)
    else:
        del story.facts[-1]
    flying = group(epoch=7, switch=switch(command="CMD-0005"), phase=Phase.REDIRECTING)
    for kind, values in between:
        story.add(kind, 2.0, "main", switch="SW-0001", epoch=7, **values)
    story.add(
        FactKind.SWITCH_INTENDED,
        3.0,
        "main",
        flying,
        switch="SW-0001",
        verb="redirect",
        epoch=7,
        command="CMD-0005",
    )
    return story.entries()


def test_i7_a_repetition_without_reading_back() -> None:
    message = "SW-0001 repeats redirect without reading back what the first one did"
    assert found(repeated()) == [("I7", message)]
    assert found(repeated(status="failed")) == []
    assert found(repeated((FactKind.SWITCH_PHASE, {"phase": "reading_back"}))) == []
    assert found(repeated((FactKind.SWITCH_INTENDED, {"verb": "read_back", "command": "CMD-0004"}))) == []
    restart = (FactKind.CONTROLLER_STARTED, dict[str, str]())
    assert found(repeated(restart, status="")) == [("I7", message)]


def test_i8_a_page_that_goes_on_after_its_end() -> None:
    facts = failover().facts
    sent = next(fact for fact in facts if fact.kind is FactKind.PAGE_SENT)
    again = dataclasses.replace(data(sent, command="CMD-0010"), at=facts[-1].at)
    assert found(entries([*facts, again])) == [("I8", "PAGE-0001 goes on after it ended")]
    ended = next(fact for fact in facts if fact.kind is FactKind.PAGE_ENDED)
    assert found(entries([*facts, ended])) == [("I8", "PAGE-0001 ends twice")]


def test_i9_a_broken_chain() -> None:
    record = failover().entries()
    changed = [*record[:4], record[4]._replace(wall=1.0), *record[5:]]
    assert found(changed)[0] == ("I9", "its header does not match its digest")
    assert found(changed, chain=False) == []
    assert {name for name, _ in found([*record[:8], *record[9:]])} >= {"I9"}
    assert {name for name, _ in found([*record[:8], record[7], *record[8:]])} >= {"I9"}
    assert violations([record[4]._replace(payload="{}")])[0] == Violation(
        sequence=5, invariant="I9", message="its payload does not match its hash"
    )


def drill_story(**last: object) -> Story:
    drill = Drill(
        id="DRILL-0001",
        scenario="kill",
        component="primary",
        group="main",
        state=DrillState.PREPARING,
        inject_state=InjectState.PLANNED,
        by="li",
        inject=("command", ()),
        undo=("command", ()),
        started_wall=BASE,
        expires_wall=BASE + 30.0,
    )
    active = dataclasses.replace(drill, state=DrillState.INJECTED, inject_state=InjectState.ACTIVE)
    given: dict[str, object] = {
        "state": DrillState.FINISHED,
        "inject_state": InjectState.UNDONE,
        "undone_wall": BASE + 20.0,
        "finished_wall": BASE + 21.0,
    }
    over = dataclasses.replace(active, **{**given, **last})  # type: ignore[arg-type]
    story = Story()
    story.add(FactKind.DRILL_STARTED, 0.0, drill.id, drill, incident="", drill=True, undo="command")
    story.add(FactKind.DRILL_INJECTED, 1.0, drill.id, active, incident="", drill=True)
    story.add(FactKind.DRILL_FINISHED, 21.0, drill.id, over, incident="", drill=True)
    return story


def test_i10_injects_and_their_undo() -> None:
    assert found(drill_story().entries()) == []
    assert found(drill_story(inject_state=InjectState.UNDO_FAILED).entries()) == [
        ("I10", "DRILL-0001 ended with its inject undo_failed")
    ]
    assert found(drill_story(undone_wall=BASE + 200.0).entries()) == [
        ("I10", "DRILL-0001 was undone 170 s after its expiry")
    ]
    unprepared = spoiled(drill_story().facts, FactKind.DRILL_STARTED, lambda fact: None)
    assert found(unprepared) == [("I10", "DRILL-0001 was injected before its undo was recorded")]
    abandoned = drill_story()
    del abandoned.facts[-1]
    assert found(abandoned.entries()) == []
    abandoned.add(FactKind.NOTE, 100.0, "x", incident="")
    assert found(abandoned.entries()) == [("I10", "DRILL-0001 is past its expiry and its inject is active")]


def test_i10_what_belongs_to_a_drill_says_so() -> None:
    record = spoiled(failover().facts, FactKind.INCIDENT_OPENED, changing(Incident, drill=True))
    assert found(record) == [("I10", "incident/INC-0001 belongs to a drill and the entry does not say so")]
    record = spoiled(failover().facts, FactKind.PAGE_SENT, changing(Page, drill=True))
    assert found(record) == [("I10", "page/PAGE-0001 belongs to a drill and the entry does not say so")]


def test_i10_what_a_new_leader_read_of_a_drill_is_no_entry_of_the_drill() -> None:
    (read,) = drill_story().facts[0].changed
    story = Story()
    story.add(FactKind.LEADERSHIP_TAKEN, 1.0, "b", read, group(), taken_over=2)
    assert found(story.entries()) == []
    story.add(FactKind.NOTE, 2.0, "DRILL-0001", read, incident="")
    assert found(story.entries()) == [
        ("I10", "drill/DRILL-0001 belongs to a drill and the entry does not say so")
    ]


def test_i11_a_state_that_the_record_does_not_give() -> None:
    record = failover().entries()
    live = fold(lines(record))
    wrong = dataclasses.replace(live["group/main"], active="primary", next_read=5.0)  # type: ignore[arg-type]
    assert found(
        record, live=[*live.values(), Hold(scope="x", by="", reason="", since_wall=0, until_wall=9)]
    ) == [("I11", "hold/x is live and the record does not have it")]
    without = [value for key, value in live.items() if key != "page/PAGE-0001"]
    assert found(record, live=without) == [("I11", "the record has page/PAGE-0001 and it is not live")]
    changed = [wrong if key == "group/main" else value for key, value in live.items()]
    assert found(record, live=changed) == [("I11", "group/main differs from the record in active")]


def test_i13_a_healthy_system_sees_no_action() -> None:
    facts = failover().facts
    without = [fact for fact in facts if fact.kind is not FactKind.INCIDENT_OPENED]
    assert found(entries(without)) == [("I13", "main switches by itself and no incident is open")]
    closed = spoiled(facts, FactKind.INCIDENT_OPENED, changing(Incident, state=IncidentState.RESOLVED))
    assert found(closed) == [("I13", "main switches by itself and no incident is open")]
    healthy = [fact for fact in facts if fact.kind is not FactKind.FAULT_RAISED]
    assert found(entries(healthy)) == [("I13", "main switches for PlatformDead:primary, which is not active")]
    back = changing(Group, switch=switch(verb=SwitchVerb.FAILBACK))
    assert found(spoiled(without, FactKind.SWITCH_STARTED, back)) == []
    resolved = [fact for fact in run_story().facts if fact.kind is not FactKind.INCIDENT_OPENED]
    runs = [fact for fact in resolved if fact.kind is not FactKind.INCIDENT_ACKNOWLEDGED]
    assert ("I13", "RUN-0001 runs by rule and no incident is open") in found(entries(runs))


def test_violations_read_as_sentences_in_order() -> None:
    record = spoiled(failover().facts, FactKind.SWITCH_STARTED, lambda fact: None)
    said = violations(record)
    assert [each.sequence for each in said] == sorted(each.sequence for each in said)
    assert str(said[0]) == "I2 at sequence 7: SW-0001 commands before it was decided"


def test_every_checker_has_been_seen_to_fail() -> None:
    """A checker added without a seed above fails here."""
    source = Path(__file__).read_text(encoding="utf-8")
    for name in CHECKERS:
        assert f'("{name}", ' in source, name


def test_a_record_that_begins_with_a_takeover_is_judged_by_what_was_taken_over() -> None:
    """A switch that another node decided is gone on with; what this one decided and could not put there is void."""
    moving = group(epoch=7, phase=Phase.FENCING, switch=switch(epoch=7, command="CMD-0007"))
    story = Story()
    story.add(FactKind.LEADERSHIP_TAKEN, 1.0, "b", moving, taken_over=1)
    story.add(
        FactKind.SWITCH_INTENDED,
        1.1,
        "main",
        moving,
        switch="SW-0001",
        verb="read_back",
        epoch=7,
        command="CMD-0008",
    )
    story.add(
        FactKind.SWITCH_STEP_FINISHED,
        1.2,
        "main",
        moving,
        switch="SW-0001",
        verb="read_back",
        command="CMD-0008",
    )
    assert found(story.entries()) == []
    assert ("I2", "SW-0001 commands before it was decided") in found(entries(story.facts[1:]))


def test_an_epoch_that_never_reached_the_store_was_never_commanded() -> None:
    story = Story()
    story.add(FactKind.SWITCH_STARTED, 1.0, "main", group(epoch=7), switch="SW-0001", epoch=7)
    story.add(FactKind.LEADERSHIP_TAKEN, 5.0, "a", group(epoch=6), taken_over=1)
    story.add(FactKind.SWITCH_STARTED, 9.0, "main", group(epoch=7), switch="SW-0001", epoch=7)
    assert [each for each in found(story.entries()) if each[0] == "I3"] == []
    again = [fact for fact in story.facts if fact.kind is not FactKind.LEADERSHIP_TAKEN]
    assert "I3" in {invariant for invariant, _ in found(entries(again))}


def test_the_budget_counts_what_the_leader_before_spent() -> None:
    spent = group(automatic_walls=(BASE + 1.0, BASE + 2.0))
    budgets = {"main": Budget(switches=2, window=3600.0)}
    story = Story()
    story.add(FactKind.LEADERSHIP_TAKEN, 3.0, "b", spent, taken_over=1)
    story.add(FactKind.SWITCH_STARTED, 4.0, "main", group(epoch=9, switch=switch(epoch=9)), switch="SW-0001")
    assert "I5" in {invariant for invariant, _ in found(story.entries(), budgets=budgets)}
