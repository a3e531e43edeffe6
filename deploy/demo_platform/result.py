"""What a demo run comes to: figures from the callers' own records and the controller's timeline, nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from demo_platform.controlling import Entry
from demo_platform.faults import Fault
from demo_platform.layout import Role
from lab.callers import LATE_MS, CallReport
from lab.topology import Host

SETTLED_CALLS = 5
"""So many calls in a row must be good at the end for the outage to count as over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Milestones:
    """Seconds from the fault, by the controller's timeline; None: it did not come to that."""

    fault_named: float | None = None
    incident_opened: float | None = None
    switch_started: float | None = None
    fenced: float | None = None
    redirected: float | None = None
    verified: float | None = None
    paged: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Calls:
    """As the callers saw it. Times in ms.

    `lost`: calls after the fault that were refused or never answered; `late`: answered, with ringing or answer later than
    500 ms; `cut`: answered before the fault and no longer there to be hung up.
    """

    placed: int
    lost: int
    late: int
    cut: int
    outage_ms: float | None
    outage_over: bool
    bad_before_fault: int
    after_side: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """`verified`: the controller proved by a call of its own which side answers. `restored`: the callers agree."""

    fault: str
    side: str
    rate: float
    incident: str
    severity: int | None
    outcome: str
    calls: Calls
    milestones: Milestones
    page: tuple[str, ...]
    acknowledge: str
    report: str
    violations: tuple[str, ...]

    @property
    def verified(self) -> bool:
        return self.outcome == "verified"

    @property
    def restored(self) -> bool:
        return self.calls.outage_over and self.calls.after_side == Role.BACKUP

    @property
    def good(self) -> bool:
        return self.verified and self.restored and bool(self.report) and not self.violations

    def document(self) -> dict[str, Any]:
        return {"good": self.good, "verified": self.verified, "restored": self.restored, **asdict(self)}


def count_calls(report: CallReport, fault_at: float) -> Calls:
    """`fault_at` in monotonic seconds. Calls that were being set up at that moment belong to the outage."""
    since = fault_at - LATE_MS / 1000
    outage = report.outage(since=since)
    after = report.between(since)
    good = [call for call in after if call.good(LATE_MS)]
    tail = after[-SETTLED_CALLS:]
    settled = len(tail) == SETTLED_CALLS and all(call.good(LATE_MS) for call in tail)
    last: Host | None = good[-1].side if good else None
    return Calls(
        placed=report.attempted,
        lost=sum(not call.answered for call in after),
        late=sum(call.answered and not call.good(LATE_MS) for call in after),
        cut=sum(call.answered and not call.released for call in report.between(fault_at - 5, fault_at)),
        outage_ms=None if outage is None else round(outage.duration_ms, 1),
        outage_over=settled and (outage is None or outage.over),
        bad_before_fault=sum(not call.good(LATE_MS) for call in report.calls if call.started < since),
        after_side=str(last or ""),
    )


def milestones(entries: Sequence[Entry], fault_wall: float) -> Milestones:
    """From the first entry of each kind after the fault."""

    def first(kind: str, **data: str | tuple[str, ...]) -> float | None:
        for entry in entries:
            seen: Mapping[str, Any] = entry.get("data", {})
            fits = all(
                str(seen.get(name)) in ((value,) if isinstance(value, str) else value)
                for name, value in data.items()
            )
            if entry["kind"] == kind and fits and entry["wall"] >= fault_wall:
                return round(float(entry["wall"]) - fault_wall, 3)
        return None

    return Milestones(
        fault_named=first("fault_raised"),
        incident_opened=first("incident_opened"),
        switch_started=first("switch_started"),
        # Whichever comes after the confirmed fence: promoting is left out where the driver has nothing to promote.
        fenced=first("switch_phase", phase=("promoting", "redirecting")),
        redirected=first("switch_phase", phase="verifying"),
        verified=first("switch_ended", outcome="verified"),
        paged=first("page_sent"),
    )


def counted(entries: Iterable[Mapping[str, Any]], incident: str) -> bool:
    """Whether the controller has told the incident's calls for good."""
    return any(entry["kind"] == "calls_counted" and entry["subject"] == incident for entry in entries)


def describe(result: Result, fault: Fault, *, zh: bool) -> tuple[str, list[tuple[str, str]]]:
    """A headline and rows for the screen."""

    def word(chinese: str, english: str) -> str:
        return chinese if zh else english

    if result.good:
        headline = word(
            "已切换并验证：备用侧正在承载通话", "Switched and verified: the backup carries the calls"
        )
    elif result.verified and not result.restored:
        headline = word(
            "控制器已验证切换，但主叫侧仍有失败", "The controller verified the switch, yet callers still fail"
        )
    elif not result.verified:
        headline = word("没有得到验证的切换", "No verified switch")
    elif result.violations:
        headline = word("时间线未通过校验", "The timeline does not hold")
    else:
        headline = word("已切换并验证，但没有生成报告", "Switched and verified, but there is no report")
    calls, marks = result.calls, result.milestones
    outage = word("没有感知到中断", "none that callers noticed")
    if calls.outage_ms is not None:
        over = (
            ""
            if calls.outage_over
            else word("（尚未恢复，实际更长）", " (not over: the true figure is larger)")
        )
        spacing = word(
            f"，分辨率 {1000 / result.rate:.0f} ms",
            f"; one call every {1000 / result.rate:.0f} ms is the resolution",
        )
        outage = f"{calls.outage_ms:.0f} ms{over}{spacing}"
    lost = word(
        f"主叫侧故障后丢失 {calls.lost} 通（共拨打 {calls.placed} 通），延迟 {calls.late} 通，通话中断 {calls.cut} 通；报告中是边缘侧的失败次数",
        f"{calls.lost} of {calls.placed} placed; {calls.late} late; {calls.cut} cut while talking, as the callers saw it"
        " (the report counts what failed at the edge)",
    )
    if calls.bad_before_fault:
        lost += word(
            f"；故障前已有 {calls.bad_before_fault} 通不良",
            f"; {calls.bad_before_fault} bad before the fault",
        )
    path = [
        (word("发现", "named"), marks.fault_named),
        (word("决定", "decided"), marks.switch_started),
        (word("隔离", "fenced"), marks.fenced),
        (word("改路由", "redirected"), marks.redirected),
        (word("验证", "verified"), marks.verified),
    ]
    times = "  ".join(f"{name} {value:.2f} s" for name, value in path if value is not None)
    severity = "" if result.severity is None else f"  SEV{result.severity}"
    rows = [
        (word("故障", "fault"), f"{result.side} {fault.value}"),
        (word("事件", "incident"), f"{result.incident or '-'}{severity}  {result.outcome}"),
        (word("通话中断", "outage"), outage),
        (word("丢失通话", "calls lost"), lost),
        (word("自故障起", "since fault"), times or "-"),
        (word("告警内容", "page"), "\n".join(result.page) or word("未收到", "none received")),
        (word("确认链接", "acknowledge"), result.acknowledge or "-"),
        (word("复盘报告", "report"), result.report or "-"),
        (
            word("时间线", "timeline"),
            "; ".join(result.violations) or word("哈希链与不变量校验通过", "hash chain and invariants hold"),
        ),
    ]
    return headline, rows


def clock(wall: float) -> str:
    """Local time with milliseconds."""
    return time.strftime("%H:%M:%S", time.localtime(wall)) + f".{int(wall * 1000) % 1000:03d}"
