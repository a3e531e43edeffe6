"""One phrase a kind of fact, in both languages.

`{name}` stands for a value of the fact's data (or its subject or actor), shown as `values.shown` shows it. A part in
square brackets is left out when any value in it is missing or empty; of several that begin with a semicolon the first
that is not left out goes without it.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.model.facts import FactKind
from controller.model.runbooks import Text

PHRASES: Mapping[FactKind, Text] = {
    FactKind.CONTROLLER_STARTED: Text(
        zh="控制器 {subject} 启动[，{recovered}]",
        en="controller {subject} started[, {recovered}]",
    ),
    FactKind.LEASE_ACQUIRED: Text(zh="本节点取得主控租约", en="this node holds the lease: it may act"),
    FactKind.LEASE_LOST: Text(
        zh="本节点失去主控租约，只观察不动作[：{reason}]",
        en="this node lost the lease: it observes only[: {reason}]",
    ),
    FactKind.LEADERSHIP_TAKEN: Text(
        zh="{subject} 接任主控，在途操作先回读再继续",
        en="{subject} leads from here on; what was under way is read back first",
    ),
    FactKind.LEADERSHIP_LOST: Text(
        zh="{subject} 不再主控，只观察[：{reason}]",
        en="{subject} no longer leads, it only observes[: {reason}]",
    ),
    FactKind.STORE_ADOPTED: Text(
        zh="接纳协调存储 {store}，各组以更高的 epoch 重新开始[：{reason}]",
        en="coordination store {store} adopted, every group begins anew at a higher epoch[: {reason}]",
    ),
    FactKind.TIMER_GAP: Text(
        zh="计时中断[ {seconds}]，暂停动作，只观察",
        en="own timers stood still[ for {seconds}]; observing only for a while",
    ),
    FactKind.VANTAGE_LOST: Text(
        zh="观测点 {subject} 失联，弃权[：{reason}]", en="vantage {subject} lost, it abstains[: {reason}]"
    ),
    FactKind.VANTAGE_RETURNED: Text(
        zh="观测点 {subject} 恢复[：{reason}]",
        en="vantage {subject} is back[: {reason}]",
    ),
    FactKind.HEALTH_CHANGED: Text(
        zh="{subject}[ 的 {rung}] [由{previous}]变为{current}[（{outcome}）][，代码 {code}][，{note}]",
        en="{subject}[ {rung}] is {current}[, was {previous}][ ({outcome})][, code {code}][, {note}]",
    ),
    FactKind.FAULT_RAISED: Text(
        zh="诊断故障：{subject} {kind}[，最先断在 {first_broken_rung}][（规则 {rule}）][，证据：{evidence}]",
        en="fault: {subject} {kind}[, first broken rung {first_broken_rung}][ (rule {rule})][, evidence: {evidence}]",
    ),
    FactKind.FAULT_CHANGED: Text(
        zh="故障变化：{subject} {kind}[：{change}][，证据：{evidence}]",
        en="fault changed: {subject} {kind}[: {change}][, evidence: {evidence}]",
    ),
    FactKind.FAULT_CLEARED: Text(
        zh="故障消除：{subject} {kind}[：{reason}][，历时 {seconds}]",
        en="fault cleared: {subject} {kind}[: {reason}][, after {seconds}]",
    ),
    FactKind.FAULT_SUPPRESSED: Text(
        zh="[{count} 个]下级故障已归并：由 {cause} 引起",
        en="[{count} ]faults below are explained by {cause}",
    ),
    FactKind.FAULT_REPORTED: Text(
        zh="{actor} 报告故障：{subject}[，现象：{symptom}][，发现于 {noticed_wall}]",
        en="{actor} reports a fault: {subject}[: {symptom}][, noticed at {noticed_wall}]",
    ),
    FactKind.CONTROL_REQUESTED: Text(
        zh="对照试验：{subject}[（规则 {rule}）][，探测 {rungs}]",
        en="control experiment on {subject}[ (rule {rule})][: {rungs}]",
    ),
    FactKind.CONTROL_FINISHED: Text(
        zh="对照试验结束：{subject}[（规则 {rule}）][，{answered}]",
        en="control experiment on {subject} finished[ (rule {rule})][, {answered}]",
    ),
    FactKind.INCIDENT_OPENED: Text(
        zh="事件开启：{subject}[ {severity}][，{kind}][，影响 {affected} 个对象][，定级规则 {rule}]",
        en="incident opened: {subject}[ {severity}][, {kind}][, {affected} affected][, by rule {rule}]",
    ),
    FactKind.INCIDENT_JOINED: Text(
        zh="并入事件 {subject}[：{fault}][：{merged}][：来自 {from}][，共影响 {affected} 个对象]",
        en="joins incident {subject}[: {fault}][: {merged}][: from {from}][, {affected} affected]",
    ),
    FactKind.INCIDENT_MERGED: Text(
        zh="事件 {subject} 并入 {into}",
        en="incident {subject} is merged into {into}",
    ),
    FactKind.SEVERITY_CHANGED: Text(
        zh="{subject} 定级[由 {previous} ][由 {before} ]变为 {severity}[，依据规则 {rule}][，预案 {runbook} 失败]",
        en="{subject} is now {severity}[, was {previous}][, was {before}][, by rule {rule}][, runbook {runbook} failed]",
    ),
    FactKind.INCIDENT_ACKNOWLEDGED: Text(
        zh="{actor} 确认收到 {subject}[（{via}）]", en="{actor} acknowledged {subject}[ ({via})]"
    ),
    FactKind.INCIDENT_MITIGATED: Text(
        zh="{subject} 影响已消除[：{reason}][，边缘计失败呼叫迄今 {calls_failed} 次]",
        en="{subject}: the callers' impact is over[: {reason}][, {calls_failed} calls failed at the edges so far]",
    ),
    FactKind.CALLS_COUNTED: Text(
        zh="{subject} 的失败呼叫清点完毕[：边缘计 {calls_failed} 次]",
        en="{subject}: the calls lost are counted[: {calls_failed} failed at the edges]",
    ),
    FactKind.INCIDENT_RESOLVED: Text(
        zh="{subject} 已解决[：{reason}]",
        en="{subject} is resolved[: {reason}]",
    ),
    FactKind.COMMAND_TAKEN: Text(zh="{actor} 担任 {subject} 的指挥", en="{actor} takes command of {subject}"),
    FactKind.GRADE_CONFIRMED: Text(
        zh="{actor} 确认 {subject} 的上报等级[ {grade}]",
        en="{actor} confirms the grade of {subject}[: {grade}]",
    ),
    FactKind.NOTE: Text(
        zh="备注：[；{text}][；{note}][；达到里程碑：{milestones}][；{reason}][；撤销注入（{undo}）][；预案 {runbook} {outcome}][；故障已消除，因 {kept_open_by} 未结束而不能关闭]",
        en="note: [; {text}][; {note}][; reached: {milestones}][; {reason}][; undoing the inject ({undo})][; runbook {runbook}: {outcome}][; no fault is left, yet kept open by {kept_open_by}]",
    ),
    FactKind.RESPONSE_CHOSEN: Text(
        zh="选定处置：{subject}[ {fault}][ → 预案 {runbook}][，证据：{evidence}]",
        en="response chosen for {subject}[: {fault}][ -> runbook {runbook}][, evidence: {evidence}]",
    ),
    FactKind.RESPONSE_WITHHELD: Text(
        zh="不自动处置：{subject}[ {fault}][（预案 {runbook}）][，原因：{reasons}][：{reason}]",
        en="no automatic response for {subject}[: {fault}][ (runbook {runbook})][, because: {reasons}][: {reason}]",
    ),
    FactKind.RUN_STARTED: Text(
        zh="开始执行预案 {runbook}（{subject}）[，版本 {revision}]",
        en="runbook {runbook} started ({subject})[, revision {revision}]",
    ),
    FactKind.STEP_INTENDED: Text(
        zh="{subject} 将执行步骤 {step}[：{action}][，第 {attempt} 次][，{reason}]",
        en="{subject} step {step}[: {action}][, attempt {attempt}][, {reason}]",
    ),
    FactKind.STEP_FINISHED: Text(
        zh="{subject} 步骤 {step}[ {state}][（{status}）][，第 {attempt} 次][：{message}]",
        en="{subject} step {step}[ {state}][ ({status})][, attempt {attempt}][: {message}]",
    ),
    FactKind.STEP_SKIPPED: Text(
        zh="{subject} 跳过步骤 {step}[：条件不成立 {when}][：{reason}]",
        en="{subject} step {step} skipped[: not {when}][: {reason}]",
    ),
    FactKind.STEP_HELD: Text(
        zh="{subject} 步骤 {step} 暂缓[：{reasons}]", en="{subject} step {step} waits[: {reasons}]"
    ),
    FactKind.STEP_SHADOWED: Text(
        zh="{subject} 步骤 {step} 未执行：该组未武装[，本应 {action}]",
        en="{subject} step {step} not done: the group is not armed[; it would {action}]",
    ),
    FactKind.RUN_ROLLING_BACK: Text(
        zh="{subject} 开始回滚[：{outcome}][：{reason}]",
        en="{subject} rolls back[: {outcome}][: {reason}]",
    ),
    FactKind.STEP_UNKNOWN: Text(
        zh="{subject} 步骤 {step} 结果未知[，将{on_unknown}][：{message}]",
        en="{subject} step {step}: outcome unknown[, next: {on_unknown}][: {message}]",
    ),
    FactKind.APPROVAL_REQUESTED: Text(
        zh="{subject} 步骤 {step} 请求审批[（{role}）][，{expires} 秒内有效]",
        en="{subject} step {step} asks for approval[ by {role}][, within {expires} s]",
    ),
    FactKind.APPROVAL_GIVEN: Text(
        zh="{actor} 批准 {subject} 步骤 {step}", en="{actor} approves {subject} step {step}"
    ),
    FactKind.APPROVAL_REFUSED: Text(
        zh="{actor} 否决 {subject} 步骤 {step}[：{reason}]",
        en="{actor} refuses {subject} step {step}[: {reason}]",
    ),
    FactKind.APPROVAL_STALE: Text(
        zh="{actor} 的审批已过时，未采用：{subject} 步骤 {step}[（{stale} 不符）]",
        en="{actor}'s approval is stale and not used: {subject} step {step}[ (another {stale})]",
    ),
    FactKind.APPROVAL_EXPIRED: Text(
        zh="{subject} 步骤 {step} 审批超时[，按 {default} 处理]",
        en="{subject} step {step}: the approval expired[, taken as {default}]",
    ),
    FactKind.MANUAL_REQUESTED: Text(
        zh="{subject} 步骤 {step} 需要人工完成[，负责人 {owner}][，凭证：{proof}]",
        en="{subject} step {step} is for a person[: {owner}][, proof: {proof}]",
    ),
    FactKind.MANUAL_DONE: Text(
        zh="{actor} 完成 {subject} 的人工步骤 {step}[，凭证：{proof}]",
        en="{actor} did {subject} step {step} by hand[, proof: {proof}]",
    ),
    FactKind.MANUAL_OVERDUE: Text(
        zh="{subject} 的人工步骤 {step} 超时[，负责人 {owner}]",
        en="{subject} step {step} by hand is overdue[, owner {owner}]",
    ),
    FactKind.RUN_FINISHED: Text(
        zh="预案[ {runbook}]结束（{subject}）[：{state}][，失败步骤 {failed}][，{reason}][，历时 {seconds}][，未能撤销 {not_undone}]",
        en="runbook[ {runbook}] ended ({subject})[: {state}][, failed: {failed}][, {reason}][, took {seconds}][, not undone: {not_undone}]",
    ),
    FactKind.GROUP_ADOPTED: Text(
        zh="{subject} 采纳边缘的现状：[{active} 在用][，纪元 {epoch}]",
        en="{subject} adopts what its edges say[: {active} active][, epoch {epoch}]",
    ),
    FactKind.GROUP_ARMED: Text(
        zh="{actor} 武装 {subject}：允许自动切换[，最坏中断 {worst_case} 秒，目标 {rto} 秒]",
        en="{actor} armed {subject}: it may switch by itself[, worst case {worst_case} s of {rto} s]",
    ),
    FactKind.GROUP_DISARMED: Text(
        zh="[{actor} ]解除 {subject} 的武装：只观察不切换[，最坏中断 {worst_case} 秒，超过目标 {rto} 秒]",
        en="[{actor} ]disarmed {subject}: it only observes[, worst case {worst_case} s is over {rto} s]",
    ),
    FactKind.READINESS_TICKED: Text(
        zh="{actor} 确认 {subject} 就绪项 {item}[，有效至 {until_wall}]",
        en="{actor} ticked {subject} ready: {item}[, until {until_wall}]",
    ),
    FactKind.HOLD_PLACED: Text(
        zh="{actor} 暂停 {subject} 的自动化[，至 {until_wall}][：{reason}]",
        en="{actor} put {subject} on hold[ until {until_wall}][: {reason}]",
    ),
    FactKind.HOLD_RELEASED: Text(
        zh="{actor} 恢复 {subject} 的自动化", en="{actor} released the hold on {subject}"
    ),
    FactKind.HOLD_EXPIRED: Text(
        zh="{subject} 的暂停到期[（由 {placed_by} 设置）]",
        en="the hold on {subject} expired[ (placed by {placed_by})]",
    ),
    FactKind.SWITCH_REFUSED: Text(
        zh="{subject} 未切换[到 {target}]：{refusals}", en="{subject} not switched[ to {target}]: {refusals}"
    ),
    FactKind.SWITCH_SHADOWED: Text(
        zh="{subject} 未武装：本应[{verb}到 {target}][；但仍会被拒绝：{would_refuse}]",
        en="{subject} is not armed: it would[ {verb} to {target}][, but would be refused: {would_refuse}]",
    ),
    FactKind.SWITCH_STARTED: Text(
        zh="{subject} 开始{verb}：{origin} → {target}[，纪元 {epoch}][，证据：{evidence}][，越过：{bypassed}][，{reason}]",
        en="{subject} {verb} started: {origin} -> {target}[, epoch {epoch}][, evidence: {evidence}][, bypassing: {bypassed}][, {reason}]",
    ),
    FactKind.SWITCH_PHASE: Text(
        zh="{subject} {phase}[，第 {attempt} 次][：{reason}]",
        en="{subject}: {phase}[, attempt {attempt}][: {reason}]",
    ),
    FactKind.SWITCH_INTENDED: Text(
        zh="{subject} 将{verb}：{side}[（纪元 {epoch}，{command}）]",
        en="{subject} will {verb}: {side}[ (epoch {epoch}, {command})]",
    ),
    FactKind.SWITCH_STEP_FINISHED: Text(
        zh="{subject} {verb}{status}[，应答侧 {side}][，MOS {mos}][：{message}]",
        en="{subject} {verb} {status}[, side {side}][, MOS {mos}][: {message}]",
    ),
    FactKind.SWITCH_ENDED: Text(
        zh="{subject} {verb}结束：{outcome}[，现由 {active} 承载][，用时 {seconds}][：{reason}]",
        en="{subject} {verb} ended: {outcome}[, {active} is active][, took {seconds}][: {reason}]",
    ),
    FactKind.EDGE_DRIFTED: Text(
        zh="{subject} 边缘与期望不符[：{drifted}][，不可达：{unreachable}][，期望 {desired}][，{reason}]",
        en="{subject} edges differ from what is desired[: {drifted}][, unreachable: {unreachable}][, desired {desired}][, {reason}]",
    ),
    FactKind.EDGE_REASSERTED: Text(
        zh="{subject} 边缘已恢复为期望状态[：{side}][：{desired}]",
        en="{subject} edges are as desired again[: {side}][: {desired}]",
    ),
    FactKind.GROUP_RELEASED: Text(
        zh="{actor} 确认 {subject} 已处置完毕[，{active} 在用][：{reason}]",
        en="{actor} settled {subject}[, {active} is active][: {reason}]",
    ),
    FactKind.REQUEST_REFUSED: Text(
        zh="拒绝请求[ {request}]（{subject}）：{reasons}",
        en="request[ {request}] refused ({subject}): {reasons}",
    ),
    FactKind.PAGE_OPENED: Text(
        zh="开始通知值班[（{severity}）]（{subject}）", en="paging began[ ({severity})] ({subject})"
    ),
    FactKind.PAGE_REPEATED: Text(
        zh="{subject} 再次通知（第 {round} 次）[：{reason}]",
        en="{subject}: paged again, time {round}[: {reason}]",
    ),
    FactKind.PAGE_SENT: Text(
        zh="{subject} 通知 {person}（{channel}）", en="{subject}: paging {person} by {channel}"
    ),
    FactKind.PAGE_DELIVERY: Text(
        zh="{subject} 给 {person} 的通知（{channel}）{state}[：{message}]",
        en="{subject}: the page to {person} by {channel} is {state}[: {message}]",
    ),
    FactKind.PAGE_ESCALATED: Text(
        zh="{subject} 升级到第 {level} 级[：{reason}]", en="{subject} goes up to level {level}[: {reason}]"
    ),
    FactKind.PAGE_ENDED: Text(
        zh="{subject} 通知结束：{state}[，{by}][，{why}]", en="{subject} ended: {state}[ by {by}][, {why}]"
    ),
    FactKind.PAGE_WITHHELD: Text(
        zh="{subject} 未通知值班：{reason}[（{severity}）]",
        en="{subject}: nobody paged: {reason}[ ({severity})]",
    ),
    FactKind.DRILL_STARTED: Text(
        zh="演练 {subject} 开始[：{scenario}][，对象 {component}]",
        en="drill {subject} started[: {scenario}][ on {component}]",
    ),
    FactKind.DRILL_INJECTED: Text(
        zh="演练 {subject} 已注入故障[：{message}]", en="drill {subject}: fault injected[: {message}]"
    ),
    FactKind.DRILL_UNDONE: Text(zh="演练 {subject} 注入已撤销", en="drill {subject}: inject undone"),
    FactKind.DRILL_UNDO_FAILED: Text(
        zh="演练 {subject} 撤销注入失败[，第 {attempts} 次][：{message}]",
        en="drill {subject}: undoing the inject failed[, attempt {attempts}][: {message}]",
    ),
    FactKind.DRILL_FINISHED: Text(
        zh="演练 {subject} 结束[：{state}][，得分 {score}][，诊断 {diagnosed}]",
        en="drill {subject} ended[: {state}][, score {score}][, diagnosed {diagnosed}]",
    ),
    FactKind.RECORDS_RETIRED: Text(
        zh="[{count} 条]已结束的记录移出内存，日志中仍可查",
        en="[{count} ]ended records left memory; the journal keeps them",
    ),
    FactKind.DRILL_ABORTED: Text(
        zh="演练 {subject} 中止[：{reason}]", en="drill {subject} aborted[: {reason}]"
    ),
}
