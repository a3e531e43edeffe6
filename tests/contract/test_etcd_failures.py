"""Three real members that are killed, stopped, filled, cut off, restarted and wiped: nobody ever acts beside a leader."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import trustme

from controller.agent.coordination import Beat
from controller.agent.settings import AgentSettings
from controller.agent.settings import EtcdSettings as AgentEtcdSettings
from controller.agent.store import EtcdCoordination as AgentCoordination
from controller.etcd.client import EtcdClient, EtcdSettings
from controller.etcd.transactions import changed_at, delete, put
from controller.leases.etcd.bundle import EtcdCoordination
from controller.leases.etcd.pin import Adoption
from controller.leases.etcd.sightings import EtcdSightings
from controller.model.errors import (
    CoordinationConflict,
    CoordinationError,
    CoordinationForeign,
    CoordinationUnknown,
)
from controller.ports import Heartbeat, Sighting
from tests.builders.coordinating import PLACES, Node, overlaps
from tests.builders.etcd import PROGRAM, Etcd

pytestmark = pytest.mark.etcd


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    if PROGRAM is None:
        pytest.skip("etcd is not installed (Debian: etcd-server)")
    cluster = Etcd(tmp_path, members=3)
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture
async def clients() -> AsyncIterator[list[EtcdClient]]:
    made: list[EtcdClient] = []
    yield made
    for client in made:
        await client.close()


def made(clients: list[EtcdClient], name: str, endpoints: Sequence[str], directory: Path) -> Node:
    node = Node(name, endpoints, directory)
    clients.append(node.client)
    return node


async def led_through(etcd: Etcd, nodes: Sequence[Node], *steps: object, pause: float = 1.5) -> None:
    tasks = [asyncio.create_task(node.lead()) for node in nodes]
    try:
        await asyncio.sleep(1.0)
        for step in steps:
            await asyncio.to_thread(step)  # type: ignore[arg-type]
            await asyncio.sleep(pause)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_members_that_die_and_stand_still_never_make_two_leaders(
    etcd: Etcd, tmp_path: Path, clients: list[EtcdClient]
) -> None:
    nodes = [made(clients, name, etcd.urls, tmp_path) for name in ("a", "b")]
    for node in nodes:
        await node.register.open()

    def kill_leader() -> None:
        etcd.leader().kill()

    def stop_leader() -> None:
        leader = etcd.leader()
        leader.signal(signal.SIGSTOP)
        time.sleep(2.0)
        leader.signal(signal.SIGCONT)

    await led_through(etcd, nodes, kill_leader, etcd.start, stop_leader, kill_leader, etcd.start)
    assert overlaps(nodes) == []
    assert sum(node.writes for node in nodes) > 20
    last = max(until for node in nodes for _, until in node.proved)
    assert last > time.monotonic() - 1.5, "somebody leads again in the end"


def test_the_checker_sees_two_leaders(tmp_path: Path) -> None:
    first, second = (Node(name, ("http://127.0.0.1:1",), tmp_path) for name in ("a", "b"))
    first.proved = [(0.0, 1.0), (2.0, 3.0)]
    second.proved = [(1.0, 2.0)]
    assert overlaps([first, second]) == []
    second.proved.append((2.9, 3.5))
    assert overlaps([first, second]) == [((2.0, 3.0), (2.9, 3.5))]


async def test_leadership_outlives_an_etcd_leader_that_stood_still(
    etcd: Etcd, tmp_path: Path, clients: list[EtcdClient]
) -> None:
    """Before 3.4.31 and 3.5.13 it revokes, when it goes on, leases that the new leader has kept alive meanwhile."""
    node = made(clients, "a", etcd.urls, tmp_path)
    await node.register.open()
    assert await node.lease.acquire() is not None
    led = node.lease.created

    async def renew() -> None:
        while True:
            try:
                assert await node.lease.acquire() is not None, "another one leads"
            except CoordinationError:
                pass
            await asyncio.sleep(0.05)

    renewing = asyncio.create_task(renew())
    for _ in range(3):
        leader = etcd.leader()
        leader.signal(signal.SIGSTOP)
        await asyncio.sleep(2.5)
        leader.signal(signal.SIGCONT)
        await asyncio.sleep(0.7)
        assert not renewing.done(), renewing.exception()
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)
    assert node.lease.created == led


async def test_a_node_that_sees_only_a_cut_off_member_proves_nothing(
    etcd: Etcd, tmp_path: Path, clients: list[EtcdClient]
) -> None:
    """The other two members are gone: this one still answers keep-alives for a while, and commits nothing."""
    node = made(clients, "a", etcd.urls[:1], tmp_path)
    await node.register.open()
    assert await node.lease.acquire() is not None
    for member in etcd.members[1:]:
        member.kill()
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        with pytest.raises(CoordinationError):
            await node.lease.acquire()
    with pytest.raises(CoordinationError):
        await node.register.write({"group/x": b"1"}, {"group/x": 0})
    with pytest.raises(CoordinationError):
        await node.register.read()


async def test_a_write_whose_answer_is_lost_is_unknown_and_not_made_twice(
    etcd: Etcd, tmp_path: Path, clients: list[EtcdClient]
) -> None:
    node = made(clients, "a", etcd.urls[:1], tmp_path)
    await node.register.open()
    assert await node.lease.acquire() is not None
    assert await node.register.read() == {}
    etcd.members[0].signal(signal.SIGSTOP)
    with pytest.raises(CoordinationUnknown):
        await node.register.write({"group/x": b"1"}, {"group/x": 0})
    etcd.members[0].signal(signal.SIGCONT)


async def test_no_space_is_an_error_and_nothing_is_lost(tmp_path: Path, clients: list[EtcdClient]) -> None:
    etcd = Etcd(tmp_path, extra=("--quota-backend-bytes", str(64 * 1024)))
    etcd.start()
    try:
        node = made(clients, "a", etcd.urls, tmp_path)
        await node.register.open()
        assert await node.lease.acquire() is not None
        written: dict[str, int] = {}
        failure: CoordinationError | None = None
        for number in range(200):
            key = f"run/{number}"
            try:
                written[key] = await node.register.write({key: b"x" * 4096}, {key: 0})
            except CoordinationError as error:
                failure = error
                break
        assert failure is not None and "space" in str(failure)
        assert not isinstance(failure, CoordinationUnknown | CoordinationConflict)
        assert {key: record.revision for key, record in (await node.register.read()).items()} == written
        with pytest.raises(CoordinationError):
            await node.lease.acquire()  # it can't be proved, so it is not held
    finally:
        etcd.close()


async def test_a_wiped_cluster_is_refused_until_it_is_adopted(
    etcd: Etcd, tmp_path: Path, clients: list[EtcdClient]
) -> None:
    node = made(clients, "a", etcd.urls, tmp_path)
    await node.register.open()
    assert await node.lease.acquire() is not None
    etcd.wipe()
    etcd.start()
    with pytest.raises(CoordinationError, match="adopt"):
        await node.lease.acquire()
    with pytest.raises(CoordinationError, match="adopt"):
        await node.register.read()
    again = made(clients, "a", etcd.urls, tmp_path)
    with pytest.raises(CoordinationError, match="adopt"):
        await again.register.open()
    assert await again.register.begin_adoption() is Adoption.FIRST
    assert await again.lease.acquire() is not None
    adopted = made(clients, "a", etcd.urls, tmp_path)
    with pytest.raises(CoordinationForeign, match="not finished"):
        await adopted.register.open()
    await again.register.finish_adoption()
    await adopted.register.open()
    assert await adopted.register.read() == {}


async def test_a_wiped_cluster_that_has_its_old_id_again_is_refused(
    etcd: Etcd, tmp_path: Path, clients: list[EtcdClient]
) -> None:
    """Started anew with the same settings: etcd's own id says nothing."""
    node, other = (made(clients, name, etcd.urls, tmp_path) for name in ("a", "b"))
    await node.register.open()
    await other.register.open()
    assert await node.lease.acquire() is not None
    cluster = node.client.cluster
    etcd.wipe(renamed=False)
    etcd.start()
    for forbidden in (other.lease.acquire, node.register.read):
        with pytest.raises(CoordinationForeign, match="adopt"):
            await forbidden()
    again = made(clients, "a", etcd.urls, tmp_path)
    with pytest.raises(CoordinationForeign, match="adopt"):
        await again.register.open()
    with pytest.raises(CoordinationForeign, match="adopt"):
        await again.lease.acquire()
    assert await again.register.begin_adoption() is Adoption.FIRST
    await again.register.finish_adoption()
    assert again.client.cluster == cluster
    assert await again.lease.acquire() is not None
    stranger = made(clients, "b", etcd.urls, tmp_path)
    with pytest.raises(CoordinationForeign, match="adopt"):
        await stranger.register.open()
    assert await stranger.register.begin_adoption() is Adoption.JOINED


