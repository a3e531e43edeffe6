"""How many calls an incident cost, counted at the edges while it lasts. Pure; called by the incident stage.

The edges count INVITEs by side, not by caller: one that the edge carried over to the other side counts as failed at the
first and as answered at the second, and nothing ties the two together. So what is known are bounds:

    failed - answered_aside <= calls lost to callers <= failed

Calls fail before their incident is opened, and the last ones time out after it is mitigated. Both belong to it: recent
samples are kept and added from its earliest onset on, and for `GRACE` seconds after the mitigation what sides other
than the active one still report is added.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controller.model.calls import CallCount, CallSample, CallTally, call_rate
from controller.model.events import Event, IncidentChanged, LeadershipTaken, Measured, Started
from controller.model.incidents import Incident, IncidentState
from controller.model.moments import Moment, Values
from controller.model.policy import ComponentKind, GroupPolicy, Policy
from controller.model.state import State

HORIZON = 60.0
"""Seconds of samples that are kept: the baseline, and what failed before an incident was opened."""

GRACE = 10.0
"""Seconds after the mitigation in which calls sent to the broken side may still time out (RFC 3261 timer B is 32 s,
edges use a few seconds at most)."""


def count(state: State, event: Event, policy: Policy) -> State:
    """The state with this event's calls counted. Other events leave it as it is."""
    match event:
        case Measured():
            return _counted(state, event, policy)
        case IncidentChanged():
            return _changed(state, event)
        case Started() | LeadershipTaken():
            return _restarted(state, event.at)
        case _:
            return state


def calls_lost(state: State, incident: str) -> Values:
    """What to record when an incident is mitigated or resolved: calls_source "edge" with calls_failed, calls_total
    (attempts), calls_answered_aside and calls_partial; "baseline" with the rate alone when no edge was read during it;
    empty when nothing is known. calls_baseline is in calls per second."""
    found = counted(state, incident)
    if found is None:
        return ()
    rate: Values = () if found.baseline is None else (("calls_baseline", round(found.baseline, 3)),)
    if found.polls:
        return (
            ("calls_source", "edge"),
            ("calls_failed", found.failed),
            ("calls_total", found.total),
            ("calls_answered_aside", found.answered_aside),
            ("calls_partial", found.partial),
            *rate,
        )
    return (("calls_source", "baseline"), *rate) if rate else ()


def counted(state: State, incident: str) -> CallCount | None:
    """What its incident is to keep of it; None when nothing was counted."""
    tally = state.call_tallies.get(incident)
    return None if tally is None else tally.so_far


def counted_at(state: State) -> float | None:
    """When the next tally is to be recorded for good, monotonic."""
    return min((tally.due for tally in state.call_tallies.values() if tally.due is not None), default=None)


def settled(state: State, now: float) -> tuple[State, tuple[str, ...]]:
    """The incidents whose last timeouts are in by `now`; each is named once."""
    names = tuple(
        name
        for name, tally in sorted(state.call_tallies.items())
        if tally.due is not None and now >= tally.due
    )
    for name in names:
        tally = state.call_tallies[name]
        state = _keep(state, name, tally._replace(due=None, so_far=tally.so_far._replace(settled=True)))
    return state, names


def _counted(state: State, event: Measured, policy: Policy) -> State:
    component = policy.components.get(event.key.component)
    if component is None or component.kind is not ComponentKind.EDGE:
        return state
    for rules in policy.groups.values():
        if event.key.component in rules.edges:
            state = _sampled(state, event, rules)
    return state


