"""Two real keepalived in network namespaces of their own, one virtual address between them, moved by their track files."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from controller.actions.keepalived import Keepalived
from controller.actions.keepalived.parameters import KeepalivedParameters
from tests.builders.outside import Marks
from tests.builders.platform import group_policy

VIP = "10.198.51.100"
ADDRESSES = {"primary": "10.198.51.1", "backup": "10.198.51.2"}
STARTING = 20.0
CONFIGURATION = """
global_defs {{
  router_id {side}
  script_user root
  vrrp_version 3
}}
track_file switch {{
  file {file}
  weight 1
}}
vrrp_instance platform {{
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority {priority}
  advert_int 0.1
  {preempt}
  virtual_ipaddress {{
    {vip}/32 dev eth0
  }}
  track_file {{
    switch
  }}
}}
"""


def missing() -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    packages = {"keepalived": "keepalived", "ip": "iproute2", "nft": "nftables"}
    lacking = [package for program, package in packages.items() if shutil.which(program) is None]
    return f"needs Debian's {', '.join(lacking)}" if lacking else None


class RedundantHosts:
    """Namespaces named after this process; `close` takes everything away again."""

    def __init__(self, directory: Path, *, preempt: bool = True) -> None:
        self.directory = directory
        self.marks = Marks(directory)
        self.spaces = {side: f"thirdring-{side}-{os.getpid()}" for side in ADDRESSES}
        self.files = {side: directory / f"{side}.number" for side in ADDRESSES}
        self._preempt = preempt
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def parameters(self, **changes: Any) -> dict[str, Any]:
        return {
            "address": VIP,
            "sides": {
                side: {
                    "write": ["tee", str(self.files[side])],
                    "show": ["ip", "netns", "exec", space, "ip", "-j", "addr"],
                    "fence": self.marks.fence(side),
                }
                for side, space in self.spaces.items()
            },
            "timeout": 5.0,
            "settle": 10.0,
            **changes,
        }

    def driver(self, **changes: Any) -> Keepalived:
        return Keepalived(
            group_policy(edges=(), step_timeout=60.0),
            KeepalivedParameters.model_validate(self.parameters(**changes)),
        )

    def start(self) -> None:
        """The primary holds the address when it returns."""
        for space in self.spaces.values():
            _ip("netns", "add", space)
        one, other = self.spaces.values()
        _ip("link", "add", "eth0", "netns", one, "type", "veth", "peer", "name", "eth0", "netns", other)
        for side, space in self.spaces.items():
            _ip("-n", space, "addr", "add", f"{ADDRESSES[side]}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "link", "set", "eth0", "up")
            self.files[side].write_text("0\n" if side == "primary" else "-254\n")
            self.run(side)
        self.wait({"primary"})

    def run(self, side: str) -> None:
        configuration = self.directory / f"{side}.conf"
        configuration.write_text(
            CONFIGURATION.format(
                side=side,
                file=self.files[side],
                priority=150 if side == "primary" else 100,
                preempt="" if self._preempt else "nopreempt",
                vip=VIP,
            )
        )
        argv = [
            "ip",
            "netns",
            "exec",
            self.spaces[side],
            "keepalived",
            "--dont-fork",
            "--log-console",
            "--vrrp",
        ]
        argv += [f"--use-file={configuration}", f"--pid={self.directory / f'{side}.pid'}"]
        argv += [f"--vrrp_pid={self.directory / f'{side}-vrrp.pid'}"]
        with (self.directory / f"{side}.log").open("ab") as log:
            self._processes[side] = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def kill(self, side: str) -> None:
        """The whole process group: its children would go on holding the address."""
        process = self._processes.pop(side)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def cut(self) -> None:
        """The two hosts no longer see each other."""
        for space in self.spaces.values():
            _ip("netns", "exec", space, "nft", "add table netdev cut")
            chain = "{ type filter hook ingress device eth0 priority 0; policy drop; }"
            _ip("netns", "exec", space, "nft", f"add chain netdev cut in {chain}")

    def holders(self) -> set[str]:
        """By another look than the driver's."""
        found = set()
        for side, space in self.spaces.items():
            said = _ip("-n", space, "-j", "addr", "show", "to", VIP)
            if any(link.get("addr_info") for link in json.loads(said or "[]")):
                found.add(side)
        return found

    def wait(self, wanted: set[str]) -> None:
        deadline = time.monotonic() + STARTING
        while self.holders() != wanted:
            logs = "".join((self.directory / f"{side}.log").read_text()[-1500:] for side in self.spaces)
            assert time.monotonic() < deadline, f"{self.holders()} hold the address, not {wanted}\n{logs}"
            time.sleep(0.05)

    async def settled(self, wanted: set[str]) -> None:
        await asyncio.to_thread(self.wait, wanted)

    def close(self) -> None:
        for side in tuple(self._processes):
            process = self._processes.pop(side)
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout
