"""Errors as RFC 9457 problem details."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from controller.model.errors import RequestRefused, StoreError, StoreUnknown
from controller.model.words import MISSING

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(Exception):
    """The request can't be understood. The message says what would be accepted."""


class Missing(Exception):
    """Nothing of this kind (a key of words.MISSING) has that name."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(MISSING[kind].en.format(name))
        self.kind = kind
        self.name = name


def wants_page(request: web.Request) -> bool:
    """A browser that shows a page, not a program or a script that reads the API."""
    return "text/html" in request.headers.get("Accept", "") and not request.path.startswith("/api/")


def problem(status: int, title: str, **extra: object) -> web.Response:
    """An `application/problem+json` response."""
    body = {"type": "about:blank", "title": title, "status": status, **extra}
    return web.Response(
        status=status,
        text=json.dumps(body, ensure_ascii=False),
        content_type="application/problem+json",
    )


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every error into one clear answer; a defect is logged and never shown."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problem(error.status, error.reason, detail=error.text or error.reason)
    except Missing as error:
        return problem(404, "Not Found", detail=str(error), missing=error.kind, name=error.name)
    except (BadRequest, UnicodeError) as error:  # UnicodeError: a form that is not UTF-8
        return problem(400, "Bad request", detail=str(error))
    except RequestRefused as error:
        return problem(409, "Refused", reasons=list(error.reasons), detail=str(error))
    except StoreUnknown as error:
        return problem(504, "Whether it was done is unknown", detail=str(error))
    except StoreError as error:
        return problem(503, "Not recorded, so not done", detail=str(error))
    except Exception:
        log.exception("request failed", extra={"action": "request_failed"})
        return problem(500, "Internal error")
