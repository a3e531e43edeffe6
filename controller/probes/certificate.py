"""Days until a certificate expires: as a TLS server presents it, or in a PEM file."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, NamedTuple

from pydantic import Field, model_validator

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.model.moments import Values
from controller.probes.parameters import HostPort, Strict, split_address
from controller.sip.identity import sip_identities, speaks_for

DAY = 86400.0


class CertificateParameters(Strict):
    """Either `address` (`host:port`, 5061 without one) or `file`. `server_name` is sent as SNI (default: the host) and,
    with `verify`, must stand in the certificate, which must lead to a known authority."""

    address: HostPort = ""
    file: str = ""
    server_name: str = ""
    minimum_days: float = Field(default=14.0, ge=0)
    verify: bool = False
    authorities: str = ""

    @model_validator(mode="after")
    def _one_source(self) -> CertificateParameters:
        if bool(self.address) == bool(self.file):
            raise ValueError("give either address or file")
        if self.file and (self.verify or self.server_name):
            raise ValueError("verify and server_name are for an address")
        return self


class Validity(NamedTuple):
    """Unix seconds."""

    not_before: float
    not_after: float


class Certificate:
    """ports.Probe. The soonest expiry counts where a PEM file holds a chain."""

    Parameters = CertificateParameters
    mass = False
    values: ClassVar[Mapping[str, str]] = {"days_left": "double"}

    def __init__(self, parameters: CertificateParameters) -> None:
        self._parameters = parameters

    async def run(self, key: RungKey, timeout: float) -> ProbeResult:
        sent_at = time.monotonic()
        values: Values = ()
        try:
            async with asyncio.timeout(timeout):
                certificates = await self._fetch()
            outcome, note, values = self._judge([validity(each) for each in certificates], time.time())
            if outcome is Outcome.UP and self._parameters.verify:
                async with asyncio.timeout(max(0.0, timeout - (time.monotonic() - sent_at))):
                    if misnamed := await self._verify():
                        outcome, note = Outcome.FAILED, misnamed
        except TimeoutError:
            outcome, note = Outcome.NO_REPLY, ""
        except ssl.SSLCertVerificationError as error:
            outcome, note = Outcome.FAILED, error.verify_message or str(error)
        except ssl.SSLError as error:
            outcome, note = Outcome.TRANSPORT, f"TLS: {error.reason or error}"
        except OSError as error:
            outcome, note = Outcome.TRANSPORT, error.strerror or str(error)
        except ValueError as error:
            outcome, note = Outcome.MALFORMED, str(error)
        now = time.monotonic()
        up = outcome is Outcome.UP
        return ProbeResult(key, sent_at, now, outcome, up, now - sent_at, 0, 1, note, values)

    async def close(self) -> None:
        pass

    def _judge(self, validities: list[Validity], now: float) -> tuple[Outcome, str, Values]:
        left = (min(each.not_after for each in validities) - now) / DAY
        values: Values = (("days_left", round(left, 2)),)
        if left < 0:
            return Outcome.FAILED, f"expired {-left:.0f} days ago", values
        if any(each.not_before > now for each in validities):
            return Outcome.FAILED, "not valid yet", values
        if left < self._parameters.minimum_days:
            return Outcome.FAILED, f"expires in {left:.0f} days", values
        return Outcome.UP, "", values

    async def _fetch(self) -> list[bytes]:
        """The certificates to look at, DER. Raises ValueError for a file without any."""
        if self._parameters.file:
            text = await asyncio.to_thread(Path(self._parameters.file).read_text, "ascii", "replace")
            return pem_certificates(text)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # An expired certificate must still be read; trust is `verify`'s question.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        writer = await self._connect(context)
        try:
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.transport.abort()
        if not der:
            raise ValueError("the server presented no certificate")
        return [der]

    async def _verify(self) -> str:
        """What is wrong with the name, "" for nothing. Raises SSLCertVerificationError without a known authority."""
        context = ssl.create_default_context(cafile=self._parameters.authorities or None)
        context.check_hostname = False
        writer = await self._connect(context)
        try:
            certificate = writer.get_extra_info("peercert") or {}
        finally:
            writer.transport.abort()
        if speaks_for(certificate, self._server_name()):
            return ""
        names = ", ".join(sip_identities(certificate)) or "nobody"
        return f"the certificate is for {names}, not for {self._server_name()}"

    async def _connect(self, context: ssl.SSLContext) -> asyncio.StreamWriter:
        host, port = split_address(self._parameters.address, 5061)
        _, writer = await asyncio.open_connection(
            host, port, ssl=context, server_hostname=self._server_name()
        )
        return writer

    def _server_name(self) -> str:
        return self._parameters.server_name or split_address(self._parameters.address, 5061)[0]


def pem_certificates(text: str) -> list[bytes]:
    """Every certificate of a PEM file, DER; keys between them are stepped over. Raises ValueError if there is none."""
    found: list[bytes] = []
    start = text.find(ssl.PEM_HEADER)
    while start >= 0:
        end = text.find(ssl.PEM_FOOTER, start)
        if end < 0:
            raise ValueError("a certificate that does not end")
        found.append(ssl.PEM_cert_to_DER_cert(text[start : end + len(ssl.PEM_FOOTER)]))
        start = text.find(ssl.PEM_HEADER, end)
    if not found:
        raise ValueError("no certificate in the file")
    return found


def validity(der: bytes) -> Validity:
    """Reads only the validity of an X.509 certificate (RFC 5280 4.1): the library gives none of an unverified one.

    Raises ValueError.
    """
    try:
        certificate = _Der(der).enter(0x30).enter(0x30)
        if certificate.peek() == 0xA0:
            certificate.skip()  # version
        for _ in range(3):
            certificate.skip()  # serial number, signature algorithm, issuer
        dates = certificate.enter(0x30)
        return Validity(_time(*dates.take()), _time(*dates.take()))
    except IndexError:
        raise ValueError("not a certificate") from None


class _Der:
    """A reader over the elements of one DER value. Raises IndexError beyond the end, ValueError for what is no DER."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def peek(self) -> int:
        return self._data[self._at]

    def take(self) -> tuple[int, bytes]:
        """The next element's tag and content."""
        tag = self._data[self._at]
        length = self._data[self._at + 1]
        start = self._at + 2
        if length >= 0x80:
            size = length & 0x7F
            length = int.from_bytes(self._data[start : start + size], "big")
            start += size
        if start + length > len(self._data):
            raise ValueError("a DER element longer than its container")
        self._at = start + length
        return tag, self._data[start : self._at]

    def skip(self) -> None:
        self.take()

    def enter(self, tag: int) -> _Der:
        found, content = self.take()
        if found != tag:
            raise ValueError(f"DER tag {found:#x} where {tag:#x} was due")
        return _Der(content)


def _time(tag: int, content: bytes) -> float:
    """UTCTime until 2049, GeneralizedTime after, both in Zulu (RFC 5280 4.1.2.5)."""
    text = content.decode("ascii", "replace")
    if tag == 0x17:
        # %y has another pivot than RFC 5280's 50.
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != 0x18:
        raise ValueError(f"DER tag {tag:#x} is no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
