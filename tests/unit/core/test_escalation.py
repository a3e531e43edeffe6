from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.paging import escalation
from controller.core.paging.paging import RECHECK, superseded
from controller.core.step import leaving
from controller.model.commands import Notify
from controller.model.encoding import decode_aggregates, fact_payload, plain
from controller.model.events import (
    IncidentChanged,
    LeaseChanged,
    OperatorAcknowledged,
    PageWanted,
    RunEnded,
    Started,
    SwitchEnded,
    TimerFired,
)
from controller.model.facts import Counters, FactKind
from controller.model.faults import Severity
from controller.model.groups import Group, Phase, SwitchOutcome
from controller.model.incidents import Incident, IncidentState
from controller.model.pages import DeliveryState, Page, PageState
from controller.model.policy import Escalation, EscalationLevel
from controller.model.runs import Run, RunState
from controller.reports.prose import Language, fact_line
from tests.builders.paging import Pager, incident, person, policy


def to(commands: list[Notify]) -> list[tuple[str, str]]:
    return [(command.person, command.channel) for command in commands]


def plan(*people: tuple[str, ...], after: float = 120.0, **changes: object) -> Escalation:
    given: dict[str, object] = {
        "name": "default",
        "levels": tuple(EscalationLevel(people=names, after=after) for names in people),
        "repeat": 60.0,
        "rounds": 3,
    }
    return Escalation(**{**given, **changes})  # type: ignore[arg-type]


def acknowledge(pager: Pager, by: str = "li", subject: str = "INC-0001") -> list[Notify]:
    return pager.put(event=OperatorAcknowledged(at=pager.at, incident=subject, by=by, via="link"))


def test_a_new_incident_pages_the_first_level_by_its_first_channel() -> None:
    pager = Pager()
    (command,) = pager.open(incident())
    assert (command.person, command.channel, command.incident, command.severity) == (
        "li",
        "robot",
        "INC-0001",
        1,
    )
    assert pager.kinds() == [FactKind.PAGE_OPENED, FactKind.PAGE_SENT]
    page = pager.page()
    assert page.deliveries[0].command == command.id
    assert page.deliveries[0].state is DeliveryState.PENDING
    assert page.next_due == pager.now + 15.0


def test_an_acknowledgement_stops_the_cycle_in_the_same_commit() -> None:
    pager = Pager()
    (command,) = pager.open(incident())
    pager.answer(command, DeliveryState.SENT)
    assert acknowledge(pager) == []
    page = pager.page()
    assert (page.state, page.acknowledged_by, page.next_due) == (PageState.ACKNOWLEDGED, "li", None)
    assert page.acknowledged_wall == pager.at.wall
    assert pager.facts[-1].kind is FactKind.PAGE_ENDED
    assert pager.facts[-1].changed[0] == page
    assert escalation.wake_at(pager.state, pager.policy) is None
    assert pager.until(3600.0) == []


def test_an_incident_that_says_it_is_acknowledged_stops_it_too() -> None:
    pager = Pager()
    pager.open(incident())
    pager.change(
        incident(
            state=IncidentState.ACKNOWLEDGED, acknowledged_wall=pager.at.wall + 1, acknowledged_by="wang"
        )
    )
    assert (pager.page().state, pager.page().acknowledged_by) == (PageState.ACKNOWLEDGED, "wang")


@pytest.mark.parametrize("state", [IncidentState.RESOLVED, IncidentState.MERGED])
def test_a_page_closes_with_its_incident(state: IncidentState) -> None:
    pager = Pager()
    pager.open(incident())
    assert pager.change(incident(state=state)) == []
    assert pager.page().state is PageState.CLOSED
    assert pager.until(3600.0) == []


def test_a_mitigated_incident_is_still_to_be_acknowledged() -> None:
    pager = Pager()
    pager.open(incident())
    pager.change(incident(state=IncidentState.MITIGATED, mitigated_wall=pager.at.wall))
    assert pager.page().state is PageState.ACTIVE


