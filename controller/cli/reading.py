"""What there is to read: status, incidents, the timeline, why, and reports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from controller.cli.client import CallFailed
from controller.cli.exits import Exit
from controller.cli.screen import SEVERITY_STYLES, Screen, clock_time, duration, table, write_document
from controller.reports.prose import Language, entry_line, fault_name, severity_text

Journal = Annotated[
    Path | None, typer.Option(help="Read this journal file itself; needs no running controller.", exists=True)
]

MOST_AT_ONCE = 10_000
"""Entries of one answer of the controller."""


def add_to(application: typer.Typer) -> None:
    application.command()(status)
    application.command()(incidents)
    application.command()(timeline)
    application.command()(explain)
    application.command()(verify)
    application.command()(report)


def status(context: typer.Context) -> None:
    """Groups, open incidents, holds, and the controller's own health."""
    screen: Screen = context.obj
    answer = screen.client.get("/api/v1/status")
    if screen.as_json:
        screen.show(answer, "")
        return
    word = screen.word
    leader = word("主控", "leader") if answer["leader"] else word("非主控", "not leader")
    journal = (
        word("日志不可写", "JOURNAL UNAVAILABLE")
        if answer["journal"]["failing"]
        else word("日志正常", "journal ok")
    )
    only = word("，只观察不动作", ", observing only") if answer["observing_only"] else ""
    screen.say(f"{answer['node']}  {answer['configuration']}  {leader}, {journal}{only}")
    counts = "  ".join(f"{key} {count}" for key, count in sorted(answer["health"].items()))
    screen.say(f"{word('组件', 'components')}: {counts}")
    for group in answer["groups"]:
        armed = (
            word("已武装", "armed") if group["armed"] else word("未武装，只观察", "NOT ARMED, observes only")
        )
        sides = "  ".join(
            f"{'*' if side['active'] else ' '}{side['name']} {side['health']}"
            + (f" ({side['broken_rung']})" if side["broken_rung"] else "")
            for side in group.get("sides", ())
        )
        screen.say(
            f"\n{screen.pick(group.get('title'), group['name'])} [{group['name']}]  {armed}  {group['phase']}"
        )
        screen.say(f"  {sides}   epoch {group['epoch']}")
        if group["cooldown_seconds"]:
            screen.say(f"  {word('冷却', 'cooldown')} {duration(group['cooldown_seconds'])}")
    for hold in answer["holds"]:
        screen.say(
            f"\n{word('暂停', 'hold')} {hold['scope']}: {hold['reason']} ({hold['by']}, -> {clock_time(hold['until_wall'])})"
        )
    for drill in answer["drills"]:
        screen.say(f"\n【演练】 {drill['id']} {drill['scenario']} {drill['state']}")
    if answer["incidents"]:
        screen.say("")
        _incident_table(screen, answer["incidents"], answer["time"])
    else:
        screen.say(f"\n{word('没有未结事件', 'no open incidents')}")


def incidents(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Closed ones as well.")] = False,
) -> None:
    """Incidents, newest first."""
    screen: Screen = context.obj
    query = {} if everything else {"open": "true"}
    answer = screen.client.get("/api/v1/incidents", **query)
    if screen.as_json:
        screen.show(answer, "")
    elif answer["incidents"]:
        _incident_table(screen, answer["incidents"], screen.client.get("/api/v1/status")["time"])
    else:
        screen.say(
            screen.word("没有事件", "no incidents")
            if everything
            else screen.word("没有未结事件", "no open incidents")
        )


def _incident_table(screen: Screen, found: list[dict[str, Any]], now: float) -> None:
    language = Language(screen.language)
    rows: list[tuple[str | Text, ...]] = []
    for incident in found:
        style = SEVERITY_STYLES.get(incident["severity"], "")
        mark = "【演练】" if incident["drill"] else ""
        ended = incident["resolved_wall"] or incident["mitigated_wall"] or now
        rows.append(
            (
                incident["id"],
                Text(f" SEV{incident['severity']} ", style=style),
                f"{mark}{screen.pick(incident['title'], incident['root'])}: {fault_name(incident['kind'], language)}",
                incident["state"],
                clock_time(incident["opened_wall"]),
                duration(ended - incident["opened_wall"]),
                str(incident["affected"]),
            )
        )
    word = screen.word
    columns = (
        "id",
        word("级别", "severity"),
        word("事件", "what"),
        word("状态", "state"),
        word("开始", "opened"),
        word("时长", "lasted"),
        word("影响数", "affected"),
    )
    screen.show(None, table(columns, rows))


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
        raise CallFailed(
            screen.word(f"没有事件 {incident}", f"no incident {incident}"),
            Exit.NOT_FOUND,
        )
    cut = not everything and len(entries) == limit
    if cut and after is None:
        screen.say(
            screen.word(
                f"只列出最新 {limit} 条；更早的用 --all 或 --limit",
                f"the newest {limit} only; for earlier ones: --all, or --limit",
            )
        )
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
        screen.word(
            "控制器结束了时间线的传送；它可能已停止", "the controller ended the stream; it may have stopped"
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


def explain(context: typer.Context, incident: str) -> None:
    """Why: every rule evaluated, the closest that did not fire, and what stood in the way of acting."""
    screen: Screen = context.obj
    answer = screen.client.get(f"/api/v1/incidents/{incident}/explanation")
    screen.show(answer, _explanation(screen, answer, screen.client.get(f"/api/v1/incidents/{incident}")))


def _explanation(screen: Screen, answer: dict[str, Any], found: dict[str, Any]) -> str:
    language = Language(screen.language)
    lines = [f"{found['id']}  SEV{found['severity']}  {severity_text(found['reason'], language)}", ""]
    for rule in answer.get("rules", ()):
        mark = "✔" if rule["fired"] else "·"
        lines.append(f"{mark} {rule['rule']} ({rule['component']}): {fault_name(rule['fault'], language)}")
        for term in rule["terms"]:
            seen = ", ".join(f"{name}={value}" for name, value in term["seen"])
            lines.append(f"    {term['verdict']:>7}  {term['name']}: {term['expression']}   [{seen}]")
        if rule["blocked_by"]:
            lines.append(f"    {screen.word('被阻', 'blocked by')}: {', '.join(rule['blocked_by'])}")
    closest = answer.get("closest")
    if closest:
        lines += [
            "",
            f"{screen.word('最接近但未成立的规则', 'closest rule that did not fire')}: {closest['rule']}",
        ]
    for blocked in answer.get("blocked", ()):
        lines.append(f"{screen.word('没有动作，因为', 'no action because')}: {blocked}")
    return "\n".join(lines)


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
        answer = screen.client.get("/api/v1/verification")
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
