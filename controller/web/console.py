"""The console: pages made on the server, live by server-sent events, usable without JavaScript."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
from aiohttp import web

from controller.engine.desk import Desk
from controller.model import words as names
from controller.model.facts import Entry, FactKind
from controller.model.faults import FaultKind
from controller.model.groups import Refusal
from controller.model.incidents import IncidentState
from controller.model.runbooks import Step, Text
from controller.reports.prose import Language, entry_line, severity_text
from controller.web.access import COOKIE, COOKIE_SECONDS, Access, Account
from controller.web.links import AcknowledgeLinks
from controller.web.words import word

ROOM = Path(__file__).parent

NAMED: Mapping[str, Mapping[Any, Text]] = {
    "incident": names.INCIDENT_STATES,
    "verb": names.SWITCH_VERBS,
    "phase": names.PHASES,
    "run": names.RUN_STATES,
    "step": names.STEP_STATES,
    "delivery": names.DELIVERY_STATES,
    "drill": names.DRILL_STATES,
}

PEOPLE = frozenset(
    {
        FactKind.INCIDENT_ACKNOWLEDGED,
        FactKind.NOTE,
        FactKind.COMMAND_TAKEN,
        FactKind.GRADE_CONFIRMED,
        FactKind.APPROVAL_GIVEN,
        FactKind.APPROVAL_REFUSED,
        FactKind.MANUAL_DONE,
        FactKind.HOLD_PLACED,
        FactKind.HOLD_RELEASED,
        FactKind.GROUP_ARMED,
        FactKind.GROUP_DISARMED,
        FactKind.FAULT_REPORTED,
    }
)

STEP_MARKS = {
    "succeeded": "✔",
    "failed": "✘",
    "rollback_failed": "✘",
    "skipped": "–",
    "rolled_back": "↩",
    "awaiting_person": "☛",
    "unknown": "?",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Console:
    """What the pages need beside the desk."""

    access: Access
    links: AcknowledgeLinks
    secure_cookies: bool
    default_language: str = "zh"


CONSOLE = web.AppKey("console", Console)

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(ROOM / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Page:
    """One page for one reader: language, account, and the functions templates call."""

    def __init__(self, request: web.Request, account: Account | None) -> None:
        self.request = request
        self.account = account
        self.language = choose_language(request)

    def word(self, key: str, *values: object) -> str:
        return word(key, self.language, *values)

    def pick(self, text: Mapping[str, str] | None, fallback: str = "") -> str:
        return (text or {}).get(self.language) or fallback

    def of(self, text: Text) -> str:
        return text.zh if self.language == "zh" else text.en

    def named(self, kind: str, value: str) -> str:
        text = next((text for key, text in NAMED[kind].items() if key.value == value), None)
        return self.of(text) if text is not None else value

    def fault(self, kind: str) -> str:
        return self.of(names.FAULTS[FaultKind(kind)])

    def refusal(self, reason: str) -> str:
        text = next((text for key, text in names.REFUSALS.items() if key.value == reason), None)
        return self.of(text) if text is not None else reason

    def duration(self, seconds: float) -> str:
        whole = max(0, round(seconds))
        minutes, rest = divmod(whole, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

    def render(self, template: str, *, code: int = 200, live: str = "", **values: object) -> web.Response:
        text = _templates.get_template(template).render(
            w=self.word,
            text=self.pick,
            named=self.named,
            fault=self.fault,
            refusal=self.refusal,
            clock=lambda wall: time.strftime("%m-%d %H:%M", time.localtime(wall)),
            time=lambda wall: time.strftime("%H:%M:%S", time.localtime(wall)),
            duration=self.duration,
            language=self.language,
            account=self.account,
            path=self.request.path,
            now=time.time(),
            live=live,
            **values,
        )
        response = web.Response(status=code, text=text, content_type="text/html")
        if (chosen := self.request.query.get("language")) in ("zh", "en"):
            response.set_cookie("language", str(chosen), max_age=365 * 86400, samesite="Lax", httponly=True)
        return response

    def entries(self, found: list[Entry]) -> list[dict[str, str]]:
        """Newest first, each with its time, its prose and the filter it belongs to."""
        return [
            {
                "time": time.strftime("%H:%M:%S", time.localtime(entry.wall))
                + f".{int(entry.wall * 1000) % 1000:03d}",
                "text": ("【演练】" if entry.drill else "")
                + entry_line(_view(entry), Language(self.language)),
                "group": "people" if entry.kind in PEOPLE else "actions",
            }
            for entry in reversed(found)
        ]

    def severity(self, reason: Mapping[str, Any]) -> str:
        return severity_text(reason, Language(self.language))


def choose_language(request: web.Request) -> str:
    """The query, the cookie, the browser, then the console's own."""
    for wanted in (request.query.get("language"), request.cookies.get("language")):
        if wanted in ("zh", "en"):
            return str(wanted)
    accepted = request.headers.get("Accept-Language", "").lower()
    for part in accepted.split(","):
        if part.strip().startswith("zh"):
            return "zh"
        if part.strip().startswith("en"):
            return "en"
    return request.app[CONSOLE].default_language


