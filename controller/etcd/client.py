"""A client of one etcd cluster: fails over between its members, and never guesses whether a write took effect."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp

from controller.etcd.transactions import Answer, Body, KeyValue, answer, encoded, key_values, prefix_end
from controller.model.errors import CoordinationError, CoordinationUnknown

log = logging.getLogger(__name__)

SAFE: Final = ((3, 4, 31), (3, 5, 13))
"""From these on (of their line) a member that stood still does not revoke leases that were renewed meanwhile. Source: etcd
changelogs 3.4 and 3.5, "revoking inactive leases by old leader"."""

WATCH_SILENCE: Final = 30.0
"""Seconds without a word (the progress notices of a quiet watch included) after which a watch counts as broken."""

_REFUSED: Final = frozenset({3, 5, 7, 8, 9, 11, 12, 16})
"""gRPC codes of requests that were not carried out: invalid, not found, denied, no space, precondition, range,
unimplemented, not authenticated."""

_STALE_TOKEN: Final = (
    "invalid auth token",
    "auth token is not provided",
    "user name is empty",
    "revision of auth store",
)


class EtcdSettings(NamedTuple):
    """`timeout` in seconds: of one request to one member. `password` with `user`. PEM files. `accept_old`: servers older
    than SAFE, explicitly."""

    endpoints: tuple[str, ...]
    timeout: float = 0.5
    user: str = ""
    password: str = ""
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    accept_old: bool = False


class Found(NamedTuple):
    revision: int  # of the store, when it was read
    items: tuple[KeyValue, ...]


class Change(NamedTuple):
    """`value` None: the key was deleted, or its lease ran out."""

    key: str
    value: bytes | None
    created: int
    revision: int


class _Refused(CoordinationError):
    """The server said no, and did nothing."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _NotSent(CoordinationError):
    """No connection: nothing reached the server."""


