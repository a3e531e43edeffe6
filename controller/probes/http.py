"""An HTTP request whose status and body are checked."""

from __future__ import annotations

import re
import ssl
import time
from typing import Literal

import aiohttp
from pydantic import Field, HttpUrl, field_validator

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.probes.parameters import Strict

LARGEST_BODY = 1024 * 1024
"""Bytes read of a body; what comes after is not looked at."""


class HttpParameters(Strict):
    """`status` lists what counts as up. `body` is a regular expression that must be found in the first MiB."""

    url: HttpUrl
    method: Literal["GET", "HEAD", "POST", "OPTIONS"] = "GET"
    status: frozenset[int] = frozenset(range(200, 300))
    body: str = ""
    send: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    verify_tls: bool = True
    authorities: str = ""
    keep_alive: bool = False

    @field_validator("body")
    @classmethod
    def _compiles(cls, body: str) -> str:
        try:
            re.compile(body)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return body


class Http:
    """ports.Probe."""

    Parameters = HttpParameters
    mass = False

    def __init__(self, parameters: HttpParameters) -> None:
        self._parameters = parameters
        self._body = re.compile(parameters.body) if parameters.body else None
        self._session: aiohttp.ClientSession | None = None

    async def run(self, key: RungKey, timeout: float) -> ProbeResult:
        sent_at = time.monotonic()
        code = 0
        try:
            parameters = self._parameters
            async with self._opened().request(
                parameters.method,
                str(parameters.url),
                data=parameters.send or None,
                headers=parameters.headers,
                timeout=aiohttp.ClientTimeout(total=timeout),
                allow_redirects=False,
            ) as response:
                code = response.status
                text = await _first(response.content, LARGEST_BODY)
            outcome, note = self._judge(code, text)
        except TimeoutError:
            outcome, note = Outcome.NO_REPLY, "headers came, the body did not" if code else ""
        except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
            outcome, note = Outcome.MALFORMED, str(error)
        except (aiohttp.ClientError, OSError) as error:
            outcome, note = Outcome.TRANSPORT, str(error) or type(error).__name__
        now = time.monotonic()
        return ProbeResult(key, sent_at, now, outcome, outcome is Outcome.UP, now - sent_at, code, note=note)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _judge(self, code: int, text: bytes) -> tuple[Outcome, str]:
        if code not in self._parameters.status:
            return Outcome.REFUSING if code == 503 else Outcome.ERROR, f"status {code}"
        if self._body is not None and self._body.search(text.decode("utf-8", "replace")) is None:
            return Outcome.FAILED, f"the body does not match {self._body.pattern!r}"
        return Outcome.UP, ""

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls: ssl.SSLContext | bool = True
            if not self._parameters.verify_tls:
                tls = False
            elif self._parameters.authorities:
                tls = ssl.create_default_context(cafile=self._parameters.authorities)
            connector = aiohttp.TCPConnector(ssl=tls, force_close=not self._parameters.keep_alive)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)
        return self._session


async def _first(stream: aiohttp.StreamReader, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in stream.iter_any():
        parts.append(part)
        size += len(part)
        if size >= most:
            break
    return b"".join(parts)[:most]
