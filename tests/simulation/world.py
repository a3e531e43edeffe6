"""One simulated world: a seed in, what was violated out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from controller.actions import processes
from controller.core.invariants import Budget, Healing, Violation, observed, violations
from controller.core.timeline import lines
from controller.model.commands import Command, Drive
from controller.model.facts import Entry, FactKind
from controller.model.groups import DriverVerb
from controller.model.health import HealthState
from controller.model.policy import Policy
from tests.simulation.actuating import Commands
from tests.simulation.coordination import NAME as ETCD
from tests.simulation.coordination import NOVELTY, Board, Store
from tests.simulation.disk import Disk
from tests.simulation.loop import Deadlock, Host, VirtualLoop
from tests.simulation.network import Network
from tests.simulation.node import Node, Surroundings
from tests.simulation.persons import Persons
from tests.simulation.plan import Happening, Kind, Plan
from tests.simulation.platform import GROUP, Platform
from tests.simulation.troubles import TROUBLES

NAMES = ("a", "b", "c")
STALE = 6.0
"""Seconds after which a broken side is known to be, by whatever it is probed."""

HEALED_WITHIN = 7.0
"""Seconds from the end of all troubles: an unanswered page repeats, a cooldown runs out, a person settles, a switch."""


@dataclass
class Report:
    """`digest`: of everything every node recorded; the same seed gives the same one."""

    seed: int
    plan: Plan
    violations: list[Violation] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    lost: int = 0
    calls: int = 0
    digest: str = ""
    timeline: list[str] = field(default_factory=list)


class World:
    def __init__(self, seed: int, plan: Plan, policy: Policy) -> None:
        self.seed, self.plan, self.policy = seed, plan, policy
        self.report = Report(seed, plan)
        self.loop = VirtualLoop(Random(f"{seed}/scheduler"))
        self.network = Network(self.loop, Random(f"{seed}/network"))
        self._random = Random(f"{seed}/troubles")
        clocks = Random(f"{seed}/clocks")
        rules = policy.groups[GROUP]
        self.platform = Platform(
            self.loop,
            Random(f"{seed}/callers"),
            {side.name: side.destination for side in rules.sides},
            rules.edges,
            rate=plan.rate,
        )
        self.store, board = None, None
        if plan.nodes > 1:
            clock = Host(ETCD, drift=clocks.uniform(-0.01, 0.01))
            self.store = Store(clock, Random(f"{seed}/etcd"), self.loop)
            board = Board(self.network, self.loop)
        self.persons = Persons(self)
        around = Surroundings(
            loop=self.loop,
            network=self.network,
            platform=self.platform,
            policy=policy,
            random=Random(f"{seed}/nodes"),
            store=self.store,
            board=board,
            left=self._left,
            noticed=self.noticed,
            paged=self.persons.paged,
            healed=self._taken_back,
        )
        self.nodes = [
            Node(
                name,
                around,
                Disk(Random(f"{seed}/disk/{name}")),
                offset=clocks.uniform(10.0, 10_000.0),
                drift=clocks.uniform(-0.005, 0.005),
                wall=clocks.uniform(-0.2, 0.2),
            )
            for name in NAMES[: plan.nodes]
        ]
        self.commands = Commands(self.network, self.platform, Random(f"{seed}/commands"))
        self._undo: dict[int, Callable[[], None]] = {}
        self.healed_at = plan.heals
        self.marks: tuple[str, int, int] | None = None
        """The node whose switch was the first, and its steps when that began and when it was over."""

    def busy_side(self) -> str:
        return self.platform.taking[0] if self.platform.taking else "primary"

    def restart(self, node: Node) -> None:
        if not node.running:
            node.start()

    def run(self) -> Report:
        """Raises nothing that a node does: it is a violation."""
        before = processes.run
        processes.run = self.commands.run  # type: ignore[assignment]
        collecting = gc.isenabled()
        gc.disable()
        try:
            for number, node in enumerate(self.nodes):
                self.loop.after(0.05 * number, node.start)
            self.persons.begin()
            for trouble in self.plan.troubles:
                self.loop.at(trouble.at, self._befall, trouble)
            for act in self.plan.acts:
                self.loop.at(act.at, self._act, act)
            self.loop.at(self.plan.heals, self._heal)
            try:
                self.loop.run(self.plan.ends)
            except Deadlock as stopped:
                self._found("SIM", str(stopped))
            for error in self.loop.errors:
                self._found("SIM", error)
            self._judge()
        finally:
            processes.run = before
            self._close()
            if collecting:
                gc.enable()
        return self.report

    def crash_before(self, name: str, step: int, back_after: float) -> None:
        """The first incarnation of this node dies before this step of it."""
        node = next(node for node in self.nodes if node.name == name)

        def crash() -> None:
            node.crash()
            self._say(f"crash: {name} before its step {step}")
            self.loop.after(back_after, self.restart, node)

        node.crash_at, node.crashes = step, crash

    def _left(self, node: Node, command: Command) -> None:
        """A command leaves a node: what must be true of the world at that instant."""
        if not isinstance(command, Drive) or not command.disruptive:
            return
        if self.store is not None:
            record = self.store.records.get(f"group/{command.group}")
            if record is None or f'"{command.id}"'.encode() not in record.value:
                self._found("I2", f"{node.name}: {command.id} left, and the store does not have it")
        if command.verb is DriverVerb.FENCE and command.switch:
            switch = node.state.groups[command.group].switch
            if switch is not None and switch.automatic and switch.id == command.switch:
                target = self.platform.sides[switch.target]
                since = self.loop.now - target.broken_since if not target.works else 0.0
                if since > STALE:
                    self._found(
                        "I6", f"{node.name}: {switch.id} goes to {target.name}, broken for {since:.1f} s"
                    )

    def noticed(self, node: Node, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind == FactKind.SWITCH_STARTED and self.marks is None:
                self.marks = (node.name, node.host.steps, 0)
            elif entry.kind == FactKind.SWITCH_ENDED and self.marks is not None and self.marks[2] == 0:
                self.marks = (self.marks[0], self.marks[1], node.host.steps)

    def _act(self, act: Happening) -> None:
        self.report.fired[act.name] += 1
        self._say(f"eve: {act.name}")
        self.persons.act(act.name, act.lasts)

    def _befall(self, trouble: Happening) -> None:
        undo = TROUBLES[trouble.name](self, self._random)
        if undo is None:
            return
        self.report.fired[trouble.name] += 1
        self._say(f"trouble: {trouble.name} for {trouble.lasts:g} s")
        key = id(trouble)
        self._undo[key] = undo

        def end() -> None:
            if self._undo.pop(key, None) is not None:
                self._say(f"over: {trouble.name}")
                undo()

        self.loop.after(trouble.lasts, end)

    def _heal(self) -> None:
        """Everything that is still wrong is put right, in the order in which it went wrong."""
        undos, self._undo = list(self._undo.values()), {}
        for undo in undos:
            undo()
        for node in self.nodes:
            self.restart(node)
        self._say("everything is healed")
        self.persons.settle()

    def _taken_back(self) -> None:
        """A drill's fault is out: that may be after everything else was put right."""
        self._say("the drill's fault is out")
        self.healed_at = max(self.healed_at, self.loop.now)

    def _say(self, text: str) -> None:
        self.report.timeline.append(f"{self.loop.now:9.3f}  --  {text}")

    def _found(self, invariant: str, message: str) -> None:
        self.report.violations.append(Violation(sequence=0, invariant=invariant, message=message))

    def _judge(self) -> None:
        report = self.report
        rules = self.policy.groups[GROUP]
        budgets = {GROUP: Budget(switches=rules.switches_per_window, window=rules.window)}
        records = [node.disk.platter.entries for node in self.nodes]
        for node in self.nodes:
            entries = node.disk.platter.entries
            if node.defect:
                self._found("SIM", f"{node.name}: {node.defect}")
            if node.disk.acknowledged > len(entries):
                self._found(
                    "I9",
                    f"{node.name} lost what was acknowledged: {len(entries)} of {node.disk.acknowledged}",
                )
            live = None
            if node.running and node.engine.waiting == 0 and node.engine.snapshot.sequence == len(entries):
                live = node.live()
            for each in violations(entries, live=live, budgets=budgets, dispatched=node.dispatched):
                report.violations.append(
                    Violation(
                        sequence=each.sequence,
                        invariant=each.invariant,
                        message=f"{node.name}: {each.message}",
                    )
                )
            report.facts.update(entry.kind for entry in entries)
        for side, since in self.platform.injected.items():
            self._found("I10", f"what a drill did to {side} at {since:.3f} s was never taken back")
        if self.store is not None:
            for key in self.store.forgotten:
                self._found("SIM", f"what a newer version had put into {key} is gone")
            if self.store.newer and NOVELTY not in self.store.records:
                self._found("SIM", "what only a newer version knows is gone from the store")
        healing = None
        if self.healed_at + HEALED_WITHIN <= self.plan.ends:
            working = frozenset(name for name, side in self.platform.sides.items() if side.works)
            healing = Healing(at=self.healed_at, within=HEALED_WITHIN, until=self.plan.ends, working=working)
        report.violations += observed(self.platform.observations, records, healing=healing)
        if self.plan.kind is Kind.QUIET:
            self._judge_quiet(records)
        report.steps = self.loop.steps
        report.lost, report.calls = self.platform.lost, self.platform.calls
        head = hashlib.sha256()
        for entries in records:
            head.update((entries[-1].digest if entries else "-").encode())
        head.update(repr(self.platform.observations[-1]).encode())
        report.digest = head.hexdigest()[:16]

    def _judge_quiet(self, records: Sequence[Sequence[Entry]]) -> None:
        """Nothing is switched while the platform works; and where fewer than the quorum were ever cut off from a side,
        nobody says that it is down."""
        if self.report.facts[FactKind.SWITCH_STARTED]:
            self._found("I13", "a working platform was switched")
        cuts = sum(count for name, count in self.report.fired.items() if "cut from" in name)
        if cuts >= self.policy.groups[GROUP].vantages:
            return
        changes = (each for entries in records for each in entries if each.kind == FactKind.HEALTH_CHANGED)
        for line in lines(changes):
            if line.get("current") == HealthState.DOWN and line.subject in self.platform.sides:
                self._found(
                    "I13", f"{line.node}: {line.subject} is found down by {line.get('rung')}, and it works"
                )

    def _close(self) -> None:
        """Coroutines that never ended are ended by the collector: they are nobody's any more."""
        self.loop.close()
        hook = sys.unraisablehook
        sys.unraisablehook = lambda unraisable: None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that a killed node never began
                for task in asyncio.all_tasks(self.loop):
                    # One by one, while all that they refer to is still there.
                    with contextlib.suppress(RuntimeError):
                        task.get_coro().close()  # type: ignore[union-attr]
                for node in self.nodes:
                    node.__dict__.pop("engine", None)
                gc.collect()
        finally:
            sys.unraisablehook = hook
