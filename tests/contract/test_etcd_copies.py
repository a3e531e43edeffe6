"""Answers that are lost, and copies of a request that arrive long after another one was carried out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controller.etcd.transactions import decoded
from controller.model.errors import CoordinationConflict, CoordinationError, CoordinationUnknown
from controller.ports import GrantPhase
from tests.builders.coordinating import PLACES, Node
from tests.builders.etcd import PROGRAM, Etcd
from tests.builders.relay import Mode, Relay

pytestmark = pytest.mark.etcd


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    if PROGRAM is None:
        pytest.skip("etcd is not installed (Debian: etcd-server)")
    cluster = Etcd(tmp_path)
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture
async def relay(etcd: Etcd) -> AsyncIterator[Relay]:
    async with Relay(etcd.urls[0]) as relay:
        yield relay


@pytest.fixture
async def node(etcd: Etcd, relay: Relay, tmp_path: Path) -> AsyncIterator[Node]:
    """It prefers the way through the relay, and has another one."""
    node = Node("a", (relay.url, *etcd.urls), tmp_path, timeout=5.0, lifetime=5)
    await node.register.open()
    assert await node.lease.acquire() is not None
    await node.register.read()
    yield node
    await node.client.close()


def prefer(node: Node) -> None:
    """The relay is asked first again, and fails again."""
    node.client._members._preferred = node.client._members.all[0]


async def test_whoever_was_refused_can_tell_that_its_twin_was_carried_out(node: Node, relay: Relay) -> None:
    relay.mode = Mode.LOSE
    for step in (
        lambda: node.lease.acquire(),
        lambda: node.grants.open_grant("calls", "primary", 1),
        lambda: node.grants.close_grant("calls", 2),
        lambda: node.grants.open_grant("calls", "backup", 2),
    ):
        prefer(node)
        before = relay.carried
        assert await step() is not None
        assert relay.carried > before, "carried out there, and answered elsewhere"
    prefer(node)
    one = await node.register.write({"run/1": b"1", "run/2": b"2"}, {"run/1": 0, "run/2": 0})
    prefer(node)
    two = await node.register.write({"run/1": None, "run/2": b"3"}, {"run/1": one, "run/2": one})
    assert await node.register.read() == {"run/2": (b"3", two)}
    grant, _ = await node.grants.read("calls")
    assert grant is not None and (grant.holder, grant.phase) == ("backup", GrantPhase.HELD)
    with pytest.raises(CoordinationConflict):
        await node.register.write({"run/2": b"4"}, {"run/2": one})


async def test_a_campaign_whose_answer_was_lost_is_ones_own(etcd: Etcd, relay: Relay, tmp_path: Path) -> None:
    other = Node("a", (relay.url,), tmp_path / "elsewhere", timeout=0.5, lifetime=5)
    await other.register.open()
    relay.mode = Mode.LOSE
    with pytest.raises(CoordinationError):
        await other.lease.acquire()
    relay.mode = Mode.PASS
    assert await other.lease.acquire() is not None
    assert other.lease.holder == "a"
    await other.client.close()
    again = Node("a", etcd.urls, tmp_path / "elsewhere", lifetime=5)
    await again.register.open()
    assert await again.lease.acquire() is None, "another incarnation of the same node is another"
    await again.client.close()


async def test_a_late_copy_of_a_write_brings_nothing_back(node: Node, relay: Relay) -> None:
    relay.mode = Mode.KEEP
    prefer(node)
    one = await node.register.write({"run/1": b"1"}, {"run/1": 0})
    assert len(relay.kept) == 1
    late = json.loads(relay.kept[0])
    relay.mode = Mode.PASS
    await node.register.write({"run/1": None}, {"run/1": one})
    assert '"succeeded":true' not in (await relay.let_go())[0]
    assert await node.register.read() == {}
    # Nothing but the change of `commit` stands in its way: without it the aggregate would live again.
    late["compare"] = [one for one in late["compare"] if decoded(one["key"]).decode() != PLACES.commit]
    assert (await node.client.transact(late["compare"], late["success"])).succeeded
    assert (await node.register.read())["run/1"].value == b"1"


async def test_a_late_copy_of_a_renewal_does_not_shorten_the_lease(node: Node, relay: Relay) -> None:
    relay.mode = Mode.KEEP
    prefer(node)
    assert await node.lease.acquire() is not None
    relay.mode = Mode.PASS
    assert await node.lease.acquire() is not None
    _, before = await node.client.get(PLACES.leader)
    assert all('"succeeded":true' not in answer for answer in await relay.let_go())
    _, after = await node.client.get(PLACES.leader)
    assert after == before


async def test_a_late_copy_of_a_campaign_makes_no_leader(node: Node, relay: Relay) -> None:
    await node.lease.release()
    relay.mode = Mode.KEEP
    prefer(node)
    assert await node.lease.acquire() is not None
    await node.lease.release()
    assert relay.kept
    await relay.let_go()
    _, standing = await node.client.get(PLACES.leader)
    assert standing is None


async def test_a_write_whose_answer_is_unknown_is_made_again_without_harm(
    etcd: Etcd, relay: Relay, tmp_path: Path
) -> None:
    """As the leader does: it reads what became of it, and makes it again only where it did not take effect."""
    node = Node("a", (relay.url,), tmp_path, timeout=0.5, lifetime=5)
    await node.register.open()
    assert await node.lease.acquire() is not None
    await node.register.read()
    relay.mode = Mode.KEEP
    with pytest.raises(CoordinationUnknown):
        await node.register.write({"run/1": b"1"}, {"run/1": 0})
    relay.mode = Mode.PASS
    assert await node.register.read() == {}
    again = asyncio.create_task(node.register.write({"run/1": b"1"}, {"run/1": 0}))
    await relay.let_go()  # the first copy comes in between, or after it
    revision = await again
    assert await node.register.read() == {"run/1": (b"1", revision)}
    await node.client.close()
