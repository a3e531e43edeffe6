"""The console's pages: made on the server, live by server-sent events, usable without JavaScript."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from controller.engine.desk import refusals, refused
from controller.model.facts import Fact
from controller.model.groups import UNBYPASSABLE, SwitchVerb
from controller.model.incidents import IncidentState
from controller.web.acknowledging import add_acknowledging_routes
from controller.web.console import CONSOLE, ROOM, Page
from controller.web.problems import Handler, wants_page
from controller.web.reading import CENSUS, DESK
from controller.web.run_cards import run_card
from controller.web.signing import add_signing_routes
from controller.web.views import call_figures, display, group_view, incident_view, status_view

MOST_HISTORY = 8


def add_page_routes(application: web.Application) -> None:
    router = application.router
    router.add_get("/", wallboard)
    router.add_get("/incidents/{incident}", incident)
    router.add_get("/runs/{run}", run)
    router.add_get("/groups/{group}", group)
    router.add_static("/static/", ROOM / "static")
    add_signing_routes(application)
    add_acknowledging_routes(application)


async def wallboard(request: web.Request) -> web.Response:
    desk, page = request.app[DESK], Page(request)
    now = desk.clock.now()
    status = status_view(
        desk.snapshot,
        now,
        desk.head,
        health=request.app[CENSUS].counts(),
        journal_failing=desk.journal_failing,
    )
    closed = [item for item in desk.snapshot.state.incidents.values() if not item.open]
    newest = sorted(closed, key=lambda item: -item.opened_wall)[:MOST_HISTORY]
    return page.render(
        "wallboard.html",
        live=f"/api/v1/events?after={desk.snapshot.sequence}",
        status=status,
        history=[incident_view(item, desk.snapshot, now) for item in newest],
        runs=[run_card(page, item, desk) for item in desk.snapshot.state.runs.values() if item.live],
    )


async def incident(request: web.Request) -> web.Response:
    desk, page = request.app[DESK], Page(request)
    name = request.match_info["incident"]
    found = (await desk.recall(name)).state.incidents.get(name)
    if found is None:
        raise web.HTTPNotFound(text=f"no incident {name}")
    sequence = desk.snapshot.sequence
    entries = await request.app[CONSOLE].recent.of(desk, found.id)
    snapshot = await desk.recall(name)
    found = snapshot.state.incidents[name]
    view = incident_view(found, snapshot, desk.clock.now())
    runs = [run_card(page, snapshot.state.runs[item["id"]], desk) for item in reversed(view["runs"])]
    primary = next_action(found.state)
    others = [
        action
        for action, wanted in (
            ("acknowledge", not found.acknowledged_wall),
            ("command", not found.commander),
            ("mitigate", not found.mitigated_wall),
            ("resolve", True),
        )
        if found.open and wanted and action != primary
    ]
    text = desk.page_text(found.id)
    return page.render(
        "incident.html",
        live=f"/api/v1/events?incident={found.id}&after={sequence}",
        incident=view,
        commander=display(found.commander, snapshot) if found.commander else "",
        acknowledged_by=display(found.acknowledged_by, snapshot),
        runs=runs,
        cards=[card for item in runs for card in item["cards"]],
        entries=page.entries(entries),
        because=next(
            (page.of(row.because) for row in snapshot.policy.severities if row.name == found.reason.rule), ""
        ),
        severity=page.severity(view["reason"]),
        needs=page.of(text.need) if text is not None else "",
        impact=_impact(request, found.group or found.root),
        primary=primary,
        others=others,
    )


def next_action(state: IncidentState) -> str:
    """The one button that follows the incident's state."""
    match state:
        case IncidentState.OPEN:
            return "acknowledge"
        case IncidentState.ACKNOWLEDGED:
            return "mitigate"
        case IncidentState.MITIGATED:
            return "resolve"
        case IncidentState.RESOLVED | IncidentState.MERGED:
            return ""


def _impact(request: web.Request, name: str) -> dict[str, Any]:
    """The strip in call terms: the active side, what the edges count of live calls, the last switch."""
    desk = request.app[DESK]
    snapshot, now = desk.snapshot, desk.clock.now()
    found = snapshot.state.groups.get(name)
    if found is None or name not in snapshot.policy.groups:
        return {"group": None, "calls": None, "mos": None}
    view = group_view(found, snapshot, now)
    active = next((side for side in view["sides"] if side["active"]), None)
    mos = None
    if active is not None:
        for key, measured in snapshot.state.measurements.items():
            if key.component == active["component"] and isinstance(
                value := dict(measured.values).get("mos"), float
            ):
                mos = value
    return {"group": view, "active": active, "calls": call_figures(name, snapshot, now), "mos": mos}


async def run(request: web.Request) -> web.Response:
    desk, page = request.app[DESK], Page(request)
    found = await desk.recall_run(request.match_info["run"])
    if found is None:
        raise web.HTTPNotFound(text=f"no run {request.match_info['run']}")
    live = f"/api/v1/events?after={desk.snapshot.sequence}"
    return page.render("run.html", live=live if found.live else "", run=run_card(page, found, desk))


async def group(request: web.Request) -> web.Response:
    return group_page(request, request.match_info["group"])


def group_page(
    request: web.Request,
    name: str,
    *,
    message: str = "",
    facts: Sequence[Fact] = (),
    asked: dict[str, str] | None = None,
    status: int = 200,
) -> web.Response:
    """The switch sheet. `asked`: the form that these facts answer, to be shown filled in again."""
    desk, page = request.app[DESK], Page(request, f"/groups/{name}")
    found = desk.snapshot.state.groups.get(name)
    if found is None or name not in desk.snapshot.policy.groups:
        raise web.HTTPNotFound(text=f"no group {name}")
    no = refused(facts)
    reasons = refusals(facts)
    view = group_view(found, desk.snapshot, desk.clock.now())
    usual = SwitchVerb.SWITCHOVER if found.active == view["preferred"] else SwitchVerb.FAILBACK
    standby = next((side["name"] for side in view["sides"] if not side["active"]), "")
    unbypassable = {guard.value for guard in UNBYPASSABLE}
    return page.render(
        "group.html",
        code=status,
        live="" if message else f"/api/v1/events?after={desk.snapshot.sequence}",
        group=view,
        verbs=[verb.value for verb in SwitchVerb if verb is not SwitchVerb.FORCE],
        asked={"verb": usual.value, "target": standby, "reason": "", "dry_run": ""} | (asked or {}),
        message=message,
        refused=reasons,
        lacking=str(no.get("lacking") or "").replace(",", ", ") if no is not None else "",
        bypassable=[reason for reason in reasons if reason not in unbypassable] if asked else [],
        final=[reason for reason in reasons if reason in unbypassable],
        facts=page.facts([fact for fact in facts if fact is not no]),
    )


@web.middleware
async def as_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A problem as a page, for a browser that shows one: what happened, and where to go from here."""
    response = await handler(request)
    if (
        not isinstance(response, web.Response)
        or response.content_type != "application/problem+json"
        or not wants_page(request)
    ):
        return response
    problem = json.loads(response.text or "{}")
    page = Page(request)
    if response.status == 409:
        heading, lines = page.word("refused"), [page.refusal(reason) for reason in problem.get("reasons", ())]
    else:
        keys = {403: "not_allowed", 404: "not_found", 503: "not_recorded", 504: "outcome_unknown"}
        key = keys.get(response.status, "went_wrong")
        heading, lines = page.word(key), [str(problem.get("detail") or problem.get("title") or "")]
    return page.render("message.html", code=response.status, heading=heading, lines=lines)
