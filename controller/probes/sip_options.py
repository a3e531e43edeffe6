"""OPTIONS over UDP to very many targets from one socket a family; over TCP and TLS a connection a probe."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.model.moments import Values
from controller.ports import Flight
from controller.probes.answers import OUTCOMES
from controller.probes.datagrams import Address, DatagramSocket
from controller.probes.mass import OURS, MassKind, MassTarget
from controller.probes.parameters import is_literal, split_address
from controller.probes.sip_options_transaction import OptionsParameters, OptionsTarget, OptionsTransaction
from controller.probes.sip_stream import StreamFailure, StreamFlight, exchange
from controller.sip.errors import SipParseError
from controller.sip.messages import Response, parse_message
from controller.sip.options import OptionsTemplate, match_response
from controller.sip.uri import bracketed, parse_uri

COOKIE = b"z9hG4bK"


class SipOptions(MassKind):
    """ports.MassProbe. A reply must carry the branch, method, Call-ID and From tag of its request and come from
    where the request went (RFC 3261 17.1.3); what else arrives is counted."""

    Parameters = OptionsParameters
    copies_help = True

    def __init__(self) -> None:
        super().__init__()
        self._sockets: dict[int, DatagramSocket] = {}
        self._local: dict[str, str] = {}  # destination -> our own address towards it
        self._pending: dict[bytes, OptionsTransaction] = {}
        self._prefix = secrets.token_hex(6).encode() + b"."
        self._number = 0
        self._cookie = COOKIE + self._prefix
        self._garbage: dict[str, float] = {}  # source host -> when it last sent what can't be read
        self._late = self._wrong_source = self._mismatched = self._malformed = self._foreign = 0

    def prepare(self, key: RungKey, parameters: object) -> object:
        assert isinstance(parameters, OptionsParameters)
        uri = parse_uri(parameters.uri)
        port = uri.port or (5061 if parameters.transport == "tls" else 5060)
        host, port = split_address(parameters.address, port) if parameters.address else (uri.address, port)
        target = OptionsTarget(key, parameters, host, port)
        if not target.streams:
            self.locate(target)
        return target

    def send(self, ticket: object, prepared: object, timeout: float, now: float) -> Flight:
        assert isinstance(prepared, OptionsTarget)
        if prepared.streams:
            return self._send_stream(ticket, prepared, now)
        return super().send(ticket, prepared, timeout, now)

    def drain(self) -> None:
        for each in self._sockets.values():
            each.drain()

    def lost_since(self, sent_at: float) -> bool:
        return any(each.lost_since(sent_at) for each in self._sockets.values())

    def counters(self) -> Mapping[str, int]:
        return {
            "late": self._late,
            "wrong_source": self._wrong_source,
            "mismatched": self._mismatched,
            "malformed": self._malformed,
            "foreign": self._foreign,
            "undelivered": sum(each.undelivered for each in self._sockets.values()),
            "overflows": sum(each.overflows for each in self._sockets.values()),
        }

    def close(self) -> None:
        super().close()
        for each in self._sockets.values():
            each.close()
        self._sockets.clear()
        self._pending.clear()

    # Sending

    def start(self, ticket: object, target: MassTarget, address: Address, now: float) -> OptionsTransaction:
        assert isinstance(target, OptionsTarget) and target.template is not None
        self._number += 1
        token = b"%b%x" % (self._prefix, self._number)
        branch = COOKIE + token
        transaction = OptionsTransaction(self, ticket, target, address, branch, now)
        transaction.datagram = target.template.render(branch=branch, tag=token, call_id=token)
        self._pending[branch] = transaction
        self.transmit(transaction)
        return transaction

    def transmit(self, transaction: OptionsTransaction) -> None:
        family = socket.AF_INET if len(transaction.address) == 2 else socket.AF_INET6
        code = self._sockets[family].send(transaction.datagram, transaction.address)
        if code and not transaction.done:
            now = time.monotonic()
            if code in OURS:
                self._end(transaction, now, Outcome.VOID, None, 0, f"our own socket: {os.strerror(code)}")
            else:
                self._end(transaction, now, Outcome.TRANSPORT, False, 0, os.strerror(code))

    # Receiving

    def _receive(self, datagram: bytes, address: Address) -> None:
        reply = match_response(datagram)
        if reply is None:
            self._read_stray(datagram, address)
            return
        status, branch, method, cseq, call_id, from_tag = reply
        transaction = self._pending.get(branch)
        if transaction is None:
            if branch.startswith(self._cookie):
                self._late += 1
            else:
                self._foreign += 1
            return
        if address != transaction.address:
            self._wrong_source += 1
            transaction.strayed = f"an answer came from {address[0]}:{address[1]}"
            return
        token = branch[7:]
        if call_id != token or from_tag != token or cseq != 1 or method != b"OPTIONS":
            self._mismatched += 1
            transaction.strayed = "an answer of another dialog on our branch"
            return
        if status < 200:
            transaction.provisional = status
            return
        if status >= 700:
            self._malformed += 1
            transaction.strayed = f"status {status}"
            return
        outcome = OUTCOMES[status]
        up = transaction.target.accepts[status]
        note, values = ("", ()) if outcome is Outcome.UP else self._describe(datagram)
        self._end(transaction, time.monotonic(), outcome, up, status, note, values)

    def _read_stray(self, datagram: bytes, address: Address) -> None:
        """What is no response of SIP: remembered by its source, for the probe that will miss its answer."""
        try:
            parse_message(datagram)
        except SipParseError:
            self._malformed += 1
            if len(self._garbage) >= 10_000:
                self._garbage.clear()
            self._garbage[f"{address[0]}:{address[1]}"] = time.monotonic()
        else:
            self._foreign += 1

    @staticmethod
    def _describe(datagram: bytes) -> tuple[str, Values]:
        """The reason phrase of an answer that isn't 2xx, and its Retry-After in seconds."""
        try:
            response = parse_message(datagram)
        except SipParseError:
            return "", ()
        if not isinstance(response, Response):
            return "", ()
        retry_after = response.retry_after
        if retry_after is None:
            return response.reason, ()
        return f"{response.reason}, retry after {retry_after} s", (("retry_after", retry_after),)

    def _fail(self, datagram: bytes, address: Address, code: int) -> None:
        """The network says a request of ours was not delivered: evidence at once, if it is one still in flight."""
        start = datagram.find(b";branch=") + 8
        transaction = self._pending.get(datagram[start : datagram.find(b"\r\n", start)])
        if transaction is not None and transaction.address[:2] == address[:2]:
            self._end(transaction, time.monotonic(), Outcome.TRANSPORT, False, 0, os.strerror(code))

    # Ends

    def give_up(self, transaction: OptionsTransaction, now: float, void: str) -> None:
        address = transaction.address
        garbage = self._garbage and self._garbage.get(f"{address[0]}:{address[1]}", 0.0)
        if void:
            self._end(transaction, now, Outcome.VOID, None, 0, void)
        elif garbage and garbage >= transaction.sent_at:
            self._end(transaction, now, Outcome.MALFORMED, False, 0, "what came back is no SIP response")
        elif transaction.provisional:
            note = "a provisional response, and no final one"
            self._end(transaction, now, Outcome.NO_REPLY, False, transaction.provisional, note)
        else:
            self._end(transaction, now, Outcome.NO_REPLY, False, 0, transaction.strayed)

    def _end(
        self,
        transaction: OptionsTransaction,
        now: float,
        outcome: Outcome,
        up: bool | None,
        code: int,
        note: str,
        values: Values = (),
    ) -> None:
        self._pending.pop(transaction.branch, None)
        transaction.done = True
        transaction.datagram = b""
        sent_at = transaction.sent_at
        result = ProbeResult(
            transaction.target.key,
            sent_at,
            now,
            outcome,
            up,
            now - sent_at,
            code,
            transaction.sends,
            note,
            values,
        )
        self.deliver(transaction.ticket, transaction.address, result)

    # Streams

    def _send_stream(self, ticket: object, target: OptionsTarget, now: float) -> Flight:
        flight = StreamFlight(self.report, ticket, target.key, now)
        flight.task = self.spawn(self._run_stream(flight, target))
        return flight

    async def _run_stream(self, flight: StreamFlight, target: OptionsTarget) -> None:
        parameters = target.parameters
        assert parameters is not None
        self._number += 1
        token = b"%b%x" % (self._prefix, self._number)

        def request(sent_by: str) -> bytes:
            template = OptionsTemplate(
                uri=parameters.uri,
                sent_by=sent_by,
                transport=parameters.transport.upper(),
                from_uri=parameters.from_uri,
                max_forwards=parameters.max_forwards,
            )
            return template.render(branch=COOKIE + token, tag=token, call_id=token)

        outcome, up, code, note = Outcome.VOID, None, 0, ""
        try:
            response = await exchange(
                target.host,
                target.port,
                parameters.tls if parameters.transport == "tls" else None,
                parameters.tls.server_name or parse_uri(parameters.uri).address,
                request,
                COOKIE + token,
            )
            code = response.status
            outcome, up = OUTCOMES[code], target.accepts[code]
            note = "" if outcome is Outcome.UP else response.reason
        except StreamFailure as failure:
            outcome, up, note = failure.outcome, False, str(failure)
        except Exception as error:
            note = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        flight.end(
            ProbeResult(target.key, flight.sent_at, now, outcome, up, now - flight.sent_at, code, note=note)
        )

    # Addresses

    def located(self, target: MassTarget, addresses: Sequence[Address]) -> None:
        assert isinstance(target, OptionsTarget)
        parameters = target.parameters
        if parameters is not None:
            family = socket.AF_INET if len(addresses[0]) == 2 else socket.AF_INET6
            ours = self._open_socket(family).socket.getsockname()[1]
            target.template = OptionsTemplate(
                uri=parameters.uri,
                sent_by=f"{bracketed(self._local_address(family, addresses[0][0]))}:{ours}",
                from_uri=parameters.from_uri,
                max_forwards=parameters.max_forwards,
            )
            if is_literal(target.host):
                target.parameters = None
        for address in addresses:
            self._open_socket(socket.AF_INET if len(address) == 2 else socket.AF_INET6)
        super().located(target, addresses)

    def _open_socket(self, family: int) -> DatagramSocket:
        shared = self._sockets.get(family)
        if shared is None:
            raw = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            raw.bind(("", 0))
            shared = self._sockets[family] = DatagramSocket(raw, self.loop, self._receive, self._fail)
        return shared

    def _local_address(self, family: int, host: str) -> str:
        """Our address towards a host, as routing has it now; a host without a route gets any of ours."""
        known = self._local.get(host)
        if known is None:
            with socket.socket(family, socket.SOCK_DGRAM) as finder:
                try:
                    finder.connect((host, 9))
                    known = str(finder.getsockname()[0])
                except OSError:
                    return "::1" if family == socket.AF_INET6 else "127.0.0.1"
            self._local[host] = known
        return known
