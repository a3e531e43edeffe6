"""The escalation stage: who is told, by which channel, again and again until somebody acknowledges.

Invariants:
- every page ends acknowledged, closed with its incident, or undelivered after the last round, within
  sum(after) + (rounds + 1) x its longest gap of its last beginning (I8);
- a page that ends undelivered is renewed, at longer gaps, for as long as its incident is open;
- an acknowledgement ends the page in the same commit: no later event pages anybody about it again;
- a node that can't prove leadership sends nothing; what came due meanwhile is sent when it can again;
- the first page of a SEV1 is never throttled.
"""

from __future__ import annotations

from controller.core.draft import Draft
from controller.core.paging.deadlines import due, notified, restarted
from controller.core.paging.opening import catch_up, incident_changed, run_failed, switched, wanted
from controller.core.paging.paging import active, end
from controller.model.events import (
    Event,
    IncidentChanged,
    LeadershipTaken,
    LeaseChanged,
    NotificationFinished,
    OperatorAcknowledged,
    PageWanted,
    RunEnded,
    Started,
    SwitchEnded,
    TimerFired,
)
from controller.model.pages import PageState
from controller.model.policy import Policy
from controller.model.state import Decision, State


def advance(state: State, event: Event, policy: Policy) -> Decision:
    draft = Draft(state, event.at, policy)
    match event:
        case IncidentChanged():
            incident_changed(draft, event)
        case PageWanted():
            wanted(draft, event)
        case SwitchEnded():
            switched(draft, event)
        case RunEnded() if not event.succeeded:
            run_failed(draft, event)
        case OperatorAcknowledged():
            for page in active(draft.state):
                if event.incident in (page.incident, page.id):
                    end(draft, page, PageState.ACKNOWLEDGED, by=event.by, via=event.via)
        case NotificationFinished():
            notified(draft, event)
        case Started() | LeadershipTaken():
            restarted(draft)
        case LeaseChanged() if event.deadline is not None:
            catch_up(draft)
            due(draft)
        case TimerFired():
            due(draft)
        case _:
            pass
    return draft.decision()


def wake_at(state: State, policy: Policy) -> float | None:
    return min((page.next_due for page in active(state) if page.next_due is not None), default=None)


def unscheduled(state: State) -> tuple[str, ...]:
    """Live pages without a next time: a page nobody would ever hear of again. Empty, or the controller is not well."""
    return tuple(page.id for page in active(state) if page.next_due is None)
