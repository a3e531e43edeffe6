from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from controller.etcd.client import EtcdClient, EtcdSettings
from controller.etcd.member import safe
from controller.etcd.transactions import changed_at, get, prefix_end, put
from controller.model.errors import CoordinationError, CoordinationForeign, CoordinationUnknown
from tests.builders.gateway import VERSION, Gateway, refusal

WRITE = [put("key", b"value")]


@pytest.fixture
async def members() -> AsyncIterator[list[Gateway]]:
    made = [Gateway() for _ in range(3)]
    for member in made:
        await member.start()
    yield made
    for member in made:
        await member.stop()


@pytest.fixture
async def make(members: list[Gateway]) -> AsyncIterator[Callable[..., EtcdClient]]:
    clients: list[EtcdClient] = []

    def build(**settings: Any) -> EtcdClient:
        given = {"endpoints": tuple(member.url for member in members), "timeout": 5.0, "hedge": 0.02}
        clients.append(EtcdClient(EtcdSettings(**{**given, **settings})))
        return clients[-1]

    yield build
    for client in clients:
        await client.close()


async def test_what_may_be_repeated_goes_to_the_next_member_when_one_hangs(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    client = make()
    members[0].hung.set()
    assert (await client.transact([], WRITE, repeatable=True)).succeeded
    assert members[1].asked == ["kv/txn"]
    assert (await client.transact([], WRITE, repeatable=True)).succeeded
    assert members[1].asked == ["kv/txn"] * 2, "whoever answered is asked first"
    assert members[2].asked == []


async def test_any_other_write_is_unknown_when_its_answer_does_not_come(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    client = make(timeout=0.2)
    await client.check()
    members[0].hung.set()
    with pytest.raises(CoordinationUnknown):
        await client.transact([], WRITE)
    assert members[1].asked == members[2].asked == [], "it is not made twice"
    assert (await client.transact([], WRITE)).succeeded, "the next one avoids the member that hangs"


async def test_what_was_not_sent_at_all_goes_to_the_next_member(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    client = make()
    await members[0].stop()
    assert (await client.transact([], WRITE)).succeeded
    for member in members[1:]:
        await member.stop()
    with pytest.raises(CoordinationError) as caught:
        await client.transact([], WRITE)
    assert not isinstance(caught.value, CoordinationUnknown), "nothing can have been written"


@pytest.mark.parametrize(
    ("message", "code", "unknown"),
    [
        ("etcdserver: mvcc: database space exceeded", 8, False),
        ("etcdserver: permission denied", 7, False),
        ("etcdserver: requested lease not found", 5, False),
        ("etcdserver: request timed out", 14, True),
        ("etcdserver: leader changed", 14, True),
        ("something new", 2, True),
    ],
)
async def test_a_refusal_is_none_unless_the_server_did_nothing_for_certain(
    members: list[Gateway], make: Callable[..., EtcdClient], message: str, code: int, unknown: bool
) -> None:
    for member in members:
        member.answers["kv/txn"] = refusal(message, code, 503)
    for repeatable in (False, True):
        with pytest.raises(CoordinationError, match=message) as caught:
            await make().transact([], WRITE, repeatable=repeatable)
        assert isinstance(caught.value, CoordinationUnknown) is unknown
    with pytest.raises(CoordinationError, match=message) as caught:
        await make().transact([], [get("key")])
    assert not isinstance(caught.value, CoordinationUnknown), "there is no doubt about a read"


async def test_a_doubt_is_not_forgotten_because_the_member_is_gone_then(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    client = make(endpoints=(members[0].url,))

    async def die(_: dict[str, Any]) -> web.StreamResponse:
        stopping.append(asyncio.create_task(members[0].stop()))
        await asyncio.sleep(3600)
        raise AssertionError

    stopping: list[asyncio.Task[None]] = []
    members[0].answers["kv/txn"] = die
    with pytest.raises(CoordinationUnknown):
        await client.transact([], WRITE, repeatable=True)
    await asyncio.gather(*stopping)


async def test_a_refusal_does_not_settle_what_another_member_may_have_done(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    client = make(endpoints=tuple(member.url for member in members[:2]), timeout=0.5)
    await client.check()
    members[0].hung.set()
    members[1].answers["kv/txn"] = refusal("etcdserver: too many requests", 8)
    with pytest.raises(CoordinationUnknown):
        await client.transact([], WRITE, repeatable=True)


async def test_hedged_hurries_past_members_that_hang_and_keeps_the_connections(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    client = make(timeout=0.15, hedge=10.0)
    for _ in range(10):
        assert (await client.hedged([changed_at("grant", 1)], WRITE)).succeeded
    assert all(len(member.connections) <= 5 for member in members), "not a new one a round"
    members[0].hung.set()
    members[1].hung.set()
    assert (await client.hedged([changed_at("grant", 1)], WRITE)).succeeded
    assert members[2].asked == ["kv/txn"]


async def test_a_member_of_another_cluster_is_left_out_and_named_when_there_is_no_other(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    client = make()
    await client.prefix("/")
    assert client.cluster == members[0].cluster
    await members[0].stop()
    members[1].cluster = "78"
    await client.prefix("/")
    assert members[1].asked == [], "it is asked nothing but who it is"
    assert await client.check() == VERSION, "the third one is enough"
    with pytest.raises(CoordinationForeign, match="adopt"):
        await make().check()  # it has not been told which of the two is right
    members[2].cluster = "78"
    with pytest.raises(CoordinationForeign, match="adopt"):
        await client.transact([], WRITE)
    with pytest.raises(CoordinationForeign, match="adopt"):
        await client.prefix("/")


async def test_a_store_that_was_put_back_is_refused(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    client = make()
    await client.prefix("/")
    for member in members:
        member.revision = 9
    with pytest.raises(CoordinationForeign, match="from revision 10 to 9"):
        await client.prefix("/")
    late = make()
    late.pin("77", revision=100)
    with pytest.raises(CoordinationForeign, match="from revision 100 to 9"):
        await late.transact([], WRITE)


async def test_an_old_member_is_left_out_and_named(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    members[0].version = "3.4.30"
    client = make()
    await client.prefix("/")
    assert members[0].asked == []
    with pytest.raises(CoordinationError, match=r"3\.4\.30 may revoke .*accept_old_etcd"):
        await client.check()
    assert await make(accept_old=True).check() == "3.4.30"
    for member in members:
        member.version = "3.5.12"
    with pytest.raises(CoordinationError, match=r"3\.5\.12"):
        await make().transact([], WRITE)


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ("3.4.23", False), ("3.4.31", True), ("3.4.40", True), ("3.5.0", False), ("3.5.13", True),
        ("3.5.13-rc.1", True), ("3.6.0", True), ("4.0.0", True), ("3.3.99", False), ("", False), ("new", False),
    ],
)  # fmt: skip
def test_versions(version: str, good: bool) -> None:
    assert safe(version) is good


async def test_a_token_that_ran_out_is_got_anew(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    client = make(endpoints=(members[0].url,), user="operator", password="secret")
    valid = ["first"]

    async def authenticate(body: dict[str, Any]) -> web.StreamResponse:
        assert body == {"name": "operator", "password": "secret"}
        return web.json_response({"header": members[0].header, "token": valid[0]})

    async def transact(body: dict[str, Any]) -> web.StreamResponse:
        if members[0].tokens[-1] != valid[0]:
            return await refusal("etcdserver: invalid auth token", 16, 401)(body)
        return web.json_response({"header": members[0].header, "succeeded": True})

    members[0].answers |= {"auth/authenticate": authenticate, "kv/txn": transact}
    assert (await client.transact([], WRITE)).succeeded
    valid[0] = "second"
    assert (await client.transact([], WRITE)).succeeded
    assert members[0].asked.count("auth/authenticate") == 2
    members[0].answers["kv/txn"] = refusal("etcdserver: invalid auth token", 16, 401)
    with pytest.raises(CoordinationError, match="invalid auth token"):
        await client.transact([], WRITE)
    assert members[0].asked.count("auth/authenticate") == 3, "once more, not for ever"
    assert "secret" not in repr(client.settings)


async def test_garbage_is_no_answer(members: list[Gateway], make: Callable[..., EtcdClient]) -> None:
    client = make(endpoints=(members[0].url,))

    async def garbage(_: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text=texts[0])

    members[0].answers |= {"kv/txn": garbage, "kv/range": garbage}
    for text in ("", "<html>", "[]", '{"header": {}}', '{"header": {"revision": "x"}}'):
        texts = [text]
        with pytest.raises(CoordinationUnknown):
            await client.transact([], WRITE)
        with pytest.raises(CoordinationError):
            await client.get("key")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_watch_hears_every_member_and_each_change_once(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    client = make()
    members[2].hung.set()
    heard: list[tuple[str, bytes | None, int]] = []

    async def listen() -> None:
        async for changes in client.watch("hold/", after=10):
            heard.extend((change.key, change.value, change.revision) for change in changes)

    listening = asyncio.create_task(listen())
    await until(lambda: all(member.watches for member in members[:2]))
    assert members[0].requests[-1]["create_request"]["start_revision"] == "11"
    await members[0].tell(("hold/a", "1", 11), ("hold/b", "2", 12))
    await until(lambda: len(heard) == 2)
    await members[1].tell(("hold/a", "1", 11))
    await members[1].tell(("hold/b", "2", 12), ("hold/a", "", 13))
    await until(lambda: len(heard) == 3)
    await members[0].stop()
    await members[1].tell(("hold/a", "3", 14))
    await until(lambda: len(heard) == 4)
    assert heard == [("hold/a", b"1", 11), ("hold/b", b"2", 12), ("hold/a", None, 13), ("hold/a", b"3", 14)]
    await members[0].start()
    await until(lambda: bool(members[0].watches))
    assert members[0].requests[-1]["create_request"]["start_revision"] == "15", "from what was heard on"
    assert not listening.done()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_watch_breaks_when_no_member_has_it(
    members: list[Gateway], make: Callable[..., EtcdClient]
) -> None:
    client = make()
    stood = asyncio.Event()

    async def listen() -> None:
        async for _ in client.watch("hold/", after=10):
            stood.set()

    listening = asyncio.create_task(listen())
    await stood.wait()
    await until(lambda: all(member.watches for member in members))
    for member in members[:2]:
        await member.stop()
    members[2].answers["watch"] = refusal("etcdserver: permission denied", 7, 403)
    await members[2].tell(canceled=True, compact_revision="500")
    with pytest.raises(CoordinationError):
        await asyncio.wait_for(listening, 5)


def test_the_end_of_a_prefix() -> None:
    assert prefix_end("a/") == b"a0"
    assert prefix_end("运") > "运行".encode()
    with pytest.raises(ValueError):
        prefix_end("")
