"""Why something was done, or was not: the record's own words, as a person reads them in either language.

The record keeps a reason as a word (`nobody_reachable`) or, where it holds a name or a number, as a short English
sentence. A sentence is known by its pattern; what it quotes is looked up in its turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from controller.model import words
from controller.model.runbooks import Text
from controller.reports.answers import ANSWERS, SENTENCES

MILESTONES: Mapping[str, Text] = {
    "detect": Text(zh="检出故障", en="the fault detected"),
    "decide": Text(zh="决定切换", en="the switch decided"),
    "switch": Text(zh="呼叫已改送", en="calls redirected"),
    "verify": Text(zh="切换已验证", en="the switch verified"),
    "acknowledge": Text(zh="有人确认", en="acknowledged"),
    "outage": Text(zh="影响消除", en="the impact over"),
}
"""What a drill times."""

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
    "run_live": Text(
        zh="处置尚未完成：先完成或取消它", en="a run is not finished: finish or cancel it first"
    ),
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
    "no_longer_needed": Text(zh="已不需要", en="it is no longer needed"),
    "shadowed": Text(zh="该组未武装，仅作记录", en="the group is not armed: only described"),
    "controller restarted": Text(zh="控制器重启", en="the controller restarted"),
    "its symptoms are gone": Text(zh="症状消失", en="its symptoms are gone"),
    "its group is on this side now": Text(zh="该组已由这一侧承载", en="its group is on this side now"),
    "its dependents recovered": Text(zh="下级已恢复", en="its dependents recovered"),
    "a side is back": Text(zh="有一侧已恢复", en="a side is back"),
    "it reaches something again": Text(zh="探测又有应答", en="it reaches something again"),
    "more evidence": Text(zh="证据增加", en="more evidence"),
    "no fault is left": Text(zh="故障已全部消除", en="no fault is left"),
    "the side in use is well again": Text(zh="在用的一侧已恢复", en="the side in use is well again"),
    "a person says so": Text(zh="人工确认", en="a person says so"),
    "isolated": Text(zh="与其他观测点隔离", en="isolated"),
    "no longer isolated": Text(zh="不再隔离", en="no longer isolated"),
    "beats again": Text(zh="心跳恢复", en="it beats again"),
    "no heartbeat": Text(zh="没有心跳", en="no heartbeat"),
    "no answer": Text(zh="无应答", en="no answer"),
    "no probe answered": Text(zh="没有探测应答", en="no probe answered"),
    "no edge answers": Text(zh="没有边缘应答", en="no edge answers"),
    "nobody known": Text(zh="未知的一侧", en="nobody known"),
    "not measured": Text(zh="未测得", en="not measured"),
    "the vantage that saw it is cut off itself": Text(
        zh="看到它的观测点自身被隔离", en="the vantage that saw it is cut off itself"
    ),
    "a side holds the address again": Text(zh="又有一侧持有该地址", en="a side holds the address again"),
    "as desired again": Text(zh="已恢复为期望状态", en="as desired again"),
    "as desired": Text(zh="与期望一致", en="as desired"),
    "the edges agree again": Text(zh="各边缘又一致", en="the edges agree again"),
    "no longer explained by what it depends on": Text(
        zh="不再由所依赖的对象解释", en="no longer explained by what it depends on"
    ),
    "may not act": Text(zh="暂不得动作", en="may not act"),
    "outcome unknown": Text(zh="结果未知", en="outcome unknown"),
    "its outcome stays unknown": Text(zh="结果始终未知", en="its outcome stays unknown"),
    "outcome unknown, tried often enough": Text(
        zh="结果未知，已尝试足够次数", en="outcome unknown, tried often enough"
    ),
    "no verification is declared": Text(zh="没有配置验证", en="no verification is declared"),
    "refused by the far end": Text(zh="对端拒绝", en="refused by the far end"),
    "refused by a person": Text(zh="被人工否决", en="refused by a person"),
    "nobody answered in time": Text(zh="无人按时答复", en="nobody answered in time"),
    "nobody to ask": Text(zh="无人可询问", en="nobody to ask"),
    "no action": Text(zh="没有动作", en="no action"),
    "read back: it took effect": Text(zh="回读：已生效", en="read back: it took effect"),
    "the controller restarted": Text(zh="控制器重启", en="the controller restarted"),
    "controller restarted before the switch began": Text(
        zh="切换开始前控制器重启", en="controller restarted before the switch began"
    ),
    "controller restarted while verifying": Text(
        zh="核对期间控制器重启", en="controller restarted while verifying"
    ),
    "the switch ended without an answer": Text(
        zh="切换结束但没有答复", en="the switch ended without an answer"
    ),
    "its runbook has changed or is gone": Text(
        zh="预案已变更或不存在", en="its runbook has changed or is gone"
    ),
    "the preferred side is stable": Text(zh="首选侧已稳定", en="the preferred side is stable"),
    "repaired in place": Text(zh="就地修复", en="repaired in place"),
    "large impact inside a switchable domain": Text(
        zh="影响大，且在可切换的范围内", en="large impact inside a switchable domain"
    ),
    "small impact, and no repair is declared": Text(
        zh="影响小，且没有规定修复办法", en="small impact, and no repair is declared"
    ),
}
"""Reasons that are words of the record but no guard of a switch."""

_AUDIO: Mapping[str, Text] = {
    "in": Text(zh="听不到来向", en="nothing comes in"),
    "out": Text(zh="听不到去向", en="nothing goes out"),
    "both": Text(zh="双向均无声", en="silent both ways"),
}

_SENTENCES: Sequence[tuple[re.Pattern[str], Text]] = tuple(
    (re.compile(pattern, re.DOTALL), Text(zh=zh, en=en))
    for pattern, zh, en in (
        (r"switch (\S+) verified", "切换 {} 已验证", "switch {} verified"),
        (r"(SW-\S+) verified", "{} 已验证", "{} verified"),
        (r"no fault for (\S+) s", "{} 秒内无故障", "no fault for {} s"),
        (r"settled by (\S+)", "由 {} 确认处置完毕", "settled by {}"),
        (r"no answer within (\S+) s", "{} 秒内无应答", "no answer within {} s"),
        (r"missing_input:(\S+)", "缺少参数 {}", "the input {} is missing"),
        (r"not verified: (.+)", "未通过验证：{}", "not verified: {}"),
        (r"not yet: (.+)", "尚未：{}", "not yet: {}"),
        (r"refused: (.+)", "被拒绝：{}", "refused: {}"),
        (r"rollback failed: (.+)", "回滚失败：{}", "rollback failed: {}"),
        (r"inject failed: (.+)", "注入失败：{}", "inject failed: {}"),
        (r"failed: (.+)", "失败：{}", "failed: {}"),
        (r"not up: (.+)", "未处于正常：{}", "not up: {}"),
        (r"not down: (.+)", "未处于中断：{}", "not down: {}"),
        (r"condition unknown: (.+)", "条件无法判断：{}", "condition unknown: {}"),
        (r"no value for (.+)", "缺少 {} 的值", "no value for {}"),
        (r"may not run in parallel: (.+)", "不得并行执行：{}", "may not run in parallel: {}"),
        (r"can't be put back: (.+)", "无法退回：{}", "can't be put back: {}"),
        (r"can't read back: (.+)", "无法回读：{}", "can't read back: {}"),
        (
            r"the edges obey a newer epoch, (\d+)",
            "边缘已服从更新的纪元 {}",
            "the edges obey a newer epoch, {}",
        ),
        (
            r"(\d+) of (\d+) calls were answered in time",
            "按时接通 {} 次，共 {} 次呼叫",
            "{} of {} calls were answered in time",
        ),
        (r"a call is no evidence: (.+)", "呼叫不构成证据：{}", "a call is no evidence: {}"),
        (r"a call failed: (.+)", "呼叫失败：{}", "a call failed: {}"),
        (r"answered by (.+), not (\S+)", "由 {} 应答，而非 {}", "answered by {}, not {}"),
        (r"audio: (.+)", "语音：{}", "audio: {}"),
        (r"codec (\S+), not (\S+)", "编码为 {}，而非 {}", "codec {}, not {}"),
        (
            r"(\d+) of (\d+) dependents failed together",
            "{} 个下级同时故障，共 {} 个",
            "{} of {} dependents failed together",
        ),
        (r"a real fault: (\S+)", "出现真实故障：{}", "a real fault: {}"),
        (r"stopped by ([^:]+)", "由 {} 停止", "stopped by {}"),
        (r"stopped by ([^:]+): (.+)", "由 {} 停止：{}", "stopped by {}: {}"),
        (r"(\S+) cleared", "{} 已消失", "{} cleared"),
        (r"incident (\S+)", "事件{}", "incident {}"),
        (r"it is (\S+)", "实为{}", "it is {}"),
        (r"unheld for (\S+) s", "无人持有已 {} 秒", "unheld for {} s"),
        (r"active (\S+), epoch (\d+)", "{} 在用，纪元 {}", "active {}, epoch {}"),
        *SENTENCES,
        (r"(\w+) failed", "{}失败", "{} failed"),
    )
)


def _by_value(*tables: Mapping[Any, Text]) -> dict[str, Text]:
    """Several tables as one; an earlier one wins."""
    return {str(key): text for table in reversed(tables) for key, text in table.items()}


KNOWN: Mapping[str, Text] = _by_value(words.REFUSALS, REASONS, words.PAGE_REASONS, ANSWERS)
_FAULTS: Mapping[str, Text] = _by_value(words.FAULTS)
_QUOTED: Mapping[str, Text] = _by_value(
    KNOWN, words.PHASES, words.FAULTS, words.INCIDENT_STATES, words.SWITCH_OUTCOMES, words.OUTCOMES, _AUDIO
)
"""What a sentence may quote: reasons, and the names of things."""


def reason_text(reason: str) -> Text:
    """In both languages; one that is not known as it stands. Several are joined by semicolons."""
    if (known := KNOWN.get(reason)) is not None:
        return known
    for pattern, said in _SENTENCES:
        if (found := pattern.fullmatch(reason)) is not None:
            quoted = [_quoted(part) for part in found.groups()]
            return Text(
                zh=said.zh.format(*(text.zh for text in quoted)),
                en=said.en.format(*(text.en for text in quoted)),
            )
    several = reason.split("; ")
    each = [reason_text(part) for part in several] if len(several) > 1 else []
    if any(text.zh != part for text, part in zip(each, several, strict=False)):
        return Text(zh="；".join(text.zh for text in each), en="; ".join(text.en for text in each))
    place, colon, said_of_it = reason.partition(": ")
    if colon and " " not in place and (rest := reason_text(said_of_it)).zh != said_of_it:
        return Text(zh=f"{place}：{rest.zh}", en=f"{place}: {rest.en}")
    return Text(zh=reason, en=reason)


def _quoted(part: str) -> Text:
    if (known := _QUOTED.get(part)) is not None:
        return known
    kind, colon, name = part.partition(":")
    if colon and (fault := _FAULTS.get(kind)) is not None:
        return Text(zh=f"{name} {fault.zh}", en=f"{name} {fault.en}")
    items = part.split(",")
    if len(items) > 1 and all(item in KNOWN for item in items):
        return Text(
            zh="、".join(KNOWN[item].zh for item in items), en=", ".join(KNOWN[item].en for item in items)
        )
    outcome, _, code = part.partition(" ")
    if code.isdigit() and (met := _QUOTED.get(outcome)) is not None:
        return Text(zh=f"{met.zh}（{code}）", en=f"{met.en} ({code})")
    return reason_text(part)