async def test_a_cluster_whose_disks_were_put_back_is_refused(
    etcd: Etcd, tmp_path: Path, clients: list[EtcdClient]
) -> None:
    node, stranger = (made(clients, name, etcd.urls, tmp_path) for name in ("a", "b"))
    await node.register.open()
    await stranger.register.open()
    await asyncio.to_thread(etcd.save)
    assert await acquired(node) is not None
    await node.register.read()
    await node.register.write({"group/x": b"1"}, {"group/x": 0})
    await node.register.read()
    before = node.client.revision
    await node.register.close()  # what it noted is on disk
    await asyncio.to_thread(etcd.put_back)
    with pytest.raises(CoordinationForeign, match="gone back"):
        await node.register.read()
    with pytest.raises(CoordinationForeign, match="gone back"):
        await node.lease.acquire()
    for _ in range(20):  # heartbeats and whatever else is written bring it beyond what was known
        await stranger.client.transact([], [put("/elsewhere", b"1")])
    assert stranger.client.revision > before
    with pytest.raises(CoordinationForeign, match="gone back"):
        await node.register.read()
    again = made(clients, "a", etcd.urls, tmp_path)
    with pytest.raises(CoordinationForeign, match="gone back"):
        await again.register.open()
    other = made(clients, "b", etcd.urls, tmp_path)  # it knew the store before, and not so far
    assert await again.register.begin_adoption() is Adoption.FIRST
    await again.register.finish_adoption()
    assert await again.register.read() == {}
    with pytest.raises(CoordinationForeign, match="another one"):
        await other.register.open()
    assert await other.register.begin_adoption() is Adoption.JOINED


