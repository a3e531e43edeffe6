from __future__ import annotations

import dataclasses

import pytest
from immutables import Map

from controller.core.paging.page_text import compose
from controller.model.faults import FaultKind, Impact, Severity, Urgency
from controller.model.groups import Arming, Group, Hold, Phase, Switch, SwitchOutcome, SwitchVerb
from controller.model.incidents import Incident
from controller.model.moments import Moment
from controller.model.pages import Page, PageState, PageText
from controller.model.policy import Component, ComponentKind, SeverityRow
from controller.model.runbooks import Runbook, Text
from controller.model.runs import Run, RunState, StepRecord, StepState
from controller.model.state import State
from tests.builders.paging import EPOCH, incident, policy

AT = Moment(mono=10.0, wall=EPOCH + 10.0)
PAGE = Page(id="PAGE-0001", incident="INC-0001", state=PageState.ACTIVE, policy="default", severity=1)
RULES = policy(
    components=Map(
        {
            "primary": Component(
                name="primary", kind=ComponentKind.PLATFORM, title=Text(zh="主平台", en="Primary platform")
            )
        }
    ),
    runbooks=Map(
        {
            "failover": Runbook(
                name="failover",
                revision="r",
                title=Text(zh="故障切换", en="Failover"),
                summary=Text(zh="", en=""),
                steps=(),
            )
        }
    ),
    severities=(
        SeverityRow(
            name="all-calls",
            when=None,  # type: ignore[arg-type]
            impact=Impact.ALL_CALLS,
            urgency=Urgency.IMMEDIATE,
            because=Text(zh="在用平台故障", en="the active platform is broken"),
        ),
    ),
)
ARMED = Group(name="main", active="primary", armed=Arming(by="li", wall=1.0))
SWITCH = Switch(
    id="SW-1",
    verb=SwitchVerb.FAILOVER,
    origin="primary",
    target="backup",
    epoch=2,
    automatic=True,
    incident="INC-0001",
)


def told(
    it: Incident | None = None, *, group: Group | None = ARMED, page: Page = PAGE, **state: object
) -> PageText:
    it = it or incident()
    base = State(node="here", incidents=Map({it.id: it}), groups=Map({"main": group} if group else {}))
    return compose(dataclasses.replace(base, **state), page, RULES, AT)  # type: ignore[arg-type]


def run(state: RunState, *steps: StepState) -> Map[str, Run]:
    records = tuple(StepRecord(path=str(n), state=each) for n, each in enumerate(steps))
    made = Run(
        id="RUN-0001", runbook="failover", revision="r", state=state, steps=records, incident="INC-0001"
    )
    return Map({"RUN-0001": made})


def test_what_and_impact_and_why() -> None:
    text = told()
    assert text.what.zh == "SEV1 主平台：呼叫平台宕机（INC-0001）"
    assert text.what.en == "SEV1 Primary platform: call platform dead (INC-0001)"
    assert text.impact.zh == "影响：全部呼叫受影响；涉及 3 个对象；定级依据：在用平台故障"
    assert text.impact.en == (
        "Impact: all calls are affected; 3 components; because the active platform is broken"
    )


def test_a_reason_that_says_the_impact_is_not_repeated() -> None:
    because = Text(
        zh="营业时间内主用侧不可用，影响全部呼叫", en="the active side is broken: all calls are affected"
    )
    rules = dataclasses.replace(
        RULES, severities=(dataclasses.replace(RULES.severities[0], because=because),)
    )
    it = incident()
    state = State(node="here", incidents=Map({it.id: it}))
    text = compose(state, PAGE, rules, AT)
    assert text.impact.zh == "影响：营业时间内主用侧不可用，影响全部呼叫；涉及 3 个对象"
    assert text.impact.en == "Impact: the active side is broken: all calls are affected; 3 components"


def test_nothing_was_done_and_why() -> None:
    assert told().did.en == "Done: nothing was done automatically"
    assert told(group=dataclasses.replace(ARMED, armed=None)).did.en == (
        "Done: nothing was done automatically: the group is not armed"
    )
    hold = Hold(scope="main", by="li", reason="works", since_wall=1.0, until_wall=AT.wall + 1)
    assert told(holds=Map({"main": hold})).did.zh == "已做：系统未采取动作：自动化已由 li 暂停（works）"
    over = dataclasses.replace(hold, until_wall=AT.wall)
    assert told(holds=Map({"main": over})).did.zh == "已做：系统未采取动作"
    assert told(group=None).need.en == "Needed: Acknowledge, and take it from here"


