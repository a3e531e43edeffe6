"""The commands a configuration lists for a side or an edge: argument vectors, never a shell."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
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
    """Its output, with `text` on its standard input. Cancelled, it and its children are killed.

    Raises CommandFailed, ActionError (can't be started).
    """
    try:
        # A file, as a command that ends without reading would break a pipe.
        with tempfile.TemporaryFile() as stdin:
            stdin.write(text.encode())
            stdin.seek(0)
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=stdin if text else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment},
            )
    except OSError as error:
        raise ActionError(f"{argv[0]}: can't be started: {error}") from error
    try:
        output, _ = await process.communicate()
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
