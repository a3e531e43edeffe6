"""Whether a step of a run may act now; asked again before every attempt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from controller.core.execution.position import in_flight, live_runs, step_at
from controller.core.switching import permit
from controller.model.groups import Refusal
from controller.model.moments import Moment
from controller.model.policy import Policy
from controller.model.runbooks import Step
from controller.model.runs import Run
from controller.model.state import State

FAILOVER = "failover"

BY_RULE = "rule"
"""`Run.started_by` of a run that nobody asked for."""


class Leave(Enum):
    GO = auto()
    WAIT = auto()  # what stands in the way passes
    SHADOW = auto()  # automation was not armed: record what would be done
    REFUSED = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Clearance:
    leave: Leave
    reasons: tuple[Refusal, ...] = ()

    @property
    def words(self) -> str:
        return ",".join(self.reasons)


_GO = Clearance(leave=Leave.GO)


def disruptive(step: Step) -> bool:
    return step.disruptive or step.drops_calls or (step.call is not None and step.call.action == FAILOVER)


def group_of(policy: Policy, run: Run) -> str:
    """The group that the run acts on: its own, or the one its component belongs to."""
    if run.group:
        return run.group
    component = policy.components.get(str(dict(run.inputs).get("component")))
    return component.group if component is not None else ""


def clearance(state: State, at: Moment, policy: Policy, run: Run, step: Step) -> Clearance:
    """Whether an attempt at `step` may start.

    Leadership and the timer gap concern every step, a hold every disruptive one, arming what a rule started. A step
    that drops the calls of a group's active side needs the same permit as a switch. A fenced side is let back in by a
    person alone: a restart by rule could do it unasked. `failover` is judged by the failover stage, which names every
    refusal.
    """
    waits = _not_leading(state, at)
    if waits or not disruptive(step):
        return Clearance(leave=Leave.WAIT, reasons=waits) if waits else _GO
    waits = _held(state, at, policy, run)
    if waits:
        return Clearance(leave=Leave.WAIT, reasons=waits)
    if step.call is not None and step.call.action == FAILOVER:
        return _GO
    name = group_of(policy, run)
    group = state.groups.get(name)
    if group is None:
        return _GO
    automatic = run.started_by == BY_RULE
    if automatic and group.armed is None:
        return Clearance(leave=Leave.SHADOW, reasons=(Refusal.NOT_ARMED,))
    if (group.switch is not None and group.switch.run != run.id) or _another_acts(state, policy, run, name):
        return Clearance(leave=Leave.WAIT, reasons=(Refusal.RUN_IN_PROGRESS,))
    if automatic and _on_fenced_side(policy, run, name, group.fenced):
        return Clearance(leave=Leave.REFUSED, reasons=(Refusal.SIDE_FENCED,))
    if step.drops_calls and _on_active_side(policy, run, name, group.active):
        fault = str(dict(run.inputs).get("fault") or "")
        request = permit.Request(group=name, verb=None, automatic=automatic, fault=fault, run=run.id)
        refusals = permit.refusals(state, at, policy, request)
        if refusals:
            return Clearance(leave=Leave.REFUSED, reasons=refusals)
    return _GO


def undoing(state: State, at: Moment, policy: Policy, run: Run, step: Step) -> Clearance:
    """Whether the rollback of `step` may start: a hold means that somebody has their hands there."""
    waits = _not_leading(state, at) or (_held(state, at, policy, run) if disruptive(step) else ())
    return Clearance(leave=Leave.WAIT, reasons=waits) if waits else _GO


def _not_leading(state: State, at: Moment) -> tuple[Refusal, ...]:
    if not permit.leads(state, at):
        return (Refusal.NO_LEASE,)
    return (Refusal.TIMER_GAP,) if at.mono < state.gap_until else ()


def _held(state: State, at: Moment, policy: Policy, run: Run) -> tuple[Refusal, ...]:
    """A hold over everything, over the group or a part of it, or over a component that the run is about."""
    scopes = {"*", run.group, group_of(policy, run)}
    scopes.update(value for _, value in run.inputs if isinstance(value, str) and value in policy.components)
    incident = state.incidents.get(run.incident)
    if incident is not None:
        scopes.add(incident.root)
    rules = policy.groups.get(group_of(policy, run))
    if rules is not None:
        scopes.update(rules.edges)
        scopes.update(side.component for side in rules.sides)
    over = frozenset(scopes - {""})
    reasons = []
    if permit.holds_over(state, at, over, maintenance=False):
        reasons.append(Refusal.ON_HOLD)
    if permit.holds_over(state, at, over, maintenance=True):
        reasons.append(Refusal.MAINTENANCE)
    return tuple(reasons)


def _another_acts(state: State, policy: Policy, run: Run, group: str) -> bool:
    """Another run has a disruptive step of the same group under way."""
    for other in live_runs(state):
        if other.id == run.id or group_of(policy, other) != group:
            continue
        runbook = policy.runbooks.get(other.runbook)
        for record in other.steps:
            step = None if runbook is None else step_at(runbook, record.path)
            if in_flight(record) and step is not None and disruptive(step):
                return True
    return False


def _on_active_side(policy: Policy, run: Run, group: str, active: str) -> bool:
    """A step drops calls where calls are. What can't be placed on the other side is taken for the active one."""
    component = str(dict(run.inputs).get("component") or "")
    rules = policy.groups[group]
    return all(side.component != component or side.name == active for side in rules.sides)


def _on_fenced_side(policy: Policy, run: Run, group: str, fenced: tuple[str, ...]) -> bool:
    component = str(dict(run.inputs).get("component") or "")
    return any(side.component == component and side.name in fenced for side in policy.groups[group].sides)
