"""Digest authentication: challenges, answers and their verification (RFC 3261 22, RFC 7616, RFC 8760)."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import Enum

from controller.sip.errors import DigestError
from controller.sip.headers import split_list
from controller.sip.messages import Message, Response
from controller.sip.uri import TOKEN, quote, unquote

_PAIR = re.compile(rf'({TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|[^\s",]+)', re.DOTALL)


class Algorithm(Enum):
    """RFC 8760 2.1; the session variants are not in use in SIP."""

    SHA_256 = "SHA-256"
    SHA_512_256 = "SHA-512-256"
    MD5 = "MD5"

    def hash(self, text: str) -> str:
        name = {"SHA-256": "sha256", "SHA-512-256": "sha512_256", "MD5": "md5"}[self.value]
        return hashlib.new(name, text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Challenge:
    """What a server asks for. `qop` tells whether it offered qop=auth; without it the RFC 2069 form is used."""

    realm: str
    nonce: str
    algorithm: Algorithm = Algorithm.MD5
    qop: bool = True
    opaque: str | None = None
    stale: bool = False
    proxy: bool = False

    def __str__(self) -> str:
        """The value of a WWW-Authenticate or Proxy-Authenticate header."""
        parts = [
            f"realm={quote(self.realm)}",
            f"nonce={quote(self.nonce)}",
            f"algorithm={self.algorithm.value}",
        ]
        if self.qop:
            parts.append('qop="auth"')
        if self.opaque is not None:
            parts.append(f"opaque={quote(self.opaque)}")
        if self.stale:
            parts.append("stale=true")
        return "Digest " + ", ".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Authorization:
    """A client's answer, as in an Authorization or Proxy-Authorization header."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: Algorithm = Algorithm.MD5
    qop: str | None = None
    nonce_count: int = 0
    cnonce: str | None = None
    opaque: str | None = None

    def __str__(self) -> str:
        parts = [
            f"username={quote(self.username)}",
            f"realm={quote(self.realm)}",
            f"nonce={quote(self.nonce)}",
            f"uri={quote(self.uri)}",
            f'response="{self.response}"',
            f"algorithm={self.algorithm.value}",
        ]
        if self.qop is not None and self.cnonce is not None:
            parts += [f"qop={self.qop}", f"nc={self.nonce_count:08x}", f"cnonce={quote(self.cnonce)}"]
        if self.opaque is not None:
            parts.append(f"opaque={quote(self.opaque)}")
        return "Digest " + ", ".join(parts)


def parse_challenge(value: str, *, proxy: bool = False) -> Challenge:
    """Read one challenge. Raises DigestError for another scheme, algorithm or qop than we speak."""
    pairs = _digest_pairs(value)
    qop = pairs.get("qop")
    if qop is not None and "auth" not in (option.strip() for option in qop.lower().split(",")):
        raise DigestError(f"quality of protection {qop[:40]!r} is not supported")
    return Challenge(
        realm=_needed(pairs, "realm"),
        nonce=_needed(pairs, "nonce"),
        algorithm=_algorithm(pairs),
        qop=qop is not None,
        opaque=pairs.get("opaque"),
        stale=pairs.get("stale", "").lower() == "true",
        proxy=proxy,
    )


def choose_challenge(response: Response) -> Challenge:
    """The topmost challenge of a 401 or 407 that we support (RFC 8760 2.4). Raises DigestError if none."""
    proxy = response.status == 407
    reasons: list[str] = []
    for value in response.get_all("Proxy-Authenticate" if proxy else "WWW-Authenticate"):
        try:
            return parse_challenge(value, proxy=proxy)
        except DigestError as error:
            reasons.append(str(error))
    raise DigestError("; ".join(reasons) or "no challenge in the response")


def compute_response(
    *,
    algorithm: Algorithm,
    username: str,
    realm: str,
    password: str,
    method: str,
    uri: str,
    nonce: str,
    cnonce: str | None = None,
    nonce_count: int = 1,
) -> str:
    """The response value in hex: with qop=auth if `cnonce` is given, else the RFC 2069 form."""
    a1 = algorithm.hash(f"{username}:{realm}:{password}")
    a2 = algorithm.hash(f"{method}:{uri}")
    if cnonce is None:
        return algorithm.hash(f"{a1}:{nonce}:{a2}")
    return algorithm.hash(f"{a1}:{nonce}:{nonce_count:08x}:{cnonce}:auth:{a2}")


