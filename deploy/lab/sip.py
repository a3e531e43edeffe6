"""Just enough SIP to check a fault and to place calls: building requests, reading responses, one exchange.

This is the lab's own instrument, apart from the product it measures. Not a parser for hostile input.
"""

import secrets
import socket
import time
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Response:
    """A SIP response. `headers` keeps order and repeats; names are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str
    source: tuple[str, int]
    elapsed_ms: float

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def one(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def side(self) -> str | None:
        """The platform side that served it ("primary", "backup"), if it says."""
        return self.one("x-side")


def branch() -> str:
    return f"z9hG4bK{secrets.token_hex(8)}"


def request(
    method: str,
    uri: str,
    *,
    local: tuple[str, int],
    via_branch: str,
    call_id: str,
    from_tag: str,
    to: str,
    cseq: int = 1,
    cseq_method: str | None = None,
    routes: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    body: str = "",
) -> bytes:
    """A request (RFC 3261 8.1.1, with rport as in RFC 3581). `to` and `routes` are whole header values."""
    host, port = local
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {host}:{port};rport;branch={via_branch}",
        *(f"Route: {route}" for route in routes),
        f"From: <sip:lab@{host}:{port}>;tag={from_tag}",
        f"To: {to}",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {cseq_method or method}",
        f"Contact: <sip:lab@{host}:{port}>",
        "Max-Forwards: 70",
        *extra,
        *(["Content-Type: application/sdp"] if body else []),
        f"Content-Length: {len(body)}",
        "",
        body,
    ]
    return "\r\n".join(lines).encode()


def offer(address: str, port: int) -> str:
    """An SDP offer of G.711 mu-law."""
    return (
        f"v=0\r\no=lab 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )


def media_address(body: str) -> tuple[str, int] | None:
    """Where an SDP wants its audio, or None."""
    address, port = None, None
    for line in body.splitlines():
        if line.startswith("c=IN IP4 "):
            address = line[9:].strip()
        elif line.startswith("m=audio "):
            port = int(line.split()[1])
    return None if address is None or port is None else (address, port)


def parse(datagram: bytes, source: tuple[str, int], elapsed_ms: float = 0.0) -> Response | None:
    """A response, or None if the datagram is not one."""
    head, _, body = datagram.decode("utf-8", "replace").partition("\r\n\r\n")
    first, *rest = head.split("\r\n")
    version, _, tail = first.partition(" ")
    if version != "SIP/2.0" or not tail[:3].isdigit():
        return None
    headers = []
    for line in rest:
        name, _, value = line.partition(":")
        headers.append((name.strip().lower(), value.strip()))
    return Response(
        status=int(tail[:3]), headers=tuple(headers), body=body, source=source, elapsed_ms=elapsed_ms
    )


def exchange(
    sock: socket.socket, method: str, user: str, to: tuple[str, int], *, timeout_s: float
) -> Response | None:
    """Send one OPTIONS or INVITE over `sock` without repeating it; the final response, or None within `timeout_s`.

    A failed INVITE is acknowledged, an answered one acknowledged and ended. `sock` is bound or gets bound here.
    """
    sock.connect(to)
    local = sock.getsockname()[:2]
    uri = f"sip:{user}@{to[0]}:{to[1]}" if user else f"sip:{to[0]}:{to[1]}"
    call_id, tag, via = secrets.token_hex(8), secrets.token_hex(4), branch()
    body = offer(local[0], local[1] + 1) if method == "INVITE" else ""
    began = time.monotonic()
    sock.send(
        request(
            method, uri, local=local, via_branch=via, call_id=call_id, from_tag=tag, to=f"<{uri}>", body=body
        )
    )
    while (left := began + timeout_s - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            response = parse(sock.recv(65535), to, (time.monotonic() - began) * 1000)
        except TimeoutError:
            return None
        except ConnectionRefusedError:
            return None  # nobody listens there: as good as silence for a caller
        if response is None or response.one("call-id") != call_id or response.status < 200:
            continue
        if method == "INVITE":
            _finish(sock, uri, response, local=local, via=via, call_id=call_id, tag=tag)
        return response
    return None


def _finish(
    sock: socket.socket,
    uri: str,
    response: Response,
    *,
    local: tuple[str, int],
    via: str,
    call_id: str,
    tag: str,
) -> None:
    to = response.one("to") or ""
    if response.status >= 300:
        sock.send(request("ACK", uri, local=local, via_branch=via, call_id=call_id, from_tag=tag, to=to))
        return
    target, routes = dialog(response, uri)
    for cseq, method in ((1, "ACK"), (2, "BYE")):
        sock.send(
            request(
                method,
                target,
                local=local,
                via_branch=branch(),
                call_id=call_id,
                from_tag=tag,
                to=to,
                cseq=cseq,
                routes=routes,
            )
        )


def dialog(response: Response, uri: str) -> tuple[str, tuple[str, ...]]:
    """Remote target and route set of the dialog a 2xx makes (RFC 3261 12.1.2)."""
    contact = response.one("contact") or f"<{uri}>"
    target = contact.partition("<")[2].partition(">")[0] or contact
    routes = [route.strip() for value in response.all("record-route") for route in value.split(",")]
    return target, tuple(reversed(routes))
