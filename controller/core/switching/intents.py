"""What a switch does next, put on record before it leaves: phases entered, verbs driven, test calls asked for."""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.model.commands import Drive, RunLadder
from controller.model.facts import FactKind
from controller.model.groups import DriverVerb, Group, Phase, Switch, SwitchVerb
from controller.model.health import HealthState, RungKey
from controller.model.moments import Values
from controller.model.policy import GroupPolicy

RECHECK = 0.5
"""Seconds between two looks at whether it may act again."""

GRACE = 1.0
"""Seconds past a command's own timeout after which its answer counts as lost."""

ON_ORIGIN = frozenset(
    {DriverVerb.DRAIN, DriverVerb.FREEZE, DriverVerb.THAW, DriverVerb.FENCE, DriverVerb.CONFIRM_FENCE}
)

UNDONE_BY: dict[DriverVerb, tuple[DriverVerb, ...]] = {
    DriverVerb.DRAIN: (DriverVerb.REDIRECT,),
    DriverVerb.FREEZE: (DriverVerb.THAW,),
    DriverVerb.FENCE: (DriverVerb.UNFENCE, DriverVerb.REDIRECT),
    DriverVerb.PROMOTE: (DriverVerb.FREEZE,),
    DriverVerb.REDIRECT: (DriverVerb.REDIRECT,),
    DriverVerb.UNFENCE: (DriverVerb.FENCE,),
}

UNDONE_OF_HOLDER = (DriverVerb.FENCE, DriverVerb.CONFIRM_FENCE)
"""What the REDIRECT of a driver with a single holder is undone by as well: the target has it until it is fenced."""

UNDO_ORDER = (
    DriverVerb.UNFENCE,
    DriverVerb.THAW,
    DriverVerb.REDIRECT,
    DriverVerb.FREEZE,
    DriverVerb.FENCE,
)
"""The origin is let in, and thawed before calls go back to it. Let in, a side gets no call yet: that is REDIRECT's, for
which the edges leave the target first. Until then the target serves whom it can, with what it was promoted to (its trunks'
registrations): should the origin not come back, a person finds callers with one side and not with none. Only then it
stops that, and a target that was let in for this is fenced again."""

HOLDERS_UNDO_ORDER = (
    DriverVerb.UNFENCE,
    DriverVerb.THAW,
    *UNDONE_OF_HOLDER,
    DriverVerb.REDIRECT,
    DriverVerb.FREEZE,
)
"""Of a driver with a single holder: the target is fenced once the origin is ready, and before it is given anything."""

UNDONE_ON_TARGET = frozenset({DriverVerb.FREEZE, *UNDONE_OF_HOLDER})
"""The others are about the origin."""

HARMLESS = frozenset({DriverVerb.PRECHECK, DriverVerb.CONFIRM_FENCE, DriverVerb.READ_BACK})


def planned(switch: Switch) -> bool:
    return switch.verb in (SwitchVerb.SWITCHOVER, SwitchVerb.FAILBACK)


def switch_of(group: Group) -> Switch:
    if group.switch is None:
        raise RuntimeError(f"group {group.name} is {group.phase} without a switch")
    return group.switch


def way_back(undo: tuple[DriverVerb, ...], verb: DriverVerb, rules: GroupPolicy) -> tuple[DriverVerb, ...]:
    """`undo`, and what takes this verb back too, in the order in which it is done."""
    wanted = {*undo, *UNDONE_BY.get(verb, ())} - rules.idle_verbs
    if rules.single_holder and verb is DriverVerb.REDIRECT:
        wanted.update(UNDONE_OF_HOLDER)
    order = HOLDERS_UNDO_ORDER if rules.single_holder else UNDO_ORDER
    return tuple(back for back in order if back in wanted)


def undone_on(switch: Switch, verb: DriverVerb) -> str:
    """The side that a verb of the way back is about."""
    return switch.target if verb in UNDONE_ON_TARGET else switch.origin


