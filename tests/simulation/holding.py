"""A virtual address between two hosts: the real holders and the real fencing, over a kernel, a store and a network that
are simulated in true time.

A process may stop at any instant, also between two steps of one call: what it had computed reaches the kernel late.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from controller.actions.points import Unreachable
from controller.agent.coordination import Beat, Grant, Unconfirmed
from controller.agent.gate import HoldExpired
from controller.agent.hold import Holder, Standing
from controller.agent.memory import Remembered
from controller.agent.promises import PromiseBook
from controller.agent.refusals import Refused
from controller.agent.settings import AddressSettings, GroupSettings, WithoutEtcd
from controller.core.invariants import Taking, Violation, observed
from tests.simulation.granting import CONTROLLERS, ETCD, Controller
from tests.simulation.loop import Host, VirtualLoop
from tests.simulation.network import Network

GROUP = "calls"
SIDES = ("primary", "backup")
D = 1.0
ARMED = 0.05
MARGIN = 0.1
WRITE = 0.15
"""Seconds an agent waits for a heartbeat, and for another's promise."""


@dataclass
class Rules:
    """The safeguards, each of which an ablation takes away."""

    armed_stage: bool = True
    compare_and_extend: bool = True
    closing_transaction: bool = True
    fenced_first: bool = True  # another's grant is opened only after it was closed; one's own may be raised
    promises_bind: bool = True  # whoever promised takes no address until the promise is over
    outwait: float = D + 0.05 + MARGIN


class Kernel:
    """agent.hold.Locks: two elements with timeouts, on the kernel's clock, which no stopped process holds up."""

    def __init__(self, world: HoldingWorld, host: Host) -> None:
        self._world, self._host = world, host
        self._armed = self._held = 0.0

    @property
    def passes(self) -> bool:
        return self._world.loop.now < self._held

    def arm(self) -> None:
        self._armed = self._world.loop.now + ARMED

    def extend(self, seconds: float, *, first: bool) -> None:
        """`seconds` were computed before; the process may stop before the kernel has the transaction."""
        if seconds < 0.001:
            raise HoldExpired("no time left")
        late = self._world.stop_here(self._host)
        if late:
            self._world.loop.after(late, self._transact, seconds, first)
        else:
            self._transact(seconds, first)

    def _transact(self, seconds: float, first: bool) -> None:
        rules, now = self._world.rules, self._world.loop.now
        if rules.armed_stage and now >= self._armed:
            return
        if rules.compare_and_extend and not first and now >= self._held:
            return
        if not rules.compare_and_extend and now < self._held:
            return  # a bare add does not extend what is there
        self._armed = 0.0
        self._held = now + seconds
        self._world.changed()
        self._world.loop.at(self._held, self._world.changed)

    def shut(self) -> None:
        self._held = 0.0
        self._world.changed()

    async def take(self, *, first: bool) -> None: ...

    async def drop(self) -> bool:
        return True


class Memory:
    def __init__(self) -> None:
        self._group = Remembered()

    def of(self, group: str) -> Remembered:
        return self._group

    async def remember(
        self, group: str, *, epoch: int | None = None, held: bool | None = None, stopped: bool | None = None
    ) -> None:
        await asyncio.sleep(0.002)
        known = self._group
        self._group = replace(
            known, epoch=max(known.epoch, epoch or 0), held=known.held if held is None else held
        )


class Store:
    """Grants and heartbeats, linearizable. `leader`: who may write grants."""

    def __init__(self) -> None:
        self.revision = 1
        self.leader = CONTROLLERS[0]
        self.grant: Grant | None = None
        self.visible: Grant | None = None
        """What agents are guarded by and told: the grant, unless an ablation keeps a closing from them."""
        self.beat: tuple[int, int] | None = None  # epoch, revision
        self.watches: list[tuple[str, asyncio.Queue[Grant | None]]] = []

    def heartbeat(self, grant: Grant) -> Grant | None:
        if self.visible == grant:
            self.revision += 1
            self.beat = (grant.epoch, self.revision)
        return self.visible

    def put(self, grant: Grant, *, visible: bool = True) -> None:
        self.revision += 1
        self.grant = grant._replace(revision=self.revision)
        if visible:
            self.visible = self.grant


