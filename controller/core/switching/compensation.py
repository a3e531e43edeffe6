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
    begun,
    drive,
    planned,
    read_back_later,
    switch_of,
    undone_on,
)
from controller.model.groups import DriverVerb, Group, Phase, Refusal, SwitchOutcome, Upkeep

BEFORE_CONFIRMED = frozenset(
    {Phase.PRECHECKING, Phase.DRAINING, Phase.FREEZING, Phase.FENCING, Phase.CONFIRMING_FENCE}
)
"""Nothing has been given to the target yet, but by a planned drain."""


def retreat(draft: Draft, group: Group, reason: str, refusals: tuple[Refusal, ...] = ()) -> None:
    """Take back what was done, or stop where going back would help nobody."""
    switch = switch_of(group)
    if group.phase is Phase.COMPENSATING:
        # Of an address the target has been deprived by then.
        nobody = draft.rules(group.name).single_holder and switch.target in group.fenced
        stop(draft, group, f"can't be put back: {reason}", last_resort=nobody)
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
        ended(draft, _standing_by(draft, group), SwitchOutcome.COMPENSATED, reason)
        return
    verb = switch.undo[0]
    drive(draft, group, verb, undone_on(switch, verb))


def succeeded(draft: Draft, group: Group, verb: DriverVerb) -> None:
    switch = switch_of(group)
    if verb is DriverVerb.UNFENCE:
        group = replace(group, fenced=tuple(side for side in group.fenced if side != switch.origin))
    if verb is DriverVerb.REDIRECT:
        group = replace(group, active=switch.origin)
    group = replace(group, switch=replace(switch, undo=switch.undo[1:]))
    act(draft, begun(draft, group, Phase.COMPENSATING))


def _standing_by(draft: Draft, group: Group) -> Group:
    """A target that was fenced only because it had to let go is let in again."""
    switch = switch_of(group)
    if not draft.rules(group.name).single_holder or switch.let_in or switch.target not in group.fenced:
        return group
    upkeep = Upkeep(
        verb=DriverVerb.UNFENCE, side=switch.target, epoch=switch.epoch, by=switch.by, due=draft.at.mono
    )
    return replace(group, upkeep=upkeep)


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
