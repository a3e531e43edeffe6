"""The failover machine, branch by branch."""

from __future__ import annotations

from dataclasses import replace

import pytest
from immutables import Map

from controller.core.switching.phases import MOST_ATTEMPTS
from controller.model.calls import CallSample
from controller.model.commands import Command, Drive, RunLadder
from controller.model.events import (
    LeaseChanged,
    OperatorArmed,
    OperatorPlacedHold,
    OperatorReleasedGroup,
    OperatorReleasedHold,
    OperatorTickedReadiness,
    PageWanted,
    RunWanted,
    TimerFired,
)
from controller.model.facts import FactKind
from controller.model.faults import FaultKind
from controller.model.groups import DriverVerb, Phase, Refusal, SwitchOutcome, SwitchVerb
from controller.model.health import HealthState, Outcome, ProbeResult, RungKey
from controller.model.moments import Moment
from controller.model.policy import EdgesRule, ReadinessItem
from tests.builders.driving import Edges, Mishap
from tests.builders.platform import GROUP, START, fault, permitted, policy, up, with_group
from tests.builders.switching import SILENT, Rig, good_call, requested, wanted

VOID = ProbeResult(
    key=RungKey("primary", "call"),
    sent_at=0.0,
    finished_at=0.1,
    outcome=Outcome.VOID,
    up=None,
    note="own lag",
)
REFUSED = ProbeResult(
    key=RungKey("primary", "call"), sent_at=0.0, finished_at=0.1, outcome=Outcome.REFUSING, up=False, code=503
)
FAILOVER = ["freeze", "fence", "confirm_fence", "promote", "redirect", "calls"]


@pytest.fixture
def rig() -> Rig:
    return Rig(policy())


def only(verb: DriverVerb, mishap: Mishap | str, times: int = 1):
    """The mishap strikes the first `times` commands of this verb."""
    left = [times]

    def decide(command: object) -> Mishap | str:
        if (
            isinstance(command, Drive)
            and command.verb is verb
            and left[0]
            and not command.id.startswith("READ-")
        ):
            left[0] -= 1
            return mishap
        return Mishap.NONE

    return decide


def finish(rig: Rig) -> None:
    rig.run()
    assert rig.broken == []


def test_a_failover_goes_through_the_order_and_is_proved_by_a_call(rig: Rig) -> None:
    rig.send(wanted())
    finish(rig)
    assert rig.verbs == FAILOVER
    assert rig.group.active == "backup"
    assert rig.group.phase is Phase.IDLE
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED
    assert rig.group.epoch == 2
    assert rig.group.fenced == ("primary",)
    assert [edge.active for edge in rig.edges.edges.values()] == [{"backup"}, {"backup"}]
    assert [item.outcome for item in rig.ended] == [SwitchOutcome.VERIFIED]
    assert (rig.ended[0].run, rig.ended[0].step) == ("RUN-0001", "switch")


def test_what_a_driver_has_nothing_to_do_for_costs_no_commit() -> None:
    rules = policy()
    idle = replace(rules.groups[GROUP], idle_verbs=frozenset({DriverVerb.FREEZE, DriverVerb.PROMOTE}))
    rig = Rig(replace(rules, groups=rules.groups.set(GROUP, idle)))
    rig.send(wanted())
    finish(rig)
    assert rig.verbs == ["fence", "confirm_fence", "redirect", "calls"]
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


def test_the_first_command_leaves_with_the_decision_that_started_the_switch(rig: Rig) -> None:
    rig.send(wanted())
    assert [type(command) for command in rig.commands] == [Drive]
    assert rig.kinds() == [FactKind.SWITCH_STARTED, FactKind.SWITCH_PHASE, FactKind.SWITCH_INTENDED]


def test_the_freeze_of_a_hung_side_is_not_waited_for_long_and_is_not_fatal(rig: Rig) -> None:
    rig.mishap = only(DriverVerb.FREEZE, Mishap.FAILS)
    rig.send(wanted())
    assert rig.commands[0].timeout == pytest.approx(0.2)
    finish(rig)
    assert rig.verbs == FAILOVER
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"side": "primary"}, id="the old side answered"),
        pytest.param({"side": ""}, id="nobody known answered"),
        pytest.param({"one_way": "in"}, id="one way"),
        pytest.param({"one_way": None}, id="audio not measured"),
        pytest.param({"codec": "G729"}, id="codec"),
    ],
)
def test_a_call_that_does_not_prove_the_target_never_verifies(answer: dict[str, object]) -> None:
    rig = Rig(policy(verification=replace(policy().groups[GROUP].verification, codec="pcma")))
    rig.call = lambda: (good_call("backup", **answer),)
    rig.send(wanted())
    finish(rig)
    assert rig.verbs == [*FAILOVER, "calls", "calls"]
    assert rig.group.last_outcome is SwitchOutcome.NEEDS_PERSON
    assert rig.group.phase is Phase.NEEDS_PERSON
    assert rig.group.active == "backup"
    assert [event.runbook for event in rig.events if isinstance(event, RunWanted)] == ["both-sides-down"]


