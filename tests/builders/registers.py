"""The coordination store as a fake: one linearizable map, one lease, and what can go wrong with an answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from controller.model.errors import CoordinationConflict, CoordinationError, CoordinationUnknown
from controller.ports import Grant, GrantPhase, Heartbeat, Record, Sighting


class Trouble(StrEnum):
    NONE = "none"
    DOWN = "down"  # refused, nothing happened
    LOST = "lost"  # applied, and the answer was lost
    UNSENT = "unsent"  # not applied, and that can't be told
    VANISHED = "vanished"  # applied, the answer was lost, and from then on nothing is answered


@dataclass
class Store:
    """`now` is the store's own clock. `troubles` befall the next writes in turn."""

    now: Callable[[], float]
    records: dict[str, Record] = field(default_factory=dict)
    revision: int = 1
    leader: str = ""
    term: int = 0  # of the leader: a new one is never mistaken for an old one
    expires: float = 0.0
    down: bool = False
    troubles: deque[Trouble] = field(default_factory=deque)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    grants: dict[str, Grant] = field(default_factory=dict)
    beats: dict[str, Heartbeat] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)  # epochs at which grants were held last

    def lapse(self) -> None:
        if self.leader and self.now() >= self.expires:
            self.leader = ""
            self.left.set()


class StoreLease:
    """ports.Lease."""

    shared = True

    def __init__(self, store: Store, node: str, *, lifetime: float = 1.0) -> None:
        self.store = store
        self.node = node
        self.term = -1
        self._lifetime = lifetime

    @property
    def holder(self) -> str:
        return self.store.leader

    @property
    def held(self) -> bool:
        self.store.lapse()
        return self.store.leader == self.node and self.store.term == self.term

    async def acquire(self) -> float | None:
        began = self.store.now()
        await asyncio.sleep(0)
        if self.store.down:
            raise CoordinationError("the store does not answer")
        self.store.lapse()
        if not self.store.leader:
            self.store.leader = self.node
            self.store.term += 1
            self.term = self.store.term
            self.store.left.clear()
        elif not self.held:
            return None
        self.store.expires = began + self._lifetime
        return began + self._lifetime

    async def release(self) -> None:
        if self.held:
            self.store.leader = ""
            self.store.left.set()

    async def vacant(self) -> None:
        await self.store.left.wait()


class StoreRegister:
    """ports.Register."""

    def __init__(self, store: Store, lease: StoreLease) -> None:
        self.store = store
        self.lease = lease
        self.writes = 0

    async def open(self) -> None: ...

    async def read(self) -> Mapping[str, Record]:
        await asyncio.sleep(0)
        if self.store.down:
            raise CoordinationError("the store does not answer")
        return dict(self.store.records)

    async def write(self, changes: Mapping[str, bytes | None], expected: Mapping[str, int]) -> int:
        await asyncio.sleep(0)
        self.writes += 1
        trouble = self.store.troubles.popleft() if self.store.troubles else Trouble.NONE
        if self.store.down or trouble is Trouble.DOWN:
            raise CoordinationError("the store does not answer")
        if trouble is Trouble.UNSENT:
            raise CoordinationUnknown("no answer")
        store = self.store
        standing = {key: store.records[key].revision if key in store.records else 0 for key in changes}
        if not self.lease.held or standing != dict(expected):
            raise CoordinationConflict("another node leads, or wrote first")
        store.revision += 1
        for key, value in changes.items():
            if value is None:
                store.records.pop(key, None)
            else:
                store.records[key] = Record(value, store.revision)
        if trouble in (Trouble.LOST, Trouble.VANISHED):
            store.down = trouble is Trouble.VANISHED
            raise CoordinationUnknown("no answer")
        return store.revision

    async def close(self) -> None: ...


