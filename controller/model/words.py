"""What things are called on screen, in both languages: one table a kind, complete by test."""

from __future__ import annotations

from collections.abc import Mapping

from controller.model.drills import DrillState
from controller.model.faults import EvidenceKind, FaultKind, Impact, Urgency
from controller.model.groups import DriverVerb, Phase, Refusal, SwitchOutcome, SwitchVerb
from controller.model.health import HealthState, Outcome
from controller.model.incidents import IncidentState
from controller.model.pages import DeliveryState, PageReason, PageState
from controller.model.runbooks import Text
from controller.model.runs import ActionStatus, RunState, StepState

DRILL_MARK = Text(zh="【演练】这是一次演练", en="[DRILL] This is a drill")
"""Opens and closes every message of a drill."""

FAULTS: Mapping[FaultKind, Text] = {
    FaultKind.PLATFORM_DEAD: Text(zh="呼叫平台宕机", en="call platform dead"),
    FaultKind.PLATFORM_HUNG: Text(zh="呼叫平台挂死（主机在线，SIP 无响应）", en="call platform hung (host up, no SIP)"),
    FaultKind.PLATFORM_ZOMBIE: Text(zh="呼叫平台假死（能应答探测，不能接通呼叫）", en="call platform zombie (answers probes, fails calls)"),
    FaultKind.PROBE_PATH_BROKEN: Text(zh="探测链路中断", en="probe path broken"),
    FaultKind.TEST_TARGET_DOWN: Text(zh="测试呼叫的目标不可用", en="test-call target down"),
    FaultKind.COMMON_CAUSE: Text(zh="两侧同时失败（共同原因）", en="both sides failing (common cause)"),
    FaultKind.MEDIA_ONE_WAY: Text(zh="单向语音", en="one-way audio"),
    FaultKind.TRUNK_DOWN: Text(zh="中继线路中断", en="trunk down"),
    FaultKind.EDGE_DRIFT: Text(zh="边缘路由配置漂移", en="edge drift"),
    FaultKind.EDGE_DIVERGENCE: Text(zh="各边缘路由不一致", en="edges disagree"),
    FaultKind.REDUNDANCY_LOST: Text(zh="冗余丧失", en="redundancy lost"),
    FaultKind.DEVICE_DOWN: Text(zh="设备离线", en="device down"),
    FaultKind.BACKUP_STALE: Text(zh="数据备份过期", en="backup stale"),
    FaultKind.CERTIFICATE_EXPIRING: Text(zh="证书即将到期", en="certificate expiring"),
    FaultKind.SECURITY_ANOMALY: Text(zh="数据安全异常", en="security anomaly"),
    FaultKind.BOTH_SIDES_DOWN: Text(zh="主备两侧均不可用", en="both sides down"),
    FaultKind.VIP_UNHELD: Text(zh="虚拟地址无人持有", en="virtual address held by nobody"),
    FaultKind.REPORTED: Text(zh="人工报告的故障", en="fault reported by a person"),
}  # fmt: skip

IMPACTS: Mapping[Impact, Text] = {
    Impact.ALL_CALLS: Text(zh="全部呼叫受影响", en="all calls are affected"),
    Impact.MANY_CALLS: Text(zh="大量呼叫受影响", en="many calls are affected"),
    Impact.FEW_CALLS: Text(zh="少量呼叫受影响", en="few calls are affected"),
    Impact.NO_CALLS: Text(zh="暂无呼叫受影响", en="no calls are affected"),
}

URGENCIES: Mapping[Urgency, Text] = {
    Urgency.IMMEDIATE: Text(zh="须立即处理", en="immediate"),
    Urgency.HIGH: Text(zh="须尽快处理", en="urgent"),
    Urgency.LOW: Text(zh="可计划处理", en="can be planned"),
}

PHASES: Mapping[Phase, Text] = {
    Phase.IDLE: Text(zh="空闲", en="idle"),
    Phase.PRECHECKING: Text(zh="切换前检查", en="checking before the switch"),
    Phase.DRAINING: Text(zh="等待通话结束", en="draining calls"),
    Phase.FREEZING: Text(zh="冻结旧侧", en="freezing the old side"),
    Phase.FENCING: Text(zh="隔离旧侧", en="fencing the old side"),
    Phase.CONFIRMING_FENCE: Text(zh="确认旧侧已隔离", en="confirming the fence"),
    Phase.PROMOTING: Text(zh="启用新侧", en="promoting the new side"),
    Phase.REDIRECTING: Text(zh="切换呼叫路由", en="redirecting calls"),
    Phase.VERIFYING: Text(zh="真实呼叫验证", en="verifying by a real call"),
    Phase.COMPENSATING: Text(zh="回退", en="putting the old state back"),
    Phase.READING_BACK: Text(zh="回读实际状态", en="reading back the real state"),
    Phase.NEEDS_PERSON: Text(zh="等待人工处理", en="waiting for a person"),
}

