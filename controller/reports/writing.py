"""A report written in a process of its own, so that the engine beside it never waits for one.

    python -m controller.reports.writing < frames > report

Standard input is a row of pickled frames from the parent process: one Order, then Titles and Entries in any order.
Standard output is the report, UTF-8. Exit 0 when written, 3 when the entries do not say what the incident is.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import IO, NamedTuple

from controller.model.drills import Drill, Scenario
from controller.model.facts import Entry
from controller.model.runbooks import Text
from controller.reports.document import Document
from controller.reports.drill_record import drill_record
from controller.reports.html import html
from controller.reports.markdown import markdown
from controller.reports.review import Background, make_review
from controller.reports.review_document import review_document
from controller.reports.values import Language

NOTHING_KNOWN = 3


class Form(StrEnum):
    MARKDOWN = "markdown"
    HTML = "html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """The review of `incident`, or, with `drill`, that drill's record."""

    form: Form
    language: Language
    background: Background
    incident: str = ""
    drill: Drill | None = None
    scenario: Scenario | None = None


class Titles(NamedTuple):
    """Some of the background's titles: ten thousand of them are not pickled in one go."""

    titles: Mapping[str, Text]


class Entries(NamedTuple):
    """The next of an incident's entries, oldest first."""

    incident: str
    entries: tuple[Entry, ...]


Frame = Order | Titles | Entries


def frame(value: Frame) -> bytes:
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def write(source: IO[bytes]) -> str | None:
    """The report that the frames ask for; None when the entries do not say what the incident is.

    Raises EOFError without an order. The frames are believed: they come from the parent process alone.
    """
    order: Order | None = None
    titles: dict[str, Text] = {}
    entries: dict[str, list[Entry]] = {}
    with contextlib.suppress(EOFError):
        while True:
            match pickle.load(source):
                case Order() as given:
                    order = given
                case Titles(more):
                    titles.update(more)
                case Entries(incident, found):
                    entries.setdefault(incident, []).extend(found)
    if order is None:
        raise EOFError("no order")
    document = _document(order, replace(order.background, titles=titles), entries)
    if document is None:
        return None
    return html(document) if order.form is Form.HTML else markdown(document)


def _document(order: Order, background: Background, entries: Mapping[str, list[Entry]]) -> Document | None:
    if order.drill is None:
        review = make_review(entries.get(order.incident, ()), order.incident, background)
        return None if review is None else review_document(review, order.language)
    reviews = [make_review(entries.get(name, ()), name, background) for name in order.drill.incidents]
    return drill_record(
        order.drill,
        order.language,
        scenario=order.scenario,
        reviews=[review for review in reviews if review is not None],
        background=background,
    )


def main() -> int:
    os.nice(10)  # a switch under way goes before any report
    text = write(sys.stdin.buffer)
    if text is None:
        return NOTHING_KNOWN
    sys.stdout.buffer.write(text.encode())
    return 0


if __name__ == "__main__":
    # Pickled names are those of the imported module, not of __main__.
    from controller.reports import writing

    sys.exit(writing.main())