class Board:
    """Where several `StoreSightings` publish. `cut`: nodes that reach it neither way."""

    def __init__(self) -> None:
        self.newest: dict[str, Sighting] = {}
        self.readers: list[tuple[str, asyncio.Queue[Sighting | None]]] = []
        self.cut: set[str] = set()

    def cut_off(self, node: str) -> None:
        self.cut.add(node)
        for name, queue in self.readers:
            if name == node:
                queue.put_nowait(None)


class StoreSightings:
    """ports.Sightings."""

    def __init__(self, board: Board, node: str) -> None:
        self.board = board
        self.node = node
        self.published = 0

    async def publish(self, sighting: Sighting) -> None:
        await asyncio.sleep(0)
        if self.node in self.board.cut:
            raise CoordinationError("the store does not answer")
        self.published += 1
        self.board.newest[self.node] = sighting
        for name, queue in self.board.readers:
            if name != self.node and name not in self.board.cut:
                queue.put_nowait(sighting)

    async def watch(self) -> AsyncIterator[Sighting]:
        if self.node in self.board.cut:
            raise CoordinationError("the store does not answer")
        queue: asyncio.Queue[Sighting | None] = asyncio.Queue()
        reader = (self.node, queue)
        self.board.readers.append(reader)
        try:
            for name, sighting in sorted(self.board.newest.items()):
                if name != self.node:
                    yield sighting
            while (found := await queue.get()) is not None:
                yield found
            raise CoordinationError("the watch broke")
        finally:
            self.board.readers.remove(reader)


class StoreGrants:
    """ports.Grants over the same store; `beat` is what an agent writes."""

    def __init__(self, store: Store, lease: StoreLease) -> None:
        self.store = store
        self.lease = lease

    async def read(self, group: str) -> tuple[Grant | None, Heartbeat | None]:
        await asyncio.sleep(0)
        if self.store.down:
            raise CoordinationError("the store does not answer")
        return self.store.grants.get(group), self.store.beats.get(group)

    async def close_grant(self, group: str, epoch: int) -> tuple[Grant, Heartbeat | None]:
        standing, heartbeat = await self.read(group)
        if not self.lease.held:
            raise CoordinationConflict("another node leads")
        if standing is not None and standing.epoch > epoch:
            raise CoordinationConflict(f"epoch {epoch} is older than {standing.epoch}")
        if standing is not None and standing.epoch == epoch and standing.phase is GrantPhase.FENCING:
            return standing, heartbeat
        holder = "" if standing is None else standing.holder
        return self._put(Grant(group, epoch, holder, GrantPhase.FENCING, 0)), heartbeat

    async def open_grant(self, group: str, holder: str, epoch: int) -> Grant:
        standing, _ = await self.read(group)
        if not self.lease.held:
            raise CoordinationConflict("another node leads")
        opened = Grant(group, epoch, holder, GrantPhase.HELD, 0)
        if standing is not None:
            if standing._replace(revision=0) == opened:
                return standing
            if standing.phase is not GrantPhase.FENCING and standing.holder != holder:
                raise CoordinationConflict("it must be fenced first")
            if standing.epoch > epoch:
                raise CoordinationConflict(f"epoch {epoch} is older than {standing.epoch}")
            if self.store.held.get(group, 0) >= epoch and standing.holder != holder:
                raise CoordinationConflict("another holder needs a newer epoch")
        self.store.held[group] = epoch
        return self._put(opened)

    def last_heard(self, group: str) -> Heartbeat | None:
        return self.store.beats.get(group)

    def beat(self, group: str, grant: Grant, agent: str, count: int) -> bool:
        """Whether the store took it: only while the grant stands as the agent saw it."""
        if self.store.down or self.store.grants.get(group) != grant:
            return False
        self.store.revision += 1
        self.store.beats[group] = Heartbeat(
            group, grant.epoch, agent, agent, count, self.store.revision, self.store.now()
        )
        return True

    def _put(self, grant: Grant) -> Grant:
        self.store.revision += 1
        placed = grant._replace(revision=self.store.revision)
        self.store.grants[grant.group] = placed
        return placed