def _view(entry: Entry) -> dict[str, Any]:
    view: dict[str, Any] = json.loads(entry.payload)
    view.update(kind=entry.kind, wall=entry.wall, incident=entry.incident, drill=entry.drill)
    return view


def safe_next(address: str) -> str:
    """A path on this console; anything else, another site's address above all, becomes the wallboard."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or not address.startswith("/") or address.startswith(("//", "/\\")):
        return "/"
    return address


def sign_in(request: web.Request, page: Page, token: str, target: str) -> web.Response:
    """A session cookie for a good token; the form again for a bad one."""
    console = request.app[CONSOLE]
    if console.access.by_token(token) is None:
        return page.render("login.html", code=401, wrong=True, next=safe_next(target))
    response = web.Response(status=303, headers={"Location": safe_next(target)})
    response.set_cookie(
        COOKIE,
        console.access.session(token, time.time()),
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="Strict",
        secure=console.secure_cookies,
    )
    return response


def next_action(state: str) -> str:
    """The one button that follows the incident's state."""
    return {
        IncidentState.OPEN.value: "acknowledge",
        IncidentState.ACKNOWLEDGED.value: "mitigate",
        IncidentState.MITIGATED.value: "resolve",
    }.get(state, "")


def step_views(page: Page, run: Mapping[str, Any], desk: Desk) -> list[dict[str, Any]]:
    """The steps of a run that were touched, with what a person must decide."""
    book = desk.snapshot.policy.runbooks.get(run["runbook"])
    definitions = {step.name: step for step in _flat(book.steps)} if book is not None else {}
    views = []
    for record in run["steps"]:
        definition = definitions.get(record["path"].rsplit("/", 1)[-1])
        waiting = ""
        if record["state"] == "awaiting_person" and definition is not None:
            waiting = "approval" if definition.approval is not None else "manual"
        views.append(
            {
                "path": record["path"],
                "mark": STEP_MARKS.get(record["state"], "…"),
                "title": page.of(definition.title) if definition is not None else record["path"],
                "message": record["message"],
                "attempt": max(1, record["attempt"]),
                "waiting": waiting,
                "exact": _exact(definition),
                "disruptive": definition is not None and definition.disruptive,
                "undo": _undo(definition),
                "owner": definition.manual.owner if definition is not None and definition.manual else "",
            }
        )
    return views


def _flat(steps: tuple[Step, ...]) -> list[Step]:
    return [found for step in steps for found in (step, *_flat(step.steps))]


def _exact(step: Step | None) -> str:
    if step is None or step.call is None:
        return ""
    return f"{step.call.action} " + " ".join(f"{name}={value}" for name, value in step.call.parameters)


def _undo(step: Step | None) -> str:
    if step is None:
        return ""
    return step.irreversible or (step.rollback.action if step.rollback is not None else "")


def refusal_reasons(text: str) -> list[str]:
    known = {refusal.value for refusal in Refusal}
    return [reason for reason in text.split(",") if reason in known or reason]
