"""A lab: two edges, two sides of a platform, those who answer, a caller and a controller's place, on one switch.

with Lab.create() as lab:
    lab.options(Host.CONTROLLER, address(Host.PRIMARY))      # a Response, or None
    lab.rpc(Host.EDGE1, "dispatcher.list")
    engine = lab.popen(Host.CONTROLLER, ["thirdring", "run", "-c", "lab.yaml"])
"""

import atexit
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from lab import disks, kamailio, sip, sipp
from lab import state as states
from lab.arrivals import Arrival, read_arrivals
from lab.errors import LabError, NotAvailable, NotReady
from lab.kamailio import Destination, Rpc
from lab.network import Network
from lab.processes import Processes
from lab.state import State, StateFile
from lab.topology import ANSWERERS, EDGE_SHAPE, EDGES, RPC_PORT, SIDES, SIP_PORT, Host, address

PACKAGES: Final = {
    "kamailio": "kamailio",
    "sipp": "sip-tester",
    "ip": "iproute2",
    "nft": "nftables",
    "keepalived": "keepalived",
    "sysctl": "procps",
}
ARRIVALS: Final = "arrivals"


@dataclass(frozen=True, kw_only=True)
class LabSettings:
    """`both_sides_active`: the edges' own failure_route may use the backup with no controller; otherwise only the primary
    is active at first. `fr_timer_ms`: how long an edge waits for a side. `epoch` is in the dispatcher list at the start.

    Of a ring alone: `outside_fence`, whether its controllers may close a side's port at the switch; `postgresql`, whether
    they have one for their archive; `disks`, whether each node's data is on a small disk of its own, to be filled or frozen.
    """

    both_sides_active: bool = False
    fr_timer_ms: int = 1000
    epoch: int = 1
    outside_fence: bool = False
    postgresql: bool = False
    disks: bool = False


@dataclass(frozen=True, kw_only=True)
class Edge:
    """What a controller must know of an edge. JSON-RPC answers only the controller's address."""

    host: Host
    address: str
    rpc_url: str
    list_file: Path


def missing() -> str | None:
    """Why no lab can run here, or None."""
    if os.geteuid() != 0:
        return "the lab needs root (network namespaces)"
    packages = sorted({package for tool, package in PACKAGES.items() if shutil.which(tool) is None})
    return f"the lab needs Debian's {', '.join(packages)}" if packages else None


