"""GET routes: the review of an incident and the record of a drill, as Markdown or as one HTML file.

Reports are written in a child process, one at a time; what it needs is handed over in pieces small enough that the
engine's loop goes on between them.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import logging
import sys
import zoneinfo
from collections.abc import AsyncIterator, Iterable

from aiohttp import web

from controller.engine.desk import Desk
from controller.engine.loop import Snapshot
from controller.model.chain import Head
from controller.model.facts import Entry
from controller.model.incidents import Incident
from controller.model.runbooks import Step, Text
from controller.reports.review import Background, drilled, similar
from controller.reports.values import Language
from controller.reports.writing import NOTHING_KNOWN, Entries, Form, Frame, Order, Titles, frame
from controller.web.problems import BadRequest, Missing
from controller.web.reading import DESK

log = logging.getLogger(__name__)

MOST_ENTRIES = 50_000
"""Of one incident in one report."""

TITLES_A_FRAME = 500
PAYLOAD_A_FRAME = 128 * 1024
"""Characters of payloads."""

LONGEST = 60.0
"""Seconds a report may take."""

WRITER = (sys.executable, "-m", "controller.reports.writing")

CONTENT_TYPES = {Form.MARKDOWN: "text/markdown", Form.HTML: "text/html"}

ONE_AT_A_TIME = web.AppKey("one_at_a_time", asyncio.Lock)


def add_reporting_routes(application: web.Application) -> None:
    application[ONE_AT_A_TIME] = asyncio.Lock()
    application.router.add_get("/api/v1/incidents/{incident}/report", incident_report)
    application.router.add_get("/api/v1/drills/{drill}/record", drill_report)


async def incident_report(request: web.Request) -> web.Response:
    """`?format=markdown|html` (markdown), `?language=zh|en` (zh)."""
    desk, name = request.app[DESK], request.match_info["incident"]
    form, language = _wanted(request)
    incident = (await desk.recall(name)).state.incidents.get(name)
    if incident is None:
        raise Missing("incident", name)
    order = Order(form=form, language=language, incident=name, background=background(desk, incident))
    return await _written(request, order, (name,))


async def drill_report(request: web.Request) -> web.Response:
    """`?format=markdown|html` (markdown), `?language=zh|en` (zh)."""
    desk, name = request.app[DESK], request.match_info["drill"]
    form, language = _wanted(request)
    drill = await desk.recall_drill(name)
    if drill is None:
        raise Missing("drill", name)
    order = Order(
        form=form,
        language=language,
        drill=drill,
        scenario=desk.snapshot.policy.scenarios.get(drill.scenario),
        background=background(desk, None),
    )
    return await _written(request, order, drill.incidents)


def background(desk: Desk, incident: Incident | None) -> Background:
    """What the configuration and the live state add to an incident's own entries, but for the titles."""
    snapshot, head = desk.snapshot, desk.head
    policy, state = snapshot.policy, snapshot.state
    return Background(
        runbooks={name: book.title for name, book in policy.runbooks.items()},
        steps={
            (name, step.name): step.title
            for name, book in policy.runbooks.items()
            for step in _steps(book.steps)
        },
        people={name: person.display for name, person in policy.people.items()},
        because={row.name: row.because for row in policy.severities},
        rto={name: group.rto for name, group in policy.groups.items()},
        incidents=() if incident is None else similar(incident, state.incidents.values()),
        drills=() if incident is None else drilled(incident, state.drills.values()),
        head=Head(state.node, snapshot.sequence, head) if head else None,
        zone=_zone(policy.hours.zone),
        written_wall=desk.clock.now().wall,
    )


def _titles(snapshot: Snapshot) -> Iterable[Titles]:
    policy = snapshot.policy
    named: Iterable[tuple[str, Text]] = itertools.chain(
        ((name, group.title) for name, group in policy.groups.items()),
        ((name, component.title) for name, component in policy.components.items()),
    )
    while some := dict(itertools.islice(named, TITLES_A_FRAME)):
        yield Titles(some)


def _steps(steps: tuple[Step, ...]) -> list[Step]:
    return [found for step in steps for found in (step, *_steps(step.steps))]


def _zone(name: str) -> datetime.tzinfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return datetime.UTC  # no time zone data on this host; every date shows its offset


async def _frames(desk: Desk, order: Order, incidents: Iterable[str]) -> AsyncIterator[Frame]:
    yield order
    for titles in _titles(desk.snapshot):
        yield titles
    for incident in incidents:
        some: list[Entry] = []
        size = 0
        async for entry in desk.story(incident, limit=MOST_ENTRIES):
            some.append(entry)
            size += len(entry.payload)
            if size >= PAYLOAD_A_FRAME:
                yield Entries(incident, tuple(some))
                some, size = [], 0
        yield Entries(incident, tuple(some))


def _wanted(request: web.Request) -> tuple[Form, Language]:
    """Raises BadRequest."""
    form, language = request.query.get("format", "markdown"), request.query.get("language", "zh")
    if form not in list(Form):
        raise BadRequest("format must be markdown or html")
    if language not in list(Language):
        raise BadRequest("language must be zh or en")
    return Form(form), Language(language)


async def _written(request: web.Request, order: Order, incidents: Iterable[str]) -> web.Response:
    desk = request.app[DESK]
    async with request.app[ONE_AT_A_TIME]:
        process = await asyncio.create_subprocess_exec(
            *WRITER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(LONGEST):
                assert process.stdin is not None
                try:
                    async for piece in _frames(desk, order, incidents):
                        process.stdin.write(frame(piece))
                        await process.stdin.drain()
                        await asyncio.sleep(0)  # drain alone does not wait while the pipe has room
                except (BrokenPipeError, ConnectionResetError):
                    log.debug("the report writer ended early")  # its own words follow
                process.stdin.close()
                report, complaint = await process.communicate()
        except TimeoutError:
            raise web.HTTPServiceUnavailable(text=f"the report took longer than {LONGEST:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode == NOTHING_KNOWN:
        raise web.HTTPNotFound(text=f"the journal says nothing of incident {order.incident}")
    if process.returncode != 0:
        raise RuntimeError(
            f"the report writer ended with {process.returncode}: {complaint.decode(errors='replace')}"
        )
    return web.Response(body=report, content_type=CONTENT_TYPES[order.form], charset="utf-8")