class AgentCoordination:
    """agent.coordination.Coordination."""

    cluster = "one"

    def __init__(self, world: HoldingWorld, host: str) -> None:
        self._world, self._host = world, host

    def pin(self, cluster: str) -> None: ...

    async def read(self, group: str) -> Grant | None:
        return await self._world.network.ask(self._host, ETCD, lambda: self._world.store.visible)

    async def beat(self, group: str, grant: Grant, beat: Beat) -> Grant | None:
        world = self._world

        def serve() -> Grant | None:
            stands = world.store.heartbeat(grant)
            if world.store.beat is not None:
                epoch, revision = world.store.beat
                for controller in world.controllers:
                    hear = controller.grants.hear
                    world.network.send(ETCD, controller.host.name, lambda hear=hear: hear(epoch, revision))
            return stands

        return await world.network.ask(self._host, ETCD, serve)

    async def watch(self, group: str) -> AsyncIterator[Grant | None]:
        queue: asyncio.Queue[Grant | None] = asyncio.Queue()
        try:
            async with asyncio.timeout(0.5):
                yield await self.read(group)
        except TimeoutError:
            raise Unconfirmed("no answer") from None
        self._world.store.watches.append((self._host, queue))
        while True:
            yield await queue.get()

    async def close(self) -> None: ...


class Promises:
    """agent.hold.Promises of one side: the real book, asked over the network as `agent.promises.Peers` asks."""

    def __init__(self, world: HoldingWorld, side: str, memory: Memory) -> None:
        self._world, self._side = world, side
        host = world.hosts[side]
        settings = GroupSettings(
            side=side,
            addresses=(AddressSettings.model_validate({"address": "192.0.2.9", "interface": "eth0"}),),
            hold_time=D,
            without_etcd=WithoutEtcd.KEEP if world.keep else WithoutEtcd.DROP,
            peers={other: f"https://{other}:8752" for other in SIDES if other != side},
        )
        self.book = PromiseBook(
            {GROUP: settings},
            memory,  # type: ignore[arg-type]
            lambda: host.mono(world.loop.now),
        )

    def bound_until(self, group: str) -> float:
        return self.book.bound_until(group) if self._world.rules.promises_bind else 0.0

    async def ask(self, grant: Grant) -> bool:
        world = self._world
        if not world.keep:
            return False
        other = next(side for side in SIDES if side != self._side)
        try:
            async with asyncio.timeout(WRITE):
                await world.network.ask(self._side, other, lambda: world.promise(other, grant))
        except (TimeoutError, Refused, Unreachable):
            return False
        world.result.acts["kept"] += 1
        return True


@dataclass
class Held:
    """`moves`: grants given to the other side. `proofs`: what counted as the fence. `acts`: what else was done, by name."""

    violations: list[Violation]
    moves: int
    proofs: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)


