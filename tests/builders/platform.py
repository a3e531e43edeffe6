"""A small platform under protection, and the state in which a switch of it is permitted."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from immutables import Map

from controller.model.faults import EvidenceKind, Fault, FaultKind, Impact, Severity, Urgency
from controller.model.groups import Arming, Group
from controller.model.health import HealthState, Measurement, Outcome, RungKey, Vantage
from controller.model.moments import Moment
from controller.model.policy import (
    Component,
    ComponentKind,
    DomainRow,
    GroupPolicy,
    Policy,
    ReadinessItem,
    RungPolicy,
    Side,
    TimeBudget,
    Verification,
)
from controller.model.runbooks import Runbook, Text
from controller.model.state import RungView, State

GROUP = "calls"
START = Moment(1000.0, 1_700_000_000.0)
TITLE = Text(zh="呼叫", en="Calls")

PRIMARY_CALL = RungKey("primary", "call")
BACKUP_CALL = RungKey("backup", "call")
VERIFY = RungKey("service", "call")


def side_component(name: str) -> Component:
    ladder = (
        RungPolicy(name="host", probe="icmp", parameters=None),
        RungPolicy(name="sip", probe="sip_options", parameters=None, failover_relevant=True),
        RungPolicy(name="call", probe="sip_call", parameters=None, reports_values=True),
    )
    return Component(
        name=name, kind=ComponentKind.PLATFORM, title=TITLE, ladder=ladder, group=GROUP, side=name, lines=100
    )


def group_policy(**changes: object) -> GroupPolicy:
    rules = GroupPolicy(
        name=GROUP,
        title=TITLE,
        sides=(
            Side(name="primary", component="primary", destination="sip:127.0.0.21:5060"),
            Side(name="backup", component="backup", destination="sip:127.0.0.22:5060"),
        ),
        preferred="primary",
        driver="fake",
        driver_parameters=None,
        edges=("edge1", "edge2"),
        verification=Verification(rung=VERIFY, calls=1, timeout=1.0, attempts=3),
        readiness=(
            ReadinessItem(name="backup sip", key=RungKey("backup", "sip")),
            ReadinessItem(name="backup call", key=BACKUP_CALL),
            ReadinessItem(name="primary sip", key=RungKey("primary", "sip")),
            ReadinessItem(name="primary call", key=PRIMARY_CALL),
        ),
        rto=3.0,
        budget=TimeBudget(detect=0.5, decide=0.1, fence=0.1, redirect=0.1, edge_timer=1.0),
    )
    return replace(rules, **changes)


def domain_rows() -> dict[FaultKind, DomainRow]:
    rows = {kind: DomainRow(fault=kind, domain="none") for kind in FaultKind}
    for kind in (
        FaultKind.PLATFORM_DEAD,
        FaultKind.PLATFORM_HUNG,
        FaultKind.PLATFORM_ZOMBIE,
        FaultKind.MEDIA_ONE_WAY,
    ):
        rows[kind] = DomainRow(fault=kind, domain="platform", switch="failover", never_switch=False)
    return rows


def policy(**changes: object) -> Policy:
    """One group of two sides and two edges; `changes` are fields of its GroupPolicy."""
    rules = group_policy(**changes)
    service = Component(
        name="service",
        kind=ComponentKind.OTHER,
        title=TITLE,
        ladder=(RungPolicy(name="call", probe="sip_call", parameters=None, on_demand=True),),
    )
    edges = {name: Component(name=name, kind=ComponentKind.EDGE, title=TITLE) for name in ("edge1", "edge2")}
    components = {
        "primary": side_component("primary"),
        "backup": side_component("backup"),
        "service": service,
    }
    last_resort = Runbook(name="both-sides-down", revision="0" * 64, title=TITLE, summary=TITLE, steps=())
    return Policy(
        name="test",
        revision="f" * 64,
        components=Map({**components, **edges}),
        groups=Map({GROUP: rules}),
        rules=(),
        domains=MappingProxyType(domain_rows()),
        severities=(),
        matrix={(Impact.ALL_CALLS, Urgency.IMMEDIATE): Severity.SEV1},
        runbooks=Map({"both-sides-down": last_resort}),
    )


def fault(**changes: object) -> Fault:
    """The primary does not answer, by two kinds of evidence."""
    standing = Fault(
        kind=FaultKind.PLATFORM_HUNG,
        component="primary",
        group=GROUP,
        side="primary",
        incident="INC-0001",
        evidence_kinds=(EvidenceKind.PROBE, EvidenceKind.EDGE),
    )
    return replace(standing, **changes)


def up(at: Moment = START) -> RungView:
    return RungView(
        state=HealthState.UP,
        by_vantage=Map({"here": HealthState.UP}),
        outcome=Outcome.UP,
        since=at.mono,
        last_good=at.mono,
    )


def permitted(rules: Policy, at: Moment = START, *, faulty: bool = True) -> State:
    """Led, armed, watched, the standby green and measured just now; the primary at fault unless told otherwise."""
    rungs = {
        RungKey(name, rung.name): up(at)
        for name in ("primary", "backup")
        for rung in rules.components[name].ladder
    }
    measured = {
        key: Measurement(at=at.mono, up=True, outcome=Outcome.UP, values=())
        for key in (PRIMARY_CALL, BACKUP_CALL)
    }
    state = State(
        node="test",
        started_at=at.mono - 100.0,
        lease_deadline=at.mono + 1_000_000.0,
        vantages=Map({"here": Vantage(name="here", live=True, last_beat=at.mono)}),
        rungs=Map(rungs),
        measurements=Map(measured),
        groups=Map(
            {
                GROUP: Group(
                    name=GROUP,
                    active="primary",
                    epoch=1,
                    armed=Arming(by="eve", wall=at.wall),
                    read_at=at.mono,
                    fence_ready=True,
                    next_read=at.mono + 1.0,
                )
            }
        ),
    )
    if faulty:
        standing = fault()
        down = replace(up(at), state=HealthState.DOWN, outcome=Outcome.NO_REPLY)
        state = replace(
            state,
            faults=Map({standing.key: standing}),
            broken=Map({"primary": "sip"}),
            rungs=state.rungs.set(RungKey("primary", "sip"), down),
        )
    return state


def with_group(state: State, **changes: object) -> State:
    return replace(state, groups=state.groups.set(GROUP, replace(state.groups[GROUP], **changes)))
