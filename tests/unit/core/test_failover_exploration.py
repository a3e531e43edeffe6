"""Every state the failover machine can be driven into, by every way a command can go wrong.

From each, once the world behaves again, the group comes to rest; on the way no promise is broken: intents before
commands, no repetition before a read-back, one active side at an edge, no promotion past an unconfirmed fence, epochs
that only grow, and a log that gives the live state.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.model.commands import Command, Drive
from controller.model.events import OperatorPlacedHold, OperatorReleasedGroup
from controller.model.facts import FactKind
from controller.model.groups import DriverVerb, Phase, Refusal, SwitchOutcome, SwitchVerb
from tests.builders.driving import EdgeModel, Edges, Mishap
from tests.builders.platform import GROUP, START, permitted, policy
from tests.builders.switching import AT_REST, SILENT, Rig, requested, wanted

CRASH, LEASE_LOST, GAP, HOLD, EDGE_AWAY, UNVERIFIED, UNSERVED = (
    "crash",
    "lease",
    "gap",
    "hold",
    "edge away",
    "unverified",
    "unserved",
)
TROUBLES = (
    Mishap.FAILS,
    Mishap.REFUSED,
    Mishap.LOST_BEFORE,
    Mishap.LOST_AFTER,
    SILENT,
    CRASH,
    LEASE_LOST,
    GAP,
    HOLD,
    EDGE_AWAY,
    UNVERIFIED,
    UNSERVED,
)
ORDERS = {
    "failover": lambda: wanted(),
    "switchover": lambda: requested(SwitchVerb.SWITCHOVER, "backup"),
    "force": lambda: requested(SwitchVerb.FORCE, "backup", *Refusal),
}


SINGLE = {
    "single_holder": True,
    "idle_verbs": frozenset({DriverVerb.FREEZE, DriverVerb.PROMOTE}),
}
"""A group whose driver gives an address, which one side holds or the other."""

EITHER = pytest.mark.parametrize("single", [False, True], ids=["", "single"])


def begin(order: str, single: bool = False) -> Rig:
    rules = policy(drain_deadline=3.0, **(SINGLE if single else {}))
    rig = Rig(rules, permitted(rules, faulty=order != "switchover"))
    rig.edges.single = single
    rig.edges.calls["primary"] = 2
    rig.send(ORDERS[order]())
    assert rig.group.switch is not None
    return rig


def trouble(rig: Rig, kind: str | Mishap) -> None:
    """One thing goes wrong at the command that is next to be answered, or around it."""
    match kind:
        case Mishap.FAILS | Mishap.REFUSED | Mishap.LOST_BEFORE | Mishap.LOST_AFTER | "silent":
            good = rig.mishap
            rig.mishap = lambda command: kind
            if rig.waiting:
                rig.answer()
            rig.mishap = good
        case "crash":
            rig.crash(lease=False)
            rig.wait(0.2)
            rig.lease(True)
        case "lease":
            rig.lease(False)
            if rig.waiting:
                rig.answer()
            rig.wait(2.0)
            rig.lease(True)
        case "gap":
            rig.state = replace(rig.state, gap_until=rig.at.mono + 2.0)
        case "hold":
            rig.send(
                OperatorPlacedHold(at=START, scope=GROUP, by="ann", reason="", until_wall=rig.at.wall + 30.0)
            )
        case "edge away":
            edge = rig.edges.edges["edge2"]
            edge.up = not edge.up
            edge.restart()
        case "unverified":
            served = rig.call
            rig.call = tuple
            if rig.waiting:
                rig.answer()
            rig.call = served
        case "unserved":
            rig.call = tuple  # from now on


def proceed(rig: Rig, steps: int) -> None:
    for _ in range(steps):
        if rig.waiting:
            rig.answer()
        elif rig.group.switch is not None:
            rig.wait_for_timer()


def settle(rig: Rig) -> None:
    """The world behaves again: the group must come to rest, and a person must be able to settle it."""
    for edge in rig.edges.edges.values():
        edge.up = True
    rig.run()
    assert rig.group.phase in AT_REST
    assert rig.broken == []
    ended = [fact for fact in rig.facts if fact.kind is FactKind.SWITCH_ENDED]
    started = [fact for fact in rig.facts if fact.kind is FactKind.SWITCH_STARTED]
    assert len(ended) == len(started) == 1, "a switch ends exactly once"
    if rig.group.last_outcome is SwitchOutcome.VERIFIED:
        assert rig.group.active == "backup"
    if rig.group.phase is Phase.NEEDS_PERSON:
        settled_by_a_person(rig)
    for _ in range(80):
        while rig.waiting:
            rig.answer()
        if rig.group.drifted_edges == () and all(
            edge.active == {rig.group.active} and edge.gate == rig.group.epoch
            for edge in rig.edges.edges.values()
        ):
            break
        rig.wait(1.0)
    else:
        raise AssertionError(f"never reconciled: {rig.edges}")
    assert rig.broken == []


def settled_by_a_person(rig: Rig) -> None:
    """An address stays with its holder: whoever settles on the other side is asked again."""
    for side in (rig.group.active, "backup" if rig.group.active == "primary" else "primary"):
        rig.send(OperatorReleasedGroup(at=START, group=GROUP, active=side, by="ann", reason="looked at"))
        rig.run()
        assert rig.group.phase is Phase.IDLE or rig.edges.single
        if rig.group.phase is Phase.IDLE:
            return
    raise AssertionError("neither side can be settled on")


LENGTH = {"failover": 6, "switchover": 12, "force": 6}


@EITHER
@pytest.mark.parametrize("order", ORDERS)
def test_every_single_trouble_at_every_moment(order: str, single: bool) -> None:
    for after, kind in itertools.product(range(LENGTH[order] + 1), TROUBLES):
        rig = begin(order, single)
        proceed(rig, after)
        trouble(rig, kind)
        try:
            settle(rig)
        except AssertionError as error:
            raise AssertionError(f"{kind} after {after} steps of a {order}: {error}") from error


@EITHER
@pytest.mark.parametrize("order", ["failover", "switchover"])
@pytest.mark.parametrize("first", TROUBLES)
def test_every_pair_of_troubles(order: str, first: str, single: bool) -> None:
    moments = range(0, LENGTH[order], 2 if order == "switchover" else 1)
    for after, between, second in itertools.product(moments, (0, 2), TROUBLES):
        rig = begin(order, single)
        proceed(rig, after)
        trouble(rig, first)
        proceed(rig, between)
        trouble(rig, second)
        try:
            settle(rig)
        except AssertionError as error:
            where = f"{first} after {after} steps, {second} after {between} more, of a {order}"
            raise AssertionError(f"{where}: {error}") from error


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    order=st.sampled_from(sorted(ORDERS)),
    single=st.booleans(),
    troubles=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(TROUBLES)), max_size=14),
)
def test_any_series_of_troubles(order: str, single: bool, troubles: list[tuple[int, str]]) -> None:
    rig = begin(order, single)
    for steps, kind in troubles:
        proceed(rig, steps)
        trouble(rig, kind)
        assert rig.broken == []
    settle(rig)


@pytest.mark.parametrize("verb", [verb for verb in DriverVerb if verb is not DriverVerb.REASSERT])
@pytest.mark.parametrize(
    "kind", [Mishap.FAILS, Mishap.REFUSED, Mishap.LOST_BEFORE, Mishap.LOST_AFTER, SILENT]
)
@EITHER
@pytest.mark.parametrize("order", ORDERS)
def test_a_verb_that_never_works_ends_in_a_bounded_number_of_attempts(
    verb: DriverVerb, kind: Mishap | str, order: str, single: bool
) -> None:
    rig = begin(order, single)

    def always(command: Command) -> Mishap | str:
        mine = isinstance(command, Drive) and command.verb is verb and not command.id.startswith("READ-")
        return kind if mine else Mishap.NONE

    rig.mishap = always
    for _ in range(400):
        if rig.group.switch is None:
            break
        proceed(rig, 1)
    assert rig.group.phase in AT_REST
    assert rig.broken == []
    assert rig.verbs.count(str(verb)) <= 10


def violated(rig: Rig) -> bool:
    rig.broken.extend(rig.edges.violations)
    return bool(rig.broken)


def test_the_checks_can_fail() -> None:
    """Each promise, broken on purpose, is seen."""
    edges = Edges(edges={"edge1": EdgeModel(active={"primary"}, gate=5)})
    promote = Drive(id="CMD-1", group=GROUP, verb=DriverVerb.PROMOTE, side="backup", epoch=9, timeout=1.0)
    edges.apply(promote)
    edges._write(edges.edges["edge1"], 3, {"primary", "backup"})
    edges.fenced.add("backup")
    edges.apply(replace(promote, verb=DriverVerb.REDIRECT))
    assert edges.violations == [
        "promoted backup while primary was not fenced",
        "an edge obeyed an older epoch",
        "two sides were active at one edge",
        "calls were sent to backup, which is fenced",
    ]
    rig = Rig(policy())
    fence = replace(promote, verb=DriverVerb.FENCE, side="primary")
    rig._unread = DriverVerb.FENCE
    rig.state = replace(rig.state, lease_deadline=None)
    rig.state = replace(
        rig.state, groups=rig.state.groups.set(GROUP, replace(rig.group, fenced=("primary",)))
    )
    rig._check((), (fence,))
    assert rig.broken == [
        "the log does not give the live group/calls",
        "CMD-1 left without a recorded intent",
        "fence left without leadership",
        "fence was repeated before its outcome was read back",
    ]