class HoldingWorld:
    def __init__(self, seed: int, rules: Rules, *, seconds: float = 25.0, quiet: bool = False) -> None:
        """`quiet`: nothing goes wrong and nobody moves the address: it is held throughout."""
        self.loop = VirtualLoop(Random(f"{seed}/scheduler"))
        self.random = Random(f"{seed}/holding")
        self.network = Network(self.loop, Random(f"{seed}/network"))
        self.rules, self.seconds, self.quiet = rules, seconds, quiet
        self.keep = self.random.random() < 0.5
        self.store = Store()
        self.observations: list[Taking] = []
        self.hosts = {side: self._host(side) for side in SIDES}
        self.controllers = [Controller(self, self._host(name)) for name in CONTROLLERS]
        self.kernels = {side: Kernel(self, host) for side, host in self.hosts.items()}
        self.result = Held([], 0)
        self.holders: dict[str, Holder] = {}
        self.promises: dict[str, Promises] = {}
        self._shown: tuple[str, ...] | None = None

    def _host(self, name: str) -> Host:
        return Host(name, offset=self.random.uniform(10, 1000), drift=self.random.uniform(-0.005, 0.005))

    def run(self) -> Held:
        self.changed()
        for side, host in self.hosts.items():
            self.loop.spawn(host, self._agent(side, host))
        for controller in self.controllers:
            self.loop.spawn(controller.host, controller.run())
        for _ in range(0 if self.quiet else self.random.randint(4, 9)):
            self.loop.after(self.random.uniform(2.0, self.seconds), self._trouble)
        self.loop.run(self.seconds + 3.0)
        self.result.violations += observed(self.observations, ())
        if self.quiet:
            self.result.violations += [
                Violation(
                    sequence=0, invariant="I12", message=f"at {seen.at:.3f} s: nobody holds the address"
                )
                for seen in self.observations
                if not seen.sides and seen.at > 2.0
            ]
        self.result.violations += [
            Violation(sequence=0, invariant="SIM", message=error) for error in self.loop.errors
        ]
        self.loop.close()
        for task in asyncio.all_tasks(self.loop):
            try:
                task.get_coro().close()  # type: ignore[union-attr]
            except RuntimeError:
                continue
        return self.result

    async def _agent(self, side: str, host: Host) -> None:
        async def released(epoch: int) -> None: ...

        memory = Memory()
        promises = self.promises[side] = Promises(self, side, memory)
        holder = self.holders[side] = Holder(
            group=GROUP,
            side=side,
            agent=side,
            boot=f"{side}-1",
            hold_time=D,
            write_timeout=WRITE,
            locks=self.kernels[side],
            coordination=AgentCoordination(self, side),
            memory=memory,  # type: ignore[arg-type]
            monotonic=self.loop.time,
            released=released,
            table_lost=lambda error: None,
            promises=promises,
        )
        await holder.run()

    def status(self, holder: Holder, host: Host) -> Mapping[str, Any]:
        """Asked of an agent that runs; one that is stopped says nothing in time."""
        if host.paused:
            raise Unreachable("stopped")
        standing = holder.hold.standing
        return {"standing": str(standing), "stopped": standing is Standing.INERT, "troubles": ()}

    def promise(self, side: str, asked: Grant) -> None:
        """Another agent asks this side's. Raises Refused, and Unreachable of one that is stopped."""
        if self.hosts[side].paused:
            raise Unreachable("stopped")
        holder = self.holders[side]
        self.promises[side].book.promise(GROUP, asked, D, known=holder.grant, standing=holder.hold.standing)

    def tell(self) -> None:
        """Each watch gets the new grant, unless it is cut off: then it hears by its next heartbeat."""
        grant = self.store.visible
        for host, queue in self.store.watches:
            self.network.send(ETCD, host, lambda queue=queue: queue.put_nowait(grant))

    def stop_here(self, host: Host) -> float:
        """Seconds for which the process stops between two steps of one call; mostly none."""
        if self.quiet or self.random.random() > 0.02:
            return 0.0
        seconds = self.random.choice([0.02, 0.045, 0.1, 0.6, 2.5])
        self._stop(host, seconds)
        return seconds

    def _stop(self, host: Host, seconds: float) -> None:
        if not host.paused:
            self.loop.pause(host)
            self.loop.after(seconds, self.loop.resume, host)

    def _trouble(self) -> None:
        side = self.random.choice(SIDES)
        lasts = self.random.choice([0.3, 1.5, 4.0])
        controllers = set(CONTROLLERS)
        match self.random.randrange(6):
            case 0:
                self._stop(self.hosts[side], lasts)
            case 1:
                self._cut({side}, {ETCD, *controllers}, lasts)
            case 2:
                self._cut({ETCD}, {side} if self.random.random() < 0.5 else controllers, lasts)
            case 3:
                # Its lease is gone, and it goes on later with whatever it was about to do.
                before = self.store.leader
                self.store.leader = next(name for name in CONTROLLERS if name != before)
                self.result.acts["taken over"] += 1
                self._stop(next(one.host for one in self.controllers if one.host.name == before), lasts)
            case 4:
                self._cut(set(SIDES), {ETCD}, lasts)
            case _:
                self._cut(controllers, {side}, lasts)

    def _cut(self, sources: set[str], targets: set[str], lasts: float) -> None:
        self.loop.after(lasts, self.network.partition(sources, targets))
        if self.random.random() < 0.6:
            self.loop.after(lasts, self.network.partition(targets, sources))

    def changed(self) -> None:
        """Which gates let the address's traffic pass, in true time."""
        open_ = tuple(side for side in SIDES if self.kernels[side].passes)
        if open_ != self._shown:
            self._shown = open_
            self.observations.append(Taking(at=self.loop.now, group=GROUP, sides=open_))
