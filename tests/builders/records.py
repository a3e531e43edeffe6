"""A record of one good failover, to be spoiled: the seeds of the invariants' tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from controller.model.chain import beginning, link
from controller.model.facts import Aggregate, Entry, Fact, FactKind
from controller.model.faults import Fault, FaultKind, Impact, Severity, Urgency
from controller.model.groups import Arming, Group, Phase, Switch, SwitchOutcome, SwitchVerb
from controller.model.incidents import Incident, IncidentState, SeverityReason
from controller.model.moments import Moment, Value
from controller.model.pages import Delivery, DeliveryState, Page, PageState

BASE = 1_700_000_000.0
INCIDENT = "INC-0001"


class Story:
    """Facts at chosen seconds after BASE, as entries."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def add(
        self,
        kind: FactKind,
        second: float,
        subject: str = "main",
        /,
        *changed: Aggregate,
        incident: str = INCIDENT,
        drill: bool = False,
        **data: Value,
    ) -> None:
        self.facts.append(
            Fact(
                kind=kind,
                at=Moment(mono=second, wall=BASE + second),
                subject=subject,
                incident=incident,
                drill=drill,
                data=tuple(data.items()),
                changed=changed,
            )
        )

    def entries(self) -> list[Entry]:
        return entries(self.facts)


def entries(facts: Sequence[Fact]) -> list[Entry]:
    return [entry for entry, _ in link(facts, beginning("here"))]


def spoiled(facts: Sequence[Fact], where: FactKind, change: Callable[[Fact], Fact | None]) -> list[Entry]:
    """The record with every fact of one kind changed, or left out (None)."""
    made: list[Fact] = []
    for fact in facts:
        new = change(fact) if fact.kind is where else fact
        if new is not None:
            made.append(new)
    return entries(made)


def changing(aggregate: type, **fields: Any) -> Callable[[Fact], Fact]:
    """Replace fields in every aggregate of one type that the fact changes."""

    def change(fact: Fact) -> Fact:
        return dataclasses.replace(
            fact,
            changed=tuple(
                dataclasses.replace(item, **fields) if isinstance(item, aggregate) else item
                for item in fact.changed
            ),
        )

    return change


def group(**changes: Any) -> Group:
    given: dict[str, Any] = {
        "name": "main",
        "active": "primary",
        "epoch": 6,
        "armed": Arming(by="li", wall=BASE - 1000.0),
    }
    return Group(**{**given, **changes})


def switch(**changes: Any) -> Switch:
    given: dict[str, Any] = {
        "id": "SW-0001",
        "verb": SwitchVerb.FAILOVER,
        "origin": "primary",
        "target": "backup",
        "epoch": 7,
        "automatic": True,
        "incident": INCIDENT,
        "fault": "PlatformDead:primary",
    }
    return Switch(**{**given, **changes})


def incident(**changes: Any) -> Incident:
    given: dict[str, Any] = {
        "id": INCIDENT,
        "root": "primary",
        "kind": FaultKind.PLATFORM_DEAD,
        "state": IncidentState.OPEN,
        "severity": Severity.SEV1,
        "reason": SeverityReason("all", Impact.ALL_CALLS, Urgency.IMMEDIATE),
        "group": "main",
        "opened_wall": BASE + 1.0,
        "onset_earliest_wall": BASE + 0.4,
        "onset_latest_wall": BASE + 0.6,
    }
    return Incident(**{**given, **changes})


def fault(**changes: Any) -> Fault:
    given: dict[str, Any] = {"kind": FaultKind.PLATFORM_DEAD, "component": "primary", "incident": INCIDENT}
    return Fault(**{**given, **changes})


