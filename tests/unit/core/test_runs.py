"""The ordinary way of a run: steps in order, conditions, retries, parallel branches, the core's own actions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.model.commands import RunAction, RunLadder
from controller.model.events import (
    ActionFinished,
    OperatorDidManualStep,
    OperatorStartedRun,
    PageWanted,
    RunEnded,
    RunWanted,
    SwitchWanted,
)
from controller.model.facts import FactKind
from controller.model.groups import Refusal, Switch, SwitchOutcome, SwitchVerb
from controller.model.health import RungKey
from controller.model.policy import Person
from controller.model.runs import ActionStatus, RunState, StepState
from tests.builders.running import GROUP, Stage, When, act, approve, call, manual, parallel, runbook


def test_steps_run_in_order_and_each_is_intended_before_it_leaves() -> None:
    stage = Stage(runbook(act("one", url="http://a/${component}"), act("two")))
    stage.start(component="phone-7")
    assert isinstance(stage.last, RunAction)
    assert dict(stage.last.parameters) == {"url": "http://a/phone-7"}
    assert stage.last.attempt == 1 and stage.last.step == "one"
    assert stage.run.step("two") is None
    stage.answer(data=(("status", 200),))
    assert stage.step("one").state is StepState.SUCCEEDED
    assert stage.step("one").data == (("status", 200),)
    stage.answer()
    assert stage.run.state is RunState.SUCCEEDED and stage.run.outcome == "succeeded"
    ended = stage.events[-1]
    assert isinstance(ended, RunEnded) and ended.succeeded
    assert stage.kinds() == [
        FactKind.RUN_STARTED,
        FactKind.STEP_INTENDED,
        FactKind.STEP_FINISHED,
        FactKind.STEP_INTENDED,
        FactKind.STEP_FINISHED,
        FactKind.RUN_FINISHED,
    ]


def test_the_group_and_its_epoch_go_with_an_action() -> None:
    stage = Stage(runbook(act("one", "kamailio.dispatcher", disruptive=True)))
    stage.start(group=GROUP)
    assert isinstance(stage.last, RunAction)
    assert (stage.last.group, stage.last.epoch, stage.last.disruptive) == (GROUP, 7, True)


def test_origin_and_target_stay_what_they_were_at_the_start() -> None:
    stage = Stage(runbook(act("one", url="${origin}"), act("two", url="${origin}>${target.destination}")))
    stage.start(group=GROUP)
    stage.set_group(active="backup")
    stage.answer()
    assert isinstance(stage.last, RunAction)
    assert dict(stage.last.parameters)["url"] == "primary>sip:10.0.0.2:5060"


def test_what_the_configuration_says_of_a_component_can_be_referred_to() -> None:
    stage = Stage(runbook(act("one", url="${component.destination} ${edges} ${spare} ${group}")))
    components = stage.policy.components
    values = (("destination", "sip:198.51.100.1:5060"), ("group", GROUP))
    trunk = replace(components["trunk-a"], values=values, redundancy="trunks")
    spare = replace(components["trunk-b"], redundancy="trunks")
    components = components.set("trunk-a", trunk).set("trunk-b", spare)
    stage.policy = replace(stage.policy, components=components)
    stage.start(component="trunk-a")
    assert isinstance(stage.last, RunAction)
    assert dict(stage.last.parameters)["url"] == "sip:198.51.100.1:5060 edge-1 trunk-b calls"
    assert stage.last.epoch == 7, "a trunk behind a group's edges is moved under the group's epoch"


def test_a_broken_spare_is_none() -> None:
    stage = Stage(runbook(act("one", url="${spare}")))
    components = stage.policy.components
    for name in ("trunk-a", "trunk-b"):
        components = components.set(name, replace(components[name], redundancy="trunks"))
    stage.policy = replace(stage.policy, components=components)
    stage.state = replace(stage.state, broken=stage.state.broken.set("trunk-b", "sip"))
    stage.start(component="trunk-a")
    assert not stage.commands and "spare" in stage.step("one").message


def test_a_reference_without_a_value_fails_the_step_and_nothing_is_sent() -> None:
    stage = Stage(runbook(act("one", url="${colour}")))
    stage.start()
    assert not stage.commands
    assert stage.run.state is RunState.FAILED
    assert "colour" in stage.step("one").message


def test_a_false_condition_skips_and_an_unknown_one_fails() -> None:
    stage = Stage(
        runbook(act("one", when=When("component", "x")), act("two", when=When("steps.one.mos", 4.0)))
    )
    stage.start(component="phone-7")
    assert stage.step("one").state is StepState.SKIPPED
    assert stage.step("two").state is StepState.FAILED
    assert stage.run.state is RunState.FAILED and not stage.commands


def test_conditions_read_what_earlier_steps_brought() -> None:
    stage = Stage(runbook(act("one"), act("two", when=When("steps.one.status", 200))))
    stage.start()
    stage.answer(data=(("status", 200),))
    assert stage.last.step == "two"  # type: ignore[union-attr]


def test_a_failed_attempt_is_tried_again_after_a_growing_pause_each_on_record() -> None:
    stage = Stage(runbook(act("one", attempts=3, delay=2.0)))
    stage.start()
    stage.answer(ActionStatus.FAILED, "busy")
    assert stage.step("one").state is StepState.RETRYING and stage.wake() == 2.0
    stage.after(1.9)
    assert len(stage.commands) == 1
    stage.after(0.1)
    assert len(stage.commands) == 2 and stage.last.attempt == 2  # type: ignore[union-attr]
    stage.answer(ActionStatus.FAILED, "busy")
    assert stage.wake() == 4.0
    stage.after(4.0)
    stage.answer(ActionStatus.FAILED, "busy")
    assert stage.run.state is RunState.FAILED
    assert [fact.get("attempt") for fact in stage.facts if fact.kind is FactKind.STEP_INTENDED] == [1, 2, 3]


def test_a_refusal_is_not_tried_again() -> None:
    stage = Stage(runbook(act("one", attempts=3)))
    stage.start()
    stage.answer(ActionStatus.REFUSED, "stale epoch")
    assert stage.run.state is RunState.FAILED and len(stage.commands) == 1


def test_a_failure_that_may_be_passed_over() -> None:
    stage = Stage(runbook(act("one", on_failure="continue"), act("two")))
    stage.start()
    stage.answer(ActionStatus.FAILED)
    stage.answer()
    assert stage.run.state is RunState.SUCCEEDED


def test_an_answer_that_never_comes_is_an_unknown_outcome() -> None:
    stage = Stage(runbook(act("one", timeout=10.0)))
    stage.start()
    stage.after(11.0)
    assert stage.step("one").in_doubt
    assert stage.step("one").state is StepState.AWAITING_PERSON
    assert FactKind.STEP_UNKNOWN in stage.kinds()


def test_a_late_answer_to_an_earlier_attempt_changes_nothing() -> None:
    stage = Stage(runbook(act("one", attempts=2)))
    stage.start()
    first = stage.last.id
    stage.answer(ActionStatus.FAILED)
    stage.after(2.0)
    before = stage.run
    stage.send(ActionFinished(at=stage.now, command=first, status=ActionStatus.SUCCEEDED))
    assert stage.run == before


def test_verify_decides() -> None:
    step = act("one", verify=call("probe", component="primary", rungs=["sip"]))
    stage = Stage(runbook(step))
    stage.start()
    stage.answer()
    assert stage.step("one").state is StepState.VERIFYING
    assert isinstance(stage.last, RunLadder) and stage.last.keys == (RungKey("primary", "sip"),)
    stage.probed(True)
    assert stage.run.state is RunState.SUCCEEDED


def test_an_act_that_is_not_verified_has_failed_and_is_undone() -> None:
    step = act("one", verify=call("probe", component="primary"), rollback=call("http", url="undo"))
    stage = Stage(runbook(step))
    stage.start()
    stage.answer()
    stage.probed(False)
    assert stage.run.state is RunState.ROLLING_BACK
    assert isinstance(stage.last, RunAction) and dict(stage.last.parameters) == {"url": "undo"}
    stage.answer()
    assert stage.step("one").state is StepState.ROLLED_BACK
    assert stage.run.state is RunState.FAILED


def test_parallel_branches_start_together_and_join() -> None:
    stage = Stage(runbook(parallel("both", act("left"), act("right", attempts=2)), act("after")))
    stage.start()
    left, right = stage.commands
    assert stage.run.step("after") is None
    stage.answer(ActionStatus.FAILED)
    assert stage.step("both/right").state is StepState.RETRYING
    stage.after(2.0)
    stage.answer()
    assert stage.step("both").state is StepState.INTENDED
    stage.send(ActionFinished(at=stage.now, command=left.id, status=ActionStatus.SUCCEEDED))
    assert stage.step("both").state is StepState.SUCCEEDED
    assert stage.last.step == "after"  # type: ignore[union-attr]


def test_a_failed_branch_waits_for_the_others_before_the_run_rolls_back() -> None:
    undo = call("http", url="undo")
    stage = Stage(runbook(parallel("both", act("left"), act("right", rollback=undo))))
    stage.start()
    left, right = stage.commands
    stage.send(ActionFinished(at=stage.now, command=left.id, status=ActionStatus.FAILED))
    assert stage.run.state is RunState.RUNNING
    stage.send(ActionFinished(at=stage.now, command=right.id, status=ActionStatus.SUCCEEDED))
    assert stage.run.state is RunState.ROLLING_BACK
    stage.answer()
    assert stage.step("both/right").state is StepState.ROLLED_BACK
    assert stage.run.state is RunState.FAILED


def test_a_disruptive_branch_is_never_started() -> None:
    stage = Stage(runbook(parallel("both", act("left"), act("right", disruptive=True))))
    stage.start()
    assert not stage.commands
    assert "right" in stage.step("both").message
    assert stage.run.state is RunState.FAILED


def test_wait_is_a_deadline() -> None:
    stage = Stage(runbook(act("pause", "wait", seconds=30), act("two")))
    stage.start()
    assert stage.wake() == 30.0
    stage.after(29.0)
    assert not stage.commands
    stage.after(1.0)
    assert stage.last.step == "two"  # type: ignore[union-attr]


def test_note_and_page_are_done_with_the_record() -> None:
    stage = Stage(
        runbook(
            act("say", "note", zh="记录", en="noted ${component}"), act("tell", "page", zh="请看", en="look")
        )
    )
    stage.open_incident()
    stage.start(component="phone-7")
    assert stage.run.state is RunState.SUCCEEDED
    assert stage.fact(FactKind.NOTE).get("en") == "noted phone-7"
    page = next(event for event in stage.events if isinstance(event, PageWanted))
    assert (page.incident, page.need_zh, page.need_en) == ("INC-0001", "请看", "look")


def test_probe_runs_a_whole_ladder_and_brings_its_values() -> None:
    stage = Stage(
        runbook(
            act("look", "probe", component="${component}", count=2),
            act("two", when=When("steps.look.call.mos", 4.2)),
        )
    )
    stage.start(component="trunk-a")
    assert isinstance(stage.last, RunLadder)
    assert (
        stage.last.keys == (RungKey("trunk-a", "sip"), RungKey("trunk-a", "call")) and stage.last.count == 2
    )
    stage.probed(True, values=(("mos", 4.2),))
    assert stage.last.step == "two"  # type: ignore[union-attr]


def test_a_whole_ladder_leaves_out_what_no_prober_has() -> None:
    stage = Stage(runbook(act("look", "probe", component="held")))
    stage.start()
    assert isinstance(stage.last, RunLadder) and stage.last.keys == (RungKey("held", "sip"),)


@pytest.mark.parametrize(
    ("expect", "seen", "state"),
    [
        ("up", (True, True), RunState.SUCCEEDED),
        ("up", (True, False), RunState.FAILED),
        ("up", (True, None), RunState.FAILED),
        ("down", (False, False), RunState.SUCCEEDED),
        ("down", (False, True), RunState.FAILED),
        ("down", (False, None), RunState.FAILED),
    ],
)
def test_what_a_probe_expects(expect: str, seen: tuple[bool | None, ...], state: RunState) -> None:
    stage = Stage(runbook(act("look", "probe", component="trunk-a", expect=expect)))
    stage.start()
    stage.probed(*seen)
    assert stage.run.state is state


def test_a_probe_that_must_be_answered_by_a_side() -> None:
    stage = Stage(runbook(act("look", "probe", component="echo", side="${target}", attempts=2)))
    stage.start(group=GROUP)
    stage.probed(True, values=(("side", "primary"),))
    assert "answered by primary, not backup" in stage.step("look").message
    stage.after(2.0)
    stage.probed(True, values=(("side", "backup"),))
    assert stage.run.state is RunState.SUCCEEDED


def test_a_probe_without_an_answer_or_a_component_fails() -> None:
    stage = Stage(runbook(act("look", "probe", component="nobody")))
    stage.start()
    assert "no component named nobody" in stage.step("look").message
    silent = Stage(runbook(act("look", "probe", component="echo", timeout=5.0)))
    silent.start()
    silent.after(7.0)
    assert silent.run.state is RunState.FAILED


def test_failover_asks_the_failover_stage_and_waits_for_its_end() -> None:
    stage = Stage(runbook(act("switch", "failover")))
    stage.open_incident()
    stage.start(group=GROUP, fault="PlatformDead:primary")
    wanted = stage.events[-1]
    assert isinstance(wanted, SwitchWanted)
    assert (wanted.group, wanted.verb, wanted.target) == (GROUP, SwitchVerb.FAILOVER, "backup")
    assert (wanted.automatic, wanted.by, wanted.fault) == (True, "", "PlatformDead:primary")
    assert wanted.reason == "", "the runbook's own name is no reason"
    assert stage.run.state is RunState.RUNNING
    stage.switched()
    assert stage.run.state is RunState.SUCCEEDED
    assert dict(stage.step("switch").data)["outcome"] == "verified"


def test_a_person_asks_for_a_failback() -> None:
    stage = Stage(runbook(act("back", "failover", verb="failback", target="backup")))
    stage.start(group=GROUP, by="wang")
    wanted = stage.events[-1]
    assert isinstance(wanted, SwitchWanted)
    assert (wanted.verb, wanted.automatic, wanted.by) == (SwitchVerb.FAILBACK, False, "wang")


def test_a_runbook_can_not_force() -> None:
    stage = Stage(runbook(act("force", "failover", verb="force")))
    stage.start(group=GROUP, by="wang")
    assert not any(isinstance(event, SwitchWanted) for event in stage.events)
    assert stage.run.state is RunState.FAILED


@pytest.mark.parametrize(
    ("outcome", "state", "word"),
    [
        (SwitchOutcome.REFUSED, RunState.FAILED, "failed"),
        (SwitchOutcome.COMPENSATED, RunState.FAILED, "failed"),
        (SwitchOutcome.FAILED, RunState.FAILED, "failed"),
        (SwitchOutcome.NEEDS_PERSON, RunState.NEEDS_PERSON, "needs_person"),
        (SwitchOutcome.SHADOWED, RunState.CANCELLED, "shadowed"),
    ],
)
def test_how_a_switch_ends_its_run(outcome: SwitchOutcome, state: RunState, word: str) -> None:
    stage = Stage(runbook(act("switch", "failover"), act("two")), armed=outcome is not SwitchOutcome.SHADOWED)
    stage.start(group=GROUP)
    stage.switched(outcome, (Refusal.COOLDOWN,) if outcome is SwitchOutcome.REFUSED else ())
    assert stage.run.state is state and stage.run.outcome == word
    ended = next(event for event in stage.events if isinstance(event, RunEnded))
    assert not ended.succeeded and ended.outcome == word
    if outcome is SwitchOutcome.REFUSED:
        assert "cooldown" in stage.step("switch").message


def test_a_switch_that_takes_long_is_waited_for() -> None:
    stage = Stage(runbook(act("switch", "failover")))
    run = stage.start(group=GROUP)
    switch = Switch(
        id="SW-0001",
        verb=SwitchVerb.FAILOVER,
        origin="primary",
        target="backup",
        epoch=8,
        automatic=True,
        run=run.id,
        step="switch",
    )
    stage.set_group(switch=switch)
    for _ in range(20):
        stage.after(5.0)
    assert stage.run.state is RunState.RUNNING
    stage.set_group(switch=None)
    stage.after(5.0)
    assert stage.run.state is RunState.FAILED and "without an answer" in stage.step("switch").message


def test_a_run_wanted_twice_runs_once_and_an_unknown_one_is_answered() -> None:
    stage = Stage(runbook(act("one")))
    stage.open_incident()
    stage.start()
    wanted = RunWanted(
        at=stage.now, runbook="repair", incident="INC-0001", group="", fault="", inputs=(), drill=False
    )
    stage.send(wanted)
    assert len(stage.state.runs) == 1
    assert stage.fact(FactKind.RESPONSE_WITHHELD).get("reason") == "already_running"
    stage.send(replace(wanted, runbook="nothing"))
    ended = stage.events[-1]
    assert isinstance(ended, RunEnded) and ended.outcome == "unknown_runbook"


def test_a_person_is_told_what_is_missing() -> None:
    stage = Stage(runbook(act("one"), inputs=("component", "colour")))
    asked = OperatorStartedRun(
        at=stage.now, runbook="repair", inputs=(("component", "phone-7"),), by="wang", group="nowhere"
    )
    stage.send(asked)
    assert stage.fact(FactKind.REQUEST_REFUSED).get("reasons") == "unknown_group"
    stage.send(replace(asked, group=""))
    assert stage.fact(FactKind.REQUEST_REFUSED).get("reasons") == "missing_input:colour"
    assert not stage.state.runs
    stage.send(replace(asked, group="", inputs=(*asked.inputs, ("colour", "red"))))
    assert stage.run.started_by == "wang"


def test_secrets_do_not_reach_the_timeline() -> None:
    stage = Stage(
        runbook(act("one", url="http://a", headers={"Authorization": "Bearer abc"}, json={"pin": 1}))
    )
    stage.start()
    assert dict(stage.last.parameters)["headers/Authorization"] == "Bearer abc"  # type: ignore[union-attr]
    shown = str(stage.facts)
    assert "Bearer" not in shown and ("with.json/pin", "***") in stage.fact(FactKind.STEP_INTENDED).data


class TestPeople:
    PEOPLE = (
        Person(name="wang", display="Wang", role="engineer"),
        Person(name="li", display="Li", role="commander"),
    )

    def test_an_approval_lets_the_run_go_on(self) -> None:
        stage = Stage(runbook(approve("ask"), act("one")))
        stage.open_incident()
        stage.start()
        assert stage.run.state is RunState.WAITING and not stage.commands
        asked = stage.fact(FactKind.APPROVAL_REQUESTED)
        assert (asked.get("step"), asked.get("attempt"), asked.get("revision")) == ("ask", 1, "r1")
        assert any(isinstance(event, PageWanted) for event in stage.events)
        stage.decide("ask")
        assert stage.run.state is RunState.RUNNING and stage.step("ask").by == "wang"
        assert stage.fact(FactKind.APPROVAL_GIVEN).actor == "wang"

    def test_a_refused_approval_fails_the_run(self) -> None:
        stage = Stage(runbook(approve("ask"), act("one")))
        stage.start()
        stage.decide("ask", granted=False)
        assert stage.run.state is RunState.FAILED and not stage.commands

    @pytest.mark.parametrize(
        ("names", "stale"),
        [
            ({"run": "RUN-0099"}, "run"),
            ({"revision": "r0"}, "revision"),
            ({"step": "one"}, "step"),
            ({"attempt": 2}, "attempt"),
        ],
    )
    def test_a_stale_approval_is_refused_by_name(self, names: dict[str, object], stale: str) -> None:
        stage = Stage(runbook(approve("ask"), act("one")))
        stage.start()
        before = stage.run
        stage.decide("ask", **names)
        assert stage.fact(FactKind.APPROVAL_STALE).get("stale") == stale
        assert stage.run == before

    def test_the_same_approval_twice_is_stale_the_second_time(self) -> None:
        stage = Stage(runbook(approve("ask"), act("one")))
        stage.start()
        stage.decide("ask")
        stage.decide("ask", attempt=1)
        assert stage.fact(FactKind.APPROVAL_STALE).get("stale") == "step"
        assert len(stage.commands) == 1

    def test_only_the_role_may_approve(self) -> None:
        stage = Stage(runbook(approve("ask", role="commander"), act("one")), people=self.PEOPLE)
        stage.start()
        for by in ("wang", "nobody"):
            stage.decide("ask", by=by)
            assert stage.fact(FactKind.REQUEST_REFUSED).get("reasons") == "wrong_role"
        assert not stage.commands
        stage.decide("ask", by="li")
        assert len(stage.commands) == 1

    @pytest.mark.parametrize(("default", "state"), [(True, RunState.RUNNING), (False, RunState.FAILED)])
    def test_silence_means_the_declared_default(self, default: bool, state: RunState) -> None:
        stage = Stage(runbook(approve("ask", expires=60.0, default=default), act("one")))
        stage.start()
        stage.after(59.0)
        assert stage.run.state is RunState.WAITING
        stage.after(1.0)
        assert stage.run.state is state
        assert FactKind.APPROVAL_EXPIRED in stage.kinds()

    def test_a_manual_step_waits_for_its_proof_and_pages_when_overdue(self) -> None:
        stage = Stage(runbook(manual("call", deadline=100.0), act("one")))
        stage.open_incident()
        stage.start()
        assert stage.run.state is RunState.WAITING
        pages = len([event for event in stage.events if isinstance(event, PageWanted)])
        stage.after(100.0)
        assert stage.fact(FactKind.MANUAL_OVERDUE).get("owner") == "duty"
        assert len([event for event in stage.events if isinstance(event, PageWanted)]) == pages + 1
        assert stage.wake() == 100.0
        did = OperatorDidManualStep(at=stage.now, run=stage.run.id, step="call", by="wang", proof=" ")
        stage.send(did)
        assert stage.fact(FactKind.REQUEST_REFUSED).get("reasons") == "needs_proof"
        stage.send(replace(did, proof="ticket 5"))
        assert (stage.step("call").proof, stage.step("call").by) == ("ticket 5", "wang")
        assert stage.last.step == "one"  # type: ignore[union-attr]

    def test_a_manual_step_can_be_declined_but_not_approved_without_proof(self) -> None:
        stage = Stage(runbook(manual("call"), act("one")))
        stage.start()
        stage.decide("call", granted=True)
        assert stage.fact(FactKind.REQUEST_REFUSED).get("reasons") == "needs_proof"
        stage.decide("call", granted=False)
        assert stage.run.state is RunState.FAILED and not stage.commands
