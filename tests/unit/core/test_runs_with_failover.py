"""A run and the failover stage, folded together as the engine does: one event from outside, one commit."""

from __future__ import annotations

from controller.core.step import step
from controller.model.commands import Command
from controller.model.events import RunWanted
from controller.model.facts import FactKind
from controller.model.groups import Refusal
from controller.model.runs import RunState
from controller.model.state import Decision
from tests.builders.rehearsing import read_runbook
from tests.builders.running import GROUP, Stage

WANTED_FAULT = "PlatformDead:primary"


def wanted(stage: Stage) -> RunWanted:
    return RunWanted(
        at=stage.now,
        runbook="failover",
        incident="",
        group=GROUP,
        fault=WANTED_FAULT,
        inputs=(("component", "primary"),),
        drill=False,
    )


def test_a_refused_switch_ends_its_run_in_the_same_commit_with_every_refusal() -> None:
    stage = Stage(read_runbook("failover"))
    decision = step(stage.state, wanted(stage), stage.policy)
    (run,) = decision.state.runs.values()
    assert run.state is RunState.FAILED
    record = run.step("switch")
    assert record is not None and record.message.startswith("refused: ")
    assert Refusal.UNKNOWN_DATA in record.message
    kinds = [fact.kind for fact in decision.facts]
    assert kinds.index(FactKind.STEP_INTENDED) < kinds.index(FactKind.SWITCH_REFUSED)
    assert FactKind.RUN_FINISHED in kinds and not disruptive(decision)


def test_without_arming_the_switch_is_shadowed_and_so_is_its_run() -> None:
    stage = Stage(read_runbook("failover"), armed=False)
    decision = step(stage.state, wanted(stage), stage.policy)
    (run,) = decision.state.runs.values()
    assert (run.state, run.outcome) == (RunState.CANCELLED, "shadowed")
    kinds = {fact.kind for fact in decision.facts}
    assert {FactKind.SWITCH_SHADOWED, FactKind.STEP_SHADOWED, FactKind.RUN_FINISHED} <= kinds
    assert not disruptive(decision)


def disruptive(decision: Decision) -> list[Command]:
    return [item for item in decision.commands if getattr(item, "disruptive", False)]
