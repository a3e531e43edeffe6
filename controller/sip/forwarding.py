"""What an edge does to a message on its way through (RFC 3261 16.6, 16.7, 16.12)."""

from dataclasses import dataclass, replace

from controller.sip.errors import SipParseError
from controller.sip.headers import parse_name_address
from controller.sip.messages import Request, Response, canonical
from controller.sip.replies import with_vias
from controller.sip.uri import Uri, parse_uri


class TooManyHopsError(SipParseError):
    """Max-Forwards has reached 0; answer with 483."""

    def __init__(self) -> None:
        super().__init__("too many hops", status=483)


@dataclass(frozen=True, kw_only=True, slots=True)
class Forwarded:
    """The request to send on, and the URI that it goes to unless the edge picks a side itself."""

    request: Request
    next_hop: Uri


def forward(
    request: Request,
    *,
    via: str,
    own_address: tuple[str, int],
    record_route: str | None = None,
) -> Forwarded:
    """Put our Via on top, count Max-Forwards down, take our own Route off, and add Record-Route if given.

    `own_address` is the host (IPv6 in brackets) and port by which a Route names us. Raises
    TooManyHopsError, and SipParseError for a malformed Route.
    """
    hops = request.max_forwards
    if hops == 0:
        raise TooManyHopsError
    routes = list(request.get_list("Route"))
    if routes and _names(routes[0], own_address):
        del routes[0]
    dropped = {"route", "max-forwards"}
    headers = [header for header in request.headers if canonical(header[0]) not in dropped]
    added = [("Max-Forwards", str(70 if hops is None else hops - 1))]
    added += [("Route", route) for route in routes]
    if record_route is not None:
        added.append(("Record-Route", record_route))
    changed = replace(request, headers=(*added, *headers))
    # Record-Route values of earlier hops stay below ours because ours comes first.
    changed = with_vias(changed, (via, *(str(v) for v in request.vias)))
    target = parse_name_address(routes[0]).uri if routes else parse_uri(request.uri)
    return Forwarded(request=changed, next_hop=target)


def take_via_off(response: Response) -> Response:
    """The response without our Via. Raises SipParseError if it was the only one: then it was for us."""
    if len(response.vias) < 2:
        raise SipParseError("response has no Via but ours")
    return with_vias(response, tuple(str(via) for via in response.vias[1:]))


def _names(route: str, own_address: tuple[str, int]) -> bool:
    uri = parse_name_address(route).uri
    return (uri.host, uri.port or 5060) == own_address
