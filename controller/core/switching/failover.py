"""The failover stage: one recovery at a time a group, in the design's order.

    permit -> (precheck -> drain) -> freeze -> fence old -> confirm fenced -> promote -> redirect -> verify -> end

`requests` permits or refuses; `phases` carries a switch through; `compensation` goes back; `endings` ends;
`reconciliation` keeps a group at rest as it should be; `arming` and `settlement` hear persons.
"""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.switching import arming, phases, reconciliation, requests, settlement
from controller.model.events import (
    ActionFinished,
    Event,
    HealthChanged,
    LadderFinished,
    LeadershipTaken,
    LeaseChanged,
    Measured,
    OperatorArmed,
    OperatorPlacedHold,
    OperatorReleasedGroup,
    OperatorReleasedHold,
    OperatorRequestedSwitch,
    OperatorTickedReadiness,
    Started,
    SwitchWanted,
)
from controller.model.groups import Group
from controller.model.policy import Policy
from controller.model.state import Decision, State


def advance(state: State, event: Event, policy: Policy) -> Decision:
    if isinstance(event, Measured):
        return Decision(state=state)
    if isinstance(event, HealthChanged):
        return _health(state, event, policy)
    draft = Draft(state, event.at, policy)
    arming.expire(draft)
    match event:
        case Started():
            for group in _known(draft):
                _restarted(draft, group, recovered=event.recovered)
        case LeadershipTaken():
            for group in _known(draft):
                _restarted(draft, group, recovered=True)
        case LeaseChanged() if event.deadline is not None:
            for group in _known(draft):
                arming.withdraw(draft, group)
        case SwitchWanted():
            requests.wanted(draft, event)
        case OperatorRequestedSwitch():
            requests.requested(draft, event)
        case OperatorArmed():
            arming.arm(draft, event)
        case OperatorTickedReadiness():
            arming.tick(draft, event)
        case OperatorPlacedHold():
            arming.hold(draft, event)
        case OperatorReleasedHold():
            arming.release(draft, event)
        case OperatorReleasedGroup():
            settlement.settle(draft, event)
        case ActionFinished():
            for group in _known(draft):
                _answered(draft, group, event)
        case LadderFinished():
            for group in _known(draft):
                if group.switch is not None and group.switch.command == event.command:
                    phases.tested(draft, group, event)
        case _:
            pass
    for group in _known(draft):
        if group.switch is not None:
            if group.switch.due is not None and event.at.mono >= group.switch.due:
                phases.overdue(draft, group)
        else:
            reconciliation.tend(draft, group)
    return draft.decision()


def wake_at(state: State, policy: Policy) -> float | None:
    deadlines: list[float] = []
    for name, group in state.groups.items():
        if name not in policy.groups:
            continue
        if group.switch is not None:
            if group.switch.due is not None:
                deadlines.append(group.switch.due)
            continue
        upkeep = group.upkeep.due if group.upkeep is not None else None
        read = group.read_due if group.reading_back else group.next_read
        deadlines.extend(due for due in (upkeep, read) if due is not None)
    return min(deadlines, default=None)


def _known(draft: Draft) -> tuple[Group, ...]:
    """Groups the configuration still has."""
    return tuple(group for name, group in draft.state.groups.items() if name in draft.policy.groups)


def _answered(draft: Draft, group: Group, event: ActionFinished) -> None:
    if group.switch is not None:
        if group.switch.command == event.command:
            phases.finished(draft, group, event)
    elif group.reading_back == event.command:
        reconciliation.read(draft, group, event)
        requests.go_home(draft, draft.group(group.name))
    elif group.upkeep is not None and group.upkeep.command == event.command:
        reconciliation.kept(draft, group, event)


def _health(state: State, event: HealthChanged, policy: Policy) -> Decision:
    """A standby that breaks, however shortly, begins its stable time again."""
    component = policy.components.get(event.key.component)
    group = state.groups.get(component.group) if component is not None and component.group else None
    if group is None or group.name not in policy.groups:
        return Decision(state=state)
    draft = Draft(state, event.at, policy)
    draft.remember(reconciliation.watched(draft, group))
    return draft.decision()


def _restarted(draft: Draft, group: Group, *, recovered: bool) -> None:
    """Deadlines start again in full. A cooldown may have been running if its switch ended recently by the wall clock,
    which is not trusted to say how recently."""
    rules = draft.rules(group.name)
    since = abs(draft.at.wall - group.ended_wall)
    if recovered and group.ended_wall and since < max(rules.cooldown, rules.window):
        group = draft.remember(replace(group, cooldown_until=draft.at.mono + rules.cooldown))
    if group.switch is not None:
        phases.restarted(draft, group)
    else:
        reconciliation.restarted(draft, group)