def test_no_answer_to_a_test_call_is_no_proof(rig: Rig) -> None:
    rig.call = tuple
    rig.send(wanted())
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.NEEDS_PERSON


def test_a_second_call_may_prove_what_the_first_did_not(rig: Rig) -> None:
    calls = [(good_call("primary"),), (good_call("backup"),)]
    rig.call = lambda: calls.pop(0)
    rig.send(wanted())
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


def test_a_call_that_is_no_evidence_uses_up_no_attempt(rig: Rig) -> None:
    """Our own loop lagged: more often than the verification has attempts, and still it is asked again."""
    answers = iter([(VOID,)] * 8 + [(REFUSED,), (VOID,), (good_call("backup"),)])
    rig.call = lambda: next(answers)
    rig.send(wanted())
    finish(rig)
    assert rig.ended[0].outcome is SwitchOutcome.VERIFIED
    tests = [
        fact
        for fact in rig.facts
        if fact.kind is FactKind.SWITCH_STEP_FINISHED and fact.get("verb") == "verify"
    ]
    assert [fact.get("status") for fact in tests] == ["unknown"] * 8 + ["failed", "unknown", "succeeded"]
    assert [fact.get("attempt") for fact in tests] == [1] * 9 + [2] * 2


def test_calls_that_never_are_evidence_end_with_the_attempts_time(rig: Rig) -> None:
    rig.call = lambda: (VOID,)
    rig.send(wanted())
    finish(rig)
    assert rig.ended[0].outcome is SwitchOutcome.NEEDS_PERSON
    assert rig.ended[0].message == "not verified: a call is no evidence: own lag"
    verification = policy().groups[GROUP].verification
    began = next(fact.at.mono for fact in rig.facts if fact.get("phase") == "verifying")
    allowed = verification.attempts * (verification.timeout + 0.2)
    assert allowed <= rig.facts[-1].at.mono - began < allowed + 1.0


def test_a_void_call_beside_a_failed_one_is_a_failed_attempt() -> None:
    verification = replace(policy().groups[GROUP].verification, calls=2)
    rig = Rig(policy(verification=verification))
    rig.call = lambda: (VOID, REFUSED)
    rig.send(wanted())
    finish(rig)
    assert rig.ended[0].outcome is SwitchOutcome.NEEDS_PERSON
    assert rig.verbs.count("calls") == verification.attempts


def test_an_unconfirmed_fence_blocks_the_promotion_and_everything_goes_back(rig: Rig) -> None:
    rig.edges.fence_works = False
    rig.send(wanted())
    finish(rig)
    assert "promote" not in rig.verbs
    assert rig.group.last_outcome is SwitchOutcome.COMPENSATED
    assert rig.group.active == "primary"
    assert [edge.active for edge in rig.edges.edges.values()] == [{"primary"}, {"primary"}]
    assert rig.group.fenced == ()
    assert rig.edges.frozen == set()
    assert rig.group.epoch == 3, "the way back is an epoch of its own"


def test_a_failover_that_cannot_redirect_does_not_return_to_a_fenced_dead_side(rig: Rig) -> None:
    rig.mishap = only(DriverVerb.REDIRECT, Mishap.FAILS, times=99)
    rig.send(wanted())
    finish(rig)
    assert rig.verbs.count("redirect") == 5
    assert "unfence" not in rig.verbs
    assert rig.group.phase is Phase.NEEDS_PERSON


def test_a_lost_answer_is_read_back_and_not_repeated_when_it_had_been_done(rig: Rig) -> None:
    rig.mishap = only(DriverVerb.REDIRECT, Mishap.LOST_AFTER)
    rig.send(wanted())
    finish(rig)
    assert rig.verbs == ["freeze", "fence", "confirm_fence", "promote", "redirect", "read_back", "calls"]
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


def test_a_lost_answer_is_read_back_and_repeated_when_it_had_not(rig: Rig) -> None:
    rig.mishap = only(DriverVerb.REDIRECT, Mishap.LOST_BEFORE)
    rig.send(wanted())
    finish(rig)
    assert rig.verbs == [
        "freeze",
        "fence",
        "confirm_fence",
        "promote",
        "redirect",
        "read_back",
        "redirect",
        "calls",
    ]


def test_a_fence_whose_answer_is_lost_is_asked_for_before_it_is_repeated(rig: Rig) -> None:
    rig.mishap = only(DriverVerb.FENCE, SILENT)
    rig.send(wanted())
    finish(rig)
    assert rig.verbs[:6] == ["freeze", "fence", "read_back", "confirm_fence", "fence", "confirm_fence"]
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


