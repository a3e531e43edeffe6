"""The drill stage: put a fault in, time what follows, take it out whatever happens, and score.

The undo is durable before the inject is dispatched; it is repeated until it succeeded; a restart undoes at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controller.model.commands import Command, RunAction
from controller.model.drills import Drill, DrillState, InjectState, Objective, ObjectiveResult, Scenario
from controller.model.events import (
    ActionFinished,
    DrillAborted,
    DrillRequested,
    Event,
    FaultRaised,
    IncidentChanged,
    LeadershipTaken,
    RunEnded,
    Started,
    SwitchEnded,
    TimerFired,
)
from controller.model.facts import Fact, FactKind
from controller.model.groups import Phase, Switch, SwitchOutcome
from controller.model.moments import Moment, Values
from controller.model.pages import PageState
from controller.model.policy import Policy
from controller.model.runs import ActionStatus
from controller.model.state import Decision, State

INJECT_TIMEOUT = 30.0
UNDO_RETRY = 2.0
"""Seconds between attempts to undo an inject."""

UNDO_ATTEMPTS_BEFORE_ALARM = 3


def covering(state: State, component: str, group: str) -> Drill | None:
    """The live drill whose inject explains a fault of this component or group, if any."""
    for drill in state.drills.values():
        if drill.live and drill.inject_state is not InjectState.PLANNED:
            if component == drill.component or (group and group == drill.group):
                return drill
        elif drill.live and component == drill.component:
            return drill
    return None


def advance(state: State, event: Event, policy: Policy) -> Decision:
    if isinstance(event, DrillRequested):
        return _request(state, event, policy)
    live = next((drill for drill in state.drills.values() if drill.live), None)
    if live is None:
        return Decision(state=state)
    drill, facts, commands = live, list[Fact](), list[Command]()
    match event:
        case ActionFinished() if event.command == drill.command:
            return _action_finished(state, drill, event, policy)
        case Started() | LeadershipTaken():
            return _undo(state, replace(drill, abort_reason="controller restarted"), event.at, policy)
        case DrillAborted() if event.drill == drill.id:
            return _undo(
                state, replace(drill, abort_reason=event.reason or f"stopped by {event.by}"), event.at, policy
            )
        case FaultRaised():
            fault = state.faults.get(event.key)
            if fault is None or fault.suppressed_by:
                return Decision(state=state)
            if covering(state, fault.component, fault.group) is None:
                if drill.state is DrillState.INJECTED and fault.actionable:
                    reason = f"a real fault: {event.key}"
                    return _undo(state, replace(drill, abort_reason=reason), event.at, policy)
            elif drill.milestone("detect") is None:
                drill = replace(_reach(drill, "detect", event.at), diagnosed=str(fault.kind))
        case IncidentChanged():
            incident = state.incidents.get(event.incident)
            if incident is not None and incident.drill:
                if incident.id not in drill.incidents:
                    drill = replace(drill, incidents=(*drill.incidents, incident.id))
                if incident.acknowledged_wall:
                    drill = _reach(drill, "acknowledge", event.at)
                if incident.mitigated_wall:
                    drill = _reach(drill, "outage", event.at)
        case SwitchEnded() if event.group == drill.group:
            if event.outcome is SwitchOutcome.VERIFIED:
                drill = _reach(drill, "verify", event.at)
            if drill.state is DrillState.INJECTED:
                return _undo(state, drill, event.at, policy)
        case RunEnded() if event.incident in drill.incidents and drill.state is DrillState.INJECTED:
            return _undo(state, drill, event.at, policy)
        case _:
            pass
    drill = _watch_switch(state, drill, event.at)
    if drill is not live:
        facts.append(_noted(drill, live, event.at))
        state = _keep(state, drill)
    later = _deadlines(state, drill, event, policy)
    return replace(later, facts=(*facts, *later.facts), commands=(*commands, *later.commands))


def wake_at(state: State, policy: Policy) -> float | None:
    deadlines = [
        deadline
        for drill in state.drills.values()
        if drill.live
        for deadline in (None if _undoing(drill) else drill.expires_at, drill.retry_at)
        if deadline is not None
    ]
    return min(deadlines, default=None)


def _undoing(drill: Drill) -> bool:
    return drill.inject_state in (InjectState.UNDOING, InjectState.UNDO_FAILED)


def refusals(state: State, at: Moment, scenario: Scenario | None) -> tuple[str, ...]:
    """Why a drill may not start now. Deny by default: anything that can't be read is a reason."""
    reasons: list[str] = []
    if scenario is None:
        return ("unknown_scenario",)
    if state.lease_deadline is None or at.mono >= state.lease_deadline:
        reasons.append("no_lease")
    if any(drill.live for drill in state.drills.values()):
        reasons.append("drill_in_progress")
    if any(incident.open and not incident.drill for incident in state.incidents.values()):
        reasons.append("open_incident")
    if any(
        hold.until_wall > at.wall and hold.scope in ("*", scenario.group) for hold in state.holds.values()
    ):
        reasons.append("on_hold")
    group = state.groups.get(scenario.group)
    if scenario.group and (group is None or group.phase is not Phase.IDLE):
        reasons.append("group_busy")
    if scenario.component not in state.broken and not any(
        key.component == scenario.component for key in state.rungs
    ):
        reasons.append("unknown_data")
    elif state.broken.get(scenario.component):
        reasons.append("target_already_broken")
    return tuple(reasons)


