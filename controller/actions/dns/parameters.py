"""What a configuration says of a group switched by dynamic update (RFC 2136)."""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Self

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from controller.actions.fields import Port, Seconds, Strict
from controller.actions.routed import SideParameters, idle_verbs
from controller.model.groups import DriverVerb

LONGEST_TTL = 300
SHORTEST_SECRET = 16
"""Octets."""


def _name(text: str) -> str:
    try:
        name = dns.name.from_text(text, origin=None)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(f"{text!r} is no domain name: {error}") from None
    if not name.is_absolute():
        raise ValueError(f"{text!r} must end with a dot: nothing is appended to it")
    return text


def _address(text: str) -> str:
    try:
        ip_address(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no address: a name would be looked up in what is to be switched"
        ) from None
    return text


Name = Annotated[str, AfterValidator(_name)]
"""An absolute domain name."""


class RecordType(StrEnum):
    A = "A"
    AAAA = "AAAA"
    CNAME = "CNAME"
    SRV = "SRV"
    NAPTR = "NAPTR"


class ServerParameters(Strict):
    """An authoritative server, asked over TCP."""

    address: Annotated[str, AfterValidator(_address)]
    port: Port = 53


class KeyParameters(Strict):
    """TSIG (RFC 8945). `secret` in base64."""

    name: Name
    algorithm: str = Field(default="hmac-sha256", pattern=r"^hmac-sha(256|384|512)$")
    secret: SecretStr

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr) -> SecretStr:
        try:
            octets = base64.b64decode(secret.get_secret_value(), validate=True)
        except binascii.Error:
            raise ValueError("is no base64") from None
        if len(octets) < SHORTEST_SECRET:
            raise ValueError(f"is shorter than {SHORTEST_SECRET} octets")
        return secret


class DnsSideParameters(SideParameters):
    """`records`: the whole RRset while this side gets the calls, each as in a zone file."""

    records: tuple[str, ...] = Field(min_length=1)


class DnsParameters(Strict):
    """`edges`: every authoritative server, named as the group's edges; `primary`: the one that takes updates. `marker`:
    a TXT record of the zone that keeps the epoch, by default `_thirdring` under the name. `ttl`, seconds: of the RRset
    after a switch, and the longest it may have before a planned one. `converge`: how long the others may take to show
    a change before the switch goes on without them, seconds; `timeout`: of one exchange."""

    edges: dict[str, ServerParameters] = Field(min_length=1)
    primary: str
    zone: Name
    name: Name
    type: RecordType = RecordType.A
    ttl: int = Field(default=30, ge=1, le=LONGEST_TTL)
    marker: Name | None = None
    key: KeyParameters
    sides: dict[str, DnsSideParameters] = Field(min_length=2, max_length=2)
    timeout: Seconds = 0.3
    converge: Annotated[float, Field(ge=0.0)] = 0.3

    @property
    def idle_verbs(self) -> frozenset[DriverVerb]:
        return idle_verbs(self.sides.values())

    @property
    def longest(self) -> float:
        """A connection and an exchange without an answer, and the servers that follow."""
        return 2 * self.timeout + self.converge

    @property
    def marker_name(self) -> str:
        return self.marker or f"_thirdring.{self.name}"

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.primary not in self.edges:
            raise ValueError(f"primary: {self.primary!r} is none of the edges")
        zone, name = dns.name.from_text(self.zone), dns.name.from_text(self.name)
        try:
            marker = dns.name.from_text(self.marker_name)
        except dns.exception.DNSException as error:
            raise ValueError(f"marker: {error}: give one") from None
        for what, place in (("name", name), ("marker", marker)):
            if not place.is_subdomain(zone):
                raise ValueError(f"{what}: {place} is not in the zone {zone}")
        if marker == name and self.type is RecordType.CNAME:
            raise ValueError("marker: a name with a CNAME has nothing else")
        if name == zone and self.type is RecordType.CNAME:
            raise ValueError("name: the apex of a zone can't be a CNAME")
        sets = [self._parsed(side, given.records) for side, given in self.sides.items()]
        if sets[0] == sets[1]:
            raise ValueError("sides: the records of both are the same, nothing tells them apart")
        return self

    def _parsed(self, side: str, records: tuple[str, ...]) -> frozenset[dns.rdata.Rdata]:
        found = []
        for text in records:
            try:
                found.append(dns.rdata.from_text(dns.rdataclass.IN, self.type, text, relativize=False))
            except (dns.exception.DNSException, ValueError) as error:
                raise ValueError(f"sides.{side}: {text!r} is no {self.type} record: {error}") from None
        if len(set(found)) != len(found):
            raise ValueError(f"sides.{side}: gives a record twice")
        if self.type is RecordType.CNAME and len(found) > 1:
            raise ValueError(f"sides.{side}: a name has one CNAME")
        return frozenset(found)
