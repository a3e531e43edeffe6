"""Who is in the demo, and under which address. All of 127.0.0.0/8 is loopback on Linux, without any set-up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, Self

from demo_platform.errors import DemoError

CONTROLLER: Final = "127.0.0.1"
"""Where the controller's probes and commands come from; the only one a fenced side and the edge's JSON-RPC answer."""

SET: Final = 1
"""The dispatcher set of the sides: which of them takes calls."""

FENCE_SET: Final = 9
"""The same URIs: a side that is active here is fenced, and the edge drops what comes from it."""

LIVE_CALLS: Final = "side"
"""The dialog profile that counts a side's calls."""

ECHO_USER: Final = "echo"
REGISTER_USER: Final = "probe"
REGISTER_PASSWORD: Final = "demo-probe"
REALM: Final = "demo"
LAYOUT_FILE: Final = "layout.json"


class Role(StrEnum):
    """A process of the platform."""

    EDGE = "edge"
    PRIMARY = "primary"
    BACKUP = "backup"
    ECHO = "echo"
    AGENTS = "agents"


SIDES: Final = (Role.PRIMARY, Role.BACKUP)


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`127.0.0.11:15061`. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
            raise ValueError(f"{text!r} is not HOST:PORT")
        return cls(host, int(port))


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Addresses of SIP over UDP, and of the HTTP ports beside them: the edge's JSON-RPC, the sides' fault switches."""

    edge: Address = Address("127.0.0.10", 15060)
    edge_rpc: Address = Address("127.0.0.10", 18090)
    primary: Address = Address("127.0.0.11", 15061)
    primary_control: Address = Address("127.0.0.11", 18091)
    backup: Address = Address("127.0.0.12", 15061)
    backup_control: Address = Address("127.0.0.12", 18091)
    echo: Address = Address("127.0.0.21", 15062)
    agents: Address = Address("127.0.0.31", 15062)
    callers: Address = Address("127.0.0.41", 15063)
    console: Address = Address("127.0.0.1", 18080)
    pager: Address = Address("127.0.0.1", 18092)

    def sip(self, role: Role) -> Address:
        match role:
            case Role.EDGE:
                return self.edge
            case Role.PRIMARY:
                return self.primary
            case Role.BACKUP:
                return self.backup
            case Role.ECHO:
                return self.echo
            case Role.AGENTS:
                return self.agents

    def control(self, side: Role) -> Address:
        """Where a side's fault switches are. Raises DemoError for what is not a side."""
        match side:
            case Role.PRIMARY:
                return self.primary_control
            case Role.BACKUP:
                return self.backup_control
            case _:
                raise DemoError(f"{side} has no fault switches")

    def uri(self, side: Role) -> str:
        """A side as the dispatcher list writes it, byte for byte."""
        return f"sip:{self.sip(side)}"

    def write(self, directory: Path) -> None:
        (directory / LAYOUT_FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, directory: Path) -> Layout:
        """The layout of the platform that runs in `directory`. Raises DemoError if none was started there."""
        try:
            document: Mapping[str, tuple[str, int]] = json.loads((directory / LAYOUT_FILE).read_text())
        except FileNotFoundError:
            raise DemoError(f"no demo platform was started in {directory}") from None
        return cls(**{name: Address(*value) for name, value in document.items()})
