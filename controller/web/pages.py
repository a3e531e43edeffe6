"""The console's routes."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from aiohttp import web

from controller.engine.desk import refused
from controller.model.encoding import plain
from controller.model.events import (
    Event,
    OperatorAcknowledged,
    OperatorApproved,
    OperatorArmed,
    OperatorDidManualStep,
    OperatorPlacedHold,
    OperatorReleasedHold,
    OperatorRequestedSwitch,
    OperatorUpdatedIncident,
)
from controller.model.facts import Fact
from controller.model.groups import SwitchVerb
from controller.reports.prose import Language, fact_line
from controller.web.access import COOKIE, Account
from controller.web.console import CONSOLE, ROOM, Page, next_action, refusal_reasons, sign_in, step_views
from controller.web.links import LinkError
from controller.web.operating import ACCOUNT
from controller.web.problems import BadRequest
from controller.web.reading import DESK
from controller.web.views import group_view, incident_view, status_view

MOST_ENTRIES = 500


def add_console_routes(application: web.Application) -> None:
    router = application.router
    router.add_get("/", wallboard)
    router.add_get("/login", login_form)
    router.add_post("/login", login)
    router.add_post("/logout", logout)
    router.add_get("/incidents/{incident}", incident)
    router.add_post("/incidents/{incident}/{action}", incident_action)
    router.add_post("/runs/{run}/{action}", run_action)
    router.add_get("/groups/{group}", group)
    router.add_post("/groups/{group}/{action}", group_action)
    router.add_post("/holds", place_hold)
    router.add_post("/holds/{scope}/release", end_hold)
    router.add_get("/a/{token}", acknowledge_form)
    router.add_post("/a/{token}", acknowledge)
    router.add_static("/static/", ROOM / "static")


def page_of(request: web.Request) -> Page:
    return Page(request, request.get(ACCOUNT))


def _account(request: web.Request) -> Account:
    account: Account = request[ACCOUNT]
    return account


async def wallboard(request: web.Request) -> web.Response:
    desk, page = request.app[DESK], page_of(request)
    status = status_view(desk.snapshot, desk.clock.now(), desk.head, journal_failing=desk.journal_failing)
    closed = [item for item in desk.snapshot.state.incidents.values() if not item.open]
    history = [
        incident_view(item, desk.snapshot) for item in sorted(closed, key=lambda item: -item.opened_wall)[:8]
    ]
    live = f"/api/v1/events?after={desk.snapshot.sequence}"
    return page.render("wallboard.html", live=live, status=status, history=history)


async def login_form(request: web.Request) -> web.Response:
    return page_of(request).render("login.html", wrong=False, next=request.query.get("next", "/"))


async def login(request: web.Request) -> web.Response:
    form = await request.post()
    return sign_in(request, page_of(request), str(form.get("token", "")), str(form.get("next", "/")))


async def logout(request: web.Request) -> web.Response:
    response = web.Response(status=303, headers={"Location": "/login"})
    response.del_cookie(COOKIE)
    return response


async def incident(request: web.Request) -> web.Response:
    desk, page = request.app[DESK], page_of(request)
    found = desk.snapshot.state.incidents.get(request.match_info["incident"])
    if found is None:
        raise web.HTTPNotFound(text=f"no incident {request.match_info['incident']}")
    view = incident_view(found, desk.snapshot)
    entries = [entry async for entry in desk.entries(incident=found.id, limit=100_000)]
    runs = []
    for run in view["runs"]:
        book = desk.snapshot.policy.runbooks.get(run["runbook"])
        title = plain(book.title) if book is not None else None
        runs.append({**run, "title": title, "steps": step_views(page, run, desk)})
    primary = next_action(view["state"])
    secondary = [
        action
        for action in ("acknowledge", "command", "mitigate", "resolve")
        if found.open and action != primary and not (action == "command" and found.commander)
    ]
    return page.render(
        "incident.html",
        live=f"/api/v1/events?incident={found.id}&after={desk.snapshot.sequence}",
        incident=view,
        faults=view["faults"],
        pages=view["pages"],
        runs=runs,
        entries=page.entries(entries[-MOST_ENTRIES:]),
        severity=page.severity(view["reason"]),
        impact=_impact(request, found.group),
        primary=primary,
        secondary=[
            action for action in secondary if not (action == "acknowledge" and found.acknowledged_wall)
        ],
    )


def _impact(request: web.Request, name: str) -> dict[str, Any]:
    """The strip in call terms: the active side, and what the edges and the active side's probes measure."""
    snapshot = request.app[DESK].snapshot
    group, policy = snapshot.state.groups.get(name), snapshot.policy.groups.get(name)
    if group is None or policy is None:
        return {"active_side": "", "figures": []}
    figures: list[tuple[str, str]] = []
    active = policy.side(group.active)
    for key, measured in snapshot.state.measurements.items():
        for label, value in measured.values:
            if key.component in policy.edges and label == f"{group.active}.failures":
                figures.append((f"{key.component} {label}", str(value)))
            elif active is not None and key.component == active.component and label in ("mos", "pdd_ms"):
                figures.append((label, f"{value:.2f}" if isinstance(value, float) else str(value)))
    return {"active_side": group.active, "figures": figures[:6]}


