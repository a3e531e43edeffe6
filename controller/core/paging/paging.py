"""Rounds, levels and channels of one page: whom it goes to next, and by which channel.

In a round everybody of the levels reached so far is paged by their first channel; a channel that fails hands over to
the person's next one; a level nobody of which can be reached hands over to the next level at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controller.core.draft import Draft
from controller.core.paging.page_text import compose
from controller.model.commands import Notify
from controller.model.facts import FactKind
from controller.model.faults import Severity
from controller.model.moments import Value
from controller.model.pages import Delivery, DeliveryState, Page, PageReason, PageState
from controller.model.policy import Channel, Escalation, Policy
from controller.model.state import State

RECHECK = 1.0
"""Seconds between two looks at whether this node may page again."""

THROTTLE_WINDOW = 60.0

LONGEST_GAP = 900.0
"""Seconds between two rounds that nobody answers, at most (or `repeat`, if that is longer): a hundred rounds a day."""

FAILED = (DeliveryState.FAILED, DeliveryState.FAILED_PERMANENTLY)
NO_NEWS = (PageReason.UNACKNOWLEDGED, PageReason.RESTARTED)
UNSENT = (DeliveryState.BUNDLED, DeliveryState.SUPERSEDED)


def page_level(draft: Draft, page: Page, escalation: Escalation) -> None:
    """Page everybody of the page's level; a level on which nobody can be reached is passed at once."""
    while page.level < len(escalation.levels):
        level = escalation.levels[page.level]
        last = page.level == len(escalation.levels) - 1
        page = keep(draft, replace(page, escalate_due=None if last else draft.at.mono + level.after))
        for person in level.people:
            page = _notify(draft, page, person, escalation)
        if last or not _unreachable(page, escalation):
            return
        page = climb(draft, page, "nobody_reachable")


def gap(page: Page, escalation: Escalation) -> float:
    """Seconds to the next round. Doubles with every round of a page that was renewed."""
    if not page.renewed:
        return escalation.repeat
    doubled = (page.renewed - 1) * (escalation.rounds + 1) + page.round + 1
    longest = max(LONGEST_GAP, escalation.repeat)
    return min(longest, escalation.repeat * 2.0 ** min(doubled, 32))


def page_everybody(draft: Draft, page: Page, escalation: Escalation) -> Page:
    """Page everybody of the levels reached so far."""
    reached = escalation.levels[: page.level + 1]
    for person in dict.fromkeys(name for level in reached for name in level.people):
        page = _notify(draft, page, person, escalation)
    return keep(draft, page)


def climb(draft: Draft, page: Page, why: str) -> Page:
    reason = PageReason.UNACKNOWLEDGED if why == "no_acknowledgement" else page.reason
    higher = replace(page, level=page.level + 1, reason=reason)
    return change(draft, FactKind.PAGE_ESCALATED, higher, ("level", higher.level), ("reason", why))


def again(draft: Draft, page: Page, why: PageReason) -> None:
    """A new round, now: everybody of the levels reached so far, from their first channel. Keeps `page` in any case."""
    escalation = draft.policy.escalation
    if escalation is None or not may_page(draft):
        page = replace(page, repeat_due=draft.at.mono + RECHECK, postponed=why)
        change(draft, FactKind.PAGE_WITHHELD, page, ("reason", "no_lease"), ("severity", page.severity))
        return
    if page.opened_wall == draft.at.wall or _nothing_left(draft, page):
        why = page.reason  # the first one is still to leave, and this one leaves in its place
    page = replace(page, round=page.round + 1, renewed=page.renewed if why in NO_NEWS else 0)
    page = replace(
        page,
        reason=why,
        postponed=None,
        repeat_due=draft.at.mono + gap(page, escalation),
        deliveries=tuple(replace(delivery, due=None) for delivery in page.deliveries),
    )
    page = change(
        draft,
        FactKind.PAGE_REPEATED,
        page,
        ("round", page.round),
        ("severity", page.severity),
        ("reason", str(why)),
    )
    page = page_everybody(draft, page, escalation)
    if page.level < len(escalation.levels) - 1 and _unreachable(page, escalation):
        page_level(draft, climb(draft, page, "nobody_reachable"), escalation)