def test_a_switch_under_way() -> None:
    text = told(group=dataclasses.replace(ARMED, switch=SWITCH, phase=Phase.FENCING))
    assert text.did.zh == "已做：故障切换 primary → backup：隔离旧侧"
    assert text.did.en == "Done: failover primary -> backup: fencing the old side"
    assert text.need.en == "Needed: Acknowledge; the system is acting"


@pytest.mark.parametrize(
    "outcome, phase, need",
    [
        (SwitchOutcome.VERIFIED, Phase.IDLE, "Acknowledge; repair the old side before any failback"),
        (
            SwitchOutcome.NEEDS_PERSON,
            Phase.NEEDS_PERSON,
            "Automation has stopped; a person must take over and decide",
        ),
        (SwitchOutcome.COMPENSATED, Phase.IDLE, "Acknowledge, and take it from here"),
    ],
)
def test_a_switch_that_ended(outcome: SwitchOutcome, phase: Phase, need: str) -> None:
    group = dataclasses.replace(
        ARMED, active="backup", phase=phase, last_switch="SW-1", last_outcome=outcome, ended_wall=EPOCH + 5.0
    )
    text = told(group=group)
    assert "main is on backup: " in text.did.en
    assert text.need.en == f"Needed: {need}"
    earlier = told(group=dataclasses.replace(group, phase=Phase.IDLE, ended_wall=EPOCH - 100.0))
    assert earlier.did.en == "Done: nothing was done automatically"


@pytest.mark.parametrize(
    "runs, did, need",
    [
        (
            run(RunState.RUNNING, StepState.SUCCEEDED, StepState.INTENDED),
            'runbook "Failover" running, 1 steps done',
            "Acknowledge; the system is acting",
        ),
        (
            run(RunState.WAITING),
            'runbook "Failover" waiting for a person',
            "Open the page: an approval or a manual step waits (RUN-0001)",
        ),
        (
            run(RunState.NEEDS_PERSON),
            'runbook "Failover" stopped, needs a person',
            "Automation has stopped; a person must take over and decide",
        ),
        (run(RunState.FAILED), 'runbook "Failover" failed', "Acknowledge, and take it from here"),
        (run(RunState.SUCCEEDED), 'runbook "Failover" done', "Acknowledge, and take it from here"),
        (run(RunState.CANCELLED), 'runbook "Failover" cancelled', "Acknowledge, and take it from here"),
        (run(RunState.ROLLING_BACK), 'runbook "Failover" rolling back', "Acknowledge; the system is acting"),
    ],
)
def test_a_run(runs: Map[str, Run], did: str, need: str) -> None:
    text = told(incident(), runs=runs)
    assert (text.did.en, text.need.en) == (f"Done: {did}", f"Needed: {need}")


def test_other_pages_that_wait_are_counted_but_not_across_drills() -> None:
    others = {
        f"PAGE-{n:04d}": dataclasses.replace(PAGE, id=f"PAGE-{n:04d}", drill=n == 4, state=state)
        for n, state in enumerate([PageState.ACTIVE] * 4 + [PageState.ACKNOWLEDGED], start=1)
    }
    assert told(pages=Map(others)).need.en.endswith("(2 more waiting for an acknowledgement)")


def test_a_drill_opens_and_closes_with_its_mark() -> None:
    text = told(incident(drill=True), page=dataclasses.replace(PAGE, drill=True))
    assert text.what.zh == "【演练】这是一次演练 SEV1 主平台：呼叫平台宕机（INC-0001）"
    assert text.need.zh == "需要：请确认收到并接手处理 【演练】这是一次演练"
    assert "演练" not in text.impact.zh + text.did.zh


def test_a_page_without_an_incident() -> None:
    text = told(page=dataclasses.replace(PAGE, incident="", need=Text(zh="签字", en="Sign")))
    assert (text.what.en, text.impact.en) == ("PAGE-0001: people are asked for", "Impact: unknown")
    assert text.need.zh == "需要：签字"


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_fault_can_be_paged_for(kind: FaultKind) -> None:
    text = told(incident(kind=kind, severity=Severity.SEV2, root="unheard-of", group="", affected=1))
    assert text.what.en.startswith("SEV2 unheard-of: ")
    assert "components" not in text.impact.en


def test_nobody_is_asked_any_more_for_what_a_cancelled_run_asked() -> None:
    page = dataclasses.replace(PAGE, need=Text(zh="转移来话", en="Divert calls"))
    for state in RunState:
        asked = told(page=page, runs=run(state)).need.en == "Needed: Divert calls"
        assert asked is (state is not RunState.CANCELLED)
