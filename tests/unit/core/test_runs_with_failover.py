"""A run and the failover stage, folded together as the engine does: one event from outside, one commit."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from immutables import Map

from controller.core.step import step
from controller.core.topology import topology
from controller.model.commands import Command, Notify
from controller.model.events import RunWanted
from controller.model.facts import FactKind
from controller.model.groups import Refusal
from controller.model.policy import Component
from controller.model.runs import RunState
from controller.model.state import Decision
from tests.builders.paging import policy as paging_policy
from tests.builders.rehearsing import read_runbook
from tests.builders.running import GROUP, Stage, act, incident, runbook

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


class Fleet(dict[str, Component]):
    """Components that can be looked up by name, and not walked through."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("all components were walked through")

    keys = values = items = __iter__  # type: ignore[assignment]


def test_the_way_to_a_switch_walks_through_no_fleet() -> None:
    """Ten thousand phones beside a platform cost its failover nothing."""
    stage = Stage(read_runbook("failover"))
    redundant = stage.policy.components.mutate()
    for name in ("primary", "backup"):
        redundant[name] = replace(redundant[name], redundancy="sides")
    components = dict(redundant.finish())
    policy = replace(stage.policy, components=components)  # type: ignore[arg-type]
    worked_out_once = topology(policy)
    object.__setattr__(policy, "components", Fleet(components))
    decision = step(stage.state, wanted(stage), policy)
    assert topology(policy) is worked_out_once
    assert FactKind.STEP_INTENDED in {fact.kind for fact in decision.facts}


def disruptive(decision: Decision) -> list[Command]:
    return [item for item in decision.commands if getattr(item, "disruptive", False)]


def test_pages_of_one_moment_leave_as_one() -> None:
    """A runbook that asks twice in a row: the newer page leaves, and the record tells of both."""
    asking = runbook(
        act("ask", "page", zh="看一看", en="Look"), act("ask-again", "page", zh="签字", en="Sign"), name="ask"
    )
    stage = Stage(asking)
    told = paging_policy()
    policy = replace(stage.policy, people=told.people, escalation=told.escalation)
    opened = incident()
    state = replace(stage.state, incidents=Map({opened.id: opened}))
    event = replace(wanted(stage), runbook="ask", incident=opened.id)
    decision = step(state, event, policy)
    sent = [command for command in decision.commands if isinstance(command, Notify)]
    assert [command.text.need.en.startswith("Needed: Sign") for command in sent] == [True]
    recorded = [fact.get("command") for fact in decision.facts if fact.kind is FactKind.PAGE_SENT]
    assert len(recorded) == 2 and recorded[-1] == sent[0].id
