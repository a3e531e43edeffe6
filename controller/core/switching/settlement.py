"""A person settles a group: says which side is active after a stop, or lets a fenced side back in as the standby."""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.switching import permit
from controller.core.switching.arming import refuse
from controller.model.events import OperatorReleasedGroup
from controller.model.facts import FactKind
from controller.model.groups import DriverVerb, Phase, Refusal, Upkeep
from controller.model.moments import Values


def settle(draft: Draft, event: OperatorReleasedGroup) -> None:
    """From NEEDS_PERSON: the named side is active, asserted at a new epoch (then let in, were it fenced).
    At rest: the side that is fenced is let back in. Anything else needs a switch."""
    group, rules = draft.state.groups.get(event.group), draft.policy.groups.get(event.group)
    if group is None or rules is None:
        refuse(draft, "release", event.group, event.by, (Refusal.UNKNOWN_GROUP,))
        return
    reasons: list[Refusal] = []
    if rules.side(event.active) is None:
        reasons.append(Refusal.UNKNOWN_SIDE)
    if not permit.leads(draft.state, draft.at):
        reasons.append(Refusal.NO_LEASE)
    stopped = group.phase is Phase.NEEDS_PERSON
    standby = rules.other(event.active).name if not reasons else ""
    if group.switch is not None or (group.upkeep is not None and group.upkeep.command):
        reasons.append(Refusal.RUN_IN_PROGRESS)
    elif not stopped and (event.active != group.active or standby not in group.fenced):
        reasons.append(Refusal.ALREADY_ACTIVE)
    if reasons:
        refuse(draft, "release", event.group, event.by, tuple(reasons), (("active", group.active),))
        return
    epoch = max(group.epoch, group.edge_epoch) + 1 if stopped else group.epoch
    # The side that is let in gets calls only when the other one gets none any more: the edges first, then the fence.
    verb, side = (DriverVerb.REASSERT, event.active) if stopped else (DriverVerb.UNFENCE, standby)
    upkeep = Upkeep(verb=verb, side=side, epoch=epoch, by=event.by, due=draft.at.mono)
    settled = replace(
        group,
        active=event.active,
        epoch=epoch,
        phase=Phase.IDLE,
        upkeep=upkeep,
        drifted_edges=(),
        standby_since=None,
        next_read=draft.at.mono,
    )
    data: Values = (
        ("active", event.active),
        ("previous", group.active),
        ("reason", event.reason),
        ("epoch", epoch),
        ("next", str(verb)),
        ("side", side),
    )
    draft.change(FactKind.GROUP_RELEASED, settled, data, actor=event.by)
