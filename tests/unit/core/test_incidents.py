"""The life of an incident: people, switches, repairs, restarts, and what stands in the way of acting."""

from __future__ import annotations

from dataclasses import replace

import pytest
from immutables import Map

from controller.core.response.explanation import explain
from controller.model.drills import Drill, DrillState, InjectState
from controller.model.encoding import fact_payload
from controller.model.events import (
    FaultReported,
    LeaseChanged,
    OperatorAcknowledged,
    OperatorPlacedHold,
    OperatorUpdatedIncident,
    RunEnded,
    SwitchEnded,
    TimerFired,
)
from controller.model.facts import GENESIS, Entry, FactKind
from controller.model.faults import FaultKey, FaultKind, Grade, Severity
from controller.model.groups import Hold, Phase, Refusal, Switch, SwitchOutcome, SwitchVerb
from controller.model.incidents import Incident, IncidentState
from controller.model.runs import NOT_NEEDED, Run, RunState, StepRecord, StepState
from controller.model.state import State
from tests.builders.diagnosis import GROUP, World, build_policy
from tests.builders.running import act, call, manual, runbook


def world_of(**changes: object) -> World:
    world = World(build_policy(), **{"rerouting": False, **changes})
    world.watch()
    world.run(4.0)
    return world


def killed(world: World) -> None:
    world.set(primary={"sip": "refused", "call": "refused", "live": "ignore"})


def healed(world: World) -> None:
    world.set(primary={"sip": "up", "call": "up", "live": "answer"})


def only(world: World) -> Incident:
    (incident,) = world.state.incidents.values()
    return incident


def keep(world: World, **changes: object) -> None:
    """As another stage would, without its facts: groups, runs and holds are not what these tests record."""
    world.state = replace(world.state, **changes)


def run_of(world: World, state: RunState = RunState.RUNNING, number: int = 1) -> Run:
    wanted = world.wanted[-1]
    run = Run(
        id=f"RUN-{number:04d}",
        runbook=wanted.runbook,
        revision="r",
        state=state,
        incident=wanted.incident,
        group=wanted.group,
    )
    keep(world, runs=world.state.runs.set(run.id, run))
    return run


def end(world: World, run: Run, state: RunState, outcome: str = "") -> None:
    keep(world, runs=world.state.runs.set(run.id, replace(run, state=state)))
    world.send(
        RunEnded(
            at=world.at(),
            run=run.id,
            incident=run.incident,
            runbook=run.runbook,
            succeeded=state is RunState.SUCCEEDED,
            outcome=outcome or str(state),
        )
    )


def switched(world: World, run: Run, outcome: SwitchOutcome, *refusals: Refusal) -> None:
    if outcome is SwitchOutcome.VERIFIED:
        group = replace(world.state.groups[GROUP], active="backup", epoch=2)
        keep(world, groups=world.state.groups.set(GROUP, group))
    world.send(
        SwitchEnded(
            at=world.at(),
            group=GROUP,
            switch="SW-0001",
            run=run.id,
            step="failover",
            outcome=outcome,
            refusals=refusals,
        )
    )


def kinds(world: World) -> list[FactKind]:
    return [fact.kind for fact in world.facts]


def test_a_verified_switch_mitigates_and_the_repair_of_the_old_side_is_left_to_people() -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    run = run_of(world)
    assert run.runbook == "failover"
    switched(world, run, SwitchOutcome.VERIFIED)
    end(world, run, RunState.SUCCEEDED)
    assert only(world).state is IncidentState.MITIGATED
    assert only(world).runs == (run.id,)
    world.run(2 * world.policy.resolve_after)
    assert [wanted.runbook for wanted in world.wanted] == ["failover"]
    assert only(world).state is IncidentState.MITIGATED
    assert "PlatformDead:primary" in world.faults(), "it is still dead, and said so"
    healed(world)
    world.run(world.policy.resolve_after + 10.0)
    assert only(world).state is IncidentState.RESOLVED
    assert not world.faults()


