"""One suite for every lease: the local one, a real etcd and the fake; and, where nodes share the lease, for the register,
the grants and the sightings that go with it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from controller.etcd.client import EtcdClient, EtcdSettings
from controller.leases.etcd.grants import EtcdGrants
from controller.leases.etcd.lease import EtcdLease
from controller.leases.etcd.places import Places
from controller.leases.etcd.register import EtcdRegister
from controller.leases.etcd.sightings import EtcdSightings
from controller.leases.local import LocalLease
from controller.model.errors import CoordinationConflict
from controller.model.health import HealthState, Outcome, RungKey
from controller.ports import GrantPhase, Grants, Lease, Register, Sighting, Sightings, Word
from tests.builders.etcd import PROGRAM, Etcd
from tests.builders.registers import Board, Store, StoreGrants, StoreLease, StoreRegister, StoreSightings

LIFETIME = 1


class Watch:
    """Monotonic seconds, and what was read of them."""

    def __init__(self) -> None:
        self.readings: list[float] = []

    def __call__(self) -> float:
        self.readings.append(time.monotonic())
        return self.readings[-1]


class Node:
    def __init__(self, lease: Lease, register: Register, grants: Grants, sightings: Sightings) -> None:
        self.lease = lease
        self.register = register
        self.grants = grants
        self.sightings = sightings


Make = Callable[[str], Awaitable[Node]]
Lead = Callable[[str], Awaitable[Lease]]


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    if PROGRAM is None:
        pytest.skip("etcd is not installed (Debian: etcd-server)")
    cluster = Etcd(tmp_path_factory.mktemp("etcd"))
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture
def watch() -> Watch:
    return Watch()


NUMBER = iter(range(1_000_000))

SHARED = ["fake", pytest.param("etcd", marks=pytest.mark.etcd)]


@contextlib.asynccontextmanager
async def nodes(request: pytest.FixtureRequest, directory: Path, watch: Watch) -> AsyncIterator[Make]:
    """What makes another node of the same controller, over what the test is run with."""
    clients: list[EtcdClient] = []
    if request.param == "fake":
        store, board = Store(now=watch), Board()

        async def fake(name: str) -> Node:
            lease = StoreLease(store, name, lifetime=LIFETIME)
            return Node(
                lease, StoreRegister(store, lease), StoreGrants(store, lease), StoreSightings(board, name)
            )

        yield fake
        return
    cluster: Etcd = request.getfixturevalue("etcd")
    places = Places(f"test-{next(NUMBER)}")

    async def real(name: str) -> Node:
        client = EtcdClient(EtcdSettings(endpoints=cluster.urls, timeout=2.0, accept_old=True))
        clients.append(client)
        lease = EtcdLease(client, places, name, lifetime=LIFETIME, monotonic=watch)
        register = EtcdRegister(client, places, lease, directory / f"{name}-{len(clients)}.pin")
        await register.open()
        return Node(
            lease,
            register,
            EtcdGrants(client, places, lease),
            EtcdSightings(client, places, name),
        )

    yield real
    for client in clients:
        await client.close()


@pytest.fixture(params=SHARED)
async def make(request: pytest.FixtureRequest, tmp_path: Path, watch: Watch) -> AsyncIterator[Make]:
    async with nodes(request, tmp_path, watch) as make:
        yield make


@pytest.fixture(params=["local", *SHARED])
async def lead(request: pytest.FixtureRequest, tmp_path: Path, watch: Watch) -> AsyncIterator[Lead]:
    """What makes another candidate for the same leadership."""
    if request.param == "local":
        made: list[LocalLease] = []

        async def local(name: str) -> Lease:
            made.append(LocalLease(tmp_path / "run" / "leader.lock", lifetime=LIFETIME, monotonic=watch))
            return made[-1]

        yield local
        for lease in made:
            await lease.release()
        return
    async with nodes(request, tmp_path, watch) as make:

        async def shared(name: str) -> Lease:
            return (await make(name)).lease

        yield shared


async def test_one_holds_it_and_the_deadline_counts_from_before_the_request(lead: Lead, watch: Watch) -> None:
    first, second = await lead("a"), await lead("b")
    watch.readings.clear()
    deadline = await first.acquire()
    assert deadline is not None and watch.readings[0] < deadline <= watch.readings[0] + LIFETIME
    assert await second.acquire() is None
    watch.readings.clear()
    renewed = await first.acquire()
    assert renewed is not None and deadline < renewed <= watch.readings[0] + LIFETIME


async def test_who_holds_it_is_told_where_nodes_share_it(lead: Lead) -> None:
    first, second = await lead("a"), await lead("b")
    assert (first.holder, second.holder) == ("", "")
    assert await first.acquire() is not None
    assert await second.acquire() is None
    told = "a" if first.shared else ""
    assert (first.holder, second.holder) == (told, told)


async def test_released_it_is_free_at_once(lead: Lead) -> None:
    first, second = await lead("a"), await lead("b")
    assert await first.acquire() is not None
    assert await second.acquire() is None
    await first.release()
    assert await second.acquire() is not None
    await first.release()  # harmless
    assert await first.acquire() is None
    assert await second.acquire() is not None


async def test_releasing_what_is_not_held_changes_nothing(lead: Lead) -> None:
    first, second = await lead("a"), await lead("b")
    await first.release()
    assert await first.acquire() is not None
    await second.release()
    assert await second.acquire() is None
    assert await first.acquire() is not None
    await first.release()
    await first.release()
    assert await second.acquire() is not None


async def test_whoever_waits_is_told_when_it_is_free_where_nodes_share_it(lead: Lead) -> None:
    first, second = await lead("a"), await lead("b")
    assert await first.acquire() is not None
    waiting = asyncio.create_task(second.vacant())
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    await first.release()
    done, _ = await asyncio.wait([waiting], timeout=2.0 if first.shared else 0.05)
    assert bool(done) is first.shared
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await second.acquire() is not None, "told or not, it is free"


async def test_whoever_stops_renewing_is_replaced_where_nodes_share_it_and_never_before_its_deadline(
    lead: Lead,
) -> None:
    first, second = await lead("a"), await lead("b")
    deadline = await first.acquire()
    assert deadline is not None
    if not first.shared:
        while time.monotonic() < deadline + 0.2:
            assert await second.acquire() is None
            await asyncio.sleep(0.02)
        assert await first.acquire() is not None, "it kept it all the time"
        return
    while (taken := await second.acquire()) is None:
        assert time.monotonic() < deadline + 5.0
        await asyncio.sleep(0.02)
    assert time.monotonic() > deadline
    assert taken > deadline
    assert await first.acquire() is None, "it finds out"


async def test_a_node_that_starts_again_is_not_its_own_predecessor(lead: Lead) -> None:
    old = await lead("a")
    assert await old.acquire() is not None
    again = await lead("a")
    assert await again.acquire() is None


async def test_only_the_leader_writes(make: Make) -> None:
    first, second = await make("a"), await make("b")
    assert await first.lease.acquire() is not None
    assert await second.lease.acquire() is None
    with pytest.raises(CoordinationConflict):
        await second.register.write({"group/x": b"1"}, {"group/x": 0})
    revision = await first.register.write({"group/x": b"1"}, {"group/x": 0})
    assert (await second.register.read())["group/x"] == (b"1", revision)


async def test_what_is_written_comes_back_all_of_it_or_nothing(make: Make) -> None:
    node = await make("a")
    assert await node.lease.acquire() is not None
    assert await node.register.read() == {}
    one = await node.register.write({"run/1": b"\x00\xff{}", "运行": b"2"}, {"run/1": 0, "运行": 0})
    with pytest.raises(CoordinationConflict):  # one of the two has moved on
        await node.register.write({"run/1": b"3", "运行": b"3"}, {"run/1": one, "运行": 0})
    assert await node.register.read() == {"run/1": (b"\x00\xff{}", one), "运行": (b"2", one)}
    two = await node.register.write({"run/1": None, "运行": b"4"}, {"run/1": one, "运行": one})
    assert two > one
    assert await node.register.read() == {"运行": (b"4", two)}


async def test_a_leader_that_was_replaced_writes_nothing_more(make: Make) -> None:
    first, second = await make("a"), await make("b")
    assert await first.lease.acquire() is not None
    while await second.lease.acquire() is None:
        await asyncio.sleep(0.02)
    with pytest.raises(CoordinationConflict):
        await first.register.write({"group/x": b"stale"}, {"group/x": 0})
    with pytest.raises(CoordinationConflict):
        await first.grants.close_grant("calls", 9)
    await second.register.write({"group/x": b"new"}, {"group/x": 0})


async def test_many_aggregates_at_once(make: Make) -> None:
    node = await make("a")
    assert await node.lease.acquire() is not None
    keys = {f"fault/{number}": b"x" * 200 for number in range(100)}
    await node.register.write(keys, dict.fromkeys(keys, 0))
    assert len(await node.register.read()) == 100


async def test_a_grant_is_opened_closed_and_opened_for_the_other(make: Make) -> None:
    node = await make("a")
    assert await node.lease.acquire() is not None
    assert await node.grants.read("calls") == (None, None)
    opened = await node.grants.open_grant("calls", "primary", 3)
    assert (opened.holder, opened.epoch, opened.phase) == ("primary", 3, GrantPhase.HELD)
    assert await node.grants.open_grant("calls", "primary", 3) == opened, "idempotent"
    with pytest.raises(CoordinationConflict, match="fenced"):
        await node.grants.open_grant("calls", "backup", 4)
    with pytest.raises(CoordinationConflict, match="older"):
        await node.grants.close_grant("calls", 2)
    closed, heartbeat = await node.grants.close_grant("calls", 4)
    assert (closed.holder, closed.epoch, closed.phase) == ("primary", 4, GrantPhase.FENCING)
    assert heartbeat is None
    assert (await node.grants.close_grant("calls", 4))[0] == closed, "idempotent"
    with pytest.raises(CoordinationConflict, match="older"):
        await node.grants.open_grant("calls", "backup", 3)
    again = await node.grants.open_grant("calls", "backup", 4)
    assert (await node.grants.read("calls"))[0] == again
    assert again.revision > closed.revision > opened.revision


async def test_two_sides_never_hold_at_the_same_epoch(make: Make) -> None:
    node = await make("a")
    assert await node.lease.acquire() is not None
    await node.grants.open_grant("calls", "primary", 3)
    await node.grants.close_grant("calls", 3)
    with pytest.raises(CoordinationConflict, match="newer"):
        await node.grants.open_grant("calls", "backup", 3)
    assert (await node.grants.open_grant("calls", "primary", 3)).phase is GrantPhase.HELD
    await node.grants.close_grant("calls", 4)
    await node.grants.close_grant("calls", 5)
    assert (await node.grants.open_grant("calls", "backup", 5)).holder == "backup"


async def test_a_holders_own_grant_may_be_raised_without_a_fence(make: Make) -> None:
    """What stops half-way before a fence lets the holder back in, at the epoch it stopped at."""
    node = await make("a")
    assert await node.lease.acquire() is not None
    opened = await node.grants.open_grant("calls", "primary", 3)
    raised = await node.grants.open_grant("calls", "primary", 5)
    assert (raised.epoch, raised.phase) == (5, GrantPhase.HELD) and raised.revision > opened.revision
    with pytest.raises(CoordinationConflict):
        await node.grants.open_grant("calls", "primary", 4)
    with pytest.raises(CoordinationConflict, match="fenced"):
        await node.grants.open_grant("calls", "backup", 6)


def sighting(name: str, probes: int) -> Sighting:
    word = Word(HealthState.DOWN, Outcome.NO_REPLY, 0, 3, False, None, 1.5, "no reply 无应答")
    return Sighting(name, "rack-1", probes, 2, 0.003, {RungKey("primary", "sip"): word})


async def test_sightings_reach_the_others_and_not_oneself(make: Make) -> None:
    first, second = await make("a"), await make("b")
    await first.sightings.publish(sighting("a", 1))
    heard: list[Sighting] = []

    async def listen() -> None:
        async for found in second.sightings.watch():
            heard.append(found)

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(5):
        while not heard:
            await asyncio.sleep(0.01)
        await second.sightings.publish(sighting("b", 1))
        await first.sightings.publish(sighting("a", 2))
        while len(heard) < 2:
            await asyncio.sleep(0.01)
    assert heard == [sighting("a", 1), sighting("a", 2)]
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
