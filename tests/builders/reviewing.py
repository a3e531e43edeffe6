"""A night's incident as the journal holds it: a platform goes zombie, is switched away from, and a person takes over."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from controller.model.chain import Head, beginning, link
from controller.model.drills import Drill, DrillState, InjectState, ObjectiveResult
from controller.model.facts import Aggregate, Entry, Fact, FactKind
from controller.model.faults import (
    EvidenceKind,
    Fault,
    FaultKind,
    Grade,
    Impact,
    Severity,
    TermResult,
    Urgency,
    Verdict,
)
from controller.model.groups import (
    Arming,
    DriverVerb,
    Group,
    Phase,
    Refusal,
    Switch,
    SwitchOutcome,
    SwitchVerb,
)
from controller.model.incidents import Incident, IncidentState, SeverityReason
from controller.model.moments import Moment, Values
from controller.model.pages import Delivery, DeliveryState, Page, PageState
from controller.model.runbooks import Text
from controller.model.runs import Run, RunState, StepRecord, StepState
from controller.reports.review import Background

ONSET = 1_767_982_921.250
"""2026-01-10 02:22:01.250 in Shanghai: the first bad probe."""

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8), "CST")
REVISION = "4be1c0a87d53" + "0" * 52
CONFIGURATION = "91fe77d0c2a64b3e" + "0" * 48


@dataclass
class Story:
    """Facts added one after another, each at its seconds after the onset."""

    drill: bool = False
    facts: list[Fact] = field(default_factory=list)

    def tell(
        self,
        seconds: float,
        kind: FactKind,
        subject: str,
        /,
        *changed: Aggregate,
        actor: str = "",
        incident: str = "INC-0007",
        **data: str | float | bool | None,
    ) -> None:
        self.facts.append(
            Fact(
                kind=kind,
                at=Moment(5000.0 + seconds, ONSET + seconds),
                subject=subject,
                incident=incident,
                actor=actor,
                drill=self.drill,
                data=tuple(data.items()),
                changed=changed,
            )
        )

    def entries(self, after: int = 1041) -> list[Entry]:
        head = Head("node-a", after, "ab" * 32) if after else beginning("node-a")
        return [linked.entry for linked in link(self.facts, head)]


INCIDENT = Incident(
    id="INC-0007",
    root="primary",
    kind=FaultKind.PLATFORM_ZOMBIE,
    state=IncidentState.OPEN,
    severity=Severity.SEV1,
    reason=SeverityReason("platform-down", Impact.ALL_CALLS, Urgency.IMMEDIATE, (("active_side", True),)),
    group="main",
    grade=Grade.II,
    affected=1,
    opened_wall=ONSET + 0.41,
    onset_earliest_wall=ONSET - 0.25,
    onset_latest_wall=ONSET,
)

TERMS = (
    TermResult(
        "live-calls-fail",
        EvidenceKind.EDGE,
        Verdict.TRUE,
        "edge.failed_in_a_row >= 3",
        (("edge.failed_in_a_row", 14), ("edge.invites", 14)),
    ),
    TermResult(
        "it-answers-options",
        EvidenceKind.PROBE,
        Verdict.TRUE,
        'self.sip.outcome in ["UP", "UP_AUTH"]',
        (("self.sip.outcome", "UP"),),
    ),
    TermResult(
        "call-through-the-other-side-works",
        EvidenceKind.CONTROL,
        Verdict.TRUE,
        'peer.call.outcome == "UP" && peer.call.mos >= 3.5',
        (("peer.call.outcome", "UP"), ("peer.call.mos", 4.38)),
    ),
)

FAULT = Fault(
    kind=FaultKind.PLATFORM_ZOMBIE,
    component="primary",
    group="main",
    side="primary",
    incident="INC-0007",
    first_broken_rung="call",
    rule="answers-but-refuses-calls",
    evidence=TERMS,
    evidence_kinds=(EvidenceKind.PROBE, EvidenceKind.EDGE, EvidenceKind.CONTROL),
    raised_wall=ONSET + 0.41,
    last_good_wall=ONSET - 0.25,
    first_bad_wall=ONSET,
)

SWITCH = Switch(
    id="SW-0003",
    verb=SwitchVerb.FAILOVER,
    origin="primary",
    target="backup",
    epoch=8,
    automatic=True,
    run="RUN-0011",
    step="switch",
    incident="INC-0007",
    fault="PlatformZombie",
    evidence_kinds=(EvidenceKind.PROBE, EvidenceKind.EDGE),
    walls=(
        ("started", ONSET + 0.44),
        ("freezing", ONSET + 0.44),
        ("fencing", ONSET + 0.52),
        ("confirming_fence", ONSET + 0.58),
        ("promoting", ONSET + 0.61),
        ("redirecting", ONSET + 0.63),
        ("verifying", ONSET + 0.70),
    ),
)

GROUP = Group(
    name="main", active="primary", epoch=8, phase=Phase.FREEZING, armed=Arming(by="chen", wall=ONSET - 864000)
)

MEASURED: Values = (
    ("calls_source", "edge"),
    ("calls_failed", 23),
    ("calls_total", 41),
    ("calls_answered_aside", 0),
    ("calls_partial", False),
    ("calls_baseline", 19.6),
)


def page(state: PageState = PageState.ACTIVE, *deliveries: Delivery) -> Page:
    return Page(
        id="PAGE-0009",
        incident="INC-0007",
        state=state,
        policy="default",
        severity=1,
        opened_wall=ONSET + 0.42,
        deliveries=deliveries,
        acknowledged_by="li" if state is PageState.ACKNOWLEDGED else "",
        acknowledged_wall=ONSET + 48.9 if state is PageState.ACKNOWLEDGED else 0.0,
    )


def delivery(
    seconds: float, person: str, channel: str, state: DeliveryState, message: str = "", number: int = 0
) -> Delivery:
    return Delivery(
        command="CMD-0001",
        person=person,
        channel=channel,
        state=state,
        wall=ONSET + seconds,
        round=number,
        message=message,
    )


ROBOT_FAILED = delivery(0.43, "li", "robot", DeliveryState.FAILED, "errcode 45009: api freq out of limit")
SMS_SENT = delivery(3.1, "li", "sms", DeliveryState.SENT, "biz id 7736")

RUN = Run(
    id="RUN-0011",
    runbook="failover",
    revision=REVISION,
    state=RunState.RUNNING,
    incident="INC-0007",
    group="main",
    started_wall=ONSET + 0.43,
    drill=False,
)


def step(path: str, begins: float, ends: float, **changes: object) -> StepRecord:
    record = StepRecord(
        path=path,
        state=StepState.SUCCEEDED,
        attempt=1,
        started_wall=ONSET + begins,
        finished_wall=ONSET + ends,
        order=1,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


RUN_DONE = replace(
    RUN,
    state=RunState.SUCCEEDED,
    outcome="succeeded",
    finished_wall=ONSET + 300.0,
    steps=(
        step("switch", 0.44, 1.12, message="SW-0003 verified"),
        step("tell-the-desk", 1.13, 1.14),
        step("check-recordings", 1.15, 299.0, by="li", proof="recording 20260110-0223 listened to"),
    ),
)


def zombie(*, drill: bool = False, measured: Values = MEASURED, title: str = "primary") -> Story:
    """The whole incident, resolved the next morning."""
    told = Story(drill=drill)
    incident = replace(INCIDENT, drill=drill, root=title)
    fault = replace(FAULT, drill=drill, component=title)
    group = replace(GROUP, switch=replace(SWITCH, walls=SWITCH.walls[:2]))
    told.tell(
        0.41,
        FactKind.FAULT_RAISED,
        title,
        fault,
        kind="PlatformZombie",
        rule=fault.rule,
        first_broken_rung="call",
        evidence="probe,edge,control",
    )
    told.tell(
        0.41,
        FactKind.INCIDENT_OPENED,
        "INC-0007",
        incident,
        kind="PlatformZombie",
        root=title,
        severity="SEV1",
        rule="platform-down",
        affected=1,
    )
    told.tell(0.41, FactKind.RESPONSE_CHOSEN, "INC-0007", runbook="failover", response="switch")
    told.tell(0.42, FactKind.PAGE_OPENED, "PAGE-0009", page(), severity=1, reason="incident")
    told.tell(
        0.43,
        FactKind.PAGE_SENT,
        "PAGE-0009",
        page(PageState.ACTIVE, replace(ROBOT_FAILED, state=DeliveryState.PENDING)),
        person="li",
        channel="robot",
    )
    incident = replace(incident, runs=("RUN-0011",))
    told.tell(0.43, FactKind.RUN_STARTED, "RUN-0011", RUN, incident, runbook="failover", revision=REVISION)
    told.tell(
        0.44,
        FactKind.SWITCH_STARTED,
        "main",
        group,
        switch="SW-0003",
        verb="failover",
        origin="primary",
        target="backup",
        epoch=8,
        evidence="probe,edge",
        bypassed="",
        reason="",
        policy=CONFIGURATION,
    )
    for position, (phase, verb) in enumerate(
        (
            (Phase.FREEZING, DriverVerb.FREEZE),
            (Phase.FENCING, DriverVerb.FENCE),
            (Phase.CONFIRMING_FENCE, DriverVerb.CONFIRM_FENCE),
            (Phase.PROMOTING, DriverVerb.PROMOTE),
            (Phase.REDIRECTING, DriverVerb.REDIRECT),
        ),
        start=2,
    ):
        wall = SWITCH.walls[position - 1][1] - ONSET
        group = replace(group, phase=phase, switch=replace(SWITCH, walls=SWITCH.walls[:position]))
        side = "primary" if position < 5 else "backup"
        told.tell(wall, FactKind.SWITCH_PHASE, "main", group, switch="SW-0003", phase=str(phase))
        told.tell(
            wall,
            FactKind.SWITCH_INTENDED,
            "main",
            group,
            switch="SW-0003",
            verb=str(verb),
            side=side,
            epoch=8,
            command=f"CMD-{80 + position:04d}",
        )
        status = "failed" if verb is DriverVerb.FREEZE else "succeeded"
        told.tell(
            wall + 0.015,
            FactKind.SWITCH_STEP_FINISHED,
            "main",
            group,
            switch="SW-0003",
            verb=str(verb),
            status=status,
            message="the side does not answer" if status == "failed" else "",
        )
    group = replace(group, phase=Phase.VERIFYING, active="backup", switch=SWITCH)
    told.tell(0.70, FactKind.SWITCH_PHASE, "main", group, switch="SW-0003", phase="verifying")
    told.tell(
        1.11,
        FactKind.SWITCH_STEP_FINISHED,
        "main",
        group,
        switch="SW-0003",
        verb="verify",
        status="succeeded",
        message="",
        calls=1,
        side="backup",
        mos=4.38,
        pdd_ms=92.0,
        one_way="",
    )
    group = replace(
        group, phase=Phase.IDLE, switch=None, last_switch="SW-0003", last_outcome=SwitchOutcome.VERIFIED
    )
    told.tell(
        1.12,
        FactKind.SWITCH_ENDED,
        "main",
        group,
        switch="SW-0003",
        verb="failover",
        outcome="verified",
        active="backup",
        seconds=0.68,
        reason="",
    )
    incident = replace(incident, state=IncidentState.MITIGATED, mitigated_wall=ONSET + 1.12)
    told.tell(1.12, FactKind.INCIDENT_MITIGATED, "INC-0007", incident, **dict(measured))
    told.tell(
        3.0,
        FactKind.PAGE_DELIVERY,
        "PAGE-0009",
        page(PageState.ACTIVE, ROBOT_FAILED),
        person="li",
        channel="robot",
        state="failed",
        message=ROBOT_FAILED.message,
    )
    told.tell(
        3.1,
        FactKind.PAGE_SENT,
        "PAGE-0009",
        page(PageState.ACTIVE, ROBOT_FAILED, SMS_SENT),
        person="li",
        channel="sms",
    )
    incident = replace(incident, acknowledged_by="li", acknowledged_wall=ONSET + 48.9)
    told.tell(48.9, FactKind.INCIDENT_ACKNOWLEDGED, "INC-0007", incident, actor="li", via="link")
    told.tell(
        48.9,
        FactKind.PAGE_ENDED,
        "PAGE-0009",
        page(PageState.ACKNOWLEDGED, ROBOT_FAILED, SMS_SENT),
        actor="li",
        state="acknowledged",
        by="li",
    )
    incident = replace(incident, commander="li")
    told.tell(61.0, FactKind.COMMAND_TAKEN, "INC-0007", incident, actor="li")
    told.tell(
        75.0,
        FactKind.SWITCH_REFUSED,
        "main",
        actor="li",
        verb="failback",
        target="primary",
        refusals=f"{Refusal.COOLDOWN},{Refusal.TARGET_NOT_READY}",
    )
    told.tell(
        132.0,
        FactKind.NOTE,
        "INC-0007",
        actor="li",
        text="主用侧数据库连接池耗尽，重启应用后恢复 / pool exhausted",
    )
    told.tell(300.0, FactKind.RUN_FINISHED, "RUN-0011", RUN_DONE, runbook="failover", state="succeeded")
    told.tell(
        25_300.0,
        FactKind.FAULT_CLEARED,
        title,
        replace(fault, active=False, cleared_wall=ONSET + 25_300.0),
        kind="PlatformZombie",
    )
    incident = replace(incident, grade=Grade.II, grade_confirmed_by="chen")
    told.tell(26_000.0, FactKind.GRADE_CONFIRMED, "INC-0007", incident, actor="chen", grade="II")
    incident = replace(
        incident, state=IncidentState.RESOLVED, resolved_wall=ONSET + 26_400.0, resolved_by="li"
    )
    told.tell(26_400.0, FactKind.INCIDENT_RESOLVED, "INC-0007", incident, actor="li", **dict(measured))
    return told


def background(entries: Iterable[Entry] = ()) -> Background:
    newest = max(entries, key=lambda entry: entry.sequence, default=None)
    before = replace(
        INCIDENT, id="INC-0003", state=IncidentState.RESOLVED, opened_wall=ONSET - 40 * 86400, grade=None
    )
    return Background(
        titles={
            "primary": Text(zh="主用呼叫平台", en="Primary call platform"),
            "main": Text(zh="客服呼叫", en="Customer calls"),
        },
        runbooks={"failover": Text(zh="切换到备用系统", en="Switch to the backup")},
        steps={
            ("failover", "switch"): Text(zh="切换呼叫路由并验证", en="Switch the calls over and verify"),
            ("failover", "tell-the-desk"): Text(zh="通知坐席班长", en="Tell the desk"),
            ("failover", "check-recordings"): Text(zh="抽听录音", en="Listen to a recording"),
        },
        people={"li": "李工", "chen": "陈主任"},
        because={
            "platform-down": Text(
                zh="营业时间内主用侧不可用，影响全部呼叫",
                en="the active side is broken in business hours: all calls are affected",
            )
        },
        rto={"main": 3.0},
        incidents=(before, replace(INCIDENT, id="INC-0005", root="trunk1", group="trunks")),
        drills=(drill(),),
        head=None if newest is None else Head("node-a", newest.sequence + 312, "cd" * 32),
        zone=SHANGHAI,
        written_wall=ONSET + 30_000.0,
    )


def drill(**changes: object) -> Drill:
    done = Drill(
        id="DRILL-0002",
        scenario="zombie",
        component="primary",
        group="main",
        state=DrillState.FINISHED,
        inject_state=InjectState.UNDONE,
        by="chen",
        inject=("http", (("url", "http://192.0.2.11:8091/zombie"), ("method", "POST"))),
        undo=("http", (("url", "http://192.0.2.11:8091/zombie"), ("method", "DELETE"))),
        started_wall=ONSET - 20 * 86400,
        injected_wall=ONSET - 20 * 86400 + 0.2,
        undone_wall=ONSET - 20 * 86400 + 9.0,
        finished_wall=ONSET - 20 * 86400 + 42.0,
        expires_wall=ONSET - 20 * 86400 + 120.0,
        incidents=("INC-0004",),
        milestones=tuple(
            (name, ONSET - 20 * 86400 + 0.2 + seconds)
            for name, seconds in (
                ("detect", 0.5),
                ("decide", 0.55),
                ("switch", 0.9),
                ("verify", 1.3),
                ("acknowledge", 41.0),
            )
        ),
        diagnosed="PlatformZombie",
        results=(
            ObjectiveResult(name="detect", limit=1.0, actual=0.5, met=True),
            ObjectiveResult(name="switch", limit=2.0, actual=0.9, met=True),
            ObjectiveResult(name="acknowledge", limit=30.0, actual=41.0, met=False),
            ObjectiveResult(name="diagnosis", limit=0.0, actual=None, met=True),
        ),
        score=0.75,
        passed=True,
    )
    return replace(done, **changes)  # type: ignore[arg-type]
