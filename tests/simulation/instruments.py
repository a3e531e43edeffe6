"""What probes meet in the simulated platform, and the prober that sends them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from controller.engine.ladders import Extra, LadderRun
from controller.engine.outbox import Outbox
from controller.engine.watch import Watch, void_for_lag
from controller.model.events import Event, LadderFinished, VantageBeat
from controller.model.health import Outcome, ProbeResult, RungKey
from controller.model.moments import Values
from controller.ports import Clock, Target
from tests.simulation.loop import Host, VirtualLoop
from tests.simulation.network import Network
from tests.simulation.platform import Condition, EdgeModel, Platform, SideModel

TICK = 0.125
"""Seconds between two looks at what is due and what came in."""

BEATS = 3
"""Ticks a heartbeat."""

LATE = 0.1
"""Seconds; what was due earlier than that is skipped."""

CALL = 0.12
"""Seconds a test call takes."""

DRAINS = True
"""What has arrived is taken in before anything is given up; taken away by an ablation."""

ECHO = "echo"


class Answer(NamedTuple):
    """What came back, and when in true seconds; `at` None: nothing will."""

    at: float | None
    outcome: Outcome = Outcome.NO_REPLY
    up: bool | None = False
    code: int = 0
    values: Values = ()


SILENCE = Answer(None)


class Instruments:
    """One node's probes: each asked once, at its sending, what will come of it."""

    def __init__(
        self, node: str, platform: Platform, network: Network, loop: VirtualLoop, random: Random
    ) -> None:
        self._node = node
        self._platform = platform
        self._network = network
        self._loop = loop
        self._random = random
        self._read: dict[str, tuple[int, dict[str, list[int]]]] = {}

    def send(self, key: RungKey, kind: str, copies: int) -> Answer:
        name = key.component
        place = ECHO if name == ECHO else name
        delay = None
        for _ in range(max(copies, 1)):
            delay = self._network.round_trip(self._node, place)
            if delay is not None:
                break
        if delay is None:
            return SILENCE
        at = self._loop.now + delay
        if name == ECHO:
            return self._echo(at)
        edge = self._platform.edges.get(name)
        if edge is not None:
            return self._edge(at, edge, kind)
        return _side(at, self._platform.sides[name], kind)

    def _echo(self, at: float) -> Answer:
        if not self._platform.echo_works:
            return Answer(at, Outcome.ERROR, False, 500)
        return Answer(at + CALL, Outcome.UP, True, 200, _call(""))

    def _edge(self, at: float, edge: EdgeModel, kind: str) -> Answer:
        if not edge.up:
            return SILENCE
        if kind == "kamailio":
            return Answer(at, Outcome.UP, True, 0, self._counts(edge))
        if kind == "sip_options":
            works = bool(edge.first)
            return Answer(at, Outcome.UP if works else Outcome.REFUSING, works, 200 if works else 503)
        uri = edge.first
        side = self._platform.by_uri.get(uri)
        if side is None:
            return Answer(at, Outcome.REFUSING, False, 503)
        if self._platform.place(edge, uri):
            return Answer(at + CALL, Outcome.UP, True, 200, _call(side.name))
        if side.condition is Condition.ZOMBIE and side.power and not side.cut_off:
            return Answer(at, Outcome.REFUSING, False, 503)
        return SILENCE

    def _counts(self, edge: EdgeModel) -> Values:
        """Since this node's previous read; an edge that restarted counts from nothing."""
        starts, before = self._read.get(edge.name, (0, {}))
        if starts != edge.starts:
            before = {} if starts else {name: list(now) for name, now in edge.counters.items()}
        values: list[tuple[str, str | int | float | bool | None]] = [("reached", True)]
        values.append(("epoch", max((item.epoch for item in edge.sets[1]), default=-1)))
        for name, side in self._platform.sides.items():
            flags = next((item.active for item in edge.sets[1] if item.uri == side.uri), None)
            values.append((f"{name}.flags", "" if flags is None else "AX" if flags else "DX"))
            now = edge.counters.get(name, [0, 0, 0])
            then = before.get(name, [0, 0, 0])
            values += [
                (f"{name}.invites", now[0] - then[0]),
                (f"{name}.failures", now[1] - then[1]),
                (f"{name}.timeouts", now[2] - then[2]),
            ]
        self._read[edge.name] = (edge.starts, {name: list(now) for name, now in edge.counters.items()})
        return tuple(values)


def _side(at: float, side: SideModel, kind: str) -> Answer:
    if not side.power:
        return SILENCE
    if kind == "icmp":
        return Answer(at, Outcome.UP, True)
    match side.condition:
        case Condition.HUNG:
            return SILENCE
        case Condition.KILLED:
            return Answer(at, Outcome.TRANSPORT, False)
        case Condition.ZOMBIE if kind == "sip_call":
            return Answer(at, Outcome.REFUSING, False, 503)
        case _ if kind == "sip_call":
            return Answer(at + CALL, Outcome.UP, True, 200, _call(side.name))
        case _:
            return Answer(at, Outcome.UP, True, 200)


def _call(side: str) -> Values:
    return (
        ("side", side),
        ("mos", 4.3),
        ("pdd_ms", 20.0),
        ("loss_percent", 0.0),
        ("answered", True),
        ("code", 200),
        ("one_way", ""),
    )


