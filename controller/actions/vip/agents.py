"""One host agent, as the driver speaks to it: JSON over mutual TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp

from controller.actions.points import Nonsense, Unreachable
from controller.actions.vip.parameters import TlsParameters
from controller.model.errors import ActionError, ActionRefused, ActionUnknown

MOST_BYTES = 1024 * 1024


class Agent:
    """Connections are kept: a handshake in the middle of a switch costs more than the release itself."""

    def __init__(self, side: str, url: str, tls: TlsParameters, *, timeout: float) -> None:
        self.side = side
        self._url = url.rstrip("/")
        self._tls = tls
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def status(self, group: str) -> Mapping[str, Any]:
        """What the agent says of the group, with its `fence_ready` and `fence_lacks`. Raises Unreachable, Nonsense."""
        answer = await self._get("/status")
        try:
            found: dict[str, Any] = answer["groups"][group]
            return {**found, "fence_ready": answer["fence_ready"], "fence_lacks": answer["fence_lacks"]}
        except (KeyError, TypeError):
            raise Nonsense(f"the agent at {self._url} has no group {group}") from None

    async def live_calls(self, group: str) -> int | None:
        """None: they can't be counted. Raises Unreachable, Nonsense."""
        calls = (await self._get(f"/calls?group={group}")).get("live_calls")
        return calls if isinstance(calls, int) else None

    async def ask(
        self, what: str, group: str, epoch: int, *, within: float | None = None, **more: Any
    ) -> Mapping[str, Any]:
        """POST. Raises Unreachable (never sent), ActionRefused (by name), ActionUnknown (no answer), ActionError."""
        url = f"{self._url}/{what}"
        body = {"group": group, "epoch": epoch, **more}
        try:
            async with (
                asyncio.timeout(within or self._timeout),
                self._opened().post(url, json=body) as answer,
            ):
                return await self._read(answer)
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"{url}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ActionUnknown(f"{url}: no answer: {error or type(error).__name__}") from error

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _get(self, path: str) -> Mapping[str, Any]:
        url = f"{self._url}{path}"
        for attempt in (1, 2):
            try:
                async with asyncio.timeout(self._timeout), self._opened().get(url) as answer:
                    return await self._read(answer)
            except aiohttp.ServerDisconnectedError as error:
                # A kept connection of an agent that was started anew.
                if attempt == 2:
                    raise Unreachable(f"{url}: {error}") from error
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise Unreachable(f"{url}: {error or type(error).__name__}") from error
        raise AssertionError("unreachable")

    async def _read(self, answer: aiohttp.ClientResponse) -> Mapping[str, Any]:
        try:
            content = await answer.json()
        except (ValueError, aiohttp.ContentTypeError) as error:
            raise Nonsense(f"{self._url}: HTTP {answer.status} is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise Nonsense(f"{self._url}: an answer that is no object")
        if answer.status == 200:
            return content
        message = f"{content.get('refused', answer.status)}: {content.get('message', '')}"
        # Its disk or the store may recover; what it has a name for will not by asking again.
        if answer.status >= 500 or content.get("refused") in ("no_store", "timed_out", "bound_by_promise"):
            raise ActionError(f"{self.side}'s agent: {message}")
        raise ActionRefused(f"{self.side}'s agent: {message}")

    def _opened(self) -> aiohttp.ClientSession:
        """Made inside the running loop; the environment's proxies are for the web."""
        if self._session is None:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self._tls.authority))
            context.load_cert_chain(self._tls.certificate, self._tls.key)
            connector = aiohttp.TCPConnector(ssl=context, limit=8, keepalive_timeout=60.0)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self._session
