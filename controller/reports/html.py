"""A document as one self-contained HTML file: no scripts, nothing fetched, readable on a phone and printed on A4."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
from markupsafe import Markup

from controller.reports.document import Document
from controller.reports.phase_bar import phase_bar
from controller.reports.templates import LOADER

_STYLE = (Path(__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")

_templates = jinja2.Environment(
    loader=LOADER,
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.tests["block"] = lambda block, name: type(block).__name__ == name
_templates.globals["phase_bar"] = phase_bar
_report = _templates.get_template("report.html")  # compiled now, not while an engine runs beside it


def html(document: Document) -> str:
    # Markup: the style sheet is our own file and quotes in it must stay quotes; of what the record holds, only what
    # can't end a CSS string goes into it.
    running = re.sub(r"[^\w .:·-]", "", document.running)
    style = Markup(_STYLE.replace("RUNNING", running))
    return _report.render(document=document, style=style)
