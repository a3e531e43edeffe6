"""After a crash: nothing is repeated before it was read back, every deadline starts again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.model.commands import RunLadder
from controller.model.events import OperatorCancelledRun, PageWanted
from controller.model.facts import FactKind
from controller.model.groups import Switch, SwitchVerb
from controller.model.runbooks import OnUnknown
from controller.model.runs import ActionStatus, RunState, StepState
from tests.builders.running import GROUP, Stage, act, approve, call, manual, parallel, runbook

LOOK = call("probe", component="primary", rungs=["sip"])
UNDO = call("http", url="undo")


def test_an_act_under_way_is_read_back_and_believed() -> None:
    stage = Stage(runbook(act("one", verify=LOOK, on_unknown=OnUnknown.VERIFY), act("two")))
    stage.start()
    stage.crash()
    assert FactKind.STEP_UNKNOWN in stage.kinds()
    assert isinstance(stage.last, RunLadder) and stage.step("one").state is StepState.VERIFYING
    stage.probed(True)
    assert stage.step("one").state is StepState.SUCCEEDED and not stage.step("one").in_doubt
    assert stage.last.step == "two"  # type: ignore[union-attr]


def test_an_act_that_was_not_done_is_done_after_the_read_back() -> None:
    stage = Stage(runbook(act("one", verify=LOOK, on_unknown=OnUnknown.VERIFY, attempts=2)))
    stage.start()
    stage.crash()
    stage.probed(False)
    assert stage.step("one").state is StepState.RETRYING
    stage.after(2.0)
    assert stage.last.attempt == 2  # type: ignore[union-attr]


def test_what_the_read_back_denies_is_not_undone() -> None:
    stage = Stage(runbook(act("one", verify=LOOK, on_unknown=OnUnknown.VERIFY, rollback=UNDO)))
    stage.start()
    stage.crash()
    stage.probed(False)
    assert stage.run.state is RunState.FAILED and isinstance(stage.last, RunLadder)


def test_nothing_is_read_back_before_leadership_is_held() -> None:
    stage = Stage(runbook(act("one", verify=LOOK, on_unknown=OnUnknown.VERIFY)))
    stage.start()
    stage.crash(lease=False)
    commands = len(stage.commands)
    stage.after(5.0)
    assert len(stage.commands) == commands
    stage.lease(True)
    stage.after(0.5)
    assert len(stage.commands) == commands + 1


def test_an_idempotent_act_is_repeated() -> None:
    stage = Stage(runbook(act("one", idempotent=True, on_unknown=OnUnknown.REPEAT)))
    stage.start()
    stage.crash()
    assert stage.last.attempt == 2  # type: ignore[union-attr]
    stage.answer()
    assert stage.run.state is RunState.SUCCEEDED


def test_repeat_without_idempotent_asks_a_person() -> None:
    stage = Stage(runbook(act("one", on_unknown=OnUnknown.REPEAT)))
    stage.start()
    stage.crash()
    assert stage.step("one").state is StepState.AWAITING_PERSON and len(stage.commands) == 1


@pytest.mark.parametrize(
    ("took_effect", "state", "undone"),
    [(True, RunState.RUNNING, False), (False, RunState.FAILED, False)],
)
def test_a_person_says_whether_it_took_effect(took_effect: bool, state: RunState, undone: bool) -> None:
    stage = Stage(runbook(act("one", on_unknown=OnUnknown.MANUAL, rollback=UNDO), act("two")))
    stage.open_incident()
    stage.start()
    stage.crash()
    assert stage.run.state is RunState.WAITING
    assert any(isinstance(event, PageWanted) for event in stage.events)
    stage.decide("one", granted=took_effect)
    assert stage.run.state is state


def test_fail_counts_as_an_effect_and_is_undone() -> None:
    stage = Stage(runbook(act("one", on_unknown=OnUnknown.FAIL, rollback=UNDO)))
    stage.start()
    stage.crash()
    assert dict(stage.last.parameters) == {"url": "undo"}  # type: ignore[union-attr]
    stage.answer()
    assert stage.run.state is RunState.FAILED


def test_a_verify_under_way_is_done_again_but_not_the_act() -> None:
    stage = Stage(runbook(act("one", verify=LOOK)))
    stage.start()
    stage.answer()
    stage.crash()
    ladders = [item for item in stage.commands if isinstance(item, RunLadder)]
    assert len(ladders) == 2 and len(stage.commands) == 3
    stage.probed(True)
    assert stage.run.state is RunState.SUCCEEDED


def test_pauses_and_deadlines_start_again_in_full() -> None:
    stage = Stage(runbook(act("pause", "wait", seconds=30)))
    stage.start()
    stage.after(29.0)
    stage.crash()
    assert stage.wake() == pytest.approx(30.0)
    asked = Stage(runbook(approve("ask", expires=60.0)))
    asked.start()
    asked.after(59.0)
    asked.crash(lease=False)
    assert asked.wake() == pytest.approx(60.0)
    by_hand = Stage(runbook(manual("do", deadline=70.0)))
    by_hand.start()
    by_hand.crash(lease=False)
    assert by_hand.wake() == pytest.approx(70.0)
    retrying = Stage(runbook(act("one", attempts=2, delay=8.0)))
    retrying.start()
    retrying.answer(ActionStatus.FAILED)
    retrying.crash(lease=False)
    assert retrying.wake() == pytest.approx(8.0)


def test_probes_are_repeated() -> None:
    stage = Stage(runbook(act("look", "probe", component="echo")))
    stage.start()
    stage.crash()
    assert len(stage.commands) == 2
    stage.probed(True)
    assert stage.run.state is RunState.SUCCEEDED


def test_a_switch_under_way_is_waited_for_and_one_that_never_began_has_failed() -> None:
    stage = Stage(runbook(act("switch", "failover")))
    run = stage.start(group=GROUP)
    switch = Switch(
        id="SW-1",
        verb=SwitchVerb.FAILOVER,
        origin="primary",
        target="backup",
        epoch=8,
        automatic=True,
        run=run.id,
        step="switch",
    )
    stage.set_group(switch=switch)
    stage.crash()
    assert stage.step("switch").state is StepState.INTENDED
    stage.switched()
    assert stage.run.state is RunState.SUCCEEDED
    other = Stage(runbook(act("switch", "failover")))
    other.start(group=GROUP)
    other.crash()
    assert other.run.state is RunState.FAILED


@pytest.mark.parametrize(
    ("idempotent", "state"), [(True, RunState.ROLLING_BACK), (False, RunState.NEEDS_PERSON)]
)
def test_an_undo_under_way_is_repeated_only_where_harmless(idempotent: bool, state: RunState) -> None:
    stage = Stage(runbook(act("a", rollback=UNDO, idempotent=idempotent), act("b")))
    stage.start()
    stage.answer()
    stage.answer(ActionStatus.FAILED)
    stage.crash()
    stage.after(5.0)
    assert stage.run.state is state


def test_a_parallel_step_goes_on_branch_by_branch() -> None:
    left = act("left", idempotent=True, on_unknown=OnUnknown.REPEAT)
    stage = Stage(runbook(parallel("both", left, act("right", on_unknown=OnUnknown.MANUAL)), act("after")))
    stage.start()
    stage.crash()
    assert stage.last.step == "both/left"  # type: ignore[union-attr]
    stage.answer()
    stage.decide("both/right", granted=True)
    assert stage.last.step == "after"  # type: ignore[union-attr]


def test_a_run_whose_runbook_has_changed_is_left_to_a_person() -> None:
    stage = Stage(runbook(act("one", idempotent=True, on_unknown=OnUnknown.REPEAT)))
    stage.open_incident()
    stage.start()
    changed = runbook(act("one"), revision="r2")
    stage.policy = replace(stage.policy, runbooks=stage.policy.runbooks.set("repair", changed))
    stage.crash()
    assert stage.run.state is RunState.NEEDS_PERSON and len(stage.commands) == 1


def test_a_verify_looks_again_until_the_act_shows() -> None:
    patient = replace(LOOK, attempts=3, pause=4.0)
    stage = Stage(runbook(act("one", verify=patient)))
    stage.start()
    stage.answer()
    stage.probed(False)
    assert stage.step("one").state is StepState.VERIFYING and stage.wake() == pytest.approx(4.0)
    stage.after(4.0)
    stage.probed(False)
    stage.after(4.0)
    stage.probed(True)
    assert stage.run.state is RunState.SUCCEEDED
    assert len([item for item in stage.commands if isinstance(item, RunLadder)]) == 3


def test_a_verify_gives_up_after_its_attempts() -> None:
    stage = Stage(runbook(act("one", verify=replace(LOOK, attempts=2), rollback=UNDO)))
    stage.start()
    stage.answer()
    stage.probed(False)
    stage.after(1.0)
    stage.probed(False)
    assert dict(stage.last.parameters) == {"url": "undo"}  # type: ignore[union-attr]


def test_between_two_looks_a_crash_or_a_cancel_leaves_no_trap() -> None:
    patient = replace(LOOK, attempts=5, pause=4.0)
    stage = Stage(runbook(act("one", verify=patient, rollback=UNDO)))
    stage.start()
    stage.answer()
    stage.probed(False)
    stage.crash()
    assert isinstance(stage.last, RunLadder)
    stage.probed(False)
    stage.send(OperatorCancelledRun(at=stage.now, run=stage.run.id, by="wang", reason="x"))
    assert dict(stage.last.parameters) == {"url": "undo"}  # type: ignore[union-attr]
    stage.answer()
    assert stage.run.state is RunState.CANCELLED
