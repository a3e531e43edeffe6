"""POST routes: what operators do. Each answers with the facts that are now durable."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

from aiohttp import web

from controller.engine.desk import refusals, refused
from controller.model.encoding import plain
from controller.model.errors import RequestRefused
from controller.model.events import (
    DrillAborted,
    DrillRequested,
    Event,
    FaultReported,
    OperatorAcknowledged,
    OperatorApproved,
    OperatorArmed,
    OperatorCancelledRun,
    OperatorDidManualStep,
    OperatorPlacedHold,
    OperatorReleasedGroup,
    OperatorReleasedHold,
    OperatorRequestedSwitch,
    OperatorStartedRun,
    OperatorTickedReadiness,
    OperatorUpdatedIncident,
)
from controller.model.facts import Fact
from controller.model.groups import UNBYPASSABLE, SwitchVerb
from controller.web.access import Account
from controller.web.console import ACCOUNT
from controller.web.problems import BadRequest, Missing
from controller.web.reading import DESK
from controller.web.requests import (
    ApprovalBody,
    ArmBody,
    DrillBody,
    FaultReportBody,
    GradeBody,
    HoldBody,
    ManualBody,
    NoteBody,
    ReadinessBody,
    ReasonBody,
    ReleaseBody,
    RunBody,
    SwitchBody,
    read_body,
)


def add_operating_routes(application: web.Application) -> None:
    post = application.router.add_post
    post("/api/v1/groups/{group}/arm", arm)
    post("/api/v1/groups/{group}/disarm", disarm)
    post("/api/v1/groups/{group}/release", release)
    post("/api/v1/groups/{group}/readiness", readiness)
    for verb in SwitchVerb:
        post(f"/api/v1/groups/{{group}}/{verb.value}", switch(verb))
    post("/api/v1/holds", hold)
    application.router.add_delete("/api/v1/holds/{scope}", release_hold)
    post("/api/v1/incidents/{incident}/acknowledge", acknowledge)
    post("/api/v1/incidents/{incident}/command", take_command)
    post("/api/v1/incidents/{incident}/mitigate", mitigate)
    post("/api/v1/incidents/{incident}/resolve", resolve)
    post("/api/v1/incidents/{incident}/note", note)
    post("/api/v1/incidents/{incident}/grade", grade)
    post("/api/v1/runs", start_run)
    post("/api/v1/runs/{run}/approval", approve)
    post("/api/v1/runs/{run}/manual", manual)
    post("/api/v1/runs/{run}/cancel", cancel_run)
    post("/api/v1/drills", start_drill)
    post("/api/v1/drills/{drill}/abort", abort_drill)
    post("/api/v1/fault-reports", report_fault)


def account_of(request: web.Request) -> Account:
    account = request[ACCOUNT]
    return account


async def arm(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    body = await read_body(request, ArmBody)
    group = _group(request)
    event = OperatorArmed(at=desk.clock.now(), group=group, armed=True, by=account_of(request).name)
    return _plan(desk.rehearse(event)) if body.dry_run else await _ask(request, event)


async def disarm(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    body = await read_body(request, ArmBody)
    group = _group(request)
    event = OperatorArmed(at=desk.clock.now(), group=group, armed=False, by=account_of(request).name)
    return _plan(desk.rehearse(event)) if body.dry_run else await _ask(request, event)


async def release(request: web.Request) -> web.Response:
    body = await read_body(request, ReleaseBody)
    event = OperatorReleasedGroup(
        at=request.app[DESK].clock.now(),
        group=_group(request),
        active=body.active,
        by=account_of(request).name,
        reason=body.reason,
    )
    return await _ask(request, event)


async def readiness(request: web.Request) -> web.Response:
    body = await read_body(request, ReadinessBody)
    at = request.app[DESK].clock.now()
    event = OperatorTickedReadiness(
        at=at,
        group=_group(request),
        item=body.item,
        by=account_of(request).name,
        until_wall=at.wall + body.hours * 3600,
    )
    return await _ask(request, event)


def switch(verb: SwitchVerb) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        desk = request.app[DESK]
        body = await read_body(request, SwitchBody)
        if verb is SwitchVerb.FORCE and not body.dry_run and not body.reason:
            raise BadRequest(
                "reason: force needs a reason; it goes into the timeline with every guard bypassed"
            )
        event = OperatorRequestedSwitch(
            at=desk.clock.now(),
            group=_group(request),
            verb=verb,
            target=body.target,
            by=account_of(request).name,
            reason=body.reason,
            overrides=tuple(body.overrides),
        )
        if not body.dry_run:
            return await _ask(request, event)
        facts = desk.rehearse(event)
        return _plan(facts, {"bypassable": _bypassable(facts)} if verb is SwitchVerb.FORCE else {})

    return handle


async def hold(request: web.Request) -> web.Response:
    body = await read_body(request, HoldBody)
    desk = request.app[DESK]
    policy = desk.snapshot.policy
    if body.scope != "*" and body.scope not in policy.groups and body.scope not in policy.components:
        raise BadRequest(f'scope: no group or component named {body.scope!r}; "*" holds everything')
    at = desk.clock.now()
    event = OperatorPlacedHold(
        at=at,
        scope=body.scope,
        by=account_of(request).name,
        reason=body.reason,
        until_wall=at.wall + body.minutes * 60,
        maintenance=body.maintenance,
    )
    return _plan(desk.rehearse(event)) if body.dry_run else await _ask(request, event)


async def release_hold(request: web.Request) -> web.Response:
    """`?dry_run=true`: what it would lead to, and nothing more."""
    desk = request.app[DESK]
    dry_run = request.query.get("dry_run", "false")
    if dry_run not in ("true", "false"):
        raise BadRequest("dry_run: true or false")
    scope = request.match_info["scope"]
    if scope not in desk.snapshot.state.holds:
        raise Missing("hold", scope)
    event = OperatorReleasedHold(at=desk.clock.now(), scope=scope, by=account_of(request).name)
    return _plan(desk.rehearse(event)) if dry_run == "true" else await _ask(request, event)


async def acknowledge(request: web.Request) -> web.Response:
    """Of an incident, or of a page by its own id: a run without an incident pages as well."""
    name = request.match_info["incident"]
    event = OperatorAcknowledged(
        at=request.app[DESK].clock.now(),
        incident=name if name in request.app[DESK].snapshot.state.pages else _incident(request),
        by=account_of(request).name,
        via="api",
    )
    return await _ask(request, event)


async def take_command(request: web.Request) -> web.Response:
    return await _update(request, command=True)


async def mitigate(request: web.Request) -> web.Response:
    return await _update(request, mitigated=True)


async def resolve(request: web.Request) -> web.Response:
    return await _update(request, resolved=True)


async def _update(
    request: web.Request, *, command: bool = False, mitigated: bool = False, resolved: bool = False
) -> web.Response:
    event = OperatorUpdatedIncident(
        at=request.app[DESK].clock.now(),
        incident=_incident(request),
        by=account_of(request).name,
        command=command,
        mitigated=mitigated,
        resolved=resolved,
    )
    return await _ask(request, event)


async def note(request: web.Request) -> web.Response:
    body = await read_body(request, NoteBody)
    event = OperatorUpdatedIncident(
        at=request.app[DESK].clock.now(),
        incident=_incident(request),
        by=account_of(request).name,
        note=body.note,
    )
    return await _ask(request, event)


async def grade(request: web.Request) -> web.Response:
    body = await read_body(request, GradeBody)
    event = OperatorUpdatedIncident(
        at=request.app[DESK].clock.now(),
        incident=_incident(request),
        by=account_of(request).name,
        grade=body.grade,
    )
    return await _ask(request, event)


async def start_run(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    body = await read_body(request, RunBody)
    inputs = tuple(body.inputs.items())
    given = tuple(
        (name, value) for name, value in (("group", body.group), ("incident", body.incident)) if value
    )
    plan = desk.plan_run(body.runbook, (*inputs, *given))
    if plan is None:
        raise Missing("runbook", body.runbook)
    if body.dry_run:
        return web.json_response({"dry_run": True, "plan": plain(plan)})
    event = OperatorStartedRun(
        at=desk.clock.now(),
        runbook=body.runbook,
        inputs=inputs,
        by=account_of(request).name,
        incident=body.incident,
        group=body.group,
    )
    return await _ask(request, event)


async def approve(request: web.Request) -> web.Response:
    body = await read_body(request, ApprovalBody)
    event = OperatorApproved(
        at=request.app[DESK].clock.now(),
        run=_run(request),
        revision=body.revision,
        step=body.step,
        attempt=body.attempt,
        granted=body.granted,
        by=account_of(request).name,
    )
    return await _ask(request, event)


async def manual(request: web.Request) -> web.Response:
    body = await read_body(request, ManualBody)
    event = OperatorDidManualStep(
        at=request.app[DESK].clock.now(),
        run=_run(request),
        step=body.step,
        by=account_of(request).name,
        proof=body.proof,
    )
    return await _ask(request, event)


async def cancel_run(request: web.Request) -> web.Response:
    body = await read_body(request, ReasonBody)
    event = OperatorCancelledRun(
        at=request.app[DESK].clock.now(), run=_run(request), by=account_of(request).name, reason=body.reason
    )
    return await _ask(request, event)


async def start_drill(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    body = await read_body(request, DrillBody)
    if body.scenario not in desk.snapshot.policy.scenarios:
        raise Missing("scenario", body.scenario)
    event = DrillRequested(at=desk.clock.now(), drill="", scenario=body.scenario, by=account_of(request).name)
    return _plan(desk.rehearse(event)) if body.dry_run else await _ask(request, event)


async def abort_drill(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    body = await read_body(request, ReasonBody)
    drill = desk.snapshot.state.drills.get(request.match_info["drill"])
    if drill is None or not drill.live:
        raise Missing("live_drill", request.match_info["drill"])
    return await _ask(
        request,
        DrillAborted(at=desk.clock.now(), drill=drill.id, by=account_of(request).name, reason=body.reason),
    )


async def report_fault(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    body = await read_body(request, FaultReportBody)
    if body.component not in desk.snapshot.policy.components:
        raise BadRequest(f"component: no component named {body.component!r}")
    at = desk.clock.now()
    event = FaultReported(
        at=at,
        report="",
        component=body.component,
        symptom=body.symptom,
        noticed_wall=body.noticed_wall or at.wall,
        by=account_of(request).name,
    )
    return await _ask(request, event)


async def _ask(request: web.Request, event: Event) -> web.Response:
    facts = await request.app[DESK].ask(event)
    if reasons := refusals(facts):
        raise RequestRefused(reasons, _because(reasons, facts))
    return web.json_response({"done": bool(facts), "facts": _facts(facts)})


NOTHING_MORE: Mapping[str, object] = MappingProxyType({})


def _plan(facts: Sequence[Fact], more: Mapping[str, object] = NOTHING_MORE) -> web.Response:
    return web.json_response(
        {"dry_run": True, "refused": list(refusals(facts)), **more, "facts": _facts(facts)}
    )


def _bypassable(facts: Sequence[Fact]) -> list[str]:
    """Of the guards that refuse a force, those it goes past when they are named."""
    return [reason for reason in refusals(facts) if reason not in UNBYPASSABLE]


def _because(reasons: Sequence[str], facts: Sequence[Fact]) -> str:
    """The reasons by name, and what the refusal says beside them: what is lacking, which faults stand, which runs go on."""
    no = refused(facts)
    known = dict(no.data) if no is not None else {}
    more = [f"{name}: {known[name]}" for name in ("lacking", "faults", "runs") if known.get(name)]
    return "; ".join((", ".join(reasons), *more))


def _facts(facts: Sequence[Fact]) -> list[dict[str, object]]:
    return [
        {
            "kind": fact.kind.value,
            "subject": fact.subject,
            "incident": fact.incident,
            "actor": fact.actor,
            "drill": fact.drill,
            "wall": fact.at.wall,
            "data": dict(fact.data),
        }
        for fact in facts
    ]


def _group(request: web.Request) -> str:
    name = request.match_info["group"]
    if name not in request.app[DESK].snapshot.policy.groups:
        raise Missing("group", name)
    return name


def _incident(request: web.Request) -> str:
    name = request.match_info["incident"]
    if name not in request.app[DESK].snapshot.state.incidents:
        raise Missing("incident", name)
    return name


def _run(request: web.Request) -> str:
    name = request.match_info["run"]
    if name not in request.app[DESK].snapshot.state.runs:
        raise Missing("run", name)
    return name
