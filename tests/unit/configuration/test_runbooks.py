"""Reading runbooks: what is right becomes values, and everything that is wrong is said at once, with its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from controller.configuration import runbook_calls
from controller.configuration.documents import parse_document
from controller.configuration.runbooks import parse_runbook
from controller.core.execution import calls
from controller.model.errors import ConfigurationError
from controller.model.faults import Verdict
from controller.model.runbooks import OnUnknown, Runbook, StepKind


class Knob(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reports: ClassVar[Mapping[str, str]] = {"turned": "int"}

    name: str
    by: int = Field(default=1, ge=1, le=10)
    way: Literal["left", "right"] = "left"
    marks: dict[str, int] = {}


ACTIONS = {"knob": Knob}

HEAD = """runbook: turn
title: {zh: 转动, en: Turn}
summary: {zh: 转动旋钮, en: Turn the knob}
clause: 七-3
inputs: {component: string, turns: int}
steps:
"""


def read(steps: str, head: str = HEAD) -> Runbook:
    return parse_runbook(parse_document(head + steps, "turn.yaml"), "turn.yaml", ACTIONS)


def wrong(steps: str, head: str = HEAD) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        read(steps, head)
    return [f"{problem.line}: {problem.path}: {problem.message}" for problem in error.value.problems]


def one(**more: str) -> str:
    """A step that is right, with some keys added or replaced."""
    keys = {"action": "knob", "with": "{name: a}", "irreversible": "a test", **more}
    return "  - name: one\n" + "".join(f"    {key}: {value}\n" for key, value in keys.items() if value)


def test_a_whole_runbook() -> None:
    book = read(
        """  - name: turn
    title: {zh: 转, en: Turn it}
    when: turns > 1 && incident.severity <= 2
    action: knob
    with: {name: "${component}", by: "${turns}", marks: {a: 1}}
    timeout: 2m
    retry: {attempts: 3, delay: 250ms, factor: 1.5}
    idempotent: true
    drops_calls: true
    verify: {action: probe, with: {component: "${component}", rungs: [sip, call]}, timeout: 4s, attempts: 5, pause: 2s}
    on_unknown: repeat
    rollback: {action: knob, with: {name: "${component}", way: right}}
  - name: ask
    approve: {role: operator, expires: 5m, default: grant}
  - name: both
    when: steps.turn.turned == 1
    parallel:
      - {name: pause, action: wait, with: {seconds: 30s}}
      - {name: hand, manual: {owner: li, deadline: 1h, proof: number}, irreversible: by hand}
    on_failure: continue
"""
    )
    turn, ask, both = book.steps
    assert (book.name, book.clause, book.inputs) == ("turn", "七-3", ("component", "turns"))
    assert turn.call is not None
    assert turn.call.parameters == (("name", "${component}"), ("by", "${turns}"), ("marks/a", 1))
    assert (turn.call.timeout, turn.retry.attempts, turn.retry.delay) == (120.0, 3, 0.25)
    assert turn.disruptive and turn.drops_calls and turn.on_unknown is OnUnknown.REPEAT
    assert turn.verify is not None and (turn.verify.attempts, turn.verify.pause) == (5, 2.0)
    assert turn.when is not None
    assert turn.when.evaluate({"turns": 2, "incident.severity": 1}) is Verdict.TRUE
    assert ask.approval is not None and ask.approval.default and ask.approval.expires == 300.0
    assert both.kind is StepKind.PARALLEL and both.on_failure == "continue"
    pause, hand = both.steps
    assert pause.call is not None and pause.call.parameters == (("seconds", 30.0),)
    assert hand.manual is not None and hand.manual.owner == "li"


def test_the_revision_is_of_the_content_and_not_of_the_layout() -> None:
    first = read(one())
    assert len(first.revision) == 64
    other_layout = read("\n  # a comment\n" + one().replace("with: {name: a}", 'with:\n      name: "a"'))
    assert other_layout.revision == first.revision
    assert read(one(**{"with": "{name: b}"})).revision != first.revision


def test_the_core_and_the_configuration_know_the_same_actions() -> None:
    assert set(runbook_calls.OWN) == calls.OWN
    assert calls.OWN - {"failover"} == runbook_calls.HARMLESS


def test_defaults_are_the_safe_ones() -> None:
    step = read(one()).steps[0]
    assert step.on_unknown is OnUnknown.MANUAL and not step.idempotent and step.retry.attempts == 1
    verified = read(one(verify="{action: knob, with: {name: a}}")).steps[0]
    assert verified.on_unknown is OnUnknown.VERIFY
    switch = read("  - {name: go, action: failover, irreversible: x}\n").steps[0]
    assert switch.disruptive
    asked = read("  - {name: ask, approve: {role: operator, expires: 5m}}\n").steps[0]
    assert asked.approval is not None and not asked.approval.default


def test_what_changes_nothing_needs_no_undo() -> None:
    steps = read(
        """  - {name: a, action: note, with: {zh: 记, en: n}}
  - {name: b, action: page, with: {zh: 呼, en: p}}
  - {name: c, action: wait, with: {seconds: 1}}
  - {name: d, action: probe, with: {component: x}}
