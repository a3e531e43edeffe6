"""What `thirdring check` says of a configuration: everything that is wrong, and what each group can promise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.configuration.blindness import Blindness, blindness
from controller.configuration.kinds import Kinds
from controller.configuration.loading import load
from controller.configuration.node import CoordinationSettings
from controller.configuration.references import takeover_of
from controller.configuration.settings import Settings
from controller.core.objectives import FalseDowns, WorkedTerm, deciding, false_verdicts, fits
from controller.core.takeover import LOOK, Takeover
from controller.model.errors import ConfigurationError, Problem
from controller.model.policy import Profile


@dataclass(frozen=True, kw_only=True, slots=True)
class CoordinationCheck:
    """With several controllers: for how many seconds nobody decides when the one that leads is lost, when etcd's own leader
    is, and when both are. True as far as `takeover.election` is, which is declared."""

    takeover: Takeover
    leader_lost: float
    store_leader_lost: float
    both_lost: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupCheck:
    """`may_arm`: the worst case fits the RTO. `false_downs`: rung by rung, a month and a vantage at the given loss. With
    several controllers, the worst case when one is lost just before it acts, when etcd's leader is, and when both are."""

    name: str
    profile: Profile
    rto: float
    total: float
    may_arm: bool
    rides_out: float
    detected_by: str
    terms: tuple[WorkedTerm, ...]
    false_downs: tuple[FalseDowns, ...]
    blind: tuple[Blindness, ...] = ()
    total_leader_lost: float | None = None
    total_store_leader_lost: float | None = None
    total_both_lost: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """`loss` is the chance that a packet is lost, each way. With problems there is nothing else to tell."""

    configuration: str
    name: str = ""
    revision: str = ""
    loss: float = 0.01
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    components: int = 0
    targets: int = 0
    probes_per_second: float = 0.0
    rules: int = 0
    runbooks: int = 0
    people: int = 0
    coordination: CoordinationCheck | None = None
    groups: tuple[GroupCheck, ...] = ()

    @property
    def good(self) -> bool:
        return not self.problems


def check(
    path: Path,
    kinds: Kinds,
    shipped: Callable[[str], Path],
    *,
    loss: float = 0.01,
    environment: Mapping[str, str] | None = None,
) -> CheckReport:
    """Never raises for what is wrong with the configuration."""
    try:
        settings = load(path, kinds, shipped, environment=environment)
    except ConfigurationError as error:
        return CheckReport(configuration=str(path), loss=loss, problems=error.problems)
    return report(str(path), settings, loss)


def report(configuration: str, settings: Settings, loss: float) -> CheckReport:
    policy = settings.policy
    rungs = [rung for component in policy.components.values() for rung in component.ladder]
    coordination = _coordination(settings.node.coordination)
    groups = []
    for name, worst in settings.worst_cases.items():  # in the order of the file; a Map has none
        group = policy.groups[name]
        groups.append(
            GroupCheck(
                name=group.name,
                profile=group.profile,
                rto=group.rto,
                total=worst.budget.total,
                may_arm=fits(group),
                rides_out=worst.rides_out,
                detected_by=f"{worst.detected_by.component}.{worst.detected_by.rung}",
                terms=worst.terms,
                false_downs=false_verdicts(deciding(group, policy), loss),
                blind=blindness(group, policy),
                **({} if coordination is None else _worse(worst.budget.total, coordination)),
            )
        )
    return CheckReport(
        configuration=configuration,
        name=policy.name,
        revision=policy.revision,
        loss=loss,
        warnings=settings.warnings,
        components=len(policy.components),
        targets=len(rungs),
        probes_per_second=sum(1.0 / rung.interval for rung in rungs if not rung.on_demand),
        rules=len(policy.rules),
        runbooks=len(policy.runbooks),
        people=len(policy.people),
        coordination=coordination,
        groups=tuple(groups),
    )


def _coordination(settings: CoordinationSettings) -> CoordinationCheck | None:
    takeover = takeover_of(settings)
    if takeover is None:
        return None
    return CoordinationCheck(
        takeover=takeover,
        leader_lost=takeover.gap,
        store_leader_lost=takeover.stall,
        both_lost=takeover.gap_with_election,
    )


def _worse(total: float, coordination: CoordinationCheck) -> dict[str, float]:
    """Lost when all is known and nothing done: the whole gap comes on top. Lost earlier, what is seen meanwhile counts, for
    every controller probes and diagnoses; lost later, what was begun is looked at before it is gone on with."""
    return {
        "total_leader_lost": total + coordination.leader_lost,
        "total_store_leader_lost": total + coordination.store_leader_lost,
        "total_both_lost": total + coordination.both_lost,
    }