def disobeyed(name: str = "main") -> Story:
    """The edges obey a switch to the backup, and a call is answered by the primary all the same: I1 at the last entry."""
    story = Story()
    known: dict[str, Value] = {"switch": "SW-0001", "verb": "redirect", "command": "CMD-0001"}
    sides: dict[str, Value] = {"origin": "primary", "target": "backup"}
    story.add(FactKind.SWITCH_STARTED, 1.0, name, switch="SW-0001", verb="failover", epoch=1, **sides)
    story.add(FactKind.SWITCH_INTENDED, 1.1, name, side="backup", epoch=1, **known)
    story.add(FactKind.SWITCH_STEP_FINISHED, 1.2, name, status="succeeded", **known)
    story.add(FactKind.SWITCH_STEP_FINISHED, 1.3, name, switch="SW-0001", verb="verify", side="primary")
    return story


def failover() -> Story:
    """Down at 0.5, opened 1.0, started 1.1, redirected 1.4, verified 1.7, acknowledged 61, resolved 600."""
    story = Story()
    story.add(FactKind.CONTROLLER_STARTED, 0.0, "here", incident="")
    story.add(FactKind.FAULT_RAISED, 1.0, "primary", fault(), kind="PlatformDead")
    story.add(FactKind.INCIDENT_OPENED, 1.0, INCIDENT, incident())
    idle = group()
    started = dataclasses.replace(idle, epoch=7, switch=switch())
    story.add(FactKind.SWITCH_STARTED, 1.1, "main", started, switch="SW-0001", epoch=7)
    for command, phase, verb, second in (
        ("CMD-0001", Phase.FENCING, "fence", 1.15),
        ("CMD-0002", Phase.REDIRECTING, "redirect", 1.25),
        ("CMD-0003", Phase.VERIFYING, "verify", 1.4),
    ):
        entered = dataclasses.replace(started, phase=phase)
        story.add(FactKind.SWITCH_PHASE, second, "main", entered, switch="SW-0001", phase=str(phase))
        flying = dataclasses.replace(entered, switch=switch(command=command))
        story.add(
            FactKind.SWITCH_INTENDED,
            second,
            "main",
            flying,
            switch="SW-0001",
            verb=verb,
            epoch=7,
            command=command,
        )
        story.add(
            FactKind.SWITCH_STEP_FINISHED,
            second + 0.05,
            "main",
            entered,
            switch="SW-0001",
            verb=verb,
            command=command,
            status="succeeded",
        )
    done = group(
        active="backup", epoch=7, last_switch="SW-0001", last_outcome=SwitchOutcome.VERIFIED, switch=None
    )
    story.add(FactKind.SWITCH_ENDED, 1.7, "main", done, switch="SW-0001", outcome="verified")
    page = Page(id="PAGE-0001", incident=INCIDENT, state=PageState.ACTIVE, policy="default")
    story.add(FactKind.PAGE_OPENED, 1.0, "PAGE-0001", page)
    pending = Delivery(
        command="CMD-0009", person="li", channel="robot", state=DeliveryState.PENDING, wall=BASE + 1.0
    )
    paged = dataclasses.replace(page, deliveries=(pending,))
    story.add(FactKind.PAGE_SENT, 1.0, "PAGE-0001", paged, command="CMD-0009", person="li")
    sent = dataclasses.replace(page, deliveries=(dataclasses.replace(pending, state=DeliveryState.SENT),))
    story.add(FactKind.PAGE_DELIVERY, 1.3, "PAGE-0001", sent, command="CMD-0009", state="sent")
    acknowledged = incident(
        state=IncidentState.ACKNOWLEDGED, acknowledged_wall=BASE + 61.0, acknowledged_by="li"
    )
    story.add(FactKind.INCIDENT_ACKNOWLEDGED, 61.0, INCIDENT, acknowledged)
    ended = dataclasses.replace(sent, state=PageState.ACKNOWLEDGED)
    story.add(FactKind.PAGE_ENDED, 61.0, "PAGE-0001", ended, state="acknowledged")
    story.add(FactKind.FAULT_CLEARED, 590.0, "primary", fault(active=False), kind="PlatformDead")
    resolved = dataclasses.replace(acknowledged, state=IncidentState.RESOLVED, resolved_wall=BASE + 600.0)
    story.add(FactKind.INCIDENT_RESOLVED, 600.0, INCIDENT, resolved)
    story.facts.sort(key=lambda fact: fact.at.mono)
    return story
