"""How one value of a fact is shown to a person: names in their language, times as clock times, seconds as seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from controller.model import words
from controller.model.facts import FactKind
from controller.model.runbooks import OnUnknown, Text
from controller.reports.reasons import KNOWN, MILESTONES, reason_text


class Language(StrEnum):
    ZH = "zh"
    EN = "en"


def said(text: Text, language: Language) -> str:
    return text.zh if language is Language.ZH else text.en


_VERIFYING: Mapping[str, Text] = {
    "verify": Text(zh="真实呼叫验证", en="verification by a real call"),
    "full_test": Text(zh="全面测试", en="full test"),
}

_INTENDING: Mapping[str, Text] = {
    "verify": Text(zh="以真实呼叫验证", en="verify by a real call"),
    "full_test": Text(zh="全面测试", en="test in full"),
}

_ON_UNKNOWN: Mapping[OnUnknown, Text] = {
    OnUnknown.VERIFY: Text(zh="先核对", en="verify first"),
    OnUnknown.REPEAT: Text(zh="重复执行", en="repeat it"),
    OnUnknown.MANUAL: Text(zh="交人工判断", en="ask a person"),
    OnUnknown.FAIL: Text(zh="按失败处理", en="take it as failed"),
}


def _by_value(*tables: Mapping[Any, Text]) -> dict[str, Text]:
    """Several tables as one; an earlier one wins."""
    return {str(key): text for table in reversed(tables) for key, text in table.items()}


_PAGES = _by_value(words.PAGE_STATES)
_STATES: Mapping[FactKind, dict[str, Text]] = {
    FactKind.PAGE_ENDED: _PAGES,
    FactKind.PAGE_DELIVERY: _by_value(words.DELIVERY_STATES),
    FactKind.DRILL_FINISHED: _by_value(words.DRILL_STATES),
    FactKind.RUN_FINISHED: _by_value(words.RUN_STATES),
    FactKind.STEP_FINISHED: _by_value(words.STEP_STATES),
}
_TABLES: Mapping[str, Mapping[str, Text]] = {
    "verb": _by_value(words.SWITCH_VERBS, words.DRIVER_VERBS, _VERIFYING),
    "phase": _by_value(words.PHASES),
    "from": _by_value(words.PHASES, words.HEALTH_STATES),
    "current": _by_value(words.HEALTH_STATES),
    "previous": _by_value(words.HEALTH_STATES),
    "resume": _by_value(words.PHASES),
    "outcome": _by_value(words.SWITCH_OUTCOMES, words.RUN_STATES, words.ACTION_STATUSES, words.OUTCOMES),
    "milestones": dict(MILESTONES),
    "status": _by_value(words.ACTION_STATUSES),
    "evidence": _by_value(words.EVIDENCE),
    "on_unknown": _by_value(_ON_UNKNOWN),
    "kind": _by_value(words.FAULTS),
    "diagnosed": _by_value(words.FAULTS),
    "refusals": KNOWN,
    "reasons": KNOWN,
    "reason": KNOWN,
    "why": KNOWN,
    "change": KNOWN,
    "message": KNOWN,
    "would_refuse": KNOWN,
    "bypassed": KNOWN,
}
_INTENDED = _by_value(words.DRIVER_VERBS, _INTENDING)
_LISTS = frozenset({"evidence", "milestones", "refusals", "reasons", "would_refuse", "bypassed"})
_FLAGS: Mapping[str, tuple[Text, Text]] = {
    "recovered": (Text(zh="", en=""), Text(zh="已从日志恢复", en="recovered from its journal")),
    "answered": (Text(zh="无应答", en="no answer"), Text(zh="", en="")),
}
"""What (no, yes) are said as, where a plain yes or no would say nothing."""

_YES_NO = (Text(zh="否", en="no"), Text(zh="是", en="yes"))
_UNKNOWN = Text(zh="未知", en="unknown")


def shown(kind: FactKind, name: str, value: object, language: Language) -> str:
    """`value` of `name` as text; empty when there is nothing to say."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return said(_FLAGS[name][value], language) if name in _FLAGS else said(_YES_NO[value], language)
    if name in ("severity", "before") and isinstance(value, int):
        return f"SEV{value}"
    if name == "attempt" and value == 1:
        return ""  # the first attempt goes without saying
    if name == "code" and value == 0:
        return ""
    if name == "level" and isinstance(value, int):
        return str(value + 1)
    if isinstance(value, (int, float)):
        return str(value) if abs(value) > 1e15 else _number(name, float(value), language)
    text = str(value)
    if name == "revision":
        return text[:12]
    if name in ("fault", "cause"):
        fault, _, component = text.partition(":")
        return " ".join(part for part in (component, fault_name(fault, language)) if part)
    match name:
        case "state":
            table: Mapping[str, Text] = _STATES.get(kind, {})
        case "note" if kind is FactKind.HEALTH_CHANGED:
            table = KNOWN  # a probe's words; those of a person stay
        case "verb" if kind is FactKind.SWITCH_INTENDED:
            table = _INTENDED
        case _:
            table = _TABLES.get(name, {})
    if name in _LISTS:
        separator = "、" if language is Language.ZH else ", "
        return separator.join(_named(table, item, language) for item in text.split(",") if item)
    return _named(table, text, language)


def observed(value: object, language: Language) -> str:
    """What a condition read, beside the name of the variable."""
    match value:
        case None:
            return said(_UNKNOWN, language)
        case bool():
            return said(_YES_NO[value], language)
        case float():
            return f"{value:.3g}"
        case _:
            return str(value)


def fault_name(kind: str, language: Language) -> str:
    """What a fault kind is called; an unknown one by its own name."""
    return _named(_TABLES["kind"], kind, language)


def refusal_text(reason: str, language: Language) -> str:
    """Why something was refused, in words; an unknown reason as it stands."""
    return said(reason_text(reason), language)


def _named(table: Mapping[str, Text], key: str, language: Language) -> str:
    text = table.get(key)
    if text is not None:
        return said(text, language)
    return said(reason_text(key), language) if table is KNOWN or table is _TABLES["outcome"] else key


def _number(name: str, value: float, language: Language) -> str:
    if not math.isfinite(value):
        return ""
    if name.endswith("_wall"):
        if value <= 0:
            return ""
        try:
            return time.strftime("%m-%d %H:%M:%S", time.localtime(value))
        except (OverflowError, OSError, ValueError):  # a year no calendar here knows
            return f"{value:.0f}"
    if name.endswith("seconds"):
        digits = f"{value:.2f}" if value < 100 else f"{value:.0f}"
        return f"{digits} 秒" if language is Language.ZH else f"{digits} s"
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"
