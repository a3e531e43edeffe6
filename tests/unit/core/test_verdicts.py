"""k of n over live vantages, abstention, timer gaps, leases, and the evidence that conditions read."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from controller.core.diagnosis import faults, verdicts
from controller.core.diagnosis.evidence import Evidence
from controller.core.diagnosis.severity import in_business_hours
from controller.core.diagnosis.vantages import verdict
from controller.core.response import incidents
from controller.core.topology import Bias, topology
from controller.model.diagnosis import TrafficWindow
from controller.model.events import HealthChanged, LeaseChanged, TimerFired, VantageBeat, VantageLost
from controller.model.facts import FactKind
from controller.model.health import HealthState, Outcome, RungKey, Vantage
from controller.model.policy import BusinessHours
from controller.model.state import State
from tests.builders.diagnosis import NOON, World, build_policy

UNKNOWN, UP, SUSPECT, DOWN, RECOVERING = (
    HealthState.UNKNOWN,
    HealthState.UP,
    HealthState.SUSPECT,
    HealthState.DOWN,
    HealthState.RECOVERING,
)
SIP = RungKey("primary", "sip")


def told(world: World, vantage: str, word: HealthState, key: RungKey = SIP) -> None:
    world.send(
        HealthChanged(
            at=world.at(),
            vantage=vantage,
            key=key,
            previous=UNKNOWN,
            current=word,
            outcome=Outcome.UP if word is UP else Outcome.NO_REPLY,
            first_bad=0.0 if word is UP else world.now,
        )
    )


def seated(*names: str, domain: str = "") -> State:
    state = State(node="n")
    vantages = state.vantages
    for name in names:
        vantages = vantages.set(name, Vantage(name, True, 0.0, 0.0, domain))
    return State(node="n", vantages=vantages)


@pytest.mark.parametrize(
    ("words", "k", "expected"),
    [
        ({"a": DOWN}, 1, DOWN),
        ({"a": DOWN, "b": UP}, 1, DOWN),
        ({"a": DOWN, "b": UP}, 2, SUSPECT),
        ({"a": DOWN, "b": DOWN}, 2, DOWN),
        ({"a": DOWN, "b": DOWN, "c": UP}, 2, DOWN),
        ({"a": DOWN, "b": RECOVERING}, 2, RECOVERING),
        ({"a": UP, "b": UNKNOWN}, 2, UP),
        ({"a": SUSPECT, "b": UP}, 2, SUSPECT),
        ({"a": DOWN}, 2, SUSPECT),  # k never shrinks with the number that speaks
        ({"z": DOWN}, 1, UNKNOWN),  # nobody knows that vantage
    ],
)
def test_k_of_n(words: dict[str, HealthState], k: int, expected: HealthState) -> None:
    assert verdict(seated("a", "b", "c"), words, k) is expected


def test_one_failure_domain_is_one_vote() -> None:
    state = seated("a", "b", domain="rack1")
    assert verdict(state, {"a": DOWN, "b": DOWN}, 2) is SUSPECT


def test_what_is_not_known_any_more_is_no_evidence_and_down_for_nobody() -> None:
    world = World(build_policy())
    world.send(
        HealthChanged(
            at=world.at(), vantage="a", key=SIP, previous=SUSPECT, current=DOWN, outcome=Outcome.REFUSING,
            code=503, failures=3, first_bad=world.now,
        )
    )  # fmt: skip
    evidence = Evidence(world.state, world.policy, topology(world.policy), "primary", world.now)
    assert (evidence["self.sip.state"], evidence["self.sip.outcome"]) == ("DOWN", "REFUSING")
    world.send(
        HealthChanged(
            at=world.at(), vantage="a", key=SIP, previous=DOWN, current=UNKNOWN, outcome=Outcome.VOID,
            first_bad=world.now, note="our own loop lagged 300 ms",
        )
    )  # fmt: skip
    evidence = Evidence(world.state, world.policy, topology(world.policy), "primary", world.now)
    for name in ("state", "outcome", "failures", "code"):
        assert evidence.get(f"self.sip.{name}") is None
    assert world.state.rungs[SIP].state is UNKNOWN


def test_a_vantage_that_takes_its_word_back_explains_nothing_of_what_another_says() -> None:
    world = World(build_policy())
    told(world, "a", DOWN)
    world.send(
        HealthChanged(
            at=world.at(),
            vantage="b",
            key=SIP,
            previous=UP,
            current=UNKNOWN,
            outcome=Outcome.VOID,
            note="lag",
        )
    )
    view = world.state.rungs[SIP]
    assert (view.state, view.outcome, view.note) == (DOWN, Outcome.NO_REPLY, "")


HERE = Bias(own="host-1", opposite=frozenset({"host-2"}))
"""As the primary on host-1 is judged, whose backup is on host-2."""


@pytest.mark.parametrize(
    ("domains", "k", "expected"),
    [
        (("host-1",), 1, SUSPECT),  # its own host: it can only see itself
        (("host-2",), 1, SUSPECT),  # the other side's alone: it may be the one that is cut off
        (("far",), 1, DOWN),
        (("host-1", "far"), 2, SUSPECT),
        (("host-2", "far"), 2, DOWN),
        (("host-1", "host-2"), 1, SUSPECT),
        (("far", "farther"), 2, DOWN),
    ],
)
def test_a_vantage_on_a_side_judges_it_otherwise(
    domains: tuple[str, ...], k: int, expected: HealthState
) -> None:
    state = State(node="n")
    vantages = state.vantages
    for number, domain in enumerate(domains):
        vantages = vantages.set(str(number), Vantage(str(number), True, 0.0, 0.0, domain))
    words = {str(number): DOWN for number in range(len(domains))}
    assert verdict(replace(state, vantages=vantages), words, k, HERE) is expected


def test_sides_that_name_their_failure_domains_are_judged_so() -> None:
    rules = build_policy(vantages=1)
    placed = {
        name: replace(component, failure_domain=f"host-{name}")
        if name in ("primary", "backup")
        else component
        for name, component in rules.components.items()
    }
    world = World(replace(rules, components=Map(placed)))
    for name, domain in (("a", "host-primary"), ("b", "host-backup"), ("c", "far")):
        world.send(VantageBeat(at=world.at(), vantage=name, probes=1, late=0, lag=0.0, failure_domain=domain))
        told(world, name, DOWN)
        assert world.state.rungs[SIP].state is (DOWN if name == "c" else SUSPECT), name


def test_a_vantage_that_does_not_beat_abstains() -> None:
    world = World(build_policy(vantages=2))
    for name in ("a", "b"):
        world.send(VantageBeat(at=world.at(), vantage=name, probes=1, late=0, lag=0.0))
        told(world, name, DOWN)
    assert world.state.rungs[SIP].state is DOWN
    world.now += 0.6
    world.send(VantageBeat(at=world.at(), vantage="a", probes=2, late=0, lag=0.0))
    world.now += 0.5
    world.send(TimerFired(at=world.at()))
    assert not world.state.vantages["b"].live
    assert world.state.rungs[SIP].state is SUSPECT
    world.send(VantageBeat(at=world.at(), vantage="b", probes=3, late=0, lag=0.0))
    assert world.state.rungs[SIP].state is DOWN
    assert [kind for fact in world.facts if "vantage" in (kind := str(fact.kind))] == [
        "vantage_lost",
        "vantage_returned",
    ]


def test_a_lost_vantage_abstains_at_once() -> None:
    world = World(build_policy())
    told(world, "a", UP)
    world.send(VantageLost(at=world.at(), vantage="a", reason="its process ended"))
    assert world.state.rungs[SIP].state is UNKNOWN


def test_beats_leave_no_trace() -> None:
    world = World(build_policy())
    told(world, "a", UP)
    before = len(world.facts)
    for number in range(100):
        world.now += 0.1
        world.send(VantageBeat(at=world.at(), vantage="a", probes=number, late=0, lag=0.001))
    assert len(world.facts) == before
    assert world.state.vantages["a"].last_beat == world.now


def test_a_timer_gap_is_recorded_and_passes() -> None:
    world = World(build_policy())
    world.send(TimerFired(at=world.at(), gap=world.policy.timer_gap + 0.1))
    assert world.state.gap_until == world.now + world.policy.timer_gap
    assert world.wake() == world.state.gap_until
    world.run(world.policy.timer_gap + 0.1)
    assert world.state.gap_until == 0.0
    assert world.count(FactKind.TIMER_GAP) == 1
    world.send(TimerFired(at=world.at(), gap=0.1))
    assert world.count(FactKind.TIMER_GAP) == 1


def test_a_beat_that_waited_out_our_own_gap_is_no_silence() -> None:
    world = World(build_policy())
    told(world, "a", UP)
    world.now += 5.0
    world.send(TimerFired(at=world.at(), gap=4.0))
    assert world.state.vantages["a"].live


def test_leases_are_recorded_when_they_come_and_go_only() -> None:
    world = World(build_policy())
    for deadline in (2000.0, 2001.0, None, None, 2002.0):
        world.send(LeaseChanged(at=world.at(), deadline=deadline))
    kinds = [fact.kind for fact in world.facts if "lease" in fact.kind]
    assert kinds == [FactKind.LEASE_ACQUIRED, FactKind.LEASE_LOST, FactKind.LEASE_ACQUIRED]


def windows(*rows: tuple[int, int, int], began: float = 1000.0) -> tuple[TrafficWindow, ...]:
    return tuple(
        TrafficWindow(began + 0.1 * number, began + 0.1 * (number + 1), *row)
        for number, row in enumerate(rows)
    )


def edge_variables(world: World, **rows: tuple[TrafficWindow, ...]) -> Evidence:
    traffic = world.state.diagnosis.traffic
    for name, ring in rows.items():
        edge, _, side = name.partition("_")
        traffic = traffic.set((edge, side), ring)
    from dataclasses import replace

    state = replace(world.state, diagnosis=replace(world.state.diagnosis, traffic=traffic))
    end = max(ring[-1].ended for ring in rows.values())
    return Evidence(state, world.policy, topology(world.policy), "primary", end)


def test_what_the_edges_saw() -> None:
    world = World(build_policy())
    seen = edge_variables(
        world,
        edge1_primary=windows((10, 0, 0), (10, 0, 0), (5, 5, 0), (7, 3, 4)),
        edge1_backup=windows((0, 0, 0), (0, 0, 0), (5, 0, 0), (7, 0, 0)),
        edge2_primary=windows((4, 0, 0), (4, 1, 0), (4, 0, 0), (4, 0, 0)),
        edge2_backup=windows((9, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0)),
    )
    assert seen["edge.reached"] == 2
    assert seen["edge.invites"] == 11
    assert seen["edge.failed_in_a_row"] == 12
    assert seen["edge.timeouts_in_a_row"] == 4
    assert seen["edge.peer_answered"] == 12, "since that edge began to fail; the other one's latest window"
    assert seen["edge.missed_answers"] == pytest.approx(20.0)
    assert seen["edge.quiet"] == pytest.approx(0.0)


def test_an_edge_not_read_lately_counts_as_not_reached() -> None:
    world = World(build_policy())
    old = windows((10, 0, 0), (0, 0, 0))
    fresh = windows((1, 0, 0), began=1005.0)
    seen = edge_variables(world, edge1_primary=old, edge2_primary=fresh)
    assert (seen["edge.total"], seen["edge.reached"], seen["edge.missed_answers"]) == (2, 1, 0.0)


def test_unknown_is_missing() -> None:
    world = World(build_policy())
    seen = Evidence(world.state, world.policy, topology(world.policy), "primary", world.now)
    for name in ("self.sip.state", "self.state", "self.call.answered", "edge.quiet", "nobody.knows", "self"):
        assert seen.get(name) is None
    assert seen["edge.reached"] == 0
    assert seen["self.active"] is True
    assert seen["peer.active"] is False


@pytest.mark.parametrize(
    ("wall", "hours", "inside"),
    [
        (NOON, BusinessHours(opens=8 * 60, closes=20 * 60), True),
        (NOON + 8 * 3600.0, BusinessHours(opens=8 * 60, closes=20 * 60), False),
        (NOON, BusinessHours(weekdays=frozenset({0, 1})), False),  # a Wednesday
        (NOON, BusinessHours(holidays=frozenset({"2023-11-15"})), False),
        (NOON, BusinessHours(zone="America/New_York", opens=8 * 60, closes=20 * 60), False),
        (NOON, BusinessHours(zone="America/New_York", opens=20 * 60, closes=24 * 60), True),
    ],
)
def test_business_hours_are_local(wall: float, hours: BusinessHours, inside: bool) -> None:
    assert in_business_hours(hours, wall) is inside


WORDS = {
    "host": ["up", "silent"],
    "sip": ["up", "silent", "refused", "503", "void"],
    "call": ["up", "silent", "503", "486", "one way"],
    "live": ["answer", "refuse", "ignore"],
}


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), crash=st.booleans())
def test_whatever_happens_the_log_gives_the_state_and_no_deadline_lies_in_the_past(
    seed: int, crash: bool
) -> None:
    """I11 for faults, incidents and counters; World.run asserts that no timer would spin."""
    chance = random.Random(seed)
    world = World(build_policy(phones=8), calls_per_second=chance.choice([0.0, 5.0, 100.0]))
    world.watch(seed=seed)
    world.run(2.0)
    names = ["primary", "backup", "echo", "trunk1", "room", *(f"phone{number}" for number in range(8))]
    for _ in range(8):
        name = chance.choice(names)
        rungs = [rung.name for rung in world.policy.components[name].ladder]
        if name in world.live:
            rungs.append("live")
        rung = chance.choice(rungs)
        world.set(**{name: {rung: chance.choice(WORDS[rung])}})
        world.run(chance.uniform(0.05, 1.5))
        assert not world.undurable()
        assert_consistent(world)
    if crash:
        world.crash()
        assert_consistent(world)
        world.run(1.0)
        assert not world.undurable()
    for name in names:
        for rung in world.policy.components[name].ladder:
            world.set(**{name: {rung.name: "up"}})
    world.set(primary={"live": "answer"}, backup={"live": "answer"})
    world.run(world.policy.resolve_after + 15.0)
    assert not world.state.faults, "a healthy platform has no faults"
    assert not world.open_incidents()
    assert not world.undurable()


def assert_consistent(world: World) -> None:
    """The indexes say what the aggregates say, and every fault has an open incident."""
    diagnosis, state = world.state.diagnosis, world.state
    by_incident: dict[str, set[object]] = {}
    for key, fault in state.faults.items():
        assert key == fault.key
        assert key in diagnosis.standing[fault.component]
        assert fault.incident, f"{key} is in no incident"
        by_incident.setdefault(fault.incident, set()).add(key)
        assert state.incidents[fault.incident].open, f"{key} is in a closed incident"
    assert {name: set(keys) for name, keys in diagnosis.members.items()} == by_incident
    assert set(diagnosis.roots.values()) == {
        name for name, incident in state.incidents.items() if incident.open
    }
    for stage in (verdicts, faults, incidents):
        due = stage.wake_at(state, world.policy)
        assert due is None or due > world.now - 1e-9
