"""A client of one etcd cluster: fails over between its members, and never guesses whether a write took effect."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import aiohttp

from controller.etcd.member import Cluster, Refused, TooOld
from controller.etcd.members import Members
from controller.etcd.settings import EtcdSettings, tls_context
from controller.etcd.transactions import Answer, Body, KeyValue, answer, encoded, key_values, prefix_end
from controller.etcd.watching import Change, Watch
from controller.model.errors import CoordinationError, CoordinationForeign, CoordinationUnknown

__all__ = ["Change", "EtcdClient", "EtcdSettings", "Found", "WentBack"]

log = logging.getLogger(__name__)

URGENT: Final = 0.03
"""Seconds: several times what a healthy member takes, and two of them still leave most of a heartbeat's 150 ms. To all
members at once would spare it, for three proposals to the cluster instead of one, ten times a second and group."""

LONGEST_LINE: Final = 4 * 2**20
"""Bytes of one message of a watch."""


class WentBack(CoordinationForeign):
    """The store is an older state of itself: it was restored."""


class Found(NamedTuple):
    revision: int  # of the store, when it was read
    items: tuple[KeyValue, ...]


class EtcdClient:
    """`cluster` is the cluster's id, pinned by the first answer (or by `pin`): answers of any other are refused.

    What can be asked twice (reads, and writes that the caller says are `repeatable`) goes to the member that answered
    last, and to one more each time nobody answered for `hedge` seconds or one failed. Any other write goes to another
    member only if the first was not reached at all.
    """

    def __init__(self, settings: EtcdSettings) -> None:
        """Raises CoordinationError when a PEM file can't be used."""
        if not settings.endpoints:
            raise CoordinationError("etcd: no endpoint")
        self.settings = settings
        self._cluster = Cluster()
        self._members = Members(settings, self._cluster)
        self._session: aiohttp.ClientSession | None = None
        self._tls = tls_context(settings)
        self._revision = 0
        self._back = ""

    @property
    def cluster(self) -> str:
        return self._cluster.id

    def pin(self, cluster: str, *, revision: int = 0) -> None:
        """Answers of another cluster are refused from now on, and those of a store that has not come to `revision`: and
        if one ever has not, all later ones too, for it may come to it again."""
        self._cluster.id = cluster
        self._back = ""
        self._revision = revision

    @property
    def revision(self) -> int:
        """The highest at which the store has answered."""
        return self._revision

    async def check(self) -> str:
        """The version of the oldest member that answers. Raises CoordinationError: none answers, one is too old and not
        accepted, or they belong to several clusters of which none is pinned. Of several clusters the others' members
        are left out, and named in the log."""
        pinned = bool(self.cluster)
        found = (await self._members.vet(self._connected())).values()
        versions = [version for version in found if isinstance(version, str)]
        errors = sorted((error for error in found if not isinstance(error, str)), key=_gravity)
        foreign = [error for error in errors if isinstance(error, CoordinationForeign)]
        if errors and (not versions or isinstance(errors[0], TooOld) or (foreign and not pinned)):
            raise errors[0]
        for error in foreign:
            log.error("a member is left out: %s", error, extra={"action": "etcd_foreign"})
        return min(versions, key=lambda version: [int(part) for part in version.split("-")[0].split(".")])

    async def get(self, key: str) -> tuple[int, KeyValue | None]:
        """(the store's revision, the key's value)."""
        found = await self._range({"key": encoded(key)})
        return found.revision, found.items[0] if found.items else None

    async def prefix(self, prefix: str, *, start: str = "", revision: int = 0, most: int = 0) -> Found:
        """The keys that begin with `prefix`: from `start` on, as they were at `revision`, the first `most` of them."""
        request: dict[str, Any] = {
            "key": encoded(start or prefix),
            "range_end": encoded(prefix_end(prefix)),
        }
        if revision:
            request["revision"] = str(revision)
        if most:
            request["limit"] = str(most)
        return await self._range(request)

    async def _range(self, request: Body) -> Found:
        floor = self._revision
        body = await self._read("kv/range", request)
        try:
            found = Found(int(body["header"]["revision"]), key_values(body.get("kvs")))
        except (ValueError, KeyError, TypeError) as error:
            raise CoordinationError(f"etcd: a range that can't be read: {error!r}") from error
        self._advance(found.revision, floor)
        return found

    async def transact(
        self,
        compare: Sequence[Body],
        success: Sequence[Body],
        failure: Sequence[Body] = (),
        *,
        repeatable: bool = False,
        within: float | None = None,
    ) -> Answer:
        """One transaction. Raises CoordinationUnknown when it may have been carried out, CoordinationError when not.

        `repeatable`: it may be carried out, or be refused, after a copy of it was carried out, and the caller can tell.
        `within`: seconds, else the settings' timeout. A transaction that changes nothing is a read.
        """
        floor = self._revision
        reads = all("request_range" in operation for operation in (*success, *failure))
        request = _transaction(compare, success, failure)
        if reads:
            body = await self._read("kv/txn", request, within=within)
        else:
            body = await self._ask("kv/txn", request, again=repeatable, within=within)
        return self._answer(body, floor)

    async def hedged(
        self, compare: Sequence[Body], success: Sequence[Body], failure: Sequence[Body] = ()
    ) -> Answer:
        """To one more member every `URGENT` seconds without an answer; the first answer counts. Only for what may be
        carried out several times: a heartbeat whose guard it does not change itself. Errors as `transact`."""
        floor = self._revision
        request = _transaction(compare, success, failure)
        return self._answer(await self._ask("kv/txn", request, hedge=URGENT), floor)

    async def grant(self, ttl: int, *, within: float | None = None) -> tuple[int, int]:
        """A lease of `ttl` whole seconds: its id, and its real time, which the server may have made longer."""
        body = await self._ask("lease/grant", {"TTL": str(ttl)}, within=within)
        try:
            return int(body["ID"]), int(body["TTL"])
        except (ValueError, KeyError, TypeError) as error:
            raise CoordinationUnknown(f"etcd: a lease that can't be read: {body!r}") from error

    async def keep_alive(self, lease: int) -> bool:
        """False: it has run out. True proves little: a member that lost its quorum says so too, for a while."""
        body = await self._ask("lease/keepalive", {"ID": str(lease)})
        result = body.get("result", body)
        return isinstance(result, Mapping) and int(result.get("TTL", 0)) > 0

    async def revoke(self, lease: int) -> None:
        """What is revoked already is well."""
        try:
            await self._ask("lease/revoke", {"ID": str(lease)})
        except Refused as error:
            if "lease not found" not in str(error):
                raise

    async def watch(self, prefix: str, *, after: int) -> AsyncGenerator[tuple[Change, ...], None]:
        """Changes of the keys that begin with `prefix`, after this revision of the store, each batch as it comes; an
        empty one says that the watch stands. Raises CoordinationError when it breaks; it never ends otherwise."""
        watch = Watch(self._members.all, self._connected(), prefix, after)
        try:
            async for changes in watch.changes():
                yield changes
        finally:
            await watch.close()

    async def close(self) -> None:
        await self._members.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _read(self, path: str, request: Body, *, within: float | None = None) -> Mapping[str, Any]:
        try:
            return await self._ask(path, request, within=within)
        except CoordinationUnknown as error:  # it changes nothing: there is no doubt about it
            raise CoordinationError(str(error)) from error

    async def _ask(
        self,
        path: str,
        request: Body,
        *,
        again: bool = True,
        within: float | None = None,
        hedge: float | None = None,
    ) -> Mapping[str, Any]:
        if self._back:
            raise WentBack(self._back)
        return await self._members.ask(
            self._connected(),
            path,
            request,
            again=again,
            within=self.settings.timeout if within is None else within,
            hedge=self.settings.hedge if hedge is None else hedge,
        )

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls or True, limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=None), read_bufsize=LONGEST_LINE
            )
        return self._session

    def _answer(self, body: Body, floor: int) -> Answer:
        try:
            found = answer(body)
        except (ValueError, KeyError, TypeError) as error:
            raise CoordinationUnknown(
                f"etcd: a transaction's answer that can't be read: {error!r}"
            ) from error
        self._advance(found.revision, floor)
        return found

    def _advance(self, revision: int, floor: int) -> None:
        """`floor`: what the store had come to before it was asked; a linearizable answer never lies before it."""
        if revision < floor:
            self._back = (
                f"etcd: the store has gone back from revision {floor} to {revision}: it was restored. Nothing is done "
                "until a person adopts it (thirdring adopt)"
            )
            raise WentBack(self._back)
        self._revision = max(self._revision, revision)


def _transaction(compare: Sequence[Body], success: Sequence[Body], failure: Sequence[Body]) -> Body:
    return {"compare": list(compare), "success": list(success), "failure": list(failure)}


def _gravity(error: CoordinationError) -> int:
    return 0 if isinstance(error, TooOld) else 1 if isinstance(error, CoordinationForeign) else 2
