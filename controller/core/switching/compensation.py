"""Going back: a switch that can't be finished takes back what it did, if the old side can serve callers at all.

The way back is a new epoch of its own: a late command of the way there is refused by the edges.
"""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.switching import permit, readiness
from controller.core.switching.endings import ended, stop
from controller.core.switching.intents import (
    RECHECK,
    UNDONE_ON_TARGET,
    begun,
    drive,
    planned,
    read_back_later,
    switch_of,
)
from controller.model.groups import DriverVerb, Group, Phase, Refusal, SwitchOutcome

BEFORE_CONFIRMED = frozenset(
    {Phase.PRECHECKING, Phase.DRAINING, Phase.FREEZING, Phase.FENCING, Phase.CONFIRMING_FENCE}
)
"""Nothing has been given to the target yet, but by a planned drain."""


def retreat(draft: Draft, group: Group, reason: str, refusals: tuple[Refusal, ...] = ()) -> None:
    """Take back what was done, or stop where going back would help nobody."""
    switch = switch_of(group)
    if group.phase is Phase.COMPENSATING:
        stop(draft, group, f"can't be put back: {reason}")
        return
    if not _can_go_back(draft, group):
        stop(draft, group, reason, last_resort=True)
        return
    if not switch.undo:
        ended(draft, group, SwitchOutcome.FAILED, reason, refusals)
        return
    epoch = max(group.epoch, group.edge_epoch) + 1
    switch = replace(switch, epoch=epoch, detail=(("failure", reason),))
    act(draft, begun(draft, replace(group, epoch=epoch, switch=switch), Phase.COMPENSATING))


def act(draft: Draft, group: Group) -> None:
    """The next thing to take back, or the end."""
    switch = switch_of(group)
    if not permit.may_act(draft.state, draft.at):
        read_back_later(draft, group, Phase.COMPENSATING, RECHECK, "may not act")
        return
    if not switch.undo:
        reason = str(dict(switch.detail).get("failure") or "")
        ended(draft, group, SwitchOutcome.COMPENSATED, reason)
        return
    verb = switch.undo[0]
    drive(draft, group, verb, switch.target if verb in UNDONE_ON_TARGET else switch.origin)


def succeeded(draft: Draft, group: Group, verb: DriverVerb) -> None:
    switch = switch_of(group)
    if verb is DriverVerb.UNFENCE:
        group = replace(group, fenced=tuple(side for side in group.fenced if side != switch.origin))
    if verb is DriverVerb.REDIRECT:
        group = replace(group, active=switch.origin)
    group = replace(group, switch=replace(switch, undo=switch.undo[1:]))
    act(draft, begun(draft, group, Phase.COMPENSATING))


def _can_go_back(draft: Draft, group: Group) -> bool:
    """A planned switch left a healthy side. A failover left a bad one: it goes back only before anything was given
    to the target, or when the old side has recovered meanwhile."""
    switch, rules = switch_of(group), draft.rules(group.name)
    if planned(switch) or group.phase in BEFORE_CONFIRMED:
        return True
    side = rules.side(switch.origin)
    return (
        side is not None
        and readiness.unbroken(draft.state, draft.policy, side.component)
        and not permit.faults_against(draft.state, rules, switch.origin, "")
    )
