"""Which faults of a group's sides its configuration leaves unseen: every rule for them reads what nothing there offers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from controller.model.faults import FaultKind
from controller.model.policy import Component, FaultRule, GroupPolicy, Policy, Role
from controller.model.variables import COMPONENT, WITHOUT_EDGES


@dataclass(frozen=True, kw_only=True, slots=True)
class Blindness:
    """A fault no rule can name on a side, or with `suspected` only one that acts on nothing. `lacking`: what would tell,
    as conditions name it (role.rung)."""

    fault: FaultKind
    suspected: bool
    lacking: tuple[str, ...]


def blindness(group: GroupPolicy, policy: Policy) -> tuple[Blindness, ...]:
    """In the order of the rules. A fault seen on one side and not on the other counts as unseen."""
    found: dict[FaultKind, Blindness] = {}
    for side in group.sides:
        own = policy.components[side.component]
        peer = policy.components[group.other(side.name).component]
        rules = [rule for rule in policy.rules if own.kind in rule.kinds]
        for fault in dict.fromkeys(rule.fault for rule in rules):
            about = [rule for rule in rules if rule.fault is fault]
            lacks = [(rule, _lacking(rule, group, policy, own, peer)) for rule in about]
            seeing = [rule for rule, lacking in lacks if not lacking]
            acting = [rule for rule in about if rule.actionable]
            if seeing and (not acting or any(rule.actionable for rule in seeing)):
                continue
            lacking = {name for rule, names in lacks if rule.actionable or not seeing for name in names}
            before = found.get(fault)
            found[fault] = Blindness(
                fault=fault,
                suspected=bool(seeing) and (before is None or before.suspected),
                lacking=tuple(sorted(lacking | set(() if before is None else before.lacking))),
            )
    return tuple(found.values())


def _lacking(
    rule: FaultRule, group: GroupPolicy, policy: Policy, own: Component, peer: Component
) -> set[str]:
    """The rungs of terms that can never be true; with one of its variables there an `||` may still hold."""
    lacking: set[str] = set()
    for term in rule.terms:
        variables = term.when.variables
        if variables and all(_lacks(name, group, policy, own, peer) for name in variables):
            lacking |= {_rung(name) for name in variables}
    return lacking


def _lacks(variable: str, group: GroupPolicy, policy: Policy, own: Component, peer: Component) -> bool:
    role, _, rest = variable.partition(".")
    rung = rest.partition(".")[0]
    if role == Role.EDGE:
        edges = [policy.components[name] for name in group.edges]
        return rest not in WITHOUT_EDGES and not _offers(edges, "edge")
    if rest in COMPONENT:
        return False
    if role == Role.SELF:
        return not _offers([own], rung)
    if role == Role.PEER:
        return not _offers([peer], rung)
    if role == Role.ECHO:
        return not _offers([policy.components[group.echo]] if group.echo else [], rung)
    return False  # of parents, of which there may be any


def _offers(components: Collection[Component], rung: str) -> bool:
    return any(component.rung(rung) is not None for component in components)


def _rung(variable: str) -> str:
    """edge.total lacks the edges themselves; echo.call.answered the rung echo.call."""
    return variable.rpartition(".")[0]
