"""step(state, event, policy) -> Decision: the stages of the one flow, in their order.

Each stage is a module with

    advance(state, event, policy) -> Decision    what this event means to this stage
    wake_at(state, policy) -> float | None       its earliest deadline, monotonic seconds

A stage hands on to later (and, for outcomes, earlier) stages by `Decision.events`; they are folded here, before the
commit, so that one event from outside is one commit with everything that follows from it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from controller.core import drills, retirement
from controller.core.diagnosis import faults, verdicts
from controller.core.draft import Draft
from controller.core.execution import runs
from controller.core.paging import escalation
from controller.core.paging.paging import superseded
from controller.core.response import incidents
from controller.core.switching import failover
from controller.model.commands import Command, Notify
from controller.model.events import Event, Operator
from controller.model.facts import Fact, FactKind
from controller.model.groups import Refusal
from controller.model.policy import Policy
from controller.model.state import Decision, State


class Stage(NamedTuple):
    name: str
    advance: Callable[[State, Event, Policy], Decision]
    wake_at: Callable[[State, Policy], float | None]


STAGES: tuple[Stage, ...] = (
    Stage("verdicts", verdicts.advance, verdicts.wake_at),
    Stage("faults", faults.advance, faults.wake_at),
    Stage("incidents", incidents.advance, incidents.wake_at),
    Stage("runs", runs.advance, runs.wake_at),
    Stage("failover", failover.advance, failover.wake_at),
    Stage("escalation", escalation.advance, escalation.wake_at),
    Stage("drills", drills.advance, drills.wake_at),
    Stage("retirement", retirement.advance, retirement.wake_at),
)

OBSERVING = STAGES[:2]
"""What a node does that follows another: it keeps verdicts and names faults, so that it is ready to lead."""

MOST_HANDOFFS = 20_000
"""A chain of hand-offs longer than this is a defect of a stage, never a legitimate storm."""


def step(state: State, event: Event, policy: Policy) -> Decision:
    """Fold one event through all stages, and whatever they hand to each other.

    Raises RuntimeError when stages hand events to each other without end.
    """
    recorded: list[Fact] = []
    commands: list[Command] = []
    queue: deque[Event] = deque([event])
    folded = 0
    while queue:
        folded += 1
        if folded > MOST_HANDOFFS:
            raise RuntimeError(f"stages hand events to each other without end: {queue[0]!r}")
        current = queue.popleft()
        if state.following and isinstance(current, Operator):
            recorded.extend(_not_leader(state, current, policy))
            continue
        for stage in OBSERVING if state.following else STAGES:
            decision = stage.advance(state, current, policy)
            state = decision.state
            recorded.extend(decision.facts)
            commands.extend(decision.commands)
            queue.extend(decision.events)
    return Decision(state=state, facts=tuple(recorded), commands=leaving(state, commands))


def committing(state: State) -> State:
    """The state a commit begins with: what was decided before it has left. Several events may be folded into it."""
    return replace(state, undispatched=frozenset()) if state.undispatched else state


def leaving(state: State, commands: Iterable[Command]) -> tuple[Command, ...]:
    """Those of a commit's commands that go out, once all its events are folded: a page may have made up for another."""
    return tuple(
        command for command in commands if not (isinstance(command, Notify) and superseded(state, command))
    )


def wake_at(state: State, policy: Policy) -> float | None:
    """The earliest deadline of any stage, monotonic seconds."""
    stages = OBSERVING if state.following else STAGES
    deadlines = [deadline for stage in stages if (deadline := stage.wake_at(state, policy)) is not None]
    return min(deadlines, default=None)


def _not_leader(state: State, event: Operator, policy: Policy) -> tuple[Fact, ...]:
    draft = Draft(state, event.at, policy)
    data = (("request", type(event).__name__), ("reasons", str(Refusal.NOT_LEADER)), ("leader", state.leader))
    draft.record(FactKind.REQUEST_REFUSED, state.node, data=data, actor=event.by)
    return tuple(draft.facts)
