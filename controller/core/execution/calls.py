"""The calls a step makes: the core's own actions and the adapters'.

Own actions: `note` and `page` are done with the record; `wait` is a deadline in it; `probe` runs a ladder; `failover`
asks the failover stage. Every other action is an adapter's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controller.core.draft import Draft
from controller.core.execution.clearance import BY_RULE, FAILOVER, disruptive, group_of
from controller.core.execution.position import about, keep, put
from controller.core.execution.references import names
from controller.model.commands import RunAction, RunLadder
from controller.model.events import PageWanted, SwitchEnded, SwitchWanted
from controller.model.facts import FactKind
from controller.model.groups import SwitchOutcome, SwitchVerb
from controller.model.health import ProbeResult, RungKey
from controller.model.moments import Value, Values
from controller.model.parameters import unflatten
from controller.model.policy import Policy
from controller.model.runbooks import ActionCall, Step
from controller.model.runs import ActionStatus, Run, StepRecord, StepState

NOTE, PAGE, WAIT, PROBE = "note", "page", "wait", "probe"

OWN = frozenset({NOTE, PAGE, WAIT, PROBE, FAILOVER})
"""Actions that need no adapter."""

GRACE = 1.0
"""Seconds past an action's own timeout after which its answer counts as lost."""

LADDER_GRACE = 2.0
"""The same for a ladder, whose prober is given a second of its own."""

SWITCH_RECHECK = 5.0
"""Seconds between two looks at whether a switch whose answer we wait for is still under way."""

SECRET = ("headers", "body", "json", "password", "token", "secret", "key")
"""Parameters whose values are not written into the timeline."""

VERBS = frozenset({SwitchVerb.FAILOVER, SwitchVerb.SWITCHOVER, SwitchVerb.FAILBACK})
"""A runbook can't force: that names guards, and is a person's own act."""


class CallRefused(Exception):
    """The call can't be made with these parameters. The argument says why."""


def in_flight(call: ActionCall) -> bool:
    """Whether an answer comes later."""
    return call.action not in (NOTE, PAGE)


def repeatable(call: ActionCall) -> bool:
    """It changes nothing: after a restart it is done again."""
    return call.action in (PROBE, WAIT)


def shown(parameters: Values) -> Values:
    """Parameters as the timeline shows them."""
    return tuple(
        (f"with.{name}", "***" if name.partition("/")[0].lower() in SECRET else value)
        for name, value in parameters
    )


def send(
    draft: Draft, run: Run, record: StepRecord, step: Step, call: ActionCall, parameters: Values
) -> StepRecord:
    """Record the call, then let it go. Returns the record as kept. Raises CallRefused before anything is recorded."""
    tree = unflatten(parameters)
    match call.action:
        case "note":
            text = (("zh", _text(tree, "zh")), ("en", _text(tree, "en")))
            keep(draft, FactKind.NOTE, put(run, record), about(record, *text))
            return record
        case "page":
            record = _intend(draft, run, record, call, parameters)
            draft.events.append(wanted(draft, run, _text(tree, "zh"), _text(tree, "en")))
            return record
        case "wait":
            pause = _seconds(tree)
            return _intend(draft, run, replace(record, due=draft.at.mono + pause), call, parameters)
        case "probe":
            return _probe(draft, run, record, call, parameters)
        case "failover":
            return _switch(draft, run, record, call, parameters)
        case _:
            return _act(draft, run, record, step, call, parameters)


def wanted(draft: Draft, run: Run, zh: str, en: str) -> PageWanted:
    """Page people about the run's incident."""
    return PageWanted(at=draft.at, incident=run.incident, by=run.id, need_zh=zh, need_en=en, drill=run.drill)


def switching(draft: Draft, run: Run, step: Step) -> bool:
    """The switch that the step asked for is under way."""
    if step.call is None or step.call.action != FAILOVER:
        return False
    return any(
        group.switch is not None and group.switch.run == run.id and group.switch.step == step.name
        for group in draft.state.groups.values()
    )


def judged(results: Sequence[ProbeResult], parameters: Values) -> tuple[ActionStatus, str, Values]:
    """What a ladder's results mean to the step that ran it with these parameters: status, message, data.

    `expect: up` wants every result up, `down` every one down; a void result is neither. `side` wants each call that
    was answered to carry that side's mark, and at least one to do so.
    """
    tree = unflatten(parameters)
    down = tree.get("expect") == "down"
    bad = [item for item in results if item.up is not (not down)]
    data: dict[str, Value] = {
        "up": sum(item.up is True for item in results),
        "down": sum(item.up is False for item in results),
        "void": sum(item.up is None for item in results),
        "first_broken": next((item.key.rung for item in results if item.up is not True), ""),
    }
    for item in results:
        data[f"{item.key.rung}.outcome"] = str(item.outcome)
        data.update({f"{item.key.rung}.{name}": value for name, value in item.values})
    values = tuple(data.items())
    if not results:
        return ActionStatus.FAILED, "no probe answered", values
    if bad:
        found = sorted({f"{item.key.component}/{item.key.rung} {item.outcome}" for item in bad})
        return ActionStatus.FAILED, f"not {'down' if down else 'up'}: {', '.join(found)}", values
    side = str(tree.get("side") or "")
    seen = {str(value) for item in results for name, value in item.values if name == "side"}
    if side and seen != {side}:
        return (
            ActionStatus.FAILED,
            f"answered by {', '.join(sorted(seen)) or 'nobody known'}, not {side}",
            values,
        )
    return ActionStatus.SUCCEEDED, "", values


