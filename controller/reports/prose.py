"""A fact as one line of prose, in Chinese or English. The one place where the record is turned into sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from controller.model import words
from controller.model.facts import FactKind
from controller.model.faults import Impact, Urgency
from controller.model.runbooks import Text
from controller.reports.phrases import PHRASES
from controller.reports.values import Language, fault_name, observed, refusal_text, said, shown

__all__ = ["Language", "entry_line", "fact_line", "fault_name", "refusal_text", "severity_text"]

_PART = re.compile(r"\[([^\[\]]*)\]")
_NAME = re.compile(r"\{(\w+)\}")
_OPENING = re.compile(r"(：|: )(?:；|; )")


def entry_line(entry: Mapping[str, Any], language: Language) -> str:
    """An entry as the API shows it (`kind`, `subject`, `actor`, `data`). The drill mark is the caller's to set."""
    return fact_line(entry["kind"], entry["subject"], entry.get("actor", ""), entry.get("data", {}), language)


def fact_line(kind: str, subject: str, actor: str, data: Mapping[str, Any], language: Language) -> str:
    """Never fails: a kind this version does not know is shown as it stands."""
    try:
        known = FactKind(kind)
    except ValueError:
        seen = ", ".join(f"{name}={value}" for name, value in data.items() if value not in ("", None))
        return " ".join(part for part in (kind.replace("_", " "), subject, seen) if part)
    values = {name: shown(known, name, value, language) for name, value in data.items()}
    if own := data.get(language.value):  # a text that its author wrote in both languages
        values["text"] = str(own)
    values["subject"] = subject
    values["actor"] = actor or said(_BY_RULE, language)
    phrase = said(PHRASES[known], language)
    line = _OPENING.sub(r"\1", _PART.sub(lambda part: _part(part[1], values), phrase))
    line = _NAME.sub(lambda name: values.get(name[1], "") or "?", line)
    line = " ".join(line.split()).removesuffix("：").removesuffix(":")
    if actor and "{actor}" not in phrase:
        line += f"（{actor}）" if language is Language.ZH else f" (by {actor})"
    return line


def severity_text(reason: Mapping[str, Any] | Sequence[Any], language: Language) -> str:
    """ "because ..." of a severity: impact, urgency, the rule that fired and what it saw.

    `reason` is a SeverityReason, or its JSON form (a list or an object of rule, impact, urgency, values).
    """
    if isinstance(reason, Mapping):
        rule, impact, urgency = reason["rule"], reason["impact"], reason["urgency"]
        values = reason.get("values", ())
    else:
        rule, impact, urgency, values = reason
    pairs = values.items() if isinstance(values, Mapping) else [tuple(pair) for pair in values]
    separator = "，" if language is Language.ZH else ", "
    seen = separator.join(f"{name}={observed(value, language)}" for name, value in pairs)
    said_impact = said(words.IMPACTS[Impact(impact)], language)
    said_urgency = said(words.URGENCIES[Urgency(urgency)], language)
    if language is Language.ZH:
        return f"因为{said_impact}，{said_urgency}（规则 {rule}" + (f"：{seen}）" if seen else "）")
    return f"because {said_impact}, {said_urgency} (rule {rule}" + (f": {seen})" if seen else ")")


_BY_RULE = Text(zh="系统", en="the controller")


def _part(part: str, values: Mapping[str, str]) -> str:
    """An optional part, its values still to be put in: empty unless every one is there."""
    return part if all(values.get(name) for name in _NAME.findall(part)) else ""
