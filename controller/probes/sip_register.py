"""REGISTER: proves registrar, authentication and its database."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from pydantic import Field, SecretStr, model_validator

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.model.moments import Values
from controller.probes.answers import OUTCOMES
from controller.probes.parameters import HostPort, SipUri, Strict, split_address
from controller.probes.sip_line import SipLine, resolve
from controller.sip.digest import Credentials
from controller.sip.errors import SipParseError
from controller.sip.register import (
    Registered,
    Registration,
    RegistrationOutcome,
    RegistrationOutput,
    RegistrationPlan,
)
from controller.sip.transactions import Send, Timers
from controller.sip.uri import parse_uri


class SipRegisterParameters(Strict):
    """`registrar` is the Request-URI. Without `contact` the bindings are asked for and nothing changes; with it, it is
    registered for `expires` seconds and calls will go there. `expect_challenge`: a registrar that lets us in without a
    password is a finding."""

    registrar: SipUri
    aor: SipUri
    address: HostPort = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    contact: str = ""
    expires: int = Field(default=60, ge=0)
    expect_challenge: bool = False
    local_address: str = ""

    @model_validator(mode="after")
    def _credentials(self) -> SipRegisterParameters:
        if self.password.get_secret_value() and not self.username:
            raise ValueError("a password without a username")
        return self


class SipRegister:
    """ports.Probe."""

    Parameters = SipRegisterParameters
    mass = False
    values: ClassVar[Mapping[str, str]] = {"challenged": "bool", "granted": "int", "bindings": "int"}

    def __init__(self, parameters: SipRegisterParameters) -> None:
        self._parameters = parameters
        uri = parse_uri(parameters.registrar)
        self._host, self._port = (
            split_address(parameters.address, 5060) if parameters.address else (uri.address, uri.port or 5060)
        )
        # One registration over its whole life, so that a binding is refreshed and not multiplied.
        self._token = secrets.token_hex(12)
        self._sequence = 1

    async def run(self, key: RungKey, timeout: float) -> ProbeResult:
        sent_at = time.monotonic()
        loop = asyncio.get_running_loop()
        line: SipLine | None = None
        malformed = 0
        try:
            async with asyncio.timeout(timeout):
                peer = await resolve(loop, self._host, self._port)
            line = SipLine(loop, peer, self._parameters.local_address)
            registration = Registration(
                self._plan(line, max(0.01, timeout - (time.monotonic() - sent_at))),
                token=self._token,
                first_sequence=self._sequence,
            )
            registered = await self._drive(line, registration)
            self._sequence = registration.next_sequence
            malformed = line.malformed
            failure = line.failure
        except TimeoutError:
            return self._result(key, sent_at, Outcome.NO_REPLY, note=f"{self._host} was not resolved in time")
        except OSError as error:
            return self._result(key, sent_at, Outcome.TRANSPORT, note=error.strerror or str(error))
        finally:
            if line is not None:
                line.close()
        return self._judge(key, sent_at, registered, failure, malformed)

    async def close(self) -> None:
        pass

    def _plan(self, line: SipLine, timeout: float) -> RegistrationPlan:
        parameters = self._parameters
        password = parameters.password.get_secret_value()
        plan = RegistrationPlan(
            registrar=parameters.registrar,
            aor=parameters.aor,
            sent_by=line.sent_by,
            expires=parameters.expires,
            credentials=Credentials(username=parameters.username, password=password)
            if parameters.username
            else None,
            timers=Timers(deadline=timeout),
        )
        return replace(plan, contact=parameters.contact) if parameters.contact else plan

    async def _drive(self, line: SipLine, registration: Registration) -> Registered:
        now = time.monotonic()
        self._send(line, registration.start(now))
        while registration.result is None:
            deadline = registration.next_deadline
            arrived = await line.next(None if deadline is None else max(0.0, deadline - now))
            now = time.monotonic()
            if arrived is not None and arrived[1][:2] == line.peer[:2]:
                self._send(line, registration.receive(arrived[0], now))
            if line.failure:
                registration.fail(line.failure, now)
            else:
                self._send(line, registration.wake(now))
        return registration.result

    @staticmethod
    def _send(line: SipLine, outputs: list[RegistrationOutput]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                line.send(output.datagram)

    def _judge(
        self, key: RungKey, sent_at: float, registered: Registered, failure: str, malformed: int
    ) -> ProbeResult:
        response = registered.response
        code = 0 if response is None else response.status
        sends = max(1, registered.attempts)
        values: Values = (("challenged", registered.challenged), ("granted", registered.granted))
        try:
            bindings = 0 if response is None else len(response.contacts)
        except SipParseError:
            bindings = 0
        values = (*values, ("bindings", bindings))
        match registered.outcome:
            case RegistrationOutcome.REGISTERED:
                if self._parameters.expect_challenge and not registered.challenged:
                    outcome, note = Outcome.FAILED, "let in without a password"
                else:
                    outcome, note = Outcome.UP, ""
            case RegistrationOutcome.UNAUTHORIZED:
                outcome = Outcome.UP_AUTH if code in (401, 407) else Outcome.ERROR
                note = "our credentials are refused"
            case RegistrationOutcome.REJECTED:
                outcome, note = OUTCOMES[code], "" if response is None else response.reason
            case RegistrationOutcome.NO_REPLY:
                outcome = Outcome.MALFORMED if malformed else Outcome.NO_REPLY
                note = "what came back is no SIP response" if malformed else ""
            case RegistrationOutcome.TRANSPORT:
                outcome, note = Outcome.TRANSPORT, failure
        return self._result(key, sent_at, outcome, code=code, sends=sends, note=note, values=values)

    @staticmethod
    def _result(
        key: RungKey,
        sent_at: float,
        outcome: Outcome,
        *,
        code: int = 0,
        sends: int = 1,
        note: str = "",
        values: Values = (),
    ) -> ProbeResult:
        now = time.monotonic()
        up = outcome is Outcome.UP
        return ProbeResult(key, sent_at, now, outcome, up, now - sent_at, code, sends, note, values)
