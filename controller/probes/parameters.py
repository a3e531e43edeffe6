"""What the parameter models of all probe kinds have in common."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from controller.sip.errors import SipParseError
from controller.sip.uri import parse_host_port, parse_uri


class Strict(BaseModel):
    """Unknown keys are refused, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _sip_uri(text: str) -> str:
    try:
        uri = parse_uri(text)
    except SipParseError as error:
        raise ValueError(str(error)) from None
    if not uri.is_sip:
        raise ValueError(f"{text!r} is not a sip or sips URI")
    return text


def _host_port(text: str) -> str:
    if text:
        split_address(text, 1)
    return text


SipUri = Annotated[str, AfterValidator(_sip_uri)]
HostPort = Annotated[str, AfterValidator(_host_port)]
"""`host`, `host:port` or `[IPv6]:port`; may be empty where it is optional."""


def split_address(text: str, default_port: int) -> tuple[str, int]:
    """Host without brackets, and port. Raises ValueError."""
    try:
        host, port = parse_host_port(text)
    except SipParseError as error:
        raise ValueError(str(error)) from None
    return host.strip("[]"), default_port if port is None else port


def is_literal(host: str) -> bool:
    """Whether `host` is an address already and needs no DNS (RFC 3263 4.1)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
