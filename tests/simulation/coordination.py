"""The coordination store: one linearizable register with a lease, on a clock of its own, behind the network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from controller.model.errors import CoordinationConflict, CoordinationError, CoordinationUnknown
from controller.ports import Record, Sighting
from tests.simulation.loop import Host, VirtualLoop
from tests.simulation.network import Network

T = TypeVar("T")

NAME = "etcd"
TTL = 1.5
MARGIN = 0.15
"""Seconds: what two clocks may drift apart in a lease's time, and more."""

NOVELTY = "novelty/1"
"""A record of a kind that this version does not know."""

MORE = "of_a_newer_version"
"""A field that this version does not know."""

DEADLINE = 0.4
"""Seconds a client waits for an answer."""


class NotServing(Exception):
    """No quorum, or no space: the store says so."""


@dataclass
class Store:
    """`clock` is its own. Trouble: `away` (no quorum), `full` (no space: reads only)."""

    clock: Host
    random: Random
    loop: VirtualLoop
    records: dict[str, Record] = field(default_factory=dict)
    revision: int = 1
    leader: str = ""
    term: int = 0
    expires: float = 0.0
    owner: int = 0
    away: bool = False
    full: bool = False
    history: list[tuple[float, str, int]] = field(default_factory=list)
    newer: set[str] = field(default_factory=set)
    """Nodes that run a newer version: what they write has a field more."""
    forgotten: list[str] = field(default_factory=list)
    """Records whose field more was there before this version wrote them."""
    _waiting: list[Callable[[], None]] = field(default_factory=list)

    @property
    def now(self) -> float:
        return self.clock.mono(self.loop.now)

    def serving(self, *, write: bool) -> None:
        if self.away:
            raise NotServing("etcd has no leader")
        if write and self.full:
            raise NotServing("etcd: mvcc: database space exceeded")

    def lapse(self) -> None:
        if self.leader and self.now >= self.expires:
            self.drop()

    def drop(self) -> None:
        """The leader key goes."""
        self.leader = ""
        self.history.append((self.loop.now, "", self.term))
        waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell()

    def campaign(self, node: str, token: int) -> tuple[str, int]:
        """(who leads, under which term; -1 for another's) after it. `token` is of one incarnation of the node: a campaign
        that was won and whose answer was lost is its own, one of its predecessor is not."""
        self.serving(write=True)
        self.lapse()
        if self.leader == node and self.owner == token:
            self.expires = self.now + TTL
        elif not self.leader:
            self.owner = token
            self.leader, self.expires = node, self.now + TTL
            self.term += 1
            self.history.append((self.loop.now, node, self.term))
            self._watch_lease(self.term)
        return self.leader, self.term if self.owner == token else -1

    def _watch_lease(self, term: int) -> None:
        def look() -> None:
            if self.leader and self.term == term:
                self.lapse()
                if self.leader:
                    self._watch_lease(term)

        self.loop.after(max(0.01, (self.expires - self.now) / self.clock.rate), look)

    def release(self, node: str, term: int) -> None:
        self.serving(write=True)
        if self.leader == node and self.term == term:
            self.drop()

    def vacant(self, tell: Callable[[], None]) -> None:
        self.lapse()
        if self.leader:
            self._waiting.append(tell)
        else:
            tell()

    def read(self) -> tuple[dict[str, Record], str]:
        self.serving(write=False)
        return dict(self.records), self.leader

    def write(
        self, node: str, term: int, changes: Mapping[str, bytes | None], expected: Mapping[str, int]
    ) -> int:
        self.serving(write=True)
        self.lapse()
        if self.leader != node or self.term != term:
            raise CoordinationConflict(f"{self.leader or 'nobody'} leads")
        for key in changes:
            found = self.records.get(key)
            if (found.revision if found else 0) != expected[key]:
                raise CoordinationConflict(f"{key} was written by another")
        self.revision += 1
        for key, value in changes.items():
            before = self.records.pop(key, None)
            if value is None:
                continue
            if node in self.newer:
                value = _with_more(value)
            elif before is not None and MORE.encode() in before.value and MORE.encode() not in value:
                self.forgotten.append(key)
            self.records[key] = Record(value, self.revision)
        return self.revision


def _with_more(value: bytes) -> bytes:
    document = json.loads(value)
    document["value"][MORE] = {"because": ["it", "can"]}
    return json.dumps(document).encode()


