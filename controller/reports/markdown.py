"""A document as Markdown (CommonMark with GitHub's tables). What the record holds is text, never markup."""

from __future__ import annotations

import re
import unicodedata

import jinja2

from controller.reports.document import Document
from controller.reports.templates import LOADER

_MARKUP = re.compile(r"[\\`*\[\]{}<>|~$&]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
_LEADING = re.compile(r"^(?:(\d+)(?=[.)](?:\s|$))|(?=#|[-+](?:\s|$)|[-=]+$))")
"""What begins a heading, a list or an underline, at the beginning of a line only."""

_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;"}


def escape(text: str) -> str:
    """One line of plain text that renders as itself in a paragraph, a list and a table cell.

    `<`, `>`, `&` and `|` become entities: not every reader of Markdown takes a backslash before them.
    """
    visible = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    line = _MARKUP.sub(lambda found: _ENTITIES.get(found[0], "\\" + found[0]), " ".join(visible.split()))
    return _LEADING.sub(lambda found: f"{found[1] or ''}\\", line)


_templates = jinja2.Environment(
    loader=LOADER,
    autoescape=False,  # every value goes through `text`; a test feeds markup through all of them
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_templates.filters["text"] = escape
_templates.tests["block"] = lambda block, name: type(block).__name__ == name
_report = _templates.get_template("report.md")  # compiled now, not while an engine runs beside it


def markdown(document: Document) -> str:
    rendered = _report.render(document=document)
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"
