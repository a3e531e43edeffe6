"""The server's side: responses to a request, where they go, and the answering of repeated requests."""

from dataclasses import replace
from typing import TypeVar

from controller.sip.messages import Headers, Request, Response, canonical
from controller.sip.uri import bracketed

_AnyMessage = TypeVar("_AnyMessage", Request, Response)

REASONS = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    302: "Moved Temporarily",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    423: "Interval Too Brief",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
}


def reply(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    headers: Headers = (),
    body: bytes = b"",
    to_tag: str | None = None,
) -> Response:
    """A response with the request's Via, From, To, Call-ID and CSeq (RFC 3261 8.2.6).

    `to_tag` is added unless the request is inside a dialog, and never to a 100. Record-Route is copied into
    101 to 299 (12.1.1).
    """
    copied = {"via", "from", "call-id", "cseq"}
    if 100 < status < 300:
        copied.add("record-route")
    lines: list[tuple[str, str]] = []
    for name, value in request.headers:
        key = canonical(name)
        if key in copied:
            lines.append((name, value))
        elif key == "to":
            fresh = to_tag is not None and status > 100 and request.to.tag is None
            lines.append((name, f"{value};tag={to_tag}" if fresh else value))
    return Response(
        status=status,
        reason=REASONS.get(status, "") if reason is None else reason,
        headers=(*lines, *headers),
        body=body,
    )


def stamp_source(request: Request, host: str, port: int) -> Request:
    """The request as its server keeps it: the top Via tells where it came from (RFC 3261 18.2.1, RFC 3581).

    `host` is the packet's source address, without brackets.
    """
    via = request.top_via
    parameters = via.parameters
    if "rport" in parameters:
        parameters = parameters.replacing("rport", str(port)).replacing("received", host)
    elif via.host.strip("[]") != host:
        parameters = parameters.replacing("received", host)
    vias = (replace(via, parameters=parameters), *request.vias[1:])
    return with_vias(request, tuple(str(v) for v in vias))


def reply_address(response: Response) -> tuple[str, int]:
    """Host and port that a response over UDP goes to (RFC 3261 18.2.2, RFC 3581 4); no brackets."""
    via = response.top_via
    default = 5061 if via.transport == "TLS" else 5060
    return via.received or via.host.strip("[]"), via.rport or via.port or default


def with_vias(message: _AnyMessage, vias: tuple[str, ...]) -> _AnyMessage:
    """The message with its Via headers replaced by these, one line each."""
    rest: Headers = tuple(header for header in message.headers if canonical(header[0]) != "via")
    return replace(message, headers=(*(("Via", value) for value in vias), *rest))


class ReplyCache:
    """Answers a retransmitted request with the bytes it got before (RFC 3261 17.2).

    Entries live `lifetime` seconds (64 * T1); time is passed in, monotonic.
    """

    def __init__(self, *, lifetime: float = 32.0) -> None:
        self._lifetime = lifetime
        self._replies: dict[tuple[str, str, str], tuple[float, bytes]] = {}

    def __len__(self) -> int:
        return len(self._replies)

    def recall(self, request: Request, now: float) -> bytes | None:
        """The last response given to this very transaction, or None."""
        self._forget(now)
        found = self._replies.get(self._key(request))
        return None if found is None else found[1]

    def remember(self, request: Request, response: bytes, now: float) -> None:
        key = self._key(request)
        # Out and in again, so that the dict stays ordered by age and forgetting costs what it forgets.
        self._replies.pop(key, None)
        self._replies[key] = (now + self._lifetime, response)

    def _forget(self, now: float) -> None:
        while self._replies:
            oldest = next(iter(self._replies))
            if self._replies[oldest][0] > now:
                return
            del self._replies[oldest]

    @staticmethod
    def _key(request: Request) -> tuple[str, str, str]:
        via = request.top_via
        # A branch without the magic cookie is an RFC 2543 element's and need not be unique (17.2.3).
        branch = via.branch or ""
        if not branch.startswith("z9hG4bK") or len(branch) == len("z9hG4bK"):
            branch = f"{branch} {request.call_id} {request.cseq} {request.from_.tag}"
        return branch, f"{bracketed(via.host)}:{via.port}", request.method
