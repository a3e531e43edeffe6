"""The page behind an acknowledge link. Opening it does nothing, whoever or whatever opens it; its button acknowledges."""

from __future__ import annotations

import contextlib
from typing import Any

from aiohttp import web

from controller.engine.desk import Desk, refusals
from controller.model.events import OperatorAcknowledged
from controller.model.incidents import IncidentState
from controller.web.console import CONSOLE, Page
from controller.web.links import Link, LinkError, LinkProblem
from controller.web.reading import DESK
from controller.web.views import display, incident_view, page_view


def add_acknowledging_routes(application: web.Application) -> None:
    application.router.add_get("/a/{token}", acknowledge_form)
    application.router.add_post("/a/{token}", acknowledge)


async def acknowledge_form(request: web.Request) -> web.Response:
    """What a mail scanner that follows the link gets as well: nothing happens on GET."""
    desk, page = request.app[DESK], Page(request)
    links, token, now = request.app[CONSOLE].links, request.match_info["token"], desk.clock.now().wall
    try:
        link = links.read(token, now, redeemed=True)
    except LinkError as error:
        return _useless(page, error.reason)
    return await _asked(page, desk, link, used=not _fresh(request, token, now))


async def acknowledge(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    links, at = request.app[CONSOLE].links, desk.clock.now()
    token = request.match_info["token"]
    page = Page(request, request.path)
    try:
        link = links.read(token, at.wall)
    except LinkError as error:
        if error.reason is not LinkProblem.USED:
            return _useless(page, error.reason)
        return web.Response(status=303, headers={"Location": request.path})
    # Used up only once the acknowledgement is durable: a journal that can't be written must not cost the link.
    facts = await desk.ask(OperatorAcknowledged(at=at, incident=link.incident, by=link.person, via="link"))
    if not refusals(facts):
        with contextlib.suppress(LinkError):  # a second click was faster
            links.redeem(token, at.wall)
    return web.Response(status=303, headers={"Location": request.path})


def _fresh(request: web.Request, token: str, now: float) -> bool:
    try:
        request.app[CONSOLE].links.read(token, now)
    except LinkError:
        return False
    return True


def _useless(page: Page, reason: LinkProblem) -> web.Response:
    """One clear page, which says what to do instead."""
    return page.render("link_problem.html", code=410, problem=f"ack_link_{reason}")


async def _asked(page: Page, desk: Desk, link: Link, *, used: bool) -> web.Response:
    snapshot, now = await desk.recall(link.incident), desk.clock.now()
    incident = snapshot.state.incidents.get(link.incident)
    while incident is not None and incident.state is IncidentState.MERGED:
        incident = snapshot.state.incidents.get(incident.merged_into)
    single = snapshot.state.pages.get(link.incident)
    if incident is None and single is None:
        return _useless(page, LinkProblem.WRONG)
    shown: dict[str, Any]
    if incident is not None:
        shown = incident_view(incident, snapshot, now)
        closed = not incident.open
        by, wall = incident.acknowledged_by, incident.acknowledged_wall
    else:
        assert single is not None
        shown = page_view(single, snapshot, now)
        by, wall = single.acknowledged_by, single.acknowledged_wall
        closed = not wall and single.next_due is None
    text = desk.page_text(shown["id"])
    return page.render(
        "acknowledge.html",
        id=shown["id"],
        address=f"/incidents/{shown['id']}" if incident is not None else "/",
        severity=shown["severity"],
        drill=shown["drill"],
        lines=[page.of(line) for line in (text.what, text.impact, text.did, text.need)] if text else [],
        closed=closed,
        used=used,
        acknowledged_by=display(by, snapshot) if wall else "",
        acknowledged_wall=wall,
        person=display(link.person, snapshot),
    )
