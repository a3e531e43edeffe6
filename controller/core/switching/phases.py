"""The phases of a switch: what each one commands, and what its outcome leads to.

    planned:  precheck -> drain -> freeze -> fence -> confirm -> promote -> redirect -> verify
    failover:                      freeze -> fence -> confirm -> promote -> redirect -> verify

Invariants:
- a disruptive command leaves only with leadership proved and no timer gap, after a fact that names it, under an epoch
  higher than any before it;
- an outcome that can't be told leads to READING_BACK before anything is repeated; so does a restart;
- the target is redirected to only after the origin is confirmed fenced;
- every phase is left by an outcome, by its deadline, or (while leadership is not held) by its return: nothing waits
  for an event that may never come.
"""

from __future__ import annotations

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.switching import compensation, permit
from controller.core.switching.endings import stop, verified
from controller.core.switching.intents import (
    ON_ORIGIN,
    RECHECK,
    begun,
    drive,
    ladder,
    planned,
    read_back_later,
    reading,
    switch_of,
)
from controller.core.switching.readiness import items
from controller.core.switching.verification import PAUSE, evidence_lacks, patience, shortfall
from controller.model.events import ActionFinished, LadderFinished
from controller.model.facts import FactKind
from controller.model.groups import DriverVerb, Group, Phase, Refusal, SwitchVerb
from controller.model.health import RungKey
from controller.model.moments import Values
from controller.model.runs import ActionStatus

READ_PAUSE = 0.5
MOST_READS = 6
DRAIN_POLL = 2.0
FIRST_PAUSE = 0.1
"""Seconds before a second attempt at a verb; each further one waits twice as long."""

MOST_ATTEMPTS: dict[Phase, int] = {
    Phase.PRECHECKING: 2,
    Phase.DRAINING: 3,
    Phase.FREEZING: 2,
    Phase.FENCING: 3,
    Phase.CONFIRMING_FENCE: 3,
    Phase.PROMOTING: 3,
    Phase.REDIRECTING: 5,
    Phase.COMPENSATING: 5,
}

VERBS: dict[Phase, DriverVerb] = {
    Phase.PRECHECKING: DriverVerb.PRECHECK,
    Phase.DRAINING: DriverVerb.DRAIN,
    Phase.FREEZING: DriverVerb.FREEZE,
    Phase.FENCING: DriverVerb.FENCE,
    Phase.CONFIRMING_FENCE: DriverVerb.CONFIRM_FENCE,
    Phase.PROMOTING: DriverVerb.PROMOTE,
    Phase.REDIRECTING: DriverVerb.REDIRECT,
    Phase.READING_BACK: DriverVerb.READ_BACK,
}

FOLLOWING: dict[Phase, Phase] = {
    Phase.PRECHECKING: Phase.DRAINING,
    Phase.DRAINING: Phase.FREEZING,
    Phase.FREEZING: Phase.FENCING,
    Phase.FENCING: Phase.CONFIRMING_FENCE,
    Phase.CONFIRMING_FENCE: Phase.PROMOTING,
    Phase.PROMOTING: Phase.REDIRECTING,
    Phase.REDIRECTING: Phase.VERIFYING,
}

IDLE_BY: dict[Phase, DriverVerb] = {
    Phase.FREEZING: DriverVerb.FREEZE,
    Phase.PROMOTING: DriverVerb.PROMOTE,
}
"""Phases that are left out where their verb is idle."""

BEFORE_FENCE = frozenset({Phase.PRECHECKING, Phase.DRAINING, Phase.FREEZING, Phase.FENCING})
"""Until the fence is first commanded, a hold or a disarming stops an automatic switch; after it, going on is safer
than leaving callers with no side at all."""


def first_phase(verb: SwitchVerb, *, target_fenced: bool) -> Phase:
    """A fenced target must be let in before anything else, which only the precheck does."""
    if verb in (SwitchVerb.SWITCHOVER, SwitchVerb.FAILBACK) or target_fenced:
        return Phase.PRECHECKING
    return Phase.FREEZING


