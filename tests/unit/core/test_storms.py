"""Many failures of one cause: one incident, in one go, at a cost that grows with their number only."""

from __future__ import annotations

import time

import pytest

from controller.model.events import HealthChanged, TimerFired
from controller.model.facts import FactKind
from controller.model.health import HealthState, Outcome, RungKey
from tests.builders.diagnosis import ROOM, World, build_policy

UNKNOWN, UP, DOWN = HealthState.UNKNOWN, HealthState.UP, HealthState.DOWN


def report(world: World, name: str, rung: str, previous: HealthState, current: HealthState) -> None:
    world.send(
        HealthChanged(
            at=world.at(),
            vantage="node-a",
            key=RungKey(name, rung),
            previous=previous,
            current=current,
            outcome=Outcome.UP if current is UP else Outcome.NO_REPLY,
            failures=0 if current is UP else 2,
            last_good=world.now - 1.0,
            first_bad=0.0 if current is UP else world.now,
        )
    )


def healthy(phones: int, *, room_probed: bool = True) -> World:
    world = World(build_policy(phones=phones, room_probed=room_probed))
    world._beat("node-a")
    for number in range(phones):
        report(world, f"phone{number}", "sip", UNKNOWN, UP)
    if room_probed:
        report(world, ROOM, "host", UNKNOWN, UP)
    return world


def fail(world: World, names: list[str], within: float) -> None:
    for name in names:
        world.now += within / len(names)
        due = world.wake()
        if due is not None and due <= world.now:
            world.send(TimerFired(at=world.at()))
        report(world, name, "host" if name == ROOM else "sip", UP, DOWN)


def phones(count: int) -> list[str]:
    return [f"phone{number}" for number in range(count)]


@pytest.mark.parametrize("room_probed", [True, False])
@pytest.mark.parametrize("place", [0, 500, 1000])
def test_a_thousand_behind_one_parent_are_one_incident(room_probed: bool, place: int) -> None:
    world = healthy(1000, room_probed=room_probed)
    names = phones(1000)
    if room_probed:
        names.insert(place, ROOM)
    began = world.now
    fail(world, names, within=0.9)
    world.run(2.0)
    (incident,) = world.state.incidents.values()
    assert incident.root == ROOM
    assert incident.affected == 1001
    assert world.faults() == {f"{'DeviceDown' if room_probed else 'CommonCause'}:{ROOM}"}
    explained = [fault for fault in world.state.faults.values() if fault.suppressed_by]
    assert len(explained) == 1000
    assert {fault.suppressed_by for fault in explained} == {ROOM}
    opened = next(fact for fact in world.facts if fact.kind is FactKind.INCIDENT_OPENED)
    assert opened.at.mono - began <= 1.5
    assert len(world.facts) < 100
    assert not world.undurable()


def test_when_all_recover_all_is_over() -> None:
    world = healthy(300, room_probed=False)
    fail(world, phones(300), within=0.5)
    world.run(2.0)
    for name in phones(300):
        report(world, name, "sip", DOWN, UP)
    assert not world.state.faults
    world.run(world.policy.resolve_after + 1.0)
    assert [str(incident.state) for incident in world.state.incidents.values()] == ["resolved"]
    assert not world.state.diagnosis.roots
    assert not world.state.diagnosis.members
    assert not world.undurable()


def test_a_parent_found_later_takes_over_what_its_dependents_opened() -> None:
    world = healthy(20)
    fail(world, ["phone1", "phone2"], within=0.2)
    world.run(1.0)
    assert len(world.open_incidents()) == 2
    fail(world, [ROOM], within=0.1)
    world.run(1.0)
    (incident,) = world.open_incidents()
    assert incident.root == ROOM
    merged = [other for other in world.state.incidents.values() if other.merged_into == incident.id]
    assert len(merged) == 2
    assert incident.affected == 3
    assert incident.onset_latest_wall == min(other.onset_latest_wall for other in merged)
    assert not world.undurable()


def test_a_dependent_that_stays_down_stands_by_itself_once_the_parent_is_back() -> None:
    world = healthy(10)
    fail(world, [ROOM, *phones(10)], within=0.5)
    world.run(1.0)
    report(world, ROOM, "host", DOWN, UP)
    for name in phones(9):
        report(world, name, "sip", DOWN, UP)
    world.run(3.0)
    assert world.faults() == {"DeviceDown:phone9"}
    assert all(not fault.suppressed_by for fault in world.state.faults.values())
    assert not world.undurable()


def test_few_failures_are_no_common_cause() -> None:
    world = healthy(100, room_probed=False)
    fail(world, phones(4), within=0.4)
    world.run(3.0)
    assert world.faults() == {f"DeviceDown:phone{number}" for number in range(4)}


def test_a_failure_that_passes_while_it_waits_is_never_recorded() -> None:
    world = healthy(10)
    before = len(world.facts)
    fail(world, ["phone1"], within=0.1)
    report(world, "phone1", "sip", DOWN, UP)
    world.run(3.0)
    assert len(world.facts) == before
    assert not world.state.diagnosis.pending
    assert not world.state.diagnosis.settling


def test_five_thousand_cost_what_five_thousand_should() -> None:
    def spent(count: int) -> float:
        world = healthy(count, room_probed=False)
        begun = time.process_time()
        fail(world, phones(count), within=0.9)
        world.run(1.0)
        assert len(world.state.incidents) == 1
        return time.process_time() - begun

    small, large = spent(500), spent(5000)
    assert large / small < 30, "the cost of a storm grows faster than the storm"
    assert large < 4.0, "about 1 s on an idle core"
