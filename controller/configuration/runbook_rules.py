"""What must hold between the parts of a runbook, whatever its actions are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from controller.configuration.documents import Document, Location
from controller.configuration.runbook_calls import HARMLESS
from controller.model.errors import Problem
from controller.model.runbooks import OnUnknown, Step, StepKind

FAILOVER = "failover"


def complain(document: Document, steps: Sequence[Step], problems: list[Problem]) -> None:
    """Append every rule that is broken, at the step that breaks it."""
    seen: set[str] = set()
    for path, step, in_parallel in _walk(steps, ("steps",), in_parallel=False):
        if step.name in seen:
            problems.append(document.problem((*path, "name"), f"a second step named {step.name}"))
        seen.add(step.name)
        for rule in _RULES:
            problems.extend(document.problem((*path, key), message) for key, message in rule(step))
        if in_parallel:
            problems.extend(document.problem((*path, key), message) for key, message in _beside_others(step))


Complaints = Iterator[tuple[str, str]]
"""(key of the step, what is wrong)."""


def _undo(step: Step) -> Complaints:
    """Everything that changes something says how it is undone, or that it can't be."""
    if step.kind is StepKind.ACTION and step.call is None:
        return  # says nothing of what it does, which is reported
    if step.kind in (StepKind.APPROVE, StepKind.PARALLEL):
        if step.rollback is not None:
            yield "rollback", "nothing to roll back in this step"
        return
    if step.rollback is not None and step.irreversible:
        yield "irreversible", "has a rollback and says it can't be undone"
    if step.rollback is None and not step.irreversible:
        yield "name", f"{step.name} needs a rollback, or irreversible with the reason why there is none"
    if step.rollback is not None and step.rollback.action == FAILOVER:
        yield "rollback", "a switch is never undone by another: that is the failback runbook"


def _unknown_outcome(step: Step) -> Complaints:
    if step.on_unknown is OnUnknown.REPEAT and not step.idempotent:
        yield "on_unknown", "only an idempotent step may be repeated when its outcome is unknown"
    if step.on_unknown is OnUnknown.VERIFY and step.verify is None:
        yield "on_unknown", "verify needs a verify call"


def _verify(step: Step) -> Complaints:
    if step.verify is not None and step.verify.action in (HARMLESS - {"probe"}) | {FAILOVER}:
        yield "verify", f"{step.verify.action} verifies nothing"


def _only_actions(step: Step) -> Complaints:
    if step.kind is StepKind.ACTION:
        return
    if step.verify is not None:
        yield "verify", "only an action can be verified"
    if step.retry.attempts > 1:
        yield "retry", "only an action can be tried again"
    if step.disruptive:
        yield "disruptive", "only an action can be disruptive"


def _harmless_things(step: Step) -> Complaints:
    if step.disruptive and step.call is not None and step.call.action in HARMLESS:
        yield "disruptive", f"{step.call.action} changes nothing"


def _parallel(step: Step) -> Complaints:
    if step.kind is StepKind.PARALLEL and len(step.steps) < 2:
        yield "parallel", "needs at least two steps"


def _beside_others(step: Step) -> Complaints:
    if step.disruptive:
        yield "name", f"{step.name} is disruptive and may not run in parallel"
    if step.kind in (StepKind.PARALLEL, StepKind.APPROVE):
        yield "name", f"{step.kind} may not stand within parallel"


_RULES: tuple[Callable[[Step], Complaints], ...] = (
    _undo,
    _unknown_outcome,
    _verify,
    _only_actions,
    _harmless_things,
    _parallel,
)


def _walk(
    steps: Sequence[Step], path: Location, *, in_parallel: bool
) -> Iterator[tuple[Location, Step, bool]]:
    for index, step in enumerate(steps):
        yield (*path, index), step, in_parallel
        yield from _walk(step.steps, (*path, index, "parallel"), in_parallel=True)
