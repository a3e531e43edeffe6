"""What a configuration says of FreeSWITCHes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from controller.actions.fields import Port, Seconds, Strict, Word, loopback
from controller.actions.routed import SideParameters, idle_verbs
from controller.model.groups import DriverVerb

SHIPPED_PASSWORD = "ClueCon"


class SocketParameters(Strict):
    """The event socket of one FreeSWITCH; it knows no encryption. `trusted_network`: the password and the commands can be
    read and changed on their way, and somebody says that here nobody does; else reach it by loopback or a tunnel.
    `timeout`: of one exchange, seconds."""

    address: Word
    port: Port = 8021
    password: SecretStr
    trusted_network: bool = False
    timeout: Seconds = 0.25

    @model_validator(mode="after")
    def _private(self) -> Self:
        if not self.trusted_network and not loopback(self.address):
            raise ValueError(
                f"the password would cross the network unencrypted: {self.address} is no loopback"
            )
        secret = self.password.get_secret_value()
        if not secret or secret == SHIPPED_PASSWORD:
            raise ValueError("password: is the one everybody knows" if secret else "password: is empty")
        if "\n" in secret or "\r" in secret:
            raise ValueError("password: holds a line break")
        return self


class GatewayParameters(Strict):
    """A gateway of a SIP profile."""

    profile: Word
    gateway: Word

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.gateway == "all":
            raise ValueError("gateway: name each one, all would take others along")
        return self


class FreeswitchSideParameters(SideParameters):
    """`gateways`: those whose registration makes this side the one that gets calls. `recover`: after taking over, calls
    of the old side are brought back (`fsctl recover`): needs track-calls on both, a database they share and the same
    address, and the old side must be dead, which its fence is for."""

    socket: SocketParameters
    gateways: tuple[GatewayParameters, ...] = Field(min_length=1)
    recover: bool = False

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [gateway.gateway for gateway in self.gateways]
        if len(set(names)) < len(names):
            raise ValueError("gateways: a name is given twice")
        return self


class FreeswitchParameters(Strict):
    """`sides` are named as in the group. `drain`: `trunks` moves the registrations and counts the calls that are left;
    `pause` also refuses new calls and registrations of phones, while OPTIONS are still answered 200: a dispatcher in
    front goes on sending. `settle`: how long a carrier may take to answer, seconds."""

    sides: dict[str, FreeswitchSideParameters] = Field(min_length=2, max_length=2)
    drain: Literal["trunks", "pause"] = "trunks"
    settle: Annotated[float, Field(ge=0.0)] = 0.4

    @property
    def idle_verbs(self) -> frozenset[DriverVerb]:
        return idle_verbs(self.sides.values()) - (
            {DriverVerb.PROMOTE} if any(side.recover for side in self.sides.values()) else set()
        )

    @property
    def longest(self) -> float:
        """A side that does not answer, and the carrier of the other one."""
        return 2 * max(side.socket.timeout for side in self.sides.values()) + self.settle
