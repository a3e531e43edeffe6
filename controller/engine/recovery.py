"""From what the journal gives back to the state the engine starts with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from immutables import Map

from controller.model.drills import Drill
from controller.model.encoding import plain
from controller.model.facts import Aggregate, Counters, Gone, aggregate_key
from controller.model.faults import Fault, FaultKey
from controller.model.groups import Group, Hold
from controller.model.incidents import Incident
from controller.model.moments import Moment
from controller.model.pages import Page
from controller.model.policy import Policy
from controller.model.runs import Run
from controller.model.state import State


def durable(state: State, policy: Policy) -> tuple[Aggregate, ...]:
    """What of a state survives a restart: the inverse of `restore`. Groups that still are as they started, but for
    what is seen again, and an unused counter were never recorded and are left out."""
    groups = [
        group
        for name, group in state.groups.items()
        if name not in policy.groups
        or plain(group) != plain(Group(name=name, active=policy.groups[name].preferred))
    ]
    counters = (state.counters,) if state.counters != Counters() else ()
    return (
        *state.faults.values(),
        *state.incidents.values(),
        *state.runs.values(),
        *groups,
        *state.pages.values(),
        *state.drills.values(),
        *state.holds.values(),
        *counters,
    )


def restore(node: str, aggregates: Iterable[Aggregate], policy: Policy, now: Moment) -> State:
    """Durable state as it was recorded; nothing monotonic survives. A group the journal has never seen starts on
    its preferred side, unarmed, at epoch 0; one that the configuration no longer has is kept, for the record."""
    faults: dict[FaultKey, Fault] = {}
    incidents: dict[str, Incident] = {}
    runs: dict[str, Run] = {}
    groups: dict[str, Group] = {
        name: Group(name=name, active=group.preferred) for name, group in policy.groups.items()
    }
    pages: dict[str, Page] = {}
    drills: dict[str, Drill] = {}
    holds: dict[str, Hold] = {}
    counters = Counters()
    for aggregate in aggregates:
        match aggregate:
            case Fault():
                faults[aggregate.key] = aggregate
            case Incident():
                incidents[aggregate.id] = aggregate
            case Run():
                runs[aggregate.id] = aggregate
            case Group():
                groups[aggregate.name] = aggregate
            case Page():
                pages[aggregate.id] = aggregate
            case Drill():
                drills[aggregate.id] = aggregate
            case Hold():
                holds[aggregate.scope] = aggregate
            case Counters():
                counters = aggregate
            case Gone():
                continue
    return State(
        node=node,
        started_at=now.mono,
        faults=Map(faults),
        incidents=Map(incidents),
        runs=Map(runs),
        groups=Map(groups),
        pages=Map(pages),
        drills=Map(drills),
        holds=Map(holds),
        counters=counters,
    )


def succession(state: State, coordinated: Iterable[Aggregate], policy: Policy) -> tuple[Aggregate, ...]:
    """What changes for a node that takes over: the coordinated aggregates, this node's own faults that they lack, and
    a `Gone` for everything else of its own. Its own view of faults never replaces the one an incident was made of.

    Where nothing was coordinated yet, its own state is what the others will find."""
    coordinated = tuple(coordinated)
    if not coordinated:
        return durable(state, policy)
    taken = {aggregate_key(aggregate): aggregate for aggregate in coordinated}
    for aggregate in durable(state, policy):
        key = aggregate_key(aggregate)
        if key not in taken:
            taken[key] = aggregate if isinstance(aggregate, Fault) else Gone(key=key)
    return tuple(taken[key] for key in sorted(taken))


def succeeded(state: State, aggregates: Iterable[Aggregate], policy: Policy, now: Moment) -> State:
    """The state of a node that has just taken over: what is durable is as given, what it has seen itself is kept."""
    restored = restore(state.node, aggregates, policy, now)
    return replace(
        state,
        following=False,
        faults=restored.faults,
        incidents=restored.incidents,
        runs=restored.runs,
        groups=restored.groups,
        pages=restored.pages,
        drills=restored.drills,
        holds=restored.holds,
        counters=restored.counters,
        call_tallies=restored.call_tallies,
    )
