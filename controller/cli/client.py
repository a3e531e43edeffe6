"""Calls to the running controller over its Unix socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from controller.cli.exits import Exit
from controller.model import words
from controller.model.errors import ThirdRingError
from controller.model.runbooks import Text

TIMEOUT = 15.0
"""Seconds one call may take."""

CHECKING = 660.0
"""Seconds the check of a long record may take: longer than the controller gives it, which says what went wrong."""


class CallFailed(ThirdRingError):
    """A call that did not do what was asked, with the exit code it leads to. The message is English; `text` has it in
    both languages where this program words it."""

    def __init__(self, message: str | Text, code: Exit, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message.en if isinstance(message, Text) else message)
        self.text = message if isinstance(message, Text) else Text(zh=message, en=message)
        self.code = code
        self.reasons = reasons


class Client:
    """`socket` is the path of the controller's control socket."""

    def __init__(self, socket: str) -> None:
        self.socket = socket

    def get(self, path: str, **query: str | int) -> Any:
        return asyncio.run(self._call("GET", path, None, query))

    def verification(self, *, after: int = 0) -> Any:
        """The check of the record; of the invariants only what shows after that sequence."""
        query = {"after": after}
        return asyncio.run(self._call("GET", "/api/v1/verification", None, query, within=CHECKING))

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        return asyncio.run(self._call("POST", path, body or {}, {}))

    def delete(self, path: str, **query: str | int) -> Any:
        return asyncio.run(self._call("DELETE", path, None, query))

    def text(self, path: str, **query: str | int) -> str:
        return str(asyncio.run(self._call("GET", path, None, query, as_text=True)))

    async def events(self, path: str, **query: str | int) -> AsyncIterator[dict[str, Any]]:
        """The entries of a server-sent stream, until the controller ends it. Raises CallFailed, also for a controller
        that does not give one."""
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=self.socket)) as session,
                session.get(
                    f"http://controller{path}", params=query, timeout=aiohttp.ClientTimeout(sock_read=60)
                ) as response,
            ):
                if response.status >= 400:
                    raise _failed(response.status, await response.text())
                async for line in response.content:
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])
        except (OSError, aiohttp.ClientError) as error:
            raise self._unreachable(error) from None

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        query: Mapping[str, str | int],
        *,
        as_text: bool = False,
        within: float = TIMEOUT,
    ) -> Any:
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(path=self.socket),
                    timeout=aiohttp.ClientTimeout(total=within),
                ) as session,
                session.request(method, f"http://controller{path}", json=body, params=query) as response,
            ):
                if response.status >= 400:
                    raise _failed(response.status, await response.text())
                return await response.text() if as_text else await response.json()
        except TimeoutError:
            raise CallFailed(
                Text(
                    zh=f"控制器（{self.socket}）{within:g} 秒内没有应答；是否已执行未知，请先查看 status 与 timeline",
                    en=f"the controller at {self.socket} did not answer within {within:g} s; whether it was done is "
                    "unknown: look at status and timeline first",
                ),
                Exit.UNREACHABLE,
            ) from None
        except (OSError, aiohttp.ClientError) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> CallFailed:
        return CallFailed(
            Text(
                zh=f"{self.socket} 没有控制器应答（{error}）；`thirdring run` 在运行吗？控制套接字对吗？"
                "（--socket 或 THIRDRING_SOCKET）",
                en=f"no controller answers at {self.socket} ({error}); is `thirdring run` running, and is this its "
                "socket? (--socket or THIRDRING_SOCKET)",
            ),
            Exit.UNREACHABLE,
        )


def _failed(status: int, text: str) -> CallFailed:
    try:
        problem = json.loads(text)
    except json.JSONDecodeError:
        problem = {"title": text[:200]}
    detail = str(problem.get("detail") or problem.get("title") or status)
    if status == 409:
        return CallFailed(detail, Exit.REFUSED, tuple(problem.get("reasons", ())))
    if status == 404:
        known = words.MISSING.get(str(problem.get("missing")))
        name = str(problem.get("name", ""))
        if known is not None:
            return CallFailed(Text(zh=known.zh.format(name), en=known.en.format(name)), Exit.NOT_FOUND)
        return CallFailed(detail, Exit.NOT_FOUND)
    if status == 400:
        return CallFailed(Text(zh=f"请求有误：{detail}", en=detail), Exit.USAGE)
    if status == 503:
        return CallFailed(Text(zh=f"未能记录，因此没有执行：{detail}", en=detail), Exit.PROBLEM)
    if status == 504:
        return CallFailed(
            Text(zh=f"是否已执行未知，请先查看 status 与 timeline：{detail}", en=detail), Exit.PROBLEM
        )
    return CallFailed(detail, Exit.PROBLEM)
