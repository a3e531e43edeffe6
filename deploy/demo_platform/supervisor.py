"""Starts the platform's processes, waits until they serve, and ends everything it started.

    with Supervisor(Path("var/demo")) as platform:
        platform.start()

Leaving the context ends every process of the directory, the ones a fence started again included.
"""

from __future__ import annotations

import errno
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from demo_platform.errors import AddressInUse, NotReady
from demo_platform.fence import mark
from demo_platform.layout import FENCE_SET, SET, SIDES, Address, Layout, Role
from demo_platform.processes import Processes, python
from lab import sip

READY_S = 15.0
ORDER = (Role.ECHO, Role.AGENTS, Role.PRIMARY, Role.BACKUP, Role.EDGE)


class Supervisor:
    """`fr_timer`: seconds the edge waits for a side's first sign of life; `failure_route`: whether it then tries the other
    side by itself.
    """

    def __init__(
        self,
        directory: Path,
        layout: Layout | None = None,
        *,
        fr_timer: float = 0.3,
        failure_route: bool = False,
    ) -> None:
        self.layout = layout or Layout()
        self.processes = Processes(directory)
        self.directory = self.processes.directory
        self._fr_timer = fr_timer
        self._failure_route = failure_route

    @property
    def list_file(self) -> Path:
        return self.directory / "dispatcher.list"

    def sweep(self) -> list[str]:
        """End what an earlier run left behind in this directory; returns the roles that were still alive."""
        return self.processes.end_all()

    def start(self) -> None:
        """Start everything, the primary active at epoch 1. Raises AddressInUse, NotReady; nothing is left running then."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.layout.write(self.directory)
        for side in SIDES:
            mark(self.directory, side).unlink(missing_ok=True)
        self.list_file.write_text(first_list(self.layout))
        self.check_addresses()
        try:
            for role in ORDER:
                self.processes.log(role).unlink(missing_ok=True)
                self.processes.start(role, self.argv(role))
            for role in ORDER:
                self.wait_ready(role)
        except BaseException:
            self.stop()
            raise

    def check_addresses(self) -> None:
        """Raises AddressInUse, naming every address of the layout that another program holds."""
        layout = self.layout
        datagrams = [layout.sip(role) for role in Role]
        datagrams += [layout.callers, Address(layout.callers.host, layout.callers.port + 1)]
        streams = [layout.edge_rpc, *(layout.control(side) for side in SIDES), layout.console, layout.pager]
        taken = [f"udp {a}" for a in datagrams if _taken(a, socket.SOCK_DGRAM)]
        taken += [f"tcp {a}" for a in streams if _taken(a, socket.SOCK_STREAM)]
        if taken:
            raise AddressInUse(
                f"in use by another program: {', '.join(taken)} (`ss -lnptu` tells which; end it and try again)"
            )

    def restart(self, role: Role) -> None:
        """End a process, if it lives, and start it again. A side whose fence stands comes up fenced."""
        self.processes.end(role)
        self.processes.start(role, self.argv(role))
        self.wait_ready(role)

    def stop(self) -> None:
        """End every process of the directory."""
        self.processes.end_all()

    def argv(self, role: Role) -> list[str]:
        """The command line of a process."""
        layout = self.layout
        listen = ("--listen", str(layout.sip(role)))
        match role:
            case Role.EDGE:
                route = ("--failure-route",) if self._failure_route else ()
                return python(
                    "demo_platform.edge",
                    *listen,
                    *("--rpc", str(layout.edge_rpc)),
                    *("--list-file", str(self.list_file)),
                    *("--fr-timer", str(self._fr_timer)),
                    *route,
                )
            case Role.PRIMARY | Role.BACKUP:
                return python(
                    "demo_platform.side",
                    *("--name", role.value),
                    *listen,
                    *("--control", str(layout.control(role))),
                    *("--echo", str(layout.echo)),
                    *("--agents", str(layout.agents)),
                    *("--fence-mark", str(mark(self.directory, role))),
                )
            case Role.ECHO | Role.AGENTS:
                return python("demo_platform.echo", *listen)

    def wait_ready(self, role: Role) -> None:
        """Until it answers OPTIONS. Raises AddressInUse, NotReady."""
        address = self.layout.sip(role)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.processes.exit_status(role) is not None or not self.processes.alive(role):
                lines = self.processes.log(role).read_text().splitlines() or ["it said nothing"]
                kind = AddressInUse if "in use" in lines[-1] else NotReady
                raise kind(f"the {role} did not start: {lines[-1]}")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                if sip.exchange(sock, "OPTIONS", "", address, timeout_s=0.1) is not None:
                    return
            time.sleep(0.02)
        raise NotReady(f"the {role} did not answer at {address} within {READY_S:g} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def first_list(layout: Layout) -> str:
    """The dispatcher list a platform begins with: the primary active, nobody fenced, epoch 1."""
    primary, backup = layout.uri(Role.PRIMARY), layout.uri(Role.BACKUP)
    return (
        f"{SET} {primary} 0 10 epoch=1\n{SET} {backup} 4 5 epoch=1\n"
        f"{FENCE_SET} {primary} 4 0 epoch=1\n{FENCE_SET} {backup} 4 0 epoch=1\n"
    )


def _taken(address: Address, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as sock:
        if kind is socket.SOCK_STREAM:
            # As servers do: connections of an earlier run that are still being wound up don't count.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False