def _request(state: State, event: DrillRequested, policy: Policy) -> Decision:
    scenario = policy.scenarios.get(event.scenario)
    reasons = refusals(state, event.at, scenario)
    if reasons or scenario is None:
        data: Values = (("request", "drill"), ("scenario", event.scenario), ("reasons", ",".join(reasons)))
        fact = Fact(
            kind=FactKind.REQUEST_REFUSED, at=event.at, subject=event.scenario, actor=event.by, data=data
        )
        return Decision(state=state, facts=(fact,))
    counters, command = state.counters.next("CMD")
    drill_id = event.drill
    if not drill_id:
        counters, drill_id = counters.next("DRILL")
    drill = Drill(
        id=drill_id,
        scenario=scenario.name,
        component=scenario.component,
        group=scenario.group,
        state=DrillState.PREPARING,
        inject_state=InjectState.PLANNED,
        by=event.by,
        inject=scenario.inject,
        undo=scenario.undo,
        started_wall=event.at.wall,
        expires_wall=event.at.wall + scenario.expires,
        expires_at=event.at.mono + scenario.expires,
        command=command,
    )
    started = Fact(
        kind=FactKind.DRILL_STARTED,
        at=event.at,
        subject=drill.id,
        actor=event.by,
        drill=True,
        data=(
            ("scenario", scenario.name),
            ("component", scenario.component),
            ("group", scenario.group),
            ("expires_wall", drill.expires_wall),
            ("undo", scenario.undo[0]),
            ("command", command),
        ),
        changed=(drill, counters),
    )
    inject = _call(drill, command, scenario.inject, disruptive=True)
    return Decision(
        state=_keep(replace(state, counters=counters), drill), facts=(started,), commands=(inject,)
    )


def _action_finished(state: State, drill: Drill, event: ActionFinished, policy: Policy) -> Decision:
    if drill.state is DrillState.PREPARING:
        if event.status in (ActionStatus.SUCCEEDED, ActionStatus.UNKNOWN):
            injected = replace(
                drill,
                state=DrillState.INJECTED,
                inject_state=InjectState.ACTIVE,
                injected_wall=event.at.wall,
                command="",
            )
            fact = _fact(injected, FactKind.DRILL_INJECTED, event.at, (("message", event.message),))
            return Decision(state=_keep(state, injected), facts=(fact,))
        return _undo(state, replace(drill, abort_reason=f"inject failed: {event.message}"), event.at, policy)
    if event.status is ActionStatus.SUCCEEDED:
        undone = replace(
            drill, inject_state=InjectState.UNDONE, undone_wall=event.at.wall, command="", retry_at=None
        )
        fact = _fact(undone, FactKind.DRILL_UNDONE, event.at, (("attempts", drill.undo_attempts),))
        decision = _deadlines(_keep(state, undone), undone, event, policy)
        return replace(decision, facts=(fact, *decision.facts))
    waiting = replace(
        drill,
        inject_state=InjectState.UNDO_FAILED
        if drill.undo_attempts >= UNDO_ATTEMPTS_BEFORE_ALARM
        else InjectState.UNDOING,
        command="",
        retry_at=event.at.mono + UNDO_RETRY,
    )
    fact = _fact(
        waiting,
        FactKind.DRILL_UNDO_FAILED,
        event.at,
        (("attempts", drill.undo_attempts), ("message", event.message)),
    )
    return Decision(state=_keep(state, waiting), facts=(fact,))


