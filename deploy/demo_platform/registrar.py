"""A registrar that asks for a password (RFC 3261 10.3, 22.4; RFC 7616)."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping

from controller.sip.digest import Algorithm, Challenge, find_authorization, verify
from controller.sip.errors import SipParseError
from controller.sip.headers import parse_expires
from controller.sip.messages import Headers, Request
from demo_platform.proxy import Refuse

NONCES = 1000
LONGEST_S = 3600


class Registrar:
    """`passwords` by user; empty lets nobody in. Bindings live `expires` seconds by the clock passed in."""

    def __init__(self, realm: str, passwords: Mapping[str, str]) -> None:
        self._realm = realm
        self._passwords = passwords
        self._nonces: OrderedDict[str, int] = OrderedDict()
        self._bindings: dict[str, dict[str, float]] = {}

    def answer(self, request: Request, now: float) -> Refuse:
        """The final response to a REGISTER. `now` in monotonic seconds."""
        stale = self._check(request)
        if stale is not None:
            nonce = secrets.token_hex(16)
            self._nonces[nonce] = 0
            while len(self._nonces) > NONCES:
                self._nonces.popitem(last=False)
            challenges = tuple(
                (
                    "WWW-Authenticate",
                    str(Challenge(realm=self._realm, nonce=nonce, algorithm=algorithm, stale=stale)),
                )
                for algorithm in (Algorithm.SHA_256, Algorithm.MD5)
            )
            return Refuse(401, challenges)
        user = request.to.uri.user or ""
        try:
            bound = self._bind(user, request, now)
        except SipParseError:
            return Refuse(400)
        contacts: Headers = tuple(
            ("Contact", f"<{uri}>;expires={round(until - now)}") for uri, until in bound.items()
        )
        return Refuse(200, contacts)

    def _check(self, request: Request) -> bool | None:
        """None when the request proves its password; else whether only its nonce was too old."""
        authorization = find_authorization(request, realm=self._realm)
        password = None if authorization is None else self._passwords.get(authorization.username)
        if authorization is None or password is None or authorization.username != request.to.uri.user:
            return False
        challenge = Challenge(realm=self._realm, nonce=authorization.nonce, algorithm=authorization.algorithm)
        if not verify(authorization, challenge, password=password, method="REGISTER"):
            return False
        used = self._nonces.get(authorization.nonce)
        if used is None or authorization.nonce_count <= used:
            return True
        self._nonces[authorization.nonce] = authorization.nonce_count
        return None

    def _bind(self, user: str, request: Request, now: float) -> dict[str, float]:
        bound = {uri: until for uri, until in self._bindings.get(user, {}).items() if until > now}
        header = request.get("Expires")
        default = LONGEST_S if header is None else parse_expires(header)
        if request.get("Contact") == "*":
            bound.clear()
        for contact in request.contacts:
            own = contact.parameters.get("expires")
            seconds = min(LONGEST_S, default if own is None else parse_expires(own))
            bound.pop(str(contact.uri), None)
            if seconds > 0:
                bound[str(contact.uri)] = now + seconds
        self._bindings[user] = bound
        return bound
