"""A dry run: what a runbook would do now, how long it takes, what it puts at risk, and what it can't undo."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller.core.execution import calls
from controller.core.execution.clearance import FAILOVER, disruptive
from controller.core.execution.position import walk
from controller.core.execution.references import UnknownReference, names, resolve, starting_inputs
from controller.core.switching import permit
from controller.model.encoding import canonical
from controller.model.faults import Verdict
from controller.model.groups import Refusal, SwitchVerb
from controller.model.moments import Moment, Value, Values
from controller.model.policy import Policy
from controller.model.runbooks import ActionCall, Runbook, Step, StepKind, Text
from controller.model.runs import Run, RunState
from controller.model.state import State


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedStep:
    """One step as it would be done. `runs`: true, false, or unknown until earlier steps have finished. `does`: the
    action, with its parameters as far as they are known. `seconds`: at most, retries and pauses included."""

    path: str
    title: Text
    kind: StepKind
    runs: Verdict
    does: str = ""
    parameters: Values = ()
    unresolved: tuple[str, ...] = ()  # references without a value now
    seconds: float = 0.0
    disruptive: bool = False
    drops_calls: bool = False
    undo: str = ""
    irreversible: str = ""
    asks: str = ""  # the role or the owner that it waits for
    refusals: tuple[Refusal, ...] = ()  # what would stop it if it came to be done now


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """`calls_at_risk`: the lines behind what disruptive steps act on, as configured; None when nothing says how many.
    `fences`: sides that a switch would fence. `hash`: SHA-256 over everything else, hex: another plan, another hash."""

    runbook: str
    revision: str
    title: Text
    summary: Text
    clause: str
    inputs: Values
    missing: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    expected_seconds: float
    longest_seconds: float
    disruptive: tuple[str, ...]
    calls_at_risk: int | None
    fences: tuple[str, ...]
    irreversible: tuple[tuple[str, str], ...]
    approvals: tuple[tuple[str, str], ...]
    manual: tuple[tuple[str, str], ...]
    hash: str = ""


def plan(runbook: Runbook, inputs: Values, state: State, policy: Policy, at: Moment | None = None) -> Plan:
    """As it would run if a person started it. Pure: nothing is recorded and nothing is done.

    `group`, `incident` and `fault` are read from `inputs`. `at`: now; without it, the newest time the state knows of.
    """
    now = _latest(state) if at is None else at
    given = dict(inputs)
    incident = str(given.get("incident") or "")
    fixed = starting_inputs(
        inputs,
        group=str(given.get("group") or ""),
        incident=incident,
        fault=str(given.get("fault") or ""),
        state=state,
        policy=policy,
    )
    run = Run(
        id="RUN-PLAN",
        runbook=runbook.name,
        revision=runbook.revision,
        state=RunState.RUNNING,
        incident=incident,
        group=str(dict(fixed).get("group") or ""),
        inputs=fixed,
        started_by="person",
    )
    known = names(run, state, policy)
    steps = tuple(_planned(path, step, known, run, state, policy, now) for path, step in walk(runbook))
    doing = [step for step in steps if step.runs is not Verdict.FALSE]
    made = Plan(
        runbook=runbook.name,
        revision=runbook.revision,
        title=runbook.title,
        summary=runbook.summary,
        clause=runbook.clause,
        inputs=tuple(item for item in fixed if item[1] not in (None, "")),
        missing=tuple(name for name in runbook.inputs if known.get(name) in (None, "")),
        steps=steps,
        expected_seconds=runbook.expected_seconds,
        longest_seconds=_longest(runbook, {step.path: step for step in steps}),
        disruptive=tuple(step.path for step in doing if step.disruptive),
        calls_at_risk=_calls_at_risk(doing, known, policy),
        fences=tuple(str(known["origin"]) for step in doing if step.does == FAILOVER and known.get("origin")),
        irreversible=tuple(
            (step.path, step.irreversible)
            for step in doing
            if step.irreversible and step.does not in ("", *(calls.OWN - {FAILOVER}))
        ),
        approvals=tuple((step.path, step.asks) for step in doing if step.kind is StepKind.APPROVE),
        manual=tuple((step.path, step.asks) for step in doing if step.kind is StepKind.MANUAL),
    )
    return replace(made, hash=hashlib.sha256(canonical(made).encode()).hexdigest())


def _planned(
    path: str, step: Step, known: Mapping[str, Value], run: Run, state: State, policy: Policy, now: Moment
) -> PlannedStep:
    parameters, unresolved = _resolved(step.call, known)
    asks = ""
    if step.approval is not None:
        asks = step.approval.role
    elif step.manual is not None:
        asks = step.manual.owner
    return PlannedStep(
        path=path,
        title=step.title,
        kind=step.kind,
        runs=Verdict.TRUE if step.when is None else step.when.evaluate(known),
        does=step.call.action if step.call is not None else "",
        parameters=tuple((name.removeprefix("with."), value) for name, value in calls.shown(parameters)),
        unresolved=unresolved,
        seconds=_seconds(step),
        disruptive=disruptive(step),
        drops_calls=step.drops_calls,
        undo=step.rollback.action if step.rollback is not None else "",
        irreversible=step.irreversible,
        asks=asks,
        refusals=_refusals(step, parameters, known, run, state, policy, now),
    )


def _resolved(call: ActionCall | None, known: Mapping[str, Value]) -> tuple[Values, tuple[str, ...]]:
    found: list[tuple[str, Value]] = []
    unresolved: list[str] = []
    for name, value in () if call is None else call.parameters:
        try:
            found.extend(resolve(((name, value),), known))
        except UnknownReference as error:
            found.append((name, value))
            unresolved.append(str(error))
    return tuple(found), tuple(dict.fromkeys(unresolved))


def _refusals(
    step: Step,
    parameters: Values,
    known: Mapping[str, Value],
    run: Run,
    state: State,
    policy: Policy,
    now: Moment,
) -> tuple[Refusal, ...]:
    """What the permit says now of a switch, or of a repair that drops calls."""
    group = str(dict(parameters).get("group") or run.group)
    switches = step.call is not None and step.call.action == FAILOVER
    if group not in policy.groups or not (switches or step.drops_calls):
        return ()
    verb: SwitchVerb | None = None
    target = ""
    if switches:
        word = dict(parameters).get("verb")
        verb = next((item for item in SwitchVerb if item == word), SwitchVerb.FAILOVER)
        target = str(dict(parameters).get("target") or known.get("target") or "")
    request = permit.Request(
        group=group, verb=verb, target=target, automatic=False, fault=str(known.get("fault") or "")
    )
    return permit.refusals(state, now, policy, request)


def _latest(state: State) -> Moment:
    """The newest time that the state knows of: a plan is made without a clock."""
    beats = [vantage.last_beat for vantage in state.vantages.values()]
    reads = [group.read_at for group in state.groups.values() if group.read_at is not None]
    walls = [run.started_wall for run in state.runs.values()]
    walls.extend(hold.since_wall for hold in state.holds.values())
    return Moment(mono=max([state.started_at, *beats, *reads]), wall=max(walls, default=0.0))


def _seconds(step: Step) -> float:
    """The longest a step can take without a person: every attempt to its timeout, and the pauses between them."""
    if step.approval is not None:
        return step.approval.expires
    if step.call is None:
        return 0.0
    if step.call.action == calls.WAIT:
        pause = dict(step.call.parameters).get("seconds")
        return float(pause) if isinstance(pause, (int, float)) else 0.0
    if step.call.action in (calls.NOTE, calls.PAGE):
        return 0.0
    attempt = step.call.timeout + (step.verify.timeout if step.verify is not None else 0.0)
    pauses = sum(step.retry.delay * step.retry.factor**number for number in range(step.retry.attempts - 1))
    return round(attempt * step.retry.attempts + pauses, 3)


def _longest(runbook: Runbook, planned: Mapping[str, PlannedStep]) -> float:
    """Without what is skipped; branches of a parallel step count as the longest of them."""
    total = 0.0
    for step in runbook.steps:
        if planned[step.name].runs is Verdict.FALSE:
            continue
        branches = [planned[f"{step.name}/{child.name}"].seconds for child in step.steps]
        total += max(branches) if branches else planned[step.name].seconds
    return round(total, 3)


def _calls_at_risk(steps: list[PlannedStep], known: Mapping[str, Value], policy: Policy) -> int | None:
    """A switch puts the old side's calls at risk, a repair those of its component. None: nothing says how many."""
    at_risk: dict[str, int] = {}
    for step in steps:
        if not step.disruptive:
            continue
        name = known.get("origin.component") if step.does == FAILOVER else known.get("component")
        component = policy.components.get(str(name))
        if component is None or not component.lines:
            return None
        at_risk[component.name] = component.lines
    return sum(at_risk.values())
