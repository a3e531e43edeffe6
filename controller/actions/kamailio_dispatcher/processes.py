"""The commands a configuration lists for a side or an edge: argument vectors, never a shell."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence

from controller.model.errors import ActionError

MOST_OUTPUT = 4096


class CommandFailed(ActionError):
    """It ran and said no. `status`: its exit status, negative for a signal."""

    def __init__(self, argv: Sequence[str], status: int, output: str) -> None:
        self.status = status
        super().__init__(
            f"{argv[0]} ended with {status}: {output}" if output else f"{argv[0]} ended with {status}"
        )


async def run(argv: Sequence[str], *, environment: Mapping[str, str], text: str = "") -> str:
    """Its output. Cancelled, it and its children are killed. Raises CommandFailed, ActionError (can't be started)."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment},
        )
    except OSError as error:
        raise ActionError(f"{argv[0]}: can't be started: {error}") from error
    try:
        output, _ = await process.communicate(text.encode())
    except BaseException:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        await process.wait()
        raise
    told = output[:MOST_OUTPUT].decode(errors="replace").strip()
    if process.returncode:
        raise CommandFailed(argv, process.returncode, told)
    return told
