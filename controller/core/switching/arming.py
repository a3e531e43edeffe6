"""What persons say about acting at all: arm and disarm, readiness only they can see, holds."""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.switching import permit, readiness
from controller.model.events import (
    OperatorArmed,
    OperatorPlacedHold,
    OperatorReleasedHold,
    OperatorTickedReadiness,
    PageWanted,
)
from controller.model.facts import FactKind
from controller.model.groups import Arming, Group, Hold, ManualCheck, Refusal
from controller.model.moments import Values
from controller.model.policy import GroupPolicy


def refuse(
    draft: Draft, request: str, subject: str, by: str, reasons: tuple[Refusal | str, ...], data: Values = ()
) -> None:
    """Say no by name. `reasons` are joined by commas in the fact."""
    named = ",".join(str(reason) for reason in reasons)
    draft.record(
        FactKind.REQUEST_REFUSED, subject, data=(("request", request), ("reasons", named), *data), actor=by
    )


def arm(draft: Draft, event: OperatorArmed) -> None:
    """Arming waits for a standby proved ready and a worst case inside the RTO; disarming waits for nothing."""
    group, rules = draft.state.groups.get(event.group), draft.policy.groups.get(event.group)
    if group is None or rules is None:
        refuse(draft, "arm" if event.armed else "disarm", event.group, event.by, (Refusal.UNKNOWN_GROUP,))
        return
    if not event.armed:
        if group.armed is not None:
            draft.change(FactKind.GROUP_DISARMED, replace(group, armed=None), actor=event.by)
        return
    reasons = permit.arming_refusals(draft.state, draft.at, draft.policy, event.group)
    standby = rules.other(group.active).name
    sums = _sums(rules)
    if reasons:
        lacks = readiness.lacking(draft.state, draft.at, draft.policy, rules, group, standby)
        named = ",".join(dict.fromkeys(name for name, _ in lacks))
        refuse(
            draft, "arm", event.group, event.by, reasons, (("standby", standby), ("lacking", named), *sums)
        )
        return
    armed = Arming(by=event.by, wall=event.at.wall)
    draft.change(
        FactKind.GROUP_ARMED,
        replace(group, armed=armed, shadowed=""),
        (("standby", standby), *sums),
        actor=event.by,
    )


def withdraw(draft: Draft, group: Group) -> None:
    """A group that was armed under another configuration, or another version's arithmetic, and that can't be armed now:
    its automatic switches would be refused without a word. So it is disarmed, and whoever is on call hears of it; a
    switch under way is finished first."""
    rules = draft.rules(group.name)
    if group.armed is None or group.switch is not None or not permit.over_rto(rules):
        return
    if not permit.leads(draft.state, draft.at):
        return  # nobody could be paged
    data: Values = (("reason", str(Refusal.OVER_RTO)), *_sums(rules))
    draft.change(FactKind.GROUP_DISARMED, replace(group, armed=None), data)
    worst = "" if rules.budget is None else f"{rules.budget.total:.2f}"
    draft.events.append(
        PageWanted(
            at=draft.at,
            incident="",
            by=group.name,
            need_zh=f"群组 {group.name} 已解除武装：最坏中断 {worst or '未知'} 秒，超过目标 {rules.rto:g} 秒；"
            "请用 thirdring check 查看算式，调整后重新武装",
            need_en=f"Group {group.name} is no longer armed: its worst case of {worst or 'unknown'} s is over its "
            f"RTO of {rules.rto:g} s. See the sum with thirdring check, mend it, and arm the group again",
            drill=False,
        )
    )


def _sums(rules: GroupPolicy) -> Values:
    budget = rules.budget
    return (("rto", rules.rto), ("worst_case", None if budget is None else round(budget.total, 4)))


def tick(draft: Draft, event: OperatorTickedReadiness) -> None:
    group, rules = draft.state.groups.get(event.group), draft.policy.groups.get(event.group)
    known = rules is not None and any(item.manual and item.name == event.item for item in rules.readiness)
    if group is None or not known:
        reasons = (Refusal.UNKNOWN_GROUP,) if group is None else ("unknown_item",)
        refuse(draft, "ready", event.group, event.by, reasons, (("item", event.item),))
        return
    check = ManualCheck(name=event.item, by=event.by, until_wall=event.until_wall)
    checks = (*(item for item in group.manual_checks if item.name != event.item), check)
    draft.change(
        FactKind.READINESS_TICKED,
        replace(group, manual_checks=checks),
        (("item", event.item), ("until_wall", event.until_wall)),
        actor=event.by,
    )


def hold(draft: Draft, event: OperatorPlacedHold) -> None:
    """A later hold over the same scope takes the place of the earlier."""
    known = {"*", *draft.policy.groups, *draft.policy.components}
    if event.scope not in known:
        refuse(draft, "hold", event.scope, event.by, ("unknown_scope",))
    elif event.until_wall <= draft.at.wall:
        refuse(draft, "hold", event.scope, event.by, ("already_over",), (("until_wall", event.until_wall),))
    else:
        placed = Hold(
            scope=event.scope,
            by=event.by,
            reason=event.reason,
            since_wall=draft.at.wall,
            until_wall=event.until_wall,
            maintenance=event.maintenance,
        )
        draft.state = replace(draft.state, holds=draft.state.holds.set(placed.scope, placed))
        draft.record(
            FactKind.HOLD_PLACED,
            placed.scope,
            data=(
                ("reason", placed.reason),
                ("until_wall", placed.until_wall),
                ("maintenance", placed.maintenance),
            ),
            changed=(placed,),
            actor=event.by,
        )


def release(draft: Draft, event: OperatorReleasedHold) -> None:
    found = draft.state.holds.get(event.scope)
    if found is None:
        refuse(draft, "release", event.scope, event.by, ("no_hold",))
    else:
        _lift(draft, found, FactKind.HOLD_RELEASED, event.by)


def expire(draft: Draft) -> None:
    """Holds end by themselves: nobody forgets one for ever."""
    for found in tuple(draft.state.holds.values()):
        if found.until_wall <= draft.at.wall:
            _lift(draft, found, FactKind.HOLD_EXPIRED, "")


def _lift(draft: Draft, found: Hold, kind: FactKind, by: str) -> None:
    draft.state = replace(draft.state, holds=draft.state.holds.delete(found.scope))
    draft.record(
        kind,
        found.scope,
        data=(("reason", found.reason), ("placed_by", found.by)),
        changed=(replace(found, until_wall=0.0),),
        actor=by,
    )
