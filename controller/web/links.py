"""Acknowledge links: signed, expiring, good once. Opening one does nothing; the form on it does (a mail scanner opens it)."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import os
import secrets
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from controller.model.errors import ThirdRingError


class LinkProblem(StrEnum):
    WRONG = "wrong"  # not ours, cut short or changed
    EXPIRED = "expired"
    USED = "used"


class LinkError(ThirdRingError):
    def __init__(self, reason: LinkProblem) -> None:
        super().__init__(f"the link is {reason}")
        self.reason = reason


class Link(NamedTuple):
    """What a link says. `expires` in Unix seconds."""

    incident: str
    person: str
    expires: float


class AcknowledgeLinks:
    """HMAC-SHA256 (RFC 2104) over incident, person, expiry and a nonce, in base64url (RFC 4648 5).

    `lifetime` in seconds. `spent` is the file in which used links are remembered across restarts until they expire;
    None remembers them in memory only.
    """

    def __init__(self, key: bytes, *, lifetime: float = 12 * 3600.0, spent: Path | None = None) -> None:
        if len(key) < 16:
            raise ValueError("the key of the acknowledge links is shorter than 16 bytes")
        self._key = key
        self._lifetime = lifetime
        self._spent_file = spent
        self._spent: dict[str, float] = {}
        if spent is not None:
            self._load(spent)

    def make(self, incident: str, person: str, now: float) -> str:
        """The token of a new link; only letters, digits, "-", "_" and "."."""
        expires = int(now + self._lifetime)
        claims = json.dumps([incident, person, expires, secrets.token_hex(8)], ensure_ascii=False).encode()
        return f"{_encoded(claims)}.{_encoded(self._signature(claims))}"

    def read(self, token: str, now: float, *, redeemed: bool = False) -> Link:
        """What the link says; nothing is spent. `redeemed`: a used one will do. Raises LinkError."""
        claims, _, signature = token.partition(".")
        try:
            content = _decoded(claims)
            if not hmac.compare_digest(_decoded(signature), self._signature(content)):
                raise LinkError(LinkProblem.WRONG)
            incident, person, expires, _nonce = json.loads(content)
        except (ValueError, binascii.Error) as error:
            raise LinkError(LinkProblem.WRONG) from error
        if now >= expires:
            raise LinkError(LinkProblem.EXPIRED)
        if not redeemed and self._name(content) in self._spent:
            raise LinkError(LinkProblem.USED)
        return Link(incident, person, expires)

    def redeem(self, token: str, now: float) -> Link:
        """As `read`, and the link is used up. Raises LinkError."""
        link = self.read(token, now)
        self._spent[self._name(_decoded(token.partition(".")[0]))] = link.expires
        for name in [name for name, expires in self._spent.items() if expires <= now]:
            del self._spent[name]
        if self._spent_file is not None:
            self._save(self._spent_file)
        return link

    def _signature(self, claims: bytes) -> bytes:
        return hmac.digest(self._key, b"acknowledge:" + claims, "sha256")

    def _name(self, claims: bytes) -> str:
        """Of the claims, not of the token: base64 can be written in more than one way."""
        return hashlib.sha256(claims).hexdigest()

    def _load(self, path: Path) -> None:
        """A file that can't be read leaves links usable twice, which is harmless; losing acknowledgements is not."""
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            self._spent = {
                str(name): float(expires) for name, expires in json.loads(path.read_text("utf-8")).items()
            }

    def _save(self, path: Path) -> None:
        partial = path.with_name(path.name + ".part")
        with contextlib.suppress(OSError):
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as stream:
                json.dump(self._spent, stream)
            partial.replace(path)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    if not text.isascii():
        raise ValueError("not base64url")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
