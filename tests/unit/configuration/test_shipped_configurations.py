"""The shipped configurations load with the adapters that are really there, and keep what they promise."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from controller import registry
from controller.configuration.check import CheckReport, check, render_text
from controller.configuration.kinds import Kinds
from controller.configuration.loading import load
from controller.configuration.schema import schema
from controller.model.faults import FaultKind
from controller.model.policy import ComponentKind, Profile
from controller.model.variables import CONVENTIONAL_RUNGS

PARTS = {"rules.yaml", "domains.yaml", "severity.yaml", "ladders.yaml"}
"""Included by the others."""

ROOT = Path(__file__).parents[3]
KINDS = Kinds(names=registry.CATEGORIES, load=registry.load)


def shipped(kind: str) -> Path:
    return ROOT / kind


CONFIGURATIONS = sorted(path for path in shipped("config").glob("*.yaml") if path.name not in PARTS)


def checked(path: Path) -> CheckReport:
    return check(path, KINDS, shipped, environment={})


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_it_loads_without_problems_and_every_group_may_be_armed(path: Path) -> None:
    report = checked(path)
    assert [str(problem) for problem in report.problems] == []
    assert report.groups
    assert all(group.may_arm for group in report.groups)
    assert [str(warning) for warning in report.warnings if "actions.command" in warning.message] == []


def test_the_shipped_ones_are_all_here() -> None:
    assert {"demo", "single", "three-nodes", "lab", "lab-standard"} <= {path.stem for path in CONFIGURATIONS}


@pytest.mark.parametrize(
    ("name", "profile", "limit"), [("lab", Profile.FAST, 0.5), ("lab-standard", Profile.STANDARD, 3.0)]
)
def test_the_two_profiles_of_the_lab(name: str, profile: Profile, limit: float) -> None:
    (group,) = checked(shipped("config") / f"{name}.yaml").groups
    assert (group.profile, group.rto) == (profile, limit)
    assert group.total <= limit


def test_three_nodes_have_one_archive() -> None:
    report = checked(shipped("config") / "three-nodes.yaml")
    assert [str(warning) for warning in report.warnings if warning.path == "node.archive"] == []


def test_three_nodes_are_told_what_the_loss_of_one_adds() -> None:
    report = checked(shipped("config") / "three-nodes.yaml")
    gap, (group,) = report.coordination, report.groups
    assert gap is not None
    assert (gap.leader_lost, gap.store_leader_lost, gap.both_lost) == pytest.approx((4.5, 0.4, 5.1))
    (fence,) = [term.seconds for term in group.terms if term.name == "fence"]
    assert fence == pytest.approx(1.15), (
        "D + 50 ms + margin: a silent side is waited out, and nothing is asked to freeze"
    )
    assert group.total_leader_lost == pytest.approx(group.total + 4.5)
    assert group.total_store_leader_lost == pytest.approx(group.total + 0.4)
    assert group.total_both_lost == pytest.approx(group.total + 5.1)
    for language, words in (
        (
            "en",
            (
                "etcd's election timeout is 0.2 s as declared",
                "both lost too",
                "OVER 6 s by 4.260 s: warned of below",
            ),
        ),
        ("zh", ("所填的 etcd 选举超时 0.2 秒", "二者俱失", "超出 6 秒 4.260 秒")),
    ):
        told = render_text(report, language)
        assert all(word in told for word in words), told


def test_three_nodes_are_warned_that_losing_the_leader_too_breaks_the_rto(tmp_path: Path) -> None:
    (warning,) = [
        item.message
        for item in checked(shipped("config") / "three-nodes.yaml").warnings
        if "whole" in item.message
    ]
    assert warning == (
        "calls keeps its RTO of 6 s only while the controllers themselves are whole: its worst case is 9.660 s when the"
        " controller that leads is lost as well"
    )
    shutil.copytree(shipped("config"), tmp_path / "config")
    path = tmp_path / "config" / "three-nodes.yaml"
    for rto, warned in (("12s", False), ("5.2s", True)):
        whole = yaml.safe_load(path.read_text())
        whole["groups"]["calls"]["rto"] = rto
        path.write_text(yaml.safe_dump(whole, allow_unicode=True, sort_keys=False))
        told = [item.message for item in checked(path).warnings if "whole" in item.message]
        assert bool(told) is warned
        assert all("5.560 s when etcd's leader" in message for message in told)


def test_faults_that_can_not_be_told_are_named_by_group() -> None:
    (group,) = checked(shipped("config") / "three-nodes.yaml").groups
    (zombie,) = group.blind
    assert (zombie.fault, zombie.suspected) == (FaultKind.PLATFORM_ZOMBIE, True)
    assert set(zombie.lacking) == {"edge", "self.call_other"}
    (single,) = checked(shipped("config") / "single.yaml").groups
    assert single.blind == ()


def test_without_its_instruments_a_group_is_told_what_it_can_not_see(tmp_path: Path) -> None:
    """Test calls alone found audio that goes one way; with the ladder's call gone nothing does, and zombies go unacted on."""
    shutil.copytree(shipped("config"), tmp_path / "config")
    path = tmp_path / "config" / "single.yaml"
    whole = yaml.safe_load(path.read_text())
    for side in ("primary", "backup"):
        rungs = [
            {
                "name": "sip",
                "probe": "sip_options",
                "with": {"uri": "sip:192.0.2.1"},
                "failover_relevant": True,
            }
        ]
        component = whole["components"][side]
        whole["components"][side] = {"kind": "platform", "rungs": rungs, "lines": component["lines"]}
    whole["groups"]["calls"]["readiness"] = []
    path.write_text(yaml.safe_dump(whole, allow_unicode=True, sort_keys=False))
    report = checked(path)
    (group,) = report.groups
    unseen = {item.fault: item for item in group.blind}
    one_way = unseen[FaultKind.MEDIA_ONE_WAY]
    assert not one_way.suspected and "self.call" in one_way.lacking
    assert "CAN'T BE DIAGNOSED here: MediaOneWay" in render_text(report, "en")
    assert "无法诊断：MediaOneWay" in render_text(report, "zh")