def test_a_newer_epoch_at_the_edges_stops_the_switch(rig: Rig) -> None:
    rig.send(wanted())
    for edge in rig.edges.edges.values():
        edge.gate = 9
    finish(rig)
    assert rig.group.phase is Phase.NEEDS_PERSON
    assert rig.group.edge_epoch == 9
    assert rig.edges.applied == []
    rig.send(
        OperatorReleasedGroup(
            at=START, group=GROUP, active="primary", by="ann", reason="only one controller is left"
        )
    )
    finish(rig)
    assert rig.group.phase is Phase.IDLE
    assert rig.group.epoch == 10
    assert {edge.gate for edge in rig.edges.edges.values()} == {10}


def test_a_switchover_tests_the_target_first_drains_and_leaves_a_standby() -> None:
    rig = Rig(policy(), permitted(policy(), faulty=False))
    rig.edges.calls["primary"] = 2
    rig.send(requested(SwitchVerb.SWITCHOVER, "backup"))
    finish(rig)
    assert rig.verbs == [
        "precheck",
        "calls",
        "drain",
        "drain",
        "drain",
        "freeze",
        "fence",
        "confirm_fence",
        "promote",
        "redirect",
        "calls",
        "unfence",
    ]
    assert rig.group.fenced == ()
    assert rig.group.active == "backup"
    ladder = next(command for command in rig.commands if isinstance(command, RunLadder))
    assert ladder.keys == (RungKey("backup", "sip"), RungKey("backup", "call"))


def test_a_drain_ends_at_its_deadline_and_says_how_many_calls_it_cut() -> None:
    rig = Rig(policy(drain_deadline=5.0), permitted(policy(), faulty=False))
    rig.edges.calls["primary"] = 1000
    rig.send(requested(SwitchVerb.SWITCHOVER))
    finish(rig)
    assert rig.verbs.count("drain") == 4
    counts = [
        fact.get("live_calls") for fact in rig.facts if fact.get("verb") == "drain" and fact.get("status")
    ]
    assert counts == [1000, 999, 998, 997]
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


def test_a_planned_switch_whose_target_fails_its_full_test_changes_nothing() -> None:
    rig = Rig(policy(), permitted(policy(), faulty=False))
    rig.call = lambda: (good_call("backup")._replace(key=RungKey("backup", "call"), up=False),)
    rig.send(requested(SwitchVerb.SWITCHOVER))
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.FAILED
    assert rig.verbs == ["precheck", "calls", "precheck", "calls", "reassert"], "only the epoch is asserted"
    assert [edge.active for edge in rig.edges.edges.values()] == [{"primary"}, {"primary"}]


def test_a_planned_switch_that_is_not_verified_goes_back_to_the_healthy_side() -> None:
    rig = Rig(policy(), permitted(policy(), faulty=False))
    results = iter([True, False, False, False])

    def call() -> tuple[object, ...]:
        fine = next(results)
        return (good_call("backup")._replace(key=RungKey("backup", "call"), up=fine),)

    rig.call = call
    rig.send(requested(SwitchVerb.SWITCHOVER))
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.COMPENSATED
    assert rig.group.active == "primary"
    assert rig.verbs[-4:] == ["unfence", "thaw", "redirect", "freeze"]
    assert rig.edges.frozen == {"backup"}, "what it was promoted to it stops again"
    assert [edge.active for edge in rig.edges.edges.values()] == [{"primary"}, {"primary"}]
    assert rig.edges.fenced == set()


def test_a_group_that_could_not_be_armed_any_more_is_disarmed_and_the_on_call_hears_it(rig: Rig) -> None:
    """Armed by another version, or under another configuration: never refused without a word."""
    rig.lease(True)
    assert rig.group.armed is not None and not rig.facts
    strict = replace(rig.policy.groups[GROUP], rto=1.0)
    rig.policy = replace(rig.policy, groups=rig.policy.groups.set(GROUP, strict))
    rig.send(wanted())
    assert Refusal.OVER_RTO in rig.ended[-1].refusals
    for _ in range(2):
        rig.lease(True)
    assert rig.group.armed is None
    assert rig.kinds().count(FactKind.GROUP_DISARMED) == 1
    (page,) = [event for event in rig.events if isinstance(event, PageWanted)]
    assert page.by == GROUP and "over its RTO of 1 s" in page.need_en and "1 秒" in page.need_zh


def test_a_switch_under_way_is_finished_before_its_group_is_disarmed(rig: Rig) -> None:
    rig.send(wanted())
    strict = replace(rig.policy.groups[GROUP], rto=1.0)
    rig.policy = replace(rig.policy, groups=rig.policy.groups.set(GROUP, strict))
    rig.lease(True)
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED and rig.group.armed is not None
    rig.lease(True)
    assert rig.group.armed is None


