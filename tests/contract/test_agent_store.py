"""What an agent obeys, over a real etcd: the store it belongs to, and no other that looks like it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from controller.agent.coordination import Beat, Grant, Phase, Unconfirmed
from controller.agent.settings import AgentSettings, EtcdSettings
from controller.agent.store import EtcdCoordination
from controller.leases.etcd.pin import Adoption
from tests.builders.coordinating import PLACES, Node
from tests.builders.etcd import PROGRAM, Etcd

pytestmark = pytest.mark.etcd

GROUP = "calls"
BEAT = Beat("agent", "boot", 1)


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    if PROGRAM is None:
        pytest.skip("etcd is not installed (Debian: etcd-server)")
    cluster = Etcd(tmp_path)
    cluster.start()
    yield cluster
    cluster.close()


class World:
    """One node that leads, and one agent's view of the same store."""

    def __init__(self, etcd: Etcd, directory: Path) -> None:
        self.etcd = etcd
        self._directory = directory
        self._starts = 0
        self.node = self.controller()
        self.agent = self._started()

    def _started(self) -> EtcdCoordination:
        etcd = EtcdSettings(endpoints=self.etcd.urls, accept_old_etcd=True)
        return EtcdCoordination(AgentSettings.model_construct(cluster=PLACES.cluster, etcd=etcd))

    async def restart_agent(self) -> None:
        """It knows of the store what it remembered, and no more."""
        store = self.agent.store
        await self.agent.close()
        self.agent = self._started()
        self.agent.pin(store)

    def controller(self, name: str = "") -> Node:
        """A new node unless named as one there was: one that has never seen any store believes whichever answers."""
        self._starts += 1
        return Node(name or f"node-{self._starts}", self.etcd.urls, self._directory, timeout=2.0, lifetime=60)

    async def lead(self, node: Node) -> None:
        await self.node.register.close()
        self.node = node
        await node.register.open()
        assert await node.lease.acquire() is not None

    async def grant(self, epoch: int) -> Grant:
        opened = await self.node.grants.open_grant(GROUP, "primary", epoch)
        return Grant(epoch, "primary", Phase.HELD, opened.revision)

    async def watched(self) -> Grant | None:
        watch = cast("AsyncIterator[Grant | None]", self.agent.watch(GROUP))
        return await asyncio.wait_for(anext(watch), 5)

    @property
    def word(self) -> str:
        return f"{self.node.client.cluster}/{self.node.register.identity}"

    async def close(self) -> None:
        await self.agent.close()
        await self.node.register.close()


@pytest.fixture
async def world(etcd: Etcd, tmp_path: Path) -> AsyncIterator[World]:
    world = World(etcd, tmp_path)
    yield world
    await world.close()


async def test_an_agent_that_was_there_first_learns_the_word_that_the_first_controller_leaves(
    world: World,
) -> None:
    assert await world.agent.read(GROUP) is None
    before = world.agent.store
    assert before and "/" not in before
    identified = asyncio.create_task(world.agent.identified())
    await world.lead(world.node)
    grant = await world.grant(1)
    assert not identified.done()
    assert await world.agent.read(GROUP) == grant
    await asyncio.wait_for(identified, 5)
    assert world.agent.store == world.word and world.word.startswith(f"{before}/")
    assert await world.agent.beat(GROUP, grant, BEAT) == grant


async def test_one_that_remembers_etcd_s_own_id_only_believes_the_word_it_finds(world: World) -> None:
    await world.lead(world.node)
    grant = await world.grant(1)
    world.agent.pin(world.node.client.cluster)
    assert await world.watched() == grant
    assert world.agent.store == world.word


async def test_a_wiped_store_with_its_old_id_is_not_obeyed_until_it_is_adopted(world: World) -> None:
    """Its members are started as before, and a controller that never saw the old one grants in it."""
    await world.lead(world.node)
    await world.grant(1)
    assert await world.agent.read(GROUP) is not None
    was = world.agent.store
    await asyncio.to_thread(world.etcd.wipe, renamed=False)
    await asyncio.to_thread(world.etcd.start)
    with pytest.raises(Unconfirmed, match="gone back.*adopt"):
        await world.agent.read(GROUP)
    await world.restart_agent()
    with pytest.raises(Unconfirmed, match="was wiped.*adopt"):
        await world.agent.read(GROUP)
    await world.lead(world.controller())
    grant = await world.grant(1)
    assert world.word.partition("/")[0] == was.partition("/")[0], "etcd's own id says nothing"
    for ask in (lambda: world.agent.read(GROUP), lambda: world.agent.beat(GROUP, grant, BEAT), world.watched):
        with pytest.raises(Unconfirmed, match="another one.*adopt"):
            await ask()
    assert (await world.node.grants.read(GROUP))[1] is None, "no heartbeat got there"
    world.agent.pin(world.word)
    assert await world.agent.read(GROUP) == grant
    assert await world.agent.beat(GROUP, grant, BEAT) == grant


async def test_a_store_that_was_begun_anew_takes_no_heartbeat_from_before(world: World) -> None:
    """Nothing of the grant has changed: only the word tells that a person has adopted what was put back."""
    await world.lead(world.node)
    grant = await world.grant(1)
    assert await world.agent.read(GROUP) == grant
    again = world.controller("node-1")
    await world.node.register.close()
    world.node = again
    await again.register.open()
    await again.register._pin.doubt("it went back")
    assert await again.register.begin_adoption() is Adoption.FIRST
    await again.register.finish_adoption()
    with pytest.raises(Unconfirmed, match="begun anew"):
        await world.agent.beat(GROUP, grant, BEAT)
    world.agent.pin(world.word)
    assert await world.agent.beat(GROUP, grant, BEAT) == grant
