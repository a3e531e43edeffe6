"""Every guard of the permit, alone: what stands in whose way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from immutables import Map

from controller.core.switching import permit
from controller.model.faults import EvidenceKind, FaultKind
from controller.model.groups import UNBYPASSABLE, Hold, Phase, Refusal, Switch, SwitchVerb
from controller.model.health import HealthState, Outcome, RungKey, Vantage
from controller.model.policy import EdgesRule, Policy, ReadinessItem, TimeBudget
from controller.model.runs import Run, RunState
from controller.model.state import State
from tests.builders.platform import BACKUP_CALL, GROUP, START, fault, permitted, policy, up, with_group

Case = Callable[[State, Policy], tuple[State, Policy]]

BY_RULE = permit.Request(group=GROUP, verb=SwitchVerb.FAILOVER, target="backup", fault="PlatformHung")


def group(**changes: object) -> Case:
    return lambda state, rules: (with_group(state, **changes), rules)


def state(**changes: object) -> Case:
    return lambda before, rules: (replace(before, **changes), rules)


def rules(**changes: object) -> Case:
    return lambda before, _: (before, policy(**changes))


def backup(rung: str, seen: HealthState) -> Case:
    key = RungKey("backup", rung)
    return lambda before, rules: (
        replace(before, rungs=before.rungs.set(key, replace(up(), state=seen))),
        rules,
    )


def measured(at: float, up: bool | None = True) -> Case:
    def change(before: State, rules: Policy) -> tuple[State, Policy]:
        value = before.measurements[BACKUP_CALL]._replace(at=at, up=up)
        return replace(before, measurements=before.measurements.set(BACKUP_CALL, value)), rules

    return change


def hold(scope: str, *, maintenance: bool = False, until: float = START.wall + 60.0) -> Case:
    placed = Hold(
        scope=scope, by="ann", reason="", since_wall=START.wall, until_wall=until, maintenance=maintenance
    )
    return state(holds=Map({scope: placed}))


def run(**changes: object) -> Case:
    live = Run(id="RUN-0009", runbook="x", revision="", state=RunState.RUNNING, group=GROUP)
    live = replace(live, **changes)
    return state(runs=Map({live.id: live}))


def against(**changes: object) -> Case:
    standing = fault(**changes)
    return state(faults=Map({standing.key: standing}))


SWITCH = Switch(
    id="SW-1", verb=SwitchVerb.FAILOVER, origin="primary", target="backup", epoch=2, automatic=True
)

GUARDS: list[tuple[str, Case, Refusal]] = [
    ("nobody armed it", group(armed=None), Refusal.NOT_ARMED),
    ("no lease", state(lease_deadline=None), Refusal.NO_LEASE),
    ("the lease ran out", state(lease_deadline=START.mono), Refusal.NO_LEASE),
    ("k is fixed", rules(vantages=2), Refusal.TOO_FEW_VANTAGES),
    (
        "two vantages of one failure domain",
        lambda s, _: (
            replace(s, vantages=Map({n: Vantage(n, True, 0.0, 0.0, "rack1") for n in ("here", "there")})),
            policy(vantages=2),
        ),
        Refusal.TOO_FEW_VANTAGES,
    ),
    ("one kind", against(evidence_kinds=(EvidenceKind.PROBE,)), Refusal.ONE_KIND_OF_EVIDENCE),
    (
        "experiments alone are no evidence",
        lambda s, p: against(evidence_kinds=(EvidenceKind.CONTROL,))(s, policy(evidence_kinds=1)),
        Refusal.ONE_KIND_OF_EVIDENCE,
    ),
    ("hold over everything", hold("*"), Refusal.ON_HOLD),
    ("hold over a side", hold("primary"), Refusal.ON_HOLD),
    ("hold over an edge", hold("edge1"), Refusal.ON_HOLD),
    ("maintenance", hold("backup", maintenance=True), Refusal.MAINTENANCE),
    ("cooldown", group(cooldown_until=START.mono + 0.1), Refusal.COOLDOWN),
    ("a switch", group(switch=SWITCH, phase=Phase.FENCING), Refusal.RUN_IN_PROGRESS),
    ("a run", run(), Refusal.RUN_IN_PROGRESS),
    ("a run going back", run(state=RunState.ROLLING_BACK), Refusal.RUN_IN_PROGRESS),
    ("the standby's call fails", backup("call", HealthState.DOWN), Refusal.TARGET_NOT_READY),
    ("the standby is coming back", backup("sip", HealthState.RECOVERING), Refusal.TARGET_NOT_READY),
    ("the standby is fenced", group(fenced=("backup",)), Refusal.TARGET_NOT_READY),
    ("a broken rung", state(broken=Map({"primary": "sip", "backup": "host"})), Refusal.TARGET_NOT_READY),
    (
        "a manual item nobody ticked",
        rules(
            readiness=(
                ReadinessItem(name="licence", manual=True),
                ReadinessItem(name="call", key=BACKUP_CALL),
            )
        ),
        Refusal.TARGET_NOT_READY,
    ),
    ("the standby is unknown", backup("sip", HealthState.UNKNOWN), Refusal.UNKNOWN_DATA),
    ("the last call is too old", measured(START.mono - 61.0), Refusal.UNKNOWN_DATA),
    ("edges were never read", group(read_at=None), Refusal.UNKNOWN_DATA),
    ("edges were read too long ago", group(read_at=START.mono - 6.0), Refusal.UNKNOWN_DATA),
    ("nothing could prove it", rules(verification=None), Refusal.UNKNOWN_DATA),
    (
        "an unknown readiness rung",
        rules(readiness=(ReadinessItem(name="x", key=RungKey("backup", "nonsense")),)),
        Refusal.UNKNOWN_DATA,
    ),
    ("the fence is not ready", group(fence_ready=False), Refusal.FENCE_NOT_READY),
    ("the fence is unknown", group(fence_ready=None), Refusal.FENCE_NOT_READY),
    ("no budget was computed", rules(budget=None), Refusal.OVER_RTO),
    (
        "too slow",
        rules(budget=TimeBudget(detect=3.0, decide=0.0, fence=0.1, redirect=0.0, edge_timer=0.0)),
        Refusal.OVER_RTO,
    ),
    (
        "the budget is spent",
        group(automatic_walls=(START.wall - 1.0, START.wall - 2.0)),
        Refusal.BUDGET_SPENT,
    ),
    ("a timer gap", state(gap_until=START.mono + 1.0), Refusal.TIMER_GAP),
    (
        "it never switches",
        lambda s, p: (s, replace(p, domains={})),
        Refusal.NEVER_SWITCH,
    ),
    ("not to be acted on", against(actionable=False), Refusal.NEVER_SWITCH),
    ("edges away", group(unreachable_edges=("edge1", "edge2")), Refusal.EDGES_UNREACHABLE),
    (
        "one edge away of all",
        lambda s, p: (with_group(s, unreachable_edges=("edge1",)), policy(edges_rule=EdgesRule.ALL)),
        Refusal.EDGES_UNREACHABLE,
    ),
    ("it waits for a person", group(phase=Phase.NEEDS_PERSON), Refusal.NEEDS_PERSON),
]


def judged(case: Case, request: permit.Request) -> tuple[Refusal, ...]:
    before, chosen = case(permitted(policy()), policy())
    return permit.refusals(before, START, chosen, request)


def test_nothing_stands_in_the_way_of_a_permitted_failover() -> None:
    assert permit.refusals(permitted(policy()), START, policy(), BY_RULE) == ()


@pytest.mark.parametrize(("case", "refusal"), [pytest.param(c, r, id=name) for name, c, r in GUARDS])
def test_each_guard_alone_is_named_alone(case: Case, refusal: Refusal) -> None:
    assert judged(case, BY_RULE) == (refusal,)


def test_every_guard_has_a_case() -> None:
    elsewhere = {
        Refusal.ALREADY_ACTIVE,
        Refusal.OUTSIDE_DOMAIN,
        Refusal.UNSTABLE,
        Refusal.UNKNOWN_GROUP,
        Refusal.UNKNOWN_SIDE,
        Refusal.JOURNAL_UNAVAILABLE,  # the engine's
        Refusal.NOT_LEADER,  # of a node that follows: no stage is asked
        Refusal.SIDE_FENCED,  # of repairs
    }
    assert {refusal for _, _, refusal in GUARDS} == set(Refusal) - elsewhere


HARMLESS: list[tuple[str, Case]] = [
    ("one lost reply of the standby", backup("sip", HealthState.SUSPECT)),
    ("the run that asks", run(id="RUN-0001")),
    ("a run that waits for a person", run(state=RunState.WAITING)),
    ("a run of another group", run(group="other")),
    ("a hold that is over", hold("*", until=START.wall)),
    ("a hold over something else", hold("trunk")),
    ("one edge away of several", group(unreachable_edges=("edge1",))),
    ("an automatic switch long ago", group(automatic_walls=(START.wall - 3601.0, START.wall - 1.0))),
    ("the other side is what is not ready", state(broken=Map({"primary": "sip"}))),
]


@pytest.mark.parametrize("case", [pytest.param(c, id=name) for name, c in HARMLESS])
def test_what_does_not_stand_in_the_way(case: Case) -> None:
    assert judged(case, replace(BY_RULE, run="RUN-0001")) == ()


def test_all_reasons_are_named_at_once() -> None:
    before = with_group(permitted(policy()), armed=None, fence_ready=False, cooldown_until=START.mono + 9.0)
    before = replace(before, lease_deadline=None, vantages=Map())
    assert permit.refusals(before, START, policy(), BY_RULE) == (
        Refusal.NOT_ARMED,
        Refusal.NO_LEASE,
        Refusal.TOO_FEW_VANTAGES,
        Refusal.COOLDOWN,
        Refusal.UNKNOWN_DATA,
        Refusal.FENCE_NOT_READY,
    )


def test_places_that_do_not_exist() -> None:
    before = permitted(policy())
    assert permit.refusals(before, START, policy(), replace(BY_RULE, group="x")) == (Refusal.UNKNOWN_GROUP,)
    assert permit.refusals(before, START, policy(), replace(BY_RULE, target="x")) == (Refusal.UNKNOWN_SIDE,)
    refused = permit.refusals(before, START, policy(), replace(BY_RULE, target="primary"))
    assert Refusal.ALREADY_ACTIVE in refused


def test_one_way_audio_switches_only_where_the_media_anchor_is_part_of_the_side() -> None:
    standing = fault(kind=FaultKind.MEDIA_ONE_WAY)
    before = replace(permitted(policy()), faults=Map({standing.key: standing}))
    request = replace(BY_RULE, fault=str(standing.key))
    assert permit.refusals(before, START, policy(), request) == (Refusal.OUTSIDE_DOMAIN,)
    assert permit.refusals(before, START, policy(media_anchored=True), request) == ()


def test_a_fault_elsewhere_lies_outside_the_domain() -> None:
    standing = fault(component="trunk", group="", side="")
    before = replace(permitted(policy()), faults=Map({standing.key: standing}))
    refused = permit.refusals(before, START, policy(), replace(BY_RULE, fault=str(standing.key)))
    assert set(refused) == {Refusal.OUTSIDE_DOMAIN, Refusal.ONE_KIND_OF_EVIDENCE}


def test_a_fault_explained_by_a_broken_parent_is_neither_evidence_nor_in_the_domain() -> None:
    refused = judged(against(suppressed_by="switch"), BY_RULE)
    assert set(refused) == {Refusal.OUTSIDE_DOMAIN, Refusal.ONE_KIND_OF_EVIDENCE}


def test_a_standby_that_nobody_watches_is_unknown() -> None:
    refused = judged(state(vantages=Map()), BY_RULE)
    assert set(refused) == {Refusal.TOO_FEW_VANTAGES, Refusal.UNKNOWN_DATA}


PERSON = {
    SwitchVerb.SWITCHOVER: frozenset(
        {
            Refusal.NO_LEASE,
            Refusal.MAINTENANCE,
            Refusal.RUN_IN_PROGRESS,
            Refusal.TARGET_NOT_READY,
            Refusal.UNKNOWN_DATA,
            Refusal.FENCE_NOT_READY,
            Refusal.TIMER_GAP,
            Refusal.EDGES_UNREACHABLE,
            Refusal.NEEDS_PERSON,
        }
    )
}
PERSON[SwitchVerb.FAILOVER] = PERSON[SwitchVerb.SWITCHOVER]
PERSON[SwitchVerb.FORCE] = PERSON[SwitchVerb.SWITCHOVER] | {
    Refusal.TOO_FEW_VANTAGES,
    Refusal.ON_HOLD,
    Refusal.COOLDOWN,
    Refusal.BUDGET_SPENT,
}


@pytest.mark.parametrize("verb", PERSON)
@pytest.mark.parametrize(("case", "refusal"), [pytest.param(c, r, id=name) for name, c, r in GUARDS])
def test_a_person_is_asked_about_safety_and_not_about_automation(
    case: Case, refusal: Refusal, verb: SwitchVerb
) -> None:
    request = permit.Request(group=GROUP, verb=verb, target="backup", automatic=False)
    found = set(judged(case, request)) - {Refusal.ONE_KIND_OF_EVIDENCE}
    assert found == ({refusal} & PERSON[verb])


def test_a_persons_failover_needs_a_standing_fault_beside_the_person() -> None:
    request = permit.Request(group=GROUP, verb=SwitchVerb.FAILOVER, target="backup", automatic=False)
    healthy = permitted(policy(), faulty=False)
    assert permit.refusals(healthy, START, policy(), request) == (Refusal.ONE_KIND_OF_EVIDENCE,)
    one = fault(evidence_kinds=(EvidenceKind.PROBE,))
    assert permit.refusals(replace(healthy, faults=Map({one.key: one})), START, policy(), request) == ()


def test_force_bypasses_what_it_names_and_never_the_unbypassable() -> None:
    before = with_group(permitted(policy(), faulty=False), fence_ready=False, fenced=("backup",))
    before = replace(before, lease_deadline=None)
    named = permit.Request(
        group=GROUP,
        verb=SwitchVerb.FORCE,
        target="backup",
        automatic=False,
        overrides=(Refusal.FENCE_NOT_READY, Refusal.COOLDOWN),
    )
    judgement = permit.judge(before, START, policy(), named)
    assert judgement.bypassed == (Refusal.FENCE_NOT_READY,), "what does not stand is not bypassed"
    assert set(judgement.refusals) == {
        Refusal.NO_LEASE,
        Refusal.ONE_KIND_OF_EVIDENCE,
        Refusal.TARGET_NOT_READY,
    }
    everything = permit.judge(before, START, policy(), replace(named, overrides=tuple(Refusal)))
    assert everything.refusals == (Refusal.NO_LEASE,)
    assert not set(everything.bypassed) & UNBYPASSABLE
    by_rule = replace(named, automatic=True, overrides=tuple(Refusal))
    assert permit.judge(before, START, policy(), by_rule).bypassed == (), "a rule bypasses nothing"


def test_a_repair_that_drops_calls_needs_the_permit_without_a_target() -> None:
    repair = permit.Request(group=GROUP, verb=None, fault="PlatformHung")
    about_a_target = {
        Refusal.TARGET_NOT_READY,
        Refusal.UNKNOWN_DATA,
        Refusal.FENCE_NOT_READY,
        Refusal.OVER_RTO,
        Refusal.NEVER_SWITCH,
        Refusal.EDGES_UNREACHABLE,
    }
    for name, case, refusal in GUARDS:
        expected = () if refusal in about_a_target else (refusal,)
        assert judged(case, repair) == expected, name


def test_a_probe_run_on_demand_counts_while_its_last_result_is_fresh() -> None:
    key = RungKey("service", "call")
    chosen = policy(readiness=(ReadinessItem(name="call", key=key, freshness=30.0),))
    before = permitted(chosen)
    assert permit.refusals(before, START, chosen, BY_RULE) == (Refusal.UNKNOWN_DATA,)
    good = before.measurements[BACKUP_CALL]
    for result, expected in (
        (good, ()),
        (good._replace(at=START.mono - 31.0), (Refusal.UNKNOWN_DATA,)),
        (good._replace(up=False, outcome=Outcome.REFUSING), (Refusal.TARGET_NOT_READY,)),
    ):
        seen = replace(before, measurements=before.measurements.set(key, result))
        assert permit.refusals(seen, START, chosen, BY_RULE) == expected
