"""The verdict stage: what each vantage says becomes one word per rung; values, live traffic and beats are kept.

A beat makes no fact and costs the same whatever is watched.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from immutables import Map

from controller.core.diagnosis import traffic
from controller.core.diagnosis.vantages import (
    BAD,
    RETURN_GRACE,
    isolated,
    mark,
    reader,
    recount,
    seat,
    verdict,
)
from controller.core.draft import Draft
from controller.core.topology import UNBIASED, rung_of, topology
from controller.model.events import (
    Event,
    HealthChanged,
    LadderFinished,
    LeadershipLost,
    LeadershipTaken,
    LeaseChanged,
    Measured,
    Started,
    TimerFired,
    VantageBeat,
    VantageLost,
)
from controller.model.facts import FactKind
from controller.model.health import HealthState, Measurement, Outcome, ProbeResult, RungKey, Vantage
from controller.model.moments import Values
from controller.model.policy import Policy
from controller.model.state import Decision, RungView, State

SAME_RESULT = 0.05
"""Seconds within which an answer to a ladder is the result that was reported on its way already."""


def advance(state: State, event: Event, policy: Policy) -> Decision:
    match event:
        case HealthChanged():
            return _health(state, event, policy)
        case Measured():
            measured = Measurement(event.at.mono, event.up, event.outcome, event.values)
            return Decision(
                state=_measured(_seen(state, event.vantage, event.at.mono), event, measured, policy)
            )
        case LadderFinished():
            return Decision(state=_answered(state, event, policy))
        case VantageBeat():
            return _beat(state, event, policy)
        case VantageLost():
            return _silent(Draft(state, event.at, policy), event.vantage, event.reason)
        case TimerFired():
            return _timer(state, event, policy)
        case LeaseChanged():
            return _lease(state, event, policy)
        case LeadershipTaken():
            return _leads(state, event, policy)
        case LeadershipLost():
            return _follows(state, event, policy)
        case Started():
            draft = Draft(replace(state, node=event.node, started_at=event.at.mono), event.at, policy)
            data: Values = (("recovered", event.recovered), ("revision", policy.revision))
            draft.record(FactKind.CONTROLLER_STARTED, event.node, data=data)
            return draft.decision()
        case _:
            return Decision(state=state)


def wake_at(state: State, policy: Policy) -> float | None:
    deadlines = [
        vantage.last_beat + policy.beat_timeout
        for vantage in state.vantages.values()
        if vantage.live or vantage.isolated
    ]
    deadlines.extend(
        vantage.returning + RETURN_GRACE
        for vantage in state.vantages.values()
        if vantage.isolated and vantage.returning
    )
    if state.gap_until:
        deadlines.append(state.gap_until)
    return min(deadlines, default=None)


@lru_cache(maxsize=1024)
def _said(words: Map[str, HealthState], vantage: str, word: HealthState) -> Map[str, HealthState]:
    """One for all rungs of which the same is said, as of most of ten thousand."""
    return words.set(vantage, word)


def _known(policy: Policy, key: RungKey) -> RungKey:
    """In the policy's own words: those of each event are copies, which would stay as long as the state."""
    component = policy.components.get(key.component)
    rung = None if component is None else component.rung(key.rung)
    return key if component is None or rung is None else RungKey(component.name, rung.name)


