"""Several nodes: one leads, the others diagnose; who takes over goes on from the coordinated state."""

from __future__ import annotations

from controller.core.step import step, wake_at
from controller.engine.recovery import durable, restore, succeeded, succession
from controller.model.encoding import decode_aggregate, encode_aggregate
from controller.model.events import (
    LeadershipLost,
    LeadershipTaken,
    OperatorAcknowledged,
    OperatorArmed,
    SwitchWanted,
)
from controller.model.facts import Aggregate, FactKind, Gone, aggregate_key
from controller.model.faults import FaultKind
from controller.model.groups import Group, Refusal
from controller.model.incidents import IncidentState
from controller.model.state import State
from tests.builders.diagnosis import GROUP, World, build_policy


def broken_world() -> World:
    world = World(build_policy(), rerouting=False)
    world.watch()
    world.run(4.0)
    world.set(primary={"sip": "refused", "call": "refused", "live": "ignore"})
    world.run(8.0)
    return world


def carried(state: State, world: World) -> tuple[Aggregate, ...]:
    """As the store gives them back: what is monotonic is gone."""
    texts = [encode_aggregate(aggregate) for aggregate in durable(state, world.policy)]
    return tuple(decode_aggregate(text) for text in texts)


def taking(state: State, coordinated: tuple[Aggregate, ...], world: World) -> tuple[State, LeadershipTaken]:
    aggregates = succession(state, coordinated, world.policy)
    event = LeadershipTaken(at=world.at(), deadline=world.at().mono + 3.0, aggregates=aggregates)
    return succeeded(state, aggregates, world.policy, world.at()), event


def follower(world: World) -> State:
    lost = LeadershipLost(at=world.at(), reason="another node leads", leader="node-b")
    return step(world.state, lost, world.policy).state


def test_a_node_that_follows_diagnoses_and_does_nothing_else() -> None:
    world = World(build_policy(), rerouting=False)
    world.watch()
    world.run(4.0)
    world.state = follower(world)
    world.set(primary={"sip": "refused", "call": "refused", "live": "ignore"})
    world.run(8.0)
    assert FaultKind.PLATFORM_DEAD in {fault.kind for fault in world.state.faults.values()}
    assert not world.state.incidents and not world.state.pages and not world.state.runs
    assert not world.wanted
    assert world.count(FactKind.CONTROL_REQUESTED) == 0, "whoever leads tries it"


def test_who_takes_over_tries_what_the_follower_did_not() -> None:
    """Nothing new need happen for it: what is broken was broken before."""
    world = World(build_policy(), calls_per_second=0.0, rerouting=False)
    world.watch()
    world.run(4.0)
    world.state = follower(world)
    world.set(primary={"sip": "refused", "call": "refused"})
    world.run(4.0)
    state, event = taking(world.state, (), world)
    decision = step(state, event, world.policy)
    assert FactKind.CONTROL_REQUESTED in [fact.kind for fact in decision.facts]


def test_losing_leadership_is_recorded_once() -> None:
    world = broken_world()
    lost = LeadershipLost(at=world.at(), reason="etcd does not answer", leader="")
    first = step(world.state, lost, world.policy)
    again = step(first.state, lost, world.policy)
    assert [fact.kind for fact in first.facts] == [FactKind.LEADERSHIP_LOST]
    assert again.facts == ()
    assert first.state.lease_deadline is None and first.state.following


def test_what_a_person_asks_of_a_follower_is_refused_by_name() -> None:
    world = broken_world()
    state = follower(world)
    for event in (
        OperatorArmed(at=world.at(), group=GROUP, armed=True, by="ann"),
        OperatorAcknowledged(at=world.at(), incident="INC-0001", by="ann", via="web"),
    ):
        decision = step(state, event, world.policy)
        (fact,) = decision.facts
        assert fact.kind is FactKind.REQUEST_REFUSED
        assert fact.get("reasons") == Refusal.NOT_LEADER and fact.get("leader") == "node-b"
        assert decision.state is state and decision.commands == ()


def test_a_switch_is_never_begun_by_a_follower() -> None:
    world = broken_world()
    event = SwitchWanted(
        at=world.at(), group=GROUP, verb="failover", target="backup", run="", step="", incident="", fault="",
        by="rule", automatic=True, drill=False,
    )  # fmt: skip
    decision = step(follower(world), event, world.policy)
    assert decision.facts == () and decision.commands == ()


def test_taking_over_gathers_what_the_follower_had_named() -> None:
    world = World(build_policy(), rerouting=False)
    world.watch()
    world.run(4.0)
    world.state = follower(world)
    world.set(primary={"sip": "refused", "call": "refused", "live": "ignore"})
    world.run(8.0)
    state, event = taking(world.state, (), world)
    decision = step(state, event, world.policy)
    kinds = [fact.kind for fact in decision.facts]
    assert kinds[0] is FactKind.LEADERSHIP_TAKEN and FactKind.INCIDENT_OPENED in kinds
    assert not decision.state.following and decision.state.leader == world.state.node
    assert wake_at(decision.state, world.policy) is not None


def test_taking_over_goes_on_with_the_incident_there_is() -> None:
    leader, heir = broken_world(), broken_world()
    (incident,) = leader.state.incidents.values()
    assert incident.state is IncidentState.OPEN
    coordinated = carried(leader.state, leader)
    heir.state = follower(heir)
    state, event = taking(heir.state, coordinated, heir)
    decision = step(state, event, heir.policy)
    assert FactKind.INCIDENT_OPENED not in {fact.kind for fact in decision.facts}
    assert set(decision.state.incidents) == {incident.id}


def test_what_the_store_does_not_have_is_gone_but_for_own_faults() -> None:
    world = broken_world()
    aggregates = succession(world.state, (Group(name=GROUP, active="backup", epoch=7),), world.policy)
    by_key = {aggregate_key(aggregate): aggregate for aggregate in aggregates}
    assert by_key[f"group/{GROUP}"].epoch == 7
    assert isinstance(by_key["incident/INC-0001"], Gone)
    assert all(not isinstance(value, Gone) for key, value in by_key.items() if key.startswith("fault/"))
    after = succeeded(world.state, aggregates, world.policy, world.at())
    assert not after.incidents and after.groups[GROUP].active == "backup" and after.faults
    assert restore("n", aggregates, world.policy, world.at()).incidents == after.incidents


def test_the_first_of_several_brings_its_own_state() -> None:
    world = broken_world()
    aggregates = succession(world.state, (), world.policy)
    assert set(aggregates) == set(durable(world.state, world.policy))
    assert "incident/INC-0001" in {aggregate_key(aggregate) for aggregate in aggregates}