def render_text(report: CheckReport, language: str = "en") -> str:
    """For a person at a terminal, in Chinese ("zh") or English."""
    words = _WORDS["zh" if language == "zh" else "en"]
    lines: list[str] = []
    if report.problems:
        lines.append(words["wrong"].format(file=report.configuration, count=len(report.problems)))
        lines += [f"  {problem}" for problem in report.problems]
        return "\n".join(lines)
    lines.append(
        words["good_but" if report.warnings else "good"].format(
            file=report.configuration,
            name=report.name,
            revision=report.revision[:12],
            count=len(report.warnings),
        )
    )
    lines.append(
        words["size"].format(
            components=report.components,
            targets=report.targets,
            rate=report.probes_per_second,
            rules=report.rules,
            runbooks=report.runbooks,
            people=report.people,
        )
    )
    if report.coordination is not None:
        lines += ["", *_gap(report.coordination, words)]
    for group in report.groups:
        lines += ["", *_group(group, report.loss, words)]
    if report.warnings:
        idle, others = _idle(report.warnings)
        lines += ["", words["warnings"].format(count=len(report.warnings))]
        lines += [f"  {warning}" for warning in others]
        lines += [
            "  "
            + words["idle"].format(
                file=file,
                count=len(rules),
                missing="; ".join(
                    f"{kinds}: {', '.join(sorted(missing))}" for kinds, missing in sorted(by_kinds.items())
                ),
            )
            for file, (rules, by_kinds) in idle.items()
        ]
    return "\n".join(lines)


_IDLE = re.compile(r"the rule (?P<rule>\S+) is idle for (?P<kinds>.*): nothing offers (?P<variables>.+)")


def _idle(
    warnings: Sequence[Problem],
) -> tuple[dict[str, tuple[set[str], dict[str, set[str]]]], list[Problem]]:
    """The rules that are idle, with the rungs that components of their kinds lack, by file; and every other warning. A
    small installation leaves many of the shipped rules idle, and one line each would bury the rest."""
    idle: dict[str, tuple[set[str], dict[str, set[str]]]] = {}
    others: list[Problem] = []
    for warning in warnings:
        found = _IDLE.fullmatch(warning.message)
        if found is None:
            others.append(warning)
            continue
        rules, by_kinds = idle.setdefault(warning.file, (set(), {}))
        rules.add(found["rule"])
        # self.call_other.answered lacks the rung self.call_other; edge.total the edges themselves.
        missing = by_kinds.setdefault(found["kinds"], set())
        missing.update(name.rpartition(".")[0] for name in found["variables"].split(", "))
    return idle, others


def _group(group: GroupCheck, loss: float, words: Mapping[str, str]) -> list[str]:
    lines = [words["group"].format(name=group.name, profile=group.profile, rto=group.rto)]
    rows = [(words[term.name], f"{term.seconds:.3f}", _how(term, words)) for term in group.terms]
    rows.append(
        (
            words["total"],
            f"{group.total:.3f}",
            words["fits" if group.may_arm else "over"].format(
                rto=group.rto, difference=abs(group.rto - group.total)
            ),
        )
    )
    for name, seconds in (
        ("total_leader_lost", group.total_leader_lost),
        ("total_store_leader_lost", group.total_store_leader_lost),
        ("total_both_lost", group.total_both_lost),
    ):
        if seconds is not None:
            verdict = words["within" if seconds <= group.rto else "beyond"]
            rows.append(
                (
                    words[name],
                    f"{seconds:.3f}",
                    verdict.format(rto=group.rto, difference=abs(group.rto - seconds)),
                )
            )
    lines += _aligned(rows)
    lines.append("  " + words["rides_out"].format(seconds=group.rides_out))
    lines.append("  " + words["false"].format(loss=loss * 100))
    lines += [
        f"    {item.key.component}.{item.key.rung}: "
        + words["false_row"].format(
            expected=_expected(item.expected), probes=item.probes, failure=_expected(item.failure)
        )
        for item in group.false_downs[:_MOST_ROWS]
    ]
    if len(group.false_downs) > _MOST_ROWS:
        lines.append("    " + words["more"].format(count=len(group.false_downs) - _MOST_ROWS))
    lines += [
        "  "
        + words["suspected" if item.suspected else "blind"].format(
            fault=item.fault, lacking=", ".join(item.lacking)
        )
        for item in group.blind
    ]
    return lines


def _gap(coordination: CoordinationCheck, words: Mapping[str, str]) -> list[str]:
    takeover = coordination.takeover
    rows = [
        (
            words["leader_lost"],
            f"{coordination.leader_lost:.3f}",
            words["by_leader_lost"].format(
                lease=takeover.lease, look=LOOK, renewal=takeover.renewal, timeout=takeover.timeout
            ),
        ),
        (
            words["store_leader_lost"],
            f"{coordination.store_leader_lost:.3f}",
            words["by_store_leader_lost"].format(election=takeover.election),
        ),
        (
            words["both_lost"],
            f"{coordination.both_lost:.3f}",
            words["by_both_lost"].format(stall=takeover.stall, election=takeover.election),
        ),
    ]
    return [words["gap"].format(election=takeover.election), *_aligned(rows)]


