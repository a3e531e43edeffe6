"""Every shipped runbook, rehearsed: given results, expected steps, through the real run stage."""

from __future__ import annotations

import pytest

from controller.model.runbooks import Step, StepKind
from tests.builders.rehearsing import Case, Rehearsal, read_cases, read_runbook, shipped

CASES = read_cases()
WANTED = {
    "failover",
    "failback",
    "repair-in-place",
    "trunk-down",
    "one-way-media",
    "device-quarantine",
    "backup-stale",
    "certificate-expiring",
    "data-security-anomaly",
    "both-sides-down",
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rehearsal(case: Case) -> None:
    rehearsal = Rehearsal(case)
    rehearsal.play()
    rehearsal.check()


def test_the_runbooks_the_product_promises_are_shipped() -> None:
    assert set(shipped()) >= WANTED


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_runbook_is_rehearsed_both_ways(name: str) -> None:
    states = {case.expect["state"] for case in CASES if case.runbook == name}
    assert "succeeded" in states, "no rehearsal of success"
    assert states - {"succeeded"}, "no rehearsal of a failure"


@pytest.mark.parametrize("name", shipped())
def test_every_step_of_it_is_taken_in_some_rehearsal(name: str) -> None:
    taken: set[str] = set()
    for case in CASES:
        if case.runbook == name:
            taken |= {step for step, state in case.expect["steps"].items() if state != "skipped"}
    steps = {step.name for top in read_runbook(name).steps for step in (top, *top.steps)}
    assert steps <= taken, f"never taken: {', '.join(sorted(steps - taken))}"


def every_step() -> list[tuple[str, Step]]:
    return [
        (name, step) for name in shipped() for top in read_runbook(name).steps for step in (top, *top.steps)
    ]


@pytest.mark.parametrize(("runbook", "step"), every_step(), ids=lambda item: getattr(item, "name", item))
def test_every_step_can_be_undone_or_says_why_not(runbook: str, step: Step) -> None:
    if step.kind is not StepKind.PARALLEL:
        assert (step.rollback is not None) != bool(step.irreversible)


@pytest.mark.parametrize("name", shipped())
def test_it_speaks_both_languages_and_names_its_clause(name: str) -> None:
    runbook = read_runbook(name)
    assert runbook.clause[:1] in "一二三四五六七" and runbook.clause[1:2] == "-"
    texts = [runbook.title, runbook.summary, *(step.title for _, step in every_step() if _ == name)]
    for text in texts:
        assert any("\u4e00" <= character <= "\u9fff" for character in text.zh), text
        assert text.en != text.zh and not any("\u4e00" <= char <= "\u9fff" for char in text.en), text


@pytest.mark.parametrize("wrong", ["state", "step", "result"])
def test_a_wrong_rehearsal_is_caught(wrong: str) -> None:
    case = next(case for case in CASES if case.runbook == "repair-in-place")
    expect, results = dict(case.expect), case.results
    if wrong == "state":
        expect["state"] = "cancelled"
    elif wrong == "step":
        expect["steps"] = {**expect["steps"], "restart": "failed"}
    else:
        results = results[1:]
    rehearsal = Rehearsal(Case(case.runbook, case.name, case.given, results, expect))
    with pytest.raises(AssertionError):
        rehearsal.play()
        rehearsal.check()