def test_a_fenced_side_is_never_repaired_by_rule() -> None:
    """A restart could let it back in: what it would go on doing is why it was fenced."""
    world = world_of()
    group = replace(world.state.groups[GROUP], active="backup", epoch=2, fenced=("primary",))
    keep(world, groups=world.state.groups.set(GROUP, group))
    killed(world)
    world.run(20.0)
    assert world.faults() == {"RedundancyLost:primary"}
    assert not world.wanted
    withheld = [fact for fact in world.facts if fact.kind is FactKind.RESPONSE_WITHHELD]
    assert [(fact.get("runbook"), fact.get("reasons")) for fact in withheld] == [
        ("repair-in-place", "side_fenced")
    ]
    keep(world, groups=world.state.groups.set(GROUP, replace(group, fenced=())))
    world.run(5.0)
    assert [wanted.runbook for wanted in world.wanted] == ["repair-in-place"]


def test_the_other_side_failing_after_the_switch_opens_the_incident_again() -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    run = run_of(world)
    switched(world, run, SwitchOutcome.VERIFIED)
    end(world, run, RunState.SUCCEEDED)
    world.set(backup={"sip": "refused", "call": "refused", "live": "ignore"})
    world.run(1.0)
    assert only(world).state is IncidentState.OPEN
    assert not only(world).mitigated_wall
    assert "BothSidesDown:calls" in world.faults()
    assert world.wanted[-1].runbook == "both-sides-down"


def test_it_is_over_for_callers_once_the_side_in_use_is_well_though_the_other_is_still_broken() -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    run = run_of(world)
    switched(world, run, SwitchOutcome.VERIFIED)
    end(world, run, RunState.SUCCEEDED)
    world.set(backup={"sip": "refused", "call": "refused", "live": "ignore"})
    world.run(1.0)
    assert only(world).state is IncidentState.OPEN
    world.set(backup={"sip": "up", "call": "up", "live": "answer"})
    world.run(15.0)
    assert [key.split(":")[1] for key in world.faults()] == ["primary"]
    assert only(world).state is IncidentState.MITIGATED, "people repair the primary in their time"
    over = [fact.get("reason") for fact in world.facts if fact.kind is FactKind.INCIDENT_MITIGATED]
    assert (over[0], set(over[1:])) == ("switch SW-0001 verified", {"the side in use is well again"})
    world.run(world.policy.resolve_after + 10.0)
    assert only(world).state is IncidentState.MITIGATED, "and not resolved before they have"
    healed(world)
    world.run(world.policy.resolve_after + 10.0)
    assert only(world).state is IncidentState.RESOLVED


def in_mid_switch(world: World) -> Run:
    run = run_of(world)
    switch = Switch(
        id="SW-0001",
        verb=SwitchVerb.FAILOVER,
        origin="primary",
        target="backup",
        epoch=2,
        automatic=True,
        run=run.id,
        incident=run.incident,
    )
    group = replace(world.state.groups[GROUP], switch=switch, phase=Phase.REDIRECTING)
    keep(world, groups=world.state.groups.set(GROUP, group))
    return run


def at_rest(world: World, phase: Phase = Phase.IDLE) -> None:
    group = replace(world.state.groups[GROUP], switch=None, phase=phase)
    keep(world, groups=world.state.groups.set(GROUP, group))


def test_symptoms_that_end_in_mid_switch_mitigate_nothing() -> None:
    """The origin of a switch shows no symptoms after a restart, or once it is fenced: callers are no better off."""
    world = world_of()
    killed(world)
    world.run(0.5)
    run = in_mid_switch(world)
    healed(world)
    world.run(3.0)
    assert not world.faults()
    assert only(world).state is IncidentState.OPEN
    at_rest(world, Phase.NEEDS_PERSON)
    world.run(world.policy.resolve_after + 10.0)
    assert only(world).state is IncidentState.OPEN, (
        "and neither mitigated nor resolved while a person is needed"
    )
    at_rest(world)
    end(world, run, RunState.FAILED)
    world.run(1.5)
    assert only(world).state is IncidentState.MITIGATED
    assert [fact.get("reason") for fact in world.facts if fact.kind is FactKind.INCIDENT_MITIGATED] == [
        "no fault is left"
    ]
    world.run(world.policy.resolve_after)
    assert only(world).state is IncidentState.RESOLVED


def test_its_verified_switch_mitigates_at_once_what_had_no_symptoms_left() -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    run = in_mid_switch(world)
    healed(world)
    world.run(3.0)
    at_rest(world)
    switched(world, run, SwitchOutcome.VERIFIED)
    assert only(world).state is IncidentState.MITIGATED
    assert [fact.get("reason") for fact in world.facts if fact.kind is FactKind.INCIDENT_MITIGATED] == [
        "switch SW-0001 verified"
    ]
    end(world, run, RunState.SUCCEEDED)
    world.run(world.policy.resolve_after + 1.0)
    assert only(world).state is IncidentState.RESOLVED


