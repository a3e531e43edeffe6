"""A page as one JSON document posted to an address, signed if a secret is given."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time

import aiohttp
from pydantic import Field, HttpUrl, SecretStr, field_validator
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from controller.model.commands import Notify
from controller.model.errors import NotificationError
from controller.notifiers.parameters import ROBOTS, Strict, trust
from controller.ports import RenderedPage

LARGEST_ANSWER = 2048
"""Bytes of an answer that are kept."""


class WebhookParameters(Strict):
    """`timeout` in seconds, for all attempts together. `authorities`: a PEM file to trust instead of the system's."""

    url: HttpUrl
    secret: SecretStr = SecretStr("")
    headers: dict[str, str] = Field(default_factory=dict)
    timeout: float = Field(default=8.0, gt=0, le=15)
    attempts: int = Field(default=3, ge=1, le=10)
    authorities: str = ""

    @field_validator("url")
    @classmethod
    def _no_robot(cls, url: HttpUrl) -> HttpUrl:
        robot = ROBOTS.get((url.host or "").lower())
        if robot is not None:
            raise ValueError(
                f"a {robot} robot answers 200 to what it did not deliver, and wants messages of its own form;"
                " this channel would call every page sent"
            )
        return url

    @field_validator("authorities")
    @classmethod
    def _readable(cls, authorities: str) -> str:
        if authorities:
            trust(authorities)
        return authorities

    @field_validator("headers")
    @classmethod
    def _plain(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not name.isascii() or any(character in name + value for character in "\r\n\0"):
                raise ValueError(f"{name!r} is no header")
        return headers


class Webhook:
    """ports.Notifier.

    The body is `document`. With a secret, `X-Third-Ring-Signature` is "sha256=" and the HMAC-SHA256 (RFC 2104), in
    hex, of the value of `X-Third-Ring-Timestamp` (Unix seconds), a full stop, and the body. `Idempotency-Key` is the
    same for every attempt at one sending: a receiver that keeps it sees each page once.
    """

    Parameters = WebhookParameters

    def __init__(self, parameters: WebhookParameters) -> None:
        self._parameters = parameters
        self._session: aiohttp.ClientSession | None = None

    async def send(self, command: Notify, rendered: RenderedPage) -> str:
        """Any 2xx counts as sent. 408, 429, 5xx and what fails before an answer are temporary, all else permanent."""
        body = json.dumps(document(command, rendered), ensure_ascii=False).encode()
        parameters = self._parameters
        try:
            async with asyncio.timeout(parameters.timeout):
                async for attempt in AsyncRetrying(
                    stop=stop_after_attempt(parameters.attempts),
                    wait=wait_exponential(multiplier=0.2, max=2.0),
                    retry=retry_if_exception(_passing),
                    reraise=True,
                ):
                    with attempt:
                        return await self._post(command, body)
        except TimeoutError as error:
            raise NotificationError(f"{self._where} did not answer in {parameters.timeout:g} s") from error
        raise NotificationError(f"{self._where}: no attempt was made")

    async def _post(self, command: Notify, body: bytes) -> str:
        try:
            async with self._opened().post(
                str(self._parameters.url),
                data=body,
                headers=self._headers(command, body),
                allow_redirects=False,  # a page must not be handed to an address nobody configured
            ) as answer:
                text = (await answer.content.read(LARGEST_ANSWER)).decode("utf-8", "replace").strip()
                status = answer.status
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotificationError(f"{self._where}: {error or type(error).__name__}") from error
        if 200 <= status < 300:
            return f"HTTP {status} {text[:200]}".rstrip()
        permanent = status < 500 and status not in (408, 429)
        raise NotificationError(f"{self._where}: HTTP {status} {text[:200]}".rstrip(), permanent=permanent)

    def _headers(self, command: Notify, body: bytes) -> dict[str, str]:
        headers = {
            "User-Agent": "third-ring",
            **self._parameters.headers,
            "Content-Type": "application/json; charset=utf-8",
            "Idempotency-Key": command.id,
        }
        if secret := self._parameters.secret.get_secret_value():
            stamp = str(int(time.time()))
            headers["X-Third-Ring-Timestamp"] = stamp
            headers["X-Third-Ring-Signature"] = signature(secret, stamp, body)
        return headers

    @property
    def _where(self) -> str:
        """Without path and query: they may hold a token."""
        url = self._parameters.url
        return f"{url.scheme}://{url.host}:{url.port}"

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = trust(self._parameters.authorities) if self._parameters.url.scheme == "https" else True
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=4), trust_env=True
            )
        return self._session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def document(command: Notify, rendered: RenderedPage) -> dict[str, object]:
    """What is posted. Version 1; keys are only ever added."""
    what, impact, did, need = rendered.lines
    return {
        "version": 1,
        "id": command.id,
        "page": command.page,
        "incident": rendered.incident,
        "severity": rendered.severity,
        "drill": rendered.drill,
        "person": rendered.person,
        "subject": rendered.subject,
        "what": what,
        "impact": impact,
        "did": did,
        "need": need,
        "text": "\n".join(rendered.lines),
        "acknowledge": rendered.link,
    }


def signature(secret: str, timestamp: str, body: bytes) -> str:
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def _passing(error: BaseException) -> bool:
    return isinstance(error, NotificationError) and not error.permanent
