"""Who is asking, and what they may do."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import pwd
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from aiohttp import web

COOKIE = "thirdring"
COOKIE_SECONDS = 12 * 3600


class Role(IntEnum):
    """What an account may do; each includes the ones before it."""

    VIEWER = 1
    OPERATOR = 2
    ADMINISTRATOR = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    name: str
    role: Role


class Access:
    """Checks bearer tokens, session cookies, and the peer of the local control socket.

    `tokens` maps a token to its account. Only SHA-256 digests are kept. `key` signs session cookies.
    """

    def __init__(self, tokens: Mapping[str, Account], key: bytes) -> None:
        self._accounts = {
            hashlib.sha256(token.encode()).hexdigest(): account for token, account in tokens.items()
        }
        self._key = key

    def by_token(self, token: str) -> Account | None:
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for known, account in self._accounts.items():
            if hmac.compare_digest(known, digest):
                found = account
        return found

    def session(self, token: str, now: float) -> str:
        """A cookie value for a token that was just accepted. `now` in Unix seconds."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        body = f"{digest[:32]}.{int(now + COOKIE_SECONDS)}"
        return f"{body}.{self._sign(body)}"

    def by_session(self, value: str, now: float) -> Account | None:
        body, _, signature = value.rpartition(".")
        if not body or not hmac.compare_digest(self._sign(body), signature):
            return None
        prefix, _, expiry = body.partition(".")
        if not expiry.isdigit() or now >= int(expiry):
            return None
        return next(
            (account for digest, account in self._accounts.items() if digest.startswith(prefix)), None
        )

    def identify(self, request: web.Request, now: float) -> Account | None:
        """The account behind a request, or None."""
        if (local := local_peer(request)) is not None:
            return local
        header = request.headers.get("Authorization", "")
        scheme, _, credentials = header.partition(" ")
        if scheme.lower() == "bearer":
            return self.by_token(credentials.strip())
        if scheme.lower() == "basic":
            try:
                _, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return None
            return self.by_token(password)
        if (cookie := request.cookies.get(COOKIE)) is not None:
            return self.by_session(cookie, now)
        return None

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()[:40]


def local_peer(request: web.Request) -> Account | None:
    """The user at the other end of the control socket (SO_PEERCRED); its file permissions admitted them."""
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    _, uid, _ = struct.unpack(
        "3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid{uid}"
    return Account(name=name, role=Role.ADMINISTRATOR)


def cross_site(request: web.Request) -> bool:
    """Whether a browser says that another site made this request (cookies alone must not authorise it)."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and origin.split("//", 1)[-1] != request.host