def enter(draft: Draft, group: Group, phase: Phase) -> None:
    """Record that the phase begins, and act in it. A commit each is too dear for a phase that has nothing to do."""
    while IDLE_BY.get(phase) in draft.rules(group.name).idle_verbs:
        phase = FOLLOWING[phase]
    act(draft, begun(draft, group, phase))


def act(draft: Draft, group: Group) -> None:
    """Command what the phase asks for, or wait until it may."""
    switch, rules, at = switch_of(group), draft.rules(group.name), draft.at
    if not permit.may_act(draft.state, at):
        read_back_later(draft, group, group.phase, RECHECK, "may not act")
        return
    unfenced = group.phase in BEFORE_FENCE and switch.origin not in group.fenced
    if switch.automatic and unfenced and (permit.held(draft.state, at, rules) or group.armed is None):
        refusal = Refusal.NOT_ARMED if group.armed is None else Refusal.ON_HOLD
        compensation.retreat(draft, group, str(refusal), (refusal,))
        return
    match group.phase:
        case Phase.VERIFYING:
            if rules.verification is None:
                stop(draft, group, "no verification is declared")
                return
            if switch.verify_until is None:
                group = replace(
                    group, switch=replace(switch, verify_until=at.mono + patience(rules.verification))
                )
            ladder(
                draft, group, (rules.verification.rung,), rules.verification.timeout, rules.verification.calls
            )
        case Phase.PRECHECKING if switch.target in group.fenced:
            drive(draft, group, DriverVerb.UNFENCE, switch.target)
        case Phase.DRAINING if switch.drain_until is None:
            until = at.mono + rules.drain_deadline
            drive(
                draft,
                replace(group, switch=replace(switch, drain_until=until)),
                DriverVerb.DRAIN,
                switch.origin,
            )
        case Phase.COMPENSATING:
            compensation.act(draft, group)
        case Phase.IDLE | Phase.NEEDS_PERSON:
            return
        case _:
            verb = VERBS[group.phase]
            drive(draft, group, verb, switch.origin if verb in ON_ORIGIN else switch.target)


def finished(draft: Draft, group: Group, event: ActionFinished) -> None:
    """The outcome of the driver's verb in flight."""
    switch = switch_of(group)
    verb = switch.verb_in_flight
    if verb is None:
        return
    calls = dict(event.data).get("live_calls")
    if verb is DriverVerb.DRAIN and isinstance(calls, int):
        switch = replace(switch, live_calls=calls)
    data: Values = (
        ("switch", switch.id),
        ("verb", str(verb)),
        ("command", event.command),
        ("status", str(event.status)),
        ("message", event.message),
        *event.data,
    )
    switch = replace(switch, command="", verb_in_flight=None, due=None)
    group = draft.change(FactKind.SWITCH_STEP_FINISHED, replace(group, switch=switch), data)
    if group.phase is Phase.READING_BACK:
        _read(draft, group, event)
        return
    match event.status:
        case ActionStatus.SUCCEEDED if group.phase is Phase.COMPENSATING:
            compensation.succeeded(draft, group, verb)
        case ActionStatus.SUCCEEDED:
            _succeeded(draft, group, verb)
        case ActionStatus.FAILED:
            _failed(draft, group, event.message)
        case ActionStatus.UNKNOWN if group.phase is Phase.COMPENSATING and _may_be_left(group):
            # A target that hangs does not say; nothing on the way back waits for it.
            _give_up(draft, group, event.message)
        case ActionStatus.REFUSED | ActionStatus.UNKNOWN:
            # A refusal may mean that somebody acted under a newer epoch: look before anything else.
            refused = event.status is ActionStatus.REFUSED
            failure = (event.message or "refused by the far end") if refused else ""
            group = replace(group, switch=replace(switch, failure=failure))
            read_back_now(draft, group, group.phase)


