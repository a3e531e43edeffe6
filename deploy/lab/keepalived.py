"""The set-up to compare with: keepalived on both sides, one virtual address, a SIP check each second.

    with KeepalivedPair(lab) as pair:
        with Callers(lab, targets=[VIP]) as callers: ...

The callers dial the virtual address directly; the edges and the controller have no part in it.
"""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from lab.errors import NotReady
from lab.kamailio import render
from lab.laboratory import Lab
from lab.network import command
from lab.topology import SIDES, VIP, Host, address

PRIORITIES: Final = {Host.PRIMARY: 150, Host.BACKUP: 100}


class KeepalivedPair:
    """`advert_s`: the VRRP advertisement interval in seconds (1 is keepalived's default; VRRPv3 allows 0.01 to 40).

    `preempt`: whether the primary takes the address back when it is healthy again (keepalived's default).
    """

    def __init__(self, lab: Lab, *, advert_s: float = 1.0, preempt: bool = True) -> None:
        self._lab = lab
        self._advert_s = advert_s
        self._preempt = preempt

    def start(self, *, timeout_s: float = 15.0) -> None:
        """Returns when the primary, and only it, holds the address and a SIP request to the address is answered."""
        for side in SIDES:
            self._lab.processes.start(self._role(side), side, self._argv(side))
        self.wait_holder(Host.PRIMARY, timeout_s=timeout_s)

    def stop(self) -> None:
        """End both; neither side holds the address afterwards."""
        for side in SIDES:
            self._lab.processes.kill(self._role(side), first=signal.SIGTERM)
            self._lab.processes.forget(self._role(side))
            if side in self.holders():
                # It was killed by a fault, not ended: then nobody took the address away.
                command(
                    ["ip", "-n", self._lab.network.namespace(side), "addr", "del", f"{VIP}/15", "dev", "eth0"]
                )

    def holders(self) -> tuple[Host, ...]:
        """Which sides have the address on their interface; two is a split brain."""
        return tuple(
            side
            for side in SIDES
            if f" {VIP}/"
            in command(["ip", "-n", self._lab.network.namespace(side), "-4", "addr", "show", "eth0"])
        )

    def wait_holder(self, side: Host, *, timeout_s: float = 15.0) -> None:
        """Wait until `side` alone holds the address and calls through it are served by it. Raises NotReady."""
        self._wait(lambda: self.holders() == (side,) and self._served_by() == str(side), timeout_s, side)

    def _served_by(self) -> str | None:
        response = self._lab.options(Host.OBSERVER, VIP, timeout_s=0.1)
        return None if response is None else response.side

    def _wait(self, condition: Callable[[], bool], timeout_s: float, side: Host) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise NotReady(f"{side} does not get {VIP}; it is on {self.holders() or 'nobody'}")
            time.sleep(0.05)

    def _role(self, side: Host) -> str:
        return f"keepalived-{side}"

    def _argv(self, side: Host) -> list[str]:
        directory = self._lab.directory
        check = directory / f"check-{side}"
        check.write_text(
            f"#!/bin/sh\nexec {sys.executable} -I -S {Path(__file__).with_name('check_sip.py')} {address(side)}\n"
        )
        check.chmod(0o700)
        configuration = directory / f"keepalived-{side}.conf"
        values = {
            "HOST": str(side),
            "CHECK": str(check),
            "PRIORITY": str(PRIORITIES[side]),
            "ADVERT_S": f"{self._advert_s:g}",
            # Intervals under a second are VRRPv3's (RFC 5798).
            "VRRP_VERSION": "2" if self._advert_s >= 1 else "3",
            "NOPREEMPT": "" if self._preempt else "nopreempt",
            "VIP": VIP,
        }
        configuration.write_text(render("keepalived.conf", values))
        return [
            "keepalived",
            "--dont-fork",
            "--log-console",
            "--vrrp",
            f"--use-file={configuration}",
            f"--pid={directory / f'keepalived-{side}.pid'}",
            f"--vrrp_pid={directory / f'keepalived-{side}-vrrp.pid'}",
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
