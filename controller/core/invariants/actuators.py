"""What actuators testify to, held against the record: who takes calls, and whose commands were obeyed.

The record says what the controllers believe. Whether two sides ever took calls at once is only seen where calls are
taken: at the edges, at the switch ports, on the wire. Whoever observes them gives all observations one clock. What a record
itself holds of such testimony names its entry by `sequence`; 0: it was seen outside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from controller.core.invariants.violation import Violation
from controller.core.timeline import Line
from controller.model.facts import FactKind
from controller.model.groups import Phase, SwitchVerb

SPREAD = 2.0
"""Seconds in which a planned move may go from edge to edge: both sides are meant to work, and calls in progress stay."""

MOVES = frozenset({FactKind.SWITCH_STARTED, FactKind.SWITCH_PHASE, FactKind.GROUP_RELEASED})
"""The entries that say whose epoch is whose."""

DRAINING = frozenset({SwitchVerb.SWITCHOVER, SwitchVerb.FAILBACK})
PLANNED = DRAINING | {SwitchVerb.FORCE}


@dataclass(frozen=True, kw_only=True, slots=True)
class Taking:
    """From `at` on these sides, and no others, may take new calls of a group. `epoch`: of the command that made it so; 0
    when no command did."""

    at: float
    group: str
    sides: tuple[str, ...]
    epoch: int = 0
    sequence: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A side took a new call."""

    at: float
    group: str
    side: str
    sequence: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Obeyed:
    """An actuator did what a command of this epoch said. An actuator that forgot what it had seen has a new `place`."""

    at: float
    group: str
    place: str
    epoch: int
    sequence: int = 0


Observation = Taking | Answered | Obeyed


@dataclass(frozen=True, kw_only=True, slots=True)
class Healing:
    """From `at` on nothing was broken and nobody held anything back: within `within` seconds one working side takes the
    calls, and goes on to. `working`: the sides that work."""

    at: float
    within: float
    until: float
    working: frozenset[str]


def i1_one_side(observations: Iterable[Observation], story: Sequence[Line]) -> Iterator[Violation]:
    """Never two sides that take calls, and no call taken by a side that is not the one. While a person's move goes from
    edge to edge both do, for at most `SPREAD` seconds; the way back, of whatever, leaves the one side at every edge
    before it goes to the other. After a drain or a way back the side that was left, which is not cut off, may still
    answer what was sent to it before, also when it was broken meanwhile, which no command did."""
    settled, back = _settled(story), _ways_back(story)
    moves = _moves(story, PLANNED) | settled
    drains = _moves(story, DRAINING) | settled | back
    taking: dict[str, Taking] = {}
    commanded: dict[str, int] = {}
    for seen in observations:
        before = taking.get(seen.group)
        match seen:
            case Taking():
                if before is not None and len(before.sides) > 1 and seen.at - before.at > SPREAD:
                    yield _by(seen, "I1", f"{_named(before)} took calls for {seen.at - before.at:.2f} s")
                if len(seen.sides) > 1 and (seen.group, seen.epoch) not in moves:
                    yield _by(seen, "I1", f"{_named(seen)} take calls at once, under epoch {seen.epoch}")
                taking[seen.group] = seen
                commanded[seen.group] = seen.epoch or commanded.get(seen.group, 0)
            case Answered() if before is not None and before.sides and seen.side not in before.sides:
                if (seen.group, commanded[seen.group]) in drains:
                    continue
                yield _by(seen, "I1", f"{seen.side} answers a call while {_named(before)} takes them")
            case _:
                pass


def i3_obeyed(observations: Iterable[Observation]) -> Iterator[Violation]:
    """No actuator obeys an epoch older than one it has obeyed."""
    newest: dict[tuple[str, str], int] = defaultdict(int)
    for seen in observations:
        if isinstance(seen, Obeyed):
            place = (seen.group, seen.place)
            if seen.epoch < newest[place]:
                yield _by(seen, "I3", f"{seen.place} obeys epoch {seen.epoch} after {newest[place]}")
            newest[place] = max(newest[place], seen.epoch)


def i12_healed(observations: Sequence[Observation], healing: Healing) -> Iterator[Violation]:
    """After healing, one working side takes the calls within the time given, and goes on to."""
    last: Taking | None = None
    deadline = healing.at + healing.within
    for seen in observations:
        if not isinstance(seen, Taking):
            continue
        if seen.at > deadline and last is not None and last.at <= deadline:
            yield from _works(last, deadline, healing)
        if deadline < seen.at <= healing.until:
            yield from _works(seen, seen.at, healing)
        last = seen
    if last is not None and last.at <= deadline:
        yield from _works(last, deadline, healing)


def _works(seen: Taking, at: float, healing: Healing) -> Iterator[Violation]:
    if len(seen.sides) != 1 or seen.sides[0] not in healing.working:
        taken = _named(seen) if seen.sides else "nobody"
        yield _at(at, "I12", f"{taken} takes calls {at - healing.at:.1f} s after everything was healed")


Epochs = frozenset[tuple[str, int]]
"""(group, epoch)."""


def _moves(story: Sequence[Line], verbs: frozenset[SwitchVerb]) -> Epochs:
    """Of switches by these verbs, on the way there."""
    return _epochs(
        line for line in story if line.kind is FactKind.SWITCH_STARTED and line.get("verb") in verbs
    )


def _settled(story: Sequence[Line]) -> Epochs:
    """Of what a person settled after a stop."""
    return _epochs(line for line in story if line.kind is FactKind.GROUP_RELEASED)


def _ways_back(story: Sequence[Line]) -> Epochs:
    return _epochs(
        line
        for line in story
        if line.kind is FactKind.SWITCH_PHASE and line.get("phase") == Phase.COMPENSATING
    )


def _epochs(story: Iterable[Line]) -> Epochs:
    return frozenset((line.subject, epoch) for line in story if isinstance(epoch := line.get("epoch"), int))


def _named(seen: Taking) -> str:
    return " and ".join(seen.sides)


def _by(seen: Observation, invariant: str, message: str) -> Violation:
    if seen.sequence:
        return Violation(sequence=seen.sequence, invariant=invariant, message=f"{seen.group}: {message}")
    return _at(seen.at, invariant, message)


def _at(at: float, invariant: str, message: str) -> Violation:
    return Violation(sequence=0, invariant=invariant, message=f"at {at:.3f} s: {message}")
