"""One controller, as the composition root builds it: the real engine, dispatcher, leadership and driver; its ports are
simulated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from controller.actions.kamailio_dispatcher import KamailioDispatcher
from controller.engine.dispatch import Dispatcher
from controller.engine.leadership import Leadership, watch_timers
from controller.engine.loop import Engine
from controller.engine.recovery import durable
from controller.engine.replication import Replica
from controller.engine.sharing import Sharing
from controller.model.commands import Command, Notify, RunAction
from controller.model.errors import ActionError, NotificationError
from controller.model.events import Event, LadderFinished
from controller.model.facts import Aggregate, Entry
from controller.model.health import RungKey
from controller.model.moments import Moment
from controller.model.parameters import unflatten
from controller.model.policy import Policy
from controller.model.state import State
from controller.ports import ActionOutcome, Target
from tests.simulation.actuating import SWITCH, wired
from tests.simulation.coordination import (
    Board,
    Client,
    SimulatedLease,
    SimulatedRegister,
    SimulatedSightings,
    Store,
)
from tests.simulation.disk import Disk, SimulatedJournal
from tests.simulation.instruments import Instruments, SimulatedProber
from tests.simulation.loop import Host, VirtualLoop
from tests.simulation.network import Network
from tests.simulation.platform import GROUP, Platform

WATCH_PERIOD = 0.1
"""Seconds between two looks at a node's own timers."""

MAIL = "mail"
"""The host that takes pages."""


@dataclass
class Surroundings:
    """What all nodes live in."""

    loop: VirtualLoop
    network: Network
    platform: Platform
    policy: Policy
    random: Random
    store: Store | None
    board: Board | None
    left: Callable[[Node, Command], None]
    noticed: Callable[[Node, Sequence[Entry]], None]
    paged: Callable[[Notify], None]
    healed: Callable[[], None]


class HostClock:
    def __init__(self, host: Host, loop: VirtualLoop) -> None:
        self._host, self._loop = host, loop

    def now(self) -> Moment:
        true = self._loop.now
        return Moment(self._host.mono(true), self._host.wall(true))


class AloneLease:
    """ports.Lease of a node that is alone: a local lock, which is always free."""

    shared = False
    holder = ""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    async def acquire(self) -> float | None:
        return self._loop.time() + 3.0

    async def release(self) -> None: ...

    async def vacant(self) -> None:
        await self._loop.create_future()


class SimulatedPager:
    def __init__(self, node: str, around: Surroundings) -> None:
        self._node, self._around = node, around

    async def send(self, command: Notify) -> str:
        around = self._around

        def serve() -> str:
            if command.person in around.network.down:
                raise NotificationError("the gateway is down")
            around.paged(command)
            return "taken"

        return await around.network.ask(self._node, MAIL, serve, work=0.05)


class SimulatedAction:
    """What runbooks and drills call beside the driver: a restart that does not help, and a bench behind the switch that makes
    a side hang and goes on with it. It does so once, however often it is asked."""

    def __init__(self, node: str, around: Surroundings) -> None:
        self._node, self._around = node, around

    async def run(self, command: RunAction) -> ActionOutcome:
        around = self._around
        match unflatten(command.parameters):
            case {"command": ("break" | "heal") as what, "arguments": {"side": str(side)}}:
                pass
            case _:
                raise ActionError("the component can't be restarted from here")
        way = around.network.round_trip(self._node, SWITCH)
        if way is None:
            raise ActionError("the bench does not answer")
        await asyncio.sleep(way + 0.01 + 0.04 * around.random.random())
        if what == "heal":
            around.platform.take_back(side)
            around.healed()
        elif not around.platform.inject(side):
            raise ActionError(f"{side} does not work as it is")
        return ActionOutcome(message="done")

    async def close(self) -> None: ...


class WatchedDispatcher(Dispatcher):
    """Tells what left, and after which entry."""

    def __init__(self, node: Node, **ports: object) -> None:
        super().__init__(**ports)  # type: ignore[arg-type]
        self._node = node

    def dispatch(self, command: Command, state: State, submit: Callable[[Event], None]) -> None:
        self._node.left(command)
        super().dispatch(command, state, submit)


