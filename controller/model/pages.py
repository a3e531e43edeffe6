"""Pages: who is told, by which channel, until they acknowledge."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from controller.model.runbooks import Text


class PageState(StrEnum):
    ACTIVE = "active"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"  # the incident ended first
    UNDELIVERED = "undelivered"  # escalated to the end and nobody answered
    TOLD = "told"  # an update, which nobody has to acknowledge


class PageReason(StrEnum):
    """Why a page goes out, in its first round and in every further one."""

    OPENED = "opened"
    UNACKNOWLEDGED = "unacknowledged"  # its time to repeat
    WORSE = "worse"  # the severity rose
    ASKED = "asked"  # a runbook asks something of people
    SWITCHED = "switched"  # a switch for it ended, one way or the other
    RESTARTED = "restarted"  # a sending was lost with the process
    RELAPSED = "relapsed"  # callers feel it again after it was over for them
    RUN_STOPPED = "run_stopped"  # what was acknowledged in trust of the machine has stopped


class DeliveryState(StrEnum):
    PENDING = "pending"
    SENT = "sent"  # handed over; not proof that anybody saw it
    DELIVERED = "delivered"
    FAILED = "failed"
    FAILED_PERMANENTLY = "failed_permanently"
    BUNDLED = "bundled"  # held back by the throttle; the pages that do go out count it
    SUPERSEDED = "superseded"  # another page to the same person and channel went out in its place


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One page, one person, one channel, in one round. `command` is empty for one that was held back at once."""

    command: str
    person: str
    channel: str
    state: DeliveryState
    wall: float
    round: int = 0
    message: str = ""
    due: float | None = field(default=None, metadata={"monotonic": True})  # no answer by then: next channel


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """An aggregate: the escalation of one incident. `level` counts from 0; `round` is the repeat.

    `severity` is the incident's when it was last paged for. `need` is what a runbook asks of people, if it does.
    `reason` is why the present round goes out; `postponed`, why the next one does that could not go out at once.
    An `update` goes to those already paged, once, and asks for no acknowledgement.
    `renewed` counts the pages for the same before it that ended undelivered: they come at longer and longer gaps.
    `next_due` is the earliest of the page's deadlines.
    """

    id: str
    incident: str
    state: PageState
    policy: str
    severity: int = 0
    need: Text | None = None
    level: int = 0
    round: int = 0
    renewed: int = 0
    reason: PageReason = PageReason.OPENED
    postponed: PageReason | None = None
    update: bool = False
    drill: bool = False
    deliveries: tuple[Delivery, ...] = ()
    opened_wall: float = 0.0
    acknowledged_by: str = ""
    acknowledged_wall: float = 0.0
    repeat_due: float | None = field(default=None, metadata={"monotonic": True})
    escalate_due: float | None = field(default=None, metadata={"monotonic": True})
    next_due: float | None = field(default=None, metadata={"monotonic": True})


@dataclass(frozen=True, kw_only=True, slots=True)
class PageText:
    """The four lines of a page (what, impact, what we did, what we need), in both languages."""

    what: Text
    impact: Text
    did: Text
    need: Text
