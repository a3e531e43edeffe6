"""The standing faults and their indexes: by component, by incident, by the parent that explains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from immutables import Map

from controller.model.diagnosis import Diagnosis
from controller.model.faults import Fault, FaultKey
from controller.model.incidents import Incident
from controller.model.state import State

NOBODY: Map[FaultKey, bool] = Map()


def entered(state: State, fault: Fault) -> State:
    """With this fault standing as it now is."""
    key = fault.key
    before = state.faults.get(key)
    diagnosis = state.diagnosis
    if before is not None:
        if before is fault:
            return state
        if before.incident == fault.incident and before.suppressed_by == fault.suppressed_by:
            return replace(state, faults=state.faults.set(key, fault))
        diagnosis = _forgotten(diagnosis, before)
    changes: dict[str, object] = {}
    standing = diagnosis.standing.get(fault.component, ())
    if key not in standing:
        changes["standing"] = diagnosis.standing.set(fault.component, (*standing, key))
    if fault.incident:
        changes["members"] = _added(diagnosis.members, fault.incident, key)
    if fault.suppressed_by:
        changes["followers"] = _added(diagnosis.followers, fault.suppressed_by, key)
    diagnosis = replace(diagnosis, **changes)  # type: ignore[arg-type]
    return replace(state, faults=state.faults.set(key, fault), diagnosis=diagnosis)


def all_entered(state: State, faults: Sequence[Fault]) -> State:
    """`entered` of many new faults at once."""
    diagnosis = state.diagnosis
    known, standing = state.faults.mutate(), diagnosis.standing.mutate()
    members, followers = diagnosis.members, diagnosis.followers
    for fault in faults:
        known[fault.key] = fault
        standing[fault.component] = (*standing.get(fault.component, ()), fault.key)
        if fault.incident:
            members = _added(members, fault.incident, fault.key)
        if fault.suppressed_by:
            followers = _added(followers, fault.suppressed_by, fault.key)
    return replace(
        state,
        faults=known.finish(),
        diagnosis=replace(diagnosis, standing=standing.finish(), members=members, followers=followers),
    )


def left(state: State, fault: Fault) -> State:
    """Without this fault."""
    diagnosis = state.diagnosis
    standing = tuple(key for key in diagnosis.standing.get(fault.component, ()) if key != fault.key)
    by_component = diagnosis.standing
    if standing:
        by_component = by_component.set(fault.component, standing)
    elif fault.component in by_component:
        by_component = by_component.delete(fault.component)
    return replace(
        state,
        faults=state.faults.delete(fault.key),
        diagnosis=replace(
            diagnosis,
            standing=by_component,
            members=_removed(diagnosis.members, fault.incident, fault.key),
            followers=_removed(diagnosis.followers, fault.suppressed_by, fault.key),
        ),
    )


def rebuilt(state: State) -> State:
    """The indexes made again from what is durable."""
    bare = replace(
        state,
        faults=Map(),
        diagnosis=replace(state.diagnosis, standing=Map(), members=Map(), followers=Map()),
    )
    for fault in state.faults.values():
        if fault.active:
            bare = entered(bare, fault)
    roots = {
        root_key(incident.root, incident.drill): incident.id
        for incident in state.incidents.values()
        if incident.open
    }
    return replace(bare, diagnosis=replace(bare.diagnosis, roots=Map(roots)))


def root_key(root: str, drill: bool) -> str:
    """A real fault never joins a drill's incident."""
    return f"drill/{root}" if drill else root


def faults_at(state: State, component: str) -> tuple[Fault, ...]:
    return tuple(state.faults[key] for key in state.diagnosis.standing.get(component, ()))


def cause_at(state: State, component: str) -> Fault | None:
    """The standing fault that can explain others' there: one that is not itself explained."""
    return next((fault for fault in faults_at(state, component) if not fault.suppressed_by), None)


def members(state: State, incident: Incident | str) -> Map[FaultKey, bool]:
    name = incident if isinstance(incident, str) else incident.id
    return state.diagnosis.members.get(name, NOBODY)


def leading(state: State, incident: str) -> tuple[Fault, ...]:
    """The faults of an incident that no other one explains."""
    keys = members(state, incident)
    return tuple(fault for key in sorted(keys) if not (fault := state.faults[key]).suppressed_by)


def _forgotten(diagnosis: Diagnosis, fault: Fault) -> Diagnosis:
    return replace(
        diagnosis,
        members=_removed(diagnosis.members, fault.incident, fault.key),
        followers=_removed(diagnosis.followers, fault.suppressed_by, fault.key),
    )


def _added(index: Map[str, Map[FaultKey, bool]], name: str, key: FaultKey) -> Map[str, Map[FaultKey, bool]]:
    return index.set(name, index.get(name, NOBODY).set(key, True))


def _removed(index: Map[str, Map[FaultKey, bool]], name: str, key: FaultKey) -> Map[str, Map[FaultKey, bool]]:
    found = index.get(name)
    if found is None or key not in found:
        return index
    rest = found.delete(key)
    return index.set(name, rest) if rest else index.delete(name)