def answer_challenge(
    challenge: Challenge,
    credentials: Credentials,
    *,
    method: str,
    uri: str,
    cnonce: str,
    nonce_count: int = 1,
) -> Authorization:
    """The answer for one request; `nonce_count` grows with each use of the same nonce."""
    return Authorization(
        username=credentials.username,
        realm=challenge.realm,
        nonce=challenge.nonce,
        uri=uri,
        response=compute_response(
            algorithm=challenge.algorithm,
            username=credentials.username,
            realm=challenge.realm,
            password=credentials.password,
            method=method,
            uri=uri,
            nonce=challenge.nonce,
            cnonce=cnonce if challenge.qop else None,
            nonce_count=nonce_count,
        ),
        algorithm=challenge.algorithm,
        qop="auth" if challenge.qop else None,
        nonce_count=nonce_count,
        cnonce=cnonce if challenge.qop else None,
        opaque=challenge.opaque,
    )


def parse_authorization(value: str) -> Authorization:
    """Read a client's answer. Raises DigestError."""
    pairs = _digest_pairs(value)
    count = pairs.get("nc", "0")
    if re.fullmatch(r"[0-9A-Fa-f]{1,8}", count) is None:
        raise DigestError("malformed nonce count")
    return Authorization(
        username=_needed(pairs, "username"),
        realm=_needed(pairs, "realm"),
        nonce=_needed(pairs, "nonce"),
        uri=_needed(pairs, "uri"),
        response=_needed(pairs, "response"),
        algorithm=_algorithm(pairs),
        qop=pairs.get("qop"),
        nonce_count=int(count, 16),
        cnonce=pairs.get("cnonce"),
        opaque=pairs.get("opaque"),
    )


def find_authorization(message: Message, *, realm: str, proxy: bool = False) -> Authorization | None:
    """The first readable digest answer for `realm` in a request, or None."""
    for value in message.get_all("Proxy-Authorization" if proxy else "Authorization"):
        try:
            authorization = parse_authorization(value)
        except DigestError:
            # Answers to other realms and schemes travel along (RFC 3261 22.3).
            continue
        if authorization.realm == realm:
            return authorization
    return None


def verify(authorization: Authorization, challenge: Challenge, *, password: str, method: str) -> bool:
    """Whether an answer proves the password for this challenge.

    Freshness of the nonce and growth of the nonce count are the caller's, who keeps the nonces.
    """
    if (authorization.realm, authorization.nonce) != (challenge.realm, challenge.nonce):
        return False
    if authorization.algorithm is not challenge.algorithm:
        return False
    if challenge.qop and (authorization.qop != "auth" or authorization.cnonce is None):
        return False
    expected = compute_response(
        algorithm=challenge.algorithm,
        username=authorization.username,
        realm=challenge.realm,
        password=password,
        method=method,
        uri=authorization.uri,
        nonce=challenge.nonce,
        cnonce=authorization.cnonce if challenge.qop else None,
        nonce_count=authorization.nonce_count,
    )
    return hmac.compare_digest(expected.encode(), authorization.response.lower().encode("utf-8", "replace"))


def _digest_pairs(value: str) -> dict[str, str]:
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        raise DigestError(f"authentication scheme {scheme[:40]!r} is not supported")
    pairs: dict[str, str] = {}
    try:
        parts = split_list(rest)
    except ValueError as error:
        raise DigestError("malformed authentication header") from error
    for part in parts:
        match = _PAIR.fullmatch(part)
        if match is None:
            raise DigestError(f"malformed authentication parameter {part[:40]!r}")
        pairs.setdefault(match[1].lower(), unquote(match[2]))
    return pairs


def _needed(pairs: dict[str, str], name: str) -> str:
    value = pairs.get(name)
    if value is None:
        raise DigestError(f"no {name} in an authentication header")
    return value


def _algorithm(pairs: dict[str, str]) -> Algorithm:
    name = pairs.get("algorithm", "MD5").upper()
    for algorithm in Algorithm:
        if algorithm.value == name:
            return algorithm
    raise DigestError(f"algorithm {name[:40]!r} is not supported")
