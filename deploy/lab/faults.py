"""Faults to put into a lab. Each asserts its own effect, and that it is gone afterwards.

    with inject(lab, ProcessStopped(side=Host.PRIMARY)) as injected:
        ...                             # injected.applied_at: monotonic seconds, just before it was put in

A fault is a value: what to break. What was put in is on disk before it acts, so that `clear` undoes it from any process,
also after a crash. Undoing is idempotent and heals: a side that something killed meanwhile (a fence) is started again.
"""

import signal
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from lab import ring_faults
from lab.effects import Fault, expect, expect_soon, hears, lost, restart_if_dead, speaks
from lab.errors import CommandFailed, EffectMissing, LabError
from lab.jitter import Jitter
from lab.laboratory import Lab
from lab.network import command
from lab.topology import ANSWERERS, Host, address, answerer


class Direction(StrEnum):
    """Which way sound is lost."""

    TO_CALLER = "to_caller"
    TO_ANSWERER = "to_answerer"


@dataclass(frozen=True, kw_only=True)
class LinkCut(Fault):
    """The host's switch port goes down: it runs on, alone."""

    kind = "link_cut"
    host: Host = Host.PRIMARY

    def apply(self, lab: Lab) -> None:
        lab.network.port(self.host, up=False)

    def assert_effect(self, lab: Lab) -> None:
        expect(not lab.network.carrier(self.host), f"{self.host} still has a link")
        expect(lost(lab, 5, self._source(), self.host) == 5, f"packets still reach {self.host}")

    def undo(self, lab: Lab) -> None:
        lab.network.port(self.host, up=True)

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: lab.network.carrier(self.host), f"{self.host} has no link")
        # What fenced it meanwhile at the switch lets it back in later.
        expect_soon(
            lambda: lab.fenced(self.host) or lost(lab, 5, self._source(), self.host) < 5,
            f"nothing reaches {self.host}",
        )

    def _source(self) -> Host:
        """A place to send from; the controller's is the one that a fence at the switch lets through."""
        return Host.OBSERVER if self.host is Host.CONTROLLER else Host.CONTROLLER


@dataclass(frozen=True, kw_only=True)
class HostDead(Fault):
    """Power off: every process of the host killed and its link down. Undone, the host boots and starts them again."""

    kind = "host_dead"
    host: Host = Host.PRIMARY

    def apply(self, lab: Lab) -> None:
        lab.network.port(self.host, up=False)
        for role in self._roles(lab):
            lab.processes.send(role, signal.SIGKILL)

    def assert_effect(self, lab: Lab) -> None:
        for role in self._roles(lab):
            expect_soon(lambda role=role: not lab.processes.alive(role), f"{role} still lives", within_s=2)  # type: ignore[misc]
        LinkCut(host=self.host).assert_effect(lab)

    def undo(self, lab: Lab) -> None:
        lab.network.port(self.host, up=True)
        for role in self._roles(lab):
            restart_if_dead(lab, role)

    def assert_undone(self, lab: Lab) -> None:
        LinkCut(host=self.host).assert_undone(lab)
        for role in self._roles(lab):
            expect(lab.processes.alive(role), f"{role} does not live")

    def _roles(self, lab: Lab) -> list[str]:
        return [role for role, record in lab.state.read().processes.items() if record.host == self.host]


@dataclass(frozen=True, kw_only=True)
class ProcessKilled(Fault):
    """kill -9 of the side's whole process group. Undone, the side is started again."""

    kind = "process_killed"
    side: Host = Host.PRIMARY

    def apply(self, lab: Lab) -> None:
        lab.processes.send(str(self.side), signal.SIGKILL)

    def assert_effect(self, lab: Lab) -> None:
        expect_soon(lambda: not lab.processes.alive(str(self.side)), f"{self.side} still lives", within_s=2)
        expect(not hears(lab, self.side, self.side), f"{self.side} still answers")

    def undo(self, lab: Lab) -> None:
        restart_if_dead(lab, str(self.side))

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: hears(lab, self.side, self.side), f"{self.side} does not answer")


