"""Every fault has a runbook or an explicit "no action"; every step has an undo or says that it has none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.core.switching.phases import BEFORE_FENCE, FOLLOWING, MOST_ATTEMPTS, VERBS
from controller.model.faults import FaultKind
from controller.model.groups import Phase
from controller.model.runbooks import Runbook, Step, StepKind
from tests.simulation.policies import policy

HARMLESS = frozenset({"note", "page", "probe", "wait"})
"""Actions that change nothing outside the controller."""


def steps(runbook: Runbook) -> Iterator[Step]:
    for step in runbook.steps:
        yield step
        yield from step.steps


@pytest.mark.parametrize("kind", sorted(FaultKind))
def test_every_fault_has_a_runbook_or_no_action(kind: FaultKind) -> None:
    settings = policy(1)
    row = settings.domains[kind]
    named = [name for name in (row.repair, row.switch) if name]
    assert bool(named) is not bool(row.no_action), f"{kind}: {named} and {row.no_action!r}"
    assert set(named) <= set(settings.runbooks)
    assert row.never_switch is not bool(row.switch), f"{kind} may switch, or may not, but not both"


@pytest.mark.parametrize("name", sorted(policy(1).runbooks))
def test_every_step_has_an_undo_or_says_that_it_has_none(name: str) -> None:
    for step in steps(policy(1).runbooks[name]):
        acts = step.kind is StepKind.MANUAL or (
            step.kind is StepKind.ACTION and step.call is not None and step.call.action not in HARMLESS
        )
        if acts:
            assert step.rollback is not None or step.irreversible, f"{name}: {step.name}"


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