SWITCH_VERBS: Mapping[SwitchVerb, Text] = {
    SwitchVerb.SWITCHOVER: Text(zh="计划切换", en="switchover"),
    SwitchVerb.FAILOVER: Text(zh="故障切换", en="failover"),
    SwitchVerb.FORCE: Text(zh="强制切换", en="forced switch"),
    SwitchVerb.FAILBACK: Text(zh="回切", en="failback"),
}

SWITCH_OUTCOMES: Mapping[SwitchOutcome, Text] = {
    SwitchOutcome.VERIFIED: Text(zh="已切换，并经真实呼叫验证", en="switched and verified by a real call"),
    SwitchOutcome.COMPENSATED: Text(
        zh="验证未通过，已退回原状态", en="not verified; the old state was put back"
    ),
    SwitchOutcome.FAILED: Text(zh="失败", en="failed"),
    SwitchOutcome.REFUSED: Text(zh="被拒绝", en="refused"),
    SwitchOutcome.NEEDS_PERSON: Text(zh="停在须人工处理之处", en="stopped where a person must go on"),
    SwitchOutcome.SHADOWED: Text(
        zh="未武装，仅记录本应执行的切换", en="not armed: only recorded what would be done"
    ),
}

REFUSALS: Mapping[Refusal, Text] = {
    Refusal.NOT_ARMED: Text(zh="该组未武装", en="the group is not armed"),
    Refusal.NO_LEASE: Text(zh="本节点未持有有效租约", en="this node holds no live lease"),
    Refusal.NOT_LEADER: Text(zh="当前由另一节点主控，请在主控节点操作", en="another node leads; ask that one"),
    Refusal.TOO_FEW_VANTAGES: Text(zh="观测点数量不足", en="too few vantages"),
    Refusal.ONE_KIND_OF_EVIDENCE: Text(zh="只有一类证据", en="only one kind of evidence"),
    Refusal.ON_HOLD: Text(zh="自动化已被人工暂停", en="automation is on hold"),
    Refusal.MAINTENANCE: Text(zh="处于维护窗口", en="maintenance window"),
    Refusal.COOLDOWN: Text(zh="冷却期内", en="cooling down after the last switch"),
    Refusal.RUN_IN_PROGRESS: Text(zh="该组已有处置在执行", en="another run is in progress on this group"),
    Refusal.TARGET_NOT_READY: Text(zh="备用侧未就绪", en="the target side is not ready"),
    Refusal.UNKNOWN_DATA: Text(zh="关键数据未知", en="data that decides is unknown"),
    Refusal.FENCE_NOT_READY: Text(zh="隔离手段未就绪", en="the fence is not ready"),
    Refusal.SIDE_FENCED: Text(zh="该侧已被隔离，由人工放回", en="the side is fenced; a person lets it back in"),
    Refusal.OVER_RTO: Text(zh="最坏情况超过恢复时间目标", en="the worst case is over the RTO"),
    Refusal.BUDGET_SPENT: Text(zh="本时段内自动切换次数已用完", en="the automatic switches of this window are spent"),
    Refusal.TIMER_GAP: Text(zh="控制器计时中断，暂只观察", en="after a timer gap the node only observes"),
    Refusal.ALREADY_ACTIVE: Text(zh="目标侧已在用", en="the target side is already active"),
    Refusal.NEVER_SWITCH: Text(zh="此类故障规定不得切换", en="this fault never switches"),
    Refusal.OUTSIDE_DOMAIN: Text(zh="故障不在该组可切换的范围内", en="the fault lies outside the switchable domain"),
    Refusal.EDGES_UNREACHABLE: Text(zh="边缘设备不可达", en="edges can't be reached"),
    Refusal.UNSTABLE: Text(zh="首选侧稳定时间不足", en="the preferred side has not been stable long enough"),
    Refusal.NEEDS_PERSON: Text(zh="该组等待人工处理", en="the group waits for a person"),
    Refusal.UNKNOWN_GROUP: Text(zh="没有这个组", en="no such group"),
    Refusal.UNKNOWN_SIDE: Text(zh="没有这一侧", en="no such side"),
    Refusal.JOURNAL_UNAVAILABLE: Text(zh="日志无法写入", en="the journal can't be written"),
}  # fmt: skip

