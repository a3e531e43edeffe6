"""The retirement stage: what ended long ago leaves the live state. The journal keeps it, and is where it is read from.

Of each kind the newest MOST_ENDED stay for lists and comparisons; an incident goes together with its pages and runs.
Nothing waits for this stage: it looks when a timer fires anyway, so its cost and its memory follow what happens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from controller.core.draft import Draft
from controller.model.drills import Drill
from controller.model.events import Event, TimerFired
from controller.model.facts import FactKind, Gone, aggregate_key
from controller.model.incidents import Incident, IncidentState
from controller.model.pages import Page, PageState
from controller.model.policy import Policy
from controller.model.runs import Run
from controller.model.state import Decision, State

MOST_ENDED = 200
"""Of each kind: incidents, and drills, runs and pages that belong to no incident."""

SETTLED = 3600.0
"""Seconds since its end before anything leaves."""

PAUSE = 60.0
"""Seconds between two looks."""

GONE_IN_A_FACT = 200


def advance(state: State, event: Event, policy: Policy) -> Decision:
    if not isinstance(event, TimerFired) or event.at.mono < state.tidied_at + PAUSE:
        return Decision(state=state)
    known = len(state.incidents) + len(state.runs) + len(state.pages) + len(state.drills)
    if known <= MOST_ENDED or any(drill.live for drill in state.drills.values()):
        return Decision(state=state)
    draft = Draft(replace(state, tidied_at=event.at.mono), event.at, policy)
    leaving = list(_leaving(draft.state, event.at.wall - SETTLED))
    for first in range(0, len(leaving), GONE_IN_A_FACT):
        batch = leaving[first : first + GONE_IN_A_FACT]
        gone = tuple(Gone(key=aggregate_key(aggregate)) for aggregate in batch)
        draft.record(FactKind.RECORDS_RETIRED, state.node, data=(("count", len(batch)),), changed=gone)
    draft.state = _without(draft.state, leaving)
    return draft.decision()


def wake_at(state: State, policy: Policy) -> float | None:
    return None


Ended = Incident | Run | Page | Drill
Kind = TypeVar("Kind", Incident, Run, Page, Drill)


def _leaving(state: State, before: float) -> Iterable[Ended]:
    """What ended before that wall time and is not among the newest of its kind, with what belongs to it."""
    runs, pages = defaultdict[str, list[Run]](list), defaultdict[str, list[Page]](list)
    for run in state.runs.values():
        runs[run.incident if run.incident in state.incidents else ""].append(run)
    for page in state.pages.values():
        pages[page.incident if page.incident in state.incidents else ""].append(page)

    def over(incident: Incident) -> bool:
        merged = incident.state is IncidentState.MERGED and incident.merged_into in state.incidents
        return not (
            incident.open
            or merged  # a link to it leads on to the other one
            or any(run.live for run in runs[incident.id])
            or any(page.state is PageState.ACTIVE for page in pages[incident.id])
        )

    incidents = [(item.resolved_wall, item) for item in state.incidents.values() if over(item)]
    for incident in _older(incidents, before):
        yield incident
        yield from runs[incident.id]
        yield from pages[incident.id]
    yield from _older([(run.finished_wall, run) for run in runs[""] if not run.live], before)
    yield from _older(
        [
            (page.acknowledged_wall or page.opened_wall, page)
            for page in pages[""]
            if page.state is not PageState.ACTIVE
        ],
        before,
    )
    yield from _older([(drill.finished_wall, drill) for drill in state.drills.values()], before)


def _older(ended: list[tuple[float, Kind]], before: float) -> list[Kind]:
    newest_first = sorted(ended, key=lambda item: (-item[0], item[1].id))
    return [item for wall, item in newest_first[MOST_ENDED:] if wall < before]


def _without(state: State, leaving: Iterable[Ended]) -> State:
    incidents, runs = state.incidents.mutate(), state.runs.mutate()
    pages, drills = state.pages.mutate(), state.drills.mutate()
    for item in leaving:
        match item:
            case Incident():
                del incidents[item.id]
            case Run():
                del runs[item.id]
            case Page():
                del pages[item.id]
            case Drill():
                del drills[item.id]
    return replace(
        state,
        incidents=incidents.finish(),
        runs=runs.finish(),
        pages=pages.finish(),
        drills=drills.finish(),
    )
