"""The caller's side of a dialog: route set, remote target and the requests inside it (RFC 3261 12)."""

from dataclasses import dataclass

from controller.sip.errors import SipParseError
from controller.sip.headers import NameAddress, parse_name_address
from controller.sip.messages import Headers, Request, Response
from controller.sip.uri import Uri, parse_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialog:
    """What a 2xx to our INVITE fixed (12.1.2).

    `local` and `remote` are the From and To values with their tags. `route_set` is in the order in which
    Route headers are written.
    """

    call_id: str
    local: str
    remote: str
    remote_tag: str | None
    remote_target: str
    route_set: tuple[NameAddress, ...]
    invite_sequence: int

    def request(self, method: str, *, sequence: int, via: str, headers: Headers = ()) -> Request:
        """A request inside the dialog, with the rules for strict routers (12.2.1.1)."""
        uri, routes = self.remote_target, tuple(str(route) for route in self.route_set)
        if self.route_set and "lr" not in self.route_set[0].uri.parameters:
            uri = str(_stripped(self.route_set[0].uri))
            routes = (*routes[1:], f"<{self.remote_target}>")
        return Request(
            method=method,
            uri=uri,
            headers=(
                ("Via", via),
                ("Max-Forwards", "70"),
                *(("Route", route) for route in routes),
                ("From", self.local),
                ("To", self.remote),
                ("Call-ID", self.call_id),
                ("CSeq", f"{sequence} {method}"),
                *headers,
            ),
        )

    @property
    def next_hop(self) -> Uri:
        """Where requests inside the dialog are sent: the first route, else the remote target."""
        return self.route_set[0].uri if self.route_set else parse_uri(self.remote_target)


def open_dialog(invite: Request, response: Response) -> Dialog:
    """The dialog that a 2xx opens.

    A 2xx without a usable Contact breaks 12.1.1; the Request-URI then stands in, so that BYE still goes out.
    Raises SipParseError for a malformed Record-Route.
    """
    target = invite.uri
    if response.contacts and response.contacts[0].uri.is_sip:
        target = str(response.contacts[0].uri)
    routes = tuple(parse_name_address(value) for value in response.get_list("Record-Route"))
    to = response.get("To")
    if to is None:
        raise SipParseError("no To header")
    return Dialog(
        call_id=invite.call_id,
        local=invite.get("From") or "",
        remote=to,
        remote_tag=response.to.tag,
        remote_target=target,
        route_set=tuple(reversed(routes)),
        invite_sequence=invite.cseq.number,
    )


def _stripped(uri: Uri) -> Uri:
    """A strict router's URI as a Request-URI: without what is not allowed there (19.1.1)."""
    return Uri(
        scheme=uri.scheme,
        user=uri.user,
        password=uri.password,
        host=uri.host,
        port=uri.port,
        parameters=type(uri.parameters)(
            tuple(item for item in uri.parameters.items if item[0].lower() != "method")
        ),
        opaque=uri.opaque,
    )
