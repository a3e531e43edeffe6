"""Desired against real: every edge of every group is read at an interval, and put right where it drifted.

Reading is not recorded; what changed since the last read is. Only an armed group is put right, and only with
leadership proved, no timer gap and no hold. A group that never asserted anything adopts what its edges say.
"""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.switching import permit, readiness
from controller.core.switching.intents import GRACE, HARMLESS
from controller.model.commands import Drive
from controller.model.events import ActionFinished
from controller.model.facts import FactKind
from controller.model.groups import DriverVerb, Group, Phase, SwitchOutcome, Upkeep
from controller.model.moments import Value, Values
from controller.model.runs import ActionStatus

LONGEST_PAUSE = 60.0
MOST_UNFENCE_ATTEMPTS = 5

AT_REST = frozenset({Phase.IDLE, Phase.NEEDS_PERSON})


def tend(draft: Draft, group: Group) -> None:
    """Whatever is due for a group at rest."""
    at = draft.at.mono
    upkeep = group.upkeep
    if upkeep is not None and upkeep.due is not None and at >= upkeep.due:
        if upkeep.command:
            lost = ActionFinished(
                at=draft.at, command=upkeep.command, status=ActionStatus.UNKNOWN, message="no answer"
            )
            kept(draft, group, lost)
        elif upkeep.verb is DriverVerb.REASSERT:
            # Only a fresh read says whether it is still needed.
            group = draft.remember(replace(group, next_read=at, upkeep=replace(upkeep, due=None)))
        else:
            keep_up(draft, group, upkeep)
        group = draft.group(group.name)
    if group.reading_back and group.read_due is not None and at >= group.read_due:
        lost = ActionFinished(at=draft.at, command=group.reading_back, status=ActionStatus.UNKNOWN)
        read(draft, group, lost)
    elif not group.reading_back and (group.next_read is None or at >= group.next_read):
        _read_edges(draft, watched(draft, group))


def watched(draft: Draft, group: Group) -> Group:
    """How long the side that is not active has stood unbroken."""
    rules = draft.rules(group.name)
    standby = rules.other(group.active)
    stands = standby.name not in group.fenced and readiness.unbroken(
        draft.state, draft.policy, standby.component
    )
    if not stands:
        return group if group.standby_since is None else replace(group, standby_since=None)
    return group if group.standby_since is not None else replace(group, standby_since=draft.at.mono)


def _read_edges(draft: Draft, group: Group) -> None:
    rules, at = draft.rules(group.name), draft.at.mono
    # Not a number from the counters: those are durable, and a read leaves no trace unless it finds something.
    command = f"READ-{group.name}-{int(at * 1_000_000)}"
    due = at + rules.step_timeout + GRACE
    draft.remember(replace(group, reading_back=command, read_due=due, next_read=None))
    draft.commands.append(_drive(draft, group, command, DriverVerb.READ_BACK, group.active))


def read(draft: Draft, group: Group, event: ActionFinished) -> None:
    """What the edges said. Records transitions only."""
    rules, at = draft.rules(group.name), draft.at.mono
    seen = dict(event.data)
    group = replace(group, reading_back="", read_due=None, next_read=at + rules.reconcile_interval)
    if event.status is not ActionStatus.SUCCEEDED or not seen.get("edges_reached"):
        unreachable = rules.edges or group.unreachable_edges
        _kept(draft, group, drifted=group.drifted_edges, unreachable=unreachable, reason=event.message)
        return
    ready = seen.get("fence_ready")
    group = replace(
        group,
        read_at=at,
        fence_ready=ready if isinstance(ready, bool) else None,
        fence_lacks=str(seen.get("fence_lacks") or ""),
        unheld_since=(at if group.unheld_since is None else group.unheld_since)
        if seen.get("unheld") is True
        else None,
    )
    epoch = _number(seen.get("epoch"))
    active = str(seen.get("active") or "")
    unreachable = _names(seen.get("unreachable"))
    if group.armed is None and (
        epoch > group.epoch or (group.epoch == 0 and active not in ("", group.active))
    ):
        _adopt(draft, group, active if rules.side(active) is not None else group.active, epoch, unreachable)
        return
    if epoch > group.epoch and group.phase is not Phase.NEEDS_PERSON:
        data: Values = (
            ("reason", "newer_epoch"),
            ("epoch", epoch),
            ("own_epoch", group.epoch),
            ("active", active),
        )
        ahead = replace(
            group, phase=Phase.NEEDS_PERSON, edge_epoch=epoch, last_outcome=SwitchOutcome.NEEDS_PERSON
        )
        draft.change(FactKind.EDGE_DRIFTED, ahead, data)
        return
    group = _kept(draft, group, drifted=_names(seen.get("drifted")), unreachable=unreachable, reason=active)
    waiting = group.upkeep
    if waiting is not None and (waiting.verb is not DriverVerb.REASSERT or waiting.command or waiting.due):
        return
    if not group.drifted_edges and not _names(seen.get("ungated")):
        if waiting is not None:
            data = (("verb", str(waiting.verb)), ("side", waiting.side), ("found", "as desired"))
            draft.change(
                FactKind.EDGE_REASSERTED, replace(group, upkeep=_admitting(draft, group, waiting)), data
            )
    elif group.phase is Phase.IDLE and _may_put_right(draft, group, waiting):
        if waiting is None:
            waiting = Upkeep(verb=DriverVerb.REASSERT, side=group.active, epoch=group.epoch)
        keep_up(draft, group, waiting)