def _health(state: State, event: HealthChanged, policy: Policy) -> Decision:
    state = _seen(state, event.vantage, event.at.mono)
    layout = topology(policy)
    key, component = event.key, event.key.component
    before = state.rungs.get(key, _UNSEEN)
    if before is _UNSEEN:
        key = _known(policy, key)
    by_vantage = _said(before.by_vantage, event.vantage, event.current)
    word = verdict(state, by_vantage, layout.quorum.get(component, 1), layout.biases.get(component, UNBIASED))
    first_bad = 0.0
    if word is not HealthState.UP:
        onsets = [moment for moment in (before.first_bad, event.first_bad) if moment]
        first_bad = min(onsets, default=0.0)
    # A vantage that takes its word back, all its probes being void, explains nothing of what the others still say.
    heard = before if event.outcome is Outcome.VOID and word is not HealthState.UNKNOWN else event
    view = RungView(
        state=word,
        by_vantage=by_vantage,
        outcome=heard.outcome,
        code=heard.code,
        failures=heard.failures,
        flapping=event.flapping,
        since=before.since if word is before.state else event.at.mono,
        last_good=max(before.last_good, event.last_good),
        first_bad=first_bad,
        note=heard.note,
    )
    rungs = state.rungs.set(key, view)
    broken = state.broken
    if (word in BAD) is not (before.state in BAD) or component in broken:
        broken = mark(policy, rungs, broken, component)
    state = replace(state, rungs=rungs, broken=broken)
    if event.values:
        rung = rung_of(policy, component, key.rung)
        if rung is not None and not rung.reports_values:
            up = event.current not in BAD
            measured = Measurement(event.at.mono, up, event.outcome, event.values)
            state = replace(state, measurements=state.measurements.set(key, measured))
    elif event.outcome is not Outcome.VOID:
        state = _superseded(state, key, policy)
    if component not in layout.quorum:
        return Decision(state=state)
    draft = Draft(state, event.at, policy)
    fell, rose = (
        word is HealthState.DOWN and before.state not in BAD,
        word is HealthState.UP and before.state in BAD,
    )
    if fell or rose:
        data: Values = (
            ("rung", key.rung),
            ("previous", str(before.state)),
            ("current", str(word)),
            ("outcome", str(event.outcome)),
            ("code", event.code),
            ("vantage", event.vantage),
            ("note", event.note),
        )
        draft.record(FactKind.HEALTH_CHANGED, component, data=data)
    _isolation(draft, event)
    return draft.decision()


_UNSEEN = RungView()


def _superseded(state: State, key: RungKey, policy: Policy) -> State:
    """What an experiment once measured is older than what its prober says now, and nothing else would renew it."""
    rung = rung_of(policy, key.component, key.rung)
    if rung is None or rung.reports_values or rung.on_demand or key not in state.measurements:
        return state
    return replace(state, measurements=state.measurements.delete(key))


def _isolation(draft: Draft, event: HealthChanged) -> None:
    vantage = draft.state.vantages[event.vantage]
    if vantage.isolated:
        if event.current is HealthState.UP and not vantage.returning:
            draft.state = seat(draft.state, vantage._replace(returning=draft.at.mono))
    elif event.current is HealthState.DOWN and isolated(draft.state, draft.policy, vantage.name):
        cut = vantage._replace(live=False, isolated=True)
        draft.state = recount(seat(draft.state, cut), draft.policy, cut.name, draft.at.mono)
        draft.record(FactKind.VANTAGE_LOST, cut.name, data=(("reason", "isolated"),))


def _returned(draft: Draft, vantage: Vantage) -> None:
    """Something answered it a while ago: it counts again, unless that was all."""
    if isolated(draft.state, draft.policy, vantage.name):
        draft.state = seat(draft.state, vantage._replace(returning=0.0))
        return
    back = vantage._replace(live=True, isolated=False, returning=0.0)
    draft.state = recount(seat(draft.state, back), draft.policy, back.name, draft.at.mono)
    draft.record(FactKind.VANTAGE_RETURNED, back.name, data=(("reason", "no longer isolated"),))


def _seen(state: State, vantage: str, at: float) -> State:
    """A vantage nobody introduced counts from its first word on."""
    if vantage in state.vantages:
        return state
    return seat(state, Vantage(name=vantage, live=True, last_beat=at))


def _measured(state: State, event: Measured, measured: Measurement, policy: Policy) -> State:
    if event.up is None:
        return state
    key = event.key
    previous = state.measurements.get(key)
    layout = topology(policy)
    groups = layout.edge_groups.get(key.component)
    if groups is not None and event.up and reader(state, layout, key) == event.vantage:
        rung = rung_of(policy, key.component, key.rung)
        interval = 1.0 if rung is None else rung.interval
        began = event.at.mono - interval
        if previous is not None and previous.up:
            began = previous.at
        diagnosis = replace(
            state.diagnosis,
            traffic=traffic.extended(
                state.diagnosis.traffic,
                key.component,
                tuple(policy.groups[name] for name in groups),
                began,
                event.at.mono,
                event.values,
            ),
        )
        state = replace(state, diagnosis=diagnosis)
    measured = measured._replace(failures=_failures(previous, event.up, event.outcome))
    return replace(state, measurements=state.measurements.set(key, measured))


def _failures(previous: Measurement | None, up: bool | None, outcome: Outcome) -> int:
    if up:
        return 0
    return 1 if previous is None or previous.outcome is not outcome else previous.failures + 1


def _answered(state: State, event: LadderFinished, policy: Policy) -> State:
    for result in event.results:
        if result.up is not None:
            state = _result(state, result, policy)
    return state


