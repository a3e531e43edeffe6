"""Drills: run one, see how it went."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli.exits import Exit
from controller.cli.screen import Screen, clock_time, table, write_document

application = typer.Typer(
    help="Put a fault in on purpose, watch, take it out, and score.", no_args_is_help=True
)

POLL = 0.5


@application.command()
def run(
    context: typer.Context,
    scenario: str,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; do nothing.")] = False,
) -> None:
    """Run a scenario and wait for its score. Exit 1 when the drill did not pass."""
    screen: Screen = context.obj
    answer = screen.client.post("/api/v1/drills", {"scenario": scenario, "dry_run": dry_run})
    if dry_run:
        refused = answer["refused"]
        screen.show(answer, "\n".join(refused) if refused else screen.word("可以开始", "it could start now"))
        raise typer.Exit(Exit.REFUSED if refused else Exit.DONE)
    drill = next(fact["subject"] for fact in answer["facts"] if fact["kind"] == "drill_started")
    screen.say(f"【演练】这是一次演练  {drill}  {scenario}")
    seen = ""
    while True:
        found = _find(screen, drill)
        progress = f"{found['state']} / {found['inject_state']}"
        if progress != seen:
            seen = progress
            reached = "  ".join(
                f"{name} +{wall - found['injected_wall']:.2f}s" for name, wall in found["milestones"]
            )
            screen.say(f"  {clock_time(time.time())}  {progress}  {reached}")
        if found["state"] in ("finished", "aborted"):
            break
        time.sleep(POLL)
    screen.show(found, _score(screen, found))
    screen.say("【演练】演练结束")
    raise typer.Exit(Exit.DONE if found["passed"] else Exit.PROBLEM)


@application.command(name="list")
def list_drills(context: typer.Context) -> None:
    """Scenarios, and the drills that were run."""
    screen: Screen = context.obj
    answer = screen.client.get("/api/v1/drills")
    rows = [
        (
            drill["id"],
            drill["scenario"],
            clock_time(drill["started_wall"]),
            drill["state"],
            _percent(drill["score"]),
        )
        for drill in answer["drills"]
    ]
    names = "\n".join(f"  {item['name']}  {screen.pick(item['title'])}" for item in answer["scenarios"])
    if screen.as_json:
        screen.show(answer, "")
        return
    screen.say(screen.word("可用的演练科目：", "Scenarios:") + "\n" + names)
    if rows:
        screen.show(answer, table(("drill", "scenario", "started", "state", "score"), rows))


@application.command()
def abort(context: typer.Context, drill: str, reason: Annotated[str, typer.Option(help="Why.")]) -> None:
    """Stop a drill: its inject is undone at once."""
    screen: Screen = context.obj
    answer = screen.client.post(f"/api/v1/drills/{drill}/abort", {"reason": reason})
    screen.show(answer, screen.word("正在撤销注入", "the inject is being undone"))


@application.command()
def record(
    context: typer.Context,
    drill: str,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here; else to the screen.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="markdown or html.")] = "markdown",
) -> None:
    """The record of a drill: what was planned, what happened, the score, and the parts people fill in."""
    screen: Screen = context.obj
    write_document(screen, f"/api/v1/drills/{drill}/record", form, output)


def _find(screen: Screen, drill: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        item for item in screen.client.get("/api/v1/drills")["drills"] if item["id"] == drill
    )
    return found


def _score(screen: Screen, drill: dict[str, Any]) -> Any:
    rows = [
        (
            result["name"],
            "-" if result["actual"] is None else f"{result['actual']:.2f} s",
            f"{result['limit']:g} s" if result["limit"] else "-",
            _met(screen, result["met"]),
        )
        for result in drill["results"]
    ]
    title = f"{drill['id']}: {screen.word('得分', 'score')} {_percent(drill['score'])}"
    if drill["abort_reason"]:
        title += f"  ({drill['abort_reason']})"
    return table(("objective", "actual", "limit", ""), rows, title)


def _met(screen: Screen, met: bool | None) -> str:
    if met is None:
        return screen.word("未测得", "not measured")
    return screen.word("达到", "met") if met else screen.word("未达到", "not met")


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{score:.0%}"