@dataclass(frozen=True, kw_only=True)
class ProcessStopped(Fault):
    """SIGSTOP to the side's whole process group: its port is open, packets queue in the kernel. Undone by SIGCONT, after
    which it works off what has queued.
    """

    kind = "process_stopped"
    side: Host = Host.PRIMARY

    def apply(self, lab: Lab) -> None:
        lab.processes.send(str(self.side), signal.SIGSTOP)

    def assert_effect(self, lab: Lab) -> None:
        expect_soon(lambda: lab.processes.stopped(str(self.side)), f"{self.side} is not stopped", within_s=2)
        expect(not hears(lab, self.side, self.side), f"{self.side} still answers")

    def undo(self, lab: Lab) -> None:
        lab.processes.send(str(self.side), signal.SIGCONT)
        restart_if_dead(lab, str(self.side))

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: hears(lab, self.side, self.side), f"{self.side} does not answer")


@dataclass(frozen=True, kw_only=True)
class Zombie(Fault):
    """The side answers OPTIONS with 200 and refuses every INVITE with 503."""

    kind = "zombie"
    side: Host = Host.PRIMARY

    def apply(self, lab: Lab) -> None:
        lab.rpc(self.side, "pv.shvSet", "zombie", "int", 1)

    def assert_effect(self, lab: Lab) -> None:
        expect(hears(lab, self.side, self.side), f"{self.side} does not answer OPTIONS")
        response = lab.invite(self.side, address(self.side))
        expect(
            response is not None and response.status == 503, f"{self.side} does not refuse INVITE with 503"
        )

    def undo(self, lab: Lab) -> None:
        restart_if_dead(lab, str(self.side))
        lab.processes.send(
            str(self.side), signal.SIGCONT
        )  # its host's agent may have stopped it with a fence
        lab.rpc(self.side, "pv.shvSet", "zombie", "int", 0)

    def assert_undone(self, lab: Lab) -> None:
        expect(hears(lab, self.side, self.side), f"{self.side} does not answer OPTIONS")
        expect(lab.rpc(self.side, "pv.shvGet", "zombie")["value"] == 0, f"{self.side} still refuses calls")


@dataclass(frozen=True, kw_only=True)
class OneWayRtp(Fault):
    """Calls through the side are answered; sound passes in one direction only."""

    kind = "one_way_rtp"
    side: Host = Host.PRIMARY
    direction: Direction = Direction.TO_CALLER

    def apply(self, lab: Lab) -> None:
        ends = {Direction.TO_CALLER: ("saddr", "sport"), Direction.TO_ANSWERER: ("daddr", "dport")}
        who, port = ends[self.direction]
        addresses = ", ".join(a.address for a in ANSWERERS)
        ports = ", ".join(str(a.rtp_port) for a in ANSWERERS)
        lab.network.nft(
            self.side,
            f"""table ip fault_one_way {{
  counter passed {{ }}
  chain forward {{
    type filter hook forward priority 0;
    ip {who} {{ {addresses} }} udp {port} {{ {ports} }} counter drop;
    ip protocol udp counter name passed;
  }}
}}
""",
        )

    def assert_effect(self, lab: Lab) -> None:
        before = self._passed(lab)
        expect(_echoes(lab, self.side) == 0, f"sound still comes back through {self.side}")
        passed = self._passed(lab) > before
        expect(
            passed is (self.direction is Direction.TO_CALLER),
            f"sound towards the answerer {'passes' if passed else 'is lost too'} at {self.side}",
        )

    def undo(self, lab: Lab) -> None:
        lab.network.drop_nft_table(self.side, "ip fault_one_way")

    def assert_undone(self, lab: Lab) -> None:
        expect(_echoes(lab, self.side) > 0, f"no sound comes back through {self.side}")

    def _passed(self, lab: Lab) -> int:
        """How many RTP packets the side has forwarded in the other direction since the fault was put in."""
        argv = lab.exec_argv(self.side, ["nft", "list", "counter", "ip", "fault_one_way", "passed"])
        try:
            words = command(argv).split()
        except CommandFailed as error:
            raise EffectMissing(f"no rule drops sound at {self.side}: {error}") from error
        return int(words[words.index("packets") + 1])


