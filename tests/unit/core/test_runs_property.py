"""No run state is a trap: whatever the world answers, a run ends or waits for a person, and nothing leaves unrecorded."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.model.commands import RunAction, RunLadder
from controller.model.events import (
    ActionFinished,
    LadderFinished,
    OperatorCancelledRun,
    OperatorDidManualStep,
    SwitchEnded,
    SwitchWanted,
)
from controller.model.facts import FactKind
from controller.model.groups import SwitchOutcome
from controller.model.runbooks import OnUnknown, Runbook, Step
from controller.model.runs import ActionStatus, RunState, StepState
from tests.builders.running import (
    GROUP,
    Stage,
    When,
    act,
    approve,
    call,
    manual,
    parallel,
    result,
    runbook,
)

LOOK = call("probe", component="echo", timeout=3.0)


@st.composite
def actions(draw: st.DrawFn, name: str, *, beside_others: bool) -> Step:
    own = draw(st.sampled_from(["http", "http", "command", "probe", "wait", "note", "page"]))
    parameters: dict[str, Any] = {
        "probe": {"component": "echo"},
        "wait": {"seconds": 7},
        "http": {"url": name},
        "command": {"command": "restart"},
    }.get(own, {"zh": "文", "en": "text"})
    changes = own in ("http", "command")
    disruptive = changes and not beside_others and draw(st.booleans())
    return act(
        name,
        own,
        when=draw(st.sampled_from([None, None, None, When("component", "x"), When("nothing", 1)])),
        attempts=draw(st.integers(1, 3)),
        verify=draw(st.sampled_from([None, LOOK])) if changes else None,
        rollback=draw(
            st.sampled_from(
                [None, call("http", url=f"-{name}"), call("http", url=f"-{name}"), call("note", en="undone")]
            )
        )
        if changes
        else None,
        on_unknown=draw(st.sampled_from(list(OnUnknown))),
        idempotent=draw(st.booleans()),
        disruptive=disruptive,
        drops_calls=disruptive and draw(st.booleans()),
        on_failure=draw(st.sampled_from(["stop", "stop", "continue"])),
        timeout=5.0,
        **parameters,
    )


@st.composite
def books(draw: st.DrawFn) -> Runbook:
    steps: list[Step] = []
    for index in range(draw(st.integers(2, 6))):
        match draw(st.sampled_from(["act", "act", "act", "approve", "manual", "parallel", "failover"])):
            case "act":
                steps.append(draw(actions(f"s{index}", beside_others=False)))
            case "approve":
                steps.append(approve(f"s{index}", expires=50.0, default=draw(st.booleans())))
            case "manual":
                steps.append(manual(f"s{index}", deadline=60.0))
            case "failover":
                steps.append(act(f"s{index}", "failover", attempts=draw(st.integers(1, 2))))
            case _:
                branches = [draw(actions(f"s{index}{side}", beside_others=True)) for side in "ab"]
                if draw(st.booleans()):
                    branches.append(manual(f"s{index}c"))
                steps.append(parallel(f"s{index}", *branches))
    return runbook(*steps)


STATUSES = [*([ActionStatus.SUCCEEDED] * 5), ActionStatus.FAILED, ActionStatus.REFUSED, ActionStatus.UNKNOWN]

WORLD = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *(["answer"] * 8),
                *(["time"] * 4),
                "person",
                "person",
                "person",
                "crash",
                "hold",
                "release",
                "lease",
                "cancel",
                "disarm",
            ]
        ),
        st.integers(0, 1000),
    ),
    max_size=40,
)


class World:
    """Answers a stage by numbers drawn beforehand, and afterwards, kindly, until nothing is left to answer."""

    def __init__(self, book: Runbook) -> None:
        self.stage = Stage(book)
        self.stage.open_incident()
        self.answered: set[str] = set()
        self.stage.start(group=GROUP, component="primary")

    @property
    def live(self) -> bool:
        return self.stage.run.live

    def waiting(self) -> list[RunAction | RunLadder]:
        """Commands whose step still waits for them."""
        wanted = {record.command for record in self.stage.run.steps if record.command}
        return [item for item in self.stage.commands if item.id in wanted and item.id not in self.answered]

    def move(self, what: str, number: int) -> None:
        stage = self.stage
        match what:
            case "answer":
                self.answer(number)
            case "time":
                stage.after([0.6, 2.5, 8.0, 70.0][number % 4])
            case "person":
                self.person(number)
            case "crash":
                stage.crash(lease=number % 3 > 0)
            case "hold":
                stage.hold(["*", GROUP, "primary"][number % 3], maintenance=number % 2 == 0)
            case "release":
                for scope in tuple(stage.state.holds):
                    stage.release(scope)
            case "lease":
                stage.lease(number % 2 == 0)
            case "cancel":
                cancelled = OperatorCancelledRun(at=stage.now, run=stage.run.id, by="wang", reason="x")
                stage.send(cancelled)
            case "disarm":
                stage.set_group(armed=None)

    def answer(self, number: int) -> None:
        stage, waiting = self.stage, self.waiting()
        switching = [record for record in stage.run.steps if self.switches(record.path)]
        if waiting:
            command = waiting[number % len(waiting)]
            self.answered.add(command.id)
            if isinstance(command, RunLadder):
                up = [True, True, True, False, None][number // 7 % 5]
                results = tuple(result(key, up) for key in command.keys) if number % 5 else ()
                stage.send(LadderFinished(at=stage.now, command=command.id, results=results))
            else:
                status = STATUSES[number // 7 % len(STATUSES)]
                stage.send(ActionFinished(at=stage.now, command=command.id, status=status, message="m"))
        elif switching:
            outcome = list(SwitchOutcome)[number % len(SwitchOutcome)]
            stage.send(
                SwitchEnded(
                    at=stage.now,
                    group=GROUP,
                    switch="SW-1",
                    run=stage.run.id,
                    step=switching[0].path,
                    outcome=outcome,
                )
            )

    def switches(self, path: str) -> bool:
        record = self.stage.run.step(path)
        if record is None or record.state is not StepState.INTENDED:
            return False
        return any(isinstance(event, SwitchWanted) and event.step == path for event in self.stage.events)

    def person(self, number: int) -> None:
        stage = self.stage
        asked = [record for record in stage.run.steps if record.state is StepState.AWAITING_PERSON]
        if not asked:
            return
        record = asked[number % len(asked)]
        if number % 3:
            stage.decide(record.path, granted=number % 2 == 0)
        else:
            did = OperatorDidManualStep(
                at=stage.now, run=stage.run.id, step=record.path, by="wang", proof="p"
            )
            stage.send(did)

    def settle(self) -> None:
        """The world is healthy again: the lease is held, no hold stands, commands and people answer."""
        stage = self.stage
        self.move("release", 0)
        stage.lease(True)
        for turn in range(300):
            if not self.live:
                return
            if self.waiting() or any(self.switches(record.path) for record in stage.run.steps):
                self.answer(35 * turn)  # succeeded, up or verified
            elif any(record.state is StepState.AWAITING_PERSON for record in stage.run.steps):
                self.person(2 * turn)
            else:
                due = stage.wake()
                assert due is not None, f"a trap: {stage.run}"
                stage.after(max(due, 0.0) + 0.001)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(books(), WORLD)
def test_a_run_ends_or_waits_for_a_person(book: Runbook, world: list[tuple[str, int]]) -> None:
    played = World(book)
    for what, number in world:
        if not played.live:
            break
        played.move(what, number)
        run = played.stage.run
        waits = any(record.state is StepState.AWAITING_PERSON for record in run.steps)
        assert not run.live or waits or played.stage.wake() is not None, f"nothing will ever move: {run}"
    played.settle()
    run = played.stage.run
    assert not run.live, f"a healthy world does not end it: {run}"
    ended(played.stage)


def ended(stage: Stage) -> None:
    run = stage.run
    finished = [fact for fact in stage.facts if fact.kind is FactKind.RUN_FINISHED]
    assert len(finished) == 1, "a run ends once"
    assert stage.wake() is None, "a run that has ended keeps no deadline"
    ids = [command.id for command in stage.commands]
    assert len(ids) == len(set(ids)), "a command is sent once"
    live = {StepState.INTENDED, StepState.VERIFYING, StepState.RETRYING, StepState.AWAITING_PERSON}
    if run.state is not RunState.NEEDS_PERSON:
        assert not {record.state for record in run.steps} & live, f"ended with a step under way: {run}"
    rollbacks = [
        fact.get("step")
        for fact in stage.facts
        if fact.kind is FactKind.STEP_FINISHED and fact.get("state") == str(StepState.ROLLED_BACK)
    ]
    orders = [record.order for step in rollbacks if (record := run.step(str(step))) is not None]
    assert orders == sorted(orders, reverse=True), "undone in another than reverse order"
    if run.state is RunState.SUCCEEDED:
        assert not rollbacks