def test_one_node_is_told_nothing_of_several() -> None:
    report = checked(shipped("config") / "single.yaml")
    assert report.coordination is None
    assert all(group.total_leader_lost is None for group in report.groups)
    assert "etcd" not in render_text(report, "en")


def changed(directory: Path, **coordination: object) -> CheckReport:
    """The shipped three nodes with another coordination."""
    shutil.copytree(shipped("config"), directory / "config")
    path = directory / "config" / "three-nodes.yaml"
    whole = yaml.safe_load(path.read_text())
    whole["node"]["coordination"] |= coordination
    path.write_text(yaml.safe_dump(whole, allow_unicode=True, sort_keys=False))
    return checked(path)


def test_an_address_that_an_election_would_drop_is_refused(tmp_path: Path) -> None:
    (problem,) = changed(tmp_path, election="500ms").problems
    assert problem.path == "groups.calls.driver.with.hold_time"
    assert "1 s is under 2 s, twice what an election of etcd may take" in problem.message


def test_slow_elections_lengthen_the_lease_itself(tmp_path: Path) -> None:
    report = changed(tmp_path, ttl="1s", timeout="300ms", election="250ms")
    assert report.problems == ()
    assert report.coordination is not None
    assert report.coordination.leader_lost == pytest.approx(1 + 0.5 + 1 / 3 + 0.3)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
async def test_what_check_finds_good_can_be_built(path: Path) -> None:
    policy = load(path, KINDS, shipped, environment={}).policy
    for group in policy.groups.values():
        driver = registry.load("driver", group.driver)(group, group.driver_parameters)
        await driver.close()


def test_the_single_node_watches_a_fleet() -> None:
    policy = load(shipped("config") / "single.yaml", KINDS, shipped, environment={}).policy
    phones = [component for component in policy.components.values() if component.kind is ComponentKind.PHONE]
    assert len(phones) == 20
    assert len(policy.children["core-switch"]) == 21


def test_every_kind_is_in_the_schema() -> None:
    assert schema(KINDS)["$defs"]["Rung"]["properties"]["probe"]["enum"] == sorted(KINDS.names["probe"])


@pytest.mark.parametrize("kind", sorted(KINDS.names["probe"]))
def test_reported_values_have_types_that_conditions_know(kind: str) -> None:
    assert set(KINDS.values_of(kind).values()) <= {"string", "int", "double", "bool"}


def test_conventional_rungs_are_probes_that_exist() -> None:
    assert set(CONVENTIONAL_RUNGS.values()) <= set(KINDS.names["probe"])