def test_acknowledged_once_resolved_by_itself() -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    name = only(world).id
    world.send(OperatorAcknowledged(at=world.at(), incident=name, by="li", via="link"))
    first = only(world).acknowledged_wall
    world.run(1.0)
    world.send(OperatorAcknowledged(at=world.at(), incident=name, by="wang", via="web"))
    assert (only(world).acknowledged_by, only(world).acknowledged_wall) == ("li", first)
    assert only(world).state is IncidentState.ACKNOWLEDGED
    healed(world)
    world.run(3.0)
    assert only(world).state is IncidentState.MITIGATED, "the callers' impact is over"
    world.run(world.policy.resolve_after)
    assert only(world).state is IncidentState.RESOLVED
    world.send(OperatorAcknowledged(at=world.at(), incident=name, by="wang", via="web"))
    refused = world.facts[-1]
    assert (refused.kind, refused.get("reasons")) == (FactKind.REQUEST_REFUSED, "incident_closed")
    assert not [name for name in world.undurable() if not name.startswith("group/")]


def test_what_is_broken_again_wants_to_be_acknowledged_again() -> None:
    world = world_of()
    for _ in range(2):
        killed(world)
        world.run(8.0)
        assert only(world).state is IncidentState.OPEN
        world.send(OperatorAcknowledged(at=world.at(), incident="INC-0001", by="li", via="link"))
        assert only(world).state is IncidentState.ACKNOWLEDGED
        assert only(world).acknowledged_wall == world.at().wall
        healed(world)
        world.run(8.0)
        assert only(world).state is IncidentState.MITIGATED


def test_an_incident_with_a_standing_fault_is_not_resolved_by_a_click() -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    world.send(OperatorUpdatedIncident(at=world.at(), incident=only(world).id, by="li", resolved=True))
    assert only(world).open
    assert world.facts[-1].get("reasons") == "fault_active"


def diverting(world: World, moved: StepState) -> Run:
    """The incident's run, by a rule: whether it moved something, and what people are to do now."""
    run = run_of(world, RunState.WAITING)
    book = runbook(act("divert", rollback=call("http")), manual("carrier"), name=run.runbook, revision="r")
    world.policy = replace(world.policy, runbooks=Map({book.name: book}))
    run = replace(
        run,
        steps=(
            StepRecord(path="divert", state=moved, order=1 if moved is StepState.SUCCEEDED else 0),
            StepRecord(path="carrier", state=StepState.AWAITING_PERSON),
        ),
    )
    keep(world, runs=world.state.runs.set(run.id, run))
    return run


def test_an_incident_is_not_over_while_people_are_to_finish_what_was_done_for_it() -> None:
    """Calls are diverted, and wait for the carrier before they are put back."""
    world = world_of()
    world.set(phone1={"sip": "silent"})
    world.run(8.0)
    run = diverting(world, StepState.SUCCEEDED)
    world.set(phone1={"sip": "up"})
    world.run(2 * world.policy.resolve_after)
    assert only(world).state is IncidentState.MITIGATED
    world.send(OperatorUpdatedIncident(at=world.at(), incident=only(world).id, by="li", resolved=True))
    refused = world.facts[-1]
    assert (refused.kind, refused.get("reasons")) == (FactKind.REQUEST_REFUSED, "run_live")
    assert refused.get("runs") == run.id
    end(world, run, RunState.SUCCEEDED)
    world.run(world.policy.resolve_after + 10.0)
    assert only(world).state is IncidentState.RESOLVED


def test_what_a_person_started_and_nobody_works_on_is_named_once_as_what_keeps_it_open() -> None:
    """A rule's run would be given up; a person's is theirs to finish or to cancel, so they are told which it is."""
    world = world_of()
    world.set(phone1={"sip": "silent"})
    world.run(8.0)
    run = replace(diverting(world, StepState.SKIPPED), started_by="wang")
    keep(world, runs=world.state.runs.set(run.id, run))
    world.set(phone1={"sip": "up"})
    world.run(4 * world.policy.resolve_after)
    told = [fact for fact in world.facts if fact.get("kept_open_by")]
    assert [fact.get("kept_open_by") for fact in told] == [run.id], "once, however often it was put off"
    assert only(world).state is IncidentState.MITIGATED
    assert only(world).kept_open_by == (run.id,)
    end(world, run, RunState.CANCELLED)
    world.run(world.policy.resolve_after + 10.0)
    assert only(world).state is IncidentState.RESOLVED
    assert only(world).kept_open_by == ()


