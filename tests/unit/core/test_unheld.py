"""An address that no side holds: the last holder is told again, and the other side gets it when that does not help."""

from __future__ import annotations

from dataclasses import replace

from immutables import Map

from controller.core.switching import permit
from controller.model.events import ActionFinished, TimerFired
from controller.model.facts import FactKind
from controller.model.faults import EvidenceKind, Fault, FaultKey, FaultKind
from controller.model.groups import DriverVerb, Refusal
from controller.model.runs import ActionStatus
from tests.builders.diagnosis import GROUP, World, build_policy
from tests.builders.platform import START, permitted, policy
from tests.builders.switching import Rig

KEY = FaultKey(FaultKind.VIP_UNHELD, "primary")


def told(rig: Rig, **data: object) -> None:
    """The next read of the group says so."""
    while not rig.group.reading_back:
        rig.wait(0.1)
    rig.waiting.clear()
    seen = {"edges_reached": 2, "epoch": 1, "active": "primary", "fence_ready": True} | data
    rig.send(
        ActionFinished(
            at=rig.at, command=rig.group.reading_back, status=ActionStatus.SUCCEEDED, data=tuple(seen.items())
        )
    )


def test_the_last_holder_is_told_again_at_once() -> None:
    rig = Rig(policy())
    told(rig, active="", unheld=True, drifted="agent-primary")
    assert rig.group.unheld_since == rig.at.mono
    assert rig.verbs == [str(DriverVerb.REASSERT)]
    since = rig.group.unheld_since
    rig.wait(0.1)
    rig.waiting.clear()
    rig.send(
        ActionFinished(
            at=rig.at, command=rig.group.upkeep.command, status=ActionStatus.FAILED, message="no store"
        )
    )
    told(rig, active="", unheld=True, drifted="agent-primary")
    assert rig.group.unheld_since == since, "since it was first seen"
    told(rig)
    assert rig.group.unheld_since is None


def unheld_world() -> World:
    world = World(build_policy(), rerouting=False)
    world.watch()
    world.run(4.0)
    group = world.state.groups[GROUP]
    world.state = replace(
        world.state, groups=world.state.groups.set(GROUP, replace(group, epoch=1, unheld_since=world.now))
    )
    return world


def test_it_is_named_after_two_reads_and_cleared_when_a_side_holds() -> None:
    world = unheld_world()
    interval = world.policy.groups[GROUP].reconcile_interval
    world.run(1.9 * interval)
    assert KEY not in world.state.faults
    world.run(0.2 * interval)
    assert world.state.faults[KEY].actionable
    assert world.state.faults[KEY].evidence_kinds == (EvidenceKind.AGENT,)
    assert [wanted.runbook for wanted in world.wanted] == ["failover"]
    world.state = replace(
        world.state,
        groups=world.state.groups.set(GROUP, replace(world.state.groups[GROUP], unheld_since=None)),
    )
    world.send(TimerFired(at=world.at()))
    assert KEY not in world.state.faults
    assert world.count(FactKind.FAULT_CLEARED) == 1


def test_one_kind_of_evidence_is_enough_for_it() -> None:
    rules = policy()
    state = permitted(rules, faulty=False)
    request = permit.Request(group="calls", verb="failover", target="backup", automatic=True, fault=str(KEY))
    assert Refusal.ONE_KIND_OF_EVIDENCE in permit.refusals(state, START, rules, request)
    fault = Fault(
        kind=KEY.kind,
        component=KEY.component,
        group="calls",
        actionable=True,
        evidence_kinds=(EvidenceKind.AGENT,),
        raised_wall=START.wall,
    )
    held = replace(state, faults=Map({KEY: fault}))
    assert Refusal.ONE_KIND_OF_EVIDENCE not in permit.refusals(held, START, rules, request)
