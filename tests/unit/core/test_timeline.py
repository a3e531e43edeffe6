from __future__ import annotations

import dataclasses

import pytest

from controller.core.timeline import (
    Outage,
    Point,
    Relapse,
    Step,
    Timeline,
    downtime,
    fold,
    line,
    lines,
    timeline,
)
from controller.model.facts import FactKind
from controller.model.faults import FaultKind
from controller.model.groups import Group, SwitchOutcome
from controller.model.incidents import Incident, IncidentState
from tests.builders.records import (
    BASE,
    INCIDENT,
    changing,
    failover,
    fault,
    group,
    incident,
    spoiled,
    switch,
)


def test_folding_gives_the_last_of_each_and_leaves_out_the_retired() -> None:
    live = fold(lines(failover().entries()))
    assert sorted(live) == ["group/main", "incident/INC-0001", "page/PAGE-0001"]
    assert live["group/main"].active == "backup"  # type: ignore[union-attr]
    assert live["incident/INC-0001"].state is IncidentState.RESOLVED  # type: ignore[union-attr]


def test_the_phases_of_a_failover() -> None:
    told = timeline(lines(failover().entries()), INCIDENT)
    assert told is not None
    seconds = {span.step: span.seconds for span in told.spans}
    assert seconds == {
        Step.DETECT: pytest.approx(0.4),
        Step.DECIDE: pytest.approx(0.1),
        Step.SWITCH: pytest.approx(0.3),
        Step.VERIFY: pytest.approx(0.3),
        Step.ACKNOWLEDGE: pytest.approx(60.0),
        Step.MITIGATE: None,  # no fact says so
        Step.RESOLVE: pytest.approx(599.4),
    }
    assert told.span(Step.DETECT).seconds_at_most == pytest.approx(0.6)
    assert told.span(Step.VERIFY).seconds_at_most == pytest.approx(0.3)
    assert told.span(Step.SWITCH).begins == Point(BASE + 1.1, "switch_started", 6)
    assert told.incident.state is IncidentState.RESOLVED
    assert all(each.incident == INCIDENT for each in told.lines)


def test_the_outage_is_an_interval_that_begins_in_an_interval() -> None:
    told = timeline(lines(failover().entries()), INCIDENT)
    assert told is not None
    assert told.outage == Outage(
        earliest=BASE + 0.4,
        latest=BASE + 0.6,
        ends=BASE + 1.7,
        ends_earliest=BASE + 1.4,
        ended_by="switch_ended",
    )
    # Callers may be served from the redirection on; the verifying call only proves it.
    assert told.outage.seconds == (pytest.approx(0.8), pytest.approx(1.3))


def test_a_switch_that_was_not_verified_ends_no_outage() -> None:
    record = spoiled(
        failover().facts, FactKind.SWITCH_ENDED, changing(Group, last_outcome=SwitchOutcome.COMPENSATED)
    )
    told = timeline(lines(record), INCIDENT)
    assert told is not None
    assert told.span(Step.VERIFY).seconds is None
    assert (told.outage.ends, told.outage.ended_by) == (BASE + 600.0, "incident_resolved")


def test_the_second_switch_of_an_incident_is_the_one_that_counts() -> None:
    story = failover()
    facts = [fact for fact in story.facts if fact.at.mono <= 1.7]
    first = [
        changing(Group, last_outcome=SwitchOutcome.COMPENSATED, active="primary")(fact)
        if fact.kind is FactKind.SWITCH_ENDED
        else fact
        for fact in facts
    ]
    again = [
        dataclasses.replace(fact, at=fact.at._replace(wall=fact.at.wall + 10.0))
        for fact in facts
        if fact.kind in (FactKind.SWITCH_STARTED, FactKind.SWITCH_PHASE, FactKind.SWITCH_ENDED)
    ]
    story.facts = [*first, *again]
    told = timeline(lines(story.entries()), INCIDENT)
    assert told is not None
    assert told.span(Step.SWITCH).seconds == pytest.approx(10.3)
    assert told.span(Step.VERIFY).seconds == pytest.approx(0.3)
    assert told.outage.ends == BASE + 11.7


