"""What probes saw, and the health folded from it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from controller.model.moments import Values


class HealthState(StrEnum):
    UNKNOWN = "UNKNOWN"
    UP = "UP"
    SUSPECT = "SUSPECT"
    DOWN = "DOWN"
    RECOVERING = "RECOVERING"


class Outcome(StrEnum):
    """What one probe met. Whether it counts as up is the target's response policy, not the outcome."""

    UP = "UP"
    UP_AUTH = "UP_AUTH"  # 401, 407: alive, wants credentials
    REFUSING = "REFUSING"  # 503, 480, 600
    NEXT_HOP_DOWN = "NEXT_HOP_DOWN"  # 408, 504 received
    MISROUTED = "MISROUTED"  # 404, 3xx
    ERROR = "ERROR"  # other 4xx, 5xx, 6xx
    NO_REPLY = "NO_REPLY"
    TRANSPORT = "TRANSPORT"  # refused, unreachable, TLS
    MALFORMED = "MALFORMED"
    FAILED = "FAILED"  # the check ran and found the thing bad (one-way audio, a certificate about to expire)
    VOID = "VOID"  # says nothing about the target: our own lag or error


class RungKey(NamedTuple):
    """One probe of one component."""

    component: str
    rung: str


class ProbeResult(NamedTuple):
    """One finished probe. Times are monotonic seconds; `latency` is seconds from the first send.

    `up` is the verdict of the target's response policy: None when the probe is void.
    `sends` is the number of copies sent before the answer: more than one is a loss signal.
    """

    key: RungKey
    sent_at: float
    finished_at: float
    outcome: Outcome
    up: bool | None
    latency: float = 0.0
    code: int = 0
    sends: int = 1
    note: str = ""
    values: Values = ()


class Hysteresis(NamedTuple):
    """`fall` failures in a row make DOWN, `rise` successes in a row make UP.

    `flap_count` changes between UP and DOWN within `flap_window` seconds set the flapping mark.
    """

    fall: int = 3
    rise: int = 2
    flap_count: int = 4
    flap_window: float = 300.0


class RungHealth(NamedTuple):
    """The folded health of one rung as one vantage sees it. `since` and `flips` are monotonic seconds."""

    state: HealthState = HealthState.UNKNOWN
    since: float = 0.0
    successes: int = 0
    failures: int = 0
    outcome: Outcome = Outcome.VOID
    code: int = 0
    latency: float = 0.0
    note: str = ""
    flips: tuple[float, ...] = ()
    flapping: bool = False


class Measurement(NamedTuple):
    """The latest values a rung reported (MOS, reply counters, days left). Monotonic seconds.

    `sent_at` is 0.0 where only the end is known. `failures`: how many failed in a row with this same outcome.
    """

    at: float
    up: bool | None
    outcome: Outcome
    values: Values
    sent_at: float = 0.0
    failures: int = 0


class Vantage(NamedTuple):
    """A node that probes. A vantage that is not live abstains: it does not beat, or it is `isolated` (nothing that
    the groups consist of answers it, edges and test targets included)."""

    name: str
    live: bool
    last_beat: float
    lag: float = 0.0
    failure_domain: str = ""
    isolated: bool = False
    returning: float = 0.0  # when something first answered it again
