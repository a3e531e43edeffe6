"""A link whose delay varies."""

import array
import fcntl
import struct
import sys
import time
from dataclasses import dataclass
from typing import Final

from lab.delaying import tap_name
from lab.effects import Fault, expect, expect_soon, lost
from lab.laboratory import Lab
from lab.network import command
from lab.topology import Host, address

SIOCETHTOOL: Final = 0x8946
ETHTOOL_STXCSUM: Final = 0x17
SAMPLES: Final = 40


@dataclass(frozen=True, kw_only=True)
class Jitter(Fault):
    """Each frame for the host comes later by a random time of at most `ms`, and may overtake another; what the host sends is
    not delayed, so that a request and its answer vary by `ms` together."""

    kind = "jitter"
    host: Host = Host.PRIMARY
    ms: int = 50

    def apply(self, lab: Lab) -> None:
        # Its checksums must be in the frames themselves: they pass through a process.
        self._checksums_by_interface(lab, on=False)
        argv = [sys.executable, "-m", "lab.delaying", str(self.host), str(self.ms)]
        log = lab.directory / f"{self._role}.log"
        log.unlink(missing_ok=True)
        lab.processes.start(self._role, Host.SWITCH, argv)
        expect_soon(lambda: log.exists() and "ready" in log.read_text(), f"{self._role} does not start")

    def assert_effect(self, lab: Lab) -> None:
        delays = sorted(_delays(lab, Host.OBSERVER, self.host))
        expect(len(delays) > SAMPLES / 2, f"{SAMPLES - len(delays)} of {SAMPLES} packets do not arrive")
        expect(
            delays[0] < 0.3 * self.ms and 0.6 * self.ms < delays[-1],
            f"{self.host} hears after {delays[0]:.1f} to {delays[-1]:.1f} ms, not 0 to {self.ms}",
        )

    def undo(self, lab: Lab) -> None:
        if self._role in lab.processes.roles():
            lab.processes.kill(self._role)
            lab.processes.forget(self._role)
        command(
            ["ip", "-n", lab.network.namespace(Host.SWITCH), "link", "set", str(self.host), "master", "br0"]
        )
        self._checksums_by_interface(lab, on=True)

    def assert_undone(self, lab: Lab) -> None:
        links = ["ip", "-n", lab.network.namespace(Host.SWITCH), "-brief", "link"]
        expect_soon(
            lambda: tap_name(str(self.host)) not in command(links),
            f"the port of {self.host} is still replaced",
        )
        expect_soon(lambda: lost(lab, 5, Host.OBSERVER, self.host) < 5, f"nothing reaches {self.host}")
        delays = _delays(lab, Host.OBSERVER, self.host)
        expect(bool(delays) and min(delays) < 5, f"{self.host} still hears late")

    @property
    def _role(self) -> str:
        return f"jitter-{self.host}"

    def _checksums_by_interface(self, lab: Lab, *, on: bool) -> None:
        value = array.array("I", [ETHTOOL_STXCSUM, int(on)])
        with lab.network.socket(self.host) as sock:
            fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sP16x", b"eth0", value.buffer_info()[0]))


def _delays(lab: Lab, source: Host, target: Host) -> list[float]:
    """Milliseconds on one way, packet by packet, of those that arrive."""
    found: list[float] = []
    with lab.network.socket(source) as sender, lab.network.socket(target) as receiver:
        receiver.bind((address(target), 0))
        receiver.settimeout(0.2)
        for number in range(SAMPLES):
            sent, text = time.monotonic(), str(number).encode()
            sender.sendto(text, receiver.getsockname())
            try:
                while receiver.recv(16) != text:
                    pass  # one that was given up comes after all
            except TimeoutError:
                continue
            found.append((time.monotonic() - sent) * 1000)
    return found
