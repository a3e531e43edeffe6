"""Every fault has a runbook or an explicit "no action"; every step has an undo or says that it has none; no phase is a trap.

Of everything that is shipped. That a switch comes to rest from every state, by whatever goes wrong, is explored in
tests/unit/core/test_failover_exploration.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from controller import registry
from controller.configuration.kinds import Kinds
from controller.configuration.loading import load
from controller.core.switching.intents import HARMLESS as ASKING
from controller.core.switching.intents import (
    HOLDERS_UNDO_ORDER,
    ON_ORIGIN,
    UNDO_ORDER,
    UNDONE_BY,
    UNDONE_OF_HOLDER,
    UNDONE_ON_TARGET,
)
from controller.core.switching.phases import BEFORE_FENCE, FOLLOWING, IDLE_BY, MOST_ATTEMPTS, VERBS
from controller.model.faults import FaultKind
from controller.model.groups import DriverVerb, Phase
from controller.model.policy import Policy
from controller.model.runbooks import Runbook, Step, StepKind

ROOT = Path(__file__).parents[2]
PARTS = {"rules.yaml", "domains.yaml", "severity.yaml", "ladders.yaml"}
"""Included by the others."""

CONFIGURATIONS = {
    path.stem: path
    for path in (*sorted((ROOT / "config").glob("*.yaml")), Path(__file__).parent / "platform.yaml")
    if path.name not in PARTS
}

HARMLESS = frozenset({"note", "page", "probe", "wait"})
"""Actions that change nothing outside the controller."""


@cache
def policy(name: str) -> Policy:
    kinds = Kinds(names=registry.CATEGORIES, load=registry.load)
    return load(CONFIGURATIONS[name], kinds, lambda kind: ROOT / kind, environment={}).policy


def steps(runbook: Runbook) -> Iterator[Step]:
    def within(some: tuple[Step, ...]) -> Iterator[Step]:
        for step in some:
            yield step
            yield from within(step.steps)

    return within(runbook.steps)


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_every_fault_has_a_runbook_or_no_action(name: str) -> None:
    settings = policy(name)
    for kind in FaultKind:
        row = settings.domains[kind]
        named = [runbook for runbook in (row.repair, row.switch) if runbook]
        assert bool(named) is not bool(row.no_action), f"{kind}: {named} and {row.no_action!r}"
        assert set(named) <= set(settings.runbooks), f"{kind}: {named}"
        assert row.never_switch is not bool(row.switch), f"{kind} may switch, or may not, but not both"


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_every_step_has_an_undo_or_says_that_it_has_none(name: str) -> None:
    seen = 0
    for runbook in policy(name).runbooks.values():
        for step in steps(runbook):
            acts = step.kind is StepKind.MANUAL or (
                step.kind is StepKind.ACTION and step.call is not None and step.call.action not in HARMLESS
            )
            seen += acts
            if acts:
                assert (step.rollback is None) is bool(step.irreversible), f"{runbook.name}: {step.name}"
    assert seen > 5


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_every_group_leaves_out_only_idle_verbs_can_be_proved_and_has_its_last_resort(name: str) -> None:
    """What every driver itself does with each verb is the contract of drivers' (tests/contract/test_drivers.py)."""
    settings = policy(name)
    for group in settings.groups.values():
        assert group.verification is not None, group.name
        assert group.idle_verbs <= set(IDLE_BY.values()), group.name
        assert group.last_resort == "" or group.last_resort in settings.runbooks, group.name


def test_every_verb_of_a_switch_that_changes_something_is_taken_back() -> None:
    """A thaw only takes back a freeze; a reassertion asserts what is."""
    assert set(UNDONE_BY) == set(DriverVerb) - ASKING - {DriverVerb.THAW, DriverVerb.REASSERT}
    undoing = {undo for undone in UNDONE_BY.values() for undo in undone}
    assert undoing == set(UNDO_ORDER) and len(UNDO_ORDER) == len(undoing)
    assert undoing | set(UNDONE_OF_HOLDER) == set(HOLDERS_UNDO_ORDER)
    assert len(HOLDERS_UNDO_ORDER) == len(set(HOLDERS_UNDO_ORDER))
    assert set(HOLDERS_UNDO_ORDER) >= UNDONE_ON_TARGET
    # What was done to the one side is not taken back from the other.
    for verb, undone in UNDONE_BY.items():
        for undo in set(undone) - {DriverVerb.REDIRECT}:
            assert (undo in UNDONE_ON_TARGET) is (verb not in ON_ORIGIN), (verb, undo)


def test_no_phase_is_a_trap() -> None:
    """Each phase is gone into and out of: by its outcome, after so many attempts, or by a person."""
    rests = {Phase.IDLE, Phase.NEEDS_PERSON}
    acting = set(Phase) - rests
    assert set(FOLLOWING) | {Phase.VERIFYING, Phase.COMPENSATING, Phase.READING_BACK} == acting
    assert set(VERBS) | {Phase.VERIFYING, Phase.COMPENSATING} == acting
    assert set(MOST_ATTEMPTS) | {Phase.VERIFYING, Phase.READING_BACK} == acting
    assert acting > BEFORE_FENCE
    for phase in FOLLOWING:
        seen = [phase]
        while seen[-1] in FOLLOWING:
            seen.append(FOLLOWING[seen[-1]])
            assert len(seen) <= len(Phase), f"{phase} leads in a circle: {seen}"
        assert seen[-1] is Phase.VERIFYING
