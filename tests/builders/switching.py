"""The failover stage against the fake edges, one event at a time, with every promise checked on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from controller.core.switching import failover
from controller.engine.recovery import restore
from controller.model.commands import Command, Drive, RunLadder
from controller.model.encoding import decode_aggregate, encode_aggregate
from controller.model.errors import ActionError, ActionRefused, ActionUnknown
from controller.model.events import (
    ActionFinished,
    Event,
    LadderFinished,
    LeaseChanged,
    OperatorRequestedSwitch,
    Started,
    SwitchEnded,
    SwitchWanted,
    TimerFired,
)
from controller.model.facts import Aggregate, Counters, Fact, FactKind, aggregate_key, retired
from controller.model.faults import FaultKind
from controller.model.groups import DriverVerb, Group, Phase, Refusal, SwitchVerb
from controller.model.health import Outcome, ProbeResult
from controller.model.moments import Moment
from controller.model.policy import Policy
from controller.model.runs import ActionStatus
from controller.model.state import State
from tests.builders.driving import Edges, Mishap, suffer
from tests.builders.platform import GROUP, START, permitted

SILENT = "silent"
"""A command whose answer never comes."""

AT_REST = (Phase.IDLE, Phase.NEEDS_PERSON)


def good_call(answered_by: str, **values: object) -> ProbeResult:
    seen = {"side": answered_by, "one_way": "", "codec": "PCMA", "mos": 4.3} | values
    return ProbeResult(
        key=None, sent_at=0.0, finished_at=0.1, outcome=Outcome.UP, up=True, values=tuple(seen.items())
    )


def wanted(**changes: object) -> SwitchWanted:
    event = SwitchWanted(
        at=START,
        group=GROUP,
        verb=SwitchVerb.FAILOVER,
        target="backup",
        run="RUN-0001",
        step="switch",
        incident="INC-0001",
        fault=str(FaultKind.PLATFORM_HUNG),
        by="rule",
        automatic=True,
        drill=False,
    )
    return replace(event, **changes)


def requested(verb: SwitchVerb, target: str = "", *overrides: Refusal) -> OperatorRequestedSwitch:
    return OperatorRequestedSwitch(
        at=START, group=GROUP, verb=verb, target=target, by="ann", reason="asked", overrides=overrides
    )


class Rig:
    """`mishap` decides what goes wrong with each command; `call` what a test call sees. Time moves only by `wait`."""

    def __init__(self, policy: Policy, state: State | None = None, *, edges: Edges | None = None) -> None:
        self.policy = policy
        self.state = permitted(policy) if state is None else state
        self.edges = Edges.of("edge1", "edge2", epoch=1) if edges is None else edges
        self.at = START
        self.mishap: Callable[[Command], Mishap | str] = lambda command: Mishap.NONE
        self.call: Callable[[], tuple[ProbeResult, ...]] = self._served
        self.waiting: deque[Command] = deque()
        self.facts: list[Fact] = []
        self.commands: list[Command] = []
        self.ended: list[SwitchEnded] = []
        self.events: list[object] = []
        self.broken: list[str] = []
        self._durable: dict[str, str] = {}
        self._unread: DriverVerb | None = None
        self._epoch = 0
        for aggregate in (*self.state.groups.values(), *self.state.faults.values(), self.state.counters):
            self._durable[aggregate_key(aggregate)] = encode_aggregate(aggregate)

    @property
    def group(self) -> Group:
        return self.state.groups[GROUP]

    @property
    def verbs(self) -> list[str]:
        """What was commanded within switches and upkeep, in order."""
        return [
            str(command.verb) if isinstance(command, Drive) else "calls"
            for command in self.commands
            if not command.id.startswith("READ-")
        ]

    def kinds(self) -> list[FactKind]:
        return [fact.kind for fact in self.facts]

    def send(self, event: Event) -> None:
        """Fold one event, check the decision, and queue its commands."""
        event = replace(event, at=self.at)
        decision = failover.advance(self.state, event, self.policy)
        self.state = decision.state
        self.facts.extend(decision.facts)
        self._check(decision.facts, decision.commands)
        self.commands.extend(decision.commands)
        self.waiting.extend(decision.commands)
        for handed in decision.events:
            self.events.append(handed)
            if isinstance(handed, SwitchEnded):
                self.ended.append(handed)

    def answer(self) -> None:
        """Carry out the oldest command and bring back its outcome."""
        command = self.waiting.popleft()
        mishap = self.mishap(command)
        if mishap == SILENT:
            if isinstance(command, Drive):
                self._unread = command.verb
            return
        if isinstance(command, RunLadder):
            results = self.call() if mishap is Mishap.NONE else ()
            self.send(LadderFinished(at=self.at, command=command.id, results=results))
            return
        assert isinstance(command, Drive)
        status, message, data = ActionStatus.SUCCEEDED, "", ()
        try:
            data = suffer(self.edges, command, Mishap(mishap))
        except ActionRefused as error:
            status, message = ActionStatus.REFUSED, str(error)
        except ActionUnknown as error:
            status, message = ActionStatus.UNKNOWN, str(error)
        except ActionError as error:
            status, message = ActionStatus.FAILED, str(error)
        self.broken.extend(self.edges.violations)
        self.edges.violations.clear()
        if command.id.startswith("READ-"):
            if self._unread is DriverVerb.REASSERT and status is ActionStatus.SUCCEEDED:
                self._unread = None
        elif status is ActionStatus.UNKNOWN:
            self._unread = command.verb
        elif command.verb in (DriverVerb.READ_BACK, DriverVerb.CONFIRM_FENCE):
            self._unread = None
        self.send(ActionFinished(at=self.at, command=command.id, status=status, message=message, data=data))

    def run(self, limit: int = 400) -> None:
        """Answer and let time pass until the group is at rest."""
        for _ in range(limit):
            if self.waiting:
                self.answer()
            elif self.group.switch is None and self.group.upkeep is None:
                return
            else:
                self.wait_for_timer()
        raise AssertionError(f"still {self.group.phase} after {limit} steps: {self.group.switch}")

    def wait_for_timer(self) -> None:
        due = failover.wake_at(self.state, self.policy)
        assert due is not None, f"nothing would ever wake {self.group}"
        self.wait(max(0.0, due - self.at.mono))

    def wait(self, seconds: float) -> None:
        self.at = Moment(self.at.mono + seconds, self.at.wall + seconds)
        self.send(TimerFired(at=self.at))

    def lease(self, held: bool) -> None:
        """As the engine and the first stage have it: the state's deadline, then the event."""
        deadline = self.at.mono + 1_000_000.0 if held else None
        self.state = replace(self.state, lease_deadline=deadline)
        self.send(LeaseChanged(at=self.at, deadline=deadline))

    def crash(self, *, lease: bool = True) -> None:
        """Power cut: commands in flight are lost (done or not), and only what was recorded comes back."""
        if self.waiting and isinstance(self.waiting[0], Drive):
            self._unread = self.waiting[0].verb
        self.waiting.clear()
        kept = permitted(self.policy, self.at)
        recovered = [aggregate for text in self._durable.values() if (aggregate := decode_aggregate(text))]
        restored = restore("test", recovered, self.policy, self.at)
        self.state = replace(
            restored, vantages=kept.vantages, rungs=kept.rungs, measurements=kept.measurements
        )
        self.send(Started(at=self.at, node="test", recovered=True))
        if lease:
            self.lease(True)

    def _served(self) -> tuple[ProbeResult, ...]:
        """A call through the edges is answered by the side all of them send it to."""
        active = {tuple(edge.active) for edge in self.edges.edges.values() if edge.up}
        side = active.pop()[0] if len(active) == 1 and len(next(iter(active))) == 1 else ""
        return (good_call(side, one_way="both") if side in self.edges.fenced else good_call(side),)

    def _check(self, facts: tuple[Fact, ...], commands: tuple[Command, ...]) -> None:
        epochs = {name: group.epoch for name, group in self.state.groups.items()}
        for fact in facts:
            for aggregate in fact.changed:
                if isinstance(aggregate, Group) and aggregate.epoch < self._epoch:
                    self.broken.append("an epoch went back")
                self._keep(aggregate)
        self._epoch = max(epochs.values())
        for live in (*self.state.groups.values(), *self.state.holds.values(), self.state.counters):
            if self._durable.get(aggregate_key(live), "") != encode_aggregate(live) and live != Counters():
                self.broken.append(f"the log does not give the live {aggregate_key(live)}")
        intended = {fact.get("command") for fact in facts if fact.kind is FactKind.SWITCH_INTENDED}
        for command in commands:
            if command.id.startswith("READ-"):
                continue
            if command.id not in intended:
                self.broken.append(f"{command.id} left without a recorded intent")
            if not isinstance(command, Drive):
                continue
            if command.disruptive and (
                self.state.lease_deadline is None or self.at.mono < self.state.gap_until
            ):
                self.broken.append(f"{command.verb} left without leadership")
            if self._unread is command.verb and command.verb not in (
                DriverVerb.READ_BACK,
                DriverVerb.CONFIRM_FENCE,
                DriverVerb.PRECHECK,
            ):
                self.broken.append(f"{command.verb} was repeated before its outcome was read back")

    def _keep(self, aggregate: Aggregate) -> None:
        if retired(aggregate):
            self._durable.pop(aggregate_key(aggregate), None)
        else:
            self._durable[aggregate_key(aggregate)] = encode_aggregate(aggregate)