def _undo(state: State, drill: Drill, at: Moment, policy: Policy) -> Decision:
    """Dispatch the undo, unless it is under way or done; an unfinished inject counts as in effect."""
    if drill.inject_state is InjectState.UNDONE:
        return _finish(state, drill, at, policy)
    counters, command = state.counters.next("CMD")
    undoing = replace(
        drill,
        state=DrillState.UNDOING,
        inject_state=InjectState.UNDOING,
        command=command,
        undo_attempts=drill.undo_attempts + 1,
        retry_at=None,
    )
    fact = Fact(
        kind=FactKind.DRILL_ABORTED if drill.abort_reason and not drill.undo_attempts else FactKind.NOTE,
        at=at,
        subject=drill.id,
        drill=True,
        data=(("reason", drill.abort_reason), ("undo", drill.undo[0]), ("command", command)),
        changed=(undoing, counters),
    )
    call = _call(undoing, command, drill.undo, disruptive=False)
    return Decision(state=_keep(replace(state, counters=counters), undoing), facts=(fact,), commands=(call,))


def _deadlines(state: State, drill: Drill, event: Event, policy: Policy) -> Decision:
    now = event.at.mono
    if drill.retry_at is not None and now >= drill.retry_at:
        return _undo(state, drill, event.at, policy)
    expired = drill.expires_at is None or now >= drill.expires_at
    if drill.inject_state is InjectState.UNDONE:
        scenario = policy.scenarios.get(drill.scenario)
        waits = scenario is not None and any(item.name == "acknowledge" for item in scenario.objectives)
        if expired or not waits or drill.milestone("acknowledge") is not None:
            return _finish(state, drill, event.at, policy)
    elif expired and isinstance(event, TimerFired) and drill.state is not DrillState.UNDOING:
        return _undo(state, replace(drill, expires_at=None), event.at, policy)
    return Decision(state=state)


def _finish(state: State, drill: Drill, at: Moment, policy: Policy) -> Decision:
    scenario = policy.scenarios.get(drill.scenario)
    objectives = scenario.objectives if scenario is not None else ()
    results = tuple(_judge(state, drill, objective, at) for objective in objectives)
    if scenario is not None and scenario.expected_fault:
        named = drill.diagnosed == scenario.expected_fault
        results += (ObjectiveResult(name="diagnosis", limit=0.0, actual=None, met=named),)
    weights = {objective.name: objective.weight for objective in objectives}
    measured = [result for result in results if result.met is not None]
    total = sum(weights.get(result.name, 1.0) for result in measured)
    score = sum(weights.get(result.name, 1.0) for result in measured if result.met) / total if total else None
    hard = {objective.name for objective in objectives if objective.hard}
    results += _assumptions(drill, policy)
    aborted = bool(drill.abort_reason)
    finished = replace(
        drill,
        state=DrillState.ABORTED if aborted else DrillState.FINISHED,
        finished_wall=at.wall,
        results=results,
        score=None if aborted else score,
        passed=None if aborted else _passed([result for result in results if result.name in hard]),
        command="",
        expires_at=None,
        retry_at=None,
    )
    data: list[tuple[str, str | float | bool | None]] = [
        ("scenario", drill.scenario),
        ("state", str(finished.state)),
        ("score", finished.score),
        ("passed", finished.passed),
        ("diagnosed", drill.diagnosed),
    ]
    data.extend((f"{result.name}_seconds", result.actual) for result in results if result.name != "diagnosis")
    fact = _fact(finished, FactKind.DRILL_FINISHED, at, tuple(data))
    return Decision(state=_keep(state, finished), facts=(fact,))