"""
    ).steps
    assert all(step.irreversible == "changes nothing" and step.idempotent for step in steps)


@pytest.mark.parametrize(
    ("steps", "place", "message"),
    [
        (one(irreversible=""), "7: steps[0].name", "needs a rollback, or irreversible"),
        (one(rollback="{action: knob, with: {name: a}}"), "10: steps[0].irreversible", "can't be undone"),
        (one(action="nob"), "8: steps[0].action", "unknown action 'nob'; closest: knob"),
        (one(**{"with": "{name: a, nam: b}"}), "9: steps[0].with.nam", "unknown key; closest: name"),
        (one(**{"with": "{name: a, by: 11}"}), "9: steps[0].with.by", "less than or equal to 10"),
        (one(**{"with": "{name: a, way: up}"}), "9: steps[0].with.way", "must be 'left' or 'right'"),
        (one(**{"with": '{name: "${colour}"}'}), "9: steps[0].with.name", "unknown reference colour"),
        (one(**{"with": '{name: "${a b}"}'}), "9: steps[0].with.name", "no reference"),
        (one(**{"with": '{name: "${steps.one.turned}"}'}), "9: steps[0].with.name", "unknown reference"),
        (one(when="turns > 1.0"), "11: steps[0].when", "_>_"),
        (one(when="turnz > 1"), "11: steps[0].when", "unknown variable turnz; closest: turns"),
        (one(when="turns"), "11: steps[0].when", "true or false"),
        (one(when='steps.one.state == "failed"'), "11: steps[0].when", "unknown variable steps.one.state"),
        (one(on_unknown="repeat"), "11: steps[0].on_unknown", "only an idempotent step"),
        (one(on_unknown="verify"), "11: steps[0].on_unknown", "verify needs a verify call"),
        (one(on_unknown="hope"), "11: steps[0].on_unknown", "must be one of"),
        (one(verify="{action: note, with: {zh: 记, en: n}}"), "11: steps[0].verify", "verifies nothing"),
        (one(verify="{action: failover}"), "11: steps[0].verify", "verifies nothing"),
        (one(rollback="{action: failover}", irreversible=""), "10: steps[0].rollback", "failback runbook"),
        (one(timeout="soon"), "11: steps[0].timeout", "a duration is"),
        (one(retry="{attempts: 0}"), "11: steps[0].retry.attempts", "greater than or equal to 1"),
        (one(sh="reboot"), "11: steps[0].sh", "unknown key"),
        (one(approve="{role: operator, expires: 1m}"), "7: steps[0]", "exactly one of"),
        ("  - {name: one}\n", "7: steps[0]", "exactly one of"),
        (one() + one(), "11: steps[1].name", "a second step named one"),
        (one().replace("name: one", "name: One step"), "7: steps[0].name", "must match"),
        ("  - {name: a, action: wait, with: {seconds: 2d}}\n", "7: steps[0].with.seconds", "86400"),
        ("  - {name: a, action: failover, with: {verb: force}, irreversible: x}\n", "with.verb", "must be"),
        ("  - {name: a, action: note, with: {zh: 记}}\n", "7: steps[0].with.en", "required"),
        (
            "  - {name: a, action: probe, with: {component: x}, disruptive: true}\n",
            "disruptive",
            "changes nothing",
        ),
        ("  - {name: a, approve: {role: operator}}\n", "approve.expires", "required"),
        (
            "  - {name: a, manual: {owner: li, deadline: 1h, proof: x}}\n",
            "7: steps[0].name",
            "needs a rollback",
        ),
        (
            "  - {name: a, manual: {owner: li, deadline: 1h, proof: x}, irreversible: x, retry: {attempts: 2}}\n",
            "retry",
            "only an action can be tried again",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(steps: str, place: str, message: str) -> None:
    problems = wrong(steps)
    assert any(place in problem and message in problem for problem in problems), problems
    assert len(problems) == 1, problems


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        ("{name: b, action: knob, with: {name: a}, irreversible: x, disruptive: true}", "is disruptive"),
        ("{name: b, action: failover, irreversible: x}", "is disruptive"),
        ("{name: b, approve: {role: operator, expires: 1m}}", "may not stand within parallel"),
    ],
)
def test_what_may_not_run_in_parallel(branch: str, message: str) -> None:
    steps = f"""  - name: both
    parallel:
      - {{name: a, action: wait, with: {{seconds: 1}}}}
      - {branch}
