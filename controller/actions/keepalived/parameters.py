"""What a configuration says of a group switched by keepalived's track files."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from controller.actions.fields import Argv, Seconds, Strict
from controller.actions.routed import SideParameters, idle_verbs
from controller.model.groups import DriverVerb

FAULT = -254
"""A number that takes a VRRP instance out altogether, whatever its priority and `nopreempt` (keepalived.conf(5))."""


def _address(text: str) -> str:
    return str(ip_address(text))


Number = Annotated[int, Field(ge=FAULT, le=-FAULT)]


class KeepalivedSideParameters(SideParameters):
    """`write`: puts its standard input, a number and a line feed, into the side's track file. `show`: prints the side's
    addresses as `ip -j addr` does. Both run where the controller is: they go to the side's host by themselves, or by its
    agent. `refused`: exit statuses of `write` that mean no, such as an epoch (THIRDRING_EPOCH) that is too old."""

    write: Argv
    show: Argv
    refused: tuple[Annotated[int, Field(ge=1, le=255)], ...] = ()


class KeepalivedParameters(Strict):
    """`address`: the virtual one. The track file is of weight 1; a side holds the address with the number `active` and
    never with FAULT, which it gets before the other side is made active. `standby`: its number after that. With FAULT
    nobody but the controller moves the address; with a lesser one keepalived does as well, past every fence.
    `timeout`: of one command; `settle`: how long VRRP may take, seconds."""

    address: Annotated[str, AfterValidator(_address)]
    sides: dict[str, KeepalivedSideParameters] = Field(min_length=2, max_length=2)
    active: Number = 0
    standby: Number = FAULT
    timeout: Seconds = 0.5
    settle: Annotated[float, Field(ge=0.0)] = 0.6

    @property
    def idle_verbs(self) -> frozenset[DriverVerb]:
        return idle_verbs(self.sides.values())

    @property
    def longest(self) -> float:
        """A side that does not answer, one that lets go, and one that takes over."""
        return 2 * (self.timeout + self.settle)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not FAULT <= self.standby < self.active:
            raise ValueError("standby must be less than active, or the side that stands by takes the address")
        return self