def _kept(
    draft: Draft, group: Group, *, drifted: tuple[str, ...], unreachable: tuple[str, ...], reason: str
) -> Group:
    before = (group.drifted_edges, group.unreachable_edges)
    group = replace(group, drifted_edges=drifted, unreachable_edges=unreachable)
    data: Values = (
        ("drifted", ",".join(drifted)),
        ("unreachable", ",".join(unreachable)),
        ("desired", group.active),
        ("seen", reason),
        ("epoch", group.epoch),
    )
    if before == (drifted, unreachable):
        return draft.remember(group)
    if drifted or unreachable:
        return draft.change(FactKind.EDGE_DRIFTED, group, data)
    return draft.change(FactKind.EDGE_REASSERTED, group, data)


def _adopt(draft: Draft, group: Group, active: str, epoch: int, unreachable: tuple[str, ...]) -> None:
    """An unarmed group follows what others made of its edges."""
    data: Values = (
        ("active", active),
        ("previous", group.active),
        ("epoch", epoch),
        ("own_epoch", group.epoch),
    )
    adopted = replace(
        group,
        active=active,
        epoch=max(epoch, group.epoch),
        edge_epoch=epoch,
        drifted_edges=(),
        unreachable_edges=unreachable,
        standby_since=None if active != group.active else group.standby_since,
    )
    draft.change(FactKind.GROUP_ADOPTED, adopted, data)


def _may_put_right(draft: Draft, group: Group, waiting: Upkeep | None) -> bool:
    """What a person asked for needs neither arming nor the absence of a hold."""
    if not permit.may_act(draft.state, draft.at):
        return False
    if waiting is not None and waiting.by:
        return True
    return group.armed is not None and not permit.held(draft.state, draft.at, draft.rules(group.name))


def keep_up(draft: Draft, group: Group, upkeep: Upkeep) -> None:
    """Command it, after the fact that says so; wait where that is not allowed now."""
    if not permit.may_act(draft.state, draft.at):
        draft.remember(replace(group, upkeep=replace(upkeep, due=draft.at.mono + 1.0)))
        return
    command = draft.number("CMD")
    due = draft.at.mono + draft.rules(group.name).step_timeout + GRACE
    upkeep = replace(upkeep, command=command, due=due)
    data: Values = (
        ("verb", str(upkeep.verb)),
        ("side", upkeep.side),
        ("epoch", upkeep.epoch),
        ("command", command),
        ("attempt", upkeep.attempt),
        ("edges", ",".join(group.drifted_edges) if upkeep.verb is DriverVerb.REASSERT else ""),
    )
    draft.change(FactKind.SWITCH_INTENDED, replace(group, upkeep=upkeep), data, actor=upkeep.by)
    draft.commands.append(_drive(draft, group, command, upkeep.verb, upkeep.side, upkeep.epoch))


