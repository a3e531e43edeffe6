"""What becomes of a page with time: a sending that ended or did not, the next round, the next level, another beginning."""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.paging.paging import (
    RECHECK,
    active,
    again,
    change,
    climb,
    delivered,
    end,
    gap,
    keep,
    may_page,
    page_everybody,
    page_level,
    told,
)
from controller.model.events import NotificationFinished
from controller.model.facts import FactKind
from controller.model.pages import DeliveryState, Page, PageReason, PageState
from controller.model.policy import Escalation


def notified(draft: Draft, event: NotificationFinished) -> None:
    for page in draft.state.pages.values():
        for item in page.deliveries:
            if item.command == event.command:
                delivered(draft, page, item, event.state, event.message)
                return


def due(draft: Draft) -> None:
    """Everything whose time has come, the gravest and least told pages first."""
    now, escalation = draft.at.mono, draft.policy.escalation
    waiting = [page for page in active(draft.state) if page.next_due is not None and page.next_due <= now]
    for page in sorted(waiting, key=lambda page: (page.severity, told(page), page.id)):
        if escalation is None or not may_page(draft):
            _postpone(draft, page)
            continue
        for item in page.deliveries:
            if item.due is not None and item.due <= now:
                message = f"no answer within {escalation.delivery_timeout:g} s"
                delivered(draft, draft.state.pages[page.id], item, DeliveryState.FAILED, message)
        page = draft.state.pages[page.id]
        if page.state is not PageState.ACTIVE:
            continue
        if page.escalate_due is not None and page.escalate_due <= now:
            page_level(draft, climb(draft, page, "no_acknowledgement"), escalation)
        page = draft.state.pages[page.id]
        if page.repeat_due is not None and page.repeat_due <= now:
            if page.round >= escalation.rounds and page.level >= len(escalation.levels) - 1:
                end(draft, page, PageState.UNDELIVERED, why="nobody_acknowledged")
                _renew(draft, page, escalation)
            else:
                again(draft, page, page.postponed or PageReason.UNACKNOWLEDGED)


def _renew(draft: Draft, before: Page, escalation: Escalation) -> None:
    """Its end is on record; an incident that is open and that nobody acknowledged is not kept quiet about."""
    incident = draft.state.incidents.get(before.incident)
    if incident is None or not incident.open:
        return
    page = Page(
        id=draft.number("PAGE"),
        incident=before.incident,
        state=PageState.ACTIVE,
        policy=escalation.name,
        severity=before.severity,
        need=before.need,
        level=before.level,
        renewed=before.renewed + 1,
        reason=PageReason.UNACKNOWLEDGED,
        drill=before.drill,
        opened_wall=draft.at.wall,
    )
    page = replace(page, repeat_due=draft.at.mono + gap(page, escalation))
    data = (("severity", page.severity), ("reason", before.id))
    page_everybody(draft, change(draft, FactKind.PAGE_OPENED, page, *data), escalation)


def _postpone(draft: Draft, page: Page) -> None:
    """Not leader: look again soon. Only deadlines move, so there is no fact."""
    now = draft.at.mono

    def later(due: float | None) -> float | None:
        return now + RECHECK if due is not None and due <= now else due

    keep(
        draft,
        replace(
            page,
            repeat_due=later(page.repeat_due),
            escalate_due=later(page.escalate_due),
            deliveries=tuple(replace(item, due=later(item.due)) for item in page.deliveries),
        ),
    )


def restarted(draft: Draft) -> None:
    """Deadlines begin anew in full. A sending that was under way died with the process: it is repeated at once."""
    escalation = draft.policy.escalation
    for page in active(draft.state):
        lost = [item for item in page.deliveries if item.state is DeliveryState.PENDING]
        if escalation is None:
            end(draft, page, PageState.UNDELIVERED, why="no_escalation_policy")
            continue
        if page.update:
            end(draft, page, PageState.CLOSED, why="controller restarted")
            continue
        highest = len(escalation.levels) - 1
        if page.level > highest:  # the policy has fewer levels than before
            page = replace(page, level=highest)
            page = change(
                draft, FactKind.PAGE_ESCALATED, page, ("level", highest), ("reason", "policy_changed")
            )
        page = replace(
            page,
            repeat_due=draft.at.mono + (0.0 if lost or not page.deliveries else gap(page, escalation)),
            escalate_due=draft.at.mono + escalation.levels[page.level].after
            if page.level < highest
            else None,
            postponed=PageReason.RESTARTED if lost else page.postponed,
        )
        for item in lost:
            failed = replace(item, state=DeliveryState.FAILED, message="the controller restarted")
            page = change(
                draft,
                FactKind.PAGE_DELIVERY,
                replace(
                    page,
                    deliveries=tuple(
                        failed if one.command == item.command else one for one in page.deliveries
                    ),
                ),
                ("person", item.person),
                ("channel", item.channel),
                ("command", item.command),
                ("state", str(DeliveryState.FAILED)),
                ("message", failed.message),
            )
        keep(draft, page)