"""
    (problem,) = wrong(steps)
    assert problem.startswith("10: steps[0].parallel[1].name") and message in problem


def test_parallel_needs_company_and_no_parallel_within() -> None:
    problems = wrong(
        """  - name: both
    parallel:
      - name: inner
        parallel:
          - {name: a, action: wait, with: {seconds: 1}}
"""
    )
    assert len(problems) == 3
    assert any("may not stand within parallel" in problem for problem in problems)


def test_everything_is_reported_at_once() -> None:
    problems = wrong(one(irreversible="", when="nonsense >", **{"with": "{by: 99}"}) + one(action="nob"))
    assert len(problems) == 6, problems


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (HEAD.replace("runbook: turn", "runbook: twist"), "the file is named turn.yaml"),
        (HEAD.replace("inputs: {component: string, turns: int}", "inputs: {turns: float}"), "must be"),
        (HEAD.replace("title: {zh: 转动, en: Turn}", "title: {zh: 转动}"), "required"),
        (HEAD.replace("clause: 七-3", "claws: 七-3"), "unknown key; closest: clause"),
    ],
)
def test_a_wrong_head(head: str, message: str) -> None:
    assert any(message in problem for problem in wrong(one(), head))


def test_values_that_only_a_run_can_check_are_left_to_it() -> None:
    book = read(one(**{"with": '{name: a, by: "${turns}", way: "${side}"}'}))
    assert book.steps[0].call is not None
    assert dict(book.steps[0].call.parameters)["by"] == "${turns}"
    assert read(one(**{"with": '{name: "${component.serial} ${spare}"}'}))


@pytest.mark.parametrize("document", ["[]", "null", "runbook: 5", "steps: 7\nrunbook: turn", "a: {b: [c]}"])
def test_a_document_of_another_shape_is_refused_and_never_raises_anything_else(document: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_runbook(parse_document(document, "turn.yaml"), "turn.yaml", ACTIONS)


def test_a_reference_can_not_hide_what_is_wrong_beside_it() -> None:
    problems = wrong(one(**{"with": '{name: "${component}", by: 99}'}))
    assert len(problems) == 1 and "with.by" in problems[0]
    (problem,) = wrong(one(**{"with": '{by: "${turns}"}'}))
    assert "with.name: this key is required" in problem


def test_inputs_as_a_plain_list_are_texts() -> None:
    head: Any = HEAD.replace("inputs: {component: string, turns: int}", "inputs: [component, turns]")
    assert read(one(when='turns == "2"'), head).inputs == ("component", "turns")
    assert any("_==_" in problem for problem in wrong(one(when="turns == 2"), head))
