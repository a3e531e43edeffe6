"""Two platform hosts and a switch as network namespaces, for what an agent does to a real kernel.

The bridge's own namespace is everybody else: the caller, the coordination store, the controller. It hears every frame
with one clock, and sends its requests straight to each host's hardware address, so that who answers is who lets it.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple, TypeVar

from controller.agent.announce import hardware_address, link_socket
from controller.agent.frames import ARP, IPV4, IPV6, arp_request, echo_request, solicitation
from controller.agent.gate import Address

VIP4 = IPv4Address("10.77.0.100")
VIP6 = IPv6Address("fd77::100")
VIPS: tuple[Address, ...] = (VIP4, VIP6)
CALLER4 = IPv4Address("10.77.0.254")
CALLER6 = IPv6Address("fd77::254")
HOSTS = ("a", "b")
ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2", "switch": str(CALLER4)}
ALL_PROTOCOLS = 3
ETCD = (2379).to_bytes(2)

_NUMBERS = itertools.count()
_LIBC = ctypes.CDLL(None, use_errno=True)
Result = TypeVar("Result")


def missing() -> str | None:
    """Why there can be no hosts here."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    for program in ("ip", "nft"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


def command(*argv: str, stdin: str | None = None) -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr or done.stdout}"
    return done.stdout


