"""What an OPTIONS probe is told of a target, keeps of it, and keeps of each request to it."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import Field

from controller.model.health import RungKey
from controller.probes.answers import AnswerPolicy, accepted
from controller.probes.datagrams import Address
from controller.probes.mass import MassTarget
from controller.probes.parameters import HostPort, SipUri, Strict
from controller.probes.sip_stream import TlsSettings
from controller.sip.options import OptionsTemplate


class OptionsParameters(Strict):
    """`address` is where to send, when it isn't what the URI names. A name is probed at every address it has, and
    is up when all are (`require: all`) or one is (`any`). NAPTR and SRV records are not looked up."""

    uri: SipUri
    address: HostPort = ""
    transport: Literal["udp", "tcp", "tls"] = "udp"
    policy: AnswerPolicy = AnswerPolicy.STRICT
    accept: frozenset[int] = frozenset()
    qualify_2xx_only: bool = False
    require: Literal["all", "any"] = "all"
    from_uri: SipUri = "sip:thirdring@invalid"
    max_forwards: int = Field(default=70, ge=0, le=255)
    tls: TlsSettings = TlsSettings()


class OptionsTarget(MassTarget):
    __slots__ = ("accepts", "parameters", "template")

    def __init__(self, key: RungKey, parameters: OptionsParameters, host: str, port: int) -> None:
        super().__init__(key, host, port, require_all=parameters.require == "all")
        self.accepts = accepted(parameters.policy, parameters.accept, only_2xx=parameters.qualify_2xx_only)
        self.template: OptionsTemplate | None = None
        # Kept only as long as something is still to be made of them.
        self.parameters: OptionsParameters | None = parameters

    @property
    def streams(self) -> bool:
        return self.parameters is not None and self.parameters.transport != "udp"


class Carrier(Protocol):
    """What sends a transaction's copies and ends it."""

    def transmit(self, transaction: OptionsTransaction) -> None: ...

    def give_up(self, transaction: OptionsTransaction, now: float, void: str) -> None: ...


class OptionsTransaction:
    """One request to one address (ports.Flight)."""

    __slots__ = (
        "address",
        "branch",
        "datagram",
        "done",
        "probe",
        "provisional",
        "sends",
        "sent_at",
        "strayed",
        "target",
        "ticket",
    )

    def __init__(
        self,
        probe: Carrier,
        ticket: object,
        target: OptionsTarget,
        address: Address,
        branch: bytes,
        now: float,
    ) -> None:
        self.probe = probe
        self.ticket = ticket
        self.target = target
        self.address = address
        self.branch = branch
        self.datagram = b""
        self.sent_at = now
        self.sends = 1
        self.provisional = 0
        self.strayed = ""  # an answer that could not be taken: what was wrong with it
        self.done = False

    def resend(self, now: float) -> None:
        if not self.done and not self.provisional:
            self.sends += 1
            self.probe.transmit(self)

    def give_up(self, now: float, void: str) -> None:
        if not self.done:
            self.probe.give_up(self, now, void)