_MOST_ROWS = 8


def _how(term: WorkedTerm, words: Mapping[str, str]) -> str:
    """The term's own numbers, so that the sum can be redone by hand."""
    values = dict(term.values)
    if term.name == "detect":
        return words[f"by_{values['by']}"].format(**values, repeats=int(values["fall"] or 0) - 1)
    if term.name in ("fence", "redirect"):
        return words[f"by_{term.name}_{values['by']}"].format(**values)
    return words[f"by_{term.name}"]


def _aligned(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    width = max(_width(row[0]) for row in rows)
    digits = max(len(row[1]) for row in rows)
    return [
        f"  {name}{' ' * (width - _width(name))}  {number:>{digits}} s  {how}" for name, number, how in rows
    ]


def _width(text: str) -> int:
    """Columns on a terminal: a Chinese character takes two."""
    return sum(2 if ord(character) > 0x2E7F else 1 for character in text)


def _expected(number: float) -> str:
    return f"{number:.1f}" if number >= 10 else f"{number:.2g}" if number >= 1e-4 else f"{number:.0e}"


_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "wrong": "{file}: {count} problem(s); nothing would be started with it",
        "good": "{file}: good. Configuration {name}, revision {revision}",
        "good_but": "{file}: no errors, {count} warning(s) below. Configuration {name}, revision {revision}",
        "size": "{components} components, {targets} targets, {rate:.1f} probes a second; {rules} rules, {runbooks}"
        " runbooks, {people} people",
        "group": "Group {name}, profile {profile}: worst-case outage against its RTO of {rto:g} s",
        "detect": "detect",
        "decide": "decide",
        "fence": "fence",
        "redirect": "redirect",
        "edge_timer": "edge timer",
        "total": "worst case",
        "by_schedule": "{rung}: interval {interval:g} x fall {fall} + probe deadline {timeout:g}",
        "by_confirmation": "{rung}: interval {interval:g} + deadline {timeout:g} + {repeats} confirming probe(s)"
        " {confirm_interval:g} apart + deadline {timeout:g}",
        "by_reading": "{rung}: edge timer {edge_timer:g} until a call failed + interval {interval:g}"
        " + deadline {timeout:g} until that is read",
        "by_decide": "rules, one commit, first command",
        "by_fence_declared": "freeze {freeze:g} (a hung side uses all of it) + fence and its proof {fence:g}, an assumption"
        " (allowances.fence): drills hold it against what they measure",
        "by_fence_timeout": "freeze {freeze:g} (a hung side uses all of it) + fence and its proof, each {each:g}"
        " (step_timeout); declare allowances.fence once it is measured",
        "by_fence_hold": "freeze {freeze:g} + fence {fence:g} (the hold of a silent side is waited out)",
        "by_redirect_declared": "promote and redirect, an assumption (allowances.redirect): drills hold it against what they"
        " measure",
        "by_redirect_timeout": "{verbs} verb(s) of promote and redirect, each {each:g} (step_timeout); declare"
        " allowances.redirect once it is measured",
        "by_edge_timer": "how long a call already sent to the silent side waits",
        "fits": "within {rto:g} s, {difference:.3f} s to spare: may be armed",
        "over": "OVER {rto:g} s by {difference:.3f} s: can't be armed",
        "within": "within {rto:g} s, {difference:.3f} s to spare",
        "beyond": "OVER {rto:g} s by {difference:.3f} s: warned of below",
        "total_leader_lost": "leader lost too",
        "total_store_leader_lost": "etcd's lost too",
        "total_both_lost": "both lost too",
        "gap": "Several controllers: how long nobody decides, where etcd's election timeout is {election:g} s as declared"
        " (node.coordination.election)",
        "leader_lost": "leader lost",
        "store_leader_lost": "etcd's lost",
        "both_lost": "both lost",
        "by_leader_lost": "lease {lease:g}, just renewed + {look:g} until etcd looks + {renewal:.3g} until the next"
        " controller tries + {timeout:g} until it has read what was under way",
        "by_store_leader_lost": "2 x election {election:g}; leadership that can't be renewed in time changes hands as above",
        "by_both_lost": "the first + {stall:g} for the election + {election:g} by which every lease is then lengthened",
        "rides_out": "a complete stall shorter than {seconds:.2f} s can't bring a side down",
        "false": "false DOWN verdicts expected a month and vantage, at {loss:g} % packet loss each way (a switch needs a"
        " second kind of evidence besides):",
        "false_row": "{expected} ({probes:,.0f} probes, each failing with chance {failure})",
        "more": "and {count} more, less often",
        "warnings": "{count} warning(s):",
        "idle": "{file}: {count} rule(s) are idle, nothing offers what they read of: {missing}; each is in --json",
        "blind": "CAN'T BE DIAGNOSED here: {fault}; what would tell is not probed ({lacking})",
        "suspected": "only suspected here, never acted on by itself: {fault}; what would tell is not probed ({lacking})",
    },
    "zh": {
        "wrong": "{file}：{count} 处错误，不能以此启动",
        "good": "{file}：无误。配置 {name}，版本 {revision}",
        "good_but": "{file}：无错误，有 {count} 条提醒（见下）。配置 {name}，版本 {revision}",
        "size": "{components} 个组件，{targets} 个探测目标，每秒 {rate:.1f} 次探测；{rules} 条规则，{runbooks} 个预案，"
        "{people} 人",
        "group": "保护组 {name}，方案 {profile}：最坏中断时间与 RTO {rto:g} 秒对照",
        "detect": "发现",
        "decide": "决策",
        "fence": "隔离",
        "redirect": "改向",
        "edge_timer": "边缘定时器",
        "total": "最坏情况",
        "by_schedule": "{rung}：间隔 {interval:g} × 连续失败 {fall} + 探测时限 {timeout:g}",
        "by_confirmation": "{rung}：间隔 {interval:g} + 时限 {timeout:g} + {repeats} 次确认探测（相隔 {confirm_interval:g}）"
        " + 时限 {timeout:g}",
        "by_reading": "{rung}：边缘定时器 {edge_timer:g}（呼叫失败） + 间隔 {interval:g} + 时限 {timeout:g}（读到）",
        "by_decide": "规则判定、一次提交、首条命令",
        "by_fence_declared": "冻结 {freeze:g}（挂死的一侧会用满） + 隔离及确认 {fence:g}，为假定值（allowances.fence）：由演练"
        "实测核对",
        "by_fence_timeout": "冻结 {freeze:g}（挂死的一侧会用满） + 隔离及确认，各 {each:g}（step_timeout）；实测后可填"
        " allowances.fence",
        "by_fence_hold": "冻结 {freeze:g} + 隔离 {fence:g}（等无应答一侧的持有期满）",
        "by_redirect_declared": "提升备用侧并改向，为假定值（allowances.redirect）：由演练实测核对",
        "by_redirect_timeout": "提升与改向中的 {verbs} 步，各 {each:g}（step_timeout）；实测后可填 allowances.redirect",
        "by_edge_timer": "已送往无应答一侧的呼叫要等这么久",
        "fits": "在 {rto:g} 秒之内，余 {difference:.3f} 秒：可以启用",
        "over": "超出 {rto:g} 秒 {difference:.3f} 秒：不能启用",
        "within": "在 {rto:g} 秒之内，余 {difference:.3f} 秒",
        "beyond": "超出 {rto:g} 秒 {difference:.3f} 秒，见下方提醒",
        "total_leader_lost": "又失主控",
        "total_store_leader_lost": "又失 etcd 主节点",
        "total_both_lost": "二者俱失",
        "gap": "多个控制器：无人决策的最长时间，以所填的 etcd 选举超时 {election:g} 秒计（node.coordination.election）",
        "leader_lost": "失去主控",
        "store_leader_lost": "失去 etcd 主节点",
        "both_lost": "二者俱失",
        "by_leader_lost": "租约 {lease:g}（刚续过） + {look:g}（etcd 检查到期） + {renewal:.3g}（下一个控制器尝试）"
        " + {timeout:g}（读出进行中的事）",
        "by_store_leader_lost": "2 × 选举超时 {election:g}；主控若来不及续租，则如上换手",
        "by_both_lost": "第一项 + {stall:g}（选举） + {election:g}（此后每个租约都延长这么多）",
        "rides_out": "短于 {seconds:.2f} 秒的完全停顿不会使一侧被判为故障",
        "false": "单向丢包 {loss:g} % 时每月每个观测点预期的误判次数（切换另需第二类证据）：",
        "false_row": "{expected}（{probes:,.0f} 次探测，每次失败概率 {failure}）",
        "more": "另有 {count} 项，更少",
        "warnings": "{count} 条提醒：",
        "idle": "{file}：{count} 条规则不起作用，没有组件提供所读的 {missing}；逐条见 --json",
        "blind": "此处无法诊断：{fault}；能说明它的没有探测（{lacking}）",
        "suspected": "此处只能怀疑，不会自行处置：{fault}；能说明它的没有探测（{lacking}）",
    },
}