class EtcdClient:
    """`cluster` is the cluster's id, pinned by the first answer (or by `pin`): answers of any other are refused."""

    def __init__(self, settings: EtcdSettings) -> None:
        """Raises CoordinationError when a PEM file can't be used."""
        if not settings.endpoints:
            raise CoordinationError("etcd: no endpoint")
        self.settings = settings
        self.cluster = ""
        self._preferred = 0
        self._token = ""
        self._session: aiohttp.ClientSession | None = None
        self._tls = _tls(settings)

    def pin(self, cluster: str) -> None:
        self.cluster = cluster

    async def check(self) -> str:
        """The version of the member that answers. Raises CoordinationError: none answers, one is too old and not
        accepted, or it belongs to another cluster."""
        body = await self._read("maintenance/status", {})
        version = str(body.get("version", ""))
        if not self.settings.accept_old and not _safe(version):
            wanted = " or ".join(".".join(map(str, parts)) for parts in SAFE)
            raise CoordinationError(
                f"etcd {version or '(unknown version)'} may revoke leases that were renewed (fixed in {wanted}); "
                "accept_old_etcd: true accepts it"
            )
        return version

    async def get(self, key: str) -> tuple[int, KeyValue | None]:
        """(the store's revision, the key's value)."""
        found = await self._range({"key": encoded(key)})
        return found.revision, found.items[0] if found.items else None

    async def prefix(self, prefix: str) -> Found:
        return await self._range({"key": encoded(prefix), "range_end": encoded(prefix_end(prefix))})

    async def _range(self, request: Body) -> Found:
        body = await self._read("kv/range", request)
        try:
            return Found(int(body["header"]["revision"]), key_values(body.get("kvs")))
        except (ValueError, KeyError, TypeError) as error:
            raise CoordinationError(f"etcd: a range that can't be read: {error!r}") from error

    async def transact(
        self, compare: Sequence[Body], success: Sequence[Body], failure: Sequence[Body] = ()
    ) -> Answer:
        """One transaction. Raises CoordinationUnknown when it may have been carried out, CoordinationError when not."""
        return self._answer(await self._write("kv/txn", _transaction(compare, success, failure)))

    async def hedged(
        self, compare: Sequence[Body], success: Sequence[Body], failure: Sequence[Body] = ()
    ) -> Answer:
        """The same to every member at once; the first answer counts. Only for what may be carried out several times:
        a heartbeat whose guard it does not change itself. Errors as `transact`."""
        request = _transaction(compare, success, failure)
        tasks = [
            asyncio.create_task(self._call(endpoint, "kv/txn", request))
            for endpoint in self.settings.endpoints
        ]
        errors: list[CoordinationError] = []
        try:
            for finished in asyncio.as_completed(tasks):
                try:
                    return self._answer(await finished)
                except CoordinationError as error:
                    errors.append(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        doubt = next((error for error in errors if isinstance(error, CoordinationUnknown)), None)
        raise doubt or errors[0]

    async def grant(self, ttl: int) -> int:
        """A lease of `ttl` whole seconds; its id."""
        body = await self._write("lease/grant", {"TTL": str(ttl)})
        try:
            return int(body["ID"])
        except (ValueError, KeyError, TypeError) as error:
            raise CoordinationError(f"etcd: a lease that can't be read: {body!r}") from error

    async def keep_alive(self, lease: int) -> bool:
        """False: it has run out. True proves little: a member that lost its quorum says so too, for a while."""
        body = await self._read("lease/keepalive", {"ID": str(lease)})
        result = body.get("result", body)
        return isinstance(result, Mapping) and int(result.get("TTL", 0)) > 0

    async def revoke(self, lease: int) -> None:
        """What is revoked already is well."""
        try:
            await self._write("lease/revoke", {"ID": str(lease)})
        except _Refused:
            pass

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[Change, ...]]:
        """Changes of the keys that begin with `prefix`, after this revision of the store, each batch as it comes; an
        empty one says that the watch stands. Raises CoordinationError when it breaks; it never ends otherwise."""
        request = {
            "create_request": {
                "key": encoded(prefix),
                "range_end": encoded(prefix_end(prefix)),
                "start_revision": str(after + 1),
                "progress_notify": True,
            }
        }
        endpoint = self.settings.endpoints[self._preferred]
        timeout = aiohttp.ClientTimeout(total=None, connect=self.settings.timeout, sock_read=WATCH_SILENCE)
        try:
            async with (await self._connected()).post(
                f"{endpoint}/v3/watch", json=request, headers=await self._headers(), timeout=timeout
            ) as response:
                if response.status != 200:
                    raise _refusal(response.status, await response.text())
                async for line in response.content:
                    yield self._changes(line)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
            self._rotate(endpoint)
            raise CoordinationError(f"etcd {endpoint}: the watch broke: {_words(error)}") from error
        self._rotate(endpoint)
        raise CoordinationError(f"etcd {endpoint}: the watch ended")

    def _changes(self, line: bytes) -> tuple[Change, ...]:
        document = json.loads(line)
        if "error" in document:
            raise CoordinationError(f"etcd: the watch was refused: {document['error']}")
        result = document["result"]
        self._check_cluster(result)
        if result.get("canceled"):
            raise CoordinationError(f"etcd: the watch was cancelled: {result.get('cancel_reason', '')}")
        changes = []
        for event in result.get("events") or ():
            (item,) = key_values([event["kv"]])
            gone = event.get("type") == "DELETE"
            changes.append(Change(item.key, None if gone else item.value, item.created, item.changed))
        return tuple(changes)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # Requests.

    async def _read(self, path: str, request: Body) -> Mapping[str, Any]:
        """From the member that answered last, then from each other one."""
        return await self._somewhere(path, request, again=True)

    async def _write(self, path: str, request: Body) -> Mapping[str, Any]:
        """To another member only where the first was not reached at all."""
        return await self._somewhere(path, request, again=False)

    async def _somewhere(self, path: str, request: Body, *, again: bool) -> Mapping[str, Any]:
        failure: CoordinationError | None = None
        # At least twice: a member that started again has closed the connection that was kept.
        for _ in range(max(2, len(self.settings.endpoints))):
            endpoint = self.settings.endpoints[self._preferred]
            try:
                return await self._call(endpoint, path, request)
            except _Refused:
                raise
            except CoordinationError as error:
                self._rotate(endpoint)
                failure = error
                if not again and not isinstance(error, _NotSent):
                    raise
        assert failure is not None
        if again:  # a read changes nothing: there is no doubt about it
            raise CoordinationError(str(failure)) from failure
        raise failure

    def _rotate(self, endpoint: str) -> None:
        """Away from a member that failed, unless somebody else was quicker."""
        if self.settings.endpoints[self._preferred] == endpoint:
            self._preferred = (self._preferred + 1) % len(self.settings.endpoints)

    async def _call(self, endpoint: str, path: str, request: Body) -> Mapping[str, Any]:
        try:
            return await self._post(endpoint, path, request)
        except _Refused as error:
            if not self.settings.user or not any(text in str(error) for text in _STALE_TOKEN):
                raise
        self._token = ""  # it ran out; the request was not carried out
        return await self._post(endpoint, path, request)

    async def _post(self, endpoint: str, path: str, request: Body) -> Mapping[str, Any]:
        timeout = aiohttp.ClientTimeout(total=self.settings.timeout)
        try:
            headers = {} if path == "auth/authenticate" else await self._headers()
            async with (await self._connected()).post(
                f"{endpoint}/v3/{path}", json=request, headers=headers, timeout=timeout
            ) as response:
                text = await response.text()
        except aiohttp.ClientConnectorError as error:
            raise _NotSent(f"etcd {endpoint}: {_words(error)}") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise CoordinationUnknown(f"etcd {endpoint}: {_words(error)}") from error
        if response.status != 200:
            raise _refusal(response.status, text, endpoint)
        try:
            body = json.loads(text.partition("\n")[0] if path == "lease/keepalive" else text)
        except ValueError as error:
            raise CoordinationUnknown(f"etcd {endpoint}: an answer that is no JSON") from error
        if not isinstance(body, dict):
            raise CoordinationUnknown(f"etcd {endpoint}: an answer that is no object")
        self._check_cluster(body.get("result", body))
        return body

    async def _headers(self) -> dict[str, str]:
        if not self.settings.user:
            return {}
        if not self._token:
            credentials = {"name": self.settings.user, "password": self.settings.password}
            for number in range(len(self.settings.endpoints)):
                endpoint = self.settings.endpoints[(self._preferred + number) % len(self.settings.endpoints)]
                try:
                    body = await self._post(endpoint, "auth/authenticate", credentials)
                except (_NotSent, CoordinationUnknown) as error:
                    if number + 1 == len(self.settings.endpoints):
                        raise _NotSent(str(error)) from error
                    continue
                self._token = str(body.get("token", ""))
                break
        return {"Authorization": self._token}

    async def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls or True, limit=0)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session

    def _check_cluster(self, body: object) -> None:
        header = body.get("header") if isinstance(body, Mapping) else None
        cluster = str(header.get("cluster_id", "")) if isinstance(header, Mapping) else ""
        if not cluster:
            return
        if not self.cluster:
            self.cluster = cluster
        elif cluster != self.cluster:
            raise CoordinationError(
                f"etcd: this is cluster {cluster}, not {self.cluster}: it was wiped or restored, or the endpoints are "
                "another's. Nothing is done until a person adopts it (thirdring adopt)"
            )

    def _answer(self, body: Body) -> Answer:
        try:
            return answer(body)
        except (ValueError, KeyError, TypeError) as error:
            raise CoordinationUnknown(
                f"etcd: a transaction's answer that can't be read: {error!r}"
            ) from error


def _transaction(compare: Sequence[Body], success: Sequence[Body], failure: Sequence[Body]) -> Body:
    return {"compare": list(compare), "success": list(success), "failure": list(failure)}


def _refusal(status: int, text: str, endpoint: str = "") -> CoordinationError:
    try:
        document = json.loads(text)
        code, message = int(document.get("code", 0)), str(document.get("message") or document.get("error"))
    except (ValueError, AttributeError, TypeError):
        code, message = 0, text.strip()[:200]
    words = f"etcd {endpoint}: {message or f'HTTP {status}'}"
    if code in _REFUSED or status in (400, 401, 403, 404):
        return _Refused(words, code)
    return CoordinationUnknown(words)


def _safe(version: str) -> bool:
    try:
        parts = tuple(int(part) for part in version.partition("-")[0].split("."))
    except ValueError:
        return False
    return parts >= (3, 6) or any(parts[:2] == safe[:2] and parts >= safe for safe in SAFE)


def _tls(settings: EtcdSettings) -> ssl.SSLContext | None:
    if settings.authority is None and settings.certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.authority)
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise CoordinationError(f"etcd: TLS files: {error}") from error
    return context


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
