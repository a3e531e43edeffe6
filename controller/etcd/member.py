"""One member of a cluster: its connection, its token, and whether it may be believed at all."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp

from controller.etcd.settings import EtcdSettings
from controller.etcd.transactions import Body
from controller.model.errors import CoordinationError, CoordinationForeign, CoordinationUnknown

SAFE: Final = ((3, 4, 31), (3, 5, 13))
"""From these on (of their line) a member that stood still does not revoke leases that were renewed meanwhile. Source: etcd
changelogs 3.4 and 3.5, "revoking inactive leases by old leader"."""

QUIET: Final = 60.0
"""Seconds without a word after which a watch's connection is made anew; a quiet one is in order."""

_REFUSED: Final = frozenset({3, 5, 7, 8, 9, 11, 12, 16})
"""gRPC codes of requests that were not carried out: invalid, not found, denied, no space, precondition, range,
unimplemented, not authenticated."""

_STALE_TOKEN: Final = (
    "invalid auth token",
    "auth token is not provided",
    "user name is empty",
    "revision of auth store",
    "revision in header is old",
)


_NAMED: Final = "CommonName of client"
"""So begins what the gateway says to every request under such a certificate while access control is on (etcd, embed/serve.go)."""


class Refused(CoordinationError):
    """The server said no, and did nothing."""


class NotSent(CoordinationError):
    """No connection, or nothing was asked: nothing took effect."""


class TooOld(NotSent):
    """Its leases can't be trusted, and nobody accepted that."""


class ConnectionLost(CoordinationUnknown):
    """The connection ended under the request."""


class Cluster:
    """Which cluster this is: its id is pinned by the first answer, or by a person's word."""

    def __init__(self) -> None:
        self.id = ""

    def check(self, document: object) -> None:
        """Raises CoordinationForeign for the answer of any other cluster."""
        header = document.get("header") if isinstance(document, Mapping) else None
        found = str(header.get("cluster_id", "")) if isinstance(header, Mapping) else ""
        if not found:
            return
        if not self.id:
            self.id = found
        elif found != self.id:
            raise CoordinationForeign(
                f"etcd: this is cluster {found}, not {self.id}: it was wiped or restored, or the endpoints are "
                "another's. Nothing is done until a person adopts it (thirdring adopt)"
            )