class Hosts:
    """Up when made; `close` takes everything away."""

    def __init__(self) -> None:
        self.prefix = f"tr{os.getpid()}x{next(_NUMBERS)}"
        self._children: list[subprocess.Popen[bytes]] = []
        command(
            "ip", "-batch", "-", stdin="".join(f"netns add {self.namespace(name)}\n" for name in ADDRESSES)
        )
        lines = "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set lo up\n"
        for host in HOSTS:
            lines += f"link add port-{host} type veth peer name eth0 netns {self.namespace(host)}\n"
            lines += f"link set port-{host} master br0 up\n"
        lines += f"addr add {CALLER4}/24 dev br0\naddr add {CALLER6}/64 dev br0 nodad\nlink set br0 up\n"
        command("ip", "-n", self.namespace("switch"), "-batch", "-", stdin=lines)
        for number, host in enumerate(HOSTS, 1):
            command(
                *("ip", "-n", self.namespace(host), "-batch", "-"),
                stdin="link set lo up\nlink set eth0 up\n"
                f"addr add 10.77.0.{number}/24 dev eth0\naddr add fd77::{number}/64 dev eth0 nodad\n",
            )

    def namespace(self, host: str) -> str:
        return f"{self.prefix}{host}"

    def inside(self, host: str, work: Callable[[], Result]) -> Result:
        """`work` in a thread of its own that is in the host's namespace."""
        results: list[Result] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                with open(f"/run/netns/{self.namespace(host)}", "rb") as handle:
                    assert _LIBC.setns(handle.fileno(), 0x40000000) == 0
                results.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def argv(self, host: str, *argv: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespace(host), *argv]

    def run(self, host: str, *argv: str, stdin: str | None = None) -> str:
        return command(*self.argv(host, *argv), stdin=stdin)

    def start(self, host: str, *argv: str, log: Path) -> subprocess.Popen[bytes]:
        """`ip netns exec` becomes the program itself: the process's number is the program's."""
        with log.open("ab") as output:
            child = subprocess.Popen(
                self.argv(host, *argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children.append(child)
        return child

    def isolate(self, *, isolated: bool) -> None:
        """The two hosts can't reach each other; both reach everybody else."""
        for host in HOSTS:
            state = "on" if isolated else "off"
            self.run("switch", "bridge", "link", "set", "dev", f"port-{host}", "isolated", state)

    def port(self, host: str, *, up: bool) -> None:
        self.run("switch", "ip", "link", "set", f"port-{host}", "up" if up else "down")

    def mac(self, host: str) -> bytes:
        text = self.run(host, "cat", "/sys/class/net/eth0/address")
        return bytes.fromhex(text.strip().replace(":", ""))

    def addresses(self, host: str) -> set[Address]:
        """Which virtual addresses the host has now."""
        text = self.run(host, "ip", "-o", "addr", "show", "dev", "eth0")
        return {address for address in VIPS if f" {address}/" in text}

    def close(self) -> None:
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, 9)
            child.wait()
        for name in ADDRESSES:
            subprocess.run(["ip", "netns", "del", self.namespace(name)], capture_output=True, check=False)

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Reply(NamedTuple):
    """`at`: monotonic seconds at which it was captured. `kind`: "ip4", "ip6", "arp" or "nd"."""

    at: float
    host: str
    kind: str


class Beat(NamedTuple):
    """A heartbeat that was confirmed: monotonic seconds at which its request and its answer were captured."""

    asked: float
    answered: float
    host: str


class Caller:
    """Asks both hosts for both addresses every `gap` seconds, by ping, ARP and neighbour solicitation, in a thread, and
    keeps who answered by the frame's source hardware address. On the same clock: the hosts' heartbeats to etcd."""

    def __init__(self, hosts: Hosts, *, gap: float = 0.002) -> None:
        self.replies: list[Reply] = []
        self.beats: list[Beat] = []
        self._asked: dict[str, float] = {}
        self._gap = gap
        self._macs = {hosts.mac(host): host for host in HOSTS}
        # The kernel's own caller address answers nothing that would disturb: replies only are captured.
        self._link = hosts.inside("switch", lambda: link_socket("br0", ALL_PROTOCOLS))
        self._link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="caller")

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._link.close()

    def since(self, when: float, *, host: str = "") -> list[Reply]:
        """A copy of what was captured from `when` on."""
        found = []
        for reply in reversed(self.replies[:]):
            if reply.at < when:
                break
            if not host or reply.host == host:
                found.append(reply)
        return found[::-1]

    def wait_for(self, host: str, *, timeout: float = 5.0, kinds: int = 4) -> float:
        """Until every kind of reply comes from this host; the time of the last one's first."""
        since = time.monotonic()
        while time.monotonic() < since + timeout:
            found = self.since(since, host=host)
            if len({reply.kind for reply in found}) >= kinds:
                first = {kind: min(r.at for r in found if r.kind == kind) for kind in {r.kind for r in found}}
                return max(first.values())
            time.sleep(0.005)
        raise AssertionError(f"{host} did not answer within {timeout} s")

    def wait_silent(self, host: str, *, quiet: float = 0.2, timeout: float = 5.0) -> float:
        """Until nothing has come from this host for `quiet` seconds; when its last reply came (0.0: none)."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            last = next((reply.at for reply in reversed(self.replies[:]) if reply.host == host), 0.0)
            if time.monotonic() - last > quiet:
                return last
            time.sleep(0.01)
        raise AssertionError(f"{host} still answers after {timeout} s")

    def _run(self) -> None:
        own = hardware_address(self._link)
        questions = [
            frame
            for mac in self._macs
            for frame in (
                echo_request(own, mac, CALLER4, VIP4, 77),
                echo_request(own, mac, CALLER6, VIP6, 77),
                mac + arp_request(own, CALLER4, VIP4)[6:],
                mac + solicitation(own, CALLER6, VIP6)[6:],
            )
        ]
        due = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= due:
                for question in questions:
                    with contextlib.suppress(OSError):
                        self._link.send(question)
                due = max(due + self._gap, now)
            select.select([self._link], [], [], max(0.0, due - time.monotonic()))
            self._drain()

    def _drain(self) -> None:
        while True:
            try:
                frame = self._link.recv(2048)
            except BlockingIOError:
                return
            host = self._macs.get(frame[6:12])
            if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP:
                self._beat(frame, host, self._macs.get(frame[:6]))
                continue
            kind = reply_kind(frame)
            if host is not None and kind:
                self.replies.append(Reply(time.monotonic(), host, kind))

    def _beat(self, frame: bytes, sender: str | None, receiver: str | None) -> None:
        """etcd's gateway in the clear: a transaction's request, and an answer that says it was committed."""
        if sender is not None and frame[36:38] == ETCD and b"/v3/kv/txn" in frame:
            self._asked[sender] = time.monotonic()
        elif receiver is not None and frame[34:36] == ETCD and b'"succeeded":true' in frame:
            asked = self._asked.pop(receiver, None)
            if asked is not None:
                self.beats.append(Beat(asked, time.monotonic(), receiver))


def reply_kind(frame: bytes) -> str:
    """What a frame from a virtual address says; "" for anything else."""
    kind = int.from_bytes(frame[12:14])
    if kind == ARP and frame[28:32] == VIP4.packed:
        return "arp"
    if kind == IPV4 and frame[26:30] == VIP4.packed:
        return "ip4"
    if kind == IPV6 and frame[20] == 58 and frame[54] == 136 and frame[62:78] == VIP6.packed:
        return "nd"
    if kind == IPV6 and frame[22:38] == VIP6.packed:
        return "ip6"
    return ""


def both_answer(replies: Sequence[Reply]) -> list[tuple[Reply, Reply]]:
    """Where the answering host changes and changes back: somebody answered after another had begun to. A hold that
    moves once gives nothing; each pair is (the newer holder's reply, the older one's that came after it)."""
    wrong = []
    order: list[str] = []
    for before, after in itertools.pairwise(replies):
        if before.host != after.host:
            order.append(after.host)
            wrong.append((before, after))
    return wrong[1:] if wrong else []


def oldest_confirmation(replies: Sequence[Reply], beats: Sequence[Beat], host: str) -> float:
    """The longest time from a confirmed heartbeat's request to a reply of that host's which had no newer one behind it."""
    mine = [beat for beat in beats if beat.host == host]
    oldest, index = 0.0, -1
    for reply in replies:
        if reply.host != host:
            continue
        while index + 1 < len(mine) and mine[index + 1].answered <= reply.at:
            index += 1
        assert index >= 0, "a reply before any heartbeat was confirmed"
        oldest = max(oldest, reply.at - mine[index].asked)
    return oldest