def begun(draft: Draft, group: Group, phase: Phase) -> Group:
    """Record that the phase begins. Confirming a fence belongs to the attempt that commanded it."""
    switch = switch_of(group)
    confirming = phase is Phase.CONFIRMING_FENCE or (
        phase is Phase.COMPENSATING and switch.undo[:1] == (DriverVerb.CONFIRM_FENCE,)
    )
    switch = replace(
        switch,
        attempt=switch.attempt if confirming else 1,
        command="",
        verb_in_flight=None,
        resume=None,
        reads=0,
        failure="",
        due=None,
        verify_until=None,
        walls=(*switch.walls, (str(phase), draft.at.wall)),
    )
    data: Values = (
        ("switch", switch.id),
        ("phase", str(phase)),
        ("from", str(group.phase)),
        ("epoch", switch.epoch),
    )
    return draft.change(FactKind.SWITCH_PHASE, replace(group, phase=phase, switch=switch), data)


def drive(draft: Draft, group: Group, verb: DriverVerb, side: str) -> None:
    """One verb of the driver: intended in the record, then commanded."""
    switch, rules = switch_of(group), draft.rules(group.name)
    hasty = verb is DriverVerb.FREEZE and (group.phase is Phase.COMPENSATING or not planned(switch))
    timeout = min(rules.freeze_timeout, rules.step_timeout) if hasty else rules.step_timeout
    undo, let_in = switch.undo, switch.let_in
    if group.phase is not Phase.COMPENSATING:
        undo = way_back(undo, verb, rules)
        let_in = let_in or verb is DriverVerb.UNFENCE
    command = draft.number("CMD")
    switch = replace(
        switch,
        command=command,
        verb_in_flight=verb,
        due=draft.at.mono + timeout + GRACE,
        undo=undo,
        let_in=let_in,
    )
    fenced = group.fenced
    if verb is DriverVerb.FENCE and side not in fenced:
        fenced = (*fenced, side)
    data: Values = (
        ("switch", switch.id),
        ("verb", str(verb)),
        ("side", side),
        ("epoch", switch.epoch),
        ("command", command),
        ("attempt", switch.attempt),
    )
    draft.change(FactKind.SWITCH_INTENDED, replace(group, switch=switch, fenced=fenced), data)
    draft.commands.append(
        Drive(
            id=command,
            group=group.name,
            verb=verb,
            side=side,
            epoch=switch.epoch,
            timeout=timeout,
            switch=switch.id,
            disruptive=verb not in HARMLESS,
            host_alive=_host_alive(draft, group, side),
            drill=switch.drill,
        )
    )


def ladder(draft: Draft, group: Group, keys: tuple[RungKey, ...], timeout: float, count: int) -> None:
    """Test calls or probes whose answer decides the phase."""
    switch = switch_of(group)
    command = draft.number("CMD")
    due = draft.at.mono + timeout + 2 * GRACE
    switch = replace(switch, command=command, verb_in_flight=None, due=due)
    data: Values = (
        ("switch", switch.id),
        ("verb", "verify" if group.phase is Phase.VERIFYING else "full_test"),
        ("side", switch.target),
        ("epoch", switch.epoch),
        ("command", command),
        ("attempt", switch.attempt),
    )
    draft.change(FactKind.SWITCH_INTENDED, replace(group, switch=switch), data)
    reason = f"{switch.id} {group.phase}"
    draft.commands.append(RunLadder(id=command, keys=keys, timeout=timeout, count=count, reason=reason))


def read_back_later(draft: Draft, group: Group, resume: Phase, pause: float, reason: str) -> None:
    """Wait, then read back, then go on. Recorded once; the waiting itself is not."""
    if group.phase is not Phase.READING_BACK or switch_of(group).command:
        group = reading(draft, group, resume, reason)
    draft.remember(replace(group, switch=replace(switch_of(group), due=draft.at.mono + pause)))


def reading(draft: Draft, group: Group, resume: Phase, reason: str) -> Group:
    switch = switch_of(group)
    walls = (*switch.walls, (str(Phase.READING_BACK), draft.at.wall))
    switch = replace(switch, command="", verb_in_flight=None, resume=resume, reads=0, due=None, walls=walls)
    data: Values = (
        ("switch", switch.id),
        ("phase", str(Phase.READING_BACK)),
        ("from", str(group.phase)),
        ("resume", str(resume)),
        ("reason", reason),
    )
    return draft.change(FactKind.SWITCH_PHASE, replace(group, phase=Phase.READING_BACK, switch=switch), data)


def _host_alive(draft: Draft, group: Group, side: str) -> bool:
    """Unless its host is known to be gone, it may still be running."""
    found = draft.rules(group.name).side(side)
    view = None if found is None else draft.state.rungs.get(RungKey(found.component, "host"))
    return view is None or view.state is not HealthState.DOWN
