"""GET routes: snapshots and the timeline."""

from __future__ import annotations

from aiohttp import web

from controller.engine.audit import AuditLate
from controller.engine.desk import Desk
from controller.model.encoding import plain
from controller.web.census import Census
from controller.web.problems import BadRequest, Missing
from controller.web.stream import stream_timeline
from controller.web.views import (
    component_health,
    component_view,
    entry_view,
    incident_view,
    run_view,
    status_view,
)

DESK = web.AppKey("desk", Desk)
CENSUS = web.AppKey("census", Census)

MOST_DIGITS = 12
"""Of a number in a request."""


def add_reading_routes(application: web.Application) -> None:
    application.router.add_get("/api/v1/status", status)
    application.router.add_get("/api/v1/components", components)
    application.router.add_get("/api/v1/components/{name}", component)
    application.router.add_get("/api/v1/incidents", incidents)
    application.router.add_get("/api/v1/incidents/{incident}", incident)
    application.router.add_get("/api/v1/incidents/{incident}/explanation", explanation)
    application.router.add_get("/api/v1/timeline", timeline)
    application.router.add_get("/api/v1/events", events)
    application.router.add_get("/api/v1/runbooks", runbooks)
    application.router.add_get("/api/v1/runs/{run}", run)
    application.router.add_get("/api/v1/drills", drills)
    application.router.add_get("/api/v1/verification", verification)


async def status(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    return web.json_response(
        status_view(
            desk.snapshot,
            desk.clock.now(),
            desk.head,
            health=request.app[CENSUS].counts(),
            journal_failing=desk.journal_failing,
        )
    )


async def components(request: web.Request) -> web.Response:
    """`?health=DOWN` keeps those alone; at most `?limit=` (200)."""
    desk = request.app[DESK]
    wanted = request.query.get("health", "")
    limit = number(request, "limit", 200)
    names = [
        name
        for name in desk.snapshot.policy.components
        if not wanted or component_health(name, desk.snapshot) == wanted
    ]
    views = [component_view(name, desk.snapshot) for name in names[:limit]]
    return web.json_response({"total": len(names), "components": views})


async def component(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    name = request.match_info["name"]
    if name not in desk.snapshot.policy.components:
        raise Missing("component", name)
    return web.json_response(component_view(name, desk.snapshot))


async def incidents(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    everything = sorted(desk.snapshot.state.incidents.values(), key=lambda item: -item.opened_wall)
    if request.query.get("open") == "true":
        everything = [item for item in everything if item.open]
    return web.json_response(
        {
            "total": len(everything),
            "incidents": [
                incident_view(item, desk.snapshot, desk.clock.now())
                for item in everything[: number(request, "limit", 50)]
            ],
        }
    )


async def incident(request: web.Request) -> web.Response:
    desk, name = request.app[DESK], request.match_info["incident"]
    snapshot = await desk.recall(name)
    found = snapshot.state.incidents.get(name)
    if found is None:
        raise Missing("incident", name)
    return web.json_response(incident_view(found, snapshot, desk.clock.now()))


async def explanation(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    name = request.match_info["incident"]
    if name not in (await desk.recall(name)).state.incidents:
        raise Missing("incident", name)
    return web.json_response(plain(await desk.explain(name)))


async def timeline(request: web.Request) -> web.Response:
    """The newest `?limit=` (1000) entries, in the order of time; with `?after=` (a sequence) the first that follow it.
    `?incident=` keeps those of one incident; of one that another node began, its entries are among the newest, and none of
    them follow a sequence of this node's."""
    desk = request.app[DESK]
    incident = request.query.get("incident", "")
    limit = min(number(request, "limit", 1000), 10_000)
    if request.query.get("after", ""):
        after = number(request, "after", 0)
        found = [entry async for entry in desk.entries(after=after, incident=incident, limit=limit)]
    else:
        found = await desk.newest(limit, incident=incident)
    return web.json_response({"entries": [entry_view(entry) for entry in found]})


async def events(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    last = request.headers.get("Last-Event-ID", "")
    known = last.isascii() and last.isdigit() and len(last) <= MOST_DIGITS
    after = int(last) if known else number(request, "after", desk.snapshot.sequence)
    return await stream_timeline(request, desk, incident=request.query.get("incident", ""), after=after)


async def runbooks(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    return web.json_response(
        {
            "runbooks": [
                {
                    "name": book.name,
                    "revision": book.revision,
                    "title": plain(book.title),
                    "summary": plain(book.summary),
                    "clause": book.clause,
                    "inputs": list(book.inputs),
                    "steps": [step.name for step in book.steps],
                }
                for book in desk.snapshot.policy.runbooks.values()
            ]
        }
    )


async def run(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    found = await desk.recall_run(request.match_info["run"])
    if found is None:
        raise Missing("run", request.match_info["run"])
    return web.json_response(run_view(found, desk.snapshot, desk.clock.now()))


async def drills(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    return web.json_response(
        {
            "scenarios": [plain(scenario) for scenario in desk.snapshot.policy.scenarios.values()],
            "drills": [plain(drill) for drill in desk.snapshot.state.drills.values()],
        }
    )


async def verification(request: web.Request) -> web.Response:
    """`?after=` (a sequence) keeps the violations of invariants that show after it."""
    desk = request.app[DESK]
    head, after = desk.head, number(request, "after", 0)
    try:
        violations = list(await desk.verify(after=after))
    except AuditLate as error:
        raise web.HTTPGatewayTimeout(text=str(error)) from None
    return web.json_response({"intact": not violations, "violations": violations, "head": head})


def number(request: web.Request, name: str, default: int) -> int:
    """A non-negative whole number from the query. Raises BadRequest."""
    text = request.query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS:
        raise BadRequest(f"{name} must be a whole number, not {text!r}")
    return int(text)