def relapsed(*, over: bool) -> Timeline:
    """Mitigated at 1.7; the other side fails at 21.0 and is well again at 29.0; mitigated; resolved at 600."""
    story = failover()
    if not over:
        story.facts = [fact for fact in story.facts if fact.at.mono < 60.0]
    story.add(FactKind.INCIDENT_MITIGATED, 1.7, INCIDENT, incident(state=IncidentState.MITIGATED))
    wrong = fault(component="certificate", kind=FaultKind.CERTIFICATE_EXPIRING, first_bad_wall=BASE + 10.0)
    story.add(FactKind.INCIDENT_JOINED, 10.0, INCIDENT, incident(state=IncidentState.OPEN), wrong)
    again = fault(component="backup", last_good_wall=BASE + 20.5, first_bad_wall=BASE + 21.0)
    story.add(FactKind.INCIDENT_JOINED, 22.0, INCIDENT, incident(state=IncidentState.OPEN), again)
    third = fault(component="backup", kind=FaultKind.PLATFORM_HUNG, first_bad_wall=BASE + 24.0)
    story.add(FactKind.INCIDENT_JOINED, 25.0, INCIDENT, incident(state=IncidentState.OPEN), third)
    if over:
        story.add(FactKind.INCIDENT_MITIGATED, 29.0, INCIDENT, incident(state=IncidentState.MITIGATED))
    story.facts.sort(key=lambda fact: fact.at.mono)
    told = timeline(lines(story.entries()), INCIDENT)
    assert told is not None
    return told


def test_an_outage_that_came_again_is_counted_in() -> None:
    outage = relapsed(over=True).outage
    assert outage.ends == BASE + 1.7
    assert outage.relapses == (Relapse(BASE + 20.5, BASE + 21.0, BASE + 29.0),)
    assert outage.seconds == (pytest.approx(8.8), pytest.approx(9.8))
    assert downtime([outage]) == pytest.approx(9.1)


def test_an_outage_that_came_again_and_goes_on_has_no_length() -> None:
    outage = relapsed(over=False).outage
    assert outage.relapses == (Relapse(BASE + 20.5, BASE + 21.0),)
    assert outage.seconds is None


def test_an_open_incident_has_unknown_ends() -> None:
    story = failover()
    story.facts = story.facts[:3]
    told = timeline(lines(story.entries()), INCIDENT)
    assert told is not None
    assert told.span(Step.DETECT).seconds == pytest.approx(0.4)
    assert told.span(Step.DECIDE).seconds is None
    assert told.outage.seconds is None


def test_a_fault_that_callers_do_not_feel_has_no_outage() -> None:
    record = spoiled(
        failover().facts, FactKind.INCIDENT_RESOLVED, changing(Incident, kind=FaultKind.CERTIFICATE_EXPIRING)
    )
    told = timeline(lines(record), INCIDENT)
    assert told is not None
    assert told.outage == Outage(earliest=None, latest=None, ends=None)


def test_an_incident_nobody_recorded() -> None:
    assert timeline(lines(failover().entries()), "INC-0099") is None


def test_an_erased_payload_and_an_unknown_kind_are_lines_too() -> None:
    entry = failover().entries()[0]
    erased = line(entry._replace(payload="", kind="moon_landed"))
    assert (erased.kind, erased.name, erased.subject, erased.changed) == (None, "moon_landed", "", ())


def test_downtime_counts_overlaps_once() -> None:
    def outage(begins: float | None, ends: float | None) -> Outage:
        return Outage(earliest=None, latest=begins, ends=ends)

    assert downtime([]) == 0.0
    known = [outage(10.0, 20.0), outage(15.0, 18.0), outage(19.0, 30.0), outage(100.0, 101.5)]
    assert downtime(known) == 21.5
    assert downtime([*known, outage(None, 5.0), outage(50.0, None), outage(60.0, 55.0)]) == 21.5


def test_the_builders_are_of_one_piece() -> None:
    assert (incident().group, switch().origin) == (group().name, group().active)
