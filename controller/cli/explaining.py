"""Why an incident is what it is, and why nothing more was done."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from controller.cli.screen import Screen, clock_time
from controller.model import words
from controller.model.incidents import IncidentState
from controller.reports.prose import Language, fault_name, refusal_text, severity_text

_VERDICTS = {"true": ("成立", "true"), "false": ("不成立", "false"), "unknown": ("未知", "unknown")}


def add_to(application: typer.Typer) -> None:
    application.command()(explain)


def explain(
    context: typer.Context,
    incident: str,
    everything: Annotated[bool, typer.Option("--all", help="The terms of every rule, fired or not.")] = False,
) -> None:
    """Why: the rules that fired, the closest that did not, and what stood in the way of acting."""
    screen: Screen = context.obj
    answer = screen.client.get(f"/api/v1/incidents/{incident}/explanation")
    found = screen.client.get(f"/api/v1/incidents/{incident}")
    screen.show(answer, _explanation(screen, answer, found, everything=everything))


def _explanation(screen: Screen, answer: dict[str, Any], found: dict[str, Any], *, everything: bool) -> str:
    language, word = Language(screen.language), screen.word
    what = (
        f"{screen.pick(found['title'], found['root'])}{word('：', ': ')}{fault_name(found['kind'], language)}"
    )
    state = screen.said(words.INCIDENT_STATES[IncidentState(found["state"])])
    lines = [
        f"{found['id']}  SEV{found['severity']}  {what}  {state}",
        f"{word('定级', 'severity')}{word('：', ': ')}{severity_text(found['reason'], language)}",
    ]
    rules = answer.get("rules", ())
    fired = [rule for rule in rules if rule["fired"]]
    lines += ["", word("成立的规则：", "Rules that fired:")]
    for rule in fired:
        lines += _rule(screen, rule)
    if not fired:
        lines.append(word("  无", "  none"))
    closest = answer.get("closest")
    if closest and not everything:
        lines += ["", word("最接近但未成立的规则：", "The closest rule that did not fire:")]
        lines += _rule(screen, closest)
    rest = [
        rule
        for rule in rules
        if not rule["fired"] and (everything or closest is None or _key(rule) != _key(closest))
    ]
    if rest:
        more = "" if everything else word("（逐项见 --all）", " (term by term: --all)")
        lines += ["", word(f"其余未成立的规则{more}：", f"Other rules that did not fire{more}:")]
    for rule in rest:
        lines += _rule(screen, rule) if everything else [f"  · {_title(screen, rule)}"]
    if answer.get("responses"):
        lines += [
            "",
            f"{word('选定的预案：', 'Runbooks chosen: ')}{word('、', ', ').join(answer['responses'])}",
        ]
    if answer.get("blocked"):
        reasons = word("、", ", ").join(refusal_text(reason, language) for reason in answer["blocked"])
        lines += ["", f"{word('没有动作，因为：', 'No action, because: ')}{reasons}"]
    return "\n".join(lines)


def _key(rule: dict[str, Any]) -> tuple[str, str]:
    return rule["component"], rule["rule"]


def _title(screen: Screen, rule: dict[str, Any]) -> str:
    fault = fault_name(rule["fault"], Language(screen.language))
    return f"{rule['component']} {fault} [{rule['rule']}]"


def _rule(screen: Screen, rule: dict[str, Any]) -> list[str]:
    since = f"  {clock_time(rule['fired_wall'])}" if rule["fired_wall"] else ""
    lines = [f"  {'✔' if rule['fired'] else '·'} {_title(screen, rule)}{since}"]
    for term in rule["terms"]:
        chinese, english = _VERDICTS[term["verdict"]]
        seen = screen.word("，", ", ").join(f"{name}={_value(screen, value)}" for name, value in term["seen"])
        lines.append(f"      {screen.word(chinese, english)}: {term['name']}")
        lines.append(f"        {term['expression']}")
        if seen:
            lines.append(f"        {screen.word('所见：', 'seen: ')}{seen}")
    if rule["blocked_by"]:
        blocked = screen.word("、", ", ").join(_obstacle(screen, name) for name in rule["blocked_by"])
        lines.append(f"      {screen.word('未成立，因为：', 'did not fire, because of: ')}{blocked}")
    return lines


def _obstacle(screen: Screen, name: str) -> str:
    if name == "outranked":
        return screen.word("另一故障解释得更好", "another fault explains it better")
    mark, colon, term = name.partition(":")
    if colon and mark == "unknown":
        return screen.word(f"{term}（未知）", f"{term} (unknown)")
    return name


def _value(screen: Screen, value: object) -> str:
    if value is None:
        return screen.word("未知", "unknown")
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)