@dataclass(frozen=True, kw_only=True)
class ProbePath(Fault):
    """The controller can't reach the side; the edges, and so the callers, can."""

    kind = "probe_path"
    side: Host = Host.PRIMARY

    def apply(self, lab: Lab) -> None:
        lab.network.nft(
            self.side,
            f"""table ip fault_probe_path {{
  chain prerouting {{
    type filter hook prerouting priority -300;
    ip saddr {address(Host.CONTROLLER)} drop;
  }}
}}
""",
        )

    def assert_effect(self, lab: Lab) -> None:
        expect(not hears(lab, Host.CONTROLLER, self.side), f"the controller still reaches {self.side}")
        expect_soon(lambda: hears(lab, Host.EDGE1, self.side), f"the edge does not reach {self.side}")

    def undo(self, lab: Lab) -> None:
        lab.network.drop_nft_table(self.side, "ip fault_probe_path")

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(
            lambda: hears(lab, Host.CONTROLLER, self.side), f"the controller does not reach {self.side}"
        )


@dataclass(frozen=True, kw_only=True)
class EdgeRestarted(Fault):
    """The edge is killed and, `down_s` later, started: it has forgotten every set_state, its epoch and its counters."""

    kind = "edge_restarted"
    edge: Host = Host.EDGE1
    down_s: float = 0.0

    def apply(self, lab: Lab) -> None:
        lab.processes.kill(str(self.edge))
        time.sleep(self.down_s)
        lab.processes.restart(str(self.edge))

    def assert_effect(self, lab: Lab) -> None:
        expect_soon(lambda: speaks(lab, self.edge), f"{self.edge} does not come up")
        uptime = int(lab.rpc(self.edge, "core.uptime")["uptime"])
        expect(uptime <= 3, f"{self.edge} has been up for {uptime} s")
        # Whoever watches the edges may re-assert the state at once, so that the epoch read here may be its epoch again.

    def undo(self, lab: Lab) -> None:
        restart_if_dead(lab, str(self.edge))

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: speaks(lab, self.edge), f"{self.edge} does not answer")


@dataclass(frozen=True, kw_only=True)
class EchoDown(Fault):
    """A test destination is dead; the platform and the agents are well."""

    kind = "echo_down"
    user: str = "echo1"

    def apply(self, lab: Lab) -> None:
        lab.processes.send(self.user, signal.SIGKILL)

    def assert_effect(self, lab: Lab) -> None:
        expect_soon(lambda: not lab.processes.alive(self.user), f"{self.user} still lives", within_s=2)
        expect(not self._answers(lab), f"{self.user} still answers")

    def undo(self, lab: Lab) -> None:
        restart_if_dead(lab, self.user)

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: self._answers(lab), f"{self.user} does not answer")

    def _answers(self, lab: Lab) -> bool:
        response = lab.options(Host.OBSERVER, answerer(self.user).address, user=self.user, timeout_s=0.2)
        return response is not None and response.status == 200


@dataclass(frozen=True, kw_only=True)
class Stall(Fault):
    """The side's process group stops for `seconds` and goes on by itself: a pause, not a failure."""

    kind = "stall"
    side: Host = Host.PRIMARY
    seconds: float = 0.8

    def apply(self, lab: Lab) -> None:
        lab.processes.send(str(self.side), signal.SIGSTOP)
        timer = threading.Timer(self.seconds, lab.processes.send, (str(self.side), signal.SIGCONT))
        timer.daemon = True
        timer.start()

    def assert_effect(self, lab: Lab) -> None:
        """Blocks until the stall is over."""
        response = lab.options(self.side, address(self.side), timeout_s=self.seconds + 1)
        expect(response is not None, f"{self.side} does not go on after its stall")
        assert response is not None
        expect(
            response.elapsed_ms > self.seconds * 500,
            f"{self.side} answered after {response.elapsed_ms:.0f} ms of a stall of {self.seconds} s",
        )

    def undo(self, lab: Lab) -> None:
        lab.processes.send(str(self.side), signal.SIGCONT)
        restart_if_dead(lab, str(self.side))

    def assert_undone(self, lab: Lab) -> None:
        expect_soon(lambda: hears(lab, self.side, self.side), f"{self.side} does not answer")


