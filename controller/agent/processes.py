"""The processes of a side, as /proc and the unit's cgroup show them.

A signal to the main process alone proves nothing: children of a killed Kamailio go on answering calls, and stopping it
hangs nothing. So it is always the whole group, looked up again until nothing of it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from controller.agent import commands
from controller.agent.settings import ProcessSettings, Stop
from controller.model.errors import ThirdRingError

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
STOPPED_LETTERS: Final = frozenset("Tt")
DEAD_LETTERS: Final = frozenset("ZXx")
LOOK: Final = 0.005
SEARCH: Final = 1.0
COMMAND_TIMEOUT: Final = 10.0


class ProcessError(ThirdRingError):
    """The side's processes could not be stopped or started."""


class Process(NamedTuple):
    """One line of /proc/PID/stat (proc(5))."""

    pid: int
    state: str
    group: int
    session: int


class Processes:
    """Of one side."""

    def __init__(self, settings: ProcessSettings, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._environment = environment
        self._cgroup: Path | None = None
        self._main = 0
        self._known: tuple[int, ...] = ()
        self._searched = float("-inf")

    def members(self) -> tuple[Process, ...]:
        """Those that exist now, zombies included."""
        settings = self._settings
        if settings.unit:
            return tuple(found for pid in self._of_unit() if (found := process(pid)) is not None)
        if settings.pid_file is not None:
            return self._of_pid_file(settings.pid_file)
        return _matching(settings.match)

    def known(self) -> tuple[Process, ...] | None:
        """Those found by the last `search`, as they are now. None: a second has passed since, or one has gone."""
        if time.monotonic() >= self._searched + SEARCH:
            return None
        again = [process(pid) for pid in self._known]
        here = tuple(one for one in again if one is not None)
        return here if here and len(here) == len(again) else None

    def search(self) -> tuple[Process, ...]:
        """As `members`, and remembered. Walks all of /proc: some 50 us a process."""
        found = self.members()
        self._known, self._searched = tuple(one.pid for one in found), time.monotonic()
        return found

    def stopped(self) -> bool:
        """Nothing of it runs, nor will without being told."""
        if self._settings.stop is Stop.SUSPEND and self.suspended():
            return True
        letters = STOPPED_LETTERS | DEAD_LETTERS if self._settings.stop is Stop.SUSPEND else DEAD_LETTERS
        return all(one.state in letters for one in self.members())

    def suspended(self) -> bool:
        """The unit's cgroup is frozen: its processes don't show it one by one."""
        cgroup = self._unit_cgroup() if self._settings.unit else None
        try:
            return cgroup is not None and "frozen 1" in (cgroup / "cgroup.events").read_text()
        except OSError:
            return False

    async def stop(self, timeout: float) -> None:
        """Returns when `stopped`. Idempotent. Raises ProcessError."""
        deadline = time.monotonic() + timeout
        while True:
            self._strike()
            if self.stopped():
                break
            if time.monotonic() >= deadline:
                raise ProcessError(f"{self._name}: {len(self.members())} processes still run")
            await asyncio.sleep(LOOK)
        if self._settings.unit and self._settings.stop is Stop.KILL:
            # What died is not started again by systemd.
            await self._must_run(("systemctl", "stop", self._settings.unit))

    async def start(self) -> None:
        """Continues what was suspended, starts what was killed. Idempotent. Raises ProcessError."""
        settings = self._settings
        if settings.stop is Stop.SUSPEND:
            if settings.unit and (cgroup := self._unit_cgroup()) is not None:
                with contextlib.suppress(OSError):
                    (cgroup / "cgroup.freeze").write_text("0")
            for one in self.members():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGCONT)
        if not any(one.state not in DEAD_LETTERS for one in self.members()):
            if settings.start is not None:
                await self._must_run(settings.start)
            elif settings.unit:
                await self._must_run(("systemctl", "start", settings.unit))

    @property
    def _name(self) -> str:
        settings = self._settings
        return settings.unit or str(settings.pid_file or "") or " ".join(settings.match)

    def _strike(self) -> None:
        suspend = self._settings.stop is Stop.SUSPEND
        if self._settings.unit and (cgroup := self._unit_cgroup()) is not None:
            # All of it at once, and children that are just being made.
            with contextlib.suppress(OSError):
                (cgroup / ("cgroup.freeze" if suspend else "cgroup.kill")).write_text("1")
                return
        done = STOPPED_LETTERS | DEAD_LETTERS if suspend else DEAD_LETTERS
        for one in self.members():
            if one.state not in done:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGSTOP if suspend else signal.SIGKILL)

    def _of_unit(self) -> tuple[int, ...]:
        cgroup = self._unit_cgroup()
        if cgroup is None:
            return ()
        pids: list[int] = []
        for listing in (cgroup / "cgroup.procs", *cgroup.glob("**/cgroup.procs")):
            with contextlib.suppress(OSError):
                pids += [int(line) for line in listing.read_text().split()]
        return tuple(sorted(set(pids)))

    def _unit_cgroup(self) -> Path | None:
        """systemd names a unit's cgroup after it; it is gone while the unit is not active."""
        if self._cgroup is None or not self._cgroup.is_dir():
            unit = self._settings.unit
            self._cgroup = next(
                (path for path in CGROUPS.glob(f"**/{unit}") if (path / "cgroup.procs").exists()), None
            )
        return self._cgroup

    def _of_pid_file(self, path: Path) -> tuple[Process, ...]:
        """The main process's group and session, which outlive it: its number is remembered."""
        with contextlib.suppress(OSError, ValueError):
            self._main = int(path.read_text().split()[0])
        if self._main < 2:
            return ()
        main = process(self._main)
        own = os.getsid(0)
        groups = {self._main} | ({main.group} if main is not None else set())
        sessions = {self._main} | ({main.session} if main is not None else set())
        return tuple(
            one
            for one in _all()
            if one.pid == self._main
            or (one.session != own and (one.group in groups or one.session in sessions))
        )

    async def _must_run(self, argv: tuple[str, ...]) -> None:
        try:
            ended = await commands.run(argv, timeout=COMMAND_TIMEOUT, environment=self._environment)
        except commands.CommandError as error:
            raise ProcessError(str(error)) from error
        if ended.status:
            raise ProcessError(f"{' '.join(argv)} ended with {ended.status}: {ended.output}")


def process(pid: int) -> Process | None:
    """None: there is none (any longer)."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command in parentheses may hold spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    return Process(pid, fields[0], int(fields[2]), int(fields[3]))


def _all() -> tuple[Process, ...]:
    pids = (int(name) for name in os.listdir(PROC) if name.isdigit())
    return tuple(found for pid in pids if (found := process(pid)) is not None)


def _matching(words: tuple[str, ...]) -> tuple[Process, ...]:
    """In this network namespace, where the addresses are; not the agent itself."""
    wanted = b"\0".join(word.encode() for word in words) + b"\0"
    here = os.readlink(PROC / "self/ns/net")
    found: list[Process] = []
    for name in os.listdir(PROC):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if (PROC / name / "cmdline").read_bytes().startswith(wanted) and (
                os.readlink(PROC / name / "ns/net") == here
            ):
                one = process(int(name))
                if one is not None:
                    found.append(one)
    return tuple(found)