def test_it_repeats_climbs_and_ends_undelivered_within_its_bound() -> None:
    pager = Pager(policy(plan(("li",), ("wang",), after=90.0)))
    sent = pager.open(incident())
    start = pager.now
    while pager.page().state is PageState.ACTIVE:
        for command in sent:
            pager.answer(command, DeliveryState.SENT)
        sent = pager.wake()
    assert to([command for command in pager.commands if command.page == "PAGE-0001"]) == [
        ("li", "robot"),
        ("li", "robot"),  # 60 s: repeated
        ("wang", "robot"),  # 90 s: the next level
        ("li", "robot"),  # 120 s: everybody again
        ("wang", "robot"),
        ("li", "robot"),  # 180 s
        ("wang", "robot"),
    ]
    assert pager.now - start == 240.0 <= 90.0 + 4 * 60.0
    assert pager.page().state is PageState.UNDELIVERED
    (ended,) = [fact for fact in pager.facts if fact.kind is FactKind.PAGE_ENDED]
    assert dict(ended.data)["why"] == "nobody_acknowledged"
    assert to(sent) == [("li", "robot"), ("wang", "robot")], "and it does not go silent"


def answered(pager: Pager, seconds: float) -> list[float]:
    """When people are told from now on, every sending handed over."""
    begin, end, times = pager.now, pager.now + seconds, []
    while (due := escalation.wake_at(pager.state, pager.policy)) is not None and due <= end:
        sent = pager.wake()
        for command in sent:
            pager.answer(command, DeliveryState.SENT)
        times += [pager.now - begin] if sent else []
    pager.now = max(pager.now, end)
    return times


def test_what_nobody_acknowledges_goes_on_at_longer_gaps_until_somebody_does() -> None:
    pager = Pager(policy(plan(("li",), rounds=3)))
    for command in pager.open(incident()):
        pager.answer(command, DeliveryState.SENT)
    times = answered(pager, 86400.0)
    gaps = [after - before for before, after in itertools.pairwise((0.0, *times))]
    assert gaps[:9] == [60.0] * 4 + [120.0, 240.0, 480.0, 900.0, 900.0]
    assert set(gaps[9:]) == {900.0}
    assert len(times) <= 86400 / 900 + 8, "a day has its bound"
    ended = [fact for fact in pager.facts if fact.kind is FactKind.PAGE_ENDED]
    assert len(ended) == len(pager.state.pages) - 1, "every end of an escalation is on record"
    acknowledge(pager)
    assert answered(pager, 86400.0) == []


def test_news_of_what_nobody_acknowledged_is_urgent_again() -> None:
    pager = Pager(policy(plan(("li",), rounds=1)))
    for command in pager.open(incident(severity=Severity.SEV2)):
        pager.answer(command, DeliveryState.SENT)
    answered(pager, 3600.0)
    (worse,) = pager.change(incident(severity=Severity.SEV1))
    pager.answer(worse, DeliveryState.SENT)
    assert answered(pager, 61.0) == [60.0]


@pytest.mark.parametrize("state", [DeliveryState.FAILED, DeliveryState.FAILED_PERMANENTLY])
def test_a_failed_channel_hands_over_to_the_next_channel_and_then_the_next_person(
    state: DeliveryState,
) -> None:
    pager = Pager()
    (robot,) = pager.open(incident())
    (mail,) = pager.answer(robot, state, "503")
    assert (mail.person, mail.channel) == ("li", "mail")
    (next_person,) = pager.answer(mail, state)
    assert (next_person.person, next_person.channel) == ("wang", "robot")
    assert pager.facts[-2].kind is FactKind.PAGE_ESCALATED
    assert dict(pager.facts[-2].data) == {"level": 1, "reason": "nobody_reachable"}


def test_a_silent_channel_is_a_failed_one() -> None:
    pager = Pager()
    pager.open(incident())
    pager.now += 14.9
    assert pager.put(event=TimerFired(at=pager.at)) == []
    (mail,) = pager.wake()
    assert (mail.person, mail.channel) == ("li", "mail")
    assert pager.page().deliveries[0].state is DeliveryState.FAILED
    assert "15 s" in pager.page().deliveries[0].message


def test_a_late_answer_is_recorded_and_moves_nothing() -> None:
    pager = Pager()
    (robot,) = pager.open(incident())
    pager.wake()
    assert pager.answer(robot, DeliveryState.FAILED) == []
    assert pager.answer(robot, DeliveryState.SENT) == []
    assert pager.page().deliveries[0].state is DeliveryState.SENT
    acknowledge(pager)
    assert pager.answer(robot, DeliveryState.DELIVERED) == []
    assert pager.page().deliveries[0].state is DeliveryState.DELIVERED
    assert pager.page().state is PageState.ACKNOWLEDGED


