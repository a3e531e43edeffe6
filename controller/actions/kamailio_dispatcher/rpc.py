"""Kamailio's JSON-RPC over HTTP (modules xhttp and jsonrpcs), as tested with 5.6.3.

Parameters are positional. An error is HTTP 500 with a JSON-RPC body; a body that is not JSON gets no answer at all; a
command that changes the dispatcher carries X-Epoch and is answered 409, with the newest epoch as text, when it is older.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from controller.model.errors import ActionError, ActionRefused, ActionUnknown

Parameter = str | int

LONGEST_ANSWER = 4 * 1024 * 1024
"""Octets. A list of 2,000 destinations takes about 0.6 MB."""


class Unreachable(ActionError):
    """The edge did not answer: nothing was asked of it, or nothing that changes it."""


class Rpc:
    """One edge's JSON-RPC. Connections are kept; `timeout` is of one call, seconds. While the last call failed, only a
    `patient` one waits that long: a dead edge must not slow down what is done on the others."""

    def __init__(self, url: str, *, timeout: float, local_address: str = "") -> None:
        self.url = url
        self._timeout = timeout
        self._local = (local_address, 0) if local_address else None
        self._session: aiohttp.ClientSession | None = None
        self._number = 0
        self._failing = False

    async def read(self, method: str, *parameters: Parameter, patient: bool = False) -> Any:
        """A method that changes nothing; repeated once when a kept connection turns out to be closed.

        Raises Unreachable, ActionRefused (the edge said no), ActionError (it talked nonsense).
        """
        try:
            return await self._call(method, parameters, None, patient=patient)
        except aiohttp.ServerDisconnectedError:
            pass
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error
        try:
            return await self._call(method, parameters, None, patient=patient)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    async def change(self, method: str, *parameters: Parameter, epoch: int) -> Any:
        """A method behind the epoch gate.

        Raises Unreachable (it was never sent), ActionRefused (an older epoch, an unknown destination), ActionUnknown (no
        answer, or one that says nothing), ActionError ("Ongoing reload": not now).
        """
        try:
            return await self._call(method, parameters, epoch)
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._failing = True
            raise ActionUnknown(f"{self.url}: no answer to {method}: {_told(error)}") from error
        except Nonsense as error:
            raise ActionUnknown(str(error)) from error

    async def gate(self) -> int | None:
        """The epoch the edge obeys: a change without an epoch is refused by its gate, which says so. None: no gate,
        the edge took the (incomplete, harmless) command. Raises Unreachable, ActionError."""
        try:
            status, text = await self._post("dispatcher.set_state", (), None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error
        if status == 409 and text.strip().isdigit():
            return int(text.strip())
        if status == 403:
            raise ActionRefused(f"{self.url} does not listen to this address (403)")
        return None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(
        self, method: str, parameters: tuple[Parameter, ...], epoch: int | None, *, patient: bool = False
    ) -> Any:
        status, text = await self._post(method, parameters, epoch, patient=patient)
        match status:
            case 409:
                raise ActionRefused(f"{self.url}: epoch {epoch} is older than {text.strip() or 'the newest'}")
            case 403:
                raise ActionRefused(f"{self.url} does not listen to this address (403)")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            raise Nonsense(f"{self.url}: HTTP {status} to {method} is not JSON: {text[:80]!r}") from None
        if not isinstance(answer, dict) or answer.get("jsonrpc") != "2.0":
            raise Nonsense(f"{self.url}: the answer to {method} is not JSON-RPC: {text[:80]!r}")
        if (error := answer.get("error")) is not None:
            message = error.get("message") if isinstance(error, dict) else error
            if message == "Ongoing reload":
                raise ActionError(f"{self.url}: {method}: {message}")
            raise ActionRefused(f"{self.url}: {method}: {message}")
        if status != 200 or "result" not in answer:
            raise Nonsense(f"{self.url}: HTTP {status} to {method} without a result")
        return answer["result"]

    async def _post(
        self, method: str, parameters: tuple[Parameter, ...], epoch: int | None, *, patient: bool = False
    ) -> tuple[int, str]:
        self._number += 1
        body = {"jsonrpc": "2.0", "method": method, "params": list(parameters), "id": self._number}
        headers = {"Content-Type": "application/json"}
        if epoch is not None:
            headers["X-Epoch"] = str(epoch)
        async with (
            asyncio.timeout(self._timeout / 4 if self._failing and not patient else self._timeout),
            self._opened().post(self.url, data=json.dumps(body), headers=headers) as answer,
        ):
            content = bytearray()
            # A read gives what has arrived, and a list of destinations comes in many pieces.
            while len(content) < LONGEST_ANSWER and (
                piece := await answer.content.read(LONGEST_ANSWER - len(content))
            ):
                content += piece
            self._failing = False
            return answer.status, content.decode(errors="replace")

    def _opened(self) -> aiohttp.ClientSession:
        """Made inside the running loop. The environment's proxies are for the web, not for edges."""
        if self._session is None:
            connector = aiohttp.TCPConnector(local_addr=self._local, limit=4, keepalive_timeout=30.0)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self._session

    def _unreachable(self, error: BaseException) -> Unreachable:
        self._failing = True
        return Unreachable(f"{self.url}: {_told(error)}")


class Nonsense(ActionError):
    """An answer that is no JSON-RPC answer: for a change, nothing is known."""


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
