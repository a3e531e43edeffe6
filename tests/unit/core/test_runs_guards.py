"""What may stop a step: leadership, timer gaps, holds, arming, another act on the group, and the permit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.core.switching import permit
from controller.model.commands import RunAction
from controller.model.events import (
    FaultCleared,
    IncidentChanged,
    OperatorDidManualStep,
    PageWanted,
    RunEnded,
    SwitchWanted,
)
from controller.model.facts import FactKind
from controller.model.faults import EvidenceKind, Fault, FaultKind
from controller.model.groups import Refusal, Switch, SwitchVerb
from controller.model.health import Vantage
from controller.model.incidents import IncidentState
from controller.model.runbooks import Step
from controller.model.runs import NOT_NEEDED, ActionStatus, RunState, StepState
from tests.builders.running import GROUP, Stage, act, call, manual, parallel, runbook

RESTART = act("restart", "command", disruptive=True, command="restart")


def test_without_leadership_nothing_leaves_and_with_it_the_run_goes_on() -> None:
    stage = Stage(runbook(act("one")))
    stage.lease(False)
    stage.start()
    assert not stage.commands and stage.step("one").message == "no_lease"
    stage.after(0.5)
    assert not stage.commands
    assert stage.kinds().count(FactKind.STEP_HELD) == 1, "waiting is recorded once"
    stage.lease(True)
    stage.after(0.5)
    assert len(stage.commands) == 1


def test_after_a_timer_gap_it_waits() -> None:
    stage = Stage(runbook(act("one")))
    stage.state = replace(stage.state, gap_until=stage.now.mono + 3.0)
    stage.start()
    assert not stage.commands and stage.step("one").message == "timer_gap"
    stage.after(3.0)
    assert len(stage.commands) == 1


@pytest.mark.parametrize("scope", ["*", GROUP, "phone-7", "primary", "edge-1"])
@pytest.mark.parametrize("maintenance", [False, True])
def test_a_hold_makes_a_disruptive_step_wait_and_say_what_it_would_do(scope: str, maintenance: bool) -> None:
    stage = Stage(runbook(act("look", "note", en="x"), RESTART))
    stage.hold(scope, maintenance=maintenance)
    stage.start(group=GROUP, component="phone-7")
    assert not stage.commands and stage.run.state is RunState.WAITING
    held = stage.fact(FactKind.STEP_HELD)
    assert held.get("reasons") == ("maintenance" if maintenance else "on_hold")
    assert held.get("action") == "command"
    stage.release(scope)
    stage.after(0.5)
    assert len(stage.commands) == 1 and stage.run.state is RunState.RUNNING


def test_a_hold_over_something_else_or_expired_does_not_matter() -> None:
    stage = Stage(runbook(RESTART))
    stage.hold("trunk-a")
    stage.hold("phone-7", seconds=-1.0)
    stage.start(component="phone-7")
    assert len(stage.commands) == 1


@pytest.mark.parametrize(("by", "left"), [("rule", 0), ("wang", 1)])
def test_a_rule_does_not_restart_a_side_that_was_fenced_meanwhile(by: str, left: int) -> None:
    """A restart could let it back in. A person may know better."""
    stage = Stage(runbook(RESTART))
    group = stage.state.groups[GROUP]
    fenced = replace(group, active="backup", fenced=("primary",))
    stage.state = replace(stage.state, groups=stage.state.groups.set(GROUP, fenced))
    stage.start(by=by, group=GROUP, component="primary")
    assert len(stage.commands) == left
    if not left:
        assert stage.step("restart").state is StepState.FAILED
        assert "side_fenced" in stage.step("restart").message


def test_a_hold_lets_harmless_steps_pass() -> None:
    stage = Stage(runbook(act("look", "probe", component="primary")))
    stage.hold("*")
    stage.start(group=GROUP)
    assert len(stage.commands) == 1


def test_a_hold_placed_between_attempts_stops_the_next_one() -> None:
    stage = Stage(runbook(act("restart", "command", disruptive=True, attempts=2)))
    stage.start(component="phone-7")
    stage.answer(ActionStatus.FAILED)
    stage.hold("phone-7")
    stage.after(2.0)
    assert len(stage.commands) == 1 and stage.step("restart").message == "on_hold"
    stage.release("phone-7")
    stage.after(0.5)
    assert len(stage.commands) == 2 and stage.step("restart").attempt == 2


def test_a_held_switch_is_not_asked_for() -> None:
    stage = Stage(runbook(act("switch", "failover")))
    stage.hold(GROUP)
    stage.start(group=GROUP)
    assert not any(isinstance(event, SwitchWanted) for event in stage.events)
    stage.release(GROUP)
    stage.after(0.5)
    assert isinstance(stage.events[-1], SwitchWanted)


def test_an_unarmed_group_is_not_touched_by_rule_and_the_timeline_says_what_would_be_done() -> None:
    undo = call("http", url="undo")
    stage = Stage(runbook(act("mark", rollback=undo, url="do"), RESTART, act("after")), armed=False)
    stage.start(group=GROUP, component="primary")
    stage.answer()
    shadow = stage.fact(FactKind.STEP_SHADOWED)
    assert (shadow.get("action"), shadow.get("with.command")) == ("command", "restart")
    assert stage.run.state is RunState.ROLLING_BACK
    stage.answer()
    assert stage.run.state is RunState.CANCELLED and stage.run.outcome == "shadowed"
    ended = stage.events[-1]
    assert isinstance(ended, RunEnded) and ended.outcome == "shadowed"
    assert [item.parameters for item in stage.commands if isinstance(item, RunAction)] == [
        (("url", "do"),),
        (("url", "undo"),),
    ]


def test_a_component_of_an_unarmed_group_is_not_touched_either() -> None:
    stage = Stage(runbook(RESTART), armed=False)
    stage.start(component="backup")
    assert not stage.commands and stage.run.outcome == "shadowed"


def test_a_person_may_act_on_an_unarmed_group() -> None:
    stage = Stage(runbook(RESTART), armed=False)
    stage.start(group=GROUP, by="wang")
    assert len(stage.commands) == 1


def test_a_component_of_no_group_needs_no_arming() -> None:
    stage = Stage(runbook(RESTART), armed=False)
    stage.start(component="phone-7")
    assert len(stage.commands) == 1


def test_one_disruptive_act_a_group_at_a_time() -> None:
    stage = Stage(runbook(RESTART, name="a"), runbook(RESTART, name="b"))
    first = stage.start("a", group=GROUP)
    second = stage.start("b", group=GROUP)
    assert len(stage.commands) == 1
    waiting = stage.state.runs[second.id].step("restart")
    assert waiting is not None and waiting.message == "run_in_progress"
    assert stage.state.runs[first.id].live
    stage.answer()
    stage.after(0.5)
    assert len(stage.commands) == 2


def test_a_switch_under_way_makes_a_disruptive_step_wait() -> None:
    stage = Stage(runbook(RESTART))
    switch = Switch(
        id="SW-1", verb=SwitchVerb.FAILOVER, origin="primary", target="backup", epoch=8, automatic=True
    )
    stage.set_group(switch=switch)
    stage.start(group=GROUP)
    assert not stage.commands and stage.step("restart").message == "run_in_progress"
    stage.set_group(switch=None)
    stage.after(0.5)
    assert len(stage.commands) == 1


class TestPermit:
    """A repair that drops calls needs the permit of a switch."""

    RESTART = act("restart", "command", disruptive=True, drops_calls=True, command="restart")

    def proven(self, stage: Stage) -> None:
        fault = Fault(
            kind=FaultKind.PLATFORM_HUNG,
            component="primary",
            group=GROUP,
            side="primary",
            evidence_kinds=(EvidenceKind.PROBE, EvidenceKind.EDGE),
        )
        vantage = Vantage(name="n1", live=True, last_beat=stage.now.mono)
        stage.state = replace(
            stage.state,
            faults=stage.state.faults.set(fault.key, fault),
            vantages=stage.state.vantages.set("n1", vantage),
        )

    def test_it_is_refused_with_every_named_reason(self) -> None:
        stage = Stage(runbook(self.RESTART))
        stage.start(group=GROUP, component="primary", fault="PlatformHung:primary")
        assert not stage.commands
        request = permit.Request(group=GROUP, verb=None, fault="PlatformHung:primary", run=stage.run.id)
        expected = permit.refusals(stage.state, stage.now, stage.policy, request)
        assert Refusal.ONE_KIND_OF_EVIDENCE in expected
        assert stage.step("restart").message == "refused: " + ",".join(expected)
        assert stage.run.state is RunState.FAILED

    def test_with_evidence_it_is_done(self) -> None:
        stage = Stage(runbook(self.RESTART))
        self.proven(stage)
        stage.start(group=GROUP, component="primary", fault="PlatformHung:primary")
        assert len(stage.commands) == 1

    def test_in_cooldown_it_is_refused(self) -> None:
        stage = Stage(runbook(self.RESTART))
        self.proven(stage)
        stage.set_group(cooldown_until=stage.now.mono + 100.0)
        stage.start(group=GROUP, component="primary", fault="PlatformHung:primary")
        assert "cooldown" in stage.step("restart").message

    def test_the_standby_drops_no_calls(self) -> None:
        stage = Stage(runbook(self.RESTART))
        stage.start(group=GROUP, component="backup")
        assert len(stage.commands) == 1


def test_what_only_waited_is_not_begun_after_its_incident_is_over() -> None:
    stage = Stage(runbook(RESTART))
    stage.open_incident("phone-7")
    stage.hold("phone-7")
    stage.start(component="phone-7")
    incident = replace(stage.state.incidents["INC-0001"], state=IncidentState.RESOLVED)
    stage.state = replace(stage.state, incidents=stage.state.incidents.set("INC-0001", incident))
    stage.send(IncidentChanged(at=stage.now, incident="INC-0001"))
    assert stage.run.state is RunState.CANCELLED
    stage.release("phone-7")
    stage.after(1.0)
    assert not stage.commands


def over(stage: Stage) -> None:
    incident = replace(stage.state.incidents["INC-0001"], state=IncidentState.RESOLVED)
    stage.state = replace(stage.state, incidents=stage.state.incidents.set("INC-0001", incident))
    stage.send(IncidentChanged(at=stage.now, incident="INC-0001"))


def last_resort(*, fault: str = "BothSidesDown:calls", alarm: Step | None = None) -> Stage:
    """Everybody was told, and two manual steps wait side by side."""
    told = alarm or act("alarm", "page", en="divert the calls")
    stage = Stage(runbook(told, parallel("resort", manual("divert"), manual("tell"))))
    stage.open_incident(GROUP, FaultKind.BOTH_SIDES_DOWN)
    stage.start(group=GROUP, fault=fault)
    return stage


def cleared(stage: Stage, kind: FaultKind = FaultKind.BOTH_SIDES_DOWN) -> None:
    fault = Fault(kind=kind, component=GROUP, group=GROUP, incident="INC-0001")
    stage.send(FaultCleared(at=stage.now, fault=fault))


@pytest.mark.parametrize("ends", [over, cleared])
def test_what_only_waits_for_people_is_given_up_when_nothing_wants_it(ends: Callable[[Stage], None]) -> None:
    stage = last_resort()
    assert stage.run.state is RunState.WAITING
    ends(stage)
    assert (stage.run.state, stage.run.outcome) == (RunState.CANCELLED, NOT_NEEDED)
    assert stage.wake() is None
    asked = sum(isinstance(event, PageWanted) for event in stage.events)
    stage.after(7200.0)
    assert sum(isinstance(event, PageWanted) for event in stage.events) == asked, (
        "nobody is told to divert calls"
    )


def did_one(stage: Stage) -> None:
    stage.send(
        OperatorDidManualStep(at=stage.now, run="RUN-0001", step="resort/divert", by="li", proof="4711")
    )


def is_in_doubt(stage: Stage) -> None:
    run = stage.run
    steps = tuple(replace(one, in_doubt=one.path == "resort/tell") for one in run.steps)
    stage.state = replace(stage.state, runs=stage.state.runs.set(run.id, replace(run, steps=steps)))
    stage.log[f"run/{run.id}"] = stage.run


@pytest.mark.parametrize("ends", [over, cleared])
@pytest.mark.parametrize("before", [did_one, is_in_doubt])
def test_what_people_began_is_theirs_to_finish(
    before: Callable[[Stage], None], ends: Callable[[Stage], None]
) -> None:
    stage = last_resort()
    before(stage)
    ends(stage)
    assert stage.run.state is RunState.WAITING


@pytest.mark.parametrize("ends", [over, cleared])
def test_an_effect_that_stands_is_not_left_alone(ends: Callable[[Stage], None]) -> None:
    stage = last_resort(alarm=act("quarantine", "http", rollback=call("http")))
    stage.answer()
    ends(stage)
    assert stage.run.state is RunState.WAITING


def test_another_fault_that_clears_takes_nothing_away() -> None:
    stage = last_resort()
    cleared(stage, FaultKind.PLATFORM_DEAD)
    assert stage.run.state is RunState.WAITING


def test_an_intruder_who_has_gone_quiet_is_looked_into_all_the_same() -> None:
    stage = last_resort(fault="SecurityAnomaly:calls")
    cleared(stage, FaultKind.SECURITY_ANOMALY)
    over(stage)
    assert stage.run.state is RunState.WAITING


def test_a_held_branch_holds_only_itself() -> None:
    stage = Stage(runbook(parallel("both", act("left"), act("right", "note", en="x")), RESTART))
    stage.hold("*")
    stage.start(component="phone-7")
    stage.answer()
    assert stage.step("both").state is StepState.SUCCEEDED
    assert stage.step("restart").state is StepState.PENDING