def kept(draft: Draft, group: Group, event: ActionFinished) -> None:
    """The outcome of an upkeep."""
    upkeep = group.upkeep
    if upkeep is None:
        return
    succeeded, refused = (event.status is one for one in (ActionStatus.SUCCEEDED, ActionStatus.REFUSED))
    data: Values = (
        ("verb", str(upkeep.verb)),
        ("side", upkeep.side),
        ("command", event.command),
        ("status", str(event.status)),
        ("message", event.message),
    )
    pause = min(0.5 * 2**upkeep.attempt, LONGEST_PAUSE)
    again = replace(upkeep, command="", attempt=upkeep.attempt + 1, due=draft.at.mono + pause)
    kind = FactKind.SWITCH_STEP_FINISHED
    match upkeep.verb:
        case DriverVerb.REASSERT if succeeded:
            done = replace(
                group, upkeep=_admitting(draft, group, upkeep), drifted_edges=(), next_read=draft.at.mono
            )
            draft.change(FactKind.EDGE_REASSERTED, done, data)
        case DriverVerb.REASSERT if refused and upkeep.by and draft.rules(group.name).single_holder:
            # What one side holds is not taken from it by settling on the other: a person is asked again.
            settled = replace(
                group, phase=Phase.NEEDS_PERSON, last_outcome=SwitchOutcome.NEEDS_PERSON, upkeep=None
            )
            draft.change(kind, settled, data)
        case DriverVerb.REASSERT:
            draft.change(kind, replace(group, upkeep=again), data)
        case DriverVerb.CONFIRM_FENCE if succeeded:
            draft.change(
                kind, replace(group, upkeep=replace(again, verb=DriverVerb.UNFENCE, due=draft.at.mono)), data
            )
        case DriverVerb.UNFENCE if event.status is ActionStatus.UNKNOWN:
            asked = replace(again, verb=DriverVerb.CONFIRM_FENCE, due=draft.at.mono)
            draft.change(kind, replace(group, upkeep=asked), data)
        case DriverVerb.UNFENCE if succeeded:
            _let_in(draft, group, upkeep, data)
        case DriverVerb.CONFIRM_FENCE if event.status is ActionStatus.FAILED:
            _let_in(draft, group, upkeep, data)
        case _ if upkeep.attempt >= MOST_UNFENCE_ATTEMPTS:
            draft.change(kind, replace(group, upkeep=None), (*data, ("given_up", True)))
        case _:
            draft.change(kind, replace(group, upkeep=again), data)


def _admitting(draft: Draft, group: Group, asserted: Upkeep) -> Upkeep | None:
    """A person settled on a side that is fenced: the edges point to it and to no other, now it may be let in."""
    if not asserted.by or asserted.side not in group.fenced:
        return None
    return Upkeep(
        verb=DriverVerb.UNFENCE, side=asserted.side, epoch=asserted.epoch, by=asserted.by, due=draft.at.mono
    )


def _let_in(draft: Draft, group: Group, upkeep: Upkeep, data: Values) -> None:
    """It is no longer fenced. The active side's edges are then asserted; a standby only stands by."""
    fenced = tuple(side for side in group.fenced if side != upkeep.side)
    following = None
    if upkeep.side == group.active:
        following = Upkeep(
            verb=DriverVerb.REASSERT, side=group.active, epoch=group.epoch, by=upkeep.by, due=draft.at.mono
        )
    group = replace(group, fenced=fenced, upkeep=following, next_read=draft.at.mono)
    draft.change(FactKind.SWITCH_STEP_FINISHED, group, data)


def restarted(draft: Draft, group: Group) -> None:
    """An upkeep in flight has an unknown outcome: a reassertion is judged by the next read, a fence is asked."""
    group = replace(group, next_read=draft.at.mono)
    upkeep = group.upkeep
    if upkeep is None:
        draft.remember(group)
        return
    data: Values = (("verb", str(upkeep.verb)), ("side", upkeep.side), ("status", str(ActionStatus.UNKNOWN)))
    if upkeep.verb is DriverVerb.REASSERT:
        group = replace(group, upkeep=replace(upkeep, command="", due=None))
    else:
        verb = DriverVerb.CONFIRM_FENCE if upkeep.command else upkeep.verb
        group = replace(group, upkeep=replace(upkeep, verb=verb, command="", due=draft.at.mono))
    draft.change(FactKind.SWITCH_STEP_FINISHED, group, (*data, ("message", "controller restarted")))


def _drive(
    draft: Draft, group: Group, command: str, verb: DriverVerb, side: str, epoch: int | None = None
) -> Drive:
    return Drive(
        id=command,
        group=group.name,
        verb=verb,
        side=side,
        epoch=group.epoch if epoch is None else epoch,
        timeout=draft.rules(group.name).step_timeout,
        disruptive=verb not in HARMLESS,
    )


def _names(value: Value) -> tuple[str, ...]:
    return tuple(sorted(name for name in str(value or "").split(",") if name))


def _number(value: Value) -> int:
    return value if isinstance(value, int) else 0
