"""How a switch ends: cooldown from its completion, and an answer to whoever waits."""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.switching import permit
from controller.core.switching.intents import planned, switch_of
from controller.model.events import RunWanted, SwitchEnded
from controller.model.facts import FactKind
from controller.model.groups import DriverVerb, Group, Phase, Refusal, Switch, SwitchOutcome, Upkeep
from controller.model.moments import Values


def verified(draft: Draft, group: Group) -> None:
    """A planned switch's old side was healthy and answered to the end: it is let back in, as the standby."""
    switch = switch_of(group)
    upkeep = None
    if planned(switch) and switch.origin in group.fenced:
        upkeep = Upkeep(
            verb=DriverVerb.UNFENCE, side=switch.origin, epoch=switch.epoch, by=switch.by, due=draft.at.mono
        )
    ended(draft, replace(group, upkeep=upkeep), SwitchOutcome.VERIFIED, "")


def stop(draft: Draft, group: Group, reason: str, *, last_resort: bool = False) -> None:
    """Only a person may go on. `last_resort`: neither side is known to serve callers."""
    if last_resort:
        switch = switch_of(group)
        want_last_resort(draft, group, incident=switch.incident, fault=switch.fault, drill=switch.drill)
    ended(draft, group, SwitchOutcome.NEEDS_PERSON, reason)


def ended(
    draft: Draft, group: Group, outcome: SwitchOutcome, reason: str, refusals: tuple[Refusal, ...] = ()
) -> None:
    switch, rules, at = switch_of(group), draft.rules(group.name), draft.at
    recent = group.automatic_walls
    if switch.automatic:
        recent = tuple(wall for wall in (*recent, at.wall) if wall > at.wall - rules.window)
    began = switch.walls[0][1] if switch.walls else at.wall
    data: Values = (
        ("switch", switch.id),
        ("verb", str(switch.verb)),
        ("origin", switch.origin),
        ("target", switch.target),
        ("active", group.active),
        ("epoch", switch.epoch),
        ("outcome", str(outcome)),
        ("reason", reason),
        ("run", switch.run),
        ("seconds", round(at.wall - began, 4)),
    )
    group = replace(
        group,
        phase=Phase.NEEDS_PERSON if outcome is SwitchOutcome.NEEDS_PERSON else Phase.IDLE,
        switch=None,
        last_switch=switch.id,
        last_outcome=outcome,
        ended_wall=at.wall,
        cooldown_until=at.mono + rules.cooldown,
        automatic_walls=recent,
        standby_since=None,
        next_read=at.mono,
    )
    draft.change(
        FactKind.SWITCH_ENDED, group, data, incident=switch.incident, drill=switch.drill, actor=switch.by
    )
    draft.events.append(answer(draft, group.name, switch, outcome, reason, refusals))


def answer(
    draft: Draft,
    group: str,
    switch: Switch,
    outcome: SwitchOutcome,
    reason: str,
    refusals: tuple[Refusal, ...] = (),
) -> SwitchEnded:
    return SwitchEnded(
        at=draft.at,
        group=group,
        switch=switch.id,
        run=switch.run,
        step=switch.step,
        outcome=outcome,
        refusals=refusals,
        message=reason,
    )


def want_last_resort(draft: Draft, group: Group, *, incident: str, fault: str, drill: bool) -> None:
    """Ask once an incident for the runbook that serves callers with neither side."""
    rules = draft.rules(group.name)
    runbook = rules.last_resort
    if runbook not in draft.policy.runbooks:
        return
    if not incident:
        # A person asked for the switch before there was an incident; there may be one by now.
        standing = permit.faults_against(draft.state, rules, group.active, "")
        incident = next((fault.incident for fault in standing if fault.incident), "")
    if any(
        run.runbook == runbook and run.incident == incident and run.live for run in draft.state.runs.values()
    ):
        return
    draft.events.append(
        RunWanted(
            at=draft.at,
            runbook=runbook,
            incident=incident,
            group=group.name,
            fault=fault,
            inputs=(),
            drill=drill,
        )
    )
