"""An incident, the people to be told of it, and a node that may tell them: to be advanced event by event."""

from __future__ import annotations

import dataclasses
from typing import Any

from immutables import Map

from controller.core.paging import escalation
from controller.core.step import committing
from controller.model.commands import Notify
from controller.model.events import Event, IncidentChanged, NotificationFinished, TimerFired
from controller.model.facts import Fact, FactKind
from controller.model.faults import FaultKind, Impact, Severity, Urgency
from controller.model.incidents import Incident, IncidentState, SeverityReason
from controller.model.moments import Moment
from controller.model.pages import DeliveryState, Page
from controller.model.policy import Channel, Escalation, EscalationLevel, Person, Policy
from controller.model.state import State

EPOCH = 1_700_000_000.0
"""Wall time at monotonic 0."""


def incident(number: int = 1, **changes: Any) -> Incident:
    given: dict[str, Any] = {
        "id": f"INC-{number:04d}",
        "root": "primary",
        "kind": FaultKind.PLATFORM_DEAD,
        "state": IncidentState.OPEN,
        "severity": Severity.SEV1,
        "reason": SeverityReason("all-calls", Impact.ALL_CALLS, Urgency.IMMEDIATE),
        "group": "main",
        "affected": 3,
        "opened_wall": EPOCH,
    }
    return Incident(**{**given, **changes})


def person(name: str, *channels: str) -> Person:
    return Person(
        name=name,
        display=name.title(),
        role="operator",
        channels=tuple(Channel(name=channel, kind="webhook", parameters=None) for channel in channels),
    )


PEOPLE = (
    person("li", "robot", "mail"),
    person("wang", "robot"),
    person("zhao", "robot"),
    person("nobody"),
)

TWO_LEVELS = Escalation(
    name="default",
    levels=(EscalationLevel(people=("li",), after=120.0), EscalationLevel(people=("wang",), after=120.0)),
    repeat=60.0,
    rounds=3,
)


def policy(plan: Escalation | None = TWO_LEVELS, **changes: Any) -> Policy:
    given: dict[str, Any] = {
        "name": "test",
        "revision": "0" * 64,
        "components": Map(),
        "groups": Map(),
        "rules": (),
        "domains": {},
        "severities": (),
        "matrix": {},
        "people": Map({each.name: each for each in PEOPLE}),
        "escalation": plan,
    }
    return Policy(**{**given, **changes})


class Pager:
    """Advances the escalation stage on a clock of its own, and keeps what came out. What it is given without time passing
    is one commit."""

    def __init__(self, rules: Policy | None = None, *, leader: bool = True) -> None:
        self.policy = rules or policy()
        self.now = 100.0
        self.state = State(node="here", lease_deadline=1e9 if leader else None)
        self.facts: list[Fact] = []
        self.commands: list[Notify] = []
        self._committing_since = self.now

    @property
    def at(self) -> Moment:
        return Moment(mono=self.now, wall=EPOCH + self.now)

    def put(self, *, event: Event, same_commit: bool = False) -> list[Notify]:
        """The commands this one event led to. `same_commit`: though time has passed."""
        if self.now != self._committing_since and not same_commit:
            self.state = committing(self.state)
        self._committing_since = self.now
        decision = escalation.advance(self.state, event, self.policy)
        self.state = decision.state
        self.facts += decision.facts
        sent = [command for command in decision.commands if isinstance(command, Notify)]
        assert len(sent) == len(decision.commands)
        self.commands += sent
        return sent

    def open(self, it: Incident) -> list[Notify]:
        it = dataclasses.replace(it, opened_wall=self.at.wall)
        self.state = dataclasses.replace(self.state, incidents=self.state.incidents.set(it.id, it))
        return self.put(event=IncidentChanged(at=self.at, incident=it.id, opened=True))

    def change(self, it: Incident) -> list[Notify]:
        self.state = dataclasses.replace(self.state, incidents=self.state.incidents.set(it.id, it))
        return self.put(event=IncidentChanged(at=self.at, incident=it.id))

    def answer(self, command: Notify, state: DeliveryState, message: str = "") -> list[Notify]:
        return self.put(
            event=NotificationFinished(at=self.at, command=command.id, state=state, message=message)
        )

    def wake(self) -> list[Notify]:
        """Go to the next deadline and let it fire. Fails when nothing is due."""
        due = escalation.wake_at(self.state, self.policy)
        assert due is not None
        self.now = max(self.now, due)
        return self.put(event=TimerFired(at=self.at))

    def until(self, seconds: float) -> list[Notify]:
        """Let every deadline fire up to `seconds` from now."""
        end, sent = self.now + seconds, list[Notify]()
        while (due := escalation.wake_at(self.state, self.policy)) is not None and due <= end:
            sent += self.wake()
        self.now = end
        return sent

    def page(self, number: int = 1) -> Page:
        return self.state.pages[f"PAGE-{number:04d}"]

    def kinds(self) -> list[FactKind]:
        return [fact.kind for fact in self.facts]
