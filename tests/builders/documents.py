"""A device with its routing in a JSON document: a real HTTP server that compares entity tags, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from aiohttp import web

from controller.actions.http_switch import HttpSwitch
from controller.actions.http_switch.parameters import HttpSwitchParameters
from controller.model.policy import EdgesRule, GroupPolicy, Side
from tests.builders.driving import Nature
from tests.builders.outside import Marks
from tests.builders.platform import group_policy
from tests.builders.responders import free_port

TARGETS = {"primary": "10.0.0.21", "backup": "10.0.0.22"}


class Quirk(StrEnum):
    """What the device does instead of its work."""

    LOST_BEFORE = "lost_before"  # the connection breaks, nothing was done
    LOST_AFTER = "lost_after"  # it was done, the connection breaks
    BUSY = "busy"
    BROKEN = "broken"  # 500, and nothing was done
    BROKEN_AFTER = "broken_after"  # 500, and it was done
    FORBIDDEN = "forbidden"
    REDIRECTS = "redirects"
    GARBAGE = "garbage"
    HALF = "half"  # a body that ends early
    WEAK = "weak"
    UNTAGGED = "untagged"
    IGNORES = "ignores"  # says 200 to a write and keeps what it had
    LATER = "later"  # says 202, and does it when `catch_up` is called


@dataclass
class Device:
    """`document` at /routing, what it does at /running. `quirks`: method -> what goes wrong, once each, in order."""

    document: dict[str, Any]
    port: int
    quirks: dict[str, list[Quirk]] = field(default_factory=dict)
    before_put: Callable[[], None] = lambda: None
    after_get: Callable[[], None] = lambda: None
    writes: list[dict[str, Any]] = field(default_factory=list)
    seen: list[web.Request] = field(default_factory=list)
    applies: bool = True
    _running: dict[str, Any] = field(default_factory=dict)
    _late: Any = None
    _runner: web.AppRunner | None = None

    def __post_init__(self) -> None:
        self._running = self.document

    @property
    def etag(self) -> str:
        return '"' + hashlib.sha256(json.dumps(self.document).encode()).hexdigest()[:16] + '"'

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/routing", self._get)
        application.router.add_put("/routing", self._put)
        application.router.add_get("/running", self._get_running)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def write(self, document: dict[str, Any]) -> None:
        self.document = document
        if self.applies:
            self._running = document

    def catch_up(self) -> None:
        if self._late is not None:
            self.document, self._late = self._late, None
        self._running = self.document

    def _quirk(self, method: str) -> Quirk | None:
        waiting = self.quirks.get(method)
        return waiting.pop(0) if waiting else None

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        body, tag = json.dumps(self.document).encode(), self.etag
        match self._quirk("GET"):
            case Quirk.LOST_BEFORE | Quirk.LOST_AFTER:
                return _broken(request)
            case Quirk.REDIRECTS:
                return web.Response(status=302, headers={"Location": "/elsewhere"})
            case Quirk.GARBAGE:
                return web.Response(body=b"<html>welcome</html>", headers={"ETag": tag})
            case Quirk.FORBIDDEN:
                return web.Response(status=403)
            case Quirk.BUSY:
                return web.Response(status=503)
            case Quirk.WEAK:
                return web.Response(body=body, headers={"ETag": "W/" + tag})
            case Quirk.UNTAGGED:
                return web.Response(body=body)
            case Quirk.HALF:
                answer = web.StreamResponse(headers={"ETag": tag, "Content-Length": str(len(body))})
                await answer.prepare(request)
                await answer.write(body[: len(body) // 2])
                return _broken(request)
        self.after_get()
        return web.Response(body=body, content_type="application/json", headers={"ETag": tag})

    async def _get_running(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._running)

    async def _put(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        document = json.loads(await request.read())
        quirk = self._quirk("PUT")
        match quirk:
            case Quirk.LOST_BEFORE:
                return _broken(request)
            case Quirk.BUSY:
                return web.Response(status=503)
            case Quirk.BROKEN:
                return web.Response(status=500)
            case Quirk.FORBIDDEN:
                return web.Response(status=403, text="read only")
            case Quirk.REDIRECTS:
                return web.Response(status=307, headers={"Location": "/elsewhere"})
        self.before_put()
        if (wanted := request.headers.get("If-Match")) is None:
            return web.Response(status=428)
        if wanted != self.etag:
            return web.Response(status=412)
        match quirk:
            case Quirk.IGNORES:
                return web.Response(status=200)
            case Quirk.LATER:
                self._late = document
                return web.Response(status=202)
        self.writes.append(document)
        self.write(document)
        if quirk is Quirk.LOST_AFTER:
            return _broken(request)
        if quirk is Quirk.BROKEN_AFTER:
            return web.Response(status=500)
        return web.Response(status=204, headers={"ETag": self.etag})


def _broken(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    raise asyncio.CancelledError


class DocumentWorld:
    """Two devices and their driver, as the contract suite sees and breaks them."""

    nature = Nature()

    def __init__(self, directory: Path, *, running: bool = False, epoch: str | None = "/note") -> None:
        self.marks = Marks(directory)
        self.snapshots = directory / "snapshots"
        self.snapshots.mkdir()
        self.devices = {
            name: Device(
                {"note": "by hand, epoch=1", "weights": [1.5, 2], "routing": {"target": TARGETS["primary"]}},
                free_port(socket.SOCK_STREAM),
            )
            for name in ("edge1", "edge2")
        }
        self.parameters = self.configured(running=running, epoch=epoch)
        self.driver = HttpSwitch(self.group(), self.parameters)

    def configured(self, *, running: bool = False, epoch: str | None = "/note") -> HttpSwitchParameters:
        return HttpSwitchParameters.model_validate(
            {
                "edges": {
                    name: {
                        "url": f"{device.url}/routing",
                        "running": f"{device.url}/running" if running else None,
                        "headers": {"Authorization": "Bearer t0ken"},
                    }
                    for name, device in self.devices.items()
                },
                "sides": {
                    side: {"members": {"/routing/target": target}, "fence": self.marks.fence(side)}
                    for side, target in TARGETS.items()
                },
                "epoch": epoch,
                "snapshots": str(self.snapshots),
                "timeout": 3.0,
                "settle": 0.3,
            }
        )

    @staticmethod
    def group(rule: EdgesRule = EdgesRule.REACHABLE) -> GroupPolicy:
        sides = tuple(Side(name=side, component=side, destination=target) for side, target in TARGETS.items())
        return group_policy(sides=sides, edges_rule=rule, step_timeout=30.0)

    def second(self) -> HttpSwitch:
        return HttpSwitch(self.group(), self.parameters)

    async def answers(self, edge: str) -> str:
        target = self.devices[edge].document["routing"]["target"]
        side = next(name for name, address in TARGETS.items() if address == target)
        return "503" if self.marks.stands(side) else side

    async def stop(self, edge: str) -> None:
        await self.devices[edge].stop()

    async def start(self, edge: str) -> None:
        await self.devices[edge].start()

    async def meddle(self, edge: str, side: str) -> None:
        device = self.devices[edge]
        device.write({**device.document, "routing": {"target": TARGETS[side]}})

    async def close(self) -> None:
        await self.driver.close()
        for device in self.devices.values():
            await device.stop()
