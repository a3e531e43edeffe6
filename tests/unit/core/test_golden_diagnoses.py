"""Observed state in a file, the expected decision beside it: see tests/golden/diagnosis/README.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from immutables import Map

from controller.model.facts import FactKind
from tests.builders.diagnosis import GROUP, NIGHT, NOON, ROOM, World, build_policy

CASES = sorted((Path(__file__).parents[2] / "golden" / "diagnosis").glob("*.yaml"))


def played(case: dict, seed: int) -> tuple[World, float, int]:
    """The world after the case, when it began, and how many facts a healthy platform had made before."""
    given = case.get("given", {})
    phones = given.get("phones", 3)
    policy = build_policy(phones=phones, room_probed=given.get("room_probed", True))
    if given.get("media_anchored"):
        policy = replace(policy, groups=Map({GROUP: replace(policy.groups[GROUP], media_anchored=True)}))
    world = World(
        policy,
        calls_per_second=given.get("calls_per_second", 100.0),
        rerouting=given.get("rerouting", True),
        edge_timer=given.get("edge_timer", 0.1),
        wall=NIGHT if given.get("clock") == "night" else NOON,
    )
    world.watch(seed=seed)
    world.run(5.0)
    before, began = len(world.facts), world.now
    for step in case["happens"]:
        world.run(began + step["after"] - world.now)
        world.set(**step.get("set", {}))
        if fenced := step.get("fenced"):
            world.fence(fenced)
        if step.get("switched"):
            world.switched()
        world.calls_per_second = step.get("calls_per_second", world.calls_per_second)
        if step.get("down_behind"):
            for child in policy.children[ROOM]:
                world.set(**{child: {"sip": "silent"}})
    world.run(began + case["for"] - world.now)
    return world, began, before


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path, seed: int) -> None:
    """Whatever the phases of the probes."""
    case = yaml.safe_load(path.read_text())
    world, began, before = played(case, seed)
    expect = case["expect"]
    assert not [fact for fact in world.facts[:before] if fact.kind is FactKind.FAULT_RAISED]
    assert not world.undurable()
    for name, within in expect.get("named", {}).items():
        found = [
            fact.at.mono - began
            for fact in world.facts
            if fact.kind is FactKind.FAULT_RAISED and f"{fact.get('kind')}:{fact.subject}" == name
        ]
        assert found and found[0] <= within, f"{name} was named after {found}"
    for name, kinds in expect.get("evidence", {}).items():
        raised = next(
            fact
            for fact in world.facts
            if fact.kind is FactKind.FAULT_RAISED and f"{fact.get('kind')}:{fact.subject}" == name
        )
        assert str(raised.get("evidence")).split(",") == kinds
    if "faults" in expect:
        assert sorted(world.faults()) == sorted(expect["faults"])
    if "raised" in expect:
        assert world.raised() == expect["raised"]
    for name in expect.get("standing", ()):
        assert name in world.faults()
    kinds = {name.partition(":")[0] for name in world.raised()}
    assert not kinds & set(expect.get("never", ()))
    opened = world.open_incidents()
    if "incidents" in expect:
        assert [
            {
                "root": incident.root,
                "kind": str(incident.kind),
                "severity": incident.severity.name,
                "row": incident.reason.rule,
                "state": str(incident.state),
            }
            for incident in opened
        ] == expect["incidents"]
    if "severities" in expect:
        assert sorted(incident.severity.name for incident in opened) == expect["severities"]
    if "affected" in expect:
        assert [incident.affected for incident in opened] == [expect["affected"]]
    if "suppressed" in expect:
        explained = [fault for fault in world.state.faults.values() if fault.suppressed_by]
        assert len(explained) == expect["suppressed"]
        assert {fault.incident for fault in explained} == {incident.id for incident in opened}
    wanted = [run.runbook for run in world.wanted]
    if "runs" in expect:
        assert sorted(wanted) == sorted(expect["runs"])
    if "last_run" in expect:
        assert wanted[-1] == expect["last_run"]
    if "withheld" in expect:
        withheld = [fact for fact in world.facts if fact.kind is FactKind.RESPONSE_WITHHELD]
        assert [fact.get("reasons") for fact in withheld] == expect["withheld"]


def test_there_are_cases() -> None:
    assert len(CASES) >= 20
