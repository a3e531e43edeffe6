"""One target as a prober keeps it: its schedule, its probe and the health folded so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

from controller.core.health import fold
from controller.model.events import HealthChanged, Measured
from controller.model.health import HealthState, Hysteresis, Outcome, ProbeResult, RungHealth, RungKey
from controller.model.moments import Moment
from controller.model.policy import RungPolicy
from controller.ports import MassProbe, Probe

SECOND_COPY = 0.04
"""Seconds between two copies of one probe (random loss is over by then, and a fast verdict is not held up)."""

RETRANSMISSIONS = (0.5, 1.5)
"""Seconds after the first copy at which RFC 3261's timer E repeats a request (17.1.2.1), while the probe lasts."""

VOID_INTERVALS = 10
"""Intervals without a result that says anything about the target, after which what was known of it counts no more. Enough
for a stall of ours or a burst of overload to pass; few enough that nobody decides on a word of minutes ago."""

SHORTEST_VOID = 5.0
"""Seconds; less, for a rung of short intervals, is a stall of ours that its vantage abstains for anyway."""

UNKNOWN_HEALTH = RungHealth()


@dataclass(frozen=True, slots=True)
class Unbuildable:
    """Why a target can't be probed at all."""

    reason: str


@dataclass(slots=True, eq=False)
class Watch:
    """Mutable on purpose: the hot path replaces `health` once a result and nothing else."""

    key: RungKey
    interval: float
    timeout: float
    hysteresis: Hysteresis
    confirm: int
    confirm_interval: float
    resends: tuple[float, ...]
    on_demand: bool
    reports_values: bool
    kind: str
    mass: MassProbe | None
    prepared: object  # of a mass probe
    probe: Probe | Unbuildable | None
    health: RungHealth = UNKNOWN_HEALTH
    last_good: float = 0.0
    last_good_sent: float = 0.0
    first_bad: float = 0.0
    last_said: float = 0.0  # when a result last said anything, or, with none, the first void one came
    aside: RungHealth | None = None  # what was known before void results made it unknown
    flying: int = 0  # scheduled probes only
    slot: int = -1  # in the wheel of its interval
    gone: bool = False

    def take(self, result: ProbeResult) -> RungHealth | None:
        """Fold a result in. Returns the health before it where it changed what the engine has to know, else None."""
        up = result.up
        if up is None:
            return self._forget(result)
        self.last_said = result.finished_at
        if up:
            self.last_good = result.finished_at
            if result.sent_at > self.last_good_sent:
                self.last_good_sent = result.sent_at
            self.first_bad = 0.0
        elif result.sent_at < self.last_good_sent:
            # A later probe was answered already: this is a lost packet, not a failing target.
            return None
        elif self.first_bad == 0.0:
            self.first_bad = result.sent_at
        previous = self.health
        known, self.aside = self.aside or previous, None
        health = self.health = fold(known, result, self.hysteresis)
        if (
            health.state is previous.state
            and health.outcome is previous.outcome
            and health.flapping is previous.flapping
            and (health.code == previous.code or health.state is HealthState.UP)
        ):
            return None
        return previous

    def _forget(self, result: ProbeResult) -> RungHealth | None:
        """A void result changes nothing, until for too long there was no other. Then the rung is unknown, never down; the
        next one that says something is folded into what was known before."""
        if not self.last_said:
            self.last_said = result.finished_at
        silent = result.finished_at - self.last_said
        if (
            self.aside is not None
            or self.health.state is HealthState.UNKNOWN
            or self.on_demand
            or silent <= max(VOID_INTERVALS * self.interval, SHORTEST_VOID)
        ):
            return None
        previous = self.aside = self.health
        self.health = RungHealth(
            since=result.finished_at, note=result.note, flips=previous.flips, flapping=previous.flapping
        )
        return previous

    def first_failure(self) -> bool:
        """Whether the result just folded was the first failure after good ones: the time to provoke."""
        health = self.health
        return health.failures == 1 and health.state in (HealthState.SUSPECT, HealthState.UNKNOWN)

    def changed(self, at: Moment, vantage: str, previous: RungHealth, result: ProbeResult) -> HealthChanged:
        health = self.health
        return HealthChanged(
            at=at,
            vantage=vantage,
            key=self.key,
            previous=previous.state,
            current=health.state,
            outcome=health.outcome,
            code=health.code,
            failures=health.failures,
            flapping=health.flapping,
            last_good=self.last_good,
            first_bad=self.first_bad,
            note=health.note,
            values=result.values,
        )

    def measured(self, at: Moment, vantage: str, result: ProbeResult) -> Measured:
        return Measured(
            at=at,
            vantage=vantage,
            key=self.key,
            outcome=result.outcome,
            up=result.up,
            values=result.values,
        )

    def inherit(self, earlier: Watch) -> None:
        """Go on with the health of the same target under its earlier policy."""
        self.health = earlier.health
        self.last_good, self.last_good_sent = earlier.last_good, earlier.last_good_sent
        self.first_bad = earlier.first_bad
        self.last_said, self.aside = earlier.last_said, earlier.aside


def resend_offsets(rung: RungPolicy, copies_help: bool) -> tuple[float, ...]:
    """Seconds after the first copy at which a probe is sent again, as long as nothing came back."""
    if not copies_help:
        return ()
    copies = [SECOND_COPY * number for number in range(1, rung.copies)]
    return tuple(sorted(offset for offset in (*copies, *RETRANSMISSIONS) if offset < rung.timeout))


def void(key: RungKey, sent_at: float, now: float, note: str) -> ProbeResult:
    """A result that says nothing about the target."""
    return ProbeResult(key, sent_at, now, Outcome.VOID, None, note=note)


def printable(result: ProbeResult) -> ProbeResult:
    """The result with text that can be written as UTF-8. What a target says may be anything: a reason phrase in another
    character set must not break the page or the console that shows it."""
    note = _printable(result.note)
    values = tuple(
        (name, _printable(item) if isinstance(item, str) else item) for name, item in result.values
    )
    if note is result.note and values == result.values:
        return result
    return result._replace(note=note, values=values)


def _printable(text: str) -> str:
    if text.isascii():
        return text
    written = text.encode("utf-8", "replace").decode()
    return text if written == text else written


def void_for_lag(result: ProbeResult, timeout: float, lag: float) -> ProbeResult:
    """The result, or a void one where our own lag may have made it.

    An answer counts however late we were; a missing one only if our loop lagged by less than a quarter of the
    timeout between send and verdict.
    """
    absent = result.outcome is Outcome.NO_REPLY or result.outcome is Outcome.FAILED
    if not absent or lag <= timeout / 4:
        return result
    return void(result.key, result.sent_at, result.finished_at, lag_note(lag))


def lag_note(lag: float) -> str:
    return f"our own loop lagged {math.ceil(lag * 1000)} ms"
