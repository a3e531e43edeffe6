"""What a lab has made, on disk before it is used, so that any later process can take it down.

One directory a lab under /run/third-ring-lab: `state.json`, configurations, logs. The file is rewritten whole and
renamed into place, under a lock: several processes (a bench, a fault put in from the shell) may hold one lab.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path("/run/third-ring-lab")


@dataclass(kw_only=True)
class ProcessRecord:
    """A process group started by the lab. `started` is field 22 of /proc/PID/stat: with it a reused pid is seen."""

    role: str
    host: str
    argv: list[str]
    pid: int
    started: int


@dataclass(kw_only=True)
class FaultRecord:
    """A fault that is, or may be, in place: enough to undo it."""

    kind: str
    parameters: dict[str, Any]


@dataclass(kw_only=True)
class State:
    """A lab. `owner` (pid, started) is the process it belongs to; None means it stays until it is taken down."""

    name: str
    prefix: str
    settings: dict[str, Any]
    owner: tuple[int, int] | None
    processes: dict[str, ProcessRecord] = field(default_factory=dict)
    faults: list[FaultRecord] = field(default_factory=list)


def started(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if it is gone or a zombie (proc(5), stat)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class StateFile:
    """The state of the lab called `name`."""

    def __init__(self, name: str) -> None:
        self.directory = ROOT / name
        self._path = self.directory / "state.json"

    def create(self, state: State) -> None:
        """Raises FileExistsError if a lab of this name is recorded."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.exists():
            raise FileExistsError(self._path)
        self._write(state)

    def exists(self) -> bool:
        return self._path.exists()

    def read(self) -> State:
        """Raises FileNotFoundError if there is no such lab."""
        document = json.loads(self._path.read_text())
        owner = document["owner"]
        return State(
            name=document["name"],
            prefix=document["prefix"],
            settings=document["settings"],
            owner=None if owner is None else (owner[0], owner[1]),
            processes={role: ProcessRecord(**record) for role, record in document["processes"].items()},
            faults=[FaultRecord(**record) for record in document["faults"]],
        )

    @contextmanager
    def change(self) -> Iterator[State]:
        """The state, to be altered in place; it is on disk when the block ends."""
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self.read()
            yield state
            self._write(state)

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def _write(self, state: State) -> None:
        scratch = self._path.with_suffix(".new")
        with scratch.open("w") as file:
            json.dump(asdict(state), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._path)


def recorded() -> list[str]:
    """The names of all labs on this machine."""
    return sorted(path.parent.name for path in ROOT.glob("*/state.json"))


@contextmanager
def sweeping() -> Iterator[None]:
    """One process at a time may take abandoned labs down."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with (ROOT / "sweep.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def abandoned() -> list[str]:
    """The names of labs whose owner is gone."""
    names = []
    for name in recorded():
        try:
            owner = StateFile(name).read().owner
        except FileNotFoundError:
            continue  # taken down by its owner since it was listed
        if owner is not None and started(owner[0]) != owner[1]:
            names.append(name)
    return names
