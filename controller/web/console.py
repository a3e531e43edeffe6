"""What every page of the console shares: its language, who reads it, and the words it is made of."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web

from controller.model import words as names
from controller.model.facts import Entry, Fact, FactKind
from controller.model.faults import FaultKind
from controller.model.runbooks import Text
from controller.reports.prose import Language, entry_line, fact_line, refusal_text, severity_text
from controller.reports.zones import zone
from controller.web.access import Access, Account, Role
from controller.web.links import AcknowledgeLinks
from controller.web.recent import RecentEntries
from controller.web.words import word

ROOM = Path(__file__).parent

ACCOUNT = web.RequestKey("account", Account)
"""Where the access middleware puts the request's Account."""

NAMED: Mapping[str, Mapping[Any, Text]] = {
    "incident": names.INCIDENT_STATES,
    "verb": names.SWITCH_VERBS,
    "phase": names.PHASES,
    "outcome": names.SWITCH_OUTCOMES,
    "run": names.RUN_STATES,
    "delivery": names.DELIVERY_STATES,
    "page": names.PAGE_STATES,
    "drill": names.DRILL_STATES,
    "health": names.HEALTH_STATES,
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

PAGING = frozenset(
    {
        FactKind.PAGE_OPENED,
        FactKind.PAGE_SENT,
        FactKind.PAGE_DELIVERY,
        FactKind.PAGE_REPEATED,
        FactKind.PAGE_ESCALATED,
        FactKind.PAGE_ENDED,
        FactKind.PAGE_WITHHELD,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Console:
    """What the pages need beside the desk."""

    access: Access
    links: AcknowledgeLinks
    secure_cookies: bool
    default_language: str = "zh"
    recent: RecentEntries = field(default_factory=RecentEntries)


CONSOLE = web.AppKey("console", Console)

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(ROOM / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Page:
    """One page for one reader: language, account, and the functions templates call.

    `place`: the address that shows this page again; a page that answers a form is not at the form's own.
    """

    def __init__(self, request: web.Request, place: str = "") -> None:
        self.request = request
        self.account = request.get(ACCOUNT)
        self.language = choose_language(request)
        self.place = place or (request.path if request.method == "GET" else "/")

    def word(self, key: str, *values: object) -> str:
        return word(key, self.language, *values)

    def pick(self, text: Mapping[str, str] | None, fallback: str = "") -> str:
        return (text or {}).get(self.language) or fallback

    def of(self, text: Text) -> str:
        return text.zh if self.language == "zh" else text.en

    def either(self, text: str) -> str:
        """Of a note that a runbook's author wrote as "Chinese / English"; else as it stands."""
        chinese, separator, english = text.partition(" / ")
        return text if not separator else chinese if self.language == "zh" else english

    def named(self, kind: str, value: str) -> str:
        text = next((text for key, text in NAMED[kind].items() if key.value == value), None)
        return self.of(text) if text is not None else value

    def fault(self, kind: str) -> str:
        return self.of(names.FAULTS[FaultKind(kind)])

    def refusal(self, reason: str) -> str:
        return refusal_text(reason, Language(self.language))

    def severity(self, reason: Mapping[str, Any]) -> str:
        return severity_text(reason, Language(self.language))

    def render(self, template: str, *, code: int = 200, live: str = "", **values: object) -> web.Response:
        text = _templates.get_template(template).render(
            w=self.word,
            text=self.pick,
            either=self.either,
            named=self.named,
            fault=self.fault,
            refusal=self.refusal,
            clock=clock,
            duration=duration,
            language=self.language,
            account=self.account,
            may_act=self.account is not None and self.account.role >= Role.OPERATOR,
            place=self.place,
            now=time.time(),
            zone=zone,
            live=live,
            **values,
        )
        response = web.Response(status=code, text=text, content_type="text/html")
        if (chosen := self.request.query.get("language")) in ("zh", "en"):
            response.set_cookie("language", str(chosen), max_age=365 * 86400, samesite="Lax", httponly=True)
        return response

    def entries(self, found: Sequence[Entry]) -> list[dict[str, str]]:
        """Newest first, each with its time, its prose and the filter it belongs to."""
        return [
            {
                "time": _moment(entry.wall),
                "text": ("【演练】" if entry.drill else "")
                + entry_line(_view(entry), Language(self.language)),
                "group": "people"
                if entry.kind in PEOPLE
                else "paging"
                if entry.kind in PAGING
                else "actions",
            }
            for entry in reversed(found)
        ]

    def facts(self, found: Sequence[Fact]) -> list[dict[str, str]]:
        """In the order they came."""
        return [
            {
                "time": time.strftime("%H:%M:%S", time.localtime(fact.at.wall)),
                "text": fact_line(
                    fact.kind.value, fact.subject, fact.actor, dict(fact.data), Language(self.language)
                ),
            }
            for fact in found
        ]


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


def clock(wall: float) -> str:
    """Local time, with the date when it was not today."""
    at = time.localtime(wall)
    today = time.localtime()
    same = (at.tm_year, at.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M:%S" if same else "%m-%d %H:%M", at)


def duration(seconds: float) -> str:
    """1:02:03 or 2:03, as the console's script counts it on."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _moment(wall: float) -> str:
    return f"{clock(wall)}.{int(wall * 1000) % 1000:03d}" if clock(wall).count(":") == 2 else clock(wall)


def _view(entry: Entry) -> dict[str, Any]:
    view: dict[str, Any] = json.loads(entry.payload)
    view.update(kind=entry.kind, wall=entry.wall, incident=entry.incident, drill=entry.drill)
    return view