MISSING: Mapping[str, Text] = {
    "incident": Text(zh="没有事件 {0}", en="no incident {0}"),
    "group": Text(zh="没有名为 {0} 的保护组", en="no group named {0}"),
    "component": Text(zh="没有名为 {0} 的组件", en="no component named {0}"),
    "run": Text(zh="没有执行 {0}", en="no run {0}"),
    "runbook": Text(zh="没有名为 {0} 的预案", en="no runbook named {0}"),
    "scenario": Text(zh="没有名为 {0} 的演练科目", en="no scenario named {0}"),
    "drill": Text(zh="没有演练 {0}", en="no drill {0}"),
    "live_drill": Text(zh="没有进行中的演练 {0}", en="no drill {0} under way"),
    "hold": Text(zh="{0} 没有被暂停", en="no hold on {0}"),
}
"""What is asked about and is not there."""

INCIDENT_STATES: Mapping[IncidentState, Text] = {
    IncidentState.OPEN: Text(zh="未响应", en="open"),
    IncidentState.ACKNOWLEDGED: Text(zh="已响应", en="acknowledged"),
    IncidentState.MITIGATED: Text(zh="影响已消除", en="mitigated"),
    IncidentState.RESOLVED: Text(zh="已解决", en="resolved"),
    IncidentState.MERGED: Text(zh="已合并", en="merged"),
}

RUN_STATES: Mapping[RunState, Text] = {
    RunState.RUNNING: Text(zh="执行中", en="running"),
    RunState.WAITING: Text(zh="等待人工", en="waiting for a person"),
    RunState.ROLLING_BACK: Text(zh="回滚中", en="rolling back"),
    RunState.SUCCEEDED: Text(zh="成功", en="succeeded"),
    RunState.FAILED: Text(zh="失败", en="failed"),
    RunState.NEEDS_PERSON: Text(zh="须人工接管", en="needs a person"),
    RunState.CANCELLED: Text(zh="已取消", en="cancelled"),
}

STEP_STATES: Mapping[StepState, Text] = {
    StepState.PENDING: Text(zh="未开始", en="pending"),
    StepState.SKIPPED: Text(zh="已跳过", en="skipped"),
    StepState.INTENDED: Text(zh="执行中", en="under way"),
    StepState.RETRYING: Text(zh="等待重试", en="waiting to retry"),
    StepState.VERIFYING: Text(zh="核对中", en="verifying"),
    StepState.AWAITING_PERSON: Text(zh="等待人工", en="waiting for a person"),
    StepState.SUCCEEDED: Text(zh="成功", en="succeeded"),
    StepState.FAILED: Text(zh="失败", en="failed"),
    StepState.UNKNOWN: Text(zh="结果未知", en="outcome unknown"),
    StepState.ROLLING_BACK: Text(zh="回滚中", en="rolling back"),
    StepState.ROLLED_BACK: Text(zh="已回滚", en="rolled back"),
    StepState.ROLLBACK_FAILED: Text(zh="回滚失败", en="rollback failed"),
}

PAGE_STATES: Mapping[PageState, Text] = {
    PageState.ACTIVE: Text(zh="呼叫中", en="paging"),
    PageState.ACKNOWLEDGED: Text(zh="已确认", en="acknowledged"),
    PageState.CLOSED: Text(zh="事件已结束", en="closed with its incident"),
    PageState.UNDELIVERED: Text(zh="无人响应", en="nobody answered"),
    PageState.TOLD: Text(zh="已通报", en="told"),
}

PAGE_REASONS: Mapping[PageReason, Text] = {
    PageReason.OPENED: Text(zh="首次通知", en="first page"),
    PageReason.UNACKNOWLEDGED: Text(zh="尚无人确认", en="nobody has acknowledged yet"),
    PageReason.WORSE: Text(zh="级别上升", en="it is worse than before"),
    PageReason.ASKED: Text(zh="有事项需要人工", en="something is asked of you"),
    PageReason.SWITCHED: Text(zh="切换已结束", en="the switch ended"),
    PageReason.RESTARTED: Text(zh="控制器重启，重新发送", en="sent again after a restart of the controller"),
    PageReason.RELAPSED: Text(zh="再次故障", en="it is broken again"),
    PageReason.RUN_STOPPED: Text(zh="自动处置已停下", en="automation has stopped"),
}

