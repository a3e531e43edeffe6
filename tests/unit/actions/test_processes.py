"""Commands of a driver, on the event loop the controller runs on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
import uvloop

from controller.actions.processes import CommandFailed, run


def on_uvloop(argv: list[str], text: str = "") -> str:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(argv, environment={}, text=text))


@pytest.mark.parametrize("text", ["", "x" * 300_000])
def test_a_command_may_end_without_reading_its_input(text: str) -> None:
    for _ in range(20):
        assert on_uvloop(["true"], text) == ""


def test_a_command_reads_its_input() -> None:
    assert on_uvloop(["sh", "-c", "cat | wc -c"], "x" * 300_000) == "300000"


def test_its_status_and_words_are_told() -> None:
    with pytest.raises(CommandFailed, match="ended with 3: no") as failed:
        on_uvloop(["sh", "-c", "echo no; exit 3"])
    assert failed.value.status == 3


def test_what_it_leaves_running_is_not_waited_for() -> None:
    left = int(on_uvloop(["sh", "-c", "sleep 30 & echo $!"]))
    os.kill(left, signal.SIGKILL)  # it is still there


def test_cancelled_it_and_its_children_are_killed(tmp_path: Path) -> None:
    seen = tmp_path / "pid"

    async def cancelled() -> None:
        argv = ["sh", "-c", f"sleep 30 & echo $! >{seen}.new; mv {seen}.new {seen}; wait"]
        task = asyncio.create_task(run(argv, environment={}))
        while not seen.exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(cancelled())
    stat = Path(f"/proc/{int(seen.read_text())}/stat")
    deadline = time.monotonic() + 5
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX":
        assert time.monotonic() < deadline, "a child lives on"
        time.sleep(0.01)
