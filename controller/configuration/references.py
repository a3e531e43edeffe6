"""What no single section can see: names that must exist elsewhere, cycles, and things that can't be right together."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from dataclasses import replace

from controller.configuration.documents import Document, Location
from controller.configuration.groups import GroupEntry
from controller.configuration.node import CoordinationSettings
from controller.configuration.validation import closest
from controller.core.objectives import WorstCase, fits
from controller.core.takeover import Takeover, shortest_hold
from controller.model.errors import Problem
from controller.model.policy import Component, ComponentKind, GroupPolicy

_MOST_CYCLES = 20


def placed(
    components: Mapping[str, Component],
    groups: Mapping[str, tuple[GroupEntry, Document]],
    problems: list[Problem],
) -> dict[str, Component]:
    """The components with their group and side. Edges and the echo get the group without a side."""
    found = dict(components)
    for name, (entry, document) in groups.items():
        for side, item in entry.sides.items():
            component = found.get(item.component)
            if component is None:
                continue
            if component.side:
                problems.append(
                    document.problem(
                        ("sides", side, "component"),
                        f"{component.name} is already the side {component.side} of the group {component.group}",
                    )
                )
            else:
                found[item.component] = replace(component, group=name, side=side)
        roles: list[tuple[str, ComponentKind, Location]] = [
            (edge, ComponentKind.EDGE, ("edges", index)) for index, edge in enumerate(entry.edges)
        ]
        if entry.echo:
            roles.append((entry.echo, ComponentKind.ECHO, ("echo",)))
        for member, kind, path in roles:
            component = found.get(member)
            if component is None:
                continue
            if component.kind is not kind:
                problems.append(
                    document.problem(path, f"{member} is a component of kind {component.kind}, not {kind}")
                )
            elif not component.group:
                found[member] = replace(component, group=name)
    return found


def check_dependencies(
    components: Mapping[str, Component], places: Mapping[str, Document], problems: list[Problem]
) -> dict[str, tuple[str, ...]]:
    """parent -> its dependents. Problems: parents that do not exist, and cycles."""
    children: dict[str, list[str]] = {}
    graph: dict[str, set[str]] = {}
    reported: set[tuple[str, int, str]] = set()
    for name, component in components.items():
        for index, parent in enumerate(component.depends_on):
            if parent in places:
                children.setdefault(parent, []).append(name)
                graph.setdefault(name, set()).add(parent)
                continue
            problem = places[name].problem(
                ("depends_on", index), f"unknown component {parent!r}{closest(parent, places)}"
            )
            if (problem.file, problem.line, problem.path) not in reported:
                reported.add((problem.file, problem.line, problem.path))
                problems.append(problem)
    for _ in range(_MOST_CYCLES):
        try:
            graphlib.TopologicalSorter(graph).prepare()
            break
        except graphlib.CycleError as error:
            # Each name depends on the one before it: graphlib lists a cycle from a predecessor on.
            cycle: list[str] = list(reversed(error.args[1]))
            start = cycle.index(min(cycle))
            ring = [*cycle[:-1][start:], *cycle[:-1][:start]]
            if cycle.index(min(cycle)) == len(cycle) - 1:
                ring = cycle[:-1]
            first, second = ring[0], ring[1 % len(ring)]
            index = components[first].depends_on.index(second)
            problems.append(
                places[first].problem(
                    ("depends_on", index), f"a cycle: {' depends on '.join([*ring, first])}"
                )
            )
            graph[first].discard(second)
    return {parent: tuple(names) for parent, names in children.items()}


def warn_of_group(group: GroupPolicy, worst: WorstCase, document: Document, warnings: list[Problem]) -> None:
    """Warns about what will make it refuse to arm or to switch."""
    if group.verification is None:
        warnings.append(
            document.problem(
                (), f"{group.name} has no verification: a switch of it can't be proved by a call"
            )
        )
    if not group.edges:
        warnings.append(
            document.problem(
                (), f"{group.name} has no edges: live traffic can't be the second kind of evidence"
            )
        )
    if not fits(group):
        warnings.append(
            document.problem(
                ("rto",),
                f"{group.name} can't be armed: its worst case of {worst.budget.total:.3f} s is over the RTO of"
                f" {group.rto:g} s",
            )
        )


def check_holds(
    groups: Mapping[str, GroupPolicy],
    documents: Mapping[str, Document],
    coordination: CoordinationSettings,
    problems: list[Problem],
) -> None:
    """An address that is dropped in every election of etcd is worse than one that is never switched."""
    if coordination.kind != "etcd":
        return
    needed = shortest_hold(coordination.election)
    for name, group in groups.items():
        held: float | None = getattr(group.driver_parameters, "hold_time", None)
        if held is not None and held < needed:
            problems.append(
                documents[name].problem(
                    ("driver", "with", "hold_time"),
                    f"{held:g} s is under {needed:g} s, twice what an election of etcd may take with its timeout of"
                    f" {coordination.election:g} s (node.coordination.election): start its members with a shorter one"
                    " and say so there, or hold for longer",
                )
            )


def warn_of_takeover(
    groups: Mapping[str, GroupPolicy],
    worst_cases: Mapping[str, WorstCase],
    documents: Mapping[str, Document],
    coordination: CoordinationSettings,
    warnings: list[Problem],
) -> None:
    """A group that keeps its RTO only while no controller is lost may be armed, but whoever arms it is to know."""
    takeover = takeover_of(coordination)
    if takeover is None:
        return
    for name, group in groups.items():
        total = worst_cases[name].budget.total
        if not fits(group):
            continue  # warned of already
        beyond = [
            f"{total + gap:.3f} s when {lost} is lost as well"
            for lost, gap in (
                ("the controller that leads", takeover.gap),
                ("etcd's leader", takeover.stall),
            )
            if total + gap > group.rto
        ]
        if beyond:
            warnings.append(
                documents[name].problem(
                    ("rto",),
                    f"{name} keeps its RTO of {group.rto:g} s only while the controllers themselves are whole: its worst"
                    f" case is {' and '.join(beyond)}",
                )
            )


def takeover_of(coordination: CoordinationSettings) -> Takeover | None:
    """None with one controller: nobody takes over."""
    if coordination.kind != "etcd":
        return None
    return Takeover(
        ttl=coordination.ttl,
        renewal=coordination.renewal,
        timeout=coordination.timeout,
        election=coordination.election,
    )


def check_redundancy(
    components: Mapping[str, Component], places: Mapping[str, Document], warnings: list[Problem]
) -> None:
    members: dict[str, list[str]] = {}
    for name, component in components.items():
        if component.redundancy:
            members.setdefault(component.redundancy, []).append(name)
    for redundancy, names in members.items():
        if len(names) == 1:
            warnings.append(
                places[names[0]].problem(
                    ("redundancy",), f"{names[0]} is the only member of the redundancy group {redundancy}"
                )
            )