def test_a_level_nobody_of_which_has_a_channel_is_passed_at_once() -> None:
    pager = Pager(policy(plan(("nobody", "unknown"), (), ("wang", "zhao"))))
    assert to(pager.open(incident())) == [("wang", "robot"), ("zhao", "robot")]
    assert pager.page().level == 2


def test_when_nobody_at_all_has_a_channel_it_is_recorded_at_once() -> None:
    pager = Pager(policy(plan(("nobody",), ("unknown",))))
    assert pager.open(incident()) == []
    assert pager.page().state is PageState.UNDELIVERED
    assert dict(pager.facts[-1].data)["why"] == "nobody_has_a_channel"


def test_one_failing_person_does_not_climb_past_another_who_was_reached() -> None:
    pager = Pager(policy(plan(("wang", "zhao"), ("li",))))
    wang, zhao = pager.open(incident())
    pager.answer(zhao, DeliveryState.SENT)
    assert pager.answer(wang, DeliveryState.FAILED) == []
    assert pager.page().level == 0


def test_when_all_channels_fail_the_next_round_tries_again() -> None:
    pager = Pager(policy(plan(("li",), rounds=1)))
    (robot,) = pager.open(incident())
    (mail,) = pager.answer(robot, DeliveryState.FAILED_PERMANENTLY)
    assert pager.answer(mail, DeliveryState.FAILED) == []
    assert to(pager.wake()) == [("li", "mail")]  # the one that failed for good comes last
    assert to(pager.answer(pager.commands[-1], DeliveryState.FAILED)) == [("li", "robot")]
    pager.answer(pager.commands[-1], DeliveryState.FAILED)
    assert [command.page for command in pager.wake()] == ["PAGE-0002"]
    assert pager.page().state is PageState.UNDELIVERED


@pytest.mark.parametrize("severity", [Severity.SEV3, Severity.SEV4])
def test_a_severity_below_the_policys_is_recorded_and_pages_nobody(severity: Severity) -> None:
    pager = Pager()
    assert pager.open(incident(severity=severity)) == []
    (fact,) = pager.facts
    assert fact.kind is FactKind.PAGE_WITHHELD
    assert dict(fact.data) == {"reason": "below_policy", "severity": int(severity)}
    pager.change(incident(severity=severity, affected=4))
    assert len(pager.facts) == 1
    assert to(pager.change(incident(severity=Severity.SEV2))) == [("li", "robot")]


def test_without_a_policy_it_is_recorded() -> None:
    pager = Pager(policy(None))
    assert pager.open(incident()) == []
    assert dict(pager.facts[0].data)["reason"] == "no_escalation_policy"
    pager.put(
        event=PageWanted(at=pager.at, incident="INC-0001", by="RUN-1", need_zh="", need_en="", drill=False)
    )
    assert pager.kinds() == [FactKind.PAGE_WITHHELD] * 2


def test_a_worse_incident_pages_again_at_once() -> None:
    pager = Pager()
    pager.open(incident(severity=Severity.SEV2))
    pager.now += 5.0
    (command,) = pager.change(incident(severity=Severity.SEV1))
    assert command.severity == 1
    assert pager.change(incident(severity=Severity.SEV2)) == []
    assert pager.page().severity == 1


def test_after_an_acknowledgement_only_a_worse_incident_pages_again() -> None:
    pager = Pager()
    pager.open(incident(severity=Severity.SEV2))
    acknowledge(pager)
    acknowledged = incident(
        severity=Severity.SEV2, state=IncidentState.ACKNOWLEDGED, acknowledged_wall=pager.at.wall
    )
    pager.now += 10
    assert pager.change(acknowledged) == []
    (command,) = pager.change(dataclasses.replace(acknowledged, severity=Severity.SEV1))
    assert command.page == "PAGE-0002"
    assert pager.change(dataclasses.replace(acknowledged, severity=Severity.SEV1, affected=9)) == []
    assert pager.page(2).state is PageState.ACTIVE


def relapse(pager: Pager) -> Incident:
    """Acknowledged, over for callers, and broken again."""
    pager.open(incident())
    pager.now += 5.0
    acknowledge(pager)
    known = incident(state=IncidentState.MITIGATED, acknowledged_wall=pager.at.wall, acknowledged_by="li")
    pager.now += 30.0
    assert pager.change(known) == []
    pager.now += 30.0
    return dataclasses.replace(known, state=IncidentState.OPEN)