def test_a_run_that_only_waits_and_did_nothing_keeps_no_incident_open() -> None:
    world = world_of()
    world.set(phone1={"sip": "silent"})
    world.run(8.0)
    diverting(world, StepState.SKIPPED)
    world.set(phone1={"sip": "up"})
    world.run(2 * world.policy.resolve_after)
    assert only(world).state is IncidentState.RESOLVED


def test_command_note_and_grade_are_recorded_with_who_said_so() -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    assert only(world).grade is Grade.II
    world.send(
        OperatorUpdatedIncident(
            at=world.at(),
            incident=only(world).id,
            by="li",
            note="calling the carrier",
            command=True,
            grade=Grade.III,
        )
    )
    assert (only(world).commander, only(world).grade, only(world).grade_confirmed_by) == (
        "li",
        Grade.III,
        "li",
    )
    assert {fact.actor for fact in world.facts[-3:]} == {"li"}


def test_severity_never_falls_while_open() -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    assert only(world).severity is Severity.SEV1
    world.rerouting = True  # masked from now on, which alone would be SEV2
    world.run(5.0)
    assert only(world).severity is Severity.SEV1


def test_a_failed_repair_raises_the_severity_by_one_and_is_not_repeated() -> None:
    world = world_of()
    world.set(phone1={"sip": "silent"})
    world.run(8.0)
    assert only(world).severity is Severity.SEV3
    run = run_of(world)
    assert run.runbook == "device-quarantine"
    end(world, run, RunState.FAILED)
    assert only(world).severity is Severity.SEV2
    assert only(world).reason.rule == "repair-failed"
    world.run(2 * world.policy.resolve_after)
    assert len(world.wanted) == 1


def test_a_run_that_was_given_up_undone_leaves_what_stands_to_be_decided_anew() -> None:
    world = world_of()
    killed(world)
    world.run(6.0)
    (wanted,) = world.wanted
    end(world, run_of(world, RunState.WAITING), RunState.CANCELLED, NOT_NEEDED)
    assert [again.runbook for again in world.wanted] == [wanted.runbook] * 2
    world.run(10.0)
    assert len(world.wanted) == 2


def test_a_cancelled_run_is_no_failed_repair() -> None:
    world = world_of()
    world.set(phone1={"sip": "silent"})
    world.run(8.0)
    end(world, run_of(world), RunState.CANCELLED)
    assert only(world).severity is Severity.SEV3