class Client:
    """One node's way to the store."""

    def __init__(self, store: Store, network: Network, node: str, token: int) -> None:
        self.store = store
        self.network = network
        self.node = node
        self.term = -1
        self.leader = ""
        self.token = token

    async def ask(self, serve: Callable[[], T], *, write: bool) -> T:
        try:
            async with asyncio.timeout(DEADLINE):
                return await self.network.ask(self.node, NAME, serve)
        except NotServing as error:
            raise CoordinationError(str(error)) from error
        except TimeoutError:
            kind = CoordinationUnknown if write else CoordinationError
            raise kind(f"no answer from the store within {DEADLINE:g} s") from None


class SimulatedLease:
    """ports.Lease. The deadline counts from before the request, on this host's clock."""

    shared = True

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def holder(self) -> str:
        return self._client.leader

    async def acquire(self) -> float | None:
        client = self._client
        began = asyncio.get_running_loop().time()
        try:
            leader, term = await client.ask(
                lambda: client.store.campaign(client.node, client.token), write=False
            )
        except CoordinationError:
            client.leader = ""
            raise
        client.leader = leader
        client.term = term
        if term < 0:
            return None
        return began + TTL - MARGIN

    async def release(self) -> None:
        client = self._client
        term, client.term = client.term, -1
        if term >= 0:
            await client.ask(lambda: client.store.release(client.node, term), write=False)

    async def vacant(self) -> None:
        client = self._client
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell() -> None:
            if not future.done():
                future.set_result(None)

        def away() -> None:
            client.network.send(NAME, client.node, tell)

        client.network.send(client.node, NAME, lambda: client.store.vacant(away))
        await future


class SimulatedRegister:
    """ports.Register."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def open(self) -> None: ...

    async def read(self) -> Mapping[str, Record]:
        found, leader = await self._client.ask(self._client.store.read, write=False)
        self._client.leader = leader
        return found

    async def write(self, changes: Mapping[str, bytes | None], expected: Mapping[str, int]) -> int:
        client = self._client
        return await client.ask(
            lambda: client.store.write(client.node, client.term, changes, expected), write=True
        )

    async def close(self) -> None: ...


class Board:
    """Where sightings are left: pushed to whoever watches, and gone with a broken watch."""

    def __init__(self, network: Network, loop: VirtualLoop) -> None:
        self.newest: dict[str, Sighting] = {}
        self.watches: list[Watch] = []
        self._network = network
        self._loop = loop

    def publish(self, sighting: Sighting) -> None:
        self.newest[sighting.vantage] = sighting
        for watch in tuple(self.watches):
            if watch.node != sighting.vantage:
                self.push(watch, sighting)

    def push(self, watch: Watch, sighting: Sighting) -> None:
        """In order, as a stream is; a piece that is lost breaks it, which is noticed later."""
        delay = self._network.delay(NAME, watch.node)
        if delay is None:
            if watch in self.watches:
                self.watches.remove(watch)
                self._loop.after(1.0, watch.broken)
            return
        watch.arrives = max(watch.arrives, self._loop.now + delay)
        self._loop.at(watch.arrives, watch.put, sighting)


class Watch:
    def __init__(self, node: str) -> None:
        self.node = node
        self.arrives = 0.0
        self.queue: asyncio.Queue[Sighting | None] = asyncio.Queue()

    def put(self, sighting: Sighting) -> None:
        self.queue.put_nowait(sighting)

    def broken(self) -> None:
        self.queue.put_nowait(None)


class SimulatedSightings:
    """ports.Sightings."""

    def __init__(self, client: Client, board: Board) -> None:
        self._client = client
        self._board = board

    async def publish(self, sighting: Sighting) -> None:
        store = self._client.store

        def serve() -> None:
            store.serving(write=True)
            self._board.publish(sighting)

        await self._client.ask(serve, write=True)

    async def watch(self) -> AsyncIterator[Sighting]:
        watch = Watch(self._client.node)

        def serve() -> list[Sighting]:
            self._client.store.serving(write=False)
            self._board.watches.append(watch)
            return [item for name, item in sorted(self._board.newest.items()) if name != watch.node]

        for sighting in await self._client.ask(serve, write=False):
            yield sighting
        while (found := await watch.queue.get()) is not None:
            yield found
        raise CoordinationError("the watch broke")