@dataclass(slots=True)
class Flight:
    watch: Watch
    sent: float
    deadline: float
    answer: Answer
    ladder: LadderRun | None


class SimulatedProber:
    """ports.Prober. The health it reports is folded as the real one folds it, and a probe is void when its loop lagged."""

    def __init__(
        self,
        vantage: str,
        clock: Clock,
        host: Host,
        loop: VirtualLoop,
        send: Callable[[RungKey, str, int], Answer],
    ) -> None:
        self.vantage = vantage
        self.probes = 0
        self.voided = 0
        self._clock = clock
        self._host = host
        self._loop = loop
        self._send = send
        self._outbox = Outbox()
        self._watches: dict[RungKey, tuple[Watch, int]] = {}
        self._due: dict[RungKey, float] = {}
        self._flights: list[Flight] = []
        self._ticks = 0
        self._worst = 0.0
        self._next = 0.0

    async def start(self) -> None:
        self._next = self._loop.time() + TICK
        self._loop.call_at(self._next, self._tick)

    async def assign(self, targets: Sequence[Target]) -> None:
        now = self._loop.time()
        for number, target in enumerate(targets):
            rung = target.rung
            self._watches[target.key] = (
                Watch(
                    key=target.key,
                    interval=rung.interval,
                    timeout=rung.timeout,
                    hysteresis=rung.hysteresis,
                    confirm=0,
                    confirm_interval=rung.confirm_interval,
                    resends=(),
                    on_demand=rung.on_demand,
                    reports_values=rung.reports_values,
                    kind=rung.probe,
                    mass=None,
                    prepared=None,
                    probe=None,
                ),
                rung.copies,
            )
            if not rung.on_demand:
                self._due[target.key] = now + min(rung.interval, 1.0) * (number % 8) / 8

    async def run_ladder(self, command: str, keys: Sequence[RungKey], timeout: float, count: int) -> None:
        run = LadderRun(
            command=command,
            keys=keys,
            deadline=self._loop.time() + timeout,
            count=count,
            launch=self._launch_extra,
            answer=self._answer,
            now=self._loop.time,
        )
        run.start({key: watch for key, (watch, _) in self._watches.items()}, self._loop)

    def events(self) -> AsyncIterator[Event]:
        return self._outbox.events()

    async def close(self) -> None:
        self._outbox.close()

    def _launch_extra(self, extra: Extra, timeout: float) -> None:
        self._launch(extra.watch, timeout, extra.ladder)

    def _launch(self, watch: Watch, timeout: float, ladder: LadderRun | None) -> None:
        self.probes += 1
        now = self._loop.time()
        answer = self._send(watch.key, watch.kind, self._watches[watch.key][1])
        self._flights.append(Flight(watch, now, now + timeout, answer, ladder))

    def _answer(self, run: LadderRun) -> None:
        self._outbox.put(
            LadderFinished(at=self._clock.now(), command=run.command, results=tuple(run.results))
        )

    def _tick(self) -> None:
        now = self._loop.time()
        lag = now - self._next
        self._worst = max(self._worst, lag)
        self._land(now, lag)
        for key, due in self._due.items():
            if due > now:
                continue
            watch = self._watches[key][0]
            while due <= now:
                due += watch.interval
            self._due[key] = due
            if lag <= LATE:
                self._launch(watch, watch.timeout, None)
        self._ticks += 1
        if self._ticks % BEATS == 0:
            self._outbox.put(
                VantageBeat(
                    at=self._clock.now(),
                    vantage=self.vantage,
                    probes=self.probes,
                    late=self.voided,
                    lag=self._worst,
                    failure_domain=self.vantage,
                )
            )
            self._worst = 0.0
        self._next = now + TICK
        self._loop.call_at(self._next, self._tick)

    def _land(self, now: float, lag: float) -> None:
        """What has arrived is taken in before anything is given up."""
        true = self._loop.now
        flying: list[Flight] = []
        landed: list[tuple[Flight, ProbeResult]] = []
        for flight in self._flights:
            answer, watch = flight.answer, flight.watch
            if (
                (DRAINS or now <= flight.deadline)
                and answer.at is not None
                and answer.at <= true
                and self._host.mono(answer.at) <= flight.deadline + TICK + lag
            ):
                result = ProbeResult(
                    watch.key,
                    flight.sent,
                    now,
                    answer.outcome,
                    answer.up,
                    self._host.mono(answer.at) - flight.sent,
                    answer.code,
                    1,
                    "",
                    answer.values,
                )
            elif now >= flight.deadline:
                result = void_for_lag(
                    ProbeResult(watch.key, flight.sent, now, Outcome.NO_REPLY, False),
                    flight.deadline - flight.sent,
                    max(0.0, lag),
                )
                self.voided += result.up is None
            else:
                flying.append(flight)
                continue
            landed.append((flight, result))
        self._flights = flying
        for flight, result in landed:
            self._take(flight, result)

    def _take(self, flight: Flight, result: ProbeResult) -> None:
        watch = flight.watch
        at = self._clock.now()
        previous = watch.take(result)
        if previous is not None:
            self._outbox.put(watch.changed(at, self.vantage, previous, result))
        if watch.reports_values and result.up is not None:
            self._outbox.put(watch.measured(at, self.vantage, result))
        if flight.ladder is not None:
            flight.ladder.take(watch, result)
