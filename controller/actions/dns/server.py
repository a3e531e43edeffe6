"""One authoritative server: what it shows, and an update under the condition that it shows what was read.

Everything goes over TCP (RFC 7766): an answer can't be forged from off the path, and an update is never repeated by a
transport. Repeated, one that had been carried out would meet its own condition and look like a refusal.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tsig
import dns.update

from controller.actions.dns.parameters import DnsParameters
from controller.actions.points import Nonsense, Unreachable
from controller.model.errors import ActionError, ActionRefused, ActionUnknown

EPOCH = re.compile(rb"epoch=(\d+)")

CONDITION_FAILED = frozenset({dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN})
"""RFC 2136 2.4, 3.2: what was read is no longer there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What a server has. `ttl`: of the RRset, 0 without one. `markers`: the TXT records that keep the epoch."""

    serial: int
    records: frozenset[dns.rdata.Rdata]
    ttl: int
    markers: frozenset[dns.rdata.Rdata]

    @property
    def epoch(self) -> int:
        """The highest on record, 0 without any."""
        texts = [b"".join(getattr(marker, "strings", ())) for marker in self.markers]
        return max((int(found[1]) for text in texts if (found := EPOCH.search(text))), default=0)

    def still(self, other: Shown) -> bool:
        """Whether an update that was made for the other would be carried out now."""
        return self.records == other.records and self.markers == other.markers


class Server:
    def __init__(self, name: str, parameters: DnsParameters) -> None:
        settings = parameters.edges[name]
        self.name = name
        self._address, self._port = settings.address, settings.port
        self._timeout = parameters.timeout
        self._zone = dns.name.from_text(parameters.zone)
        self._owner = dns.name.from_text(parameters.name)
        self._marker = dns.name.from_text(parameters.marker_name)
        self._type = dns.rdatatype.from_text(parameters.type)
        self._ttl = parameters.ttl
        self._key = dns.tsig.Key(
            dns.name.from_text(parameters.key.name),
            parameters.key.secret.get_secret_value(),
            dns.name.from_text(parameters.key.algorithm),
        )

    async def look(self) -> Shown:
        """One consistent view. Raises Unreachable, Nonsense (not authoritative, an alias, nothing for the zone)."""
        for _ in range(3):
            try:
                first, owner, marker, last = await self._asked()
            except (OSError, EOFError, TimeoutError, ValueError, dns.exception.DNSException) as error:
                raise Unreachable(f"{self.name}: {_told(error)}") from error
            if first == last:
                return Shown(
                    serial=first,
                    records=frozenset(owner or ()),
                    ttl=0 if owner is None else int(owner.ttl),
                    markers=frozenset(marker or ()),
                )
        raise Nonsense(f"{self.name}: the zone changes all the time")

    async def update(self, shown: Shown, records: Iterable[dns.rdata.Rdata], epoch: int) -> bool:
        """Replace what was shown, and only that. Whether it was carried out; False: something else is there now.

        Raises Unreachable (it was never sent), ActionRefused, ActionUnknown (sent, no answer), ActionError.
        """
        message = dns.update.UpdateMessage(self._zone, keyring=self._key)
        for owner, kind, before in (
            (self._owner, self._type, shown.records),
            (self._marker, dns.rdatatype.TXT, shown.markers),
        ):
            if not before:
                message.absent(owner, kind)
            for record in before:
                message.present(owner, record)
        message.replace(self._owner, dns.rdataset.from_rdata_list(self._ttl, list(records)))
        message.replace(self._marker, 0, dns.rdatatype.TXT, f'"epoch={epoch}"')
        try:
            connection = await self._connected()
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"{self.name}: {_told(error)}") from error
        try:
            async with asyncio.timeout(self._timeout):
                answer = await connection.exchange(message)
        except dns.tsig.PeerError as error:
            raise ActionRefused(f"{self.name}: {_told(error)} (RFC 8945 5.2)") from error
        except (OSError, EOFError, TimeoutError, ValueError, dns.exception.DNSException) as error:
            raise ActionUnknown(f"{self.name}: no answer to the update: {_told(error)}") from error
        finally:
            connection.close()
        match answer.rcode():
            case dns.rcode.NOERROR:
                return True
            case code if code in CONDITION_FAILED:
                return False
            case dns.rcode.SERVFAIL:
                raise ActionError(f"{self.name}: SERVFAIL: nothing was changed (RFC 2136 3.8)")
            case code:
                raise ActionRefused(f"{self.name}: {dns.rcode.to_text(code)}")

    async def _asked(self) -> tuple[int, dns.rdataset.Rdataset | None, dns.rdataset.Rdataset | None, int]:
        connection = await self._connected()
        answers = []
        try:
            async with asyncio.timeout(self._timeout):
                for owner, kind in (
                    (self._zone, dns.rdatatype.SOA),
                    (self._owner, self._type),
                    (self._marker, dns.rdatatype.TXT),
                    (self._zone, dns.rdatatype.SOA),
                ):
                    answer = await connection.exchange(dns.message.make_query(owner, kind, flags=0))
                    answers.append(self._set_of(answer, owner, kind))
        finally:
            connection.close()
        first, owner_set, marker_set, last = answers
        return self._serial(first), owner_set, marker_set, self._serial(last)

    def _set_of(
        self, answer: dns.message.Message, owner: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> dns.rdataset.Rdataset | None:
        code = answer.rcode()
        if code in (dns.rcode.SERVFAIL, dns.rcode.REFUSED):
            raise Unreachable(f"{self.name}: {dns.rcode.to_text(code)} for {owner}")
        if not answer.flags & dns.flags.AA:
            raise Nonsense(f"{self.name} is not authoritative for {owner}")
        if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Nonsense(f"{self.name}: {dns.rcode.to_text(code)} for {owner}")
        found = answer.get_rrset(answer.answer, owner, dns.rdataclass.IN, kind)
        alias = answer.get_rrset(answer.answer, owner, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if found is None and alias is not None:
            # An update that adds to an alias is ignored in silence (RFC 2136 3.4.2.2).
            raise Nonsense(f"{self.name}: {owner} is an alias")
        return found

    def _serial(self, found: dns.rdataset.Rdataset | None) -> int:
        if not found:
            raise Nonsense(f"{self.name} has no SOA of {self._zone}")
        return int(found[0].serial)

    async def _connected(self) -> Connection:
        async with asyncio.timeout(self._timeout):
            return Connection(*await asyncio.open_connection(self._address, self._port))


class Connection:
    """DNS over TCP: each message after its length (RFC 1035 4.2.2)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def exchange(self, message: dns.message.Message) -> dns.message.Message:
        """Raises OSError, EOFError, ValueError (another answer than asked for) or dns.exception.DNSException; of that,
        PeerError where the far end refuses the signature."""
        wire = message.to_wire()
        self._writer.write(struct.pack("!H", len(wire)) + wire)
        await self._writer.drain()
        (length,) = struct.unpack("!H", await self._reader.readexactly(2))
        answer = dns.message.from_wire(
            await self._reader.readexactly(length), keyring=message.keyring, request_mac=message.mac
        )
        if not message.is_response(answer):
            raise ValueError("the answer is to another question")
        if message.had_tsig is not answer.had_tsig and message.keyring is not None:
            raise ValueError("the answer is not signed")
        return answer

    def close(self) -> None:
        self._writer.close()


def later(one: int, other: int) -> bool:
    """Whether a serial comes after another (RFC 1982 3.2)."""
    return one != other and (one - other) % 2**32 < 2**31


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
