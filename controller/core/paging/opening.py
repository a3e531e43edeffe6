"""What begins a page: an incident, a run that asks or stops, the end of a switch; and that one may not be sent."""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.paging.paging import (
    UNSENT,
    active,
    again,
    change,
    channels,
    end,
    may_page,
    page_level,
    update,
)
from controller.model.events import IncidentChanged, PageWanted, RunEnded, SwitchEnded
from controller.model.facts import FactKind
from controller.model.faults import Severity
from controller.model.groups import SwitchOutcome
from controller.model.incidents import Incident, IncidentState
from controller.model.pages import Page, PageReason, PageState
from controller.model.runbooks import Text
from controller.model.runs import RunState
from controller.model.state import State


def incident_changed(draft: Draft, event: IncidentChanged) -> None:
    incident = draft.state.incidents.get(event.incident)
    if incident is None:
        return
    live = [page for page in active(draft.state) if page.incident == incident.id]
    updates = [page for page in live if page.update]
    live = [page for page in live if not page.update]
    if not incident.open:
        for page in (*live, *updates):
            end(draft, page, PageState.CLOSED)
        return
    acknowledged = [page for page in live if page.opened_wall <= incident.acknowledged_wall]
    for page in acknowledged:
        end(draft, page, PageState.ACKNOWLEDGED, by=incident.acknowledged_by)
    for page in live:
        if page not in acknowledged and incident.severity < page.severity:
            again(draft, replace(page, severity=int(incident.severity)), PageReason.WORSE)
    if not live:
        _open_for(draft, incident, opened=event.opened)


def _open_for(draft: Draft, incident: Incident, *, opened: bool) -> None:
    """Open a page if this severity pages, and nobody was paged for this incident at this severity or a worse one."""
    escalation = draft.policy.escalation
    reason = ""
    if escalation is None:
        reason = "no_escalation_policy"
    elif incident.severity not in escalation.severities:
        reason = "below_policy"
    elif not may_page(draft):
        reason = "no_lease"
    if reason:
        if opened:
            draft.record(
                FactKind.PAGE_WITHHELD,
                incident.id,
                data=(("reason", reason), ("severity", int(incident.severity))),
                incident=incident.id,
                drill=incident.drill,
            )
        return
    before = [page.severity for page in draft.state.pages.values() if page.incident == incident.id]
    if _relapsed(draft.state, incident):
        _open(draft, incident, PageReason.RELAPSED, "incident")
    elif (not before and not incident.acknowledged_wall) or (before and incident.severity < min(before)):
        _open(draft, incident, PageReason.WORSE if before else PageReason.OPENED, "incident")


def _relapsed(state: State, incident: Incident) -> bool:
    """Whether callers feel again what was acknowledged and then over, and no page says so yet."""
    pages = [page for page in state.pages.values() if page.incident == incident.id]
    return (
        incident.state is IncidentState.OPEN
        and incident.acknowledged_wall > 0.0
        and not any(
            _waits(page) or page.opened_wall > incident.acknowledged_wall for page in pages if not page.update
        )
    )


def wanted(draft: Draft, event: PageWanted) -> None:
    need = Text(zh=event.need_zh or event.need_en, en=event.need_en or event.need_zh)
    asked = need if need.zh else None
    incident = draft.state.incidents.get(event.incident)
    severity = int(incident.severity if incident is not None else Severity.SEV2)
    for page in active(draft.state):
        if event.incident and page.incident == event.incident and not page.update:
            again(draft, replace(page, need=asked, severity=min(severity, page.severity)), PageReason.ASKED)
            return
    _opened(draft, event.incident, severity, asked, event.drill, PageReason.OPENED, event.by)


def run_failed(draft: Draft, event: RunEnded) -> None:
    """Somebody acknowledged and trusts the machine, and the machine has just stopped: tell them."""
    run, incident = draft.state.runs.get(event.run), draft.state.incidents.get(event.incident)
    if run is None or incident is None or not incident.open:
        return
    if run.state not in (RunState.FAILED, RunState.NEEDS_PERSON):
        return
    pages = [page for page in draft.state.pages.values() if page.incident == incident.id]
    if pages and not any(_waits(page) for page in pages):
        _open(draft, incident, PageReason.RUN_STOPPED, event.run)


