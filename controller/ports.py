"""Every Protocol between the engine and the world. Small on purpose; one suite runs over all implementations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

from controller.model.commands import Drive, Notify, RunAction
from controller.model.events import Event
from controller.model.facts import Aggregate, Entry, Fact
from controller.model.health import HealthState, Hysteresis, Outcome, ProbeResult, RungKey
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


class Flight(Protocol):
    """One mass probe on the wire. `done` once its result was handed over; `sent_at` in monotonic seconds."""

    done: bool
    sent_at: float

    def resend(self, now: float) -> None:
        """Send the same copy once more. Never raises."""

    def give_up(self, now: float, void: str) -> None:
        """Finish without an answer; `void` says why that is no evidence, and is empty when it is."""


Finished = Callable[[object, ProbeResult], None]
"""(the ticket that `send` was given, the result)."""


class MassProbe(Protocol):
    """Many targets over shared sockets, no task a probe. One instance a kind and prober.

    It encodes and matches. The prober keeps the time: it resends, drains before it gives a flight up, and is
    called back exactly once a flight. `copies_help`: the transport may lose a copy, so a second one makes sense.
    """

    copies_help: bool

    def open(self, loop: asyncio.AbstractEventLoop, finished: Finished) -> None: ...

    def prepare(self, key: RungKey, parameters: object) -> object:
        """What `send` needs of a target, made once an assignment. Raises ValueError for what can't be probed."""

    def release(self, prepared: object) -> None:
        """The target is no longer assigned."""

    def send(self, ticket: object, prepared: object, timeout: float, now: float) -> Flight:
        """Start one probe now; never blocks and never raises. The flight may be done at once."""

    def drain(self) -> None:
        """Take in everything that has arrived."""

    def lost_since(self, sent_at: float) -> bool:
        """Whether our own socket overflowed since then: a missing answer is no evidence."""

    def counters(self) -> Mapping[str, int]:
        """Monotone: late answers, answers from a wrong source, and so on."""

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
    ("edges_reached", n), ("edges_total", n), ("drifted", comma-joined edge names), ("unreachable", comma-joined),
    ("ungated", comma-joined: edges that obey an epoch older than the command's), ("unheld", True when no side holds
    the group's address, which counts as drift), ("fence_ready", bool),
    ("fence_lacks", why not). It changes nothing, and fails only when nothing can be said at all.
    DRAIN returns ("live_calls", how many are left on the side, None when they can't be counted).
    """

    fencing: str

    async def perform(self, command: Drive) -> ActionOutcome: ...

    async def close(self) -> None: ...


@runtime_checkable
class Coordinated(Protocol):
    """A switch driver that needs the grants of several nodes' store; it says that its fence is not ready without."""

    def coordinate(self, grants: Grants) -> None: ...


@runtime_checkable
class Adopting(Protocol):
    """A switch driver whose actuators remember the highest epoch and the coordination store they belong to."""

    async def highest_epoch(self) -> int:
        """Over all actuators. Raises ActionError when one does not answer: it may have seen a higher one."""

    async def adopt(self, epoch: int, store: str) -> None:
        """`store` is theirs from now on, at an epoch above every one they saw. Raises ActionError."""


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
        nothing was recorded; ChainBroken when nobody knows what was, and the process must end and recover."""

    def entries(self, *, after: int = 0, incident: str = "", limit: int = 1000) -> AsyncIterator[Entry]:
        """Oldest first."""

    async def before_newest(self, count: int, *, incident: str = "") -> int:
        """The sequence after which the newest `count` entries (of that incident) come; 0 when there are no more."""

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
    """Leadership. The deadline counts from before the request was sent.

    `shared`: between nodes. Then it runs out at every node's own deadline, and who holds it and when nobody does is told.
    Otherwise only processes of one host contend for it, and whoever holds it keeps it until it lets go or ends.
    """

    shared: bool

    @property
    def holder(self) -> str:
        """The node that holds it, as far as this one knows; empty when nobody does, and where it is not shared."""

    async def acquire(self) -> float | None:
        """Take or renew it. Returns the monotonic deadline, or None when another holds it. Raises CoordinationError or
        StoreError when neither can be proved."""

    async def release(self) -> None: ...

    async def vacant(self) -> None:
        """Returns when nobody holds it any longer; never, where it is not shared. Raises CoordinationError."""


class Record(NamedTuple):
    value: bytes
    revision: int  # of the last change of this key


class Register(Protocol):
    """The state that several nodes share, of which only the leader writes. Keys are those of aggregates."""

    async def open(self) -> None:
        """Raises CoordinationError when it can't be used, or is not the one that was used before."""

    async def read(self) -> Mapping[str, Record]:
        """Everything, in one linearizable read. Raises CoordinationError."""

    async def write(self, changes: Mapping[str, bytes | None], expected: Mapping[str, int]) -> int:
        """All of it or nothing, and only while this node's lease is the leader's and every key stands at its `expected`
        revision (0: it is absent). None deletes. Returns the new revision. Raises CoordinationConflict,
        CoordinationUnknown, CoordinationError."""

    async def close(self) -> None: ...


class Word(NamedTuple):
    """What a vantage says of one rung. Ages in seconds before the sighting was made; None: never."""

    state: HealthState
    outcome: Outcome
    code: int
    failures: int
    flapping: bool
    last_good: float | None
    first_bad: float | None
    note: str


class Sighting(NamedTuple):
    """All that one node's vantage says of what failovers wait for. `probes` and `late` are its prober's own monotone
    counters: a sighting in which they stand still says that the node lives and its prober does not."""

    vantage: str
    failure_domain: str
    probes: int
    late: int
    lag: float
    words: Mapping[RungKey, Word]


class Sightings(Protocol):
    """Where nodes leave what they see, each the newest only, for as long as it lives."""

    async def publish(self, sighting: Sighting) -> None:
        """Raises CoordinationError."""

    def watch(self) -> AsyncIterator[Sighting]:
        """Those of the other nodes, each as it is published, from the newest there is; ends never. Raises
        CoordinationError when it breaks."""


class GrantPhase(StrEnum):
    HELD = "held"
    FENCING = "fencing"


class Grant(NamedTuple):
    """Which side of a group may hold its address. While `phase` is FENCING nobody's hold is renewed."""

    group: str
    epoch: int
    holder: str
    phase: GrantPhase
    revision: int


class Heartbeat(NamedTuple):
    """An agent's renewal of its hold. `received`: monotonic seconds on this node's own clock."""

    group: str
    epoch: int
    agent: str
    boot: str
    beats: int
    revision: int
    received: float


class Grants(Protocol):
    """The grants of address holders. All reads are linearizable, all writes guarded by the leader's lease."""

    async def read(self, group: str) -> tuple[Grant | None, Heartbeat | None]: ...

    async def close_grant(self, group: str, epoch: int) -> tuple[Grant, Heartbeat | None]:
        """FENCING from now on, at `epoch`: no later heartbeat succeeds. Returns what a read after it says. Idempotent.
        Raises CoordinationConflict when a higher epoch stands there or another node leads."""

    async def open_grant(self, group: str, holder: str, epoch: int) -> Grant:
        """HELD by `holder`, after FENCING, from nothing, or at a higher epoch by whoever holds it already. Idempotent for
        the same holder and epoch. Errors as above."""

    def last_heard(self, group: str) -> Heartbeat | None:
        """The newest heartbeat that a watch has brought here."""


class Schedule(Protocol):
    """Calendar triggers. Calls back once a schedule and local date."""

    def start(self, schedules: Mapping[str, str], due: Callable[[str, str], None]) -> None:
        """`schedules`: name -> cron expression; `due(name, ISO local date)`."""

    def close(self) -> None: ...
