"""The commands a configuration lists for a side or an edge: argument vectors, never a shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

from controller.actions.points import Unreachable
from controller.model.errors import ActionError

MOST_OUTPUT = 4096


class CommandFailed(ActionError):
    """It ran and said no. `status`: its exit status, negative for a signal."""

    def __init__(self, argv: Sequence[str], status: int, output: str) -> None:
        self.status = status
        super().__init__(
            f"{argv[0]} ended with {status}: {output}" if output else f"{argv[0]} ended with {status}"
        )


async def run(
    argv: Sequence[str], *, environment: Mapping[str, str], text: str = "", most: int = MOST_OUTPUT
) -> str:
    """At most that many octets of its output, with `text` on its standard input. Cancelled, it and its children are
    killed.

    Raises CommandFailed, Unreachable (can't be started).
    """
    # Files, not pipes: a command may end without reading, and what it leaves running may keep its output open.
    with (
        os.fdopen(os.memfd_create("stdin"), "r+b") as given,
        os.fdopen(os.memfd_create("output"), "r+b") as told,
    ):
        given.write(text.encode())
        given.seek(0)
        process = _start(argv, environment, given, told)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        handle = os.pidfd_open(process.pid)
        loop.add_reader(handle, ended.set)
        try:
            await ended.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await ended.wait()
            raise
        finally:
            loop.remove_reader(handle)
            os.close(handle)
            status = process.wait()
        told.seek(0)
        output = told.read(most).decode(errors="replace").strip()
    if status:
        raise CommandFailed(argv, status, output)
    return output


def _start(
    argv: Sequence[str], environment: Mapping[str, str], given: BinaryIO, told: BinaryIO
) -> subprocess.Popen[bytes]:
    """By vfork: uvloop's own way copies this process's page tables and holds everything up for 10 ms at 180 MB, between
    the decision to switch and the fence."""
    try:
        with _precedence_passed_on() as pass_on:
            process = subprocess.Popen(
                argv,
                stdin=given,
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment},
            )
            pass_on(process.pid)
    except (OSError, ValueError) as error:
        raise Unreachable(f"{argv[0]}: can't be started: {error}") from error
    return process


@contextlib.contextmanager
def _precedence_passed_on() -> Iterator[Callable[[int], None]]:
    """Whatever real-time scheduling this thread keeps from its children, the process that is started in here has it: by
    vfork this thread waits until the other one runs. What that one starts in turn has none: it may be a platform."""
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    kept = policy & os.SCHED_RESET_ON_FORK
    try:
        if kept:
            os.sched_setscheduler(0, policy & ~os.SCHED_RESET_ON_FORK, parameter)
    except PermissionError:  # to have it is permitted, to pass it on is not
        kept = 0

    def pass_on(pid: int) -> None:
        if kept:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(pid, policy, parameter)

    try:
        yield pass_on
    finally:
        if kept:
            os.sched_setscheduler(0, policy, parameter)