def _waits(page: Page) -> bool:
    """Whether it goes on until somebody acknowledges it."""
    return page.state is PageState.ACTIVE and not page.update


TELLING = frozenset(
    {SwitchOutcome.VERIFIED, SwitchOutcome.COMPENSATED, SwitchOutcome.FAILED, SwitchOutcome.NEEDS_PERSON}
)


def switched(draft: Draft, event: SwitchEnded) -> None:
    """Whoever was paged hears at once how it ended, for as long as callers felt it until now. Nobody has to
    acknowledge good news twice."""
    if event.outcome not in TELLING:
        return
    for incident in sorted(draft.state.incidents.values(), key=lambda incident: incident.id):
        if (
            not incident.open
            or incident.group != event.group
            or incident.mitigated_wall not in (0.0, draft.at.wall)
        ):
            continue
        pages = sorted(
            (page for page in draft.state.pages.values() if page.incident == incident.id),
            key=lambda page: page.id,
        )
        waiting = [page for page in pages if _waits(page)]
        for page in waiting:
            again(draft, page, PageReason.SWITCHED)
        if waiting or not pages:
            continue
        if event.outcome is SwitchOutcome.VERIFIED:
            people = dict.fromkeys(
                item.person for page in pages for item in page.deliveries if item.state not in UNSENT
            )
            _update(draft, incident, tuple(people))
        else:
            _open(draft, incident, PageReason.SWITCHED, event.switch)


def _update(draft: Draft, incident: Incident, people: tuple[str, ...]) -> None:
    escalation = draft.policy.escalation
    if escalation is None or not may_page(draft) or not people:
        return
    page = Page(
        id=draft.number("PAGE"),
        incident=incident.id,
        state=PageState.ACTIVE,
        policy=escalation.name,
        severity=int(incident.severity),
        reason=PageReason.SWITCHED,
        update=True,
        drill=incident.drill,
        opened_wall=draft.at.wall,
    )
    page = change(
        draft, FactKind.PAGE_OPENED, page, ("severity", page.severity), ("reason", str(page.reason))
    )
    update(draft, page, people, escalation)


def _open(draft: Draft, incident: Incident, why: PageReason, by: str) -> None:
    _opened(draft, incident.id, int(incident.severity), None, incident.drill, why, by)


def _opened(
    draft: Draft, incident: str, severity: int, need: Text | None, drill: bool, why: PageReason, by: str
) -> None:
    """`by`: the incident, the run, the switch or the group that asks for it."""
    escalation = draft.policy.escalation
    if escalation is None or not may_page(draft):
        draft.record(
            FactKind.PAGE_WITHHELD,
            incident or by,
            data=(
                ("reason", "no_escalation_policy" if escalation is None else "no_lease"),
                ("severity", severity),
            ),
            incident=incident,
            drill=drill,
        )
        return
    page = Page(
        id=draft.number("PAGE"),
        incident=incident,
        state=PageState.ACTIVE,
        policy=escalation.name,
        severity=severity,
        need=need,
        reason=why,
        drill=drill,
        opened_wall=draft.at.wall,
        repeat_due=draft.at.mono + escalation.repeat,
    )
    page = change(draft, FactKind.PAGE_OPENED, page, ("severity", severity), ("reason", by))
    if not any(channels(draft.policy, name) for level in escalation.levels for name in level.people):
        end(draft, page, PageState.UNDELIVERED, why="nobody_has_a_channel")
        return
    page_level(draft, page, escalation)


def catch_up(draft: Draft) -> None:
    """What was opened while this node might not page."""
    known = {page.incident for page in draft.state.pages.values()}
    missed = [
        incident
        for incident in draft.state.incidents.values()
        if incident.open and (incident.id not in known or _relapsed(draft.state, incident))
    ]
    for incident in sorted(missed, key=lambda incident: (incident.severity, incident.id)):
        _open_for(draft, incident, opened=False)
