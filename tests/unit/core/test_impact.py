from __future__ import annotations

from dataclasses import replace

import pytest
from immutables import Map

from controller.core.response import incidents
from controller.core.response.impact import GRACE, HORIZON, calls_lost, count
from controller.core.step import step, wake_at
from controller.engine.recovery import restore
from controller.model.encoding import decode_aggregate, encode_aggregate
from controller.model.events import (
    Event,
    IncidentChanged,
    Measured,
    OperatorUpdatedIncident,
    Started,
    TimerFired,
)
from controller.model.facts import Aggregate, Fact, FactKind, aggregate_key
from controller.model.groups import Group
from controller.model.health import Outcome, RungKey
from controller.model.incidents import IncidentState
from controller.model.moments import Moment
from controller.model.policy import Component, ComponentKind, GroupPolicy, Side
from controller.model.runbooks import Text
from controller.model.state import State
from tests.builders.paging import EPOCH, incident, policy

TITLE = Text(zh="边缘", en="Edge")
GROUP = GroupPolicy(
    name="main",
    title=TITLE,
    sides=(
        Side(name="primary", component="primary", destination="sip:192.0.2.1"),
        Side(name="backup", component="backup", destination="sip:192.0.2.2"),
    ),
    preferred="primary",
    driver="fake",
    driver_parameters=None,
    edges=("edge1", "edge2"),
)
POLICY = policy(
    groups=Map({"main": GROUP}),
    components=Map(
        {
            name: Component(name=name, kind=ComponentKind.EDGE, title=TITLE)
            for name in ("edge1", "edge2", "other")
        }
        | {
            name: Component(name=name, kind=ComponentKind.PLATFORM, title=TITLE)
            for name in ("primary", "backup")
        }
    ),
)


class Tape:
    """A state advanced by polls and changes of one incident; mono 0 is EPOCH on the wall."""

    def __init__(self) -> None:
        self.state = State(node="n1", groups=Map({"main": Group(name="main", active="primary")}))

    def poll(self, mono: float, edge: str = "edge1", **values: int) -> None:
        named = tuple((name.replace("_", "."), value) for name, value in values.items())
        self.state = count(
            self.state,
            Measured(
                at=Moment(mono, EPOCH + mono),
                vantage="n1",
                key=RungKey(edge, "edge"),
                outcome=Outcome.UP,
                up=True,
                values=named,
            ),
            POLICY,
        )

    def change(self, mono: float, *, opened: bool = False, **changes: object) -> None:
        before = self.state.incidents.get("INC-0001") or incident(opened_wall=EPOCH + mono)
        after = replace(before, **changes)
        self.state = replace(self.state, incidents=self.state.incidents.set(after.id, after))
        event = IncidentChanged(at=Moment(mono, EPOCH + mono), incident=after.id, opened=opened)
        self.state = count(self.state, event, POLICY)

    @property
    def lost(self) -> dict[str, object]:
        return dict(calls_lost(self.state, "INC-0001"))


def test_calls_that_failed_before_the_incident_was_opened_belong_to_it() -> None:
    tape = Tape()
    tape.poll(1.0, primary_invites=10, primary_failures=1)
    tape.poll(10.0, primary_invites=10, primary_failures=10)
    tape.poll(10.5, "edge2", primary_invites=5, primary_timeouts=4)
    tape.change(11.0, opened=True, onset_earliest_wall=EPOCH + 9.5)
    tape.poll(11.5, primary_invites=3, primary_failures=1, primary_timeouts=2)
    assert (tape.lost["calls_source"], tape.lost["calls_failed"], tape.lost["calls_total"]) == (
        "edge",
        17,
        18,
    )


def test_a_call_that_the_edge_carried_over_is_counted_aside() -> None:
    tape = Tape()
    tape.change(1.0, opened=True)
    tape.poll(2.0, primary_invites=8, primary_failures=8, backup_invites=6, backup_failures=1)
    assert (tape.lost["calls_failed"], tape.lost["calls_answered_aside"]) == (9, 5)