def _sampled(state: State, event: Measured, rules: GroupPolicy) -> State:
    group = state.groups.get(rules.name)
    active = rules.preferred if group is None else group.active
    values = dict(event.values)
    by_side: dict[str, CallSample] = {}
    for side in rules.sides:
        invites = values.get(f"{side.name}.invites")
        if isinstance(invites, int):
            failures, timeouts = values.get(f"{side.name}.failures"), values.get(f"{side.name}.timeouts")
            failed = (failures if isinstance(failures, int) else 0) + (
                timeouts if isinstance(timeouts, int) else 0
            )
            aside = max(0, invites - failed) if side.name != active else 0
            by_side[side.name] = CallSample(event.at.mono, invites, failed, aside)
    if not by_side:
        return state
    sample = _sum(event.at.mono, by_side.values())
    kept = tuple(
        item for item in state.call_samples.get(rules.name, ()) if item.at >= event.at.mono - HORIZON
    )
    state = replace(state, call_samples=state.call_samples.set(rules.name, (*kept, sample)))
    for name, tally in state.call_tallies.items():
        incident = state.incidents.get(name)
        if tally.group != rules.name or incident is None:
            continue
        if not incident.mitigated_wall:
            state = _keep(state, name, _add(tally, sample))
        elif event.at.wall - incident.mitigated_wall <= GRACE:
            # The active side serves callers again; only the broken one's are still this incident's.
            late = [item for side, item in by_side.items() if side != active]
            state = _keep(state, name, _add(tally, _sum(event.at.mono, late)._replace(answered_aside=0)))
    return state


def _changed(state: State, event: IncidentChanged) -> State:
    incident = state.incidents.get(event.incident)
    if incident is None or not incident.open:
        if event.incident in state.call_tallies:
            return replace(state, call_tallies=state.call_tallies.delete(event.incident))
        return state
    tally = state.call_tallies.get(event.incident)
    if tally is not None:
        if incident.state is not IncidentState.MITIGATED:
            going_on = tally._replace(due=None, so_far=tally.so_far._replace(settled=False))
            return _keep(state, incident.id, going_on) if going_on != tally else state
        if tally.due is None and event.at.wall - incident.mitigated_wall < GRACE:
            return _keep(state, incident.id, tally._replace(due=_due(incident, event.at)))
        return state
    if not incident.group or incident.mitigated_wall:
        return state
    return _keep(state, incident.id, _opened(state, incident, event.at))


def _opened(state: State, incident: Incident, at: Moment) -> CallTally:
    onset = incident.onset_earliest_wall or incident.opened_wall
    since = at.mono - max(0.0, at.wall - onset)
    samples = state.call_samples.get(incident.group, ())
    before = call_rate([item for item in samples if item.at < since])
    tally = CallTally(group=incident.group, so_far=CallCount(baseline=before))
    for sample in samples:
        if sample.at >= since:
            tally = _add(tally, sample)
    return tally


def _due(incident: Incident, at: Moment) -> float:
    """When the last timeouts of what is mitigated are in, monotonic."""
    return at.mono + GRACE - min(GRACE, max(0.0, at.wall - incident.mitigated_wall))


def _restarted(state: State, at: Moment) -> State:
    """What was counted is gone, but for what the mitigation kept; until that is settled, what is counted is a part."""
    for incident in state.incidents.values():
        if not incident.open or not incident.group:
            continue
        if not incident.mitigated_wall:
            part = (incident.calls or CallCount())._replace(partial=True, settled=False)
            state = _keep(state, incident.id, CallTally(group=incident.group, so_far=part))
        elif incident.calls is not None and incident.calls.settled:
            state = _keep(state, incident.id, CallTally(group=incident.group, so_far=incident.calls))
        elif incident.calls is not None:
            part = incident.calls._replace(partial=True)
            tally = CallTally(group=incident.group, so_far=part, due=_due(incident, at))
            state = _keep(state, incident.id, tally)
    return state


def _sum(at: float, samples: Iterable[CallSample]) -> CallSample:
    items = list(samples)
    return CallSample(
        at,
        sum(item.total for item in items),
        sum(item.failed for item in items),
        sum(item.answered_aside for item in items),
    )


def _add(tally: CallTally, sample: CallSample) -> CallTally:
    before = tally.so_far
    return tally._replace(
        so_far=before._replace(
            total=before.total + sample.total,
            failed=before.failed + sample.failed,
            answered_aside=before.answered_aside + sample.answered_aside,
            polls=before.polls + 1,
        )
    )


def _keep(state: State, incident: str, tally: CallTally) -> State:
    return replace(state, call_tallies=state.call_tallies.set(incident, tally))
