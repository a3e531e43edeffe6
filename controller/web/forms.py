"""What the console's forms do. Each answers with the page it belongs to, or one clear page that says why not."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from controller.engine.desk import refusals
from controller.model.errors import RequestRefused
from controller.model.events import (
    Event,
    OperatorAcknowledged,
    OperatorApproved,
    OperatorArmed,
    OperatorCancelledRun,
    OperatorDidManualStep,
    OperatorPlacedHold,
    OperatorReleasedGroup,
    OperatorReleasedHold,
    OperatorRequestedSwitch,
    OperatorUpdatedIncident,
)
from controller.model.facts import Fact
from controller.model.groups import Refusal, SwitchVerb
from controller.web.console import Page
from controller.web.operating import account_of
from controller.web.pages import group_page
from controller.web.problems import BadRequest
from controller.web.reading import DESK

LONGEST_HOLD = 7 * 24 * 60
"""Minutes."""


def add_form_routes(application: web.Application) -> None:
    post = application.router.add_post
    post("/incidents/{incident}/{action}", incident_action)
    post("/pages/{page}/acknowledge", page_acknowledged)
    post("/runs/{run}/{action}", run_action)
    post("/groups/{group}/switch", group_switch)
    post("/groups/{group}/{action}", group_action)
    post("/holds", place_hold)
    post("/holds/{scope}/release", end_hold)


async def incident_action(request: web.Request) -> web.Response:
    desk, by = request.app[DESK], account_of(request).name
    name, action = request.match_info["incident"], request.match_info["action"]
    known = action in ("acknowledge", "command", "mitigate", "resolve", "note")
    if name not in desk.snapshot.state.incidents or not known:
        raise web.HTTPNotFound(text=f"{action} {name}")
    at = desk.clock.now()
    event: Event
    if action == "acknowledge":
        event = OperatorAcknowledged(at=at, incident=name, by=by, via="web")
    else:
        note = await _text(request, "note", 4000) if action == "note" else ""
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


async def page_acknowledged(request: web.Request) -> web.Response:
    """Of a run that belongs to no incident."""
    desk, name = request.app[DESK], request.match_info["page"]
    if name not in desk.snapshot.state.pages:
        raise web.HTTPNotFound(text=f"no page {name}")
    event = OperatorAcknowledged(at=desk.clock.now(), incident=name, by=account_of(request).name, via="web")
    return await _then(request, event, "/")


async def run_action(request: web.Request) -> web.Response:
    desk, by = request.app[DESK], account_of(request).name
    run, action = request.match_info["run"], request.match_info["action"]
    found = desk.snapshot.state.runs.get(run)
    if found is None or action not in ("approve", "reject", "done", "cancel"):
        raise web.HTTPNotFound(text=f"{action} {run}")
    form = await request.post()
    step, at = str(form.get("step", "")), desk.clock.now()
    event: Event
    if action == "done":
        event = OperatorDidManualStep(
            at=at, run=run, step=step, by=by, proof=await _text(request, "proof", 2000)
        )
    elif action == "cancel":
        event = OperatorCancelledRun(at=at, run=run, by=by, reason=await _text(request, "reason", 500))
    else:
        attempt = str(form.get("attempt", ""))
        event = OperatorApproved(
            at=at,
            run=run,
            revision=str(form.get("revision", "")),
            step=step,
            attempt=int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 6 else 0,
            granted=action == "approve",
            by=by,
        )
    return await _then(request, event, f"/incidents/{found.incident}" if found.incident else f"/runs/{run}")


async def group_switch(request: web.Request) -> web.Response:
    """A dry run, a switch, or a force with the guards that its sender ticked one by one."""
    desk, page, name = request.app[DESK], Page(request), _group(request)
    form = await request.post()
    asked = {key: str(form.get(key, "")).strip()[:500] for key in ("verb", "target", "reason", "dry_run")}
    if asked["verb"] not in list(SwitchVerb):
        raise BadRequest(f"verb: {asked['verb']!r} is not one of {', '.join(SwitchVerb)}")
    verb = SwitchVerb(asked["verb"])
    overrides = [str(guard) for guard in form.getall("overrides", [])]
    if wrong := [guard for guard in overrides if guard not in list(Refusal)]:
        raise BadRequest(f"overrides: no guard is named {', '.join(map(repr, wrong))}")
    if verb is SwitchVerb.FORCE and not asked["reason"] and not asked["dry_run"]:
        raise BadRequest("reason: force needs a reason")
    event = OperatorRequestedSwitch(
        at=desk.clock.now(),
        group=name,
        verb=verb,
        target=asked["target"],
        by=account_of(request).name,
        reason=asked["reason"],
        overrides=tuple(Refusal(guard) for guard in overrides),
    )
    if asked["dry_run"]:
        facts: Sequence[Fact] = desk.rehearse(event)
        return group_page(request, name, message=page.word("dry_run_says"), facts=facts, asked=asked)
    facts = await desk.ask(event)
    if refusals(facts):
        return group_page(request, name, message=page.word("refused"), facts=facts, asked=asked, status=409)
    return web.Response(status=303, headers={"Location": f"/groups/{name}"})


async def group_action(request: web.Request) -> web.Response:
    desk, page, name = request.app[DESK], Page(request), _group(request)
    action, by, at = request.match_info["action"], account_of(request).name, desk.clock.now()
    event: Event
    if action in ("arm", "disarm"):
        event = OperatorArmed(at=at, group=name, armed=action == "arm", by=by)
    elif action == "settle":
        form = await request.post()
        reason = await _text(request, "reason", 500)
        event = OperatorReleasedGroup(
            at=at, group=name, active=str(form.get("active", "")), by=by, reason=reason
        )
    else:
        raise web.HTTPNotFound(text=f"{action} {name}")
    facts = await desk.ask(event)
    if refusals(facts):
        return group_page(request, name, message=page.word("refused"), facts=facts, status=409)
    return web.Response(status=303, headers={"Location": f"/groups/{name}"})


async def place_hold(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    form = await request.post()
    scope, minutes = (str(form.get(key, "")).strip() for key in ("scope", "minutes"))
    if scope not in desk.snapshot.policy.groups and scope != "*":
        raise BadRequest(f"scope: no group named {scope!r}")
    whole = minutes.isascii() and minutes.isdigit() and len(minutes) < 6
    if not whole or not 1 <= int(minutes) <= LONGEST_HOLD:
        raise BadRequest(f"minutes: a whole number from 1 to {LONGEST_HOLD}")
    reason = await _text(request, "reason", 500)
    at = desk.clock.now()
    event = OperatorPlacedHold(
        at=at,
        scope=scope,
        by=account_of(request).name,
        reason=reason,
        until_wall=at.wall + int(minutes) * 60,
    )
    return await _then(request, event, "/")


async def end_hold(request: web.Request) -> web.Response:
    desk, scope = request.app[DESK], request.match_info["scope"]
    if scope not in desk.snapshot.state.holds:
        raise web.HTTPNotFound(text=f"no hold on {scope}")
    event = OperatorReleasedHold(at=desk.clock.now(), scope=scope, by=account_of(request).name)
    return await _then(request, event, "/")


def _group(request: web.Request) -> str:
    name = request.match_info["group"]
    if name not in request.app[DESK].snapshot.policy.groups:
        raise web.HTTPNotFound(text=f"no group {name}")
    return name


async def _text(request: web.Request, name: str, most: int) -> str:
    """A field that must not be empty. Raises BadRequest."""
    text = str((await request.post()).get(name, "")).strip()
    if not text or len(text) > most:
        raise BadRequest(f"{name}: from 1 to {most} characters")
    return text


async def _then(request: web.Request, event: Event, location: str) -> web.Response:
    """Ask, then show where it leads. Raises RequestRefused."""
    if reasons := refusals(await request.app[DESK].ask(event)):
        raise RequestRefused(reasons)
    return web.Response(status=303, headers={"Location": location})
