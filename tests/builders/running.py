"""Runbooks, and one run stage driven by hand: events in, facts and commands out, every fold checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from immutables import Map

from controller.core.execution import runs
from controller.model.commands import RunAction, RunLadder
from controller.model.conditions import Condition
from controller.model.encoding import decode_aggregate, encode_aggregate
from controller.model.events import (
    ActionFinished,
    Event,
    LadderFinished,
    LeaseChanged,
    OperatorApproved,
    OperatorStartedRun,
    RunWanted,
    Started,
    SwitchEnded,
    SwitchWanted,
    TimerFired,
)
from controller.model.facts import Aggregate, Fact, FactKind, aggregate_key, retired
from controller.model.faults import FaultKind, Impact, Severity, Urgency, Verdict
from controller.model.groups import Arming, Group, Hold, Refusal, SwitchOutcome
from controller.model.health import Outcome, ProbeResult, RungKey
from controller.model.incidents import Incident, IncidentState, SeverityReason
from controller.model.moments import Moment, Value, Values
from controller.model.parameters import flatten
from controller.model.policy import (
    Component,
    ComponentKind,
    GroupPolicy,
    Person,
    Policy,
    RungPolicy,
    Side,
)
from controller.model.runbooks import (
    ActionCall,
    Approval,
    Manual,
    OnUnknown,
    Retry,
    Runbook,
    Step,
    StepKind,
    Text,
)
from controller.model.runs import ActionStatus, Run, StepRecord
from controller.model.state import Decision, State

GROUP = "calls"
WALL = 1_700_000_000.0


def text(words: str) -> Text:
    return Text(zh=words, en=words)


def call(action: str, timeout: float = 30.0, **parameters: Any) -> ActionCall:
    return ActionCall(action=action, parameters=flatten(parameters), timeout=timeout)


def act(
    name: str,
    action: str = "http",
    *,
    when: Condition | None = None,
    attempts: int = 1,
    delay: float = 2.0,
    verify: ActionCall | None = None,
    rollback: ActionCall | None = None,
    on_unknown: OnUnknown = OnUnknown.MANUAL,
    idempotent: bool = False,
    disruptive: bool = False,
    drops_calls: bool = False,
    on_failure: str = "stop",
    timeout: float = 30.0,
    **parameters: Any,
) -> Step:
    return Step(
        name=name,
        kind=StepKind.ACTION,
        title=text(name),
        call=call(action, timeout, **parameters),
        when=when,
        retry=Retry(attempts=attempts, delay=delay, factor=2.0),
        verify=verify,
        rollback=rollback,
        irreversible="" if rollback else "a test",
        on_unknown=on_unknown,
        idempotent=idempotent,
        disruptive=disruptive,
        drops_calls=drops_calls,
        on_failure=on_failure,
    )


def approve(name: str, *, role: str = "operator", expires: float = 600.0, default: bool = False) -> Step:
    approval = Approval(role=role, expires=expires, default=default)
    return Step(name=name, kind=StepKind.APPROVE, title=text(name), approval=approval)


def manual(name: str, *, owner: str = "duty", deadline: float = 900.0) -> Step:
    order = Manual(owner=owner, deadline=deadline, proof="a number")
    return Step(name=name, kind=StepKind.MANUAL, title=text(name), manual=order, irreversible="by hand")


def parallel(name: str, *steps: Step) -> Step:
    return Step(name=name, kind=StepKind.PARALLEL, title=text(name), steps=steps)


def runbook(
    *steps: Step, name: str = "repair", inputs: tuple[str, ...] = (), revision: str = "r1"
) -> Runbook:
    return Runbook(
        name=name, revision=revision, title=text(name), summary=text(name), steps=steps, inputs=inputs
    )


class When:
    """A condition as a fake: a fixed verdict on one variable's equality."""

    def __init__(self, variable: str, wanted: Value) -> None:
        self.source = f"{variable} == {wanted!r}"
        self.variables = (variable,)
        self._wanted = wanted

    def evaluate(self, values: Any) -> Verdict:
        value = values.get(self.variables[0])
        if value is None:
            return Verdict.UNKNOWN
        return Verdict.TRUE if value == self._wanted else Verdict.FALSE


def component(name: str, kind: ComponentKind, *rungs: str, group: str = "", side: str = "") -> Component:
    return Component(
        name=name,
        kind=kind,
        title=text(name),
        group=group,
        side=side,
        lines=10,
        ladder=tuple(
            RungPolicy(name=rung, probe="icmp", parameters=None, probed=rung != "hold") for rung in rungs
        ),
    )


