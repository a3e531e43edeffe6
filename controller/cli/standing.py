"""How it stands: groups, holds, drills, and what is wrong."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from controller.cli.screen import SEVERITY_STYLES, Screen, clock_time, duration, short_time, table
from controller.model import words
from controller.model.drills import DrillState
from controller.model.groups import Phase
from controller.model.health import HealthState
from controller.model.incidents import IncidentState
from controller.reports.prose import Language, fault_name
from controller.reports.zones import zone


def add_to(application: typer.Typer) -> None:
    application.command()(status)
    application.command()(incidents)


def status(context: typer.Context) -> None:
    """Groups, open incidents, holds, and the controller's own health."""
    screen: Screen = context.obj
    answer = screen.client.get("/api/v1/status")
    if screen.as_json:
        screen.show(answer, "")
        return
    word = screen.word
    led_by = answer.get("led_by") or ""
    leader = word("主控", "leader") if answer["leader"] else word("非主控", "not leader")
    if led_by and not answer["leader"] and led_by != answer["node"]:
        leader = word(f"跟随 {led_by}（主控）", f"follows {led_by}, which leads")
    journal = (
        word("日志不可写", "JOURNAL UNAVAILABLE")
        if answer["journal"]["failing"]
        else word("日志正常", "journal ok")
    )
    only = word("，只观察不动作", ", observing only") if answer["observing_only"] else ""
    screen.say(
        f"{answer['node']}  {answer['configuration']}  {leader}{word('，', ', ')}{journal}{only}  "
        f"{clock_time(answer['time'])} {zone()}"
    )
    counts = word("，", ", ").join(
        f"{_health(screen, state)} {answer['health'][state]}"
        for state in HealthState
        if state in answer["health"]
    )
    screen.say(f"{word('组件：', 'components: ')}{counts}")
    for group in answer["groups"]:
        _group(screen, group)
    for hold in answer["holds"]:
        until = clock_time(hold["until_wall"])
        screen.say(
            word(
                f"\n已暂停 {hold['scope']}：{hold['reason']}（{hold['by']}，至 {until}）",
                f"\non hold {hold['scope']}: {hold['reason']} ({hold['by']}, until {until})",
            )
        )
    for drill in answer["drills"]:
        state = screen.said(words.DRILL_STATES[DrillState(drill["state"])])
        screen.say(f"\n{screen.said(words.DRILL_MARK)}  {drill['id']}  {drill['scenario']}  {state}")
    if answer["incidents"]:
        screen.say("")
        _incident_table(screen, answer["incidents"], answer["time"])
    else:
        screen.say(f"\n{word('没有未结事件', 'no open incidents')}")


def _group(screen: Screen, group: dict[str, Any]) -> None:
    word = screen.word
    armed = word("已武装", "armed") if group["armed"] else word("未武装，只观察", "NOT ARMED, observes only")
    phase = screen.said(words.PHASES[Phase(group["phase"])])
    title = screen.pick(group.get("title"), group["name"])
    epoch = word(f"纪元 {group['epoch']}", f"epoch {group['epoch']}")
    screen.say(f"\n{title} [{group['name']}]  {armed}{word('，', ', ')}{phase}{word('，', ', ')}{epoch}")
    for side in group.get("sides", ()):
        broken = (
            word(f"，断在 {side['broken_rung']}", f", at {side['broken_rung']}")
            if side["broken_rung"]
            else ""
        )
        active = word("，在用", ", active") if side["active"] else ""
        screen.say(
            f"  {'*' if side['active'] else ' '} {side['name']}  {screen.pick(side.get('title'))}  "
            f"{_health(screen, side['health'])}{broken}{active}"
        )
    if group["cooldown_seconds"]:
        left = duration(max(1.0, group["cooldown_seconds"]))
        screen.say(
            word(
                f"    冷却：{left} 后才会再自动切换",
                f"    cooling down: no automatic switch for another {left}",
            )
        )


def _health(screen: Screen, state: str) -> str:
    return screen.said(words.HEALTH_STATES[HealthState(state)])


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
    word = screen.word
    rows: list[tuple[str | Text, ...]] = []
    for incident in found:
        style = SEVERITY_STYLES.get(incident["severity"], "")
        mark = word("【演练】", "[DRILL] ") if incident["drill"] else ""
        ended = incident["resolved_wall"] or incident["mitigated_wall"] or now
        what = f"{screen.pick(incident['title'], incident['root'])}{word('：', ': ')}{fault_name(incident['kind'], language)}"
        keeping = ", ".join(incident["kept_open_by"])
        kept = word(f"（因 {keeping} 未关闭）", f" (kept open by {keeping})") if keeping else ""
        rows.append(
            (
                incident["id"],
                Text(f"SEV{incident['severity']}", style=style),
                f"{mark}{what}",
                screen.said(words.INCIDENT_STATES[IncidentState(incident["state"])]) + kept,
                short_time(incident["opened_wall"], now),
                duration(ended - incident["opened_wall"]),
                str(incident["affected"]),
            )
        )
    columns = (
        "id",
        word("级别", "sev."),
        word("事件", "what"),
        word("状态", "state"),
        word("开始", "opened"),
        word("时长", "lasted"),
        word("影响", "hit"),
    )
    screen.show(None, table(columns, rows, unwrapped=("id", columns[1], columns[4])))