def unverified_address() -> Rig:
    """A planned switch of an address, whose target answers the full test and none of the calls after it."""
    idle = frozenset({DriverVerb.FREEZE, DriverVerb.PROMOTE})
    rules = policy(single_holder=True, idle_verbs=idle)
    rig = Rig(rules, permitted(rules, faulty=False))
    rig.edges.single = True
    results = iter([True, False, False, False])
    rig.call = lambda: (good_call("backup")._replace(key=RungKey("backup", "call"), up=next(results)),)
    rig.send(requested(SwitchVerb.SWITCHOVER))
    return rig


def test_an_address_goes_back_once_its_holder_is_fenced_who_then_stands_by() -> None:
    rig = unverified_address()
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.COMPENSATED
    assert rig.group.active == "primary"
    driven = [command for command in rig.commands if isinstance(command, Drive)]
    own = [(str(drive.verb), drive.side) for drive in driven if not drive.id.startswith("READ-")]
    assert own[-5:] == [
        ("unfence", "primary"),
        ("fence", "backup"),
        ("confirm_fence", "backup"),
        ("redirect", "primary"),
        ("unfence", "backup"),
    ]
    assert [edge.active for edge in rig.edges.edges.values()] == [{"primary"}, {"primary"}]
    assert rig.edges.fenced == set() and rig.group.fenced == ()


def test_an_address_whose_holder_is_not_confirmed_fenced_goes_to_nobody_and_people_are_asked() -> None:
    rig = unverified_address()
    rig.mishap = lambda command: (
        Mishap.FAILS
        if isinstance(command, Drive) and (command.verb, command.side) == (DriverVerb.CONFIRM_FENCE, "backup")
        else Mishap.NONE
    )
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.NEEDS_PERSON
    assert rig.verbs.count("confirm_fence") == 1 + MOST_ATTEMPTS[Phase.COMPENSATING]
    assert rig.verbs.count("fence") == rig.verbs.count("confirm_fence"), "each attempt fences anew"
    assert rig.verbs.count("redirect") == 1, "there, and never back"
    assert rig.edges.holder == "backup"
    assert [event.runbook for event in rig.events if isinstance(event, RunWanted)] == ["both-sides-down"]


@pytest.mark.parametrize("mishap", [Mishap.FAILS, Mishap.REFUSED, Mishap.LOST_BEFORE])
def test_a_side_that_was_fenced_before_stays_so_when_it_could_not_be_let_in(mishap: Mishap) -> None:
    rules = policy(single_holder=True, idle_verbs=frozenset({DriverVerb.FREEZE, DriverVerb.PROMOTE}))
    rig = Rig(rules, with_group(permitted(rules, faulty=False), fenced=("backup",)))
    rig.edges.single = True
    rig.edges.fenced.add("backup")
    rig.mishap = lambda command: (
        mishap if isinstance(command, Drive) and command.verb is DriverVerb.UNFENCE else Mishap.NONE
    )
    rig.send(requested(SwitchVerb.FORCE, "backup", *Refusal))
    finish(rig)
    assert rig.group.phase in (Phase.IDLE, Phase.NEEDS_PERSON)
    rig.mishap = lambda command: Mishap.NONE
    finish(rig)
    assert "backup" in rig.group.fenced and "backup" in rig.edges.fenced


@pytest.mark.parametrize("mishap", [Mishap.FAILS, Mishap.LOST_BEFORE])
def test_a_target_that_cannot_freeze_itself_is_not_in_the_way_back(mishap: Mishap) -> None:
    rig = Rig(policy(), permitted(policy(), faulty=False))
    results = iter([True, False, False, False])
    rig.call = lambda: (good_call("backup")._replace(key=RungKey("backup", "call"), up=next(results)),)

    def suffers(command: Command) -> Mishap:
        of_target = isinstance(command, Drive) and command.verb is DriverVerb.FREEZE
        return mishap if of_target and command.side == "backup" else Mishap.NONE

    rig.mishap = suffers
    rig.send(requested(SwitchVerb.SWITCHOVER))
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.COMPENSATED
    assert rig.group.active == "primary"
    assert rig.verbs[-3:] == ["thaw", "redirect", "freeze"], "asked once, after calls have gone back"


def test_force_lets_a_fenced_target_in_and_tests_it() -> None:
    rig = Rig(policy(), with_group(permitted(policy(), faulty=False), fenced=("backup",)))
    rig.edges.fenced.add("backup")
    rig.send(requested(SwitchVerb.FORCE, "backup"))
    assert rig.kinds() == [FactKind.SWITCH_REFUSED]
    rig.send(requested(SwitchVerb.FORCE, "backup", Refusal.TARGET_NOT_READY, Refusal.ONE_KIND_OF_EVIDENCE))
    finish(rig)
    assert rig.verbs[:4] == ["unfence", "precheck", "calls", "freeze"]
    assert rig.group.fenced == ("primary",)
    started = next(fact for fact in rig.facts if fact.kind is FactKind.SWITCH_STARTED)
    assert started.get("bypassed") == "one_kind_of_evidence,target_not_ready"