_INCIDENT_ACTIONS = ("acknowledge", "command", "mitigate", "resolve", "note")


async def incident_action(request: web.Request) -> web.Response:
    desk, by = request.app[DESK], _account(request).name
    name, action = request.match_info["incident"], request.match_info["action"]
    if name not in desk.snapshot.state.incidents or action not in _INCIDENT_ACTIONS:
        raise web.HTTPNotFound(text=f"{action} {name}")
    at = desk.clock.now()
    event: Event
    if action == "acknowledge":
        event = OperatorAcknowledged(at=at, incident=name, by=by, via="web")
    else:
        note = ""
        if action == "note":
            note = str((await request.post()).get("note", "")).strip()[:4000]
            if not note:
                raise BadRequest("note: empty")
        event = OperatorUpdatedIncident(
            at=at,
            incident=name,
            by=by,
            note=note,
            command=action == "command",
            mitigated=action == "mitigate",
            resolved=action == "resolve",
        )
    return await _then(request, event, f"/incidents/{name}")


async def run_action(request: web.Request) -> web.Response:
    desk, by = request.app[DESK], _account(request).name
    run, action = request.match_info["run"], request.match_info["action"]
    found = desk.snapshot.state.runs.get(run)
    if found is None or action not in ("approve", "reject", "done"):
        raise web.HTTPNotFound(text=f"{action} {run}")
    form = await request.post()
    step = str(form.get("step", ""))
    event: Event
    if action == "done":
        proof = str(form.get("proof", "")).strip()[:2000]
        if not proof:
            raise BadRequest("proof: empty")
        event = OperatorDidManualStep(at=desk.clock.now(), run=run, step=step, by=by, proof=proof)
    else:
        attempt = str(form.get("attempt", ""))
        event = OperatorApproved(
            at=desk.clock.now(),
            run=run,
            revision=str(form.get("revision", "")),
            step=step,
            attempt=int(attempt) if attempt.isascii() and attempt.isdigit() else 0,
            granted=action == "approve",
            by=by,
        )
    return await _then(request, event, f"/incidents/{found.incident}" if found.incident else "/")


async def group(request: web.Request) -> web.Response:
    return _group_page(request)


def _group_page(
    request: web.Request,
    *,
    message: str = "",
    facts: tuple[Fact, ...] = (),
    dry_run: bool = False,
    status: int = 200,
) -> web.Response:
    desk, page = request.app[DESK], page_of(request)
    found = desk.snapshot.state.groups.get(request.match_info["group"])
    if found is None or found.name not in desk.snapshot.policy.groups:
        raise web.HTTPNotFound(text=f"no group {request.match_info['group']}")
    no = refused(facts)
    lines = [
        {
            "time": time.strftime("%H:%M:%S", time.localtime(fact.at.wall)),
            "text": fact_line(
                fact.kind.value, fact.subject, fact.actor, dict(fact.data), Language(page.language)
            ),
        }
        for fact in facts
    ]
    return page.render(
        "group.html",
        code=status,
        group=group_view(found, desk.snapshot, desk.clock.now()),
        verbs=[verb.value for verb in SwitchVerb],
        message=message,
        refused=refusal_reasons(str(no.get("reasons") or "")) if no is not None else [],
        facts=lines,
        dry_run=dry_run,
    )


