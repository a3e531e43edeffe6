"""What an agent can be asked, over mutual TLS. Whoever shows no certificate of our authority gets no connection.

    GET  /status                                          everything this agent knows
    GET  /evidence?group=G                                one JSON line at once, at each change and each second
    GET  /calls?group=G                                   live calls, by the group's own command
    POST /hold    {group, epoch, timeout}                 answered once the addresses are held
    POST /release {group, epoch, stop}                    the addresses, then (stop) the side's processes and activities
    POST /stop, /start {group, epoch}
    POST /command {group, epoch, command, values}
    POST /adopt   {group, epoch, cluster}                 another coordination store, as `status` tells its own
    POST /promise {group, epoch, holder, revision, hold_time}      from another agent

A refusal is {"refused": reason, "message": text} with 409 (403: that certificate may not, 404: unknown, 400: malformed).
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controller.agent.commands import CommandError
from controller.agent.coordination import Grant, Phase
from controller.agent.refusals import Refusal, Refused
from controller.agent.service import Agent, shown
from controller.agent.settings import AgentSettings
from controller.model.errors import StoreError

EVIDENCE_BEAT: Final = 1.0
MOST_BYTES: Final = 64 * 1024

_STATUS: Final = {
    Refusal.UNKNOWN_GROUP: 404,
    Refusal.UNKNOWN_COMMAND: 404,
    Refusal.NOT_ALLOWED: 403,
    Refusal.MALFORMED: 400,
}

log = logging.getLogger(__name__)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    group: str
    epoch: Annotated[int, Field(strict=True, ge=0)]


class _Hold(_Body):
    timeout: Annotated[float, Field(gt=0, le=60)] = 5.0


class _Release(_Body):
    stop: bool = True


class _Command(_Body):
    command: str
    values: dict[str, str] = {}


class _Adopt(_Body):
    cluster: Annotated[str, Field(min_length=1)]


class _Promise(_Body):
    holder: str
    revision: Annotated[int, Field(strict=True, ge=0)]
    hold_time: Annotated[float, Field(gt=0, le=60)]


Body = TypeVar("Body", bound=_Body)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Listens for one agent. `start` raises OSError, ssl.SSLError."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        application = web.Application(middlewares=[self._guard], client_max_size=MOST_BYTES)
        application.router.add_get("/status", self._status)
        application.router.add_get("/evidence", self._evidence)
        application.router.add_get("/calls", self._calls)
        application.router.add_post("/hold", self._hold)
        application.router.add_post("/release", self._release)
        application.router.add_post("/stop", self._stop)
        application.router.add_post("/start", self._start)
        application.router.add_post("/command", self._command)
        application.router.add_post("/adopt", self._adopt)
        application.router.add_post("/promise", self._promise)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)

    async def start(self) -> None:
        settings = self._agent.settings
        await self._runner.setup()
        site = web.TCPSite(
            self._runner,
            settings.host,
            settings.port,
            ssl_context=server_context(settings),
            reuse_address=True,
        )
        await site.start()

    async def close(self) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        tls = self._agent.settings.tls
        names = peer_names(request)
        allowed = tls.agents if request.path == "/promise" else tls.controllers
        try:
            if not names & set(allowed):
                who = ", ".join(sorted(names)) or "nobody"
                raise Refused(Refusal.NOT_ALLOWED, f"{who} may not ask for {request.path}")
            return await handler(request)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "body"
            return _refusal(Refusal.MALFORMED, f"{place}: {first['msg']}")
        except Refused as error:
            return _refusal(error.reason, str(error))
        except StoreError as error:
            return web.json_response({"refused": "store", "message": str(error)}, status=503)

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(self._agent.status())

    async def _calls(self, request: web.Request) -> web.Response:
        member = self._agent.member(request.query.get("group"))
        calls = await member.side.live_calls(self._agent.memory.of(member.name).epoch)
        return web.json_response({"live_calls": calls})

    async def _hold(self, request: web.Request) -> web.Response:
        body = await _read(request, _Hold)
        await self._agent.hold(body.group, body.epoch, body.timeout)
        return web.json_response({"held": True, **self._agent.status()["groups"][body.group]})

    async def _release(self, request: web.Request) -> web.Response:
        body = await _read(request, _Release)
        gone, troubles = await self._agent.release(body.group, body.epoch, stop=body.stop)
        return web.json_response(
            {"released": gone, "stopped": body.stop and not troubles, "troubles": troubles}
        )

    async def _stop(self, request: web.Request) -> web.Response:
        body = await _read(request, _Body)
        troubles = await self._agent.stop(body.group, body.epoch)
        return web.json_response({"stopped": not troubles, "troubles": troubles})

    async def _start(self, request: web.Request) -> web.Response:
        body = await _read(request, _Body)
        troubles = await self._agent.start(body.group, body.epoch)
        return web.json_response({"started": not troubles, "troubles": troubles})

    async def _command(self, request: web.Request) -> web.Response:
        body = await _read(request, _Command)
        try:
            ended = await self._agent.command(body.group, body.epoch, body.command, body.values)
        except CommandError as error:
            return web.json_response({"status": None, "output": str(error)})
        return web.json_response({"status": ended.status, "output": ended.output})

    async def _adopt(self, request: web.Request) -> web.Response:
        body = await _read(request, _Adopt)
        await self._agent.adopt(body.group, body.epoch, body.cluster)
        return web.json_response({"adopted": body.cluster})

    async def _promise(self, request: web.Request) -> web.Response:
        body = await _read(request, _Promise)
        asked = Grant(body.epoch, body.holder, Phase.HELD, body.revision)
        self._agent.promise(body.group, asked, body.hold_time)
        return web.json_response({"promised": True})

    async def _evidence(self, request: web.Request) -> web.StreamResponse:
        """Ends when the asker goes away. A line that is missing for longer than the beat means: this agent is gone."""
        witness = self._agent.member(request.query.get("group")).witness
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        seen = -1
        while True:
            try:
                evidence = await asyncio.wait_for(witness.change(seen), EVIDENCE_BEAT)
            except TimeoutError:
                evidence = witness.evidence
            seen = witness.changes
            await response.write(json.dumps(shown(evidence)).encode() + b"\n")


def server_context(settings: AgentSettings) -> ssl.SSLContext:
    tls = settings.tls
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls.authority))
    context.load_cert_chain(tls.certificate, tls.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def peer_names(request: web.Request) -> set[str]:
    """The subject alternative names (DNS and IP) of the certificate that the other end has shown."""
    certificate: dict[str, Any] | None = (
        request.transport.get_extra_info("peercert") if request.transport is not None else None
    )
    found: tuple[tuple[str, str], ...] = (certificate or {}).get("subjectAltName", ())
    return {value for kind, value in found if kind in ("DNS", "IP Address")}


async def _read(request: web.Request, model: type[Body]) -> Body:
    return model.model_validate_json(await request.read())


def _refusal(reason: Refusal, message: str) -> web.Response:
    log.info("refused: %s: %s", reason, message, extra={"action": "refuse"})
    return web.json_response({"refused": str(reason), "message": message}, status=_STATUS.get(reason, 409))
