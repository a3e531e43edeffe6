"""Signing in and out of the console."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from aiohttp import web

from controller.web.access import COOKIE, COOKIE_SECONDS
from controller.web.console import CONSOLE, Page


def add_signing_routes(application: web.Application) -> None:
    application.router.add_get("/login", login_form)
    application.router.add_post("/login", login)
    application.router.add_post("/logout", logout)


async def login_form(request: web.Request) -> web.Response:
    page = Page(request)
    target = safe_next(request.query.get("next", "/"))
    if page.account is not None:
        return web.Response(status=303, headers={"Location": target})
    # A cookie that no longer identifies anybody: say so, instead of asking as if for the first time.
    problem = "session_ended" if COOKIE in request.cookies else ""
    return page.render("login.html", problem=problem, next=target)


async def login(request: web.Request) -> web.Response:
    """A session cookie for a good token; the form again for a bad one."""
    console, page = request.app[CONSOLE], Page(request, "/login")
    form = await request.post()
    token, target = str(form.get("token", "")).strip(), safe_next(str(form.get("next", "/")))
    if console.access.by_token(token) is None:
        return page.render("login.html", code=401, problem="login_wrong", next=target)
    response = web.Response(status=303, headers={"Location": target})
    # Lax: a link in a group's chat opens the page. What acts is a POST, which another site can't make us believe.
    response.set_cookie(
        COOKIE,
        console.access.session(token, time.time()),
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=console.secure_cookies,
    )
    return response


async def logout(request: web.Request) -> web.Response:
    response = web.Response(status=303, headers={"Location": "/login"})
    response.del_cookie(COOKIE)
    return response


def safe_next(address: str) -> str:
    """A path on this console; anything else, another site's address above all, becomes the wallboard."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "/"
    plain = address.isascii() and address.isprintable() and "\\" not in address
    if not plain or parts.scheme or parts.netloc or not address.startswith("/") or address.startswith("//"):
        return "/"
    return address
