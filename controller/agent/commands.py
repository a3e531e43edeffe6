"""Runs what the agent's file lists: argument vectors, without a shell, in a process group of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from controller.agent.refusals import Refusal, Refused
from controller.agent.settings import CommandSettings
from controller.model.errors import ThirdRingError

MOST_OUTPUT: Final = 4096


class CommandError(ThirdRingError):
    """It could not be started, or did not end in time and was killed."""


class Ended(NamedTuple):
    """`status`: the exit status, negative for a signal. `output`: the beginning of what it printed."""

    status: int
    output: str


async def run(argv: Sequence[str], *, timeout: float, environment: Mapping[str, str]) -> Ended:
    """Raises CommandError."""
    # A file, not a pipe: what it leaves running may keep its output open.
    with os.fdopen(os.memfd_create("output"), "r+b") as told:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=told,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        except (OSError, ValueError) as error:
            raise CommandError(f"{argv[0]}: can't be started: {error}") from error
        try:
            status = await asyncio.wait_for(process.wait(), timeout)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            if isinstance(error, TimeoutError):
                raise CommandError(f"{argv[0]}: no end within {timeout:g} s") from None
            raise
        told.seek(0)
        return Ended(status, told.read(MOST_OUTPUT).decode(errors="replace").strip())


def filled(command: CommandSettings, values: Mapping[str, str]) -> tuple[str, ...]:
    """Its argument vector with the given values. Raises Refused: a value that is missing, not declared, or does
    not match what was declared for it."""
    if set(values) != set(command.values):
        raise Refused(Refusal.WRONG_VALUE, f"takes {sorted(command.values)}, was given {sorted(values)}")
    for name, pattern in command.values.items():
        if re.fullmatch(pattern, values[name]) is None:
            raise Refused(Refusal.WRONG_VALUE, f"{name}: {values[name]!r} does not match {pattern}")
    return tuple(
        re.sub(r"\{([A-Za-z0-9._-]+)\}", lambda found: values[found[1]], word) for word in command.argv
    )