async def test_one_member_that_hangs_makes_nobody_deaf_or_slow(
    etcd: Etcd, tmp_path: Path, clients: list[EtcdClient]
) -> None:
    node, other = (made(clients, name, etcd.urls, tmp_path) for name in ("a", "b"))
    for each in (node, other):
        await each.register.open()
    assert await node.lease.acquire() is not None
    watching = [asyncio.create_task(node.grants.watch()), asyncio.create_task(other.lease.vacant())]
    await node.register.read()
    await asyncio.sleep(0.3)
    leader = etcd.leader()
    hung = next(member for member in etcd.members if member is not leader)
    hung.signal(signal.SIGSTOP)
    began = time.monotonic()
    assert await acquired(node) is not None
    revision = await node.register.write({"group/x": b"1"}, {"group/x": 0})
    assert time.monotonic() - began < 2.0
    beat = json.dumps({"epoch": 1, "agent": "p", "boot": "b", "count": 1}).encode()
    await node.client.transact([], [put(PLACES.hold("calls"), beat)])
    async with asyncio.timeout(2.0):
        while node.grants.last_heard("calls") is None:
            await asyncio.sleep(0.01)
    assert (await other.register.read())["group/x"].revision == revision
    await node.lease.release()
    await asyncio.wait_for(watching[1], 1.0)
    hung.signal(signal.SIGCONT)
    watching[0].cancel()
    await asyncio.gather(*watching, return_exceptions=True)


async def test_an_old_server_is_refused_unless_it_is_accepted(etcd: Etcd, clients: list[EtcdClient]) -> None:
    client = EtcdClient(EtcdSettings(endpoints=etcd.urls, accept_old=True))
    clients.append(client)
    version = await client.check()
    strict = EtcdClient(EtcdSettings(endpoints=etcd.urls))
    clients.append(strict)
    if tuple(int(part) for part in version.split(".")) < (3, 4, 31):
        with pytest.raises(CoordinationError, match=r"3\.4\.31"):
            await strict.check()
    else:
        assert await strict.check() == version


