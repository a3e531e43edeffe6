"""What belongs together in a policy, worked out once: sides, edges, test targets, rules by component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controller.model.policy import Component, FaultRule, GroupPolicy, Policy, RungPolicy


class Place(NamedTuple):
    """A component's seat in a group."""

    group: str
    side: str


class Bias(NamedTuple):
    """Failure domains whose vantages don't judge a side as others do: its own, and those of the other sides."""

    own: str
    opposite: frozenset[str]


UNBIASED = Bias("", frozenset())


class Topology:
    """Read-only once built. `watchers`: whose rules read variables of a component, beside its own."""

    def __init__(self, policy: Policy) -> None:
        self.places: dict[str, Place] = {}
        self.quorum: dict[str, int] = {}
        self.biases: dict[str, Bias] = {}
        self.edge_groups: dict[str, tuple[str, ...]] = {}
        self.landmarks: tuple[str, ...] = ()
        """Sides, edges and test targets: whoever reaches none of them is cut off itself."""
        watchers: dict[str, dict[str, None]] = {}
        landmarks: dict[str, None] = {}
        for _, group in sorted(policy.groups.items()):
            sides = [side.component for side in group.sides]
            for side in group.sides:
                self.places[side.component] = Place(group.name, side.name)
                watchers.setdefault(side.component, {}).update(dict.fromkeys(sides))
                domains = {name: policy.components[name].failure_domain for name in sides}
                opposite = frozenset(domains.values()) - {domains[side.component], ""}
                if domains[side.component] or opposite:
                    self.biases[side.component] = Bias(domains[side.component], opposite)
            for edge in group.edges:
                self.edge_groups[edge] = (*self.edge_groups.get(edge, ()), group.name)
                watchers.setdefault(edge, {}).update(dict.fromkeys(sides))
            if group.echo:
                watchers.setdefault(group.echo, {}).update(dict.fromkeys(sides))
            for name in (*sides, *group.edges, *((group.echo,) if group.echo else ())):
                landmarks[name] = None
                self.quorum[name] = max(group.vantages, self.quorum.get(name, 1))
        self.landmarks = tuple(landmarks)
        self._beside_landmarks = frozenset(self.landmarks) - set(self.places)
        if any(_reads_parent(rule) for rule in policy.rules):
            kinds = {kind for rule in policy.rules if _reads_parent(rule) for kind in rule.kinds}
            for parent, children in policy.children.items():
                reading = {child: None for child in children if policy.components[child].kind in kinds}
                watchers.setdefault(parent, {}).update(reading)
        self.watchers: Mapping[str, tuple[str, ...]] = {
            name: tuple(other for other in others if other != name) for name, others in watchers.items()
        }
        self.redundant: dict[str, tuple[str, ...]] = {}
        for component in policy.components.values():
            if component.redundancy:
                others = self.redundant.get(component.redundancy, ())
                self.redundant[component.redundancy] = (*others, component.name)
        self._rules: dict[tuple[str, bool], tuple[FaultRule, ...]] = {}
        self._all_rules = policy.rules

    def rules(self, component: Component) -> tuple[FaultRule, ...]:
        seat = (str(component.kind), component.name in self.places)
        found = self._rules.get(seat)
        if found is None:
            found = tuple(
                rule
                for rule in self._all_rules
                if component.kind in rule.kinds and (seat[1] or not rule.side_only)
            )
            self._rules[seat] = found
        return found

    def proves_isolation(self, component: str) -> bool:
        """An edge or a test target: both sides down alone may be an outage, not our own cut."""
        return component in self._beside_landmarks


def _reads_parent(rule: FaultRule) -> bool:
    return any(name.startswith("parent.") for term in rule.terms for name in term.when.variables)


_latest: list[tuple[Policy, Topology]] = []


def topology(policy: Policy) -> Topology:
    """A pure function of the policy; the last answer is kept, as it is asked once an event."""
    if not _latest or _latest[0][0] is not policy:
        _latest[:] = [(policy, Topology(policy))]
    return _latest[0][1]


def group_of(policy: Policy, place: Place | None) -> GroupPolicy | None:
    return None if place is None else policy.groups.get(place.group)


def rung_of(policy: Policy, component: str, rung: str) -> RungPolicy | None:
    found = policy.components.get(component)
    return None if found is None else found.rung(rung)