def test_without_leadership_nothing_leaves_and_its_return_reads_back_first(rig: Rig) -> None:
    rig.send(wanted())
    rig.lease(False)
    rig.answer()
    for _ in range(20):
        rig.wait(1.0)
    assert rig.group.phase is Phase.READING_BACK
    assert rig.verbs == ["freeze"]
    recorded = len(rig.facts)
    rig.wait(100.0)
    assert len(rig.facts) == recorded, "waiting is not recorded"
    rig.lease(True)
    finish(rig)
    assert rig.verbs == ["freeze", "read_back", *FAILOVER[1:2], *FAILOVER[1:]] or rig.verbs[1] == "read_back"
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


def test_a_timer_gap_is_waited_out(rig: Rig) -> None:
    rig.send(wanted())
    rig.state = replace(rig.state, gap_until=rig.at.mono + 3.0)
    rig.answer()
    rig.wait(1.0)
    assert rig.verbs == ["freeze"]
    rig.wait(2.5)
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


def test_a_hold_before_the_fence_takes_back_what_was_done(rig: Rig) -> None:
    rig.send(wanted())
    rig.send(OperatorPlacedHold(at=START, scope=GROUP, by="ann", reason="wait", until_wall=START.wall + 60))
    finish(rig)
    assert rig.verbs == ["freeze", "thaw"]
    assert rig.group.last_outcome is SwitchOutcome.COMPENSATED


def test_a_hold_after_the_fence_does_not_leave_callers_without_a_side(rig: Rig) -> None:
    rig.send(wanted())
    rig.answer()
    rig.send(OperatorPlacedHold(at=START, scope="*", by="ann", reason="wait", until_wall=START.wall + 600))
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


@pytest.mark.parametrize("after", range(6))
def test_a_crash_at_any_phase_reads_back_before_it_goes_on(after: int) -> None:
    rig = Rig(policy())
    rig.send(wanted())
    for _ in range(after):
        rig.answer()
    before = len(rig.verbs)
    rig.crash()
    finish(rig)
    assert rig.verbs[before] == "read_back"
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED
    assert len(rig.ended) == 1


def test_a_crash_in_a_drain_starts_its_deadline_again() -> None:
    rig = Rig(policy(drain_deadline=5.0), permitted(policy(), faulty=False))
    rig.edges.calls["primary"] = 1000
    rig.send(requested(SwitchVerb.SWITCHOVER))
    while rig.group.phase is not Phase.DRAINING:
        rig.answer()
    rig.answer()
    rig.wait(4.0)
    rig.crash()
    finish(rig)
    assert rig.verbs.count("drain") >= 5
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


def test_cooldown_counts_from_completion_and_starts_again_after_a_restart(rig: Rig) -> None:
    rig.send(wanted())
    finish(rig)
    assert rig.group.cooldown_until == pytest.approx(rig.at.mono + 300.0)
    rig.wait(200.0)
    rig.crash()
    assert rig.group.cooldown_until == pytest.approx(rig.at.mono + 300.0)


def test_a_group_nobody_armed_only_says_what_it_would_do_once_an_incident(rig: Rig) -> None:
    rig = Rig(policy(), with_group(permitted(policy()), armed=None))
    rig.send(wanted())
    rig.send(wanted())
    assert rig.kinds() == [FactKind.SWITCH_SHADOWED]
    assert rig.facts[0].get("would") == "switch"
    assert [event.outcome for event in rig.ended] == [SwitchOutcome.SHADOWED] * 2
    rig.send(wanted(incident="INC-0002"))
    assert rig.kinds() == [FactKind.SWITCH_SHADOWED] * 2
    assert rig.commands == []


def test_every_refusal_is_named(rig: Rig) -> None:
    rig.state = replace(rig.state, lease_deadline=None, gap_until=rig.at.mono + 5, vantages=Map())
    rig.send(wanted())
    assert rig.commands == []
    assert rig.ended[0].outcome is SwitchOutcome.REFUSED
    assert {Refusal.NO_LEASE, Refusal.TIMER_GAP, Refusal.TOO_FEW_VANTAGES} <= set(rig.ended[0].refusals)


