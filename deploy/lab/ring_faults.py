"""Faults of a ring: its nodes, its members of etcd, its agents, and who of it can reach whom."""

import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lab import disks, ring_files
from lab.effects import Fault, expect, expect_soon, lost, restart_if_dead
from lab.laboratory import Lab
from lab.store import Store
from lab.topology import MEMBERS, NODES, SIDES, Host, address


@dataclass(frozen=True, kw_only=True)
class RoleKilled(Fault):
    """kill -9 of a process group by its role ("ring1", "etcd2", "agent-primary", "postgresql"). Undone, it is started."""

    kind = "role_killed"
    role: str = str(Host.RING1)

    def apply(self, lab: Lab) -> None:
        lab.processes.send(self.role, signal.SIGKILL)

    def assert_effect(self, lab: Lab) -> None:
        expect_soon(lambda: not lab.processes.alive(self.role), f"{self.role} still lives", within_s=2)

    def undo(self, lab: Lab) -> None:
        restart_if_dead(lab, self.role)

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: lab.processes.alive(self.role), f"{self.role} does not live")


@dataclass(frozen=True, kw_only=True)
class RoleStopped(Fault):
    """SIGSTOP of a process group by its role, and SIGCONT."""

    kind = "role_stopped"
    role: str = str(Host.RING1)

    def apply(self, lab: Lab) -> None:
        lab.processes.send(self.role, signal.SIGSTOP)

    def assert_effect(self, lab: Lab) -> None:
        expect_soon(lambda: lab.processes.stopped(self.role), f"{self.role} is not stopped", within_s=2)

    def undo(self, lab: Lab) -> None:
        lab.processes.send(self.role, signal.SIGCONT)
        restart_if_dead(lab, self.role)

    def assert_undone(self, lab: Lab) -> None:
        expect(not lab.processes.stopped(self.role), f"{self.role} is still stopped")


@dataclass(frozen=True, kw_only=True)
class HostsCut(Fault):
    """The two platform hosts can't reach each other; everybody else reaches both."""

    kind = "hosts_cut"

    def apply(self, lab: Lab) -> None:
        lab.network.isolate(SIDES, isolated=True)

    def assert_effect(self, lab: Lab) -> None:
        expect(lost(lab, 5, *SIDES) == 5, "the hosts still reach each other")
        for side in SIDES:
            expect(lost(lab, 20, Host.OBSERVER, side) < 20, f"nobody reaches {side}")

    def undo(self, lab: Lab) -> None:
        lab.network.isolate(SIDES, isolated=False)

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: lost(lab, 5, *SIDES) < 5, "the hosts do not reach each other")


class Way(StrEnum):
    """What of a host's link is lost, as the host sees it."""

    SENT = "sent"
    RECEIVED = "received"


@dataclass(frozen=True, kw_only=True)
class LinkOneWay(Fault):
    """The switch loses what the host sends, or what is sent to it."""

    kind = "link_one_way"
    host: Host = Host.PRIMARY
    way: Way = Way.SENT

    def apply(self, lab: Lab) -> None:
        hook, port = {Way.SENT: ("prerouting", "iifname"), Way.RECEIVED: ("postrouting", "oifname")}[self.way]
        lab.network.nft(
            Host.SWITCH,
            f"""table bridge fault_one_way_link {{
  chain lose {{
    type filter hook {hook} priority -200;
    {port} "{self.host}" drop;
  }}
}}
""",
        )

    def assert_effect(self, lab: Lab) -> None:
        ends = (self.host, Host.OBSERVER)
        gone = ends if self.way is Way.SENT else ends[::-1]
        expect(lost(lab, 5, *gone) == 5, f"what {self.host} should lose still passes")

    def undo(self, lab: Lab) -> None:
        lab.network.drop_nft_table(Host.SWITCH, "bridge fault_one_way_link")

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: lost(lab, 5, Host.OBSERVER, self.host) < 5, f"nothing reaches {self.host}")


@dataclass(frozen=True, kw_only=True)
class NodesCut(Fault):
    """No node of the ring reaches the side; etcd, its peer and the callers do."""

    kind = "nodes_cut"
    side: Host = Host.PRIMARY

    def apply(self, lab: Lab) -> None:
        nodes = ", ".join(address(node) for node in NODES)
        lab.network.nft(
            Host.SWITCH,
            f"""table bridge fault_nodes_cut {{
  chain forward {{
    type filter hook forward priority 0;
    oifname "{self.side}" ip saddr {{ {nodes} }} drop;
    iifname "{self.side}" ip daddr {{ {nodes} }} drop;
  }}
}}
""",
        )

    def assert_effect(self, lab: Lab) -> None:
        for node in NODES:
            expect(lost(lab, 5, node, self.side) == 5, f"{node} still reaches {self.side}")
        expect(lost(lab, 20, Host.OBSERVER, self.side) < 20, f"nobody reaches {self.side}")

    def undo(self, lab: Lab) -> None:
        lab.network.drop_nft_table(Host.SWITCH, "bridge fault_nodes_cut")

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: lost(lab, 5, NODES[0], self.side) < 5, f"no node reaches {self.side}")


@dataclass(frozen=True, kw_only=True)
class StoreDown(Fault):
    """All members of etcd are killed; undone, they start again with what they had."""

    kind = "store_down"

    def apply(self, lab: Lab) -> None:
        for member in MEMBERS:
            lab.processes.send(str(member), signal.SIGKILL)

    def assert_effect(self, lab: Lab) -> None:
        expect(Store(lab.network).leader() is None, "etcd still answers")

    def undo(self, lab: Lab) -> None:
        for member in MEMBERS:
            if not lab.processes.alive(str(member)):
                lab.processes.restart(str(member))

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: Store(lab.network).leader() is not None, "etcd has no leader", within_s=15)


