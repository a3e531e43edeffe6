"""The four lines of a page: what, impact, what we did, what we need. Composed anew for every sending."""

from __future__ import annotations

from collections.abc import Mapping

from controller.model.faults import Impact
from controller.model.groups import Group, Phase, SwitchOutcome
from controller.model.incidents import Incident
from controller.model.moments import Moment
from controller.model.pages import Page, PageReason, PageState, PageText
from controller.model.policy import Policy
from controller.model.runbooks import Text
from controller.model.runs import Run, RunState, StepState
from controller.model.state import State
from controller.model.words import (
    DRILL_MARK,
    FAULTS,
    IMPACTS,
    PAGE_REASONS,
    PHASES,
    SWITCH_OUTCOMES,
    SWITCH_VERBS,
)

_SAID: Mapping[Impact, Text] = {
    Impact.ALL_CALLS: Text(zh="全部呼叫", en="all calls"),
    Impact.MANY_CALLS: Text(zh="大量", en="many"),
    Impact.FEW_CALLS: Text(zh="少量呼叫", en="few calls"),
    Impact.NO_CALLS: Text(zh="未影响呼叫", en="no call is affected"),
}
"""How a sentence that says the impact itself is known."""

_TAKE_OVER = Text(zh="请确认收到并接手处理", en="Acknowledge, and take it from here")
_NOTHING_NOW = Text(
    zh="暂不需要操作；排查原侧故障后再安排回切", en="nothing now; repair the old side before any failback"
)
_NOTHING = Text(zh="系统未采取动作", en="nothing was done automatically")


def compose(state: State, page: Page, policy: Policy, at: Moment) -> PageText:
    """The page as things stand at `at`. A drill's first line opens and last line closes with the drill mark."""
    incident = state.incidents.get(page.incident)
    text = PageText(
        what=_because(_what(page, incident, policy), page, state, incident),
        impact=_impact(incident, policy),
        did=_did(state, incident, policy, at),
        need=_need(state, page, incident),
    )
    if not page.drill:
        return text
    return PageText(
        what=_joined(DRILL_MARK, text.what),
        impact=text.impact,
        did=text.did,
        need=_joined(text.need, DRILL_MARK),
    )


def title(name: str, policy: Policy) -> Text:
    """What a component or a group is called."""
    component = policy.components.get(name)
    if component is not None:
        return component.title
    group = policy.groups.get(name)
    return group.title if group is not None else Text(zh=name, en=name)


def _because(what: Text, page: Page, state: State, incident: Incident | None) -> Text:
    """With what is new: why somebody who may know of it already is told again."""
    if page.reason is PageReason.OPENED:
        return what
    news = PAGE_REASONS[page.reason]
    group = state.groups.get(incident.group) if incident is not None else None
    if page.reason is PageReason.SWITCHED and group is not None and group.last_outcome is not None:
        outcome = SWITCH_OUTCOMES[group.last_outcome]
        news = Text(zh=f"切换结束：{outcome.zh}", en=f"the switch ended: {outcome.en}")
        if group.last_outcome is SwitchOutcome.VERIFIED:
            news = Text(
                zh=f"切换已验证：{group.active} 正在承载呼叫",
                en=f"verified: {group.active} carries the calls",
            )
    return Text(zh=f"{what.zh} —— {news.zh}", en=f"{what.en} - {news.en}")


def _what(page: Page, incident: Incident | None, policy: Policy) -> Text:
    if incident is None:
        return Text(
            zh=f"{page.incident or page.id}：人工处置请求",
            en=f"{page.incident or page.id}: people are asked for",
        )
    fault, where = FAULTS[incident.kind], title(incident.root, policy)
    head = f"SEV{int(incident.severity)}"
    return Text(
        zh=f"{head} {where.zh}：{fault.zh}（{incident.id}）",
        en=f"{head} {where.en}: {fault.en} ({incident.id})",
    )


def _impact(incident: Incident | None, policy: Policy) -> Text:
    if incident is None:
        return Text(zh="影响：未知", en="Impact: unknown")
    row = next((row for row in policy.severities if row.name == incident.reason.rule), None)
    because = row.because if row is not None else None
    text, said = IMPACTS[incident.reason.impact], _SAID[incident.reason.impact]
    chinese, english = [text.zh], [text.en]
    if incident.affected > 1:
        chinese.append(f"涉及 {incident.affected} 个对象")
        english.append(f"{incident.affected} components")
    if because is not None:
        # A row of the severity table may say the impact in its own words: not twice in one line.
        if said.zh in because.zh:
            chinese[0] = because.zh
        else:
            chinese.append(f"定级依据：{because.zh}")
        if said.en in because.en:
            english[0] = because.en
        else:
            english.append(f"because {because.en}")
    return Text(zh="影响：" + "；".join(chinese), en="Impact: " + "; ".join(english))