def _assumptions(drill: Drill, policy: Policy) -> tuple[ObjectiveResult, ...]:
    """What the switch's fence and redirect took, against what the group's worst case counts for them. Findings on the
    configuration, not on how the drill went: they are told and score nothing."""
    group = policy.groups.get(drill.group)
    if group is None or group.budget is None:
        return ()
    counted = {"fence": group.budget.fence, "redirect": group.budget.redirect}
    return tuple(
        ObjectiveResult(name=name, limit=counted[name], actual=seconds, met=seconds <= counted[name])
        for name, seconds in drill.took
    )


def _passed(hard: Iterable[ObjectiveResult]) -> bool | None:
    """One missed fails the drill; one not measured leaves it open."""
    met = [result.met for result in hard]
    return False if False in met else None if None in met else True


def _judge(state: State, drill: Drill, objective: Objective, at: Moment) -> ObjectiveResult:
    """Seconds from the inject to the milestone. One never reached is not met; only people, who are not at fault when the
    drill ends before their time is up, are not measured then."""
    reached = drill.milestone(objective.name)
    actual = None if reached is None or not drill.injected_wall else max(0.0, reached - drill.injected_wall)
    return ObjectiveResult(
        name=objective.name,
        limit=objective.limit,
        actual=actual,
        met=actual <= objective.limit if actual is not None else _unreached(state, drill, objective, at),
    )


def _unreached(state: State, drill: Drill, objective: Objective, at: Moment) -> bool | None:
    if objective.name != "acknowledge":
        return False
    late = bool(drill.injected_wall) and at.wall - drill.injected_wall > objective.limit
    unanswered = any(
        page.incident in drill.incidents and page.state is PageState.UNDELIVERED
        for page in state.pages.values()
    )
    return False if late or unanswered else None


def _watch_switch(state: State, drill: Drill, at: Moment) -> Drill:
    group = state.groups.get(drill.group)
    if group is None or group.switch is None or drill.state is DrillState.PREPARING:
        return drill
    drill = _reach(drill, "decide", at)
    if group.phase is not Phase.VERIFYING or drill.milestone("switch") is not None:
        return drill
    return replace(_reach(drill, "switch", at), took=_took(group.switch))


def _took(switch: Switch) -> tuple[tuple[str, float], ...]:
    """Seconds from the first freeze or fence to the proof, and from there until all is redirected; repetitions count."""
    begun = dict(reversed(switch.walls))  # the first time each phase was entered
    fenced_at = [begun[str(phase)] for phase in (Phase.FREEZING, Phase.FENCING) if str(phase) in begun]
    proved_at = [begun[str(phase)] for phase in (Phase.PROMOTING, Phase.REDIRECTING) if str(phase) in begun]
    verifying = begun.get(str(Phase.VERIFYING))
    if not fenced_at or not proved_at or verifying is None:
        return ()
    return (("fence", min(proved_at) - min(fenced_at)), ("redirect", verifying - min(proved_at)))


def _reach(drill: Drill, name: str, at: Moment) -> Drill:
    if drill.milestone(name) is not None:
        return drill
    return replace(drill, milestones=(*drill.milestones, (name, at.wall)))


def _noted(drill: Drill, before: Drill, at: Moment) -> Fact:
    new: Iterable[tuple[str, float]] = drill.milestones[len(before.milestones) :]
    return _fact(drill, FactKind.NOTE, at, (("milestones", ",".join(name for name, _ in new)),))


def _fact(drill: Drill, kind: FactKind, at: Moment, data: Values) -> Fact:
    return Fact(kind=kind, at=at, subject=drill.id, drill=True, data=data, changed=(drill,))


def _call(drill: Drill, command: str, call: tuple[str, Values], *, disruptive: bool) -> RunAction:
    return RunAction(
        id=command,
        action=call[0],
        parameters=call[1],
        timeout=INJECT_TIMEOUT,
        group=drill.group,
        disruptive=disruptive,
        drill=True,
        reason=f"drill {drill.id}",
    )


def _keep(state: State, drill: Drill) -> State:
    return replace(state, drills=state.drills.set(drill.id, drill))
