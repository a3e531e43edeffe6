"""A dry run says what would be done, how long it takes, what it puts at risk and what it can't undo; and does nothing."""

from __future__ import annotations

from dataclasses import replace

from controller.core.execution.plan import Plan, plan
from controller.core.switching import permit
from controller.model.encoding import plain
from controller.model.faults import Verdict
from controller.model.groups import Refusal, SwitchVerb
from controller.model.moments import Values
from controller.model.runbooks import Runbook
from tests.builders.rehearsing import read_runbook
from tests.builders.running import GROUP, Stage, When, act, approve, call, manual, parallel, runbook


def planned(book: Runbook, *, stage: Stage | None = None, **inputs: str) -> Plan:
    stage = stage or Stage(book)
    given: Values = tuple(inputs.items())
    return plan(book, given, stage.state, stage.policy, stage.now)


def test_steps_with_what_they_do_and_how_they_are_undone() -> None:
    made = planned(
        runbook(
            act(
                "one",
                url="http://${component}/",
                headers={"Authorization": "abc"},
                rollback=call("http", url="-"),
            ),
            act("two", "command", disruptive=True, command="restart"),
        ),
        component="phone-7",
    )
    one, two = made.steps
    assert one.does == "http" and one.parameters == (
        ("url", "http://phone-7/"),
        ("headers/Authorization", "***"),
    )
    assert one.undo == "http" and not one.irreversible
    assert made.disruptive == ("two",) and made.irreversible == (("two", "a test"),)


def test_what_is_not_known_yet() -> None:
    book = runbook(
        act("one", url="${colour}"),
        act("two", when=When("steps.one.status", 200)),
        act("three", "command", when=When("component", "x"), disruptive=True),
        inputs=("component", "colour"),
    )
    made = planned(book, component="phone-7")
    assert made.missing == ("colour",)
    assert made.steps[0].unresolved == ("colour",)
    assert [step.runs for step in made.steps] == [Verdict.TRUE, Verdict.UNKNOWN, Verdict.FALSE]
    assert made.disruptive == (), "what will certainly be skipped puts nothing at risk"


def test_times() -> None:
    made = planned(
        runbook(
            act("one", attempts=3, delay=2.0, timeout=10.0, verify=call("probe", 5.0, component="echo")),
            act("pause", "wait", seconds=60),
            parallel("both", act("left", timeout=7.0), act("right", timeout=9.0)),
            act("say", "note", en="x"),
            approve("ask", expires=100.0),
        )
    )
    assert [step.seconds for step in made.steps] == [51.0, 60.0, 0.0, 7.0, 9.0, 0.0, 100.0]
    assert made.longest_seconds == 51.0 + 60.0 + 9.0 + 100.0


def test_people_it_asks() -> None:
    made = planned(runbook(approve("ask", role="commander"), manual("hand", owner="li")))
    assert made.approvals == (("ask", "commander"),) and made.manual == (("hand", "li"),)


def test_a_switch_puts_the_old_side_at_risk_and_fences_it() -> None:
    made = planned(read_runbook("failover"), group=GROUP)
    assert (made.calls_at_risk, made.fences, made.disruptive) == (10, ("primary",), ("switch",))
    assert [name for name, _ in made.irreversible] == ["switch"]
    assert made.clause == "七-3" and not made.missing


def test_calls_at_risk_are_not_made_up() -> None:
    book = runbook(act("one", "command", disruptive=True))
    assert planned(book, component="phone-7").calls_at_risk == 10
    assert planned(book, component="nobody").calls_at_risk is None
    assert planned(runbook(act("one"))).calls_at_risk == 0


def test_what_would_stop_it_now_is_what_the_permit_says() -> None:
    book = read_runbook("failback")
    stage = Stage(book)
    stage.hold(GROUP)
    made = planned(book, stage=stage, group=GROUP)
    (switch,) = [step for step in made.steps if step.does == "failover"]
    request = permit.Request(group=GROUP, verb=SwitchVerb.FAILBACK, target="backup", automatic=False)
    assert switch.refusals == permit.refusals(stage.state, stage.now, stage.policy, request)
    assert Refusal.UNSTABLE in switch.refusals
    unknown = planned(book, stage=stage, group="nowhere")
    assert all(not step.refusals for step in unknown.steps)


def test_another_plan_has_another_hash() -> None:
    book = read_runbook("failback")
    stage = Stage(book)
    first = planned(book, stage=stage, group=GROUP)
    assert len(first.hash) == 64
    assert planned(book, stage=stage, group=GROUP) == first
    stage.set_group(active="backup")
    assert planned(book, stage=stage, group=GROUP).hash != first.hash
    assert planned(replace(book, revision="other"), group=GROUP).hash != first.hash


def test_nothing_is_done_and_it_can_be_shown() -> None:
    stage = Stage(read_runbook("trunk-down"))
    before = stage.state
    made = planned(read_runbook("trunk-down"), stage=stage, component="trunk-a")
    assert stage.state is before
    assert plain(made)["steps"][0]["path"] == "look"


def test_it_can_be_made_without_a_clock() -> None:
    book = read_runbook("failover")
    stage = Stage(book)
    made = plan(book, (("group", GROUP),), stage.state, stage.policy)
    assert made.fences == ("primary",)