@dataclass(frozen=True, kw_only=True)
class PacketLoss(Fault):
    """The switch drops IPv4 packets at random, `per_mille` of a thousand, between all hosts."""

    kind = "packet_loss"
    per_mille: int = 10

    def apply(self, lab: Lab) -> None:
        # By nft, as the kernel may lack netem.
        lab.network.nft(
            Host.SWITCH,
            f"""table bridge fault_loss {{
  chain forward {{
    type filter hook forward priority 0;
    ether type ip numgen random mod 1000 < {self.per_mille} counter drop;
  }}
}}
""",
        )

    def assert_effect(self, lab: Lab) -> None:
        # 3,000 packets at 1 % lose 30, give or take 5.4: a fifth of that and three times that are 4 sigma away.
        missing, expected = lost(lab, 3000, Host.OBSERVER, Host.CALLER), 3 * self.per_mille
        expect(
            expected / 5 <= missing <= expected * 3,
            f"{missing} of 3000 packets were lost, {expected} expected",
        )

    def undo(self, lab: Lab) -> None:
        lab.network.drop_nft_table(Host.SWITCH, "bridge fault_loss")

    def assert_undone(self, lab: Lab) -> None:
        expect(lost(lab, 300, Host.OBSERVER, Host.CALLER) == 0, "packets are still lost")


KINDS: Final[Mapping[str, type[Fault]]] = {
    kind.kind: kind
    for kind in (
        LinkCut,
        HostDead,
        ProcessKilled,
        ProcessStopped,
        Zombie,
        OneWayRtp,
        ProbePath,
        EdgeRestarted,
        EchoDown,
        Stall,
        PacketLoss,
        Jitter,
        *ring_faults.KINDS,
    )
}


@dataclass(frozen=True, kw_only=True)
class Injected:
    """A fault in place. Monotonic seconds: just before it was put in, once it was, and when its effect was asserted."""

    fault: Fault
    applied_at: float
    acted_at: float
    asserted_at: float


def make(kind: str, parameters: Mapping[str, object]) -> Fault:
    """The fault of this kind; parameters may be text, as from a command line. Raises LabError on a wrong one."""
    if kind not in KINDS:
        raise LabError(f"no fault called {kind}; there are: {', '.join(KINDS)}")
    wanted = {field.name: field.type for field in fields(KINDS[kind])}  # type: ignore[arg-type]
    values: dict[str, object] = {}
    for name, value in parameters.items():
        convert = wanted.get(name)
        if not isinstance(convert, type):
            raise LabError(f"{kind} has no {name}; it has: {', '.join(wanted)}")
        try:
            values[name] = convert(value)
        except ValueError as error:
            raise LabError(f"{kind}: {name} can't be {value}: {error}") from error
    return KINDS[kind](**values)


@contextmanager
def inject(lab: Lab, fault: Fault, *, asserted: bool = True) -> Iterator[Injected]:
    """Put a fault in, assert its effect, and in the end undo it and assert that. Raises EffectMissing.

    `asserted` False: neither is looked at, for a fault beside another that may hide it.
    """
    with lab.state.change() as state:
        state.faults.append(fault.record())
    try:
        applied_at = time.monotonic()
        fault.apply(lab)
        acted_at = time.monotonic()
        if asserted:
            fault.assert_effect(lab)
        yield Injected(fault=fault, applied_at=applied_at, acted_at=acted_at, asserted_at=time.monotonic())
    finally:
        _undo(lab, fault, asserted=asserted)


def clear(lab: Lab) -> list[Fault]:
    """Undo every fault on record, the last one first."""
    faults = [make(record.kind, record.parameters) for record in reversed(lab.state.read().faults)]
    for fault in faults:
        _undo(lab, fault)
    return faults


def _undo(lab: Lab, fault: Fault, *, asserted: bool = True) -> None:
    fault.undo(lab)
    if asserted:
        fault.assert_undone(lab)
    record = fault.record()
    with lab.state.change() as state:
        if record in state.faults:
            state.faults.remove(record)


def _echoes(lab: Lab, side: Host) -> int:
    """How many of ten RTP packets sent through the side to the agents come back."""
    who = answerer("agent")
    with lab.network.socket(Host.OBSERVER) as sock:
        sock.settimeout(0.2)
        for sequence in range(10):
            packet = struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, 0xFFFFFFFF) + b"\xff" * 160
            sock.sendto(packet, (address(side), who.rtp_port))
        heard = 0
        try:
            while heard < 10:
                sock.recv(2048)
                heard += 1
        except TimeoutError:
            pass  # silence is a result here
    return heard
