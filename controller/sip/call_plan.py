"""What a test call is to do, and the INVITE that opens it."""

from dataclasses import dataclass

from controller.sip.digest import Credentials
from controller.sip.messages import Headers, Request
from controller.sip.sdp import CONTENT_TYPE
from controller.sip.transactions import Timers
from controller.sip.uri import quote

TEST_CALL_HEADER = "X-Third-Ring-Test"
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS"


@dataclass(frozen=True, kw_only=True, slots=True)
class CallPlan:
    """What to call, and for how long. Times in seconds.

    `uri` is the Request-URI and `to_uri` the To, when it differs; `sent_by` our host:port for Via and
    Contact; `route` a preloaded route set as Route values. `test_id` goes into the X- header that lets CDRs
    and KPIs leave test calls out. `ring_limit` counts from the INVITE to the answer, `duration` from the
    answer to BYE.
    """

    uri: str
    from_uri: str
    sent_by: str
    offer: bytes
    test_id: str
    to_uri: str | None = None
    transport: str = "UDP"
    display_name: str | None = None
    credentials: Credentials | None = None
    route: tuple[str, ...] = ()
    headers: Headers = ()
    user_agent: str = "Third-Ring"
    ring_limit: float = 20.0
    duration: float = 5.0
    timers: Timers = Timers()

    @property
    def marks(self) -> Headers:
        """What tells every request of a test call from a customer's."""
        return ((TEST_CALL_HEADER, self.test_id), ("User-Agent", self.user_agent))

    def invite(
        self, *, via: str, call_id: str, from_tag: str, sequence: int, authorization: Headers = ()
    ) -> Request:
        """The INVITE that opens the call (RFC 3261 13.2.1)."""
        name = "" if self.display_name is None else f"{quote(self.display_name)} "
        headers: Headers = (
            ("Via", via),
            ("Max-Forwards", "70"),
            *(("Route", route) for route in self.route),
            ("From", f"{name}<{self.from_uri}>;tag={from_tag}"),
            ("To", f"<{self.to_uri or self.uri}>"),
            ("Call-ID", call_id),
            ("CSeq", f"{sequence} INVITE"),
            ("Contact", f"<sip:{self.sent_by};transport={self.transport.lower()}>"),
            ("Allow", ALLOW),
            *self.marks,
            *self.headers,
            *authorization,
            ("Content-Type", CONTENT_TYPE),
        )
        return Request(method="INVITE", uri=self.uri, headers=headers, body=self.offer)