def test_what_is_broken_again_after_an_acknowledgement_pages_anew() -> None:
    pager = Pager()
    again = relapse(pager)
    (command,) = pager.change(again)
    assert command.page == "PAGE-0002"
    assert command.text.what.en.endswith(" - it is broken again")
    pager.answer(command, DeliveryState.SENT)
    assert pager.change(dataclasses.replace(again, affected=9)) == [], "said once"
    assert to(pager.until(60.0)) == [("li", "robot")], "and repeated until somebody acknowledges"
    acknowledge(pager)
    assert pager.until(3600.0) == []


def test_a_relapse_without_a_lease_is_paged_when_it_leads() -> None:
    pager = Pager()
    again = relapse(pager)
    pager.state = dataclasses.replace(pager.state, lease_deadline=None)
    assert pager.change(again) == []
    pager.state = dataclasses.replace(pager.state, lease_deadline=1e9)
    (command,) = pager.put(event=LeaseChanged(at=pager.at, deadline=1e9))
    assert command.text.what.en.endswith(" - it is broken again")


def test_a_failed_run_after_the_acknowledgement_pages_again() -> None:
    pager = Pager()
    pager.open(incident())
    failed = Run(id="RUN-1", runbook="failover", revision="", state=RunState.NEEDS_PERSON)
    pager.state = dataclasses.replace(pager.state, runs=pager.state.runs.set("RUN-1", failed))
    ended = RunEnded(
        at=pager.at, run="RUN-1", incident="INC-0001", runbook="failover", succeeded=False, outcome="x"
    )
    assert pager.put(event=ended) == []  # still being paged: the next round says it
    acknowledge(pager)
    assert to(pager.put(event=ended)) == [("li", "robot")]
    acknowledge(pager)
    cancelled = dataclasses.replace(failed, state=RunState.CANCELLED)
    pager.state = dataclasses.replace(pager.state, runs=pager.state.runs.set("RUN-1", cancelled))
    assert pager.put(event=ended) == []


def test_a_runbook_asks_in_its_own_words_and_a_page_under_way_carries_them() -> None:
    pager = Pager()
    pager.open(incident())
    wanted = PageWanted(
        at=pager.at, incident="INC-0001", by="RUN-1", need_zh="去机房", need_en="Go there", drill=False
    )
    (command,) = pager.put(event=wanted)
    assert (command.page, command.text.need.zh) == ("PAGE-0001", "需要：去机房")
    assert command.text.need.en == "Needed: Go there"
    pager.answer(command, DeliveryState.SENT)
    assert pager.wake()[0].text.need.zh == "需要：去机房"


def test_a_runbook_pages_whatever_the_severity_and_without_an_incident() -> None:
    pager = Pager()
    wanted = PageWanted(at=pager.at, incident="", by="RUN-9", need_zh="", need_en="Sign", drill=False)
    (command,) = pager.put(event=wanted)
    assert command.incident == "PAGE-0001"
    assert command.text.need == command.text.need.__class__(zh="需要：Sign", en="Needed: Sign")
    acknowledge(pager, subject="PAGE-0001")
    assert pager.page().state is PageState.ACKNOWLEDGED


def test_a_node_without_a_lease_pages_nobody_and_catches_up_when_it_leads() -> None:
    pager = Pager(leader=False)
    assert pager.open(incident()) == []
    assert dict(pager.facts[0].data)["reason"] == "no_lease"
    pager.now += 30
    pager.state = dataclasses.replace(pager.state, lease_deadline=pager.now + 3)
    lease = LeaseChanged(at=pager.at, deadline=pager.now + 3)
    assert to(pager.put(event=lease)) == [("li", "robot")]
    assert pager.put(event=lease) == []


def test_what_comes_due_without_a_lease_waits_for_it() -> None:
    pager = Pager()
    (command,) = pager.open(incident())
    pager.answer(command, DeliveryState.SENT)
    pager.state = dataclasses.replace(pager.state, lease_deadline=None)
    before = len(pager.facts)
    assert pager.until(100.0) == []
    assert len(pager.facts) == before
    due = escalation.wake_at(pager.state, pager.policy)
    assert due is not None and pager.now < due <= pager.now + RECHECK
    pager.state = dataclasses.replace(pager.state, lease_deadline=1e9)
    assert to(pager.wake()) == [("li", "robot")]