async def test_a_closed_grant_takes_no_heartbeat_and_names_the_last_one(
    etcd: Etcd, tmp_path: Path, clients: list[EtcdClient]
) -> None:
    node = made(clients, "a", etcd.urls, tmp_path)
    await node.register.open()
    assert await node.lease.acquire() is not None
    watching = asyncio.create_task(node.grants.watch())
    await asyncio.sleep(0.2)
    grant = await node.grants.open_grant("calls", "primary", 1)
    agent = EtcdClient(EtcdSettings(endpoints=etcd.urls, timeout=0.5, accept_old=True))
    clients.append(agent)

    async def beat(count: int) -> bool:
        value = json.dumps({"epoch": 1, "agent": "p", "boot": "b", "count": count}).encode()
        answer = await agent.hedged(
            [changed_at(PLACES.grant("calls"), grant.revision)], [put(PLACES.hold("calls"), value)]
        )
        return answer.succeeded

    for count in range(5):
        assert await beat(count)
    sent = time.monotonic()
    await asyncio.sleep(0.3)
    heard = node.grants.last_heard("calls")
    assert isinstance(heard, Heartbeat) and heard.beats == 4
    assert heard.received < sent + 0.2, "when it came, not when it was asked for"
    closed, last = await node.grants.close_grant("calls", 2)
    assert last == heard
    assert not await beat(5)
    assert (await node.grants.read("calls"))[1] == last
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_what_a_newer_version_says_is_kept_or_left_out(
    etcd: Etcd, tmp_path: Path, clients: list[EtcdClient]
) -> None:
    node = made(clients, "a", etcd.urls, tmp_path)
    await node.register.open()
    assert await node.lease.acquire() is not None
    newer = {"version": 2, "epoch": 3, "holder": "primary", "phase": "held", "quorum": ["x"]}
    await node.client.transact([], [put(PLACES.grant("calls"), json.dumps(newer).encode())])
    grant, _ = await node.grants.close_grant("calls", 4)
    assert (grant.holder, grant.epoch) == ("primary", 4)
    _, standing = await node.client.get(PLACES.grant("calls"))
    assert standing is not None and json.loads(standing.value)["quorum"] == ["x"]
    await node.client.transact([], [put(PLACES.hold("calls"), b"no heartbeat")])
    assert (await node.grants.read("calls")) == (grant, None)
    await node.client.transact([], [put(PLACES.grant("calls"), b'{"phase": "lent"}')])
    with pytest.raises(CoordinationError, match="can't be read"):
        await node.grants.read("calls")
    for key, value in (("b", b'{"version": 2}'), ("c", _sighting(7))):
        await node.client.transact([], [put(PLACES.vantage(key), value)])
    heard = EtcdSightings(node.client, PLACES, "a").watch()
    assert (await anext(heard)).vantage == "c", "one that can't be read makes nobody deaf to the others"
    await heard.aclose()  # type: ignore[attr-defined]


def _sighting(probes: int) -> bytes:
    return json.dumps(
        {"version": 1, "failure_domain": "", "probes": probes, "late": 0, "lag": 0.0, "words": []}
    ).encode()


async def test_a_node_that_starts_again_goes_on_publishing(
    etcd: Etcd, tmp_path: Path, clients: list[EtcdClient]
) -> None:
    node = made(clients, "a", etcd.urls, tmp_path)
    reader = EtcdSightings(node.client, PLACES, "reader").watch()
    for probes in (5, 1):  # its own counter begins anew
        sightings = EtcdSightings(node.client, PLACES, "a")
        for more in range(2):
            await sightings.publish(Sighting("a", "rack", probes + more, 0, 0.0, {}))
    assert (await anext(reader)).probes == 2
    await node.client.transact([], [delete(PLACES.vantage("a"))])  # its lease ran out in an outage
    await sightings.publish(Sighting("a", "rack", 9, 0, 0.0, {}))
    assert (await asyncio.wait_for(anext(reader), 5)).probes == 9
    await reader.aclose()  # type: ignore[attr-defined]


