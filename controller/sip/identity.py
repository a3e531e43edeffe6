"""Whose certificate it is: SIP domain identities (RFC 5922 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.sip.errors import SipParseError
from controller.sip.uri import parse_uri


def sip_identities(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """The domains and addresses a certificate speaks for, lower case; `certificate` as ssl's `getpeercert` gives it.

    Names from sip URIs where there are any, else the DNS names, else the common name (RFC 5922 7.1). Addresses are
    added: RFC 5922 knows none, but a platform without a domain is served under its address.
    """
    alternatives = [(str(kind), str(name)) for kind, name in certificate.get("subjectAltName", ())]
    uris = [domain for kind, name in alternatives if kind == "URI" and (domain := _domain(name))]
    names = uris or [name.lower() for kind, name in alternatives if kind == "DNS"]
    if not names:
        names = [
            str(value).lower()
            for attributes in certificate.get("subject", ())
            for kind, value in attributes
            if kind == "commonName"
        ]
    return (*names, *(name.lower() for kind, name in alternatives if kind == "IP Address"))


def speaks_for(certificate: Mapping[str, Any], domain: str) -> bool:
    """Whether the certificate is `domain`'s: an exact match, no wildcards and no parent domains (RFC 5922 7.2)."""
    return domain.lower().rstrip(".") in sip_identities(certificate)


def _domain(text: str) -> str:
    """The domain of a sip URI without a user part; "" for anything else (RFC 5922 7.1)."""
    try:
        uri = parse_uri(text)
    except SipParseError:
        return ""
    return uri.address.lower() if uri.scheme == "sip" and uri.user is None else ""