@dataclass(frozen=True, kw_only=True)
class StoreFull(Fault):
    """etcd's NOSPACE alarm is up: it answers reads and refuses every write."""

    kind = "store_full"

    def apply(self, lab: Lab) -> None:
        Store(lab.network).alarm(MEMBERS[0], on=True)

    def assert_effect(self, lab: Lab) -> None:
        expect_soon(lambda: not Store(lab.network).writable(), "etcd still takes writes", within_s=2)

    def undo(self, lab: Lab) -> None:
        Store(lab.network).alarm(MEMBERS[0], on=False)

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: Store(lab.network).writable(), "etcd takes no writes")


@dataclass(frozen=True, kw_only=True)
class Both(Fault):
    """Two process groups are killed at the same moment. Undone, both are started."""

    kind = "both_killed"
    first: str = str(Host.RING1)
    second: str = str(Host.PRIMARY)

    def apply(self, lab: Lab) -> None:
        for role in self._roles:
            lab.processes.send(role, signal.SIGKILL)

    def assert_effect(self, lab: Lab) -> None:
        for role in self._roles:
            RoleKilled(role=role).assert_effect(lab)

    def undo(self, lab: Lab) -> None:
        for role in self._roles:
            restart_if_dead(lab, role)

    def assert_undone(self, lab: Lab) -> None:
        for role in self._roles:
            RoleKilled(role=role).assert_undone(lab)

    @property
    def _roles(self) -> Sequence[str]:
        return self.first, self.second


@dataclass(frozen=True, kw_only=True)
class RestartLoop(Fault):
    """The side dies each `every_s` seconds, and is started again at once, `times` times."""

    kind = "restart_loop"
    side: Host = Host.PRIMARY
    every_s: float = 0.8
    times: int = 4

    def apply(self, lab: Lab) -> None:
        threading.Thread(target=self._loop, args=(lab,), name=f"restart-loop-{self.side}").start()

    def assert_effect(self, lab: Lab) -> None:
        before = lab.processes.record(str(self.side)).pid
        expect_soon(
            lambda: lab.processes.record(str(self.side)).pid != before, f"{self.side} is not restarted"
        )

    def undo(self, lab: Lab) -> None:
        """It ends by itself; waits for that."""
        for thread in threading.enumerate():
            if thread.name == f"restart-loop-{self.side}":
                thread.join()
        restart_if_dead(lab, str(self.side))

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: lab.processes.alive(str(self.side)), f"{self.side} does not live")

    def _loop(self, lab: Lab) -> None:
        for _ in range(self.times):
            lab.processes.restart(str(self.side))
            time.sleep(self.every_s)


@dataclass(frozen=True, kw_only=True)
class TwinStarted(Fault):
    """A second controller under a node's name, with data of its own: a copy of a machine, or a mistaken start."""

    kind = "twin_started"
    node: Host = Host.RING1

    def apply(self, lab: Lab) -> None:
        file = ring_files.twin_file(lab.directory, TWIN)
        lab.processes.start(TWIN, self.node, ring_files.controller_argv(lab.name, self.node, file))

    def assert_effect(self, lab: Lab) -> None:
        expect_soon(
            lambda: (lab.directory / TWIN / "control").exists(), "the twin does not start", within_s=15
        )

    def undo(self, lab: Lab) -> None:
        if TWIN in lab.processes.roles():
            lab.processes.kill(TWIN)
            lab.processes.forget(TWIN)
        shutil.rmtree(lab.directory / TWIN, ignore_errors=True)

    def assert_undone(self, lab: Lab) -> None:
        expect(TWIN not in lab.processes.roles(), "the twin still runs")


@dataclass(frozen=True, kw_only=True)
class DiskFull(Fault):
    """Nothing can be written to the node's disk (a lab with `disks`)."""

    kind = "disk_full"
    node: Host = Host.RING1

    def apply(self, lab: Lab) -> None:
        disks.fill(lab.directory / str(self.node))

    def assert_effect(self, lab: Lab) -> None:
        left = shutil.disk_usage(lab.directory / str(self.node)).free
        expect(left < 4096, f"{left} octets are left on the disk of {self.node}")

    def undo(self, lab: Lab) -> None:
        disks.empty(lab.directory / str(self.node))

    def assert_undone(self, lab: Lab) -> None:
        expect(shutil.disk_usage(lab.directory / str(self.node)).free > 1 << 20, "the disk is still full")


@dataclass(frozen=True, kw_only=True)
class DiskFrozen(Fault):
    """Whoever writes to the node's disk waits (a lab with `disks`)."""

    kind = "disk_frozen"
    node: Host = Host.RING1

    def apply(self, lab: Lab) -> None:
        disks.freeze(lab.directory / str(self.node), frozen=True)

    def assert_effect(self, lab: Lab) -> None:
        """Nothing to look at without waiting with the others."""
        expect(
            lab.directory / str(self.node) in disks.mounted(lab.directory),
            f"{self.node} has no disk of its own",
        )

    def undo(self, lab: Lab) -> None:
        disks.freeze(lab.directory / str(self.node), frozen=False)

    def assert_undone(self, lab: Lab) -> None:
        (lab.directory / str(self.node) / "thawed").write_text("")


KINDS: Final = (
    RoleKilled,
    RoleStopped,
    HostsCut,
    LinkOneWay,
    NodesCut,
    StoreDown,
    StoreFull,
    Both,
    RestartLoop,
    TwinStarted,
    DiskFull,
    DiskFrozen,
)

TWIN: Final = "twin"