def test_only_what_the_broken_side_still_times_out_is_added_after_the_mitigation() -> None:
    tape = Tape()
    tape.change(1.0, opened=True)
    tape.poll(2.0, primary_invites=4, primary_failures=4)
    tape.state = replace(tape.state, groups=Map({"main": Group(name="main", active="backup")}))
    tape.change(3.0, mitigated_wall=EPOCH + 3.0, state=IncidentState.MITIGATED)
    tape.poll(4.0, primary_invites=2, primary_timeouts=2, backup_invites=20, backup_failures=7)
    tape.poll(3.5 + GRACE, primary_invites=9, primary_timeouts=9)
    assert (tape.lost["calls_failed"], tape.lost["calls_answered_aside"]) == (6, 0)


def test_without_a_reading_during_the_incident_only_the_rate_before_it_is_known() -> None:
    tape = Tape()
    for second in range(21):
        tape.poll(float(second), primary_invites=5)
    tape.change(30.0, opened=True, onset_earliest_wall=EPOCH + 20.5)
    assert tape.lost == {"calls_source": "baseline", "calls_baseline": 5.0}


def test_nothing_is_said_when_nothing_was_read() -> None:
    tape = Tape()
    tape.change(30.0, opened=True)
    assert tape.lost == {}


@pytest.mark.parametrize("edge", ["other", "primary", "gone"])
def test_a_component_that_is_no_edge_of_the_group_counts_nothing(edge: str) -> None:
    tape = Tape()
    tape.change(1.0, opened=True)
    tape.poll(2.0, edge, primary_invites=4, primary_failures=4)
    assert tape.lost == {}


def test_after_a_restart_the_count_says_that_it_is_a_part() -> None:
    tape = Tape()
    tape.change(1.0, opened=True)
    tape.poll(2.0, primary_invites=4, primary_failures=4)
    tape.state = State(node="n1", groups=tape.state.groups, incidents=tape.state.incidents)
    tape.state = count(tape.state, Started(at=Moment(0.0, EPOCH + 60), node="n1", recovered=True), POLICY)
    tape.poll(1.0, primary_invites=3, primary_failures=2)
    assert (tape.lost["calls_failed"], tape.lost["calls_partial"]) == (2, True)


def test_what_is_kept_is_bounded() -> None:
    tape = Tape()
    tape.change(0.0, opened=True)
    for second in range(500):
        tape.poll(float(second), primary_invites=1)
    assert len(tape.state.call_samples["main"]) == HORIZON + 1
    tape.change(500.0, state=IncidentState.RESOLVED, resolved_wall=EPOCH + 500)
    assert not tape.state.call_tallies


def test_what_times_out_after_the_mitigation_is_recorded_for_good() -> None:
    tape = Tape()
    tape.change(1.0, opened=True)
    tape.poll(2.0, primary_invites=4, primary_failures=4)
    tape.state = replace(tape.state, groups=Map({"main": Group(name="main", active="backup")}))
    tape.change(3.0, mitigated_wall=EPOCH + 3.0, state=IncidentState.MITIGATED)
    tape.poll(4.0, primary_invites=7, primary_timeouts=7)
    due = incidents.wake_at(tape.state, POLICY)
    assert due == 3.0 + GRACE
    decided = incidents.advance(tape.state, TimerFired(at=Moment(due, EPOCH + due)), POLICY)
    (fact,) = decided.facts
    assert (fact.kind, fact.incident, fact.get("calls_failed")) == (FactKind.CALLS_COUNTED, "INC-0001", 11)
    assert incidents.wake_at(decided.state, POLICY) is None


def test_an_incident_that_came_again_is_not_counted_for_good() -> None:
    tape = Tape()
    tape.change(1.0, opened=True)
    tape.poll(2.0, primary_invites=4, primary_failures=4)
    tape.change(3.0, mitigated_wall=EPOCH + 3.0, state=IncidentState.MITIGATED)
    tape.change(5.0, mitigated_wall=0.0, state=IncidentState.OPEN)
    assert incidents.wake_at(tape.state, POLICY) is None


