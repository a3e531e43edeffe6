"""Readiness: what a side lacks to take over, from fresh evidence only."""

from __future__ import annotations

from collections.abc import Iterator

from controller.model.groups import Group, Refusal
from controller.model.health import HealthState, RungKey
from controller.model.moments import Moment
from controller.model.policy import GroupPolicy, Policy, ReadinessItem
from controller.model.state import State

BAD = frozenset({HealthState.DOWN, HealthState.RECOVERING})
"""SUSPECT still counts as up: one lost reply of a standby must not end a failover."""


def items(policy: Policy, rules: GroupPolicy, target: str) -> tuple[ReadinessItem, ...]:
    """What is asked of this side: the declared items, without those about the other side; where none are declared,
    the whole of its own ladder."""
    side = rules.side(target)
    component = "" if side is None else side.component
    if rules.readiness:
        others = {other.component for other in rules.sides} - {component}
        return tuple(item for item in rules.readiness if item.key is None or item.key.component not in others)
    found = policy.components.get(component)
    ladder = () if found is None else found.ladder
    return tuple(
        ReadinessItem(name=rung.name, key=RungKey(component, rung.name))
        for rung in ladder
        if not rung.on_demand
    )


def shortcomings(
    state: State, at: Moment, policy: Policy, rules: GroupPolicy, group: Group, target: str
) -> frozenset[Refusal]:
    """TARGET_NOT_READY for what is known to be wrong, UNKNOWN_DATA for what is not known freshly enough."""
    return frozenset(reason for _, reason in lacking(state, at, policy, rules, group, target))


def lacking(
    state: State, at: Moment, policy: Policy, rules: GroupPolicy, group: Group, target: str
) -> Iterator[tuple[str, Refusal]]:
    """Each item that is not satisfied, by name, and why."""
    side = rules.side(target)
    component = "" if side is None else side.component
    if target in group.fenced:
        yield "fenced", Refusal.TARGET_NOT_READY
    if rung := state.broken.get(component):
        yield rung, Refusal.TARGET_NOT_READY
    asked = items(policy, rules, target)
    if not asked:
        yield "readiness", Refusal.UNKNOWN_DATA
    for item in asked:
        if item.manual:
            if not any(
                check.name == item.name and check.until_wall > at.wall for check in group.manual_checks
            ):
                yield item.name, Refusal.TARGET_NOT_READY
        elif item.key is not None:
            reason = _rung(state, at, policy, item.key, item.freshness)
            if reason is not None:
                yield item.name, reason


def unbroken(state: State, policy: Policy, component: str) -> bool:
    """Nothing of the scheduled ladder is down, on its way up, or unknown."""
    found = policy.components.get(component)
    if found is None or state.broken.get(component):
        return False
    for rung in found.ladder:
        if rung.on_demand:
            continue
        view = state.rungs.get(RungKey(component, rung.name))
        if view is None or view.state in BAD or view.state is HealthState.UNKNOWN:
            return False
    return True


def down(state: State, policy: Policy, component: str) -> bool:
    """The side is known to be broken: not merely short of readiness."""
    found = policy.components.get(component)
    views = [
        state.rungs.get(RungKey(component, rung.name)) for rung in (found.ladder if found is not None else ())
    ]
    return bool(state.broken.get(component)) or any(
        view is not None and view.state is HealthState.DOWN for view in views
    )


def _rung(state: State, at: Moment, policy: Policy, key: RungKey, freshness: float) -> Refusal | None:
    component = policy.components.get(key.component)
    rung = None if component is None else component.rung(key.rung)
    if rung is None:
        return Refusal.UNKNOWN_DATA
    view = state.rungs.get(key)
    measured = state.measurements.get(key)
    if view is not None and view.state in BAD:
        return Refusal.TARGET_NOT_READY
    if rung.on_demand:
        if measured is None or measured.up is None:
            return Refusal.UNKNOWN_DATA
        if not measured.up:
            return Refusal.TARGET_NOT_READY
    elif view is None or view.state is HealthState.UNKNOWN or not _watched(state, key):
        return Refusal.UNKNOWN_DATA
    if measured is None or not (rung.on_demand or rung.reports_values):
        return None
    # A rung that is probed less often than it must be fresh would never be.
    limit = max(freshness, 2 * rung.interval)
    return Refusal.UNKNOWN_DATA if at.mono - measured.at > limit else None


def _watched(state: State, key: RungKey) -> bool:
    """A live vantage vouches for it: an unchanged verdict is renewed by its prober's progress."""
    view = state.rungs.get(key)
    return view is not None and any(
        name in state.vantages and state.vantages[name].live for name in view.by_vantage
    )
