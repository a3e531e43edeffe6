"""Each safeguard taken away, by name. A simulation that can't tell is no proof: without any of these it must fail.

Those of a held address are in test_holding.py. "The archive is read for decisions" has no ablation because there is nothing
to take away: the engine has no archive, and tests/architecture/test_imports.py refuses it one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from controller.actions.kamailio_dispatcher.driver import KamailioDispatcher
from controller.core.diagnosis import diagnosing, vantages
from controller.core.switching import permit, phases, requests
from controller.engine import replication
from controller.engine.loop import Engine
from controller.model.encoding import shared_aggregate
from controller.model.groups import Refusal
from controller.ports import ActionOutcome
from tests.simulation import instruments
from tests.simulation.disk import Disk, SimulatedJournal
from tests.simulation.plan import Happening, Kind, Plan
from tests.simulation.platform import EdgeModel, Platform


class Ablation(NamedTuple):
    """`invariants`: at least one of these must be seen broken within `seeds` seeds of these `kinds`, or of this one plan
    where it is `made`."""

    what: str
    invariants: frozenset[str]
    kinds: frozenset[Kind]
    seeds: int
    patches: Callable[[], list[tuple[Any, str, Any]]]
    made: Plan | None = None


ANY = frozenset(Kind)


def _unconfirmed() -> list[tuple[Any, str, Any]]:
    async def believed(self: object, command: object) -> ActionOutcome:
        return ActionOutcome(message="believed")

    return [(KamailioDispatcher, "_confirm_fence", believed)]


def _ungated() -> list[tuple[Any, str, Any]]:
    before = EdgeModel.__init__

    def ungated(self: EdgeModel, name: str, lines: str, epoch_gate: bool = True) -> None:
        before(self, name, lines, epoch_gate=False)

    def cut(self: Platform, name: str, what: str, epoch: int) -> bool:
        self.sides[name].cut_epoch = 0
        return port(self, name, what, epoch)

    port = Platform.cut
    return [(EdgeModel, "__init__", ungated), (Platform, "cut", cut)]


def _guard(*guards: Refusal) -> Callable[[], list[tuple[Any, str, Any]]]:
    def patches() -> list[tuple[Any, str, Any]]:
        left = {
            guard: (lambda case: False) if guard in guards else check
            for guard, check in permit._GUARDS.items()
        }
        return [(permit, "_GUARDS", left)]

    return patches


def _unheld() -> list[tuple[Any, str, Any]]:
    return [(permit, "holds_over", lambda state, at, scopes, *, maintenance: False)]


def _repeated() -> list[tuple[Any, str, Any]]:
    return [(phases, "read_back_now", lambda draft, group, resume: phases.act(draft, group))]


def _uncoordinated() -> list[tuple[Any, str, Any]]:
    async def at_once(
        self: Engine, state: object, recorded: object, commands: object, *, waits: bool
    ) -> None:
        return None

    return [(Engine, "_coordinated", at_once)]


def _unsynced() -> list[tuple[Any, str, Any]]:
    before = SimulatedJournal.record

    async def early(self: SimulatedJournal, facts: Any) -> Any:
        entries = await before(self, facts)
        self.disk.unsynced = len(entries)
        return entries

    def power_cut(self: Disk) -> None:
        if self.unsynced:
            del self.platter.entries[-self.unsynced :]
        cut(self)

    cut = Disk.power_cut
    return [(SimulatedJournal, "record", early), (Disk, "power_cut", power_cut)]


def _old_epoch() -> list[tuple[Any, str, Any]]:
    def begun(draft: Any, group: Any, order: Any, judgement: Any) -> None:
        begin(draft, replace(group, epoch=group.epoch - 1, edge_epoch=0), order, judgement)

    begin = requests._begin
    return [(requests, "_begin", begun)]


def _coarse() -> list[tuple[Any, str, Any]]:
    """A missing answer counts, however late its own loop was, if it was not two seconds; and timers go before sockets."""

    def coarse(result: Any, timeout: float, lag: float) -> Any:
        return strict(result, timeout, lag if lag > 2.0 else 0.0)

    strict = instruments.void_for_lag
    return [(instruments, "void_for_lag", coarse), (instruments, "DRAINS", False)]


def _shrinking() -> list[tuple[Any, str, Any]]:
    """The word of one is enough where only one says a word."""
    return [(vantages, "_carried", lambda domains, k, bias: bool(domains))]


def _one_kind() -> list[tuple[Any, str, Any]]:
    """An actionable fault is called when all terms of its first kind of evidence hold, and the permit counts no kinds."""

    def evaluate(rule: Any, evidence: Any, begun: Any) -> Any:
        if rule.actionable:
            kind = rule.terms[0].evidence
            rule = replace(rule, terms=tuple(term for term in rule.terms if term.evidence is kind))
        return whole(rule, evidence, begun)

    whole = diagnosing.evaluate
    return [(diagnosing, "evaluate", evaluate), *_guard(Refusal.ONE_KIND_OF_EVIDENCE)()]


UPGRADED = Plan(
    kind=Kind.BROKEN,
    nodes=3,
    troubles=(
        Happening(at=3.2, name="node of a newer version", lasts=0.05),
        Happening(at=4.0, name="side hung", lasts=30.0),
        Happening(at=6.5, name="leader crashes", lasts=1.2),
        Happening(at=10.0, name="leader frozen", lasts=2.5),
    ),
    acts=(Happening(at=13.5, name="disarm", lasts=0.5),),
    heals=14.0,
    ends=23.0,
    rate=2.0,
)
"""A node of a newer version leads, or follows one that does not, and the other takes over."""

ABLATIONS: dict[str, Ablation] = {
    "no confirmation of the fence": Ablation(
        "a fence that was commanded counts as one",
        frozenset({"I1"}),
        frozenset({Kind.HAUNTED}),
        100,
        _unconfirmed,
    ),
    "no epoch at the edge": Ablation(
        "edges, list files and switch ports obey any epoch",
        frozenset({"I1", "I3"}),
        frozenset({Kind.LATE}),
        100,
        _ungated,
    ),
    "no hold looked at": Ablation(
        "a hold stops nothing", frozenset({"I4"}), frozenset({Kind.STORM}), 200, _unheld
    ),
    "no read back": Ablation(
        "a command whose answer was lost is repeated at once", frozenset({"I7"}), ANY, 200, _repeated
    ),
    "no word in the store": Ablation(
        "commands leave when the journal has them", frozenset({"I2"}), ANY, 100, _uncoordinated
    ),
    "no sync": Ablation(
        "a commit is told before it is on the disk", frozenset({"I9", "I2", "I11"}), ANY, 200, _unsynced
    ),
    "what a newer version knows is not kept": Ablation(
        "a record is written as this version knows it",
        frozenset({"SIM"}),
        ANY,
        20,
        lambda: [(replication, "shared_aggregate", lambda aggregate, held: shared_aggregate(aggregate))],
        UPGRADED,
    ),
    "no new epoch": Ablation(
        "a switch goes under the epoch there is", frozenset({"I3"}), ANY, 100, _old_epoch
    ),
    "coarse lag rule": Ablation(
        "a probe is void only after two seconds of lag, and timers go before sockets",
        frozenset({"I13"}),
        frozenset({Kind.QUIET}),
        200,
        _coarse,
    ),
    "shrinking k": Ablation(
        "one vantage is enough for a verdict", frozenset({"I13"}), frozenset({Kind.QUIET}), 200, _shrinking
    ),
    "one kind of evidence": Ablation(
        "a fault is called from one kind of evidence, and switched for",
        frozenset({"I13"}),
        frozenset({Kind.QUIET}),
        200,
        _one_kind,
    ),
}


@contextlib.contextmanager
def without(name: str) -> Iterator[None]:
    """Inside, this safeguard is gone."""
    patches = ABLATIONS[name].patches()
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    for owner, attribute, value in patches:
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)
