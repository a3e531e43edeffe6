"""The demo's processes, found again by whoever comes later: a file a process, with its id and when it started.

Standard library only, and few of it: the fence runs from here and its start-up time is part of an outage.

A signal reaches a process only if it carries the mark of this demo's directory in its environment, so that a reused
process id can't hit a stranger.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from demo_platform.errors import NotDone, NotReady

DIRECTORY: Final = Path("var/demo")
MARK: Final = "THIRDRING_DEMO_DIRECTORY"
STOPPED: Final = "T"
EXEC_S: Final = 2.0
"""Seconds a new process may take to show its mark."""
LOOKS: Final = 2
"""So many looks in a row must find nothing: a process that has just been started shows its mark a moment later."""


class ProcessRecord(NamedTuple):
    """`started`: clock ticks since boot, field 22 of /proc/PID/stat. Each process leads a group of its own."""

    role: str
    pid: int
    started: int
    argv: list[str]


class Processes:
    """The processes started in `directory`, which is made if it is not there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self._records = self.directory / "processes"
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, role: str, argv: Sequence[str], **environment: str) -> ProcessRecord:
        """Start `argv`, its output to `<role>.log`; `environment` is added to ours. Raises NotDone if this role lives already."""
        if self.alive(role):
            raise NotDone(f"{role} is running already")
        self._records.mkdir(parents=True, exist_ok=True)
        deploy = str(Path(__file__).resolve().parents[1])
        environment = dict(os.environ) | environment
        environment |= {
            MARK: str(self.directory),
            "PYTHONPATH": os.pathsep.join([deploy, str(Path(deploy).parent)]),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
        }
        with self.log(role).open("ab") as log:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment,
            )
        self._children[child.pid] = child
        # For a moment after exec the kernel shows no environment yet, and with it no mark.
        deadline = time.monotonic() + EXEC_S
        while child.poll() is None and not self._is_ours(child.pid) and time.monotonic() < deadline:
            time.sleep(0.001)
        record = ProcessRecord(role, child.pid, _started(child.pid), list(argv))
        scratch = self._records / f"{role}.new"
        scratch.write_text(json.dumps(record._asdict()))
        scratch.replace(self._records / f"{role}.json")
        return record

    def log(self, role: str) -> Path:
        return self.directory / f"{role}.log"

    def record(self, role: str) -> ProcessRecord | None:
        try:
            return ProcessRecord(**json.loads((self._records / f"{role}.json").read_text()))
        except FileNotFoundError:
            return None

    def roles(self) -> list[str]:
        """Every role that was ever started here and not forgotten."""
        return sorted(path.stem for path in self._records.glob("*.json"))

    def members(self, role: str) -> dict[int, str]:
        """The living processes of the role's group: process id -> state letter of proc(5)."""
        record = self.record(role)
        if record is None:
            return {}
        self._reap()
        leader = _stat(record.pid)
        if leader is not None and int(leader[19]) != record.started:
            return {}  # another process has got the number since
        living: dict[int, str] = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            fields = _stat(int(entry))
            if fields is None or int(fields[2]) != record.pid or fields[0] in "ZX":
                continue
            if self._is_ours(int(entry)):
                living[int(entry)] = fields[0]
        return living

    def alive(self, role: str) -> bool:
        return bool(self.members(role))

    def stopped(self, role: str) -> bool:
        """Whether every process of the group is stopped."""
        states = self.members(role).values()
        return bool(states) and all(state == STOPPED for state in states)

    def exit_status(self, role: str) -> int | None:
        """Of a process started by this object that has ended; None while it runs, or if another started it."""
        record = self.record(role)
        child = None if record is None else self._children.get(record.pid)
        return None if child is None else child.poll()

    def send(self, role: str, number: signal.Signals) -> None:
        """Signal the whole group; nothing happens if it is gone."""
        record = self.record(role)
        if record is not None and self.members(role):
            try:
                os.killpg(record.pid, number)
            except ProcessLookupError:
                return  # it ended meanwhile, which is what a signal to nobody amounts to

    def end(self, role: str, *, first: signal.Signals = signal.SIGTERM, patience: float = 3.0) -> None:
        """End the group and wait until nothing of it is left, with SIGKILL after `patience` seconds.

        Raises NotReady if it survives even that for 5 s.
        """
        self.send(role, first)
        if self.stopped(role):
            self.send(role, signal.SIGKILL)  # a stopped process hears nothing else
        kill_at = time.monotonic() + patience
        while self.alive(role):
            if time.monotonic() > kill_at:
                self.send(role, signal.SIGKILL)
                if time.monotonic() > kill_at + 5:
                    raise NotReady(f"{role} does not die: {self.members(role)}")
            time.sleep(0.01)

    def end_all(self) -> list[str]:
        """End every process of this directory; returns the roles that were alive.

        One that was started in the very moment its starter was interrupted has no record; its mark gives it away.
        """
        living = [role for role in self.roles() if self.alive(role)]
        for role in living:
            self.send(role, signal.SIGTERM)
        for role in living:
            self.end(role)
        deadline = time.monotonic() + 5
        looks = 0
        while looks < LOOKS:
            marked = self._marked()
            looks = 0 if marked else looks + 1
            if marked and time.monotonic() > deadline:
                raise NotReady(f"processes {marked} do not die")
            for pid in marked:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.01)
        for role in self.roles():
            (self._records / f"{role}.json").unlink(missing_ok=True)
        return living

    def _marked(self) -> list[int]:
        """Every living process that carries the mark of this directory, but this one."""
        self._reap()
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid() or not self._is_ours(int(entry)):
                continue
            fields = _stat(int(entry))
            if fields is not None and fields[0] not in "ZX":
                found.append(int(entry))
        return found

    def _reap(self) -> None:
        for child in list(self._children.values()):
            child.poll()

    def _is_ours(self, pid: int) -> bool:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"{MARK}={self.directory}".encode() in environment.split(b"\0")


def chosen_directory() -> Path:
    """Where the platform is that a command is about: told by the process that runs it, or the usual place."""
    return Path(os.environ.get(MARK) or DIRECTORY)


def python(module: str, *options: str) -> list[str]:
    """The command line of a module of ours."""
    return [sys.executable, "-m", module, *options]


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on (proc(5)); None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _started(pid: int) -> int:
    fields = _stat(pid)
    return 0 if fields is None else int(fields[19])
