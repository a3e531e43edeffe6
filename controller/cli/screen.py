"""What a command prints: one JSON document, or text for a person."""

from __future__ import annotations

import json
import locale
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controller.cli.client import Client
from controller.model.runbooks import Text as TwoLanguages

SEVERITY_STYLES = {1: "bold white on red", 2: "bold red", 3: "yellow", 4: "cyan"}


@dataclass(frozen=True, slots=True)
class Screen:
    """One invocation: where the controller is, and how the person wants to read."""

    client: Client
    as_json: bool
    language: str  # zh | en
    console: Console

    def show(self, document: object, text: str | Table) -> None:
        if self.as_json:
            print(json.dumps(document, ensure_ascii=False, indent=2))
        elif isinstance(text, str):
            self.console.print(text, soft_wrap=True)
        else:
            self.console.print(text)

    def say(self, text: str) -> None:
        """For a person only; silent with --json."""
        if not self.as_json:
            self.console.print(text, soft_wrap=True)

    def pick(self, text: Mapping[str, str] | None, fallback: str = "") -> str:
        """The side of a two-language text that this person reads."""
        return (text or {}).get(self.language) or fallback

    def said(self, text: TwoLanguages) -> str:
        """A text of the program's own."""
        return text.zh if self.language == "zh" else text.en

    def word(self, zh: str, en: str) -> str:
        return zh if self.language == "zh" else en


def preferred_language() -> str:
    name = os.environ.get("THIRDRING_LANGUAGE") or os.environ.get("LC_ALL") or os.environ.get("LANG") or ""
    if not name:
        name = locale.getlocale()[0] or ""
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"


def clock_time(wall: float) -> str:
    """Local time of a Unix time, or a dash when it has not happened."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall)) if wall else "-"


def short_time(wall: float, now: float) -> str:
    """The time of the day, with the date where it is another day; a dash when it has not happened."""
    if not wall:
        return "-"
    then, today = time.localtime(wall), time.localtime(now)
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%m-%d %H:%M", then)


def duration(seconds: float) -> str:
    """12 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    title: str = "",
    unwrapped: Sequence[str] = (),
) -> Table:
    """Columns in `unwrapped` keep each cell on one line, however narrow the screen is."""
    built = Table(title=title or None, title_justify="left", show_edge=False, pad_edge=False, box=None)
    for column in columns:
        built.add_column(column, overflow="fold", header_style="bold", no_wrap=column in unwrapped)
    for row in rows:
        built.add_row(*row)
    return built


def facts_lines(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    facts: Sequence[Mapping[str, Any]] = answer.get("facts", ())
    return facts


def write_document(screen: Screen, path: str, form: str, output: Path | None) -> None:
    """Fetch a report and print it, or write it to `output` and say where. `form`: markdown or html."""
    if form not in ("markdown", "html"):
        raise typer.BadParameter("markdown or html", param_hint="--format")
    text = screen.client.text(path, format=form, language=screen.language)
    if output is None:
        print(text)
        return
    output.write_text(text, encoding="utf-8")
    screen.show({"path": str(output.resolve())}, str(output.resolve()))