class Lab:
    """One lab, made by this process or attached to. Leaving the context takes it down if this process made it."""

    hosts: ClassVar[Sequence[Host]] = EDGE_SHAPE

    def __init__(self, file: StateFile) -> None:
        state = file.read()
        self.name = state.name
        self.settings = LabSettings(**state.settings)
        self.state = file
        self.directory = file.directory
        self.network = Network(state.prefix, self.hosts)
        self.processes = Processes(self.network, file)
        self._owned = False

    @classmethod
    def create(
        cls, settings: LabSettings | None = None, *, name: str | None = None, persist: bool = False
    ) -> Self:
        """Build a lab and wait until calls can be placed; labs whose owner died are taken down first.

        `persist`: it outlives this process, until `down`. Raises NotAvailable, NotReady, CommandFailed, and LabError
        if a lab of this name exists.
        """
        if (reason := missing()) is not None:
            raise NotAvailable(reason)
        sweep()
        name = name or f"lab-{secrets.token_hex(2)}"
        file = StateFile(name)
        state = State(
            name=name,
            prefix=f"tr-{name}",
            settings=asdict(settings or LabSettings()),
            owner=None if persist else (os.getpid(), states.started(os.getpid()) or 0),
        )
        try:
            file.create(state)
        except FileExistsError as error:
            raise LabError(f"a lab called {name} exists: take it down first") from error
        lab = cls(file)
        lab._owned = not persist
        atexit.register(lab._at_exit, os.getpid())
        try:
            lab._up()
        except BaseException:
            lab.down()
            raise
        if persist:
            lab._owned = False
            atexit.unregister(lab._at_exit)
        return lab

    @classmethod
    def attach(cls, name: str) -> Self:
        """The running lab of this name. Raises LabError if there is none."""
        file = StateFile(name)
        if not file.exists():
            raise LabError(f"no lab called {name}; there are: {', '.join(states.recorded()) or 'none'}")
        return cls(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned:
            self.down()

    def down(self) -> None:
        """End every process, remove every namespace and the record. Safe to repeat."""
        atexit.unregister(self._at_exit)
        if self.state.exists():
            self.processes.kill_all()
            disks.unmount_all(self.directory)
            self.network.down()
            self.state.remove()

    def _at_exit(self, pid: int) -> None:
        if os.getpid() == pid:  # not in a forked child
            self.down()

    # Hosts and processes

    def edge(self, host: Host) -> Edge:
        return Edge(
            host=host,
            address=address(host),
            rpc_url=f"http://{address(host)}:{RPC_PORT}/",
            list_file=self.directory / f"{host}.list",
        )

    @property
    def edges(self) -> tuple[Edge, ...]:
        return tuple(self.edge(host) for host in EDGES)

    def exec_argv(self, host: Host, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on a host."""
        return self.network.exec_argv(host, argv)

    def popen(
        self, host: Host, argv: Sequence[str], *, environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """A process of the caller's own on a host, leader of its own group; the caller ends it. Text streams."""
        return subprocess.Popen(
            self.exec_argv(host, argv),
            start_new_session=True,
            text=True,
            env=os.environ | dict(environment or {}),
            **options,
        )

    # Probes of the lab itself, to check faults by

    def options(
        self, source: Host, target: str, *, user: str = "", timeout_s: float = 0.3
    ) -> sip.Response | None:
        """One OPTIONS from a host to an address: its final response, or None within the time."""
        with self.network.socket(source) as sock:
            return sip.exchange(sock, "OPTIONS", user, (target, SIP_PORT), timeout_s=timeout_s)

    def invite(
        self, source: Host, target: str, *, user: str = "agent", timeout_s: float = 1.0
    ) -> sip.Response | None:
        """One INVITE, ended at once if answered: its final response, or None within the time."""
        with self.network.socket(source) as sock:
            return sip.exchange(sock, "INVITE", user, (target, SIP_PORT), timeout_s=timeout_s)

    def rpc(self, host: Host, method: str, *params: str | int, epoch: int | None = None) -> Any:
        """A JSON-RPC command: to an edge as the controller, to a side as itself. Raises RpcRefused, NotReady."""
        source = host if host in SIDES else Host.CONTROLLER
        return Rpc(address(host), lambda: self.network.socket(source, socket.SOCK_STREAM)).call(
            method, *params, epoch=epoch
        )

    def reply_counters(self, edge: Host) -> dict[Host, dict[str, int]]:
        """What each side answered at this edge since its start; see kamailio.reply_counters."""
        return kamailio.reply_counters(self.rpc(edge, "htable.dump", "n"))

    def dispatcher_flags(self, edge: Host) -> dict[Host, str]:
        """The flags of each side at this edge: A, T, I or D first, then P or X."""
        by_uri = {Destination(side=side, active=True, priority=0, epoch=0).uri: side for side in SIDES}
        flags = {}
        for record in self.rpc(edge, "dispatcher.list")["RECORDS"]:
            for target in record["SET"]["TARGETS"]:
                flags[by_uri[target["DEST"]["URI"]]] = target["DEST"]["FLAGS"]
        return flags

    def set_active(self, side: Host, *, epoch: int) -> None:
        """A bare switch of both edges, without a controller: list file, then set_state (the old side off first)."""
        for edge in EDGES:
            destinations = self._destinations(active=(side,), epoch=epoch)
            self._write_list(edge, destinations)
            for destination in sorted(destinations, key=lambda d: d.active):
                self.rpc(
                    edge,
                    "dispatcher.set_state",
                    "a" if destination.active else "d",
                    1,
                    destination.uri,
                    epoch=epoch,
                )

    def arrivals(self) -> list[Arrival]:
        """Every INVITE that reached the agents' host so far."""
        return read_arrivals(self._arrivals_file)

    @property
    def _arrivals_file(self) -> Path:
        return self.directory / "arrivals.jsonl"

    # An outside fence: the switch port passes nothing of the side but its talk with the controller

    def fence_argv(self, side: Host) -> list[str]:
        """The command that fences a side at the switch, in about 5 ms. Repeating it is harmless."""
        return self.exec_argv(
            Host.SWITCH, ["nft", "add", "element", "bridge", "fence", "ports", f"{{ {side} }}"]
        )

    def unfence_argv(self, side: Host) -> list[str]:
        """The command that lifts the fence; it fails if the side is not fenced."""
        return self.exec_argv(
            Host.SWITCH, ["nft", "delete", "element", "bridge", "fence", "ports", f"{{ {side} }}"]
        )

    def fenced_argv(self, side: Host) -> list[str]:
        """The command that reads the fence back: exit code 0 if the side is fenced, else 1."""
        return self.exec_argv(
            Host.SWITCH, ["nft", "get", "element", "bridge", "fence", "ports", f"{{ {side} }}"]
        )

    def fenced(self, host: Host) -> bool:
        """Whether the fence at the switch is closed for the host now."""
        return (
            subprocess.run(self.fenced_argv(host), capture_output=True, timeout=5, check=False).returncode
            == 0
        )

    # Building

    def _up(self) -> None:
        self.network.up()
        self.network.nft(
            Host.SWITCH,
            f"""table bridge fence {{
  set ports {{ type ifname; }}
  chain forward {{
    type filter hook forward priority 0;
    iifname @ports ip daddr != {address(Host.CONTROLLER)} drop;
    oifname @ports ip saddr != {address(Host.CONTROLLER)} drop;
  }}
}}
""",
        )
        for side in SIDES:
            self._start_side(side)
        active = SIDES if self.settings.both_sides_active else (Host.PRIMARY,)
        for edge in EDGES:
            self._write_list(edge, self._destinations(active=active, epoch=self.settings.epoch))
            configuration = kamailio.edge_configuration(
                edge, list_file=self.edge(edge).list_file, fr_timer_ms=self.settings.fr_timer_ms
            )
            self._start_kamailio(edge, configuration)
        self._start_answerers()
        self.wait_ready()

    def _start_side(self, side: Host) -> None:
        settings = {
            "net.ipv4.ip_nonlocal_bind": "1",
            "net.ipv4.ip_forward": "1",
            "net.ipv4.conf.all.send_redirects": "0",
            "net.ipv4.conf.eth0.send_redirects": "0",
        }
        self.network.sysctl(side, settings)
        self.network.nft(side, kamailio.media_relay(side))
        self._start_kamailio(side, kamailio.platform_configuration(side))

    def _start_answerers(self) -> None:
        for who in ANSWERERS:
            self.processes.start(who.user, who.host, sipp.answerer_argv(who))
        self.processes.start(
            ARRIVALS,
            Host.AGENTS,
            [sys.executable, "-m", "lab.arrivals", str(self._arrivals_file)],
        )

    def _destinations(self, *, active: Sequence[Host], epoch: int) -> list[Destination]:
        return [
            Destination(side=side, active=side in active, priority=priority, epoch=epoch)
            for side, priority in zip(SIDES, (10, 5), strict=True)
        ]

    def _write_list(self, edge: Host, destinations: Sequence[Destination]) -> None:
        path = self.edge(edge).list_file
        scratch = path.with_suffix(".new")
        scratch.write_text("".join(destination.line() for destination in destinations))
        scratch.replace(path)

    def _start_kamailio(self, host: Host, configuration: str) -> None:
        path = self.directory / f"{host}.cfg"
        path.write_text(configuration)
        self.processes.start(str(host), host, kamailio.argv(path))

    def wait_ready(self, hosts: Sequence[Host] | None = None, *, timeout_s: float = 15.0) -> None:
        """Wait until every address of the hosts (all that speak SIP, if None) answers OPTIONS with 200."""
        speakers = [(host, address(host), "") for host in (*SIDES, *EDGES) if host in self.hosts]
        speakers += [(who.host, who.address, who.user) for who in ANSWERERS]
        waiting = [speaker for speaker in speakers if hosts is None or speaker[0] in hosts]
        deadline = time.monotonic() + timeout_s
        while waiting:
            host, target, user = waiting[0]
            response = self.options(Host.OBSERVER, target, user=user, timeout_s=0.1)
            if response is not None and response.status == 200:
                waiting.pop(0)
                continue
            if time.monotonic() > deadline:
                log = self.directory / f"{user or host}.log"
                tail = log.read_text(errors="replace")[-800:] if log.exists() else "no log"
                raise NotReady(
                    f"{user or host} at {target} is not ready after {timeout_s} s; its log ends:\n{tail}"
                )
            time.sleep(0.02)
        while hosts is None and not self._arrivals_file.exists():
            if time.monotonic() > deadline:
                raise NotReady(f"INVITEs at the agents are not seen after {timeout_s} s")
            time.sleep(0.02)


def sweep() -> list[str]:
    """Take down every lab whose owner died without doing so; returns their names."""
    with states.sweeping():
        names = states.abandoned()
        for name in names:
            Lab.attach(name).down()
    return names
