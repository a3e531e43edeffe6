"""The plan of a runbook, for a person who is about to run it."""

from __future__ import annotations

from typing import Any

from controller.cli.screen import Screen, duration
from controller.reports.prose import Language, refusal_text

_RUNS = {"true": ("", ""), "false": ("（不会执行）", " (would be skipped)"), "unknown": ("（视前面的结果）", " (depends on what comes before)")}  # fmt: skip


def plan_text(screen: Screen, plan: dict[str, Any]) -> str:
    word = screen.word
    comma = word("、", ", ")
    lines = [
        word("预案演算（什么都没有做）：", "Plan of the runbook (nothing was done):"),
        f"{screen.pick(plan['title'])} [{plan['runbook']}]  {word('版本', 'revision')} {plan['revision'][:12]}"
        + (f"  {word('规定', 'clause')} {plan['clause']}" if plan["clause"] else ""),
        screen.pick(plan["summary"]),
    ]
    if plan["missing"]:
        lines.append(
            word("缺少参数：", "missing inputs: ")
            + comma.join(f"{name} (--input {name}=...)" for name in plan["missing"])
        )
    if plan["inputs"]:
        given = comma.join(f"{name}={value}" for name, value in plan["inputs"])
        lines.append(f"{word('参数：', 'inputs: ')}{given}")
    lines.append("")
    for number, step in enumerate(plan["steps"], 1):
        lines += _step(screen, number, step)
    lines += [
        "",
        word(
            f"预计 {duration(plan['expected_seconds'])}，最长 {duration(plan['longest_seconds'])}",
            f"expected {duration(plan['expected_seconds'])}, at most {duration(plan['longest_seconds'])}",
        ),
    ]
    if plan["fences"]:
        lines.append(f"{word('将隔离：', 'fences: ')}{comma.join(plan['fences'])}")
    if plan["calls_at_risk"] is not None:
        lines.append(
            word(
                f"涉及通话：最多 {plan['calls_at_risk']} 路",
                f"calls at risk: {plan['calls_at_risk']} at most",
            )
        )
    return "\n".join(lines)


def _step(screen: Screen, number: int, step: dict[str, Any]) -> list[str]:
    word = screen.word
    chinese, english = _RUNS[step["runs"]]
    marks = [word("影响业务", "disruptive")] if step["disruptive"] else []
    marks += [word("会中断通话", "drops calls")] if step["drops_calls"] else []
    marks += [word(f"须 {step['asks']}", f"asks {step['asks']}")] if step["asks"] else []
    marks += [word(f"最长 {duration(step['seconds'])}", f"at most {duration(step['seconds'])}")] if step["seconds"] else []  # fmt: skip
    behind = word("，", ", ").join(marks)
    lines = [
        f"{number}. {screen.pick(step['title'], step['path'])} [{step['path']}]{word(chinese, english)}"
        + (word(f"（{behind}）", f" ({behind})") if behind else "")
    ]
    if step["does"]:
        given = ", ".join(f"{name}={value}" for name, value in step["parameters"] if name not in ("zh", "en"))
        lines.append(f"     {step['does']}{f': {given}' if given else ''}")
        texts = dict(step["parameters"])
        if said := texts.get(screen.language):
            lines.append(f"     {word('“', chr(34))}{said}{word('”', chr(34))}")
    if step["unresolved"]:
        lines.append(
            f"     {word('现在还不知道：', 'not known now: ')}{word('、', ', ').join(step['unresolved'])}"
        )
    if step["undo"]:
        lines.append(f"     {word('撤销：', 'undone by: ')}{step['undo']}")
    elif step["disruptive"] and step["irreversible"]:
        lines.append(f"     {word('不能撤销：', 'no undo: ')}{_own(screen, step['irreversible'])}")
    for reason in step["refusals"]:
        why = refusal_text(reason, Language(screen.language))
        lines.append(f"     {word('现在会被拒绝：', 'would be refused now: ')}{why} [{reason}]")
    return lines


def _own(screen: Screen, text: str) -> str:
    """Runbooks give such a reason in both languages, with a slash between them."""
    chinese, slash, english = text.partition(" / ")
    return (chinese if screen.language == "zh" else english) if slash else text
