"""A client's side of a digest exchange over the requests of one call or registration."""

from controller.sip.digest import Challenge, Credentials, answer_challenge, choose_challenge
from controller.sip.errors import DigestError
from controller.sip.messages import Headers, Response


class ClientAuthentication:
    """Answers a 401 or 407 once, and again only if the server says our nonce was stale (RFC 3261 22.2).

    `cnonce` is the caller's random token. A registrar and a proxy before it are answered side by side.
    """

    MAX_STALE = 2  # a server that finds every nonce stale would keep us going for ever

    def __init__(self, credentials: Credentials | None, *, cnonce: str) -> None:
        self._credentials = credentials
        self._cnonce = cnonce
        self._challenges: dict[bool, Challenge] = {}
        self._counts: dict[bool, int] = {}
        self._answered: set[bool] = set()
        self._stale = 0

    def begin_request(self) -> None:
        """A new request, a BYE after its INVITE, may be challenged once again."""
        self._answered.clear()
        self._stale = 0

    def accept(self, response: Response) -> bool:
        """Take the challenge of a 401 or 407 in; True if the request is worth sending again."""
        if self._credentials is None:
            return False
        try:
            challenge = choose_challenge(response)
        except DigestError:
            return False
        if challenge.proxy in self._answered:
            self._stale += 1
            if not challenge.stale or self._stale > self.MAX_STALE:
                return False
        self._answered.add(challenge.proxy)
        self._challenges[challenge.proxy] = challenge
        self._counts[challenge.proxy] = 0
        return True

    def headers(self, *, method: str, uri: str) -> Headers:
        """Authorization headers for the next request; each use counts the nonce up (nc)."""
        if self._credentials is None:
            return ()
        headers: list[tuple[str, str]] = []
        for proxy, challenge in self._challenges.items():
            self._counts[proxy] += 1
            answer = answer_challenge(
                challenge,
                self._credentials,
                method=method,
                uri=uri,
                cnonce=self._cnonce,
                nonce_count=self._counts[proxy],
            )
            headers.append(("Proxy-Authorization" if proxy else "Authorization", str(answer)))
        return tuple(headers)