def tested(draft: Draft, group: Group, event: LadderFinished) -> None:
    """The answer to a verification, or to the full test of a planned switch's target.

    Calls that are no evidence either way use up no attempt: they are made again until the attempts' time is over.
    """
    switch, rules = switch_of(group), draft.rules(group.name)
    verification, void = rules.verification, False
    if group.phase is Phase.VERIFYING and verification is not None:
        lack, verb = shortfall(event.results, verification, switch.target), "verify"
        void = evidence_lacks(event.results, verification, switch.target)
    else:
        bad = sorted(f"{item.key.component}/{item.key.rung}" for item in event.results if item.up is not True)
        lack = ("not up: " + ", ".join(bad)) if bad else ("" if event.results else "no answer")
        verb = "full_test"
    seen = tuple(
        (name, value)
        for name, value in (event.results[-1].values if event.results else ())
        if name in ("side", "mos", "pdd_ms", "loss_percent", "one_way", "codec", "code")
    )
    data: Values = (
        ("switch", switch.id),
        ("verb", verb),
        ("command", event.command),
        (
            "status",
            str(ActionStatus.UNKNOWN if void else ActionStatus.FAILED if lack else ActionStatus.SUCCEEDED),
        ),
        ("message", lack),
        ("calls", len(event.results)),
        ("attempt", switch.attempt),
        *seen,
    )
    switch = replace(switch, command="", due=None)
    group = draft.change(FactKind.SWITCH_STEP_FINISHED, replace(group, switch=switch), data)
    if group.phase is Phase.VERIFYING:
        attempts = 1 if verification is None else verification.attempts
        if not lack:
            verified(draft, group)
        elif void and (switch.verify_until is None or draft.at.mono < switch.verify_until):
            _again(draft, group, PAUSE, attempt=switch.attempt)
        elif switch.attempt < attempts and not void:
            _again(draft, group, PAUSE, attempt=switch.attempt + 1)
        else:
            compensation.retreat(draft, group, f"not verified: {lack}")
    elif not lack:
        _next(draft, group)
    else:
        _failed(draft, group, lack)


def overdue(draft: Draft, group: Group) -> None:
    """Its deadline passed: an answer was lost, or a pause is over."""
    switch = switch_of(group)
    if not switch.command:
        act(draft, group)
    elif switch.verb_in_flight is None:
        tested(draft, group, LadderFinished(at=draft.at, command=switch.command, results=()))
    else:
        lost = ActionFinished(
            at=draft.at, command=switch.command, status=ActionStatus.UNKNOWN, message="no answer"
        )
        finished(draft, group, lost)


def restarted(draft: Draft, group: Group) -> None:
    """After a restart the outcome of whatever was in flight is unknown."""
    switch = switch_of(group)
    resume = switch.resume if group.phase is Phase.READING_BACK and switch.resume is not None else group.phase
    read_back_later(draft, group, resume, 0.0, reason="controller restarted")


def read_back_now(draft: Draft, group: Group, resume: Phase) -> None:
    act(draft, reading(draft, group, resume, "outcome unknown"))


def _read(draft: Draft, group: Group, event: ActionFinished) -> None:
    """What the edges say decides where the switch goes on."""
    switch = switch_of(group)
    seen = dict(event.data)
    reached = seen.get("edges_reached")
    if event.status is not ActionStatus.SUCCEEDED or not reached:
        if switch.reads + 1 >= MOST_READS:
            stop(draft, group, f"can't read back: {event.message or 'no edge answers'}")
            return
        waiting = replace(switch, reads=switch.reads + 1, due=draft.at.mono + READ_PAUSE)
        draft.remember(replace(group, switch=waiting))
        return
    epoch = seen.get("epoch")
    highest = epoch if isinstance(epoch, int) else 0
    if highest > switch.epoch:
        group = replace(group, edge_epoch=highest)
        stop(draft, group, f"the edges obey a newer epoch, {highest}")
        return
    settled = not seen.get("drifted")
    resume = switch.resume or Phase.FENCING
    failure, attempt = switch.failure, switch.attempt
    switch = replace(switch, resume=None, reads=0, failure="", due=None, attempt=attempt + 1)
    back = replace(group, phase=resume, switch=switch)
    if failure:
        _give_up(draft, back, failure)
    elif resume is Phase.REDIRECTING and settled and seen.get("active") == switch.target:
        _next(draft, back)
    elif resume is Phase.FENCING:
        # Whether it is fenced is asked, not repeated; an unconfirmed fence is then commanded again.
        _resume(draft, replace(back, phase=Phase.CONFIRMING_FENCE))
    elif resume is not Phase.VERIFYING and switch.attempt > MOST_ATTEMPTS.get(resume, 1):
        _give_up(draft, back, "its outcome stays unknown")
    else:
        _resume(draft, back)


