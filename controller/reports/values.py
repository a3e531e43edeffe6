"""How one value of a fact is shown to a person: names in their language, times as clock times, seconds as seconds."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from controller.model import words
from controller.model.facts import FactKind
from controller.model.runbooks import OnUnknown, Text


class Language(StrEnum):
    ZH = "zh"
    EN = "en"


def said(text: Text, language: Language) -> str:
    return text.zh if language is Language.ZH else text.en


REASONS: Mapping[str, Text] = {
    "below_policy": Text(zh="低于通知级别", en="its severity does not page"),
    "no_escalation_policy": Text(zh="没有配置通知策略", en="no escalation policy is configured"),
    "nobody_reachable": Text(zh="本级无人可达", en="nobody on this level can be reached"),
    "no_acknowledgement": Text(zh="无人确认", en="no acknowledgement"),
    "nobody_acknowledged": Text(zh="直到最后一级无人确认", en="nobody acknowledged to the last"),
    "nobody_has_a_channel": Text(zh="无人配置通知渠道", en="nobody has a channel"),
    "policy_changed": Text(zh="通知策略已变更", en="the escalation policy changed"),
    "newer_epoch": Text(zh="边缘上有更新的纪元", en="the edges show a newer epoch"),
    "drill_in_progress": Text(zh="已有演练在进行", en="another drill is in progress"),
    "open_incident": Text(zh="有未结束的事件", en="an incident is open"),
    "group_busy": Text(zh="该组正在处置", en="the group is busy"),
    "target_already_broken": Text(zh="目标已有故障", en="the target is broken already"),
    "unknown_scenario": Text(zh="没有这个演练场景", en="no such scenario"),
    "unknown_scope": Text(zh="没有这个范围", en="no such scope"),
    "unknown_item": Text(zh="没有这个就绪项", en="no such readiness item"),
    "unknown_incident": Text(zh="没有这个事件", en="no such incident"),
    "unknown_run": Text(zh="没有这次执行", en="no such run"),
    "unknown_runbook": Text(zh="没有这个预案", en="no such runbook"),
    "unknown_component": Text(zh="没有这个对象", en="no such component"),
    "unknown_drill": Text(zh="没有这次演练", en="no such drill"),
    "fault_active": Text(zh="故障仍在", en="a fault is still active"),
    "already_running": Text(zh="同一预案已在执行", en="the same runbook is running already"),
    "run_not_live": Text(zh="该次执行已结束", en="the run is over"),
    "step_not_waiting": Text(zh="该步骤不在等待人工", en="the step waits for nobody"),
    "needs_approval": Text(zh="该步骤须审批", en="the step needs an approval"),
    "needs_proof": Text(zh="须提供凭证", en="it needs a proof"),
    "stale_approval": Text(
        zh="审批的步骤已变化，请刷新后再看", en="what waits now is another step: look again"
    ),
    "incident_closed": Text(zh="事件已结束", en="the incident is closed"),
    "wrong_role": Text(zh="角色不符", en="not that person's role"),
    "not_actionable": Text(zh="证据不足以采取动作", en="the evidence is too thin to act on"),
    "no_action": Text(zh="规定不采取动作", en="by rule nothing is done"),
    "no_domain_row": Text(zh="故障域表没有此项", en="the fault-domain table has no row for it"),
    "already_tried": Text(zh="已试过，交由人工决定", en="it was tried; a person decides what next"),
    "refused": Text(zh="切换条件不满足", en="the guards of the switch refused it"),
    "mitigated": Text(
        zh="对呼叫的影响已消除，余下的由人工安排修复",
        en="callers feel nothing any more; people repair what is left",
    ),
    "shadowed": Text(zh="该组未武装，仅作记录", en="the group is not armed: only described"),
    "controller restarted": Text(zh="控制器重启", en="the controller restarted"),
    "its symptoms are gone": Text(zh="症状消失", en="its symptoms are gone"),
    "its group is on this side now": Text(zh="该组已由这一侧承载", en="its group is on this side now"),
    "its dependents recovered": Text(zh="下级已恢复", en="its dependents recovered"),
    "a side is back": Text(zh="有一侧已恢复", en="a side is back"),
    "it reaches something again": Text(zh="探测又有应答", en="it reaches something again"),
    "more evidence": Text(zh="证据增加", en="more evidence"),
    "no fault is left": Text(zh="故障已全部消除", en="no fault is left"),
    "a person says so": Text(zh="人工确认", en="a person says so"),
    "isolated": Text(zh="与其他观测点隔离", en="isolated"),
    "no longer isolated": Text(zh="不再隔离", en="no longer isolated"),
    "beats again": Text(zh="心跳恢复", en="it beats again"),
}
"""Reasons that are words of the record but no guard of a switch."""

_VERIFYING: Mapping[str, Text] = {
    "verify": Text(zh="真实呼叫验证", en="verification by a real call"),
    "full_test": Text(zh="全面测试", en="full test"),
}

_ON_UNKNOWN: Mapping[OnUnknown, Text] = {
    OnUnknown.VERIFY: Text(zh="先核对", en="verify first"),
    OnUnknown.REPEAT: Text(zh="重复执行", en="repeat it"),
    OnUnknown.MANUAL: Text(zh="交人工判断", en="ask a person"),
    OnUnknown.FAIL: Text(zh="按失败处理", en="take it as failed"),
}


_WITH_A_NAME: Sequence[tuple[re.Pattern[str], Text]] = (
    (re.compile(r"switch (\S+) verified"), Text(zh="切换 {} 已验证", en="switch {} verified")),
    (re.compile(r"no fault for (\S+) s"), Text(zh="{} 秒内无故障", en="no fault for {} s")),
    (re.compile(r"settled by (\S+)"), Text(zh="由 {} 确认处置完毕", en="settled by {}")),
    (re.compile(r"no answer within (\S+) s"), Text(zh="{} 秒内无应答", en="no answer within {} s")),
    (re.compile(r"missing_input:(\S+)"), Text(zh="缺少参数 {}", en="the input {} is missing")),
)
"""Reasons with a name or a number in them."""


def _by_value(*tables: Mapping[Any, Text]) -> dict[str, Text]:
    """Several tables as one; an earlier one wins."""
    return {str(key): text for table in reversed(tables) for key, text in table.items()}


_ANY_REASON = _by_value(words.REFUSALS, REASONS, words.PAGE_REASONS)
_PAGES = _by_value(words.PAGE_STATES)
_STATES: Mapping[FactKind, dict[str, Text]] = {
    FactKind.PAGE_ENDED: _PAGES,
    FactKind.PAGE_DELIVERY: _by_value(words.DELIVERY_STATES),
    FactKind.DRILL_FINISHED: _by_value(words.DRILL_STATES),
    FactKind.RUN_FINISHED: _by_value(words.RUN_STATES),
    FactKind.STEP_FINISHED: _by_value(words.STEP_STATES),
}
_TABLES: Mapping[str, dict[str, Text]] = {
    "verb": _by_value(words.SWITCH_VERBS, words.DRIVER_VERBS, _VERIFYING),
    "phase": _by_value(words.PHASES),
    "from": _by_value(words.PHASES, words.HEALTH_STATES),
    "current": _by_value(words.HEALTH_STATES),
    "previous": _by_value(words.HEALTH_STATES),
    "resume": _by_value(words.PHASES),
    "outcome": _by_value(words.SWITCH_OUTCOMES, words.RUN_STATES, words.ACTION_STATUSES),
    "status": _by_value(words.ACTION_STATUSES),
    "evidence": _by_value(words.EVIDENCE),
    "on_unknown": _by_value(_ON_UNKNOWN),
    "kind": _by_value(words.FAULTS),
    "diagnosed": _by_value(words.FAULTS),
    "refusals": _ANY_REASON,
    "reasons": _ANY_REASON,
    "reason": _ANY_REASON,
    "why": _ANY_REASON,
    "message": _ANY_REASON,
    "would_refuse": _ANY_REASON,
    "bypassed": _ANY_REASON,
}
_LISTS = frozenset({"evidence", "refusals", "reasons", "would_refuse", "bypassed"})
_FLAGS: Mapping[str, tuple[Text, Text]] = {
    "recovered": (Text(zh="", en=""), Text(zh="已从日志恢复", en="recovered from its journal")),
    "answered": (Text(zh="无应答", en="no answer"), Text(zh="", en="")),
}
"""What (no, yes) are said as, where a plain yes or no would say nothing."""

_YES_NO = (Text(zh="否", en="no"), Text(zh="是", en="yes"))


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
    table = _STATES.get(kind, {}) if name == "state" else _TABLES.get(name, {})
    if name in _LISTS:
        separator = "、" if language is Language.ZH else ", "
        return separator.join(_named(table, item, language) for item in text.split(",") if item)
    return _named(table, text, language)


def fault_name(kind: str, language: Language) -> str:
    """What a fault kind is called; an unknown one by its own name."""
    return _named(_TABLES["kind"], kind, language)


def refusal_text(reason: str, language: Language) -> str:
    """Why something was refused, in words; an unknown reason as it stands."""
    return _named(_ANY_REASON, reason, language)


def _named(table: Mapping[str, Text], key: str, language: Language) -> str:
    text = table.get(key)
    if text is not None:
        return said(text, language)
    if table is _ANY_REASON:
        for pattern, words_ in _WITH_A_NAME:
            if (found := pattern.fullmatch(key)) is not None:
                return said(words_, language).format(found[1])
    return key


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
