"""The dispatcher's list file: what an edge comes up with. Written before every change of its running state.

    SET URI FLAGS PRIORITY ATTRIBUTES        e.g. 1 sip:192.0.2.21:5060 0 10 epoch=7

FLAGS 0 is active, 4 disabled (loaded as "DX"). A bad line is dropped while a reload says Ok: nothing but this shape is
ever written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from controller.model.errors import ActionError

ACTIVE, DISABLED = 0, 4
EPOCH = re.compile(r"(?:^|;)epoch=(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    set: int
    uri: str
    active: bool
    priority: int
    epoch: int

    def __str__(self) -> str:
        flags = ACTIVE if self.active else DISABLED
        return f"{self.set} {self.uri} {flags} {self.priority} epoch={self.epoch}"


def epoch_of(attributes: str) -> int:
    """The epoch among a destination's attributes; 0 without one."""
    found = EPOCH.search(attributes)
    return int(found.group(1)) if found else 0


def rendered(lines: Iterable[Line], foreign: Iterable[str] = ()) -> str:
    return "".join(f"{line}\n" for line in (*foreign, *lines))


def parse(text: str, sets: frozenset[int]) -> tuple[list[Line], list[str]]:
    """The lines of these sets, and everything else as it stands."""
    own: list[Line] = []
    foreign: list[str] = []
    for raw in text.splitlines():
        fields = raw.split("#")[0].split()
        if len(fields) < 2 or not fields[0].isdigit() or int(fields[0]) not in sets:
            foreign.append(raw)
            continue
        flags, priority = (int(field) if field.isdigit() else 0 for field in (*fields[2:4], "0", "0")[:2])
        attributes = fields[4] if len(fields) > 4 else ""
        own.append(
            Line(
                set=int(fields[0]),
                uri=fields[1],
                active=flags & 5 == 0,
                priority=priority,
                epoch=epoch_of(attributes),
            )
        )
    return own, foreign


def read(path: Path) -> str:
    """Empty when there is none yet. Raises ActionError."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ActionError(f"{path}: can't be read: {error}") from error


def write(path: Path, text: str) -> None:
    """Whole or not at all, and on the disk when it returns; mode and owner stay. Raises ActionError."""
    scratch = path.with_name(f".{path.name}.new")
    try:
        before = path.stat() if path.exists() else None
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(descriptor, text.encode())
            if before is not None:
                os.fchmod(descriptor, before.st_mode & 0o777)
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(scratch, path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ActionError(f"{path}: can't be written: {error}") from error