def _notify(draft: Draft, page: Page, person: str, escalation: Escalation) -> Page:
    """Hand the page to the person's next channel of this round; unchanged when none is left."""
    tried = [item for item in page.deliveries if item.person == person and item.round == page.round]
    channel = next(
        (
            channel
            for channel in _best_first(page, person, channels(draft.policy, person))
            if channel.name not in {item.channel for item in tried}
        ),
        None,
    )
    if channel is None:
        return page
    if not tried:
        if _says_the_same(draft, page, person, channel.name):
            return _held_back(draft, page, person, channel.name, DeliveryState.SUPERSEDED)
        if _throttled(draft, page, person, escalation):
            return _held_back(draft, page, person, channel.name, DeliveryState.BUNDLED)
        page = _replaced(draft, page, person, channel.name)
    command = draft.number("CMD")
    delivery = Delivery(
        command=command,
        person=person,
        channel=channel.name,
        state=DeliveryState.PENDING,
        wall=draft.at.wall,
        round=page.round,
        due=draft.at.mono + escalation.delivery_timeout,
    )
    page = change(
        draft,
        FactKind.PAGE_SENT,
        replace(page, deliveries=(*page.deliveries, delivery)),
        ("person", person),
        ("channel", channel.name),
        ("command", command),
        ("level", page.level),
        ("round", page.round),
    )
    draft.state = replace(draft.state, undispatched=draft.state.undispatched | {command})
    draft.commands.append(
        Notify(
            id=command,
            page=page.id,
            incident=page.incident or page.id,
            person=person,
            channel=channel.name,
            text=compose(draft.state, page, draft.policy, draft.at),
            severity=page.severity,
            drill=page.drill,
            link=not page.update,
        )
    )
    return page


def _held_back(draft: Draft, page: Page, person: str, channel: str, state: DeliveryState) -> Page:
    held = Delivery(
        command="", person=person, channel=channel, state=state, wall=draft.at.wall, round=page.round
    )
    return change(
        draft,
        FactKind.PAGE_DELIVERY,
        replace(page, deliveries=(*page.deliveries, held)),
        ("person", person),
        ("channel", channel),
        ("state", str(state)),
    )


def _says_the_same(draft: Draft, page: Page, person: str, channel: str) -> bool:
    """Whether another page of this very commit goes there, which counts this one among those that wait. Only a repeat
    to somebody who was told of this page before can do without; the least told go first."""
    return (
        page.reason is PageReason.UNACKNOWLEDGED
        and any(item.person == person and item.state not in UNSENT for item in page.deliveries)
        and any(
            _leaves_now(draft, item, person, channel)
            for other in active(draft.state)
            if other.id != page.id and other.drill == page.drill and other.severity <= page.severity
            for item in other.deliveries
        )
    )


def _replaced(draft: Draft, page: Page, person: str, channel: str) -> Page:
    """The page without its own older sending of this very commit, which has not left yet."""
    for item in page.deliveries:
        if _leaves_now(draft, item, person, channel):
            page = change(
                draft,
                FactKind.PAGE_DELIVERY,
                replace(
                    page,
                    deliveries=tuple(
                        replace(one, state=DeliveryState.SUPERSEDED, due=None)
                        if one.command == item.command
                        else one
                        for one in page.deliveries
                    ),
                ),
                ("person", person),
                ("channel", channel),
                ("command", item.command),
                ("state", str(DeliveryState.SUPERSEDED)),
            )
    return page


def _leaves_now(draft: Draft, item: Delivery, person: str, channel: str) -> bool:
    return (
        item.state is DeliveryState.PENDING
        and item.command in draft.state.undispatched
        and (item.person, item.channel) == (person, channel)
    )


def _nothing_left(draft: Draft, page: Page) -> bool:
    """Whether all that was ever sent of it waits for the commit under way."""
    commands = {item.command for item in page.deliveries if item.command}
    return bool(commands) and commands <= draft.state.undispatched


def superseded(state: State, command: Notify) -> bool:
    """Whether a later page of the same commit leaves in its place."""
    page = state.pages.get(command.page)
    return page is not None and any(
        item.command == command.id and item.state is DeliveryState.SUPERSEDED for item in page.deliveries
    )


def channels(policy: Policy, person: str) -> tuple[Channel, ...]:
    known = policy.people.get(person)
    return known.channels if known is not None else ()


def _best_first(page: Page, person: str, channels: tuple[Channel, ...]) -> list[Channel]:
    """In the person's order, those that once failed for good last: tried again only when nothing else is left."""
    broken = {
        item.channel
        for item in page.deliveries
        if item.person == person and item.state is DeliveryState.FAILED_PERMANENTLY
    }
    return sorted(channels, key=lambda channel: channel.name in broken)


