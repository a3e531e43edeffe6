"""Hosts as network namespaces on one bridge that itself lives in a namespace: nothing reaches the machine's own network.

Needs root. All commands are bounded in time.
"""

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lab.errors import CommandFailed
from lab.topology import ADDRESSES, EDGE_SHAPE, PREFIX_LENGTH, Host

NAMESPACES: Final = Path("/run/netns")
CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def command(argv: Sequence[str], *, stdin: str | None = None) -> str:
    """Run a system command and return its output. Raises CommandFailed."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(argv)}: no end within {error.timeout} s") from error
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Network:
    """The namespaces and links of one lab. A host's namespace is `<prefix>-<host>`; its switch port has the host's name.

    `hosts`: who is in it, besides the switch. It takes down whatever there is of any shape.
    """

    def __init__(self, prefix: str, hosts: Sequence[Host] = EDGE_SHAPE) -> None:
        self.prefix = prefix
        self.hosts = tuple(hosts)

    def namespace(self, host: Host) -> str:
        return f"{self.prefix}-{host}"

    def namespaces(self) -> tuple[str, ...]:
        return tuple(self.namespace(host) for host in Host)

    def existing(self) -> tuple[str, ...]:
        """Which of this lab's namespaces exist now."""
        return tuple(name for name in self.namespaces() if (NAMESPACES / name).exists())

    def inode(self, host: Host) -> int:
        """Identifies the namespace: /proc/PID/ns/net of each process in it has the same number."""
        return (NAMESPACES / self.namespace(host)).stat().st_ino

    def up(self) -> None:
        """Make every namespace, the bridge, the links and the addresses."""
        switch = self.namespace(Host.SWITCH)
        names = [switch, *(self.namespace(host) for host in self.hosts)]
        command(["ip", "-batch", "-"], stdin="".join(f"netns add {name}\n" for name in names))
        ports = "".join(
            f"link add {host} type veth peer name eth0 netns {self.namespace(host)}\n"
            f"link set {host} master br0 up\n"
            for host in self.hosts
        )
        bridge = "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br0 up\n"
        command(["ip", "-n", switch, "-batch", "-"], stdin=bridge + ports)
        for host in self.hosts:
            lines = "link set lo up\nlink set eth0 up\n" + "".join(
                f"addr add {address}/{PREFIX_LENGTH} dev eth0\n" for address in ADDRESSES[host]
            )
            command(["ip", "-n", self.namespace(host), "-batch", "-"], stdin=lines)

    def down(self) -> None:
        """Remove whatever of this lab exists; the links go with their namespaces."""
        for name in self.existing():
            command(["ip", "netns", "del", name])

    def port(self, host: Host, *, up: bool) -> None:
        """Switch the host's port on the switch up or down; the host loses carrier with it."""
        command(["ip", "-n", self.namespace(Host.SWITCH), "link", "set", str(host), "up" if up else "down"])

    def isolate(self, hosts: Sequence[Host], *, isolated: bool) -> None:
        """Whether these hosts can't reach each other; all of them reach everybody else."""
        for host in hosts:
            state = "on" if isolated else "off"
            command(
                self.exec_argv(Host.SWITCH, ["bridge", "link", "set", "dev", str(host), "isolated", state])
            )

    def hardware_address(self, host: Host) -> bytes:
        text = command(self.exec_argv(host, ["cat", "/sys/class/net/eth0/address"]))
        return bytes.fromhex(text.strip().replace(":", ""))

    def carrier(self, host: Host) -> bool:
        """Whether the host's interface has a link."""
        return "LOWER_UP" in command(["ip", "-n", self.namespace(host), "link", "show", "dev", "eth0"])

    def sysctl(self, host: Host, settings: dict[str, str]) -> None:
        argv = ["sysctl", "-q", "-w", *(f"{key}={value}" for key, value in settings.items())]
        command(self.exec_argv(host, argv))

    def nft(self, host: Host, script: str) -> str:
        """Run an nft script in the host's namespace and return its output."""
        return command(self.exec_argv(host, ["nft", "-f", "-"]), stdin=script)

    def nft_list(self, host: Host) -> str:
        return command(self.exec_argv(host, ["nft", "list", "ruleset"]))

    def drop_nft_table(self, host: Host, table: str) -> None:
        """Delete a table ("family name") whether it exists or not."""
        self.nft(host, f"table {table}\ndelete table {table}\n")

    def exec_argv(self, host: Host, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in the host's namespace."""
        return ["ip", "netns", "exec", self.namespace(host), *argv]

    def socket(
        self, host: Host, kind: int = socket.SOCK_DGRAM, family: int = socket.AF_INET, protocol: int = 0
    ) -> socket.socket:
        """A socket that belongs to the host's namespace, whichever namespace this process is in."""
        made: list[socket.socket] = []
        failed: list[OSError] = []

        # setns changes one thread only: a thread that ends at once leaves the rest of the process where it is.
        def make() -> None:
            try:
                handle = os.open(NAMESPACES / self.namespace(host), os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if _LIBC.setns(handle, CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                finally:
                    os.close(handle)
                made.append(socket.socket(family, kind, protocol))
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=make, name=f"setns-{host}")
        thread.start()
        thread.join()
        if failed:
            raise CommandFailed(f"socket in {self.namespace(host)}: {failed[0]}") from failed[0]
        return made[0]
