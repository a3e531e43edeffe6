"""The lab's second shape: three controllers over three members of etcd, two platform hosts that hold a virtual address by
their agents, and a caller that dials it. No edges.

    with Ring.create() as ring:
        ring.operator.arm()
        with Holders(ring) as seen, Callers(ring, targets=[VIP]) as callers, inject(ring, AgentStopped()): ...
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from lab import disks, ring_files
from lab.errors import NotAvailable, NotReady
from lab.laboratory import Edge, Lab
from lab.network import command
from lab.operating import Operator
from lab.ring_files import agent_role
from lab.state import StateFile
from lab.store import Store
from lab.topology import MEMBERS, NODES, RING_SHAPE, SIDES, VIP, Host

POSTGRESQL: Final = "postgresql"
STARTING_S: Final = 40.0


class Ring(Lab):
    """`settings.outside_fence`: the switch port of a side can be closed. `settings.postgresql`: the nodes' archive."""

    hosts: ClassVar[Sequence[Host]] = RING_SHAPE

    def __init__(self, file: StateFile) -> None:
        super().__init__(file)
        self.operator = Operator(self.directory)
        self.store = Store(self.network)

    @property
    def edges(self) -> tuple[Edge, ...]:
        return ()

    def arm(self) -> None:
        """Armed, and the address held by the preferred side."""
        self.operator.arm()
        self.wait_holder()

    def wait_holder(self, *, timeout_s: float = 20.0) -> Host:
        """Until the active side's answer comes from the address, and a switch would be permitted."""

        def held() -> Host | None:
            active = self.operator.active()
            response = self.options(Host.OBSERVER, VIP, timeout_s=0.1)
            return active if response is not None and response.side == str(active) else None

        found: Host = self.operator.wait(held, f"{VIP} to be held", timeout_s=timeout_s)
        return found

    def settle(self, *, timeout_s: float = 60.0) -> Host:
        """After a fault was undone: every process runs, the fenced side stands by, and a switch is permitted; returns the
        active side. Raises NotReady."""
        for role in self.processes.roles():
            if not self.processes.alive(role):
                self.processes.restart(role)
        # A node that does not answer could not tell later what it had written before.
        self.operator.wait(
            lambda: len(self.operator.sequences()) == len(NODES), "all nodes to answer", timeout_s=timeout_s
        )
        self.operator.let_back_in(timeout_s=timeout_s)
        side = self.wait_holder(timeout_s=timeout_s)
        try:
            self.operator.wait(self.operator.settled, "the ring to settle", timeout_s=timeout_s)
        except NotReady as error:
            raise NotReady(f"{error}; its group: {self.operator.group()}") from error
        return side

    def start_node(self, node: Host) -> None:
        file = self.directory / "controller.yaml"
        self.processes.start(str(node), node, ring_files.controller_argv(self.name, node, file))

    # Building

    def _up(self) -> None:
        self.network.up()
        self.network.nft(
            Host.SWITCH,
            """table bridge fence {
  set ports { type ifname; }
  chain prerouting { type filter hook prerouting priority -300; iifname @ports drop; }
  chain postrouting { type filter hook postrouting priority 0; oifname @ports drop; }
}
""",
        )
        archive = self._start_postgresql() if self.settings.postgresql else ""
        for member in MEMBERS:
            self.processes.start(str(member), member, ring_files.member_argv(member, self.directory))
        ring_files.issue(self.directory)
        for side in SIDES:
            self._start_side(side)
            file = ring_files.agent_file(side, self.directory, self.directory / f"{side}.cfg")
            argv = [sys.executable, "-m", "controller", "agent", "-c", str(file)]
            self.processes.start(agent_role(side), side, argv)
        self._start_answerers()
        ring_files.controller_file(
            self.directory,
            fences={
                side: (self.fence_argv(side), self.fenced_argv(side), self.unfence_argv(side))
                for side in SIDES
            }
            if self.settings.outside_fence
            else {},
            archive=archive,
        )
        self._wait(lambda: self.store.leader() is not None, "etcd")
        for node in NODES:
            if self.settings.disks:
                disks.make(self.directory, str(node))
            self.start_node(node)
        self.wait_ready()
        try:
            self.operator.leader(timeout_s=STARTING_S)
        except NotReady as error:
            log = (self.directory / f"{NODES[0]}.log").read_text(errors="replace")[-1500:]
            raise NotReady(f"{error}; the log of {NODES[0]} ends:\n{log}") from error

    def _start_postgresql(self) -> str:
        programs = ring_files.postgresql_programs()
        if programs is None:
            raise NotAvailable("the lab needs Debian's postgresql for an archive")
        make, run = ring_files.postgresql_argvs(programs, self.directory)
        command(make)
        ring_files.allow_ring(self.directory)
        self.processes.start(POSTGRESQL, Host.CONTROLLER, run)
        return "postgresql+asyncpg://thirdring@198.18.0.51:5432/postgres"

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + STARTING_S
        while not condition():
            if time.monotonic() > deadline:
                raise NotReady(f"{what} is not ready after {STARTING_S:g} s")
            time.sleep(0.05)