@pytest.mark.parametrize("outcome", [SwitchOutcome.REFUSED, SwitchOutcome.SHADOWED])
def test_a_refused_switch_is_asked_for_again_only_when_nothing_refuses_it(
    outcome: SwitchOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    run = run_of(world)
    switched(world, run, outcome, Refusal.ON_HOLD)
    end(world, run, RunState.FAILED)
    assert only(world).severity is Severity.SEV1
    before = len(world.facts)
    world.run(10.0)  # no fence is ready in this state, so the permit still refuses
    assert len(world.wanted) == 1
    assert not [fact for fact in world.facts[before:] if fact.kind is FactKind.RESPONSE_CHOSEN]
    monkeypatch.setattr("controller.core.response.response.permit.refusals", lambda *_: ())
    world.run(1.5)
    assert [wanted.runbook for wanted in world.wanted] == ["failover", "failover"]


@pytest.mark.parametrize(("read", "within"), [(False, 0.2), (True, 1.2)])
def test_what_was_refused_before_anything_was_read_back_is_asked_for_again_at_once(
    read: bool, within: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a node that has just taken the lead: calls are lost until its first reading back has answered."""
    world = world_of()
    group = replace(world.state.groups[GROUP], read_at=world.now if read else None)
    keep(world, groups=world.state.groups.set(GROUP, group))
    killed(world)
    world.run(0.5)
    run = run_of(world)
    switched(world, run, SwitchOutcome.REFUSED, Refusal.FENCE_NOT_READY)
    end(world, run, RunState.FAILED)
    refused = world.now
    monkeypatch.setattr("controller.core.response.response.permit.refusals", lambda *_: ())
    while len(world.wanted) < 2 and world.now < refused + 3.0:
        world.run(0.05)
    waited = world.now - refused
    assert within - 0.2 <= waited <= within


def test_without_a_lease_it_observes_and_acts_once_it_leads() -> None:
    world = world_of()
    world.send(LeaseChanged(at=world.at(), deadline=None))
    killed(world)
    world.run(2.0)
    assert only(world).severity is Severity.SEV1
    assert not world.wanted
    withheld = [fact for fact in world.facts if fact.kind is FactKind.RESPONSE_WITHHELD]
    assert [fact.get("reasons") for fact in withheld] == ["no_lease"]
    world.send(LeaseChanged(at=world.at(), deadline=world.now + 100.0))
    world.run(1.5)
    assert [wanted.runbook for wanted in world.wanted] == ["failover"]


def test_after_a_timer_gap_nothing_is_done_until_it_is_over() -> None:
    world = world_of()
    world.send(TimerFired(at=world.at(), gap=5.0))
    killed(world)
    world.run(0.5)
    assert only(world).open
    assert not world.wanted
    world.run(2.0)
    assert [wanted.runbook for wanted in world.wanted] == ["failover"]


def test_a_hold_keeps_repairs_back_and_says_so() -> None:
    world = world_of()
    hold = Hold(
        scope="phone1", by="li", reason="moving desks", since_wall=0.0, until_wall=world.at().wall + 20.0
    )
    keep(world, holds=world.state.holds.set(hold.scope, hold))
    world.set(phone1={"sip": "silent"})
    world.run(10.0)
    assert not world.wanted
    assert [fact.get("reasons") for fact in world.facts if fact.kind is FactKind.RESPONSE_WITHHELD] == [
        "on_hold"
    ]
    world.run(15.0)
    assert [wanted.runbook for wanted in world.wanted] == ["device-quarantine"]


def test_a_report_is_never_lost_and_closes_with_its_incident() -> None:
    world = world_of()
    report = FaultReported(
        at=world.at(),
        report="R-1",
        component="phone2",
        symptom="crackling",
        noticed_wall=world.at().wall - 60.0,
        by="zhao",
    )
    world.send(report)
    assert world.faults() == {"Reported:phone2"}
    assert only(world).onset_latest_wall == report.noticed_wall
    world.send(replace(report, report="R-2", by="qian"))
    assert world.count(FactKind.FAULT_REPORTED) == 2
    assert len(world.state.incidents) == 1
    world.send(OperatorUpdatedIncident(at=world.at(), incident=only(world).id, by="li", resolved=True))
    assert not world.faults()
    assert only(world).state is IncidentState.RESOLVED


def test_a_restart_takes_the_incident_up_where_it_was() -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    before = only(world)
    world.crash()
    assert only(world) == before
    assert world.faults() == {"PlatformDead:primary"}
    world.run(3.0)
    assert len(world.state.incidents) == 1
    assert world.raised() == ["PlatformDead:primary"]
    healed(world)
    world.run(world.policy.resolve_after + 10.0)
    assert only(world).state is IncidentState.RESOLVED
    assert not world.undurable()


def test_a_drills_incident_takes_in_no_real_fault() -> None:
    world = world_of()
    drill = Drill(
        id="DRILL-0001",
        scenario="kill",
        component="primary",
        group="",
        state=DrillState.INJECTED,
        inject_state=InjectState.ACTIVE,
        by="li",
        inject=("command", ()),
        undo=("command", ()),
        started_wall=world.at().wall,
    )
    keep(world, drills=world.state.drills.set(drill.id, drill))
    killed(world)
    world.run(1.0)
    assert only(world).drill
    keep(world, drills=Map())
    world.set(backup={"sip": "refused", "call": "refused", "live": "ignore"})
    world.run(1.0)
    assert sorted(incident.drill for incident in world.open_incidents()) == [False, True]


def entries(world: World) -> list[Entry]:
    return [
        Entry(
            number,
            "node-a",
            fact.at.wall,
            str(fact.kind),
            fact.incident,
            fact.drill,
            fact_payload(fact),
            "",
            GENESIS,
            "",
        )
        for number, fact in enumerate(world.facts, start=1)
    ]


def test_explained_from_the_journal_alone() -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    told = explain(State(node="node-a"), entries(world), only(world).id)
    by_name = {rule.rule: rule for rule in told.rules}
    assert len(by_name) == sum(rule.side_only for rule in world.policy.rules)
    fired = by_name["nothing-answers-and-edges-agree"]
    assert fired.fired
    assert [term.verdict for term in fired.terms] == ["true", "true", "true"]
    assert dict(fired.terms[0].seen)["self.sip.state"] == "DOWN"
    assert told.closest is not None
    assert not told.closest.fired
    assert told.closest.blocked_by
    assert told.responses == ("failover",)
    assert told.severity is not None
    assert told.severity.rule == "platform-down"


def test_a_rule_that_fired_stays_fired_in_the_explanation() -> None:
    """A later look at it, for a fault that joins, finds its symptoms changed."""
    world = world_of()
    world.set(primary={"sip": "silent", "call": "silent", "live": "ignore"})
    world.run(0.5)
    raised = next(fact for fact in world.facts if fact.kind is FactKind.INCIDENT_OPENED)
    run = run_of(world)
    switched(world, run, SwitchOutcome.VERIFIED)
    end(world, run, RunState.SUCCEEDED)
    world.set(primary={"sip": "refused", "call": "refused"})
    world.run(5.0)
    assert world.faults() == {"RedundancyLost:primary"}
    told = explain(State(node="node-a"), entries(world), only(world).id)
    by_name = {rule.rule: rule for rule in told.rules}
    assert by_name["silent-and-edges-time-out"].fired
    assert by_name["silent-and-edges-time-out"].fired_wall == raised.at.wall
    assert by_name["silent-and-edges-time-out"].blocked_by == ()
    assert [rule.fired_wall for rule in told.rules if not rule.fired] == [0.0] * sum(
        not rule.fired for rule in told.rules
    )


def test_explains_why_nothing_is_done_once_callers_feel_nothing() -> None:
    world = world_of()
    killed(world)
    world.run(0.5)
    run = run_of(world)
    switched(world, run, SwitchOutcome.VERIFIED)
    end(world, run, RunState.SUCCEEDED)
    healed(world)
    world.run(5.0)
    assert not world.faults()
    killed(world)
    world.run(5.0)
    assert world.faults() == {"RedundancyLost:primary"}
    assert only(world).state is IncidentState.MITIGATED
    told = explain(State(node="node-a"), entries(world), only(world).id)
    assert told.blocked == ("mitigated",)
    withheld = [fact for fact in world.facts if fact.kind is FactKind.RESPONSE_WITHHELD]
    assert [(fact.get("fault"), fact.get("runbook")) for fact in withheld] == [
        ("RedundancyLost:primary", "repair-in-place")
    ]
    assert [wanted.runbook for wanted in world.wanted] == ["failover"], "what is left is for people"


def test_explains_what_stood_in_the_way() -> None:
    world = world_of(calls_per_second=0.0)
    world.set(primary={"sip": "silent", "call": "silent", "live": "ignore"})
    world.run(1.0)
    told = explain(State(node="node-a"), entries(world), only(world).id)
    assert told.blocked == ("not_actionable",)
    assert told.closest is not None
    assert told.closest.rule == "silent-and-edges-time-out"
    assert told.closest.blocked_by == ("edges-time-out",)


def test_edges_that_drift_longer_than_one_reconciliation() -> None:
    world = world_of()
    drifted = replace(world.state.groups[GROUP], drifted_edges=("edge1",))
    keep(world, groups=world.state.groups.set(GROUP, drifted))
    world.send(TimerFired(at=world.at()))
    assert not world.faults()
    world.run(1.1)
    assert world.faults() == {"EdgeDrift:edge1"}
    assert only(world).root == GROUP
    world.run(5.0)
    assert world.faults() == {"EdgeDivergence:edge1"}
    assert only(world).severity is Severity.SEV2
    keep(world, groups=world.state.groups.set(GROUP, replace(drifted, drifted_edges=())))
    world.send(TimerFired(at=world.at()))
    assert not world.faults()
    assert FaultKey(FaultKind.EDGE_DIVERGENCE, "edge1") not in world.state.faults


def test_operators_holds_are_not_the_incident_stages_business() -> None:
    world = world_of()
    before = len(world.facts)
    world.send(
        OperatorPlacedHold(
            at=world.at(), scope="*", by="li", reason="works", until_wall=world.at().wall + 60.0
        )
    )
    assert len(world.facts) == before