def test_a_failure_and_a_worsening_without_a_lease_wait_for_it_too() -> None:
    pager = Pager()
    (robot,) = pager.open(incident(severity=Severity.SEV2))
    pager.state = dataclasses.replace(pager.state, lease_deadline=None)
    assert pager.answer(robot, DeliveryState.FAILED) == []
    assert pager.change(incident(severity=Severity.SEV1)) == []
    pager.state = dataclasses.replace(pager.state, lease_deadline=1e9)
    (command,) = pager.wake()
    assert command.severity == 1


def restarted(pager: Pager) -> Pager:
    """The node again, from what its facts say, without a lease yet."""
    again = Pager(pager.policy, leader=False)
    again.now = pager.now + 5.0
    pages: dict[str, Page] = {}
    for fact in pager.facts:
        for aggregate in decode_aggregates(json.loads(fact_payload(fact))):
            if isinstance(aggregate, Page):
                pages[aggregate.id] = aggregate
            elif isinstance(aggregate, Counters):
                again.state = dataclasses.replace(again.state, counters=aggregate)
    again.state = dataclasses.replace(
        again.state, pages=again.state.pages.update(pages), incidents=pager.state.incidents
    )
    return again


def test_after_a_restart_pending_pages_have_a_next_time_and_lost_sendings_are_repeated() -> None:
    pager = Pager()
    pager.open(incident())
    pager = restarted(pager)
    assert escalation.unscheduled(pager.state) == ("PAGE-0001",)
    assert pager.put(event=Started(at=pager.at, node="here", recovered=True)) == []
    assert escalation.unscheduled(pager.state) == ()
    assert pager.page().deliveries[0].state is DeliveryState.FAILED
    assert pager.until(3.0) == []  # no lease yet
    pager.state = dataclasses.replace(pager.state, lease_deadline=1e9)
    assert to(pager.wake()) == [("li", "robot")]


def test_after_a_restart_deadlines_begin_anew_in_full() -> None:
    pager = Pager()
    (command,) = pager.open(incident())
    pager.answer(command, DeliveryState.SENT)
    pager = restarted(pager)
    pager.put(event=Started(at=pager.at, node="here", recovered=True))
    assert (pager.page().repeat_due, pager.page().escalate_due) == (pager.now + 60.0, pager.now + 120.0)
    pager.facts.clear()
    acknowledge(pager)
    assert pager.page().state is PageState.ACKNOWLEDGED


def test_after_a_restart_with_fewer_levels_it_goes_on_at_the_last() -> None:
    pager = Pager()
    (command,) = pager.open(incident())
    pager.answer(command, DeliveryState.SENT)
    pager.until(125.0)
    assert pager.page().level == 1
    pager = restarted(pager)
    pager.policy = policy(plan(("zhao",)))
    pager.put(event=Started(at=pager.at, node="here", recovered=True))
    assert pager.page().level == 0
    pager.state = dataclasses.replace(pager.state, lease_deadline=1e9)
    assert to(pager.wake()) == [("zhao", "robot")]


def test_a_storm_is_bundled_but_never_a_first_page_of_a_sev1() -> None:
    pager = Pager()
    sent: list[Notify] = []
    for number in range(1, 21):
        commands = pager.open(incident(number, severity=Severity.SEV2))
        for command in commands:
            pager.answer(command, DeliveryState.SENT)
        sent += commands
    assert len(sent) == 6
    pages = [pager.page(number) for number in range(1, 21)]
    held = [page for page in pages if page.deliveries[0].state is DeliveryState.BUNDLED]
    assert len(held) == 14
    (command,) = pager.open(incident(50, severity=Severity.SEV1))
    assert command.person == "li"
    assert "20" in command.text.need.en
    pager.answer(command, DeliveryState.SENT)
    # When the window has passed, those who were never told come first.
    assert {command.page for command in pager.until(61.0)} == {page.id for page in held[:5]} | {command.page}