def test_both_sides_down_switches_nothing_and_asks_for_the_last_resort(rig: Rig) -> None:
    down = replace(up(), state=HealthState.DOWN)
    rig.state = replace(
        rig.state,
        rungs=rig.state.rungs.set(RungKey("backup", "sip"), down),
        broken=rig.state.broken.set("backup", "sip"),
    )
    rig.send(wanted())
    assert rig.commands == []
    assert rig.ended[0].refusals == (Refusal.TARGET_NOT_READY,)
    assert [event.runbook for event in rig.events if isinstance(event, RunWanted)] == ["both-sides-down"]


def test_one_recovery_a_group(rig: Rig) -> None:
    rig.send(wanted())
    rig.send(wanted(run="RUN-0002"))
    assert [(event.run, event.refusals) for event in rig.ended] == [("RUN-0002", (Refusal.RUN_IN_PROGRESS,))]
    finish(rig)
    assert rig.verbs == FAILOVER


def test_a_healthy_group_is_read_each_interval_and_nothing_else_happens() -> None:
    rig = Rig(policy(), permitted(policy(), faulty=False))
    for _ in range(100):
        rig.wait(1.0)
        while rig.waiting:
            rig.answer()
    assert rig.facts == []
    assert len(rig.commands) == 100
    assert {command.verb for command in rig.commands} == {DriverVerb.READ_BACK}
    assert not any(command.disruptive for command in rig.commands)
    assert rig.broken == []


def settle_reads(rig: Rig, rounds: int = 3) -> None:
    for _ in range(rounds):
        rig.wait(1.0)
        while rig.waiting:
            rig.answer()
    assert rig.broken == []


def test_an_edge_that_drifted_is_put_right_at_the_current_epoch_and_recorded_once() -> None:
    rig = Rig(policy(), permitted(policy(), faulty=False))
    edge = rig.edges.edges["edge1"]
    edge.active, edge.gate = {"backup"}, 0
    settle_reads(rig)
    assert rig.kinds() == [FactKind.EDGE_DRIFTED, FactKind.SWITCH_INTENDED, FactKind.EDGE_REASSERTED]
    assert rig.facts[0].get("drifted") == "edge1"
    assert (edge.active, edge.gate) == ({"primary"}, 1)
    assert rig.group.epoch == 1


def test_drift_is_only_recorded_while_unarmed_held_or_without_leadership() -> None:
    for change in ("unarmed", "held", "no lease"):
        rig = Rig(policy(), permitted(policy(), faulty=False))
        rig.edges.edges["edge1"].active = {"backup"}
        if change == "unarmed":
            rig = Rig(policy(), with_group(permitted(policy(), faulty=False), armed=None), edges=rig.edges)
        elif change == "held":
            rig.send(OperatorPlacedHold(at=START, scope="*", by="ann", reason="", until_wall=START.wall + 60))
        else:
            rig.state = replace(rig.state, lease_deadline=None)
        settle_reads(rig)
        assert rig.kinds().count(FactKind.EDGE_DRIFTED) == 1, change
        assert FactKind.SWITCH_INTENDED not in rig.kinds(), change


def test_a_failing_reassertion_is_tried_ever_more_rarely() -> None:
    rig = Rig(policy(), permitted(policy(), faulty=False))
    rig.edges.edges["edge1"].active = {"backup"}
    rig.mishap = only(DriverVerb.REASSERT, Mishap.FAILS, times=99)
    settle_reads(rig, rounds=300)
    assert 6 <= rig.verbs.count("reassert") <= 14


def test_an_unreachable_edge_is_recorded_on_transition_and_put_right_on_return() -> None:
    rig = Rig(policy(), permitted(policy(), faulty=False))
    rig.edges.edges["edge2"].up = False
    settle_reads(rig, rounds=10)
    assert rig.kinds() == [FactKind.EDGE_DRIFTED]
    assert rig.group.unreachable_edges == ("edge2",)
    rig.edges.edges["edge2"].up = True
    rig.edges.edges["edge2"].restart()
    settle_reads(rig)
    assert rig.group.unreachable_edges == ()
    assert rig.edges.edges["edge2"].gate == 1


def test_a_failover_with_an_edge_away_is_made_good_when_it_returns() -> None:
    rig = Rig(policy(edges_rule=EdgesRule.REACHABLE))
    rig.edges.edges["edge2"].up = False
    rig.send(wanted())
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED
    rig.edges.edges["edge2"].up = True
    settle_reads(rig)
    assert rig.edges.edges["edge2"].active == {"backup"}


def test_an_unarmed_group_that_never_asserted_adopts_what_its_edges_say() -> None:
    state = with_group(permitted(policy(), faulty=False), armed=None, epoch=0, read_at=None, next_read=None)
    rig = Rig(policy(), state, edges=Edges.of("edge1", "edge2", active="backup", epoch=7))
    settle_reads(rig)
    assert rig.kinds() == [FactKind.GROUP_ADOPTED]
    assert (rig.group.active, rig.group.epoch) == ("backup", 7)


