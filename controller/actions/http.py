"""`http`: one request to one service, with an honest word on whether it may have taken effect.

Redirects are never followed and proxies of the environment never used: a request goes where the runbook says or
nowhere. The group's epoch goes along as X-Epoch.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import aiohttp
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from yarl import URL

from controller.model.commands import RunAction
from controller.model.errors import ActionError, ActionRefused, ActionUnknown
from controller.model.parameters import unflatten
from controller.ports import ActionOutcome

MOST_BODY = 64 * 1024
"""Octets read of an answer."""

NOT_DONE = frozenset({425, 429, 503})
"""Answers that say: not now, nothing was done (RFC 8470 5.2, RFC 6585 4, RFC 9110 15.6.4)."""

CONNECT_SHARE = 0.5
"""Of the timeout, at most this share is spent on connecting: until then nothing was sent."""


def _url(text: str) -> str:
    try:
        url = URL(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{text!r} is no http or https URL")
    if url.user or url.password:
        raise ValueError("credentials belong into a header, not into the URL: it is shown in the timeline")
    return text


class Http:
    class Settings(BaseModel):
        """`hosts`: where requests may go, as host or host:port; empty: anywhere. `ca`: a file of certificate authorities
        to trust instead of the system's."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        hosts: tuple[str, ...] = ()
        ca: str = ""

    class Parameters(BaseModel):
        """`expect`: statuses that mean success; every 2xx when empty. At most one of `json` and `body`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        reports: ClassVar[Mapping[str, str]] = {"status": "int", "body": "string"}

        url: Annotated[str, AfterValidator(_url)]
        method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
        headers: Mapping[str, str] = {}
        json_: Any = Field(default=None, alias="json")
        body: str | None = None
        expect: tuple[Annotated[int, Field(ge=100, le=599)], ...] = ()

        @model_validator(mode="after")
        def _one_body(self) -> Self:
            if self.json_ is not None and self.body is not None:
                raise ValueError("either json or body, not both")
            return self

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def run(self, command: RunAction) -> ActionOutcome:
        """Raises ActionError (nothing was sent, or the answer says that nothing was done), ActionRefused (it said no),
        ActionUnknown (sent, and no answer that tells)."""
        try:
            parameters = self.Parameters.model_validate(unflatten(command.parameters))
        except ValidationError as error:
            raise ActionError(f"wrong parameters: {error.errors()[0]['msg']}") from None
        url = URL(parameters.url)
        if self._settings.hosts and not {url.host, f"{url.host}:{url.port}"} & set(self._settings.hosts):
            raise ActionError(f"requests to {url.host}:{url.port} are not allowed")
        headers = {"Accept-Encoding": "identity", **parameters.headers}
        if command.epoch:
            headers["X-Epoch"] = str(command.epoch)
        timeout = aiohttp.ClientTimeout(
            total=command.timeout,
            sock_connect=command.timeout * CONNECT_SHARE,
            connect=command.timeout * CONNECT_SHARE,
        )
        try:
            async with self._opened().request(
                parameters.method,
                url,
                headers=headers,
                json=parameters.json_,
                data=parameters.body,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                body = await _beginning(response.content)
                return _judged(parameters, response.status, body.decode("utf-8", "replace"))
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            raise ActionError(f"no connection to {url.host}:{url.port}: {_cause(error)}") from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ActionUnknown(f"sent to {url.host}:{url.port}, no answer: {_cause(error)}") from None
        except ValueError as error:
            raise ActionError(f"can't be sent: {error}") from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        """A connection a request: one that was kept may be closed under a request, and nobody could tell whether that
        was carried out."""
        if self._session is None or self._session.closed:
            trust: ssl.SSLContext | bool = True
            if self._settings.ca:
                trust = ssl.create_default_context(cafile=self._settings.ca)
            connector = aiohttp.TCPConnector(ssl=trust, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False, auto_decompress=False)
        return self._session


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """At most MOST_BODY octets; the rest is not waited for."""
    body = bytearray()
    while len(body) < MOST_BODY and (chunk := await content.read(MOST_BODY - len(body))):
        body.extend(chunk)
    return bytes(body)


def _judged(parameters: Http.Parameters, status: int, body: str) -> ActionOutcome:
    expected = status in parameters.expect if parameters.expect else 200 <= status < 300
    if expected:
        return ActionOutcome(message=f"HTTP {status}", data=(("status", status), ("body", body)))
    message = f"HTTP {status}" + (f": {' '.join(body.split())[:200]}" if body.strip() else "")
    if status in NOT_DONE:
        raise ActionError(message)
    if status == 408 or status >= 500:
        raise ActionUnknown(message)
    raise ActionRefused(message)


def _cause(error: BaseException) -> str:
    return str(error) or type(error).__name__