def switched(event: SwitchEnded) -> tuple[ActionStatus, str, Values]:
    """What the end of a switch means to the step that asked for it."""
    data: Values = (("outcome", str(event.outcome)), ("switch", event.switch))
    match event.outcome:
        case SwitchOutcome.VERIFIED | SwitchOutcome.SHADOWED:
            return ActionStatus.SUCCEEDED, event.message, data
        case SwitchOutcome.REFUSED:
            return ActionStatus.REFUSED, f"refused: {','.join(event.refusals) or event.message}", data
        case SwitchOutcome.COMPENSATED | SwitchOutcome.FAILED | SwitchOutcome.NEEDS_PERSON:
            words = f"{event.outcome}: {event.message}" if event.message else str(event.outcome)
            return ActionStatus.FAILED, words, data


def ladder_keys(parameters: Values, policy: Policy) -> tuple[RungKey, ...]:
    """The rungs a `probe` runs: those named, or all of the component's that can be probed. Raises CallRefused."""
    tree = unflatten(parameters)
    component = policy.components.get(str(tree.get("component")))
    if component is None:
        raise CallRefused(f"no component named {tree.get('component')}")
    known = [rung.name for rung in component.ladder]
    rungs = tree.get("rungs") or [rung.name for rung in component.ladder if rung.probed]
    names_ = [rungs] if isinstance(rungs, str) else list(rungs)
    missing = [name for name in names_ if name not in known]
    if missing or not names_:
        raise CallRefused(f"{component.name} has no rung {', '.join(missing)}".rstrip())
    return tuple(RungKey(component.name, name) for name in names_)


def _intend(draft: Draft, run: Run, record: StepRecord, call: ActionCall, parameters: Values) -> StepRecord:
    """The fact that comes before everything a step does."""
    purpose = {StepState.VERIFYING: "verify", StepState.ROLLING_BACK: "rollback"}.get(record.state, "")
    data = about(
        record,
        ("action", call.action),
        ("for", purpose),
        ("command", record.command),
        *shown(parameters),
    )
    keep(draft, FactKind.STEP_INTENDED, put(run, record), data)
    return record


def _probe(draft: Draft, run: Run, record: StepRecord, call: ActionCall, parameters: Values) -> StepRecord:
    keys = ladder_keys(parameters, draft.policy)
    count = unflatten(parameters).get("count", 1)
    if not isinstance(count, int) or not 1 <= count <= 100:
        raise CallRefused(f"count {count} is not between 1 and 100")
    record = replace(record, command=draft.number("CMD"), due=draft.at.mono + call.timeout + LADDER_GRACE)
    record = _intend(draft, run, record, call, parameters)
    reason = f"{run.id} {record.path}"
    draft.commands.append(
        RunLadder(id=record.command, keys=keys, timeout=call.timeout, count=count, reason=reason)
    )
    return record


def _switch(draft: Draft, run: Run, record: StepRecord, call: ActionCall, parameters: Values) -> StepRecord:
    if record.state is not StepState.INTENDED:
        raise CallRefused("a switch can neither verify nor roll back a step")
    tree = unflatten(parameters)
    known = names(run, draft.state, draft.policy)
    group = str(tree.get("group") or group_of(draft.policy, run))
    target = str(tree.get("target") or known.get("target") or "")
    try:
        verb = SwitchVerb(str(tree.get("verb", SwitchVerb.FAILOVER)))
    except ValueError:
        verb = SwitchVerb.FORCE
    if verb not in VERBS:
        raise CallRefused(f"{tree.get('verb')} is no switch that a runbook may ask for")
    if group not in draft.policy.groups:
        raise CallRefused(f"no group named {group}")
    automatic = run.started_by == BY_RULE
    record = _intend(draft, run, replace(record, due=draft.at.mono + SWITCH_RECHECK), call, parameters)
    draft.events.append(
        SwitchWanted(
            at=draft.at,
            group=group,
            verb=verb,
            target=target,
            run=run.id,
            step=record.path,
            incident=run.incident,
            fault=str(known.get("fault") or ""),
            by="" if automatic else run.started_by,
            automatic=automatic,
            drill=run.drill,
            reason=str(tree.get("reason") or ""),
        )
    )
    return record


def _act(
    draft: Draft, run: Run, record: StepRecord, step: Step, call: ActionCall, parameters: Values
) -> StepRecord:
    named = str(dict(parameters).get("group") or "")
    name = named if named in draft.state.groups else group_of(draft.policy, run)
    group = draft.state.groups.get(name)
    record = replace(record, command=draft.number("CMD"), due=draft.at.mono + call.timeout + GRACE)
    record = _intend(draft, run, record, call, parameters)
    draft.commands.append(
        RunAction(
            id=record.command,
            action=call.action,
            parameters=parameters,
            timeout=call.timeout,
            run=run.id,
            step=record.path,
            attempt=record.attempt,
            incident=run.incident,
            group=name,
            epoch=0 if group is None else group.epoch,
            disruptive=disruptive(step) and record.state is not StepState.VERIFYING,
            drill=run.drill,
            reason=f"{run.runbook}/{record.path}",
        )
    )
    return record


def _text(tree: dict[str, Value], language: str) -> str:
    """The text in one language; in the other one, when there is only that."""
    return str(tree.get(language) or tree.get("text") or tree.get("zh") or tree.get("en") or "")


def _seconds(tree: dict[str, Value]) -> float:
    value = tree.get("seconds")
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86400:
        raise CallRefused(f"{tree.get('seconds')} is no number of seconds between 0 and 86400")
    return float(value)
