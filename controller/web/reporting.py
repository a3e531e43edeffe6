"""GET routes: the review of an incident and the record of a drill, as Markdown or as one HTML file.

Reports are made in a thread, one at a time: nothing of them holds the interpreter long, and the engine's loop goes on.
"""

from __future__ import annotations

import asyncio
import datetime
import zoneinfo
from collections.abc import Callable, Mapping
from enum import StrEnum

from aiohttp import web

from controller.engine.desk import Desk
from controller.engine.loop import Snapshot
from controller.model.chain import Head
from controller.model.facts import Entry
from controller.model.runbooks import Step, Text
from controller.reports.document import Document
from controller.reports.drill_record import drill_record
from controller.reports.html import html
from controller.reports.markdown import markdown
from controller.reports.review import Background, make_review
from controller.reports.review_document import review_document
from controller.reports.values import Language
from controller.web.problems import BadRequest
from controller.web.reading import DESK

MOST_ENTRIES = 50_000
"""Of one incident in one report."""

ONE_AT_A_TIME = web.AppKey("one_at_a_time", asyncio.Lock)


class Form(StrEnum):
    MARKDOWN = "markdown"
    HTML = "html"


RENDER: Mapping[Form, tuple[str, Callable[[Document], str]]] = {
    Form.MARKDOWN: ("text/markdown", markdown),
    Form.HTML: ("text/html", html),
}


def add_reporting_routes(application: web.Application) -> None:
    application[ONE_AT_A_TIME] = asyncio.Lock()
    application.router.add_get("/api/v1/incidents/{incident}/report", incident_report)
    application.router.add_get("/api/v1/drills/{drill}/record", drill_report)


async def incident_report(request: web.Request) -> web.Response:
    """`?format=markdown|html` (markdown), `?language=zh|en` (zh)."""
    desk, name = request.app[DESK], request.match_info["incident"]
    form, language = _wanted(request)
    if name not in desk.snapshot.state.incidents:
        raise web.HTTPNotFound(text=f"no incident {name}")
    entries = await _entries(desk, name)
    snapshot, head, written = desk.snapshot, desk.head, desk.clock.now().wall

    def write() -> str | None:
        review = make_review(entries, name, background(snapshot, head, written))
        return None if review is None else RENDER[form][1](review_document(review, language))

    return await _answer(request, form, write, f"the journal says nothing of incident {name}")


async def drill_report(request: web.Request) -> web.Response:
    """`?format=markdown|html` (markdown), `?language=zh|en` (zh)."""
    desk, name = request.app[DESK], request.match_info["drill"]
    form, language = _wanted(request)
    drill = desk.snapshot.state.drills.get(name)
    if drill is None:
        raise web.HTTPNotFound(text=f"no drill {name}")
    found = [(incident, await _entries(desk, incident)) for incident in drill.incidents]
    snapshot, head, written = desk.snapshot, desk.head, desk.clock.now().wall

    def write() -> str | None:
        known = background(snapshot, head, written)
        reviews = [
            review
            for incident, entries in found
            if (review := make_review(entries, incident, known)) is not None
        ]
        scenario = snapshot.policy.scenarios.get(drill.scenario)
        document = drill_record(drill, language, scenario=scenario, reviews=reviews, background=known)
        return RENDER[form][1](document)

    return await _answer(request, form, write, f"the journal says nothing of drill {name}")


def background(snapshot: Snapshot, head: str, written: float) -> Background:
    """What the configuration and the live state add to an incident's own entries."""
    policy, state = snapshot.policy, snapshot.state
    titles: dict[str, Text] = {name: group.title for name, group in policy.groups.items()}
    titles.update((name, component.title) for name, component in policy.components.items())
    return Background(
        titles=titles,
        runbooks={name: book.title for name, book in policy.runbooks.items()},
        steps={
            (name, step.name): step.title
            for name, book in policy.runbooks.items()
            for step in _steps(book.steps)
        },
        people={name: person.display for name, person in policy.people.items()},
        because={row.name: row.because for row in policy.severities},
        rto={name: group.rto for name, group in policy.groups.items()},
        incidents=tuple(state.incidents.values()),
        drills=tuple(state.drills.values()),
        head=Head(state.node, snapshot.sequence, head) if head else None,
        zone=_zone(policy.hours.zone),
        written_wall=written,
    )


def _steps(steps: tuple[Step, ...]) -> list[Step]:
    return [found for step in steps for found in (step, *_steps(step.steps))]


def _zone(name: str) -> datetime.tzinfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return datetime.UTC  # no time zone data on this host; every date shows its offset


async def _entries(desk: Desk, incident: str) -> list[Entry]:
    return [entry async for entry in desk.entries(incident=incident, limit=MOST_ENTRIES)]


def _wanted(request: web.Request) -> tuple[Form, Language]:
    """Raises BadRequest."""
    form, language = request.query.get("format", "markdown"), request.query.get("language", "zh")
    if form not in list(Form):
        raise BadRequest("format must be markdown or html")
    if language not in list(Language):
        raise BadRequest("language must be zh or en")
    return Form(form), Language(language)


async def _answer(
    request: web.Request, form: Form, write: Callable[[], str | None], missing: str
) -> web.Response:
    async with request.app[ONE_AT_A_TIME]:
        text = await asyncio.to_thread(write)
    if text is None:
        raise web.HTTPNotFound(text=missing)
    return web.Response(text=text, content_type=RENDER[form][0], charset="utf-8")
