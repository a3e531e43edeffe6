"""What a record holds of its actuators' own words: whose commands they obeyed, whose calls they pass on, who answered.

The controller's intents are not among them. A command that succeeded was obeyed when it was commanded, an answer may come
late; a reading tells of an epoch nobody here has commanded, never that an older one was obeyed: edges forget.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from controller.core.invariants.actuators import Answered, Obeyed, Observation, Taking
from controller.core.timeline import Line
from controller.model.facts import FactKind
from controller.model.groups import DriverVerb, Group
from controller.model.runs import ActionStatus

ASKS = frozenset({DriverVerb.PRECHECK, DriverVerb.CONFIRM_FENCE, DriverVerb.READ_BACK})
"""Verbs that change nothing, and that no epoch stands in the way of."""


def witnessed(story: Sequence[Line]) -> list[Observation]:
    """The observations of one node's record, in the order in which they were so."""
    witness = _Witness()
    for line in story:
        witness.hear(line)
    return [seen for _, seen in sorted(witness.found, key=lambda item: item[0])]


class _Witness:
    """`found`: each observation with the sequence from which it holds."""

    def __init__(self) -> None:
        self.found: list[tuple[int, Observation]] = []
        self._intents: dict[str, Line] = {}
        self._sides: dict[str, tuple[str, str]] = {}
        self._newest: dict[str, int] = defaultdict(int)

    def hear(self, line: Line) -> None:
        match line.kind:
            case FactKind.SWITCH_STARTED:
                self._sides[_text(line, "switch")] = (_text(line, "origin"), _text(line, "target"))
            case FactKind.SWITCH_INTENDED:
                self._intents[_text(line, "command")] = line
                self._newest[line.subject] = max(self._newest[line.subject], _number(line))
            case FactKind.SWITCH_STEP_FINISHED if line.get("verb") == "verify":
                self._answered(line)
            case FactKind.SWITCH_STEP_FINISHED if line.get("verb") == DriverVerb.READ_BACK:
                if line.get("edges_reached"):
                    self._read(line, _text(line, "active"))
            case FactKind.SWITCH_STEP_FINISHED:
                self._obeyed(line)
            case FactKind.EDGE_REASSERTED:
                self._obeyed(line)
                self._taken(line, (group.active for group in _groups(line)))
            case FactKind.EDGE_DRIFTED if line.get("reason") == "newer_epoch":
                self._read(line, _text(line, "active"))
            case FactKind.EDGE_DRIFTED if line.get("drifted") and not line.get("unreachable"):
                self._taken(line, [_text(line, "seen")])
            case FactKind.GROUP_ADOPTED:
                self._read(line, _text(line, "active"))
            case FactKind.GROUP_RELEASED:
                self._taken(line, [_text(line, "active")])
            case FactKind.LEADERSHIP_TAKEN:
                # Others moved it meanwhile.
                for group in _groups(line):
                    self._add(
                        line,
                        Taking(
                            at=line.wall,
                            group=group.name,
                            sides=(group.active,) if group.switch is None else (),
                            epoch=group.epoch,
                            sequence=line.sequence,
                        ),
                    )
            case _:
                pass

    def _add(self, line: Line, seen: Observation) -> None:
        self.found.append((line.sequence, seen))

    def _answered(self, line: Line) -> None:
        """By a side of that switch; a mark that says nothing known is nobody's."""
        side = _text(line, "side")
        if side and side in self._sides.get(_text(line, "switch"), ()):
            self._add(line, Answered(at=line.wall, group=line.subject, side=side, sequence=line.sequence))

    def _obeyed(self, line: Line) -> None:
        intent = self._intents.get(_text(line, "command"))
        verb = line.get("verb")
        if intent is None or verb in ASKS or line.get("status") != ActionStatus.SUCCEEDED:
            return
        group, epoch = line.subject, _number(intent)
        self._add(intent, Obeyed(at=line.wall, group=group, place=group, epoch=epoch, sequence=line.sequence))
        if verb == DriverVerb.REDIRECT:
            self._taken(line, [_text(intent, "side")], epoch)

    def _read(self, line: Line, active: str) -> None:
        group, epoch = line.subject, _number(line)
        if epoch > self._newest[group]:
            self._newest[group] = epoch
            self._add(
                line, Obeyed(at=line.wall, group=group, place=group, epoch=epoch, sequence=line.sequence)
            )
        self._taken(line, [active])

    def _taken(self, line: Line, sides: Iterable[str], epoch: int | None = None) -> None:
        """Only where all edges agree: of some that differ the record does not say which takes what."""
        for side in sides:
            if side:
                self._add(
                    line,
                    Taking(
                        at=line.wall,
                        group=line.subject,
                        sides=(side,),
                        epoch=_number(line) if epoch is None else epoch,
                        sequence=line.sequence,
                    ),
                )


def _text(line: Line, name: str) -> str:
    return str(line.get(name) or "")


def _number(line: Line) -> int:
    epoch = line.get("epoch")
    return epoch if isinstance(epoch, int) else 0


def _groups(line: Line) -> Iterator[Group]:
    return (item for item in line.changed if isinstance(item, Group))