DELIVERY_STATES: Mapping[DeliveryState, Text] = {
    DeliveryState.PENDING: Text(zh="发送中", en="being sent"),
    DeliveryState.SENT: Text(zh="已发出", en="sent"),
    DeliveryState.DELIVERED: Text(zh="已送达", en="delivered"),
    DeliveryState.FAILED: Text(zh="发送失败", en="failed"),
    DeliveryState.FAILED_PERMANENTLY: Text(zh="发送失败（不再重试）", en="failed for good"),
    DeliveryState.BUNDLED: Text(zh="合并发送", en="bundled"),
    DeliveryState.SUPERSEDED: Text(
        zh="由同时的另一条通知代替", en="superseded by another page of the same moment"
    ),
}

DRILL_STATES: Mapping[DrillState, Text] = {
    DrillState.PREPARING: Text(zh="准备中", en="preparing"),
    DrillState.INJECTED: Text(zh="已注入故障", en="fault injected"),
    DrillState.UNDOING: Text(zh="撤销注入中", en="undoing the inject"),
    DrillState.FINISHED: Text(zh="已完成", en="finished"),
    DrillState.ABORTED: Text(zh="已中止", en="aborted"),
}

EVIDENCE: Mapping[EvidenceKind, Text] = {
    EvidenceKind.PROBE: Text(zh="信令探测", en="signalling probes"),
    EvidenceKind.EDGE: Text(zh="边缘真实流量", en="live traffic at the edge"),
    EvidenceKind.CALL: Text(zh="测试呼叫", en="test calls"),
    EvidenceKind.AGENT: Text(zh="主机代理", en="host agent"),
    EvidenceKind.PEER: Text(zh="其他组件的观察", en="other components"),
    EvidenceKind.CONTROL: Text(zh="对照试验", en="control experiment"),
    EvidenceKind.PERSON: Text(zh="人工报告", en="a person"),
}

DRIVER_VERBS: Mapping[DriverVerb, Text] = {
    DriverVerb.PRECHECK: Text(zh="预检", en="precheck"),
    DriverVerb.DRAIN: Text(zh="等待通话结束", en="drain"),
    DriverVerb.FREEZE: Text(zh="冻结", en="freeze"),
    DriverVerb.THAW: Text(zh="解冻", en="thaw"),
    DriverVerb.FENCE: Text(zh="隔离", en="fence"),
    DriverVerb.CONFIRM_FENCE: Text(zh="确认隔离", en="confirm fence"),
    DriverVerb.UNFENCE: Text(zh="解除隔离", en="unfence"),
    DriverVerb.PROMOTE: Text(zh="启用", en="promote"),
    DriverVerb.REDIRECT: Text(zh="切换路由", en="redirect"),
    DriverVerb.READ_BACK: Text(zh="回读", en="read back"),
    DriverVerb.REASSERT: Text(zh="重新下发", en="reassert"),
}

ACTION_STATUSES: Mapping[ActionStatus, Text] = {
    ActionStatus.SUCCEEDED: Text(zh="成功", en="succeeded"),
    ActionStatus.FAILED: Text(zh="失败", en="failed"),
    ActionStatus.REFUSED: Text(zh="对端拒绝", en="refused by the far end"),
    ActionStatus.UNKNOWN: Text(zh="结果未知", en="outcome unknown"),
}

HEALTH_STATES: Mapping[HealthState, Text] = {
    HealthState.UNKNOWN: Text(zh="未知", en="unknown"),
    HealthState.UP: Text(zh="正常", en="up"),
    HealthState.SUSPECT: Text(zh="可疑", en="suspect"),
    HealthState.DOWN: Text(zh="中断", en="down"),
    HealthState.RECOVERING: Text(zh="恢复中", en="recovering"),
}

OUTCOMES: Mapping[Outcome, Text] = {
    Outcome.UP: Text(zh="有应答", en="it answers"),
    Outcome.UP_AUTH: Text(zh="有应答，要求鉴权", en="it answers and asks for credentials"),
    Outcome.REFUSING: Text(zh="拒绝服务", en="it refuses service"),
    Outcome.NEXT_HOP_DOWN: Text(zh="下一跳不可用", en="what is behind it does not answer"),
    Outcome.MISROUTED: Text(zh="路由有误", en="misrouted"),
    Outcome.ERROR: Text(zh="应答为错误", en="it answers with an error"),
    Outcome.NO_REPLY: Text(zh="无应答", en="no reply"),
    Outcome.TRANSPORT: Text(zh="连不上", en="can't be reached"),
    Outcome.MALFORMED: Text(zh="应答不合规范", en="malformed reply"),
    Outcome.FAILED: Text(zh="检查未通过", en="the check failed"),
    Outcome.VOID: Text(zh="本次探测无效", en="the probe says nothing"),
}
