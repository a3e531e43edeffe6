"""The record: the timeline, whether it is whole, and reports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli.client import CallFailed
from controller.cli.exits import Exit
from controller.cli.screen import Screen, clock_time, write_document
from controller.model import words
from controller.model.runbooks import Text
from controller.reports.prose import Language, entry_line
from controller.reports.zones import zone

Journal = Annotated[
    Path | None, typer.Option(help="Read this journal file itself; needs no running controller.", exists=True)
]

MOST_AT_ONCE = 10_000
"""Entries of one answer of the controller."""


def add_to(application: typer.Typer) -> None:
    application.command()(timeline)
    application.command()(verify)
    application.command()(report)


def timeline(
    context: typer.Context,
    incident: Annotated[str, typer.Argument(help="Of this incident only.")] = "",
    after: Annotated[
        int | None, typer.Option(min=0, help="What follows this sequence, from there on; else the newest.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_AT_ONCE, help="At most so many entries.")] = 200,
    everything: Annotated[bool, typer.Option("--all", help="Every entry, without a limit.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it grows; with --json, a line an entry.")
    ] = False,
    journal: Journal = None,
) -> None:
    """What was seen and done, the newest last."""
    screen: Screen = context.obj
    if follow and journal is not None:
        raise typer.BadParameter("a journal file does not grow by itself", param_hint="--follow")

    def read(after: int | None, limit: int) -> list[dict[str, Any]]:
        if journal is not None:
            from controller import (
                app,
            )  # most of the program; talking to a running controller needs none of it

            return asyncio.run(app.read_timeline(journal, incident=incident, after=after, limit=limit))
        place = {} if after is None else {"after": after}
        answer = screen.client.get("/api/v1/timeline", incident=incident, limit=limit, **place)
        found: list[dict[str, Any]] = answer["entries"]
        return found

    entries = _all(read, after or 0) if everything else read(after, limit)
    if incident and not entries and not read(None, 1):
        missing = words.MISSING["incident"]
        raise CallFailed(Text(zh=missing.zh.format(incident), en=missing.en.format(incident)), Exit.NOT_FOUND)
    cut = not everything and len(entries) == limit
    if cut and after is None:
        screen.say(
            screen.word(
                f"只列出最新 {limit} 条；更早的用 --all 或 --limit",
                f"the newest {limit} only; for earlier ones: --all, or --limit",
            )
        )
    screen.say(screen.word(f"时间为 {zone()}", f"times are {zone()}"))
    if screen.as_json and not follow:
        screen.show({"entries": entries}, "")
    for entry in entries if follow or not screen.as_json else ():
        _line(screen, entry)
    if cut and after is not None and not follow:
        screen.say(
            screen.word(
                f"共列出 {limit} 条；后面的用 --after {entries[-1]['sequence']}",
                f"{limit} entries; what follows: --after {entries[-1]['sequence']}",
            )
        )
    if follow:
        asyncio.run(_follow(screen, incident, entries[-1]["sequence"] if entries else after or 0))


def _all(read: Callable[[int | None, int], list[dict[str, Any]]], after: int) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    while found := read(after, MOST_AT_ONCE):
        entries += found
        after = found[-1]["sequence"]
    return entries


async def _follow(screen: Screen, incident: str, after: int) -> None:
    """Raises CallFailed when the stream ends, which it does not by itself."""
    async for entry in screen.client.events("/api/v1/events", incident=incident, after=after):
        _line(screen, entry)
    raise CallFailed(
        Text(
            zh="控制器结束了时间线的传送；它可能已停止",
            en="the controller ended the stream; it may have stopped",
        ),
        Exit.UNREACHABLE,
    )


def _line(screen: Screen, entry: dict[str, Any]) -> None:
    if screen.as_json:
        print(json.dumps(entry, ensure_ascii=False), flush=True)
        return
    mark = "【演练】" if entry["drill"] else ""
    text = entry_line(entry, Language(screen.language))
    who = f" [{entry['incident']}]" if entry["incident"] else ""
    screen.say(
        f"{entry['sequence']:>6}  {clock_time(entry['wall'])}{_fraction(entry['wall'])}{who}  {mark}{text}"
    )


def _fraction(wall: float) -> str:
    return f".{int(wall * 1000) % 1000:03d}"


def verify(context: typer.Context, journal: Journal = None) -> None:
    """Check the journal's hash chain and the invariants over it. Exit 1 when something does not hold."""
    screen: Screen = context.obj
    if journal is not None:
        from controller import app

        violations, head, count = asyncio.run(app.check_journal(journal))
        answer: dict[str, Any] = {
            "intact": not violations,
            "violations": violations,
            "head": head,
            "entries": count,
        }
    else:
        answer = screen.client.verification()
    if answer["violations"]:
        text = "\n".join(answer["violations"])
    else:
        text = (
            screen.word("完整：链与不变量都成立", "intact: the chain and the invariants hold")
            + f"\nhead {answer['head']}"
        )
    screen.show(answer, text)
    raise typer.Exit(Exit.DONE if answer["intact"] else Exit.PROBLEM)


def report(
    context: typer.Context,
    incident: str,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here; else to the screen.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="markdown or html.")] = "markdown",
) -> None:
    """The review draft of an incident, as Markdown or one self-contained HTML page."""
    screen: Screen = context.obj
    write_document(screen, f"/api/v1/incidents/{incident}/report", form, output)
