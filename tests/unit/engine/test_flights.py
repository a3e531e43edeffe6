"""The overload guard: what a late timer, a lagging loop and a full socket do to a missing answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.engine.flights import Flights
from controller.engine.lag import LagMeter
from controller.engine.watch import void_for_lag
from controller.model.health import Outcome, ProbeResult, RungKey


@dataclass(eq=False)
class Paper:
    """A flight that notes what was done to it."""

    sent_at: float
    done: bool = False
    copies: list[float] = field(default_factory=list)
    given_up: tuple[float, str] | None = None

    def resend(self, now: float) -> None:
        if not self.done:
            self.copies.append(now)

    def give_up(self, now: float, void: str) -> None:
        self.done = True
        self.given_up = (now, void)


class Kind:
    """A mass probe kind whose waiting answers are handed over when it is drained."""

    copies_help = True

    def __init__(self) -> None:
        self.waiting: list[Paper] = []
        self.drained = 0
        self.overflowed_at = -1.0

    def open(self, loop: Any, finished: Callable[[object, ProbeResult], None]) -> None: ...

    def prepare(self, key: RungKey, parameters: object) -> object:
        return None

    def release(self, prepared: object) -> None: ...

    def send(self, ticket: object, prepared: object, timeout: float, now: float) -> Paper:
        return Paper(now)

    def drain(self) -> None:
        self.drained += 1
        for flight in self.waiting:
            flight.done = True
        self.waiting.clear()

    def lost_since(self, sent_at: float) -> bool:
        return self.overflowed_at >= sent_at

    def counters(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None: ...


def flights_of(meter: LagMeter | None = None) -> Flights:
    """With nothing that raises."""

    def never(*_: object) -> None:
        raise AssertionError

    return Flights(meter or LagMeter(), never, never)


def test_nothing_is_given_up_before_its_time() -> None:
    flights, kind, flight = flights_of(), Kind(), Paper(1.0)
    flights.track(kind, flight, None, 0.5, ())
    assert flights.next_due() == 1.5
    flights.sweep(1.49)
    assert flight.given_up is None
    flights.sweep(1.5)
    assert flight.given_up == (1.5, "")
    assert flights.next_due() is None


def test_sockets_are_drained_before_anything_expires() -> None:
    flights, kind, flight = flights_of(), Kind(), Paper(1.0)
    flights.track(kind, flight, None, 0.5, ())
    kind.waiting.append(flight)
    flights.sweep(9.0)
    assert kind.drained == 1 and flight.done and flight.given_up is None


def test_a_late_timer_voids_the_probe() -> None:
    flights, kind, flight = flights_of(), Kind(), Paper(1.0)
    flights.track(kind, flight, None, 0.4, ())
    flights.sweep(1.4 + 0.11)
    assert flight.given_up is not None and "lagged" in flight.given_up[1]
    assert flights.voided == 1


def test_a_lag_while_it_was_in_the_air_voids_the_probe_and_an_earlier_one_does_not() -> None:
    meter, kind = LagMeter(), Kind()
    flights = flights_of(meter)
    meter.record(1.0, 0.3)
    early, late = Paper(0.9), Paper(1.1)
    flights.track(kind, early, None, 0.4, ())
    flights.track(kind, late, None, 0.4, ())
    flights.sweep(1.31)
    flights.sweep(1.51)
    assert early.given_up is not None and "lagged 300 ms" in early.given_up[1]
    assert late.given_up == (1.51, "")


def test_our_own_overflow_voids_the_probe() -> None:
    flights, kind, flight = flights_of(), Kind(), Paper(1.0)
    kind.overflowed_at = 1.2
    flights.track(kind, flight, None, 0.4, ())
    flights.sweep(1.4)
    assert flight.given_up is not None and "overflowed" in flight.given_up[1]


def test_copies_go_out_in_time_unless_answered() -> None:
    flights, kind = flights_of(), Kind()
    silent, answered, just_answered = Paper(1.0), Paper(1.0), Paper(1.0)
    for flight in (silent, answered, just_answered):
        flights.track(kind, flight, None, 1.0, (0.04, 0.5))
    answered.done = True
    kind.waiting.append(just_answered)
    assert flights.next_due() == 1.04
    flights.sweep(1.04)
    assert (silent.copies, answered.copies, just_answered.copies) == ([1.04], [], [])
    flights.sweep(1.5)
    assert silent.copies == [1.04, 1.5]


def test_no_copy_after_the_timeout_of_a_hurried_ladder() -> None:
    flights, kind, flight = flights_of(), Kind(), Paper(1.0)
    flights.track(kind, flight, None, 0.3, (0.04, 0.5))
    flights.sweep(1.04)
    flights.sweep(1.3)
    assert flights.next_due() is None and flight.copies == [1.04]


def test_a_kind_that_raises_keeps_nothing_in_the_air() -> None:
    @dataclass(eq=False)
    class Stuck(Paper):
        def resend(self, now: float) -> None:
            raise OSError("no copy")

        def give_up(self, now: float, void: str) -> None:
            raise RuntimeError("no end")

    broken: list[tuple[object, float, str]] = []
    complaints: list[str] = []
    flights = Flights(
        LagMeter(),
        lambda ticket, sent_at, error: broken.append((ticket, sent_at, str(error))),
        lambda kind, error: complaints.append(str(error)),
    )
    kind = Kind()
    other = Paper(1.0)
    flights.track(kind, Stuck(1.0), "stuck", 0.5, (0.1,))
    flights.track(kind, other, "other", 0.5, (0.1,))
    flights.sweep(1.1)
    flights.sweep(1.5)
    assert broken == [("stuck", 1.0, "no end")] and complaints == ["no copy"]
    assert other.copies == [1.1] and other.given_up == (1.5, "")
    assert flights.next_due() is None and flights.given_up == 2


def test_a_socket_that_cannot_be_drained_voids_what_is_missing() -> None:
    class Jammed(Kind):
        def drain(self) -> None:
            raise OSError("jammed")

    complaints: list[str] = []
    flights = Flights(LagMeter(), lambda *_: None, lambda kind, error: complaints.append(str(error)))
    flight = Paper(1.0)
    flights.track(Jammed(), flight, None, 0.5, ())
    flights.sweep(1.5)
    assert flight.given_up is not None and "could not be read" in flight.given_up[1]
    assert flights.voided == 1 and complaints == ["jammed"]


KEY = RungKey("a", "call")


def test_an_answer_counts_however_late_we_were() -> None:
    refused = ProbeResult(KEY, 1.0, 2.0, Outcome.REFUSING, False, 1.0, 503)
    assert void_for_lag(refused, 1.0, 5.0) is refused
    missing = ProbeResult(KEY, 1.0, 2.0, Outcome.NO_REPLY, False)
    assert void_for_lag(missing, 1.0, 0.2) is missing
    voided = void_for_lag(missing, 1.0, 0.3)
    assert voided.outcome is Outcome.VOID and voided.up is None and "300 ms" in voided.note