COMPONENTS = (
    component("primary", ComponentKind.PLATFORM, "host", "sip", "call", group=GROUP, side="primary"),
    component("backup", ComponentKind.PLATFORM, "host", "sip", "call", group=GROUP, side="backup"),
    component("edge-1", ComponentKind.EDGE, "edge"),
    component("echo", ComponentKind.ECHO, "call"),
    component("trunk-a", ComponentKind.TRUNK, "sip", "call"),
    component("held", ComponentKind.OTHER, "sip", "hold"),
    component("trunk-b", ComponentKind.TRUNK, "sip", "call"),
    component("phone-7", ComponentKind.PHONE, "sip"),
    component("rtp-1", ComponentKind.OTHER, "call"),
    component("nightly", ComponentKind.BACKUP, "backup"),
    component("portal", ComponentKind.CERTIFICATE, "certificate"),
    component("records", ComponentKind.SECURITY, "scan"),
)


def policy(*books: Runbook, people: tuple[Person, ...] = ()) -> Policy:
    group = GroupPolicy(
        name=GROUP,
        title=text(GROUP),
        sides=(
            Side(name="primary", component="primary", destination="sip:10.0.0.1:5060"),
            Side(name="backup", component="backup", destination="sip:10.0.0.2:5060"),
        ),
        preferred="primary",
        driver="kamailio_dispatcher",
        driver_parameters=None,
        edges=("edge-1",),
        echo="echo",
    )
    return Policy(
        name="test",
        revision="p1",
        components=Map({item.name: item for item in COMPONENTS}),
        groups=Map({GROUP: group}),
        rules=(),
        domains={},
        severities=(),
        matrix={},
        runbooks=Map({book.name: book for book in books}),
        people=Map({person.name: person for person in people}),
    )


def incident(
    root: str = "primary", kind: FaultKind = FaultKind.DEVICE_DOWN, name: str = "INC-0001"
) -> Incident:
    return Incident(
        id=name,
        root=root,
        kind=kind,
        state=IncidentState.OPEN,
        severity=Severity.SEV3,
        reason=SeverityReason("test", Impact.FEW_CALLS, Urgency.HIGH),
        opened_wall=WALL,
    )