class Node:
    """Survives its incarnations: the disk does."""

    def __init__(
        self, name: str, around: Surroundings, disk: Disk, *, offset: float, drift: float, wall: float
    ) -> None:
        self.name = name
        self.disk = disk
        self.around = around
        self.starts = 0
        self.running = False
        self.defect = ""
        self.dispatched: dict[str, int] = {}
        self._clockwork = (offset, drift, wall)
        self.crash_at = 0
        self.crashes: Callable[[], None] = self.crash
        self.host: Host
        self.engine: Engine
        self.prober: SimulatedProber
        self.journal: SimulatedJournal

    def start(self) -> None:
        """A process begins on this host; its predecessor is gone."""
        around, loop = self.around, self.around.loop
        offset, drift, wall = self._clockwork
        self.starts += 1
        self.running = True
        host = self.host = Host(self.name, offset=offset, drift=drift, wall=wall)
        if self.starts == 1:
            host.crash_at, host.crashes = self.crash_at, self.crashes
        clock = HostClock(host, loop)
        self.journal = SimulatedJournal(self.name, self.disk)
        instruments = Instruments(self.name, around.platform, around.network, loop, around.random)
        self.prober = SimulatedProber(self.name, clock, host, loop, instruments.send)
        rules = around.policy.groups[GROUP]
        with wired(self.name, around.network, around.platform):
            driver = KamailioDispatcher(rules, rules.driver_parameters)  # type: ignore[arg-type]
        action = SimulatedAction(self.name, around)
        self.dispatcher = WatchedDispatcher(
            self,
            clock=clock,
            prober=self.prober,
            actions={"command": action, "http": action},
            drivers={GROUP: driver},
            pager=SimulatedPager(self.name, around),
        )
        replica, sharing = None, None
        if around.store is None or around.board is None:
            lease: AloneLease | SimulatedLease = AloneLease(loop)
        else:
            client = Client(around.store, around.network, self.name, around.random.getrandbits(60))
            lease = SimulatedLease(client)
            replica = Replica(SimulatedRegister(client))
            sharing = Sharing(
                SimulatedSightings(client, around.board),
                clock,
                lambda event: self.engine.submit(event),
                vantage=self.name,
                failure_domain=self.name,
                shared=frozenset(around.policy.components),
            )
        self.engine = Engine(
            node=self.name,
            policy=around.policy,
            journal=self.journal,
            dispatcher=self.dispatcher,
            clock=clock,
            replica=replica,
            resign=lambda reason: self.leadership.step_down(reason),
        )
        self.leadership = Leadership(lease, clock, self.engine.submit, period=0.5, replica=replica)
        self._sharing = sharing
        self._clock = clock
        self.engine.subscribe(lambda entries: self.around.noticed(self, entries))
        loop.spawn(host, self._main(), "main")

    async def _main(self) -> None:
        loop = self.around.loop
        await self.engine.open()
        await self.prober.start()
        await self.prober.assign(
            [
                Target(RungKey(component.name, rung.name), rung)
                for _, component in sorted(self.around.policy.components.items())
                for rung in component.ladder
            ]
        )
        parts = [
            ("engine", self.engine.run()),
            ("listen", self._listen()),
            ("leadership", self.leadership.keep()),
            (
                "timers",
                watch_timers(
                    self._clock,
                    self.engine.submit,
                    period=WATCH_PERIOD,
                    tolerated=self.around.policy.timer_gap,
                ),
            ),
        ]
        if self._sharing is not None:
            parts += [("publish", self._sharing.publish()), ("hear", self._sharing.listen())]
        for name, part in parts:
            loop.create_task(self._part(name, part))

    async def _part(self, name: str, part: object) -> None:
        try:
            await part  # type: ignore[misc]
            self.defect = self.defect or f"{name} ended"
        except Exception as error:
            self.defect = self.defect or f"{name}: {type(error).__name__}: {error}"

    async def _listen(self) -> None:
        async for event in self.prober.events():
            if isinstance(event, LadderFinished) and not self.dispatcher.answered(event):
                continue
            if self._sharing is not None:
                self._sharing.notice(event)
            self.engine.submit(event)

    def left(self, command: Command) -> None:
        if command.id.startswith("CMD-"):  # a reconciliation's read changes nothing and is not recorded
            self.dispatched.setdefault(command.id, self.disk.acknowledged)
        self.around.left(self, command)

    def crash(self) -> None:
        """The power is cut: no `finally` runs, and what was not synced is gone."""
        if not self.running:
            return
        self.running = False
        self.around.loop.kill(self.host)
        self.disk.power_cut()

    def true(self, wall: float) -> float:
        """True seconds, from seconds of this node's wall clock as it was set at first."""
        _, drift, offset = self._clockwork
        return (wall - offset) / (1.0 + drift)

    @property
    def state(self) -> State:
        return self.engine.snapshot.state

    @property
    def leads(self) -> bool:
        return self.running and not self.host.paused and not self.state.following

    def live(self) -> tuple[Aggregate, ...]:
        return durable(self.state, self.around.policy)
