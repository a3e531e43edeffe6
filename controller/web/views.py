"""What readers get to see, as JSON-ready values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

from controller.engine.loop import Snapshot
from controller.model.encoding import plain
from controller.model.facts import Entry, entry_payload
from controller.model.groups import Group
from controller.model.health import HealthState, RungKey
from controller.model.incidents import Incident
from controller.model.moments import Moment
from controller.model.pages import Page, PageState
from controller.model.runs import Run

MINUTE = 60.0
"""Seconds."""

MOST_FAULTS = 200
"""Of an incident that are shown."""


def entry_view(entry: Entry) -> Mapping[str, object]:
    """A timeline entry without the aggregates, which are the controller's own bookkeeping."""
    decoded = json.loads(entry.payload)
    decoded.pop("changed", None)
    return entry_payload(entry, decoded)


def wall_of(due: float | None, now: Moment) -> float:
    """A deadline of the state as Unix seconds, for people; 0.0 when there is none."""
    return now.wall + (due - now.mono) if due is not None else 0.0


def page_view(page: Page, snapshot: Snapshot, now: Moment) -> dict[str, Any]:
    """With when it goes on, and what each person is called."""
    view: dict[str, Any] = plain(page)
    view["repeats_wall"] = wall_of(page.repeat_due, now)
    view["escalates_wall"] = wall_of(page.escalate_due, now)
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for delivery in view["deliveries"]:
        delivery["display"] = display(delivery["person"], snapshot)
        before = latest.pop((delivery["person"], delivery["channel"]), None)
        times = before["times"] + 1 if before is not None else 1
        latest[delivery["person"], delivery["channel"]] = {**delivery, "times": times}
    view["latest"] = list(reversed(latest.values()))  # of each person's channels, the newest first
    return view


def run_view(run: Run, snapshot: Snapshot, now: Moment) -> dict[str, Any]:
    view: dict[str, Any] = plain(run)
    book = snapshot.policy.runbooks.get(run.runbook)
    view["title"] = plain(book.title) if book is not None else None
    for record, step in zip(run.steps, view["steps"], strict=True):
        step["due_wall"] = wall_of(record.due, now)
    return view


def display(person: str, snapshot: Snapshot) -> str:
    """What a person of the configuration is called; anybody else by the account's name."""
    known = snapshot.policy.people.get(person)
    return known.display if known is not None else person


def incident_view(incident: Incident, snapshot: Snapshot, now: Moment) -> dict[str, Any]:
    state = snapshot.state
    view: dict[str, Any] = plain(incident)
    component = snapshot.policy.components.get(incident.root)
    group = snapshot.policy.groups.get(incident.root) or snapshot.policy.groups.get(incident.group)
    view["title"] = plain(component.title if component else group.title if group else None)
    faults = (fault for fault in state.faults.values() if fault.incident == incident.id)
    view["faults"] = [plain(fault) for fault in islice(faults, MOST_FAULTS)]
    # A run that has just started is not yet among the incident's own.
    runs = [run for run in state.runs.values() if run.incident == incident.id or run.id in incident.runs]
    view["runs"] = [
        run_view(run, snapshot, now) for run in sorted(runs, key=lambda run: (run.started_wall, run.id))
    ]
    unfinished = {run.id for run in runs if run.live}
    view["kept_open_by"] = [name for name in incident.kept_open_by if name in unfinished]
    pages = [page for page in state.pages.values() if page.incident == incident.id]
    view["pages"] = [
        page_view(page, snapshot, now) for page in sorted(pages, key=lambda page: page.opened_wall)
    ]
    return view


def group_view(group: Group, snapshot: Snapshot, now: Moment) -> dict[str, Any]:
    view: dict[str, Any] = plain(group)
    policy = snapshot.policy.groups.get(group.name)
    view["configured"] = policy is not None
    view["standby_seconds"] = (
        max(0.0, round(now.mono - group.standby_since, 1)) if group.standby_since is not None else None
    )
    view["calls"] = call_figures(group.name, snapshot, now)
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
                "title": _title(side.component, snapshot),
                "lines": component.lines
                if (component := snapshot.policy.components.get(side.component))
                else 0,
                "health": component_health(side.component, snapshot),
                "broken_rung": snapshot.state.broken.get(side.component, ""),
            }
            for side in policy.sides
        ]
    return view


def call_figures(group: str, snapshot: Snapshot, now: Moment) -> dict[str, float | None]:
    """What the edges counted of live calls in the last minute; None where they counted nothing."""
    samples = [item for item in snapshot.state.call_samples.get(group, ()) if now.mono - item.at <= MINUTE]
    if len(samples) < 2:
        return {"failed_per_minute": None, "answer_rate": None}
    # The first sample's calls belong to the window before it.
    total, failed = (sum(item.total for item in samples[1:]), sum(item.failed for item in samples[1:]))
    span = samples[-1].at - samples[0].at
    return {
        "failed_per_minute": round(failed * MINUTE / span, 1) if span > 0 else None,
        "answer_rate": round(1 - failed / total, 4) if total else None,
    }


def _title(component: str, snapshot: Snapshot) -> Any:
    known = snapshot.policy.components.get(component)
    return plain(known.title) if known is not None else None


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


def status_view(
    snapshot: Snapshot, now: Moment, head: str, *, health: Mapping[str, int], journal_failing: bool
) -> dict[str, Any]:
    """The wallboard: sides, open incidents, approvals waiting, holds, drills, the controller's own health.

    `health`: how many components are in which.
    """
    state = snapshot.state
    incidents = [incident for incident in state.incidents.values() if incident.open]
    return {
        "node": state.node,
        "time": now.wall,
        "configuration": snapshot.policy.name,
        "revision": snapshot.policy.revision,
        "leader": state.lease_deadline is not None and now.mono < state.lease_deadline,
        "led_by": state.leader,
        "observing_only": now.mono < state.gap_until or journal_failing,
        "journal": {"sequence": snapshot.sequence, "head": head, "failing": journal_failing},
        "vantages": [
            {"name": vantage.name, "live": vantage.live, "lag_ms": round(vantage.lag * 1000, 1)}
            for vantage in state.vantages.values()
        ],
        "health": dict(health),
        "groups": [group_view(group, snapshot, now) for group in state.groups.values()],
        "incidents": [
            incident_view(incident, snapshot, now)
            for incident in sorted(incidents, key=lambda item: (item.severity, -item.opened_wall))
        ],
        "holds": [plain(hold) for hold in state.holds.values() if hold.until_wall > now.wall],
        "drills": [plain(drill) for drill in state.drills.values() if drill.live],
        "runs": [run_view(run, snapshot, now) for run in state.runs.values() if run.live],
        "pages": [
            page_view(page, snapshot, now)
            for page in state.pages.values()
            if page.state is PageState.ACTIVE and not page.incident
        ],
        "on_call": [
            {
                "level": index,
                "after": level.after,
                "people": [
                    {
                        "name": name,
                        "display": display(name, snapshot),
                        "channels": [channel.name for channel in person.channels] if person else [],
                    }
                    for name in level.people
                    for person in (snapshot.policy.people.get(name),)
                ],
            }
            for index, level in enumerate(
                snapshot.policy.escalation.levels if snapshot.policy.escalation is not None else ()
            )
        ],
    }