def _resume(draft: Draft, group: Group) -> None:
    """Go on in a phase that was entered before."""
    switch = switch_of(group)
    walls = (*switch.walls, (str(group.phase), draft.at.wall))
    group = replace(group, switch=replace(switch, walls=walls))
    data: Values = (("switch", switch.id), ("phase", str(group.phase)), ("from", str(Phase.READING_BACK)))
    act(draft, draft.change(FactKind.SWITCH_PHASE, group, data))


def _succeeded(draft: Draft, group: Group, verb: DriverVerb) -> None:
    switch = switch_of(group)
    if verb is DriverVerb.UNFENCE:
        fenced = tuple(side for side in group.fenced if side != switch.target)
        act(draft, replace(group, fenced=fenced))
    elif group.phase is Phase.PRECHECKING:
        keys = tuple(
            item.key
            for item in items(draft.policy, draft.rules(group.name), switch.target)
            if item.key is not None and not item.manual
        )
        if keys:
            slowest = max(_timeout(draft, key) for key in keys)
            ladder(draft, group, keys, slowest, 1)
        else:
            _next(draft, group)
    elif group.phase is Phase.DRAINING:
        drained = switch.live_calls == 0
        if drained or switch.drain_until is None or draft.at.mono >= switch.drain_until:
            _next(draft, group)
        else:
            due = min(draft.at.mono + DRAIN_POLL, switch.drain_until)
            draft.remember(replace(group, switch=replace(switch, due=due)))
    else:
        _next(draft, group)


def _next(draft: Draft, group: Group) -> None:
    switch = switch_of(group)
    phase = FOLLOWING[group.phase]
    if phase is Phase.DRAINING and not planned(switch):
        phase = Phase.FREEZING
    if phase is Phase.VERIFYING:
        group = replace(group, active=switch.target, drifted_edges=())
    enter(draft, group, phase)


def _failed(draft: Draft, group: Group, message: str) -> None:
    """It did not take effect. A verb is idempotent: try again, a little later each time."""
    switch = switch_of(group)
    if switch.attempt < MOST_ATTEMPTS.get(group.phase, 1) and not _may_be_left(group):
        if group.phase is Phase.CONFIRMING_FENCE:
            group = replace(group, phase=Phase.FENCING)
        elif group.phase is Phase.COMPENSATING and switch.undo[:1] == (DriverVerb.CONFIRM_FENCE,):
            group = replace(group, switch=replace(switch, undo=(DriverVerb.FENCE, *switch.undo)))
        _again(draft, group, FIRST_PAUSE * 2 ** (switch.attempt - 1), attempt=switch.attempt + 1)
    else:
        _give_up(draft, group, message)


def _again(draft: Draft, group: Group, pause: float, *, attempt: int) -> None:
    switch = replace(switch_of(group), attempt=attempt, due=draft.at.mono + pause)
    data: Values = (
        ("switch", switch.id),
        ("phase", str(group.phase)),
        ("from", str(group.phase)),
        ("attempt", switch.attempt),
    )
    draft.change(FactKind.SWITCH_PHASE, replace(group, switch=switch), data)


def _give_up(draft: Draft, group: Group, message: str) -> None:
    """A freeze that may be left out is. Anything else goes back or stops."""
    if not _may_be_left(group):
        compensation.retreat(draft, group, message or f"{group.phase} failed")
    elif group.phase is Phase.COMPENSATING:
        compensation.succeeded(draft, group, DriverVerb.FREEZE)
    else:
        enter(draft, group, Phase.FENCING)


def _may_be_left(group: Group) -> bool:
    """A hung or dead side can't freeze itself: a failover goes on to its fence, and a way back to the other side."""
    switch = switch_of(group)
    if group.phase is Phase.COMPENSATING:
        return switch.undo[:1] == (DriverVerb.FREEZE,)
    return group.phase is Phase.FREEZING and not planned(switch)


def _timeout(draft: Draft, key: RungKey) -> float:
    component = draft.policy.components.get(key.component)
    rung = None if component is None else component.rung(key.rung)
    return 1.0 if rung is None else rung.timeout