async def test_user_and_password(tmp_path: Path, clients: list[EtcdClient]) -> None:
    etcd = Etcd(tmp_path)
    etcd.start()
    try:
        for arguments in (
            ("user", "add", "root:secret"),
            ("user", "grant-role", "root", "root"),
            ("auth", "enable"),
        ):
            control(etcd, *arguments)
        wrong = EtcdClient(EtcdSettings(endpoints=etcd.urls, user="root", password="guess", accept_old=True))
        clients.append(wrong)
        with pytest.raises(CoordinationError, match="authentication failed"):
            await wrong.prefix("/")
        nobody = EtcdClient(EtcdSettings(endpoints=etcd.urls, accept_old=True))
        clients.append(nobody)
        with pytest.raises(CoordinationError, match="user name is empty"):
            await nobody.prefix("/")
        right = EtcdClient(EtcdSettings(endpoints=etcd.urls, user="root", password="secret", accept_old=True))
        clients.append(right)
        await right.prefix("/")
        etcd.members[0].kill()  # tokens are kept in memory only
        etcd.start()
        await right.prefix("/")
    finally:
        etcd.close()


class Certificates:
    """Of one authority: a server's, with which clients must show theirs, and two clients', one with a common name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        authority = trustme.CA()
        authority.cert_pem.write_to_path(directory / "ca.pem")
        for name in ("server", "named", "client"):
            issued = authority.issue_cert("127.0.0.1", common_name=None if name == "client" else name)
            issued.private_key_pem.write_to_path(directory / f"{name}.key")
            issued.cert_chain_pems[0].write_to_path(directory / f"{name}.pem")

    @property
    def server(self) -> tuple[str, ...]:
        return (
            "--cert-file", str(self._directory / "server.pem"), "--key-file", str(self._directory / "server.key"),
            "--trusted-ca-file", str(self._directory / "ca.pem"), "--client-cert-auth",
        )  # fmt: skip

    @property
    def control(self) -> tuple[str, ...]:
        return (
            "--cacert", str(self._directory / "ca.pem"),
            "--cert", str(self._directory / "client.pem"), "--key", str(self._directory / "client.key"),
        )  # fmt: skip

    def trusted(self, etcd: Etcd, name: str = "client") -> EtcdSettings:
        return EtcdSettings(
            endpoints=etcd.urls,
            timeout=2.0,
            authority=self._directory / "ca.pem",
            certificate=self._directory / f"{name}.pem",
            key=self._directory / f"{name}.key",
            accept_old=True,
        )


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def leads(client: EtcdClient) -> None:
    """It listens before it has a leader."""
    async with asyncio.timeout(10):
        while True:
            try:
                await client.check()
                return
            except CoordinationError:
                await asyncio.sleep(0.1)


async def test_tls_both_ways(tmp_path: Path, clients: list[EtcdClient], certificates: Certificates) -> None:
    etcd = Etcd(tmp_path, extra=certificates.server)
    etcd.start()
    try:
        trusted = certificates.trusted(etcd, "named")
        client = EtcdClient(trusted)
        clients.append(client)
        await leads(client)
        for settings in (
            trusted._replace(certificate=None, key=None),
            EtcdSettings(endpoints=etcd.urls, timeout=2.0, accept_old=True),
        ):
            stranger = EtcdClient(settings)
            clients.append(stranger)
            with pytest.raises(CoordinationError):
                await stranger.check()
        with pytest.raises(CoordinationError, match="TLS files"):
            EtcdClient(trusted._replace(key=tmp_path / "nowhere.key"))
    finally:
        etcd.close()


async def test_tls_with_user_and_password_and_no_more_than_its_own_prefix(
    tmp_path: Path, clients: list[EtcdClient], certificates: Certificates
) -> None:
    """As a careful site runs it: a controller and an agent lead, write, hold and watch under a role that has their prefix."""
    etcd = Etcd(tmp_path, extra=certificates.server)
    etcd.start()
    trusted = certificates.trusted(etcd)
    anybody = EtcdClient(trusted)
    clients.append(anybody)
    coordination = EtcdCoordination(
        trusted._replace(user="thirdring", password="secret"),
        PLACES,
        "a",
        lifetime=60,
        pin=tmp_path / "a.pin",
    )
    (tmp_path / "password").write_text("secret\n")
    agent = AgentCoordination(
        AgentSettings.model_construct(
            cluster=PLACES.cluster,
            etcd=AgentEtcdSettings(
                endpoints=etcd.urls,
                authority=trusted.authority,
                certificate=trusted.certificate,
                key=trusted.key,
                user="thirdring",
                password_file=tmp_path / "password",
                accept_old_etcd=True,
            ),
        )
    )
    try:
        await leads(anybody)
        for arguments in (
            ("user", "add", "root:root"),
            ("user", "grant-role", "root", "root"),
            ("role", "add", "thirdring"),
            ("role", "grant-permission", "thirdring", "--prefix=true", "readwrite", PLACES.root),
            ("user", "add", "thirdring:secret"),
            ("user", "grant-role", "thirdring", "thirdring"),
            ("auth", "enable"),
        ):
            await asyncio.to_thread(control, etcd, *certificates.control, *arguments)

        with pytest.raises(CoordinationError, match="user name is empty"):
            await anybody.get(PLACES.leader)  # the certificate alone is nobody's name
        named = EtcdClient(certificates.trusted(etcd, "named")._replace(user="thirdring", password="secret"))
        clients.append(named)
        with pytest.raises(CoordinationError, match="certificate without a common name"):
            await named.get(PLACES.leader)  # and the gateway takes none that has one
        wrong = EtcdClient(trusted._replace(user="thirdring", password="guess"))
        clients.append(wrong)
        with pytest.raises(CoordinationError, match="authentication failed"):
            await wrong.get(PLACES.leader)
        bare = EtcdClient(
            EtcdSettings(endpoints=etcd.urls, user="thirdring", password="secret", accept_old=True)
        )
        clients.append(bare)
        with pytest.raises(CoordinationError):
            await bare.get(PLACES.leader)  # nor is the password enough

        await coordination.open()
        assert await coordination.lease.acquire() is not None
        revision = await coordination.register.write({"group/calls": b"1"}, {"group/calls": 0})
        assert await coordination.register.read() == {"group/calls": (b"1", revision)}
        grant = await coordination.grants.open_grant("calls", "primary", 1)
        held = await agent.read("calls")
        assert held is not None and (held.holder, held.revision) == ("primary", grant.revision)
        assert await agent.beat("calls", held, Beat("agent", "boot", 1)) == held
        _, heartbeat = await coordination.grants.read("calls")
        assert heartbeat is not None and heartbeat.agent == "agent"
        assert agent.store == coordination.store
        sightings = EtcdSightings(wrong, PLACES, "b")
        with pytest.raises(CoordinationError, match="authentication failed"):
            await sightings.publish(Sighting("b", "rack", 1, 0, 0.0, {}))

        mine = EtcdClient(trusted._replace(user="thirdring", password="secret"))
        clients.append(mine)
        with pytest.raises(CoordinationError, match="permission denied"):
            await mine.transact([], [put("/elsewhere", b"1")])
        waiting = asyncio.create_task(anext(agent.watch("calls")))  # type: ignore[call-overload]
        assert await asyncio.wait_for(waiting, 5) == held

        etcd.members[0].kill()  # tokens are kept in memory only
        await asyncio.to_thread(etcd.start)
        await leads(mine)
        assert await coordination.lease.acquire() is not None
        assert await agent.beat("calls", held, Beat("agent", "boot", 2)) == held
    finally:
        await agent.close()
        await coordination.close()
        etcd.close()


def control(etcd: Etcd, *arguments: str) -> None:
    subprocess.run(
        ["etcdctl", "--endpoints", etcd.urls[0], *arguments],
        check=True,
        capture_output=True,
        env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
    )


async def acquired(node: Node) -> float | None:
    """As soon as etcd has a leader again."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await node.lease.acquire()
            except CoordinationForeign:
                raise
            except CoordinationError:
                await asyncio.sleep(0.05)
