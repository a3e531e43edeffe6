"""Drills: run one, see how it went."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli.client import CallFailed
from controller.cli.exits import Exit
from controller.cli.screen import Screen, clock_time, table, write_document
from controller.model import words
from controller.model.drills import DrillState
from controller.reports.drill_record import ASSUMED, OBJECTIVES
from controller.reports.headings import HEADINGS
from controller.reports.prose import Language, refusal_text

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
    """Run a scenario and wait for its score. Exit 1 when the drill did not pass, or broke an invariant."""
    screen: Screen = context.obj
    before = screen.client.get("/api/v1/status")["journal"]["sequence"]
    answer = screen.client.post("/api/v1/drills", {"scenario": scenario, "dry_run": dry_run})
    if dry_run:
        refused = answer["refused"]
        text = screen.word("可以开始", "it could start now")
        if refused:
            lines = [
                f"  - {refusal_text(reason, Language(screen.language))} [{reason}]" for reason in refused
            ]
            text = "\n".join([screen.word("会被拒绝：", "It would be refused:"), *lines])
        screen.show(answer, text)
        raise typer.Exit(Exit.REFUSED if refused else Exit.DONE)
    drill = next(fact["subject"] for fact in answer["facts"] if fact["kind"] == "drill_started")
    screen.say(f"{screen.said(words.DRILL_MARK)}  {drill}  {scenario}")
    seen = ""
    while True:
        found = _find(screen, drill)
        state = screen.said(words.DRILL_STATES[DrillState(found["state"])])
        reached = screen.word("，", ", ").join(
            f"{_objective(screen, name)} +{wall - found['injected_wall']:.2f} s"
            for name, wall in found["milestones"]
        )
        if (progress := f"{state}  {reached}".rstrip()) != seen:
            seen = progress
            screen.say(f"  {clock_time(time.time())}  {progress}")
        if found["state"] in ("finished", "aborted"):
            break
        time.sleep(POLL)
    broken, unchecked = [], ""
    try:
        broken = screen.client.verification(after=before)["violations"]
    except CallFailed as error:
        unchecked = str(error)  # the score stands whatever becomes of the check
    screen.show({**found, "violations": broken, "unchecked": unchecked}, _score(screen, found))
    if unchecked:
        screen.say(
            screen.word(
                f"演练期间的不变量未能检查：{unchecked}", f"The invariants could not be checked: {unchecked}"
            )
        )
    if broken:
        title = screen.word("演练中不成立的不变量：", "Invariants that did not hold during the drill:")
        screen.say("\n".join([title, *(f"  {each}" for each in broken)]))
    screen.say(screen.word("【演练】演练结束", "[DRILL] The drill is over"))
    raise typer.Exit(Exit.DONE if found["passed"] and not broken and not unchecked else Exit.PROBLEM)


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
            screen.said(words.DRILL_STATES[DrillState(drill["state"])]),
            _percent(drill["score"]),
        )
        for drill in answer["drills"]
    ]
    width = max((len(item["name"]) for item in answer["scenarios"]), default=0)
    names = "\n".join(
        f"  {item['name']:<{width}}  {screen.pick(item['title'])}" for item in answer["scenarios"]
    )
    if screen.as_json:
        screen.show(answer, "")
        return
    screen.say(screen.word("可用的演练科目：", "Scenarios:") + "\n" + names)
    if rows:
        pairs = (
            ("演练", "drill"),
            ("科目", "scenario"),
            ("开始", "started"),
            ("状态", "state"),
            ("得分", "score"),
        )
        columns = [screen.word(*pair) for pair in pairs]
        screen.show(answer, table(columns, rows))


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
            _objective(screen, result["name"]),
            "-" if result["actual"] is None else f"{result['actual']:.2f} s",
            f"{result['limit']:g} s" if result["limit"] else "-",
            _met(screen, result["met"]),
        )
        for result in drill["results"]
    ]
    title = f"{drill['id']}: {screen.word('得分', 'score')} {_percent(drill['score'])}"
    if drill["abort_reason"]:
        title += f"  ({drill['abort_reason']})"
    if any(result["name"] in ASSUMED and result["met"] is False for result in drill["results"]):
        title += "\n" + screen.word(*HEADINGS["took_longer"])
    columns = [screen.word(*pair) for pair in (("目标", "objective"), ("实际", "actual"), ("限值", "limit"))]
    return table((*columns, screen.word("结果", "result")), rows, title)


def _objective(screen: Screen, name: str) -> str:
    """A name that has no words is shown as it stands."""
    key = "diagnosis_named" if name == "diagnosis" else name
    return screen.word(*HEADINGS[key]) if key in OBJECTIVES else name


def _met(screen: Screen, met: bool | None) -> str:
    if met is None:
        return screen.word("未测得", "not measured")
    return screen.word("达到", "met") if met else screen.word("未达到", "not met")


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{score:.0%}"
