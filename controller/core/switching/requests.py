"""A switch is asked for: permitted, refused by name, or only described because nobody armed the group."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller.core.draft import Draft
from controller.core.switching import endings, permit, readiness
from controller.core.switching.phases import enter, first_phase
from controller.model.calls import call_rate
from controller.model.events import OperatorRequestedSwitch, SwitchEnded, SwitchWanted
from controller.model.facts import FactKind
from controller.model.groups import Group, Phase, Refusal, Switch, SwitchOutcome, SwitchVerb
from controller.model.moments import Values
from controller.model.policy import GroupPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A run's wish and a person's request, as one."""

    group: str
    verb: SwitchVerb
    target: str
    by: str
    reason: str
    automatic: bool
    drill: bool
    overrides: tuple[Refusal, ...] = ()
    run: str = ""
    step: str = ""
    incident: str = ""
    fault: str = ""


def wanted(draft: Draft, event: SwitchWanted) -> None:
    _consider(
        draft,
        Order(
            group=event.group,
            verb=event.verb,
            target=event.target,
            by=event.by,
            reason=event.reason,
            automatic=event.automatic,
            drill=event.drill,
            overrides=event.overrides,
            run=event.run,
            step=event.step,
            incident=event.incident,
            fault=event.fault,
        ),
    )


def requested(draft: Draft, event: OperatorRequestedSwitch) -> None:
    """A person's failover is for whatever stands against the active side; its incident is that one's."""
    group, rules = draft.state.groups.get(event.group), draft.policy.groups.get(event.group)
    faults = (
        () if group is None or rules is None else permit.faults_against(draft.state, rules, group.active, "")
    )
    _consider(
        draft,
        Order(
            group=event.group,
            verb=event.verb,
            target=event.target,
            by=event.by,
            reason=event.reason,
            automatic=False,
            drill=event.drill,
            overrides=event.overrides,
            incident=next((fault.incident for fault in faults if fault.incident), ""),
        ),
    )


def go_home(draft: Draft, group: Group) -> None:
    """Failback by rule, where it was declared: only once nothing at all stands in its way, and unasked, so without a
    word while something does. It moves calls, so it waits for few of them where the configuration says how few."""
    rules = draft.rules(group.name)
    if not rules.automatic_failback or group.active == rules.preferred or group.phase is not Phase.IDLE:
        return
    if rules.failback_below is not None:
        rate = call_rate(draft.state.call_samples.get(group.name, ()))
        if rate is None or rate >= rules.failback_below:
            return
    order = Order(
        group=group.name,
        verb=SwitchVerb.FAILBACK,
        target=rules.preferred,
        by="",
        reason="the preferred side is stable",
        automatic=True,
        drill=False,
    )
    if not permit.refusals(draft.state, draft.at, draft.policy, _request(order)):
        _consider(draft, order)


def _request(order: Order) -> permit.Request:
    return permit.Request(
        group=order.group,
        verb=order.verb,
        target=order.target,
        automatic=order.automatic,
        fault=order.fault,
        run=order.run,
        overrides=order.overrides,
    )


def _consider(draft: Draft, order: Order) -> None:
    group, rules = draft.state.groups.get(order.group), draft.policy.groups.get(order.group)
    if group is not None and rules is not None and not order.target:
        preferred = order.verb is SwitchVerb.FAILBACK
        order = replace(order, target=rules.preferred if preferred else rules.other(group.active).name)
    judgement = permit.judge(draft.state, draft.at, draft.policy, _request(order))
    if group is None or rules is None or judgement.refusals:
        _decline(draft, group, rules, order, judgement)
    else:
        _begin(draft, group, order, judgement)


def _begin(draft: Draft, group: Group, order: Order, judgement: permit.Judgement) -> None:
    """One epoch higher than anything this group or its edges ever saw."""
    epoch = max(group.epoch, group.edge_epoch) + 1
    switch = Switch(
        id=draft.number("SW"),
        verb=order.verb,
        origin=group.active
        if order.target != group.active
        else draft.rules(group.name).other(order.target).name,
        target=order.target,
        epoch=epoch,
        automatic=order.automatic,
        by=order.by,
        reason=order.reason,
        run=order.run,
        step=order.step,
        incident=order.incident,
        drill=order.drill,
        fault=order.fault,
        evidence_kinds=judgement.evidence,
        bypassed=judgement.bypassed,
        walls=(("started", draft.at.wall),),
    )
    data: Values = (
        *_about(order),
        ("switch", switch.id),
        ("origin", switch.origin),
        ("epoch", epoch),
        ("evidence", ",".join(judgement.evidence)),
        ("bypassed", ",".join(judgement.bypassed)),
        ("policy", draft.policy.revision),
    )
    group = replace(
        group,
        epoch=epoch,
        switch=switch,
        phase=Phase.IDLE,
        upkeep=None,
        reading_back="",
        read_due=None,
        shadowed="",
    )
    group = draft.change(FactKind.SWITCH_STARTED, group, data, actor=order.by)
    enter(draft, group, first_phase(order.verb, target_fenced=order.target in group.fenced))


def _decline(
    draft: Draft, group: Group | None, rules: GroupPolicy | None, order: Order, judgement: permit.Judgement
) -> None:
    refusals = judgement.refusals
    shadow = order.automatic and Refusal.NOT_ARMED in refusals
    named = ",".join(refusals)
    data: Values = (*_about(order), ("refusals", named), ("evidence", ",".join(judgement.evidence)))
    actor = "" if order.automatic else order.by
    if shadow and group is not None:
        # Refused all the same, were it armed, for these: what it would have done is nothing.
        others = ",".join(reason for reason in refusals if reason is not Refusal.NOT_ARMED)
        if not order.incident or group.shadowed != order.incident:
            told = replace(group, shadowed=order.incident)
            shadowed = (*data, ("would", "refuse" if others else "switch"), ("would_refuse", others))
            draft.change(FactKind.SWITCH_SHADOWED, told, shadowed, incident=order.incident, drill=order.drill)
    else:
        draft.record(
            FactKind.SWITCH_REFUSED,
            order.group,
            data=data,
            incident=order.incident,
            actor=actor,
            drill=order.drill,
        )
    if group is not None and rules is not None and order.automatic and not shadow:
        target = rules.side(order.target)
        if target is not None and readiness.down(draft.state, draft.policy, target.component):
            endings.want_last_resort(
                draft, group, incident=order.incident, fault=order.fault, drill=order.drill
            )
    draft.events.append(
        SwitchEnded(
            at=draft.at,
            group=order.group,
            switch="",
            run=order.run,
            step=order.step,
            outcome=SwitchOutcome.SHADOWED if shadow else SwitchOutcome.REFUSED,
            refusals=refusals,
            message=named,
        )
    )


def _about(order: Order) -> Values:
    return (
        ("verb", str(order.verb)),
        ("target", order.target),
        ("automatic", order.automatic),
        ("reason", order.reason),
        ("fault", order.fault),
        ("run", order.run),
    )
