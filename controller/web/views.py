"""What readers get to see, as JSON-ready values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controller.engine.loop import Snapshot
from controller.model.encoding import plain
from controller.model.facts import Entry, entry_payload
from controller.model.groups import Group
from controller.model.health import HealthState, RungKey
from controller.model.incidents import Incident
from controller.model.moments import Moment


def entry_view(entry: Entry) -> Mapping[str, object]:
    """A timeline entry without the aggregates, which are the controller's own bookkeeping."""
    decoded = json.loads(entry.payload)
    decoded.pop("changed", None)
    return entry_payload(entry, decoded)


def incident_view(incident: Incident, snapshot: Snapshot) -> dict[str, Any]:
    state = snapshot.state
    view: dict[str, Any] = plain(incident)
    component = snapshot.policy.components.get(incident.root)
    group = snapshot.policy.groups.get(incident.root) or snapshot.policy.groups.get(incident.group)
    view["title"] = plain(component.title if component else group.title if group else None)
    view["faults"] = [plain(fault) for fault in state.faults.values() if fault.incident == incident.id][:200]
    view["runs"] = [plain(state.runs[run]) for run in incident.runs if run in state.runs]
    view["pages"] = [plain(page) for page in state.pages.values() if page.incident == incident.id]
    return view


def group_view(group: Group, snapshot: Snapshot, now: Moment) -> dict[str, Any]:
    view: dict[str, Any] = plain(group)
    policy = snapshot.policy.groups.get(group.name)
    view["configured"] = policy is not None
    cooldown = group.cooldown_until
    view["cooldown_seconds"] = max(0.0, round(cooldown - now.mono, 1)) if cooldown is not None else 0.0
    if policy is not None:
        view["title"] = plain(policy.title)
        view["preferred"] = policy.preferred
        view["profile"] = policy.profile.value
        view["rto"] = policy.rto
        view["worst_case"] = round(policy.budget.total, 3) if policy.budget else None
        view["sides"] = [
            {
                "name": side.name,
                "component": side.component,
                "active": side.name == group.active,
                "health": component_health(side.component, snapshot),
                "broken_rung": snapshot.state.broken.get(side.component, ""),
            }
            for side in policy.sides
        ]
    return view


def component_health(name: str, snapshot: Snapshot) -> str:
    """DOWN with a broken rung, UP when every rung seen is up, else UNKNOWN or what the worst rung says."""
    component = snapshot.policy.components.get(name)
    if component is None:
        return HealthState.UNKNOWN.value
    if snapshot.state.broken.get(name):
        return HealthState.DOWN.value
    states = [
        view.state
        for rung in component.ladder
        if not rung.on_demand
        if (view := snapshot.state.rungs.get(RungKey(name, rung.name))) is not None
    ]
    for state in (HealthState.DOWN, HealthState.RECOVERING, HealthState.SUSPECT, HealthState.UNKNOWN):
        if state in states:
            return state.value
    return HealthState.UP.value if states else HealthState.UNKNOWN.value


def component_view(name: str, snapshot: Snapshot) -> dict[str, Any]:
    component = snapshot.policy.components[name]
    rungs: dict[str, Any] = {}
    for rung in component.ladder:
        view = snapshot.state.rungs.get(RungKey(name, rung.name))
        measured = snapshot.state.measurements.get(RungKey(name, rung.name))
        rungs[rung.name] = {
            "probe": rung.probe,
            "state": view.state.value if view else HealthState.UNKNOWN.value,
            "outcome": view.outcome.value if view else "",
            "code": view.code if view else 0,
            "note": view.note if view else "",
            "flapping": view.flapping if view else False,
            "values": dict(measured.values) if measured else {},
        }
    return {
        "name": name,
        "kind": component.kind.value,
        "title": plain(component.title),
        "group": component.group,
        "side": component.side,
        "health": component_health(name, snapshot),
        "broken_rung": snapshot.state.broken.get(name, ""),
        "faults": [fault.kind.value for fault in snapshot.state.faults.values() if fault.component == name],
        "rungs": rungs,
    }


def status_view(snapshot: Snapshot, now: Moment, head: str, *, journal_failing: bool) -> dict[str, Any]:
    """The wallboard: sides, open incidents, approvals waiting, holds, drills, the controller's own health."""
    state = snapshot.state
    health: dict[str, int] = {}
    for name in snapshot.policy.components:
        key = component_health(name, snapshot)
        health[key] = health.get(key, 0) + 1
    incidents = [incident for incident in state.incidents.values() if incident.open]
    return {
        "node": state.node,
        "time": now.wall,
        "configuration": snapshot.policy.name,
        "revision": snapshot.policy.revision,
        "leader": state.lease_deadline is not None and now.mono < state.lease_deadline,
        "observing_only": now.mono < state.gap_until or journal_failing,
        "journal": {"sequence": snapshot.sequence, "head": head, "failing": journal_failing},
        "vantages": [
            {"name": vantage.name, "live": vantage.live, "lag_ms": round(vantage.lag * 1000, 1)}
            for vantage in state.vantages.values()
        ],
        "health": health,
        "groups": [group_view(group, snapshot, now) for group in state.groups.values()],
        "incidents": [
            incident_view(incident, snapshot)
            for incident in sorted(incidents, key=lambda item: (item.severity, -item.opened_wall))
        ],
        "holds": [plain(hold) for hold in state.holds.values() if hold.until_wall > now.wall],
        "drills": [plain(drill) for drill in state.drills.values() if drill.live],
        "runs": [plain(run) for run in state.runs.values() if run.live],
    }