def test_a_drill_is_marked_first_and_last() -> None:
    pager = Pager()
    (command,) = pager.open(incident(drill=True))
    assert command.drill
    assert command.text.what.zh.startswith("【演练】这是一次演练")
    assert command.text.need.zh.endswith("【演练】这是一次演练")
    assert command.text.what.en.startswith("[DRILL] This is a drill")
    assert command.text.need.en.endswith("[DRILL] This is a drill")
    assert all(fact.drill for fact in pager.facts)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(1, 3), st.sampled_from(list(Severity))),
        st.tuples(st.just("worsen"), st.integers(1, 3), st.sampled_from(list(Severity))),
        st.tuples(st.just("resolve"), st.integers(1, 3), st.none()),
        st.tuples(st.just("acknowledge"), st.integers(1, 3), st.none()),
        st.tuples(st.just("answer"), st.integers(0, 30), st.sampled_from(list(DeliveryState)[1:4])),
        st.tuples(st.just("wait"), st.integers(1, 200), st.none()),
        st.tuples(st.just("lease"), st.booleans(), st.none()),
        st.tuples(st.just("want"), st.integers(1, 3), st.none()),
        st.tuples(
            st.just("switch"), st.just(0), st.sampled_from([SwitchOutcome.VERIFIED, SwitchOutcome.FAILED])
        ),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_happens_facts_give_the_state_and_every_page_ends(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    pager = Pager(policy(plan(("li", "nobody"), ("wang", "li"), after=50.0, rounds=2)))
    ended: set[str] = set()
    for kind, which, value in steps:
        sent: list[Notify] = []
        match kind:
            case "open":
                sent = pager.open(incident(which, severity=value))
            case "worsen" if f"INC-{which:04d}" in pager.state.incidents:
                sent = pager.change(incident(which, severity=value))
            case "resolve" if f"INC-{which:04d}" in pager.state.incidents:
                sent = pager.change(incident(which, state=IncidentState.RESOLVED))
            case "acknowledge":
                sent = acknowledge(pager, subject=f"INC-{which:04d}")
                assert sent == []
            case "answer" if which < len(pager.commands):
                sent = pager.answer(pager.commands[which], value)
            case "wait":
                sent = pager.until(float(which))
            case "switch":
                sent = switched(pager, value)
            case "lease":
                pager.state = dataclasses.replace(pager.state, lease_deadline=1e9 if which else None)
                sent = pager.put(event=LeaseChanged(at=pager.at, deadline=pager.state.lease_deadline))
            case "want":
                sent = pager.put(
                    event=PageWanted(
                        at=pager.at,
                        incident=f"INC-{which:04d}",
                        by="R",
                        need_zh="",
                        need_en="x",
                        drill=False,
                    )
                )
        assert not sent or pager.state.lease_deadline is not None
        assert not {command.page for command in sent} & ended
        ended = {page.id for page in pager.state.pages.values() if page.state is not PageState.ACTIVE}
        assert escalation.unscheduled(pager.state) == ()
    pager.state = dataclasses.replace(pager.state, lease_deadline=1e9)
    waiting = [page.id for page in escalation.active(pager.state)]
    pager.until(2 * 50.0 + 4 * 900.0 + 2.0)
    assert all(pager.state.pages[page].state is not PageState.ACTIVE for page in waiting)
    folded = {
        aggregate.id: aggregate
        for fact in pager.facts
        for aggregate in fact.changed
        if isinstance(aggregate, Page)
    }
    assert {key: plain(page) for key, page in folded.items()} == {
        key: plain(page) for key, page in pager.state.pages.items()
    }
    assert len({command.id for command in pager.commands}) == len(pager.commands)


def switched(pager: Pager, outcome: SwitchOutcome) -> list[Notify]:
    """As the failover stage leaves its group, and says so."""
    side = "backup" if outcome is SwitchOutcome.VERIFIED else "primary"
    phase = Phase.NEEDS_PERSON if outcome is SwitchOutcome.NEEDS_PERSON else Phase.IDLE
    group = Group(
        name="main",
        active=side,
        phase=phase,
        last_switch="SW-0001",
        last_outcome=outcome,
        ended_wall=pager.at.wall,
    )
    pager.state = dataclasses.replace(pager.state, groups=pager.state.groups.set("main", group))
    return pager.put(
        event=SwitchEnded(
            at=pager.at, group="main", switch="SW-0001", run="RUN-1", step="switch", outcome=outcome
        )
    )


def test_each_round_says_why_it_goes_out() -> None:
    pager = Pager()
    (first,) = pager.open(incident(severity=Severity.SEV2))
    pager.answer(first, DeliveryState.SENT)
    assert first.text.what.en.endswith("(INC-0001)")
    pager.now += 5.0
    (worse,) = pager.change(incident(severity=Severity.SEV1))
    pager.answer(worse, DeliveryState.SENT)
    assert worse.text.what.en.endswith(" - it is worse than before")
    pager.now += 5.0
    asked = PageWanted(at=pager.at, incident="INC-0001", by="R", need_zh="", need_en="Sign", drill=False)
    (wanted,) = pager.put(event=asked)
    pager.answer(wanted, DeliveryState.SENT)
    assert wanted.text.what.zh.endswith(" —— 有事项需要人工")
    pager.now += 5.0
    (news,) = switched(pager, SwitchOutcome.VERIFIED)
    pager.answer(news, DeliveryState.SENT)
    assert news.text.what.en.endswith(" - verified: backup carries the calls")
    assert news.text.what.zh.endswith(" —— 切换已验证：backup 正在承载呼叫")
    (repeat,) = pager.until(60.0)
    assert repeat.text.what.en.endswith(" - nobody has acknowledged yet")
    repeats = [fact for fact in pager.facts if fact.kind is FactKind.PAGE_REPEATED]
    reasons = ["worse", "asked", "switched", "unacknowledged"]
    assert [fact.get("reason") for fact in repeats] == reasons
    lines = [fact_line(fact.kind, fact.subject, "", dict(fact.data), Language.EN) for fact in repeats]
    assert lines[0] == "PAGE-0001: paged again, time 1: it is worse than before"
    assert lines[-1] == "PAGE-0001: paged again, time 4: nobody has acknowledged yet"


def test_a_round_that_had_to_wait_for_the_lease_keeps_its_reason() -> None:
    pager = Pager()
    (first,) = pager.open(incident(severity=Severity.SEV2))
    pager.answer(first, DeliveryState.SENT)
    pager.now += 5.0
    pager.state = dataclasses.replace(pager.state, lease_deadline=None)
    assert pager.change(incident(severity=Severity.SEV1)) == []
    pager.state = dataclasses.replace(pager.state, lease_deadline=1e9)
    (worse,) = pager.wake()
    assert worse.text.what.en.endswith(" - it is worse than before")


def test_what_leaves_in_the_same_moment_leaves_once() -> None:
    """An incident and the runbook it starts page in one step: the newer page goes, and says it is the first."""
    pager = Pager()
    (older,) = pager.open(incident())
    wanted = PageWanted(at=pager.at, incident="INC-0001", by="R", need_zh="", need_en="Sign", drill=False)
    (newer,) = pager.put(event=wanted)
    assert superseded(pager.state, older)
    assert not superseded(pager.state, newer)
    assert newer.text.need.en == "Needed: Sign"
    assert newer.text.what.en.endswith("(INC-0001)")
    assert [item.state for item in pager.page().deliveries] == [
        DeliveryState.SUPERSEDED,
        DeliveryState.PENDING,
    ]


def test_repeats_that_come_due_together_go_to_one_person_once() -> None:
    pager = Pager()
    for number in (1, 2, 3):
        for command in pager.open(incident(number)):
            pager.answer(command, DeliveryState.SENT)
    (repeat,) = pager.wake()
    assert repeat.text.need.en.endswith("(2 more waiting for an acknowledgement)")
    held = [
        page.id
        for page in pager.state.pages.values()
        if page.deliveries[-1].state is DeliveryState.SUPERSEDED
    ]
    assert len(held) == 2
    pager.answer(repeat, DeliveryState.SENT)
    told = [repeat.page]
    for _ in range(2):
        sent = pager.until(60.0)
        for command in sent:
            pager.answer(command, DeliveryState.SENT)
        told += [command.page for command in sent if command.person == "li"]
    assert sorted(told) == ["PAGE-0001", "PAGE-0002", "PAGE-0003"], "each has its turn"


def test_a_graver_page_is_never_superseded_by_a_milder_one() -> None:
    pager = Pager()
    for number, severity in ((1, Severity.SEV2), (2, Severity.SEV1)):
        for command in pager.open(incident(number, severity=severity)):
            pager.answer(command, DeliveryState.SENT)
    assert [command.page for command in pager.wake()] == ["PAGE-0002"]


def test_a_verified_switch_is_told_at_once_to_those_who_acknowledged_too() -> None:
    pager = Pager()
    (first,) = pager.open(incident())
    pager.answer(first, DeliveryState.SENT)
    acknowledge(pager)
    pager.now += 2.0
    (news,) = switched(pager, SwitchOutcome.VERIFIED)
    assert (news.person, news.page, news.link) == ("li", "PAGE-0002", False)
    assert news.text.what.en.endswith(" - verified: backup carries the calls")
    assert news.text.need.en == "Needed: nothing now; repair the old side before any failback"
    pager.answer(news, DeliveryState.SENT)
    assert pager.page(2).state is PageState.TOLD
    assert pager.until(3600.0) == [], "nobody is asked to acknowledge it"


def test_an_update_tries_every_channel_and_then_ends() -> None:
    pager = Pager()
    (first,) = pager.open(incident())
    pager.answer(first, DeliveryState.SENT)
    acknowledge(pager)
    pager.now += 2.0
    (robot,) = switched(pager, SwitchOutcome.VERIFIED)
    (mail,) = pager.answer(robot, DeliveryState.FAILED)
    assert (mail.person, mail.channel) == ("li", "mail")
    assert pager.until(3600.0) == []
    assert pager.page(2).state is PageState.TOLD
    assert [item.state for item in pager.page(2).deliveries] == [DeliveryState.FAILED] * 2


@pytest.mark.parametrize(
    "outcome", [SwitchOutcome.COMPENSATED, SwitchOutcome.FAILED, SwitchOutcome.NEEDS_PERSON]
)
def test_a_switch_that_failed_pages_again_after_the_acknowledgement(outcome: SwitchOutcome) -> None:
    pager = Pager()
    pager.open(incident())
    acknowledge(pager)
    pager.now += 2.0
    (command,) = switched(pager, outcome)
    assert (command.page, command.link) == ("PAGE-0002", True)
    assert " - the switch ended: " in command.text.what.en
    failed = Run(id="RUN-1", runbook="failover", revision="", state=RunState.NEEDS_PERSON)
    pager.state = dataclasses.replace(pager.state, runs=pager.state.runs.set("RUN-1", failed))
    ended = RunEnded(
        at=pager.at, run="RUN-1", incident="INC-0001", runbook="failover", succeeded=False, outcome="x"
    )
    assert pager.put(event=ended) == [], "its run says the same"
    assert pager.page(2).state is PageState.ACTIVE


@pytest.mark.parametrize("outcome", [SwitchOutcome.REFUSED, SwitchOutcome.SHADOWED])
def test_a_switch_that_did_not_happen_is_no_news(outcome: SwitchOutcome) -> None:
    pager = Pager()
    pager.open(incident())
    pager.now += 2.0
    assert switched(pager, outcome) == []


def test_a_switch_nobody_was_paged_for_or_after_its_end_is_no_news() -> None:
    pager = Pager()
    assert switched(pager, SwitchOutcome.VERIFIED) == []
    pager.open(incident())
    acknowledge(pager)
    over = incident(state=IncidentState.MITIGATED, mitigated_wall=pager.at.wall - 1.0)
    pager.change(over)
    assert switched(pager, SwitchOutcome.VERIFIED) == [], "callers were well before it"


def test_an_incident_that_is_not_there_is_nothing() -> None:
    pager = Pager()
    assert pager.put(event=IncidentChanged(at=pager.at, incident="INC-9")) == []
    assert pager.facts == []


def test_people_on_two_levels_are_paged_once_a_round() -> None:
    pager = Pager(policy(plan(("wang",), ("wang", "zhao"), after=30.0), people=policy().people))
    (command,) = pager.open(incident())
    pager.answer(command, DeliveryState.SENT)
    assert to(pager.wake()) == [("zhao", "robot")]
    pager.answer(pager.commands[-1], DeliveryState.SENT)
    assert to(pager.wake()) == [("wang", "robot"), ("zhao", "robot")]
    assert person("x").channels == ()


def test_what_waits_for_the_same_commit_leaves_once_though_time_has_passed() -> None:
    pager = Pager()
    (older,) = pager.open(incident())
    pager.now += 0.004
    wanted = PageWanted(at=pager.at, incident="INC-0001", by="R", need_zh="", need_en="Sign", drill=False)
    (newer,) = pager.put(event=wanted, same_commit=True)
    assert leaving(pager.state, [older, newer]) == (newer,)
    assert newer.text.what.en.endswith("(INC-0001)"), "and says that it is the first"


def test_what_has_left_is_followed_by_what_is_new() -> None:
    pager = Pager()
    (older,) = pager.open(incident())
    pager.now += 0.004
    wanted = PageWanted(at=pager.at, incident="INC-0001", by="R", need_zh="", need_en="Sign", drill=False)
    (newer,) = pager.put(event=wanted)
    assert leaving(pager.state, [newer]) == (newer,)
    assert not superseded(pager.state, older)