class Member:
    """At `endpoint`. It is vetted before its first request and after every failure: its version and its cluster."""

    def __init__(self, endpoint: str, settings: EtcdSettings, cluster: Cluster) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.version = ""
        self._settings = settings
        self._cluster = cluster
        self._vetted = False
        self._token = ""

    async def call(self, session: aiohttp.ClientSession, path: str, request: Body) -> Mapping[str, Any]:
        """Raises NotSent (TooOld among it), Refused, CoordinationForeign, CoordinationUnknown; waits as long as it is let."""
        await self._vet(session)
        return await self._authorized(session, path, request)

    async def vet(self, session: aiohttp.ClientSession) -> str:
        """Its version. Raises as `call`; TooOld when that is not accepted."""
        self._vetted = False
        await self._vet(session)
        return self.version

    async def watch(self, session: aiohttp.ClientSession, request: Body) -> AsyncIterator[Mapping[str, Any]]:
        """Its messages, the first of which says that the watch stands. Ends when it was quiet for long. Errors as
        `call`."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=QUIET)
        try:
            async with asyncio.timeout(self._settings.timeout) as opening:
                await self._vet(session)
                headers = await self._headers(session)
                async with session.post(
                    f"{self.endpoint}/v3/watch", json=request, headers=headers, timeout=timeout
                ) as response:
                    _notice_death(response)
                    if response.status != 200:
                        raise self._refusal(response.status, await response.text())
                    async for line in response.content:
                        opening.reschedule(None)
                        yield self._message(line)
        except aiohttp.SocketTimeoutError:
            return
        except (aiohttp.ClientError, OSError) as error:
            raise self._failed(error) from error
        raise NotSent(f"etcd {self.endpoint}: the watch ended")

    def _message(self, line: bytes) -> Mapping[str, Any]:
        try:
            document = json.loads(line)
            if "error" in document:
                raise Refused(f"etcd {self.endpoint}: the watch was refused: {document['error']}")
            result: Mapping[str, Any] = document["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise CoordinationError(f"etcd {self.endpoint}: a watch's message can't be read") from error
        self._cluster.check(result)
        return result

    async def _vet(self, session: aiohttp.ClientSession) -> None:
        if self._vetted:
            return
        try:
            body = await self._authorized(session, "maintenance/status", {})
        except CoordinationUnknown as error:
            raise NotSent(str(error)) from error
        self.version = str(body.get("version", ""))
        if not self._settings.accept_old and not safe(self.version):
            wanted = " or ".join(".".join(map(str, parts)) for parts in SAFE)
            raise TooOld(
                f"etcd {self.endpoint} {self.version or '(unknown version)'} may revoke leases that were renewed "
                f"(fixed in {wanted}); accept_old_etcd: true accepts it"
            )
        self._vetted = True

    async def _authorized(
        self, session: aiohttp.ClientSession, path: str, request: Body
    ) -> Mapping[str, Any]:
        try:
            return await self._post(session, path, request, await self._headers(session))
        except Refused as error:
            if not self._settings.user or not any(text in str(error) for text in _STALE_TOKEN):
                raise
        self._token = ""  # it ran out, or the access control was changed; nothing was carried out
        return await self._post(session, path, request, await self._headers(session))

    async def _headers(self, session: aiohttp.ClientSession) -> dict[str, str]:
        if not self._settings.user:
            return {}
        if not self._token:
            credentials = {"name": self._settings.user, "password": self._settings.password}
            try:
                body = await self._post(session, "auth/authenticate", credentials, {})
            except CoordinationUnknown as error:
                raise NotSent(str(error)) from error
            self._token = str(body.get("token", ""))
        return {"Authorization": self._token}

    async def _post(
        self, session: aiohttp.ClientSession, path: str, request: Body, headers: Mapping[str, str]
    ) -> Mapping[str, Any]:
        try:
            async with session.post(f"{self.endpoint}/v3/{path}", json=request, headers=headers) as response:
                text = await response.text()
        except (aiohttp.ClientError, OSError) as error:
            raise self._failed(error) from error
        if response.status != 200:
            raise self._refusal(response.status, text)
        try:
            body = json.loads(text.partition("\n")[0])
        except ValueError as error:
            raise CoordinationUnknown(f"etcd {self.endpoint}: an answer that is no JSON") from error
        if not isinstance(body, dict):
            raise CoordinationUnknown(f"etcd {self.endpoint}: an answer that is no object")
        self._cluster.check(body.get("result", body))
        return body

    def _failed(self, error: Exception) -> CoordinationError:
        self._vetted = False
        words = f"etcd {self.endpoint}: {'no answer in time' if isinstance(error, TimeoutError) else error}"
        if isinstance(error, aiohttp.ClientConnectorError):
            return NotSent(words)
        return ConnectionLost(words)

    def _refusal(self, status: int, text: str) -> CoordinationError:
        try:
            document = json.loads(text)
            code, message = (
                int(document.get("code", 0)),
                str(document.get("message") or document.get("error")),
            )
        except (ValueError, AttributeError, TypeError):
            code, message = 0, text.strip()[:200]
        words = f"etcd {self.endpoint}: {message or f'HTTP {status}'}"
        if _NAMED in message:
            words += "; with user and password it takes a client certificate without a common name"
        if code in _REFUSED or (not code and status in (400, 401, 403, 404)):
            return Refused(words)
        return CoordinationUnknown(words)


def safe(version: str) -> bool:
    try:
        parts = tuple(int(part) for part in version.partition("-")[0].split("."))
    except ValueError:
        return False
    return parts >= (3, 6) or any(parts[:2] == line[:2] and parts >= line for line in SAFE)


def _notice_death(response: aiohttp.ClientResponse) -> None:
    """A host that lost its power says no goodbye, and a watch sends nothing that could fail: the kernel asks instead."""
    transport = response.connection.transport if response.connection is not None else None
    raw = transport.get_extra_info("socket") if transport is not None else None
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3)):
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
