"""What a configuration says of a group switched by HAProxy's runtime API."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from controller.actions.fields import Seconds, Strict, Word
from controller.actions.routed import SideParameters, idle_verbs
from controller.model.groups import DriverVerb


def _socket(text: str) -> str:
    if text.startswith("/"):
        return text
    host, _, port = text.rpartition(":")
    try:
        loopback = ip_address(host.strip("[]")).is_loopback
    except ValueError:
        raise ValueError(f"{text!r} is neither an absolute path nor ADDRESS:PORT") from None
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r}: {port!r} is no port")
    if not loopback:
        raise ValueError(
            f"{text}: the runtime API asks nobody who they are: reach it by loopback or a tunnel"
        )
    return text


class Standby(StrEnum):
    MAINT = "maint"  # no new connection at all; HAProxy stops its health checks
    DRAIN = "drain"  # health checks go on; a stick table or cookie may still lead new connections there


class EdgeParameters(Strict):
    """`socket`: the runtime API with `level admin`, a path or a loopback ADDRESS:PORT. `state_file`: the edge's
    `server-state-file`, on a disk that both see: without it a reload puts every server back as configured. `epochs`: a
    map of the edge's configuration, named as there, that keeps the epoch for people and a second controller to see."""

    socket: Annotated[str, AfterValidator(_socket)]
    epochs: Word | None = None
    state_file: Path | None = None

    @model_validator(mode="after")
    def _absolute(self) -> Self:
        if self.state_file is not None and not self.state_file.is_absolute():
            raise ValueError("state_file: an absolute path")
        return self


class HaproxyParameters(Strict):
    """`edges` and `sides` are named as in the group; a side's destination is BACKEND/SERVER. `standby`: how the side
    that is not active is kept out. `close_connections`: a side that is taken out loses the connections it has; otherwise
    callers go on sending their new calls over them. `settle`: how long a server may take to be up; `timeout`: of one
    command, seconds."""

    edges: dict[str, EdgeParameters] = Field(min_length=1)
    sides: dict[str, SideParameters] = Field(min_length=2, max_length=2)
    standby: Standby = Standby.MAINT
    close_connections: bool = True
    timeout: Seconds = 0.3
    settle: Annotated[float, Field(ge=0.0)] = 0.3

    @property
    def idle_verbs(self) -> frozenset[DriverVerb]:
        return idle_verbs(self.sides.values())

    @property
    def longest(self) -> float:
        """A connection and a command without an answer, and a server that comes up."""
        return 2 * self.timeout + self.settle
