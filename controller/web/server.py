"""The application: who may ask what, and where it listens."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from urllib.parse import quote, urlsplit

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from controller.engine.desk import Desk
from controller.model.errors import StoreError
from controller.web.access import Access, Role, cross_site, local_peer
from controller.web.census import Census
from controller.web.console import ACCOUNT, CONSOLE, Console
from controller.web.forms import add_form_routes
from controller.web.metrics import ControllerCollector
from controller.web.operating import add_operating_routes
from controller.web.pages import add_page_routes, as_pages
from controller.web.problems import Handler, as_problems, problem, wants_page
from controller.web.reading import CENSUS, DESK, add_reading_routes
from controller.web.reporting import add_reporting_routes
from controller.web.requests import MOST_BYTES
from controller.web.stream import end_with_the_application

ACCESS = web.AppKey("access", Access)
METRICS = web.AppKey("metrics", CollectorRegistry)

OPEN_PATHS = ("/healthz", "/login", "/a/", "/static/")
"""Reached without an account: they show nothing of the platform, or carry their own proof."""


def make_application(desk: Desk, access: Access, console: Console) -> web.Application:
    application = web.Application(
        middlewares=[harden, as_pages, as_problems, check_access], client_max_size=MOST_BYTES
    )
    application[DESK] = desk
    application[CENSUS] = Census(desk)
    application[ACCESS] = access
    application[CONSOLE] = console
    registry = CollectorRegistry()
    registry.register(ControllerCollector(desk, application[CENSUS]))
    application[METRICS] = registry
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/metrics", metrics)
    end_with_the_application(application)
    add_reading_routes(application)
    add_reporting_routes(application)
    add_operating_routes(application)
    add_page_routes(application)
    add_form_routes(application)
    return application


@web.middleware
async def harden(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Headers that keep a browser from doing more with our pages than showing them."""
    response = await handler(request)
    if not response.prepared:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        # Not "no-referrer": with it browsers send "Origin: null" from our own forms, which looks like another site.
        response.headers.setdefault("Referrer-Policy", "same-origin")
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
    """A viewer reads, an operator acts. What a browser sends by itself, for another site, authorises nothing."""
    reads = request.method in ("GET", "HEAD")
    if not reads and not _shows_itself(request) and cross_site(request):
        return problem(403, "Not allowed", detail="the request came from another site")
    account = request.app[ACCESS].identify(request, request.app[DESK].clock.now().wall)
    if account is not None:
        request[ACCOUNT] = account
    if request.path.startswith(OPEN_PATHS):
        return await handler(request)
    if account is None:
        if wants_page(request):
            raise web.HTTPSeeOther(f"/login?next={quote(_come_back_to(request))}")
        answer = problem(401, "Who are you?", detail="send a token: Authorization: Bearer ...")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer
    needed = Role.VIEWER if reads else Role.OPERATOR
    if account.role < needed and request.path != "/logout":
        return problem(403, "Not allowed", detail=f"{account.name} may read, not act")
    return await handler(request)


def _shows_itself(request: web.Request) -> bool:
    """By something no other site can make a browser send: a bearer token, or the control socket."""
    scheme, _, _ = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" or local_peer(request) is not None


def _come_back_to(request: web.Request) -> str:
    """The page that somebody who has to sign in wanted; for a form, the page it stood on."""
    if request.method in ("GET", "HEAD"):
        return request.path
    return urlsplit(request.headers.get("Referer", "")).path or "/"


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
        """Listen; returns the port in use. Raises StoreError when another controller serves the socket, or when either
        can't be listened on. Whatever was opened is closed by `close`."""
        await self._runner.setup()
        _clear_stale(control)
        control.parent.mkdir(parents=True, exist_ok=True)
        mask = os.umask(0o177)
        try:
            await web.UnixSite(self._runner, str(control)).start()
        except OSError as error:
            raise StoreError(f"can't listen on {control}: {error.strerror or error}") from error
        finally:
            os.umask(mask)
        self._control = control
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise StoreError(_why_not(host, port, error)) from error
        addresses = [address for address in self._runner.addresses if not isinstance(address, str)]
        return int(addresses[0][1])

    async def close(self) -> None:
        """Safe to call when it was never opened, and twice."""
        if self._runner.server is not None:
            await self._runner.cleanup()
        control, self._control = self._control, None
        if control is not None:
            with contextlib.suppress(FileNotFoundError):
                control.unlink()


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"can't listen on {host}:{port}: another program does (`ss -lntp` tells which); "
            "end it, or choose another http.port"
        )
    return f"can't listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}"


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
    raise StoreError(
        f"another controller already serves {control}; end it first, or give this one its own node.control"
    )
