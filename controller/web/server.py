"""The application: who may ask what, and where it listens."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from controller.engine.desk import Desk
from controller.model.errors import StoreError
from controller.web.access import COOKIE, Access, Role, cross_site, local_peer
from controller.web.console import CONSOLE, Console
from controller.web.metrics import ControllerCollector
from controller.web.operating import ACCOUNT, add_operating_routes
from controller.web.pages import add_console_routes
from controller.web.problems import Handler, as_problems, problem
from controller.web.reading import DESK, add_reading_routes
from controller.web.reporting import add_reporting_routes

ACCESS = web.AppKey("access", Access)
METRICS = web.AppKey("metrics", CollectorRegistry)

OPEN_PATHS = ("/healthz", "/login", "/a/", "/static/")
"""Reached without an account: they show nothing of the platform, or carry their own proof."""


def make_application(desk: Desk, access: Access, console: Console) -> web.Application:
    application = web.Application(middlewares=[harden, as_problems, check_access], client_max_size=128 * 1024)
    application[DESK] = desk
    application[ACCESS] = access
    application[CONSOLE] = console
    registry = CollectorRegistry()
    registry.register(ControllerCollector(desk))
    application[METRICS] = registry
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/metrics", metrics)
    add_reading_routes(application)
    add_reporting_routes(application)
    add_operating_routes(application)
    add_console_routes(application)
    return application


@web.middleware
async def harden(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Headers that keep a browser from doing more with our pages than showing them."""
    response = await handler(request)
    if not response.prepared:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        response.headers.setdefault("X-Frame-Options", "DENY")
        response.headers.setdefault(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        )
        if not request.path.startswith("/static/"):
            response.headers.setdefault("Cache-Control", "no-store")
    return response


@web.middleware
async def check_access(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A viewer reads, an operator acts. A cookie alone, sent by another site, authorises nothing."""
    if request.path.startswith(OPEN_PATHS):
        return await handler(request)
    account = request.app[ACCESS].identify(request, request.app[DESK].clock.now().wall)
    if account is None:
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther(f"/login?next={request.path}")
        answer = problem(401, "Who are you?", detail="send a token: Authorization: Bearer ...")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer
    needed = Role.VIEWER if request.method in ("GET", "HEAD") else Role.OPERATOR
    if account.role < needed:
        return problem(403, "Not allowed", detail=f"{account.name} may read, not act")
    if (
        needed is Role.OPERATOR
        and COOKIE in request.cookies
        and cross_site(request)
        and not local_peer(request)
    ):
        return problem(403, "Not allowed", detail="the request came from another site")
    request[ACCOUNT] = account
    return await handler(request)


async def healthz(request: web.Request) -> web.Response:
    """200 while the engine folds and records; 503 when it can only observe."""
    desk = request.app[DESK]
    failing = desk.journal_failing
    body = {"status": "journal unavailable" if failing else "ok", "node": desk.snapshot.state.node}
    return web.json_response(body, status=503 if failing else 200)


async def metrics(request: web.Request) -> web.Response:
    return web.Response(
        body=generate_latest(request.app[METRICS]), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )


class Listeners:
    """The controller's TCP port and its control socket, over one application."""

    def __init__(self, application: web.Application) -> None:
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=2.0)
        self._control: Path | None = None

    async def open(self, host: str, port: int, control: Path) -> int:
        """Listen; returns the port in use. Raises StoreError when another controller serves the socket, OSError
        when the port is taken."""
        await self._runner.setup()
        _clear_stale(control)
        control.parent.mkdir(parents=True, exist_ok=True)
        mask = os.umask(0o077)
        try:
            await web.UnixSite(self._runner, str(control)).start()
        finally:
            os.umask(mask)
        self._control = control
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        addresses = [address for address in self._runner.addresses if not isinstance(address, str)]
        return int(addresses[0][1])

    async def close(self) -> None:
        await self._runner.cleanup()
        if self._control is not None:
            with contextlib.suppress(FileNotFoundError):
                self._control.unlink()


def _clear_stale(control: Path) -> None:
    """Remove a socket that a killed controller left; never one that still answers."""
    if not control.exists():
        return
    if not stat.S_ISSOCK(control.stat().st_mode):
        raise StoreError(f"{control} is there and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(control))
        except ConnectionRefusedError:
            control.unlink()
            return
    raise StoreError(f"another controller already serves {control}")