def test_a_newer_epoch_stops_an_armed_group_at_rest() -> None:
    rig = Rig(policy(), permitted(policy(), faulty=False))
    rig.edges.edges["edge1"].gate = 5
    settle_reads(rig)
    assert rig.group.phase is Phase.NEEDS_PERSON
    rig.send(wanted())
    assert Refusal.NEEDS_PERSON in rig.ended[0].refusals


def test_a_fenced_side_that_a_person_settles_on_is_let_in_after_the_edges_left_the_other(rig: Rig) -> None:
    """Let in first, it would share the callers with the other side until the last edge is put right."""
    rig.send(wanted())
    rig.mishap = lambda command: Mishap.FAILS if command.verb is DriverVerb.REDIRECT else Mishap.NONE
    finish(rig)
    assert rig.group.phase is Phase.NEEDS_PERSON and "primary" in rig.edges.fenced
    rig.edges.edges["edge1"].active = {"backup"}
    before = len(rig.verbs)
    rig.mishap = lambda command: Mishap.NONE
    rig.send(
        OperatorReleasedGroup(at=START, group=GROUP, active="primary", by="ann", reason="it works again")
    )
    finish(rig)
    verbs = [verb for verb in rig.verbs[before:] if verb not in ("read_back",)]
    assert verbs == ["reassert", "unfence"]
    assert rig.group.fenced == () and rig.edges.fenced == set()
    assert [edge.active for edge in rig.edges.edges.values()] == [{"primary"}, {"primary"}]


def test_release_lets_the_fenced_side_back_in_as_the_standby(rig: Rig) -> None:
    rig.send(wanted())
    finish(rig)
    rig.send(OperatorReleasedGroup(at=START, group=GROUP, active="backup", by="ann", reason="repaired"))
    finish(rig)
    assert rig.group.fenced == ()
    assert rig.edges.fenced == set()
    assert rig.group.active == "backup"
    assert [edge.active for edge in rig.edges.edges.values()] == [{"backup"}, {"backup"}]


def test_a_release_whose_answer_is_lost_asks_the_fence_first(rig: Rig) -> None:
    rig.send(wanted())
    finish(rig)
    rig.mishap = only(DriverVerb.UNFENCE, Mishap.LOST_AFTER)
    rig.send(OperatorReleasedGroup(at=START, group=GROUP, active="backup", by="ann", reason="repaired"))
    finish(rig)
    assert rig.verbs[-2:] == ["unfence", "confirm_fence"]
    assert rig.group.fenced == ()


def test_failback_waits_for_a_stable_time_and_then_goes_home(rig: Rig) -> None:
    rig.send(wanted())
    finish(rig)
    rig.send(OperatorReleasedGroup(at=START, group=GROUP, active="backup", by="ann", reason="repaired"))
    finish(rig)
    healed = permitted(rig.policy, faulty=False)
    rig.state = replace(rig.state, faults=Map(), broken=Map(), rungs=healed.rungs)
    rig.edges.frozen.clear()
    settle_reads(rig)
    rig.send(requested(SwitchVerb.FAILBACK))
    assert rig.ended[-1].refusals == (Refusal.UNSTABLE,)
    for _ in range(3):
        rig.wait(250.0)
        while rig.waiting:
            rig.answer()
        rig.state = replace(
            rig.state,
            measurements=Map(
                {key: item._replace(at=rig.at.mono) for key, item in rig.state.measurements.items()}
            ),
        )
    rig.send(requested(SwitchVerb.FAILBACK))
    finish(rig)
    assert rig.group.active == "primary"
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


@pytest.mark.parametrize("declared", [True, False])
def test_a_failback_by_rule_happens_only_where_it_was_declared(declared: bool) -> None:
    rules = policy(automatic_failback=declared, failback_stable=5.0, cooldown=10.0)
    rig = Rig(
        rules,
        with_group(permitted(rules, faulty=False), active="backup"),
        edges=Edges.of("edge1", active="backup", epoch=1),
    )
    settle_reads(rig, rounds=4)
    assert rig.facts == []
    settle_reads(rig, rounds=4)
    if declared:
        finish(rig)
    assert rig.group.active == ("primary" if declared else "backup")
    assert rig.facts == [] or rig.facts[0].kind is FactKind.SWITCH_STARTED


@pytest.mark.parametrize(("calls", "goes"), [(None, False), (30, False), (4, True)])
def test_a_failback_by_rule_waits_for_few_calls(calls: int | None, goes: bool) -> None:
    rules = policy(automatic_failback=True, failback_stable=5.0, cooldown=10.0, failback_below=1.0)
    rig = Rig(
        rules,
        with_group(permitted(rules, faulty=False), active="backup"),
        edges=Edges.of("edge1", active="backup", epoch=1),
    )
    if calls is not None:
        polls = tuple(CallSample(START.mono + second, calls if second else 0, 0, 0) for second in (0.0, 10.0))
        rig.state = replace(rig.state, call_samples=Map({GROUP: polls}))
    settle_reads(rig, rounds=8)
    if goes:
        finish(rig)
    assert rig.group.active == ("primary" if goes else "backup")


