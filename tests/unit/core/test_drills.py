"""The drill stage: guards, a durable undo, milestones, expiry, restart, and the score."""

from __future__ import annotations

from dataclasses import replace

import pytest
from immutables import Map

from controller.core import drills
from controller.model.commands import RunAction
from controller.model.drills import Drill, DrillState, InjectState, Objective, Scenario
from controller.model.events import (
    ActionFinished,
    DrillAborted,
    DrillRequested,
    Event,
    FaultRaised,
    IncidentChanged,
    Started,
    SwitchEnded,
    TimerFired,
)
from controller.model.facts import Fact, FactKind
from controller.model.faults import Fault, FaultKind, Impact, Severity, Urgency
from controller.model.groups import Group, Hold, Phase, Switch, SwitchOutcome, SwitchVerb
from controller.model.health import HealthState, RungKey
from controller.model.incidents import Incident, IncidentState, SeverityReason
from controller.model.moments import Moment
from controller.model.pages import Page, PageState
from controller.model.policy import Policy, TimeBudget
from controller.model.runbooks import Text
from controller.model.runs import ActionStatus
from controller.model.state import RungView, State
from tests.builders.platform import group_policy

SCENARIO = Scenario(
    name="kill",
    title=Text(zh="停掉主用", en="Kill the primary"),
    group="platform",
    component="primary",
    inject=("command", (("name", "kill"),)),
    undo=("command", (("name", "start"),)),
    expires=30.0,
    objectives=(
        Objective(name="detect", limit=1.0, weight=1.0),
        Objective(name="verify", limit=2.0, weight=3.0, hard=True),
    ),
    expected_fault="PlatformDead",
)

POLICY = Policy(
    name="test",
    revision="0" * 64,
    components=Map(),
    groups=Map(),
    rules=(),
    domains={},
    severities=(),
    matrix={},
    scenarios=Map({"kill": SCENARIO}),
)


def at(seconds: float) -> Moment:
    return Moment(100.0 + seconds, 1_000_000.0 + seconds)


def healthy() -> State:
    return State(
        node="a",
        lease_deadline=1e9,
        rungs=Map({RungKey("primary", "sip"): RungView(state=HealthState.UP)}),
        groups=Map({"platform": Group(name="platform", active="primary")}),
    )


