"""The lab's processes, each the leader of its own group, in its host's namespace.

Faults act on whole groups: Kamailio's children go on answering when only its first process is killed or stopped.
A signal reaches a process only if its group is recorded *and* it lives in the recorded host's network namespace, so
that a reused pid can't hit a stranger.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lab.errors import NotReady
from lab.network import Network
from lab.state import ProcessRecord, StateFile, started
from lab.topology import Host

CHECKOUT: Final = os.pathsep.join(str(Path(__file__).resolve().parents[up]) for up in (1, 2))
"""This package, and the controller beside it, whichever is installed."""


class Processes:
    """Starts, signals and ends process groups, by role ("edge1", "primary", "echo1" ...)."""

    def __init__(self, network: Network, state: StateFile) -> None:
        self._network = network
        self._state = state
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, role: str, host: Host, argv: Sequence[str]) -> int:
        """Start `argv` in the host's namespace, output to `<role>.log` in the lab's directory; returns its pid."""
        environment = os.environ | {"PYTHONPATH": CHECKOUT}
        with (self._state.directory / f"{role}.log").open("ab") as log:
            child = subprocess.Popen(
                self._network.exec_argv(host, argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._state.directory,
                env=environment,
            )
        self._children.append(child)
        record = ProcessRecord(
            role=role, host=str(host), argv=list(argv), pid=child.pid, started=started(child.pid) or 0
        )
        with self._state.change() as state:
            state.processes[role] = record
        return child.pid

    def restart(self, role: str) -> int:
        """End the group and start the same command again; returns the new pid."""
        record = self.record(role)
        self.kill(role)
        return self.start(role, Host(record.host), record.argv)

    def record(self, role: str) -> ProcessRecord:
        return self._state.read().processes[role]

    def roles(self) -> list[str]:
        return sorted(self._state.read().processes)

    def members(self, role: str) -> dict[int, str]:
        """The living processes of the group: pid -> state letter of proc(5) ("T" is stopped)."""
        record = self.record(role)
        try:
            inode = self._network.inode(Host(record.host))
        except FileNotFoundError:
            return {}
        leader = started(record.pid)
        if leader is not None and leader != record.started:
            return {}
        living: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if (
                    int(fields[2]) == record.pid
                    and fields[0] not in "ZX"
                    and (entry / "ns/net").stat().st_ino == inode
                ):
                    living[int(entry.name)] = fields[0]
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
        return living

    def alive(self, role: str) -> bool:
        return bool(self.members(role))

    def stopped(self, role: str) -> bool:
        """Whether every process of the group is stopped."""
        states = self.members(role).values()
        return bool(states) and all(state == "T" for state in states)

    def send(self, role: str, number: signal.Signals) -> None:
        """Signal the whole group at once; nothing happens if it is gone."""
        if self.members(role):
            try:
                os.killpg(self.record(role).pid, number)
            except ProcessLookupError:
                return  # it ended meanwhile, which is what a signal to nobody amounts to

    def kill(self, role: str, *, first: signal.Signals = signal.SIGKILL) -> None:
        """End the group and wait until nothing of it is left; `first` other than SIGKILL is given two seconds."""
        self.send(role, first)
        deadline = time.monotonic() + 2
        while self.alive(role):
            if time.monotonic() > deadline:
                self.send(role, signal.SIGKILL)
                if time.monotonic() > deadline + 3:
                    raise NotReady(f"{role} does not die: {self.members(role)}")
            time.sleep(0.005)
        self._children = [child for child in self._children if child.poll() is None]

    def forget(self, role: str) -> None:
        """Drop an ended process from the record."""
        with self._state.change() as state:
            state.processes.pop(role, None)

    def kill_all(self) -> None:
        roles = self.roles()
        for role in roles:
            self.send(role, signal.SIGKILL)
        for role in roles:
            self.kill(role)
        for child in self._children:
            child.wait(timeout=5)
        self._children.clear()
