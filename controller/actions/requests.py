"""One HTTP request to one service, with an honest word on whether it was sent.

Redirects are never followed and proxies of the environment never used. Every request has a connection of its own: one
that was kept may be closed under a request, and nobody could tell whether that was carried out. An idempotent method
(RFC 9110 9.2.2) whose connection breaks before any answer is sent a second time, by aiohttp; a POST or PATCH never is.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from yarl import URL

from controller.actions.points import Unreachable
from controller.model.errors import ActionError, ActionUnknown

MOST_BODY = 4 * 1024 * 1024
"""Octets read of an answer; a longer one is an error."""

CONNECT_SHARE = 0.5
"""Of the timeout, at most this share is spent on connecting: until then nothing was sent."""


class Answer(NamedTuple):
    """`headers` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> str:
        """For people."""
        text = " ".join(self.body[:200].decode(errors="replace").split())
        return f"HTTP {self.status}" + (f": {text}" if text else "")


class Requests:
    """`timeout`: of one request, seconds. `ca`: certificate authorities to trust instead of the system's, a file."""

    def __init__(self, *, timeout: float, ca: str = "") -> None:
        self._timeout = aiohttp.ClientTimeout(
            total=timeout, connect=timeout * CONNECT_SHARE, sock_connect=timeout * CONNECT_SHARE
        )
        self._ca = ca
        self._session: aiohttp.ClientSession | None = None

    async def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Raises Unreachable (it was never sent), ActionUnknown (sent, and no whole answer came back)."""
        place = URL(url)
        given = {"Accept-Encoding": "identity", "Cache-Control": "no-cache", **(headers or {})}
        try:
            async with self._opened().request(
                method, place, headers=given, data=body, allow_redirects=False, timeout=self._timeout
            ) as response:
                return Answer(response.status, response.headers, await _whole(response.content))
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            raise Unreachable(f"no connection to {place.host}:{place.port}: {_cause(error)}") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ActionUnknown(f"{place.host}:{place.port} gave no answer: {_cause(error)}") from error

    async def read(self, url: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        """A GET: no answer changes nothing. Raises Unreachable."""
        try:
            return await self.exchange("GET", url, headers=headers)
        except ActionUnknown as error:
            raise Unreachable(str(error)) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            trust: ssl.SSLContext | bool = True
            if self._ca:
                try:
                    trust = ssl.create_default_context(cafile=self._ca)
                except (OSError, ssl.SSLError) as error:
                    raise ActionError(
                        f"{self._ca} can't be used as certificate authorities: {error}"
                    ) from error
            connector = aiohttp.TCPConnector(ssl=trust, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


async def _whole(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    while piece := await content.read(64 * 1024):
        body += piece
        if len(body) > MOST_BODY:
            raise aiohttp.ClientPayloadError(f"an answer of more than {MOST_BODY} octets")
    return bytes(body)


def _cause(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError) and not str(error):
        return "timeout"
    return str(error) or type(error).__name__