def _result(state: State, result: ProbeResult, policy: Policy) -> State:
    previous = state.measurements.get(result.key)
    rung = rung_of(policy, result.key.component, result.key.rung)
    if previous is not None and previous.at >= result.finished_at:
        # Reported on its way already, or something newer is: only the time it was sent is news.
        if previous.at - result.finished_at > SAME_RESULT or previous.outcome is not result.outcome:
            return state
        known = previous._replace(sent_at=result.sent_at)
        return replace(state, measurements=state.measurements.set(result.key, known))
    values = result.values
    if result.code and "code" not in dict(values):
        values = (*values, ("code", result.code))
    measured = Measurement(
        result.finished_at,
        result.up,
        result.outcome,
        values,
        result.sent_at,
        _failures(previous, result.up, result.outcome),
    )
    return replace(state, measurements=state.measurements.set(result.key, measured)) if rung else state


def _beat(state: State, event: VantageBeat, policy: Policy) -> Decision:
    known = state.vantages.get(event.vantage)
    if known is not None and (known.live or known.isolated):
        beaten = known._replace(last_beat=event.at.mono, lag=event.lag, failure_domain=event.failure_domain)
        return Decision(state=seat(state, beaten))
    draft = Draft(state, event.at, policy)
    back = Vantage(
        name=event.vantage,
        live=True,
        last_beat=event.at.mono,
        lag=event.lag,
        failure_domain=event.failure_domain,
    )
    if known is not None:
        back = back._replace(isolated=known.isolated, returning=known.returning)
    draft.state = seat(state, back)
    if known is not None:
        draft.state = recount(draft.state, policy, back.name, event.at.mono)
        draft.record(FactKind.VANTAGE_RETURNED, back.name, data=(("reason", "beats again"),))
    return draft.decision()


def _silent(draft: Draft, name: str, reason: str) -> Decision:
    vantage = draft.state.vantages.get(name)
    if vantage is None or not (vantage.live or vantage.isolated):
        return draft.decision()
    draft.state = seat(draft.state, vantage._replace(live=False, isolated=False))
    draft.state = recount(draft.state, draft.policy, name, draft.at.mono)
    draft.record(FactKind.VANTAGE_LOST, name, data=(("reason", reason),))
    return draft.decision()


def _timer(state: State, event: TimerFired, policy: Policy) -> Decision:
    draft = Draft(state, event.at, policy)
    now = event.at.mono
    if event.gap > policy.timer_gap:
        # Whatever was in flight is as old as the gap; a beat that waited in the queue is no silence.
        draft.state = replace(state, gap_until=now + policy.timer_gap)
        for _, vantage in sorted(state.vantages.items()):
            if vantage.live or vantage.isolated:
                draft.state = seat(draft.state, vantage._replace(last_beat=now))
        draft.record(FactKind.TIMER_GAP, state.node, data=(("gap", event.gap),))
    elif state.gap_until and now >= state.gap_until:
        draft.state = replace(state, gap_until=0.0)
    for _, vantage in sorted(draft.state.vantages.items()):
        if (vantage.live or vantage.isolated) and now - vantage.last_beat >= policy.beat_timeout:
            _silent(draft, vantage.name, "no heartbeat")
        elif vantage.isolated and vantage.returning and now >= vantage.returning + RETURN_GRACE:
            _returned(draft, vantage)
    return draft.decision()


def _leads(state: State, event: LeadershipTaken, policy: Policy) -> Decision:
    draft = Draft(
        replace(state, lease_deadline=event.deadline, following=False, leader=state.node), event.at, policy
    )
    data: Values = (("taken_over", len(event.aggregates)),)
    draft.record(FactKind.LEADERSHIP_TAKEN, state.node, data=data, changed=event.aggregates)
    return draft.decision()


def _follows(state: State, event: LeadershipLost, policy: Policy) -> Decision:
    draft = Draft(replace(state, lease_deadline=None, following=True, leader=event.leader), event.at, policy)
    if not state.following:
        data: Values = (("reason", event.reason), ("leader", event.leader))
        draft.record(FactKind.LEADERSHIP_LOST, state.node, data=data)
    return draft.decision()


def _lease(state: State, event: LeaseChanged, policy: Policy) -> Decision:
    draft = Draft(replace(state, lease_deadline=event.deadline), event.at, policy)
    held = state.lease_deadline is not None
    if (event.deadline is not None) is not held:
        kind = FactKind.LEASE_LOST if held else FactKind.LEASE_ACQUIRED
        draft.record(kind, state.node, data=(("held", event.deadline is not None),))
    return draft.decision()
