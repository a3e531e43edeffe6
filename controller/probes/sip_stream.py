"""One SIP request and its answer over a connection of its own, TCP or TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.ports import Finished
from controller.probes.parameters import Strict
from controller.sip.errors import SipParseError
from controller.sip.identity import sip_identities, speaks_for
from controller.sip.messages import Response
from controller.sip.stream import StreamParser
from controller.sip.uri import bracketed

READ_SIZE = 16384


class TlsSettings(Strict):
    """`server_name` is sent as SNI and must stand in the certificate; empty: the domain of the SIP URI, not of the
    server it was found on (RFC 5922 4). `certificate` and `key` are PEM files for mutual TLS."""

    server_name: str = ""
    authorities: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True


class StreamFailure(Exception):
    """No usable answer; `outcome` says of what kind."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class StreamFlight:
    """One probe over TCP or TLS (ports.Flight): a task, since a connection has steps."""

    __slots__ = ("_finished", "_key", "_ticket", "done", "sent_at", "task")

    def __init__(self, finished: Finished, ticket: object, key: RungKey, now: float) -> None:
        self.sent_at = now
        self.done = False
        self.task: asyncio.Task[None] | None = None
        self._finished = finished
        self._ticket = ticket
        self._key = key

    def resend(self, now: float) -> None:
        """The stream repeats what it lost."""

    def give_up(self, now: float, void: str) -> None:
        outcome, up = (Outcome.VOID, None) if void else (Outcome.NO_REPLY, False)
        if self.task is not None:
            self.task.cancel()
        self.end(ProbeResult(self._key, self.sent_at, now, outcome, up, now - self.sent_at, note=void))

    def end(self, result: ProbeResult) -> None:
        if not self.done:
            self.done = True
            self._finished(self._ticket, result)


async def exchange(
    host: str,
    port: int,
    tls: TlsSettings | None,
    domain: str,
    request: Callable[[str], bytes],
    branch: bytes,
) -> Response:
    """Connect, check the certificate, send what `request(sent_by)` gives, return the final response to `branch`.

    Raises StreamFailure: TRANSPORT for a connection or handshake that failed, MALFORMED for an answer that isn't
    SIP. Takes as long as the far end does; the caller sets the limit by cancelling.
    """
    context = None if tls is None else _context(tls)
    writer: asyncio.StreamWriter | None = None
    try:
        try:
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=domain if context is not None else None
            )
        except ssl.SSLError as error:
            raise StreamFailure(Outcome.TRANSPORT, f"TLS: {error.reason or error}") from error
        except OSError as error:
            raise StreamFailure(Outcome.TRANSPORT, error.strerror or str(error)) from error
        if tls is not None and tls.verify:
            _check_identity(writer, domain)
        ours = writer.get_extra_info("sockname")
        writer.write(request(f"{bracketed(ours[0])}:{ours[1]}"))
        return await _read(reader, branch.decode())
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        raise StreamFailure(Outcome.TRANSPORT, str(error)) from error
    finally:
        if writer is not None:
            writer.transport.abort()


def _context(tls: TlsSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.authorities or None)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key or None)
    except OSError as error:
        # Our own files: says nothing about the target.
        raise RuntimeError(f"TLS files can't be used: {error}") from error
    # The library would check the name as HTTPS does; SIP has its own rules, applied after the handshake.
    context.check_hostname = False
    if not tls.verify:
        context.verify_mode = ssl.CERT_NONE
    return context


def _check_identity(writer: asyncio.StreamWriter, domain: str) -> None:
    certificate = writer.get_extra_info("peercert") or {}
    if not speaks_for(certificate, domain):
        names = ", ".join(sip_identities(certificate)) or "nobody"
        raise StreamFailure(Outcome.TRANSPORT, f"TLS: the certificate is for {names}, not for {domain}")


async def _read(reader: asyncio.StreamReader, branch: str) -> Response:
    parser = StreamParser()
    while True:
        data = await reader.read(READ_SIZE)
        if not data:
            raise StreamFailure(Outcome.TRANSPORT, "closed without an answer")
        try:
            items = parser.feed(data)
        except SipParseError as error:
            raise StreamFailure(Outcome.MALFORMED, str(error)) from error
        for item in items:
            if isinstance(item, SipParseError):
                raise StreamFailure(Outcome.MALFORMED, str(item))
            # Requests and strangers' answers may share the connection; a provisional answer only means: wait.
            if isinstance(item, Response) and item.status >= 200:
                with contextlib.suppress(SipParseError):
                    if item.top_via.branch == branch:
                        return item