def _did(state: State, incident: Incident | None, policy: Policy, at: Moment) -> Text:
    parts: list[Text] = []
    if incident is not None:
        group = state.groups.get(incident.group)
        if group is not None and (line := _switching(group, incident, policy)) is not None:
            parts.append(line)
    for run in _runs(state, incident):
        parts.append(_running(run, policy))
    if incident is not None and not parts:
        holds = sorted(
            (
                hold
                for hold in state.holds.values()
                if hold.until_wall > at.wall and hold.scope in ("*", incident.group, incident.root)
            ),
            key=lambda hold: hold.scope,
        )
        group = state.groups.get(incident.group)
        if holds:
            parts.append(
                Text(
                    zh=f"{_NOTHING.zh}：自动化已由 {holds[0].by} 暂停（{holds[0].reason}）",
                    en=f"{_NOTHING.en}: on hold by {holds[0].by} ({holds[0].reason})",
                )
            )
        elif group is not None and group.armed is None:
            parts.append(Text(zh=f"{_NOTHING.zh}：该组未武装", en=f"{_NOTHING.en}: the group is not armed"))
    if not parts:
        parts.append(_NOTHING)
    return Text(
        zh="已做：" + "；".join(part.zh for part in parts), en="Done: " + "; ".join(part.en for part in parts)
    )


def _switching(group: Group, incident: Incident, policy: Policy) -> Text | None:
    """The switch under way for this incident, or the one that ended since it was opened."""
    switch = group.switch
    if switch is not None and switch.incident == incident.id:
        verb, phase = SWITCH_VERBS[switch.verb], PHASES[group.phase]
        return Text(
            zh=f"{verb.zh} {switch.origin} → {switch.target}：{phase.zh}",
            en=f"{verb.en} {switch.origin} -> {switch.target}: {phase.en}",
        )
    if group.last_outcome is None or not group.last_switch or group.ended_wall < incident.opened_wall:
        return None
    outcome = SWITCH_OUTCOMES[group.last_outcome]
    where = title(group.name, policy)
    return Text(
        zh=f"{where.zh}现由 {group.active} 承载：{outcome.zh}",
        en=f"{where.en} is on {group.active}: {outcome.en}",
    )


def _runs(state: State, incident: Incident | None) -> list[Run]:
    """The newest three; one that has just started is not yet among the incident's own."""
    if incident is None:
        return []
    found = [run for run in state.runs.values() if run.incident == incident.id]
    return sorted(found, key=lambda run: (run.started_wall, run.id))[-3:]


def _running(run: Run, policy: Policy) -> Text:
    runbook = policy.runbooks.get(run.runbook)
    name = runbook.title if runbook is not None else Text(zh=run.runbook, en=run.runbook)
    done = sum(1 for step in run.steps if step.state is StepState.SUCCEEDED)
    match run.state:
        case RunState.RUNNING | RunState.WAITING | RunState.ROLLING_BACK:
            state = {
                RunState.RUNNING: Text(zh=f"执行中，已完成 {done} 步", en=f"running, {done} steps done"),
                RunState.WAITING: Text(zh="等待人工", en="waiting for a person"),
                RunState.ROLLING_BACK: Text(zh="回滚中", en="rolling back"),
            }[run.state]
        case RunState.SUCCEEDED:
            state = Text(zh="已完成", en="done")
        case RunState.FAILED:
            state = Text(zh="失败", en="failed")
        case RunState.NEEDS_PERSON:
            state = Text(zh="停下，等待人工接管", en="stopped, needs a person")
        case RunState.CANCELLED:
            state = Text(zh="已取消", en="cancelled")
    return Text(zh=f"处置“{name.zh}”{state.zh}", en=f'runbook "{name.en}" {state.en}')


def _need(state: State, page: Page, incident: Incident | None) -> Text:
    need = None if _given_up(state, incident) else page.need
    asked = need or (_NOTHING_NOW if page.update else _asked(state, incident))
    others = sum(
        1
        for other in state.pages.values()
        if other.state is PageState.ACTIVE
        and not other.update
        and other.id != page.id
        and other.drill == page.drill
    )
    zh, en = f"需要：{asked.zh}", f"Needed: {asked.en}"
    if others:
        zh, en = f"{zh}（另有 {others} 个事件待确认）", f"{en} ({others} more waiting for an acknowledgement)"
    return Text(zh=zh, en=en)


def _given_up(state: State, incident: Incident | None) -> bool:
    """Whether all runs for it were cancelled: nobody is asked for what they asked any more."""
    runs = _runs(state, incident)
    return bool(runs) and all(run.state is RunState.CANCELLED for run in runs)


def _asked(state: State, incident: Incident | None) -> Text:
    if incident is None:
        return _TAKE_OVER
    group = state.groups.get(incident.group)
    runs = _runs(state, incident)
    if (group is not None and group.phase is Phase.NEEDS_PERSON) or any(
        run.state is RunState.NEEDS_PERSON for run in runs
    ):
        return Text(
            zh="自动处置已停下，须人工接管并决定下一步",
            en="Automation has stopped; a person must take over and decide",
        )
    waiting = [run for run in runs if run.state is RunState.WAITING]
    if waiting:
        return Text(
            zh=f"请打开页面审批或完成人工步骤（{waiting[-1].id}）",
            en=f"Open the page: an approval or a manual step waits ({waiting[-1].id})",
        )
    if (
        group is not None
        and group.last_outcome is SwitchOutcome.VERIFIED
        and group.ended_wall >= incident.opened_wall
    ):
        return Text(
            zh="请确认收到；排查原侧故障后再安排回切",
            en="Acknowledge; repair the old side before any failback",
        )
    if any(run.live for run in runs) or (group is not None and group.switch is not None):
        return Text(zh="请确认收到；系统正在处置", en="Acknowledge; the system is acting")
    return _TAKE_OVER


def _joined(first: Text, second: Text) -> Text:
    return Text(zh=f"{first.zh} {second.zh}", en=f"{first.en} {second.en}")
