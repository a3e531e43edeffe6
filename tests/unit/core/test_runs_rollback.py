"""The way down: failures, cancelling, and undoing in reverse order of completion."""

from __future__ import annotations

import pytest

from controller.model.commands import RunAction
from controller.model.events import OperatorCancelledRun, PageWanted, SwitchWanted
from controller.model.facts import FactKind
from controller.model.runbooks import OnUnknown
from controller.model.runs import ActionStatus, RunState, StepState
from tests.builders.running import GROUP, Stage, act, approve, call, runbook

UNDO = call("http", url="undo-${component}")


def sent(stage: Stage) -> list[str]:
    return [str(dict(item.parameters).get("url")) for item in stage.commands if isinstance(item, RunAction)]


def cancel(stage: Stage, reason: str = "enough") -> None:
    stage.send(OperatorCancelledRun(at=stage.now, run=stage.run.id, by="wang", reason=reason))


def test_undone_in_reverse_order() -> None:
    stage = Stage(
        runbook(
            act("a", url="a", rollback=call("http", url="-a")),
            act("b", url="b"),
            act("c", url="c", rollback=call("http", url="-c")),
            act("d", url="d", rollback=call("http", url="-d")),
        )
    )
    stage.start()
    for _ in range(3):
        stage.answer()
    stage.answer(ActionStatus.FAILED, "no")
    stage.answer()
    stage.answer()
    assert sent(stage) == ["a", "b", "c", "d", "-c", "-a"], "what failed without effect is not undone"
    assert stage.run.state is RunState.FAILED
    finished = stage.fact(FactKind.RUN_FINISHED)
    assert (finished.get("failed"), finished.get("not_undone")) == ("d", "b")


def test_a_refused_undo_leaves_the_run_to_a_person_after_the_others_were_undone() -> None:
    stage = Stage(
        runbook(
            act("a", rollback=call("http", url="-a")),
            act("b", rollback=call("http", url="-b")),
            act("c"),
        )
    )
    stage.open_incident()
    stage.start()
    stage.answer()
    stage.answer()
    stage.answer(ActionStatus.FAILED)
    stage.answer(ActionStatus.REFUSED, "no")
    assert sent(stage)[-1] == "-a"
    stage.answer()
    assert stage.run.state is RunState.NEEDS_PERSON
    assert stage.step("b").state is StepState.ROLLBACK_FAILED
    assert stage.step("a").state is StepState.ROLLED_BACK
    assert isinstance(stage.events[-1], PageWanted)


def test_an_undo_that_fails_is_tried_three_times() -> None:
    stage = Stage(runbook(act("a", rollback=UNDO), act("b")))
    stage.start(component="phone-7")
    stage.answer()
    stage.answer(ActionStatus.FAILED)
    for pause in (2.0, 4.0):
        stage.answer(ActionStatus.FAILED, "busy")
        assert stage.wake() == pause
        stage.after(pause)
    stage.answer(ActionStatus.FAILED, "busy")
    assert stage.run.state is RunState.NEEDS_PERSON
    assert sent(stage).count("undo-phone-7") == 3


@pytest.mark.parametrize(
    ("idempotent", "state"), [(True, RunState.ROLLING_BACK), (False, RunState.NEEDS_PERSON)]
)
def test_an_undo_whose_outcome_is_unknown_is_repeated_only_where_harmless(
    idempotent: bool, state: RunState
) -> None:
    stage = Stage(runbook(act("a", rollback=UNDO, idempotent=idempotent), act("b")))
    stage.start(component="phone-7")
    stage.answer()
    stage.answer(ActionStatus.FAILED)
    stage.answer(ActionStatus.UNKNOWN)
    assert stage.run.state is state


def test_a_hold_makes_the_undo_of_a_disruptive_step_wait() -> None:
    stage = Stage(runbook(act("a", rollback=UNDO, disruptive=True), act("b")))
    stage.start(component="phone-7")
    stage.answer()
    stage.hold("phone-7")
    stage.answer(ActionStatus.FAILED)
    assert stage.run.state is RunState.WAITING and len(stage.commands) == 2
    stage.release("phone-7")
    stage.after(0.5)
    assert stage.run.state is RunState.ROLLING_BACK and sent(stage)[-1] == "undo-phone-7"


def test_cancelling_waits_for_what_is_under_way_and_undoes_it() -> None:
    stage = Stage(runbook(act("a", rollback=UNDO), act("b")))
    stage.start(component="phone-7")
    cancel(stage)
    assert stage.run.state is RunState.ROLLING_BACK and len(stage.commands) == 1
    assert stage.fact(FactKind.RUN_ROLLING_BACK).actor == "wang"
    stage.answer()
    assert sent(stage)[-1] == "undo-phone-7"
    stage.answer()
    assert stage.run.state is RunState.CANCELLED and stage.run.step("b") is None


@pytest.mark.parametrize("first", ["wait", "approve", "probe", "retry"])
def test_cancelling_drops_what_has_no_effect(first: str) -> None:
    steps = {
        "wait": act("x", "wait", seconds=100),
        "approve": approve("x"),
        "probe": act("x", "probe", component="echo"),
        "retry": act("x", attempts=3, delay=100.0),
    }
    stage = Stage(runbook(steps[first]))
    stage.start()
    if first == "retry":
        stage.answer(ActionStatus.FAILED)
    cancel(stage)
    assert stage.run.state is RunState.CANCELLED and stage.wake() is None


def test_cancelling_during_a_switch_waits_for_its_end() -> None:
    stage = Stage(runbook(act("switch", "failover"), act("after")))
    stage.start(group=GROUP)
    assert isinstance(stage.events[-1], SwitchWanted)
    cancel(stage)
    assert stage.run.live
    stage.switched()
    assert stage.run.state is RunState.CANCELLED and stage.run.step("after") is None
    assert stage.fact(FactKind.RUN_FINISHED).get("not_undone") == "switch"


def test_an_unknown_outcome_while_cancelling_counts_as_an_effect() -> None:
    stage = Stage(runbook(act("a", rollback=UNDO, on_unknown=OnUnknown.MANUAL)))
    stage.start(component="phone-7")
    cancel(stage)
    stage.answer(ActionStatus.UNKNOWN)
    assert sent(stage)[-1] == "undo-phone-7"


def test_cancelling_twice_stops_the_rollback_and_leaves_the_run_to_a_person() -> None:
    stage = Stage(runbook(act("a", rollback=UNDO), act("b")))
    stage.start(component="phone-7")
    stage.answer()
    cancel(stage)
    cancel(stage, "hands off")
    assert stage.run.state is RunState.NEEDS_PERSON
    assert "hands off" in str(stage.fact(FactKind.RUN_FINISHED).get("reason"))
    cancel(stage)
    assert stage.fact(FactKind.REQUEST_REFUSED).get("reasons") == "run_not_live"


def test_a_crash_while_cancelling_leaves_no_trap() -> None:
    stage = Stage(runbook(act("a", rollback=UNDO, on_unknown=OnUnknown.MANUAL)))
    stage.start(component="phone-7")
    cancel(stage)
    stage.crash()
    assert sent(stage)[-1] == "undo-phone-7", "what may have taken effect is undone"
    stage.answer()
    assert stage.run.state is RunState.CANCELLED
