"""The shipped configurations load with the adapters that are really there, and keep what they promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller import registry
from controller.configuration.check import CheckReport, check
from controller.configuration.kinds import Kinds
from controller.configuration.loading import load
from controller.configuration.schema import schema
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
