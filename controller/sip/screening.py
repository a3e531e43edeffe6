"""What a well-formed request may still ask of a server in vain (RFC 3261 8.2)."""

from dataclasses import dataclass

from controller.sip.messages import Headers, Request
from controller.sip.uri import parse_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a server takes. Methods are case-sensitive, the rest is lower case."""

    methods: frozenset[str] = frozenset(("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"))
    schemes: frozenset[str] = frozenset(("sip", "sips"))
    extensions: frozenset[str] = frozenset()
    content_types: frozenset[str] = frozenset(("application/sdp",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """The response to give, with the headers that say what would have been right."""

    status: int
    headers: Headers = ()


def screen(request: Request, capabilities: Capabilities) -> Refusal | None:
    """Why this server can't serve the request, in the order of RFC 3261 8.2; None if nothing stands against it.

    ACK and CANCEL are never refused for an extension (8.2.2.3).
    """
    if request.method not in capabilities.methods:
        return Refusal(status=405, headers=(("Allow", ", ".join(sorted(capabilities.methods))),))
    if parse_uri(request.uri).scheme.lower() not in capabilities.schemes:
        return Refusal(status=416)
    if request.method not in ("ACK", "CANCEL"):
        unknown = [
            option for option in request.get_list("Require") if option.lower() not in capabilities.extensions
        ]
        if unknown:
            return Refusal(status=420, headers=(("Unsupported", ", ".join(unknown)),))
    accepted = ", ".join(sorted(capabilities.content_types))
    if request.body:
        content_type = (request.get("Content-Type") or "").partition(";")[0].strip().lower()
        encoding = (request.get("Content-Encoding") or "identity").strip().lower()
        if content_type not in capabilities.content_types:
            return Refusal(status=415, headers=(("Accept", accepted),))
        if encoding != "identity":
            return Refusal(status=415, headers=(("Accept-Encoding", "identity"),))
    if request.method in ("INVITE", "OPTIONS") and not _accepts_any(request, capabilities.content_types):
        return Refusal(status=406, headers=(("Accept", accepted),))
    return None


def _accepts_any(request: Request, content_types: frozenset[str]) -> bool:
    ranges = [value.partition(";")[0].strip().lower() for value in request.get_list("Accept")]
    if not ranges:
        return True
    return any(
        wanted in ("*/*", content_type, content_type.partition("/")[0] + "/*")
        for wanted in ranges
        for content_type in content_types
    )
