"""Every Protocol between the engine and the world. Small on purpose; one suite runs over all implementations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from controller.model.commands import Drive, Notify, RunAction
from controller.model.events import Event
from controller.model.facts import Aggregate, Entry, Fact
from controller.model.health import Hysteresis, ProbeResult, RungKey
from controller.model.moments import Moment, Values
from controller.model.policy import RungPolicy


class Clock(Protocol):
    def now(self) -> Moment:
        """Both clocks, read together."""


class Target(NamedTuple):
    """One rung of one component, as a prober needs it."""

    key: RungKey
    rung: RungPolicy

    @property
    def hysteresis(self) -> Hysteresis:
        return self.rung.hysteresis


class Prober(Protocol):
    """Probes targets and folds health. Emits HealthChanged, Measured, VantageBeat, VantageLost, LadderFinished."""

    async def start(self) -> None: ...

    async def assign(self, targets: Sequence[Target]) -> None:
        """Replace the whole assignment; health of targets that stay is kept."""

    async def run_ladder(self, command: str, keys: Sequence[RungKey], timeout: float, count: int) -> None:
        """Probe now; the answer arrives as LadderFinished within `timeout` seconds, whatever happens."""

    def events(self) -> AsyncIterator[Event]: ...

    async def close(self) -> None: ...


class Probe(Protocol):
    """A probe that is a coroutine of its own. Constructed with its validated parameters."""

    async def run(self, key: RungKey, timeout: float) -> ProbeResult:
        """One probe. Must not raise for anything the target does; a raise is recorded as VOID."""

    async def close(self) -> None: ...


class MassProbe(Protocol):
    """Many targets over shared sockets, no task a probe. One instance a kind and prober.

    The prober calls `send` and is called back through `finished` exactly once a probe.
    """

    def open(self, loop: asyncio.AbstractEventLoop, finished: Callable[[ProbeResult], None]) -> None: ...

    def send(self, key: RungKey, parameters: object, timeout: float, copies: int) -> None:
        """Start one probe now; never blocks and never raises."""

    def in_flight(self) -> int: ...

    def close(self) -> None: ...


class ActionOutcome(NamedTuple):
    """How an action ended. `data` holds named values for later steps and the timeline."""

    message: str = ""
    data: Values = ()


class Action(Protocol):
    """A registered action. Raise ActionError (did not take effect), ActionRefused, ActionUnknown (it may have)."""

    async def run(self, command: RunAction) -> ActionOutcome: ...

    async def close(self) -> None: ...


class SwitchDriver(Protocol):
    """The switch of one group. Every verb is idempotent. Errors as for Action.

    `fencing` says who refuses an old epoch: "token" (the edge itself), "cas" (a compare-and-set), "none".
    READ_BACK returns data: ("active", side name or "" when none or mixed), ("epoch", highest seen),
    ("edges_reached", n), ("edges_total", n), ("drifted", comma-joined edge names), ("unreachable", comma-joined).
    """

    fencing: str

    async def perform(self, command: Drive) -> ActionOutcome: ...

    async def close(self) -> None: ...


class Notifier(Protocol):
    """One channel kind. Raises NotificationError."""

    async def send(self, command: Notify, rendered: RenderedPage) -> str:
        """Hand the page over; returns the far end's own message or id."""

    async def close(self) -> None: ...


class RenderedPage(NamedTuple):
    """A page in one language: four lines, the subject, and a link (empty: none)."""

    subject: str
    lines: tuple[str, str, str, str]
    link: str
    severity: int
    drill: bool
    incident: str
    person: str


class Recovered(NamedTuple):
    """What the journal gives back at start."""

    aggregates: Sequence[Aggregate]
    last_sequence: int
    head: str


class Journal(Protocol):
    """The local, durable, hash-chained log. One writer."""

    async def open(self) -> Recovered:
        """Raises ChainBroken when the newest entries do not verify, StoreError when it can't be used."""

    async def record(self, facts: Sequence[Fact]) -> Sequence[Entry]:
        """One commit for all of them: durable (fsync) when it returns. Raises StoreError or StoreFull and then
        nothing was recorded."""

    def entries(self, *, after: int = 0, incident: str = "", limit: int = 1000) -> AsyncIterator[Entry]:
        """Oldest first."""

    async def verify(self) -> Sequence[str]:
        """Every violation of the chain, as sentences; empty means intact."""

    async def close(self) -> None: ...


class Archive(Protocol):
    """Where journals are shipped, for reports and many nodes. Never read for decisions."""

    async def open(self) -> None: ...

    async def ship(self, entries: Sequence[Entry]) -> None:
        """Idempotent by (node, sequence)."""

    async def last_sequence(self, node: str) -> int: ...

    def entries(
        self, *, incident: str = "", after_wall: float = 0.0, limit: int = 10000
    ) -> AsyncIterator[Entry]: ...

    async def close(self) -> None: ...


class Lease(Protocol):
    """Leadership. The deadline counts from before the request was sent."""

    async def acquire(self) -> float | None:
        """Take or renew it. Returns the monotonic deadline, or None when another holds it."""

    async def release(self) -> None: ...


class Schedule(Protocol):
    """Calendar triggers. Calls back once a schedule and local date."""

    def start(self, schedules: Mapping[str, str], due: Callable[[str, str], None]) -> None:
        """`schedules`: name -> cron expression; `due(name, ISO local date)`."""

    def close(self) -> None: ...
