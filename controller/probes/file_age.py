"""Freshness of a backup: age and size of the newest file that matches."""

from __future__ import annotations

import asyncio
import glob
import os
import time
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from pydantic import Field

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.model.moments import Values
from controller.probes.parameters import Strict


class FileAgeParameters(Strict):
    """`pattern` is a shell glob, `**` included. `smallest` in bytes: a backup that failed may have left an empty file."""

    pattern: str = Field(min_length=1)
    max_age_hours: float = Field(gt=0)
    smallest: int = Field(default=1, ge=0)


class Newest(NamedTuple):
    path: str
    modified: float  # Unix seconds
    size: int  # bytes


class FileAge:
    """ports.Probe. Reads the file system in a thread: a mount that hangs must not hold the prober."""

    Parameters = FileAgeParameters
    mass = False
    values: ClassVar[Mapping[str, str]] = {"age_hours": "double", "size": "int", "file": "string"}

    def __init__(self, parameters: FileAgeParameters) -> None:
        self._parameters = parameters

    async def run(self, key: RungKey, timeout: float) -> ProbeResult:
        sent_at = time.monotonic()
        values: Values = ()
        try:
            async with asyncio.timeout(timeout):
                newest = await asyncio.to_thread(_newest, self._parameters.pattern)
        except TimeoutError:
            outcome, note = Outcome.NO_REPLY, "the file system did not answer"
        except OSError as error:
            outcome, note = Outcome.TRANSPORT, str(error)
        else:
            outcome, note, values = self._judge(newest, time.time())
        now = time.monotonic()
        up = outcome is Outcome.UP
        return ProbeResult(key, sent_at, now, outcome, up, now - sent_at, 0, 1, note, values)

    async def close(self) -> None:
        pass

    def _judge(self, newest: Newest | None, now: float) -> tuple[Outcome, str, Values]:
        parameters = self._parameters
        if newest is None:
            return Outcome.FAILED, f"nothing matches {parameters.pattern}", (("age_hours", None), ("size", 0))
        # A clock set back must not make a file younger than new.
        age = max(0.0, now - newest.modified) / 3600
        values: Values = (("age_hours", round(age, 3)), ("size", newest.size), ("file", newest.path))
        if age > parameters.max_age_hours:
            return Outcome.FAILED, f"{newest.path} is {age:.1f} hours old", values
        if newest.size < parameters.smallest:
            return Outcome.FAILED, f"{newest.path} has {newest.size} bytes", values
        return Outcome.UP, "", values


def _newest(pattern: str) -> Newest | None:
    found: Newest | None = None
    for path in glob.iglob(pattern, recursive=True):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            # Rotated away between the listing and the look.
            continue
        if os.path.isfile(path) and (found is None or status.st_mtime > found.modified):
            found = Newest(path, status.st_mtime, status.st_size)
    return found
