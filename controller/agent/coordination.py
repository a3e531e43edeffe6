"""What an agent needs of the coordination store: the grant of a group, and a guarded heartbeat of its hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from controller.model.errors import ThirdRingError


class Phase(StrEnum):
    HELD = "held"
    FENCING = "fencing"


class Grant(NamedTuple):
    """`holder`: a side. `revision`: of its last change; every change of a grant has a higher one."""

    epoch: int
    holder: str
    phase: Phase
    revision: int


@dataclass(frozen=True, slots=True)
class Beat:
    """`boot`: of this agent's process. `count`: of this process's attempts, from 1."""

    agent: str
    boot: str
    count: int


class Unconfirmed(ThirdRingError):
    """Nobody confirmed it in time: it may have been written or not, and the hold is not extended on it."""


class Coordination(Protocol):
    """All linearizable: a read that may be stale is none. Errors: Unconfirmed."""

    @property
    def store(self) -> str:
        """What tells it from any other, as far as it has shown that; empty until it has answered."""

    def pin(self, store: str) -> None:
        """Answers of any other are refused from now on: it was wiped, or restored, or is another's."""

    async def identified(self) -> None:
        """Returns once `store` is all there is to know."""

    async def read(self, group: str) -> Grant | None:
        """None: there is no grant."""

    async def beat(self, group: str, grant: Grant, beat: Beat) -> Grant | None:
        """The hold heartbeat, in one transaction guarded by the grant being unchanged. Returns the grant that stands
        afterwards: the same when it was committed, another (or None) when it was refused."""

    def watch(self, group: str) -> AsyncIterator[Grant | None]:
        """What stands now, and each change. Ends with Unconfirmed when the watch breaks."""

    async def close(self) -> None: ...