class Stage:
    """Folds events through the drill stage alone and keeps what came out."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.policy = POLICY
        self.facts: list[Fact] = []
        self.commands: list[RunAction] = []

    def fold(self, event: Event) -> None:
        decision = drills.advance(self.state, event, self.policy)
        self.state = decision.state
        self.facts += decision.facts
        self.commands += [command for command in decision.commands if isinstance(command, RunAction)]

    @property
    def drill(self) -> Drill:
        return next(iter(self.state.drills.values()))

    def kinds(self) -> list[FactKind]:
        return [fact.kind for fact in self.facts]

    def finish(self, seconds: float, status: ActionStatus = ActionStatus.SUCCEEDED) -> None:
        self.fold(ActionFinished(at=at(seconds), command=self.drill.command, status=status, message="m"))

    def start(self) -> None:
        self.fold(DrillRequested(at=at(0), drill="", scenario="kill", by="wang"))

    def raise_fault(self, seconds: float, component: str = "primary", group: str = "platform") -> None:
        fault = Fault(kind=FaultKind.PLATFORM_DEAD, component=component, group=group)
        self.state = replace(self.state, faults=self.state.faults.set(fault.key, fault))
        self.fold(FaultRaised(at=at(seconds), key=fault.key))

    def verified(self, seconds: float) -> None:
        self.fold(
            SwitchEnded(
                at=at(seconds),
                group="platform",
                switch="SW-0001",
                run="",
                step="",
                outcome=SwitchOutcome.VERIFIED,
            )
        )


def injected() -> Stage:
    stage = Stage(healthy())
    stage.start()
    stage.finish(1)
    return stage


def test_the_undo_is_recorded_before_the_inject_is_dispatched() -> None:
    stage = Stage(healthy())
    stage.start()
    (command,) = stage.commands
    assert (command.action, command.disruptive, command.drill) == ("command", True, True)
    recorded = next(item for item in stage.facts[0].changed if isinstance(item, Drill))
    assert recorded.undo == SCENARIO.undo
    assert recorded.command == command.id
    assert recorded.inject_state is InjectState.PLANNED


def test_a_drill_that_goes_well_is_undone_and_scored() -> None:
    stage = injected()
    stage.raise_fault(1.5)
    stage.verified(2.5)
    assert stage.commands[-1].parameters == SCENARIO.undo[1]
    stage.finish(3)
    drill = stage.drill
    assert drill.state is DrillState.FINISHED
    assert drill.inject_state is InjectState.UNDONE
    assert {result.name: result.met for result in drill.results} == {
        "detect": True,
        "verify": True,
        "diagnosis": True,
    }
    assert drill.score == 1.0
    assert drill.passed is True
    actual = {result.name: result.actual for result in drill.results}
    assert actual["detect"] == pytest.approx(0.5)
    assert actual["verify"] == pytest.approx(1.5)


def test_a_missed_hard_objective_fails_the_drill() -> None:
    stage = injected()
    stage.raise_fault(1.5)
    stage.verified(9)
    stage.finish(10)
    assert stage.drill.passed is False
    assert stage.drill.score == pytest.approx(2 / 5)  # detect and diagnosis of weights 1 + 3 + 1


def test_what_never_happened_is_not_met() -> None:
    stage = injected()
    stage.fold(TimerFired(at=at(31)))
    assert stage.drill.state is DrillState.UNDOING
    stage.finish(32)
    assert [result.actual for result in stage.drill.results] == [None, None, None]
    assert stage.drill.passed is False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: replace(state, lease_deadline=None), "no_lease"),
        (lambda state: replace(state, lease_deadline=99.0), "no_lease"),
        (lambda state: replace(state, rungs=Map()), "unknown_data"),
        (lambda state: replace(state, broken=Map({"primary": "sip"})), "target_already_broken"),
        (
            lambda state: replace(
                state,
                holds=Map(
                    {"*": Hold(scope="*", by="li", reason="x", since_wall=0.0, until_wall=2_000_000.0)}
                ),
            ),
            "on_hold",
        ),
        (
            lambda state: replace(
                state,
                incidents=Map(
                    {
                        "INC-0001": Incident(
                            id="INC-0001",
                            root="trunk",
                            kind=FaultKind.TRUNK_DOWN,
                            state=IncidentState.OPEN,
                            severity=Severity.SEV3,
                            reason=SeverityReason("r", Impact.FEW_CALLS, Urgency.LOW),
                        )
                    }
                ),
            ),
            "open_incident",
        ),
    ],
)
def test_deny_by_default(change, reason: str) -> None:  # type: ignore[no-untyped-def]
    stage = Stage(change(healthy()))
    stage.start()
    assert stage.kinds() == [FactKind.REQUEST_REFUSED]
    assert reason in str(stage.facts[0].get("reasons")).split(",")
    assert not stage.commands
    assert not stage.state.drills


def test_one_drill_at_a_time() -> None:
    stage = injected()
    before = len(stage.commands)
    stage.start()
    assert stage.kinds()[-1] is FactKind.REQUEST_REFUSED
    assert len(stage.commands) == before


def test_an_inject_whose_outcome_is_unknown_counts_as_in_effect_and_is_undone_at_its_expiry() -> None:
    stage = Stage(healthy())
    stage.start()
    stage.finish(1, ActionStatus.UNKNOWN)
    assert stage.drill.inject_state is InjectState.ACTIVE
    stage.fold(TimerFired(at=at(30.1)))
    assert stage.commands[-1].parameters == SCENARIO.undo[1]


def test_a_failed_inject_is_undone_all_the_same() -> None:
    stage = Stage(healthy())
    stage.start()
    stage.finish(1, ActionStatus.FAILED)
    assert stage.commands[-1].parameters == SCENARIO.undo[1]
    stage.finish(2)
    assert stage.drill.state is DrillState.ABORTED
    assert stage.drill.passed is None


def test_a_failing_undo_is_repeated_until_it_works() -> None:
    stage = injected()
    stage.fold(DrillAborted(at=at(2), drill=stage.drill.id, by="wang", reason="enough"))
    for attempt in range(5):
        stage.finish(3 + 10 * attempt, ActionStatus.FAILED)
        due = drills.wake_at(stage.state, POLICY)
        assert due is not None
        stage.fold(TimerFired(at=Moment(due, 1_000_000 + due)))
        assert stage.commands[-1].parameters == SCENARIO.undo[1]
    assert stage.drill.undo_attempts == 6
    assert FactKind.DRILL_UNDO_FAILED in stage.kinds()
    stage.finish(100)
    assert stage.drill.inject_state is InjectState.UNDONE
    assert stage.drill.state is DrillState.ABORTED


@pytest.mark.parametrize("step", ["requested", "injected", "undoing"])
def test_a_restart_undoes_at_once(step: str) -> None:
    stage = Stage(healthy())
    stage.start()
    if step != "requested":
        stage.finish(1)
    if step == "undoing":
        stage.fold(DrillAborted(at=at(2), drill=stage.drill.id, by="wang", reason="enough"))
    forgotten = replace(stage.drill, expires_at=None, retry_at=None)
    stage.state = replace(stage.state, drills=Map({forgotten.id: forgotten}))
    stage.fold(Started(at=at(60), node="a", recovered=True))
    assert stage.commands[-1].parameters == SCENARIO.undo[1]
    stage.finish(61)
    assert stage.drill.inject_state is InjectState.UNDONE


def test_a_real_fault_aborts_the_drill() -> None:
    stage = injected()
    stage.raise_fault(2, component="trunk", group="")
    assert stage.drill.state is DrillState.UNDOING
    assert "trunk" in stage.drill.abort_reason


def test_a_second_outcome_changes_nothing() -> None:
    stage = injected()
    command = stage.commands[0].id
    before = stage.state
    stage.fold(ActionFinished(at=at(2), command=command, status=ActionStatus.FAILED))
    assert stage.state == before


def test_acknowledging_is_waited_for_until_the_expiry_when_it_is_an_objective() -> None:
    policy_scenario = replace(SCENARIO, objectives=(Objective(name="acknowledge", limit=20.0),))
    policy = replace(POLICY, scenarios=Map({"kill": policy_scenario}))
    stage = injected()
    stage.verified(2)
    incident = Incident(
        id="INC-0001",
        root="platform",
        kind=FaultKind.PLATFORM_DEAD,
        state=IncidentState.ACKNOWLEDGED,
        severity=Severity.SEV1,
        reason=SeverityReason("r", Impact.ALL_CALLS, Urgency.IMMEDIATE),
        drill=True,
        acknowledged_wall=1_000_005.0,
    )

    def fold(event: Event) -> None:
        stage.state = drills.advance(stage.state, event, policy).state

    fold(ActionFinished(at=at(3), command=stage.drill.command, status=ActionStatus.SUCCEEDED))
    assert stage.drill.live
    stage.state = replace(stage.state, incidents=Map({incident.id: incident}))
    fold(IncidentChanged(at=at(5), incident=incident.id))
    assert stage.drill.state is DrillState.FINISHED
    assert stage.drill.results[0].actual == pytest.approx(4.0)


ACKNOWLEDGED_IN_TIME = Objective(name="acknowledge", limit=20.0, hard=True)


@pytest.mark.parametrize(
    ("ends", "page", "met", "passed"),
    [
        (19.0, PageState.CLOSED, None, None),
        (19.0, PageState.UNDELIVERED, False, False),
        (21.5, PageState.CLOSED, False, False),
    ],
)
def test_an_acknowledgement_is_missed_only_when_its_time_was_up(
    ends: float, page: PageState, met: bool | None, passed: bool | None
) -> None:
    """Nobody missed anything when the drill was over before the limit."""
    scenario = replace(
        SCENARIO, expires=ends, objectives=(*SCENARIO.objectives, ACKNOWLEDGED_IN_TIME), expected_fault=""
    )
    policy = replace(POLICY, scenarios=Map({"kill": scenario}))
    stage = Stage(healthy())
    stage.policy = policy
    stage.start()
    stage.finish(1)
    stage.raise_fault(1.5)
    drill = replace(stage.drill, incidents=("INC-0001",))
    told = Page(id="PAGE-0001", incident="INC-0001", state=page, policy="emergency")
    stage.state = replace(stage.state, drills=Map({drill.id: drill}), pages=Map({told.id: told}))
    stage.verified(2)
    stage.finish(3)
    stage.fold(TimerFired(at=at(ends)))
    assert not stage.drill.live
    result = next(item for item in stage.drill.results if item.name == "acknowledge")
    assert (result.actual, result.met) == (None, met)
    assert stage.drill.passed is passed
    assert stage.drill.score == pytest.approx(1.0 if met is None else 4 / 5), (
        "what was not measured has no weight"
    )


def test_every_fact_of_a_drill_is_marked() -> None:
    stage = injected()
    stage.raise_fault(1.5)
    stage.verified(2)
    stage.finish(3)
    assert stage.facts
    assert all(fact.drill for fact in stage.facts)


WALLS = {Phase.FREEZING: 1.8, Phase.FENCING: 2.0, Phase.CONFIRMING_FENCE: 2.3, Phase.REDIRECTING: 2.4}


@pytest.mark.parametrize(("counted", "kept"), [(0.7, True), (0.5, False)])
def test_what_the_switch_took_is_held_against_what_the_configuration_counts(
    counted: float, kept: bool
) -> None:
    """The fence from its freeze to its proof, repetitions included; told whatever it is, and no part of the score."""
    stage = Stage(healthy())
    budget = TimeBudget(detect=1.0, decide=0.02, fence=counted, redirect=0.2, edge_timer=0.3)
    rules = group_policy(name="platform", budget=budget)
    stage.policy = replace(POLICY, groups=Map({"platform": rules}))
    stage.start()
    stage.finish(1)
    stage.raise_fault(1.5)
    again = (str(Phase.FENCING), 1_000_002.2)  # read back, then fenced again
    walls = [(str(phase), 1_000_000.0 + seconds) for phase, seconds in WALLS.items()]
    walls = [*walls[:2], again, *walls[2:], (str(Phase.VERIFYING), 1_000_002.5)]
    switch = Switch(
        id="SW-0001",
        verb=SwitchVerb.FAILOVER,
        origin="primary",
        target="backup",
        epoch=2,
        automatic=True,
        walls=tuple(walls),
    )
    group = Group(name="platform", active="primary", phase=Phase.VERIFYING, switch=switch)
    stage.state = replace(stage.state, groups=Map({"platform": group}))
    stage.fold(TimerFired(at=at(2.5)))
    stage.verified(2.8)
    stage.finish(3)
    assert not stage.drill.live
    results = {result.name: result for result in stage.drill.results}
    assert results["fence"].actual == pytest.approx(0.6)
    assert (results["fence"].limit, results["fence"].met) == (counted, kept)
    assert results["redirect"].actual == pytest.approx(0.1)
    assert results["redirect"].met is True
    assert (stage.drill.score, stage.drill.passed) == (1.0, True)
    finished = dict(stage.facts[-1].data)
    assert finished["fence_seconds"] == pytest.approx(0.6)


def test_folding_the_log_gives_the_live_state() -> None:
    stage = injected()
    stage.raise_fault(1.5)
    stage.verified(2)
    stage.finish(3)
    logged = [item for fact in stage.facts for item in fact.changed if isinstance(item, Drill)]
    assert logged[-1] == stage.drill