async def group_action(request: web.Request) -> web.Response:
    desk, by, page = request.app[DESK], _account(request).name, page_of(request)
    name, action = request.match_info["group"], request.match_info["action"]
    if name not in desk.snapshot.policy.groups or action not in ("arm", "disarm", "switch"):
        raise web.HTTPNotFound(text=f"{action} {name}")
    form = await request.post()
    at = desk.clock.now()
    event: Event
    if action != "switch":
        event = OperatorArmed(at=at, group=name, armed=action == "arm", by=by)
    else:
        verb, reason = str(form.get("verb", "")), str(form.get("reason", "")).strip()[:500]
        if verb not in list(SwitchVerb):
            raise BadRequest(f"verb: {verb!r} is not one of {', '.join(SwitchVerb)}")
        dry = bool(form.get("dry_run"))
        if verb == SwitchVerb.FORCE and not reason and not dry:
            raise BadRequest("reason: force needs a reason")
        event = OperatorRequestedSwitch(
            at=at, group=name, verb=SwitchVerb(verb), target=str(form.get("target", "")), by=by, reason=reason
        )
        if dry:
            return _group_page(
                request, message=page.word("dry_run_says"), facts=desk.rehearse(event), dry_run=True
            )
    facts = await desk.ask(event)
    if refused(facts) is not None:
        return _group_page(request, message=page.word("refused"), facts=facts, status=409)
    return web.Response(status=303, headers={"Location": f"/groups/{name}"})


async def place_hold(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    form = await request.post()
    scope, reason, minutes = (str(form.get(key, "")).strip() for key in ("scope", "reason", "minutes"))
    if scope not in desk.snapshot.policy.groups and scope != "*":
        raise BadRequest(f"scope: no group named {scope!r}")
    if not reason or not minutes.isascii() or not minutes.isdigit() or not 1 <= int(minutes) <= 7 * 24 * 60:
        raise BadRequest("a hold needs a reason, and minutes from 1 to 10080")
    at = desk.clock.now()
    event = OperatorPlacedHold(
        at=at,
        scope=scope,
        by=_account(request).name,
        reason=reason[:500],
        until_wall=at.wall + int(minutes) * 60,
    )
    return await _then(request, event, "/")


async def end_hold(request: web.Request) -> web.Response:
    at = request.app[DESK].clock.now()
    event = OperatorReleasedHold(at=at, scope=request.match_info["scope"], by=_account(request).name)
    return await _then(request, event, "/")


async def acknowledge_form(request: web.Request) -> web.Response:
    """What a mail scanner that follows the link gets as well: nothing happens on GET."""
    return _acknowledge_page(request, done=False)


async def acknowledge(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    links, at = request.app[CONSOLE].links, desk.clock.now()
    token = request.match_info["token"]
    try:
        link = links.read(token, at.wall)
    except LinkError:
        return _acknowledge_page(request, done=False)
    # Used up only once the acknowledgement is durable: a journal that can't be written must not cost the link.
    await desk.ask(OperatorAcknowledged(at=at, incident=link.incident, by=link.person, via="link"))
    with contextlib.suppress(LinkError):  # a second click was faster
        links.redeem(token, at.wall)
    return _acknowledge_page(request, done=True)


def _acknowledge_page(request: web.Request, *, done: bool) -> web.Response:
    desk, page = request.app[DESK], page_of(request)
    links = request.app[CONSOLE].links
    try:
        link = links.read(request.match_info["token"], desk.clock.now().wall, redeemed=done)
    except LinkError as error:
        return page.render(
            "acknowledge.html", code=410, problem=f"ack_link_{error.reason}", drill=False, done=False
        )
    found = desk.snapshot.state.incidents.get(link.incident)
    if found is None:
        return page.render("acknowledge.html", code=410, problem="ack_link_wrong", drill=False, done=False)
    return page.render(
        "acknowledge.html",
        problem="",
        done=done,
        drill=found.drill,
        incident=incident_view(found, desk.snapshot),
        person=link.person,
    )


async def _then(request: web.Request, event: Event, location: str) -> web.Response:
    """Ask, then show where it leads; a refusal is one clear page."""
    facts = await request.app[DESK].ask(event)
    if (no := refused(facts)) is not None:
        page = page_of(request)
        reasons = refusal_reasons(str(no.get("reasons") or no.get("reason") or no.kind))
        return page.render(
            "message.html",
            code=409,
            heading=page.word("refused"),
            lines=[page.refusal(reason) for reason in reasons],
        )
    return web.Response(status=303, headers={"Location": location})
