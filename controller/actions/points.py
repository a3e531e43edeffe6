"""The points at which a group's new calls are routed: what each shows, and how all of them are asked at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from controller.model.errors import ActionError, ActionRefused, ActionUnknown
from controller.model.moments import Values


class Unreachable(ActionError):
    """The far end did not answer: nothing was asked of it, or nothing that changes it."""


class Nonsense(ActionError):
    """An answer that can't be understood: for a change, nothing is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What one point shows. `side`: the one side that gets its new calls, "" when none, both or a stranger does.
    `epoch`: the highest it has on record, None where it keeps no record at all."""

    side: str
    epoch: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """`unreachable`: points that gave no usable answer, and may go on as they were; `reasons` say why. `values`: more,
    for the timeline."""

    points: Mapping[str, Point] = field(default_factory=dict)
    unreachable: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    values: Values = ()

    @property
    def epoch(self) -> int:
        return max((point.epoch or 0 for point in self.points.values()), default=0)

    @property
    def active(self) -> str:
        """The side that all points agree on, "" without one."""
        sides = {point.side for point in self.points.values()}
        return sides.pop() if len(sides) == 1 else ""

    @property
    def data(self) -> Values:
        return (
            ("edges", ",".join(sorted(self.points))),
            ("unreachable", ",".join(self.unreachable)),
            *self.values,
        )


class Routing(Protocol):
    """Where new calls go. Every verb is idempotent and repeats nothing that is as it should be.

    Errors as of ports.Action, Unreachable when fewer points answered than are needed. A point that shows a newer
    epoch than the one given refuses (ActionRefused).
    """

    @property
    def names(self) -> Collection[str]:
        """Of all points."""

    async def look(self) -> Seen:
        """What every point shows. Changes nothing; a point without an answer is named, not raised."""

    async def lacks(self) -> list[str]:
        """What a switch would fail for, as sentences: asked before a planned one."""

    async def send(self, side: str, epoch: int) -> Seen:
        """All new calls to this side, and to no other; read back before it returns."""

    async def withdraw(self, side: str, epoch: int) -> Seen | None:
        """No new calls to this side; None where that can't be said without naming another."""

    async def drain(self, side: str, other: str, epoch: int) -> tuple[int | None, Seen]:
        """New calls to the other side, calls in progress stay. Returns how many are left, None: can't be counted."""

    async def restore(self, side: str, epoch: int) -> None:
        """Take back what `drain` or `withdraw` left on a side beyond the routing itself."""

    async def close(self) -> None: ...


async def look_at(names: Collection[str], what: Callable[[str], Awaitable[Point]]) -> Seen:
    """All points at once, for reading: one that gives no usable answer hides none of the others."""
    return await _asked(names, what, ActionError)


async def change(names: Collection[str], what: Callable[[str], Awaitable[Point]], *, needed: int) -> Seen:
    """All points at once. Raises the gravest thing any of them said; Unreachable with fewer than `needed`."""
    seen = await _asked(names, what, Unreachable)
    if len(seen.points) < needed:
        raise Unreachable("; ".join(seen.reasons))
    return seen


async def _asked(
    names: Collection[str], what: Callable[[str], Awaitable[Point]], bearable: type[ActionError]
) -> Seen:
    answers = await asyncio.gather(*(what(name) for name in names), return_exceptions=True)
    points: dict[str, Point] = {}
    silent: dict[str, str] = {}
    worst: list[BaseException] = []
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, Point):
            points[name] = answer
        elif isinstance(answer, bearable):
            silent[name] = f"{name}: {answer}"
        else:
            worst.append(answer)
    if worst:
        raise min(worst, key=gravity)
    return Seen(
        points=points,
        unreachable=tuple(sorted(silent)),
        reasons=tuple(reason for _, reason in sorted(silent.items())),
    )


def gravity(error: BaseException) -> int:
    """A point that refuses an epoch outweighs one whose answer was lost, and that one a plain failure."""
    match error:
        case ActionRefused():
            return 1
        case ActionUnknown():
            return 2
        case ActionError():
            return 3
        case _:
            return 0


def admitted(name: str, epoch: int, shown: int | None) -> None:
    """Raises ActionRefused where a newer epoch is on record."""
    if shown is not None and shown > epoch:
        raise ActionRefused(f"{name}: epoch {epoch} is older than {shown}")
