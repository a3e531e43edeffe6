"""What a configuration says of Asterisks."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from controller.actions.fields import Line, Port, Seconds, Strict, Word, loopback
from controller.actions.routed import SideParameters, idle_verbs
from controller.model.groups import DriverVerb


class ManagerParameters(Strict):
    """The manager interface of one Asterisk. `timeout`: of one exchange, seconds. The user needs read and write rights
    for `system`, `command`, `reporting` and `call`. `trusted_network`: unencrypted, commands can be read and changed
    on their way, and somebody says that here nobody does."""

    address: Word
    port: Port = 5038
    user: Line
    secret: SecretStr
    tls: bool = False
    ca: str = ""
    trusted_network: bool = False
    timeout: Seconds = 0.25

    @model_validator(mode="after")
    def _private(self) -> Self:
        if not self.tls and not self.trusted_network and not loopback(self.address):
            raise ValueError(f"commands to {self.address} would cross the network unencrypted: set tls")
        if not self.secret.get_secret_value():
            raise ValueError("secret: is empty")
        return self


class AsteriskSideParameters(SideParameters):
    """`trunks`: the names of the outbound registrations (pjsip.conf) that make this side the one that gets calls."""

    manager: ManagerParameters
    trunks: tuple[Word, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.trunks)) < len(self.trunks):
            raise ValueError("trunks: a name is given twice")
        if "*all" in self.trunks:
            raise ValueError("trunks: name each one, *all would take others along")
        return self


class AsteriskParameters(Strict):
    """`sides` are named as in the group. `drain`: `trunks` moves the registrations and counts the calls that are left;
    `stop` also begins a graceful stop, which refuses every new call and ends Asterisk with its last one: it must be
    started again before it can be the standby. `settle`: how long a carrier may take to answer, seconds."""

    sides: dict[str, AsteriskSideParameters] = Field(min_length=2, max_length=2)
    drain: Literal["trunks", "stop"] = "trunks"
    settle: Annotated[float, Field(ge=0.0)] = 0.4

    @property
    def idle_verbs(self) -> frozenset[DriverVerb]:
        return idle_verbs(self.sides.values())

    @property
    def longest(self) -> float:
        """A side that does not answer, and the carrier of the other one."""
        return 2 * max(side.manager.timeout for side in self.sides.values()) + self.settle
