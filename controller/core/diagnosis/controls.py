"""Control experiments: a rule that lacks only what could be tried has it tried at once.

Never the same rung twice at a time for one component; repeated with growing pauses while the rule stays that close.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controller.core.diagnosis.evaluation import Evaluated
from controller.core.draft import Draft
from controller.core.topology import rung_of
from controller.model.commands import RunLadder
from controller.model.diagnosis import Backoff
from controller.model.events import LadderFinished
from controller.model.facts import FactKind
from controller.model.faults import Verdict
from controller.model.health import RungKey
from controller.model.moments import Values
from controller.model.policy import FaultRule
from controller.model.state import PendingControl, State

FIRST_PAUSE = 0.2
"""Seconds; doubles with each repetition."""

LONGEST_PAUSE = 60.0
RETEST_PAUSE = 5.0
"""Seconds between looks whether a standing fault is over, where only a test tells."""

LONGEST_RETEST_PAUSE = 30.0
GRACE = 1.0
"""Seconds past its timeout after which an unanswered experiment is given up."""


def request(draft: Draft, component: str, evaluated: Iterable[Evaluated], standing: frozenset[str]) -> None:
    """Ask for what is missing. `standing`: the rules by which a fault of this component stands."""
    for item in evaluated:
        retesting = item.rule.name in standing
        keys = item.retest if retesting else item.open
        place = (item.rule.name, component)
        pause = draft.state.diagnosis.backoff.get(place)
        if not keys or item.fired:
            if retesting and any(term.probe is not None and term.fresh for term in item.rule.terms):
                _look_again(draft, place, pause, confirmed=item.fired)
            elif pause is not None:
                _settle(draft, place, pause, keep=retesting or item.fired or _close(item))
            continue
        if pause is not None and draft.at.mono < pause.until:
            if not pause.waiting:
                _note(draft, place, pause._replace(waiting=True))
            continue
        flying = _flying(draft.state, component)
        busy = {key for control in flying for key in control.keys}
        wanted = tuple(key for key in keys if key not in busy)
        if wanted:
            _ask(draft, item, component, wanted, pause, retesting)


def forget(draft: Draft, component: str, rules: Iterable[FaultRule]) -> None:
    """No rule of this component is anywhere near: the next trouble starts afresh."""
    backoff = draft.state.diagnosis.backoff
    for rule in rules:
        if (rule.name, component) in backoff:
            backoff = backoff.delete((rule.name, component))
    if backoff is not draft.state.diagnosis.backoff:
        draft.state = replace(draft.state, diagnosis=replace(draft.state.diagnosis, backoff=backoff))


def answered(draft: Draft, event: LadderFinished) -> None:
    control = draft.state.controls.get(event.command)
    if control is None:
        return
    draft.state = replace(draft.state, controls=draft.state.controls.delete(event.command))
    data: Values = (
        ("rule", control.rule),
        ("command", event.command),
        (
            "outcome",
            ",".join(f"{item.key.component}.{item.key.rung}={item.outcome}" for item in event.results),
        ),
    )
    draft.record(FactKind.CONTROL_FINISHED, control.component, data=data)


def overdue(draft: Draft) -> list[str]:
    """Give up what was never answered; the components whose rules may ask again now."""
    now = draft.at.mono
    names: list[str] = []
    for control in sorted(draft.state.controls.values(), key=lambda control: control.command):
        if now >= control.due:
            draft.state = replace(draft.state, controls=draft.state.controls.delete(control.command))
            data: Values = (("rule", control.rule), ("command", control.command), ("outcome", "no answer"))
            draft.record(FactKind.CONTROL_FINISHED, control.component, data=data)
            names.append(control.component)
    for (rule, component), pause in sorted(draft.state.diagnosis.backoff.items()):
        if pause.waiting and now >= pause.until:
            _note(draft, (rule, component), pause._replace(waiting=False))
            names.append(component)
    return names


def wake_at(state: State) -> float | None:
    deadlines = [control.due for control in state.controls.values()]
    deadlines.extend(pause.until for pause in state.diagnosis.backoff.values() if pause.waiting)
    return min(deadlines, default=None)


def _flying(state: State, component: str) -> tuple[PendingControl, ...]:
    return tuple(control for control in state.controls.values() if control.component == component)


def _close(item: Evaluated) -> bool:
    """Everything that no experiment could change still speaks for the rule."""
    return not any(
        result.verdict is Verdict.FALSE and term.probe is None
        for term, result in zip(item.rule.terms, item.terms, strict=True)
    )


def _ask(
    draft: Draft,
    item: Evaluated,
    component: str,
    keys: tuple[RungKey, ...],
    pause: Backoff | None,
    retesting: bool,
) -> None:
    attempt = 0 if pause is None else pause.attempt + 1
    first, longest = (RETEST_PAUSE, LONGEST_RETEST_PAUSE) if retesting else (FIRST_PAUSE, LONGEST_PAUSE)
    now = draft.at.mono
    _note(
        draft,
        (item.rule.name, component),
        Backoff(attempt, now + min(first * 2 ** min(attempt, 16), longest)),
    )
    for key in keys:
        # A ladder answers when all of it has; one each, so that a quick answer never waits for a slow one.
        rung = rung_of(draft.policy, *key)
        timeout = 1.0 if rung is None else rung.timeout
        command = draft.number("CMD")
        control = PendingControl(
            command=command,
            rule=item.rule.name,
            component=component,
            keys=(key,),
            due=now + timeout + GRACE,
        )
        draft.state = replace(draft.state, controls=draft.state.controls.set(command, control))
        data: Values = (
            ("rule", item.rule.name),
            ("fault", str(item.rule.fault)),
            ("keys", f"{key.component}.{key.rung}"),
            ("command", command),
            ("attempt", attempt + 1),
        )
        draft.record(FactKind.CONTROL_REQUESTED, component, data=data)
        draft.commands.append(RunLadder(id=command, keys=(key,), timeout=timeout, reason=item.rule.name))


def _look_again(draft: Draft, place: tuple[str, str], pause: Backoff | None, *, confirmed: bool) -> None:
    """What the standing fault rests on grows old, and no event would say so."""
    if pause is None or confirmed or draft.at.mono >= pause.until:
        attempt = 0 if pause is None or confirmed else pause.attempt
        _note(draft, place, Backoff(attempt, draft.at.mono + RETEST_PAUSE, True))
    elif not pause.waiting:
        _note(draft, place, pause._replace(waiting=True))


def _settle(draft: Draft, place: tuple[str, str], pause: Backoff, *, keep: bool) -> None:
    """The rule wants nothing now: it starts afresh unless it stays close."""
    if not keep:
        backoff = draft.state.diagnosis.backoff.delete(place)
        draft.state = replace(draft.state, diagnosis=replace(draft.state.diagnosis, backoff=backoff))
    elif pause.waiting:
        _note(draft, place, pause._replace(waiting=False))


def _note(draft: Draft, place: tuple[str, str], pause: Backoff) -> None:
    backoff = draft.state.diagnosis.backoff.set(place, pause)
    draft.state = replace(draft.state, diagnosis=replace(draft.state.diagnosis, backoff=backoff))