def test_arming_is_refused_with_the_arithmetic_and_what_is_lacking() -> None:
    rig = Rig(policy(rto=0.2), with_group(permitted(policy(), faulty=False), armed=None))
    rig.state = replace(rig.state, rungs=rig.state.rungs.delete(RungKey("backup", "call")))
    rig.send(OperatorArmed(at=START, group=GROUP, armed=True, by="ann"))
    refused = rig.facts[0]
    assert refused.kind is FactKind.REQUEST_REFUSED
    assert refused.get("reasons") == "unknown_data,over_rto"
    assert (refused.get("rto"), refused.get("worst_case")) == (0.2, 1.8)
    assert refused.get("lacking") == "backup call"


def test_arming_and_disarming() -> None:
    rig = Rig(policy(), with_group(permitted(policy(), faulty=False), armed=None))
    rig.send(OperatorArmed(at=START, group=GROUP, armed=True, by="ann"))
    assert rig.group.armed is not None
    rig.send(OperatorArmed(at=START, group=GROUP, armed=False, by="ann"))
    assert rig.group.armed is None
    assert rig.kinds() == [FactKind.GROUP_ARMED, FactKind.GROUP_DISARMED]


def test_a_manual_item_counts_until_its_tick_runs_out() -> None:
    item = ReadinessItem(name="licence", manual=True, owner="ops")
    rules = policy(readiness=(item, ReadinessItem(name="sip", key=RungKey("backup", "sip"))))
    rig = Rig(rules)
    rig.send(wanted())
    assert rig.ended[0].refusals == (Refusal.TARGET_NOT_READY,)
    tick = OperatorTickedReadiness(
        at=START, group=GROUP, item="licence", by="ann", until_wall=START.wall + 3600.0
    )
    rig.send(replace(tick, item="nonsense"))
    assert rig.kinds()[-1] is FactKind.REQUEST_REFUSED
    rig.send(tick)
    rig.send(wanted())
    finish(rig)
    assert rig.group.last_outcome is SwitchOutcome.VERIFIED


def test_holds_are_placed_released_and_expire(rig: Rig) -> None:
    place = OperatorPlacedHold(at=START, scope=GROUP, by="ann", reason="works", until_wall=START.wall + 10.0)
    rig.send(replace(place, scope="nowhere"))
    rig.send(replace(place, until_wall=START.wall - 1.0))
    rig.send(place)
    rig.send(wanted())
    assert rig.ended[0].refusals == (Refusal.ON_HOLD,)
    rig.send(OperatorReleasedHold(at=START, scope=GROUP, by="ann"))
    rig.send(place)
    rig.wait(11.0)
    assert [kind for kind in rig.kinds() if "hold" in kind or "request" in kind] == [
        FactKind.REQUEST_REFUSED,
        FactKind.REQUEST_REFUSED,
        FactKind.HOLD_PLACED,
        FactKind.HOLD_RELEASED,
        FactKind.HOLD_PLACED,
        FactKind.HOLD_EXPIRED,
    ]
    assert rig.broken == []


def test_a_late_answer_of_a_command_given_up_changes_nothing(rig: Rig) -> None:
    rig.send(wanted())
    late = rig.waiting.popleft()
    rig.wait(5.0)
    rig.waiting.appendleft(late)
    before = rig.group
    rig.answer()
    assert rig.group == before


def test_automatic_switches_are_limited_in_a_window() -> None:
    walls = (START.wall - 100.0, START.wall - 200.0)
    rig = Rig(policy(), with_group(permitted(policy()), automatic_walls=walls))
    rig.send(wanted())
    assert rig.ended[0].refusals == (Refusal.BUDGET_SPENT,)
    rig.at = Moment(START.mono + 4000.0, START.wall + 4000.0)
    rig.state = permitted(policy(), rig.at)
    rig.state = with_group(rig.state, automatic_walls=walls)
    rig.send(wanted())
    assert rig.group.switch is not None


def test_a_standing_fault_that_never_switches_is_named(rig: Rig) -> None:
    other = fault(kind=FaultKind.CERTIFICATE_EXPIRING)
    rig.state = replace(rig.state, faults=Map({other.key: other}))
    rig.send(wanted(fault="CertificateExpiring"))
    assert rig.ended[0].refusals == (Refusal.NEVER_SWITCH,)


def test_events_of_others_are_none_of_its_business(rig: Rig) -> None:
    rig.send(LeaseChanged(at=START, deadline=None))
    rig.send(TimerFired(at=START))
    assert rig.facts == []