def _throttled(draft: Draft, page: Page, person: str, escalation: Escalation) -> bool:
    before = any(item.person == person and item.state not in (*FAILED, *UNSENT) for item in page.deliveries)
    if page.severity == Severity.SEV1 and not before:
        return False
    recent = sum(
        1
        for other in draft.state.pages.values()
        for item in other.deliveries
        if item.person == person
        and item.state not in UNSENT
        and abs(draft.at.wall - item.wall) < THROTTLE_WINDOW
    )
    return recent >= escalation.most_per_minute


def _unreachable(page: Page, escalation: Escalation) -> bool:
    """Whether everything tried for the people of the current level in this round has failed."""
    people = escalation.levels[page.level].people
    return all(
        item.state in FAILED for item in page.deliveries if item.round == page.round and item.person in people
    )


def delivered(draft: Draft, page: Page, before: Delivery, state: DeliveryState, message: str) -> None:
    after = replace(before, state=state, message=message, due=None)
    page = change(
        draft,
        FactKind.PAGE_DELIVERY,
        replace(
            page,
            deliveries=tuple(after if item.command == before.command else item for item in page.deliveries),
        ),
        ("person", after.person),
        ("channel", after.channel),
        ("command", after.command),
        ("state", str(state)),
        ("message", message),
    )
    escalation = draft.policy.escalation
    stale = before.round != page.round or before.state is not DeliveryState.PENDING
    if page.state is not PageState.ACTIVE or state not in FAILED or stale or escalation is None:
        settle(draft, page)
        return
    if not may_page(draft):
        if not settle(draft, page):
            keep(draft, replace(page, repeat_due=draft.at.mono + RECHECK))
        return
    page = keep(draft, _notify(draft, page, after.person, escalation))
    if page.update:
        settle(draft, page)
    elif page.level < len(escalation.levels) - 1 and _unreachable(page, escalation):
        page_level(draft, climb(draft, page, "nobody_reachable"), escalation)


def update(draft: Draft, page: Page, people: Iterable[str], escalation: Escalation) -> None:
    """Tell these people once. The page ends when there is nobody left to tell."""
    for person in people:
        page = _notify(draft, page, person, escalation)
    settle(draft, page)


def settle(draft: Draft, page: Page) -> bool:
    """End an update whose sendings all have their outcome, or whose channels are spent."""
    if not page.update or page.state is not PageState.ACTIVE:
        return False
    if any(item.state is DeliveryState.PENDING for item in page.deliveries):
        return False
    end(draft, page, PageState.TOLD)
    return True


def end(draft: Draft, page: Page, state: PageState, *, by: str = "", via: str = "", why: str = "") -> None:
    ended = replace(
        page,
        state=state,
        acknowledged_by=by,
        acknowledged_wall=draft.at.wall if state is PageState.ACKNOWLEDGED else 0.0,
        deliveries=tuple(replace(delivery, due=None) for delivery in page.deliveries),
        repeat_due=None,
        escalate_due=None,
    )
    data: list[tuple[str, Value]] = [("state", str(state)), ("level", page.level), ("round", page.round)]
    data += [(name, value) for name, value in (("by", by), ("via", via), ("why", why)) if value]
    change(draft, FactKind.PAGE_ENDED, ended, *data, actor=by)


def told(page: Page) -> int:
    """How many sendings were tried."""
    return sum(1 for item in page.deliveries if item.state not in UNSENT)


def may_page(draft: Draft) -> bool:
    deadline = draft.state.lease_deadline
    return deadline is not None and draft.at.mono < deadline


def active(state: State) -> list[Page]:
    """In the order they were opened: a Map's own order differs from process to process."""
    return sorted(
        (page for page in state.pages.values() if page.state is PageState.ACTIVE), key=lambda page: page.id
    )


def keep(draft: Draft, page: Page) -> Page:
    """The page in the state, with its earliest deadline beside it."""
    dues = (page.repeat_due, page.escalate_due, *(item.due for item in page.deliveries))
    page = replace(page, next_due=min((due for due in dues if due is not None), default=None))
    draft.state = replace(draft.state, pages=draft.state.pages.set(page.id, page))
    return page


def change(draft: Draft, kind: FactKind, page: Page, *data: tuple[str, Value], actor: str = "") -> Page:
    page = keep(draft, page)
    draft.record(
        kind,
        page.id,
        data=data,
        changed=(page,),
        incident=page.incident,
        actor=actor,
        drill=page.drill,
    )
    return page
