"""What a platform host's own agent sees of its side: dead, stopped and hung processes, full queues.

The agent pushes each change over one stream that stays open, so a look costs nothing and a hang is known at once. An agent
that can't be reached says nothing about its side: the look is void.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
from pydantic import Field

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.model.moments import Values
from controller.probes.parameters import Strict

STALE = 1.5
"""Seconds without a line, of which the agent sends one a second at least."""

RETRY = 0.5
BAD = frozenset({"dead", "stopped", "hung"})


class HostAgentParameters(Strict):
    """`agent`: its https URL. `group`: the group whose side is looked at. PEM files, as for the driver `vip`."""

    agent: str = Field(pattern=r"^https://[^\s/]+/?$")
    group: str = Field(min_length=1)
    certificate: Path
    key: Path
    authority: Path


class HostAgent:
    """ports.Probe."""

    Parameters = HostAgentParameters
    mass = False
    values: ClassVar[Mapping[str, str]] = {"verdict": "string", "processes": "int", "queued": "int"}

    def __init__(self, parameters: HostAgentParameters) -> None:
        self._parameters = parameters
        self._reading: asyncio.Task[None] | None = None
        self._told = asyncio.Event()
        self._newest: Mapping[str, Any] = {}
        self._at = 0.0
        self._trouble = "not connected yet"

    async def run(self, key: RungKey, timeout: float) -> ProbeResult:
        sent_at = time.monotonic()
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name=f"host-agent-{key.component}")
        if sent_at - self._at > STALE:
            self._told.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), timeout)
        now = time.monotonic()
        if now - self._at > STALE:
            return ProbeResult(key, sent_at, now, Outcome.VOID, None, note=self._trouble)
        newest = self._newest
        verdict = str(newest.get("verdict"))
        bad = verdict in BAD
        seen: Values = (
            ("verdict", verdict),
            ("processes", int(newest.get("processes") or 0)),
            ("queued", int(newest.get("queued") or 0)),
        )
        return ProbeResult(
            key,
            sent_at,
            now,
            Outcome.FAILED if bad else Outcome.UP,
            not bad,
            now - sent_at,
            note=str(newest.get("reason") or "") if bad else "",
            values=seen,
        )

    async def close(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _read(self) -> None:
        """The stream, and again when it breaks."""
        parameters = self._parameters
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=STALE, sock_read=STALE)
        while True:
            try:
                context = ssl.create_default_context(cafile=str(parameters.authority))
                context.load_cert_chain(parameters.certificate, parameters.key)
                url = f"{parameters.agent.rstrip('/')}/evidence"
                async with (
                    aiohttp.ClientSession(
                        connector=aiohttp.TCPConnector(ssl=context), timeout=timeout
                    ) as session,
                    session.get(url, params={"group": parameters.group}) as answer,
                ):
                    if answer.status != 200:
                        self._trouble = f"HTTP {answer.status}: {(await answer.text())[:200]}"
                    else:
                        async for line in answer.content:
                            self._newest, self._at = json.loads(line), time.monotonic()
                            self._told.set()
                        self._trouble = "the agent ended the stream"
            except (aiohttp.ClientError, OSError, ValueError) as error:
                self._trouble = str(error) or type(error).__name__
            await asyncio.sleep(RETRY)