class Stage:
    """The run stage over one state. After every fold: folding `changed` of the facts gives the live runs (I11),
    every command was recorded by a fact of the same fold, and no number was given out unrecorded."""

    def __init__(self, *books: Runbook, people: tuple[Person, ...] = (), armed: bool = True) -> None:
        self.policy = policy(*books, people=people)
        self.now = Moment(mono=1000.0, wall=WALL)
        self.facts: list[Fact] = []
        self.commands: list[RunAction | RunLadder] = []
        self.events: list[Event] = []
        self.log: dict[str, Aggregate] = {}
        group = Group(
            name=GROUP, active="primary", epoch=7, armed=Arming(by="chief", wall=WALL) if armed else None
        )
        self.state = State(node="n1", groups=Map({GROUP: group}), lease_deadline=self.now.mono + 1e9)

    def send(self, event: Event) -> Decision:
        decision = runs.advance(self.state, event, self.policy)
        self.state = decision.state
        self.facts.extend(decision.facts)
        self.commands.extend(decision.commands)  # type: ignore[arg-type]
        self.events.extend(decision.events)
        for fact in decision.facts:
            for aggregate in fact.changed:
                self.log[aggregate_key(aggregate)] = aggregate
        self._check(decision)
        return decision

    def _check(self, decision: Decision) -> None:
        for run in self.state.runs.values():
            written = encode_aggregate(self.log[f"run/{run.id}"])
            assert written == encode_aggregate(run), "the live run is not what the log says"
        if self.state.counters.numbers:
            assert self.log["counters"] == self.state.counters
        recorded = {fact.get("command") for fact in decision.facts if fact.kind is FactKind.STEP_INTENDED}
        for command in decision.commands:
            assert command.id in recorded, "a command left that no fact names"  # type: ignore[union-attr]

    def after(self, seconds: float) -> Decision:
        """Time passes, and the timer fires."""
        self.now = Moment(self.now.mono + seconds, self.now.wall + seconds)
        return self.send(TimerFired(at=self.now))

    def wake(self) -> float | None:
        due = runs.wake_at(self.state, self.policy)
        return None if due is None else due - self.now.mono

    def start(self, runbook: str = "repair", *, by: str = "rule", **inputs: Value) -> Run:
        known = set(self.state.runs)
        given: Values = tuple(inputs.items())
        name = "INC-0001" if "INC-0001" in self.state.incidents else ""
        group = str(inputs.pop("group", ""))
        if by == "rule":
            fault = str(dict(given).get("fault") or "")
            self.send(
                RunWanted(
                    at=self.now,
                    runbook=runbook,
                    incident=name,
                    group=group,
                    fault=fault,
                    inputs=given,
                    drill=False,
                )
            )
        else:
            self.send(
                OperatorStartedRun(
                    at=self.now, runbook=runbook, inputs=given, by=by, group=group, incident=name
                )
            )
        return self.state.runs[next(iter(set(self.state.runs) - known))]

    def open_incident(self, root: str = "primary", kind: FaultKind = FaultKind.DEVICE_DOWN) -> None:
        found = incident(root, kind)
        self.state = replace(self.state, incidents=self.state.incidents.set(found.id, found))

    def set_group(self, **changes: Any) -> None:
        group = replace(self.state.groups[GROUP], **changes)
        self.state = replace(self.state, groups=self.state.groups.set(GROUP, group))

    def hold(self, scope: str, *, seconds: float = 3600.0, maintenance: bool = False) -> None:
        held = Hold(
            scope=scope,
            by="chief",
            reason="test",
            since_wall=self.now.wall,
            until_wall=self.now.wall + seconds,
            maintenance=maintenance,
        )
        self.state = replace(self.state, holds=self.state.holds.set(scope, held))

    def release(self, scope: str) -> None:
        self.state = replace(self.state, holds=self.state.holds.delete(scope))

    def lease(self, held: bool) -> None:
        deadline = self.now.mono + 1e9 if held else None
        self.state = replace(self.state, lease_deadline=deadline)
        self.send(LeaseChanged(at=self.now, deadline=deadline))

    @property
    def last(self) -> RunAction | RunLadder:
        return self.commands[-1]

    @property
    def run(self) -> Run:
        return next(iter(self.state.runs.values()))

    def step(self, path: str) -> StepRecord:
        found = self.run.step(path)
        assert found is not None, f"{path} is untouched"
        return found

    def answer(
        self, status: ActionStatus = ActionStatus.SUCCEEDED, message: str = "", *, data: Values = ()
    ) -> Decision:
        """Answer the last command."""
        return self.send(
            ActionFinished(at=self.now, command=self.last.id, status=status, message=message, data=data)
        )

    def probed(self, *ups: bool | None, values: Values = ()) -> Decision:
        """Answer the last ladder: one result a rung, the last verdict for all that follow."""
        assert isinstance(self.last, RunLadder)
        results = [
            result(key, ups[min(index, len(ups) - 1)], values) for index, key in enumerate(self.last.keys)
        ]
        return self.send(LadderFinished(at=self.now, command=self.last.id, results=tuple(results)))

    def switched(
        self, outcome: SwitchOutcome = SwitchOutcome.VERIFIED, refusals: tuple[Refusal, ...] = ()
    ) -> Decision:
        """Answer the last switch that was wanted."""
        wanted = next(event for event in reversed(self.events) if isinstance(event, SwitchWanted))
        return self.send(
            SwitchEnded(
                at=self.now,
                group=wanted.group,
                switch="SW-0001",
                run=wanted.run,
                step=wanted.step,
                outcome=outcome,
                refusals=refusals,
            )
        )

    def decide(self, step: str, /, granted: bool = True, *, by: str = "wang", **names: Any) -> Decision:
        """A person's approval of a step of the first run; `names` say something else than what waits."""
        run = self.run
        record = run.step(step)
        fields = {
            "run": run.id,
            "revision": run.revision,
            "step": step,
            "attempt": record.attempt if record is not None else 1,
        }
        return self.send(OperatorApproved(at=self.now, granted=granted, by=by, **{**fields, **names}))

    def crash(self, *, lease: bool = True) -> Decision:
        """The process dies and comes back with what the log holds; monotonic time starts anew."""
        kept = [decode_aggregate(encode_aggregate(item)) for item in self.log.values() if not retired(item)]
        self.now = Moment(50.0, self.now.wall + 20.0)
        self.state = replace(
            self.state,
            runs=Map({item.id: item for item in kept if isinstance(item, Run)}),
            lease_deadline=None,
        )
        decision = self.send(Started(at=self.now, node="n1", recovered=True))
        if lease:
            self.lease(True)
            self.after(0.6)
        return decision

    def kinds(self) -> Sequence[FactKind]:
        return [fact.kind for fact in self.facts]

    def fact(self, kind: FactKind) -> Fact:
        """The latest of its kind."""
        return next(fact for fact in reversed(self.facts) if fact.kind is kind)


def result(key: RungKey, up: bool | None, values: Values = ()) -> ProbeResult:
    outcome = {True: Outcome.UP, False: Outcome.NO_REPLY, None: Outcome.VOID}[up]
    return ProbeResult(key=key, sent_at=0.0, finished_at=0.1, outcome=outcome, up=up, values=values)