class Restarting:
    """A whole node whose switch ended an outage at mono 3, and that is killed after it: what is left is its record."""

    def __init__(self) -> None:
        tape = Tape()
        tape.change(1.0, opened=True)
        tape.poll(2.0, primary_invites=4, primary_failures=4)
        self.record: dict[str, Aggregate] = {}
        self.facts: list[Fact] = []
        self.state = replace(tape.state, groups=Map({"main": Group(name="main", active="backup")}))
        self.fold(
            OperatorUpdatedIncident(at=Moment(3.0, EPOCH + 3.0), incident="INC-0001", by="li", mitigated=True)
        )

    def fold(self, event: Event) -> None:
        decision = step(self.state, event, POLICY)
        self.state = decision.state
        self.facts.extend(decision.facts)
        for fact in decision.facts:
            self.record.update({aggregate_key(changed): changed for changed in fact.changed})

    def killed(self, wall: float) -> None:
        """Started again that many seconds after EPOCH, its monotonic clock from 100."""
        kept = [decode_aggregate(encode_aggregate(aggregate)) for aggregate in self.record.values()]
        now = Moment(100.0, EPOCH + wall)
        self.state = restore("n1", [aggregate for aggregate in kept if aggregate is not None], POLICY, now)
        self.state = replace(self.state, groups=Map({"main": Group(name="main", active="backup")}))
        self.facts = []
        self.fold(Started(at=now, node="n1", recovered=True))

    def poll(self, mono: float, wall: float, **values: int) -> None:
        self.fold(
            Measured(
                at=Moment(mono, EPOCH + wall),
                vantage="n1",
                key=RungKey("edge1", "edge"),
                outcome=Outcome.UP,
                up=True,
                values=tuple((name.replace("_", "."), value) for name, value in values.items()),
            )
        )

    def wait(self, mono: float, wall: float) -> None:
        """Every deadline until then."""
        while (due := wake_at(self.state, POLICY)) is not None and due <= mono:
            self.fold(TimerFired(at=Moment(due, EPOCH + wall - (mono - due))))

    def counted(self) -> list[dict[str, object]]:
        return [dict(fact.data) for fact in self.facts if fact.kind is FactKind.CALLS_COUNTED]


def test_a_restart_within_the_grace_goes_on_counting_and_says_that_it_is_a_part() -> None:
    node = Restarting()
    node.killed(5.0)
    node.poll(101.0, 6.0, primary_invites=7, primary_timeouts=7)
    node.wait(107.9, 12.9)
    assert node.counted() == []
    node.wait(108.1, 13.1)
    (counted,) = node.counted()
    assert (counted["calls_source"], counted["calls_failed"], counted["calls_partial"]) == ("edge", 11, True)


def test_a_restart_that_outlasts_the_grace_records_what_was_counted_before_it() -> None:
    node = Restarting()
    node.killed(60.0)
    node.poll(100.1, 60.1, primary_invites=9, primary_timeouts=9)
    node.wait(101.0, 61.0)
    (counted,) = node.counted()
    assert (counted["calls_failed"], counted["calls_partial"]) == (4, True)


def test_what_was_settled_before_a_restart_is_whole_and_not_recorded_again() -> None:
    node = Restarting()
    node.poll(4.0, 4.0, primary_invites=7, primary_timeouts=7)
    node.wait(13.5, 13.5)
    (counted,) = node.counted()
    assert (counted["calls_failed"], counted["calls_partial"]) == (11, False)
    node.killed(15.0)
    node.wait(120.0, 35.0)
    assert node.counted() == []
    lost = dict(calls_lost(node.state, "INC-0001"))
    assert (lost["calls_failed"], lost["calls_partial"]) == (11, False)
