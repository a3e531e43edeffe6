"""What a whole controller occupies while it probes very many targets: `thirdring run`, its prober and whatever else it starts.

The proportional set size (PSS) of every process of it, summed up: a page that several share counts once.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil

from controller.app import WARM
from controller.cli.client import CallFailed, Client
from tests.bench.fleet import responder, write
from tests.bench.rows import row

CHECKOUT: Final = Path(__file__).resolve().parents[2]
BOTH: Final = 180.0
"""MB that the engine and its prober may occupy together."""

UP_WITHIN: Final = 120.0
"""Seconds from the start until every target was seen up."""

STOP_WITHIN: Final = 30.0


def rows(count: int, seconds: int) -> list[dict[str, Any]]:
    """A figure a second, from the moment that all targets are up and the controller has gone over its start.

    Raises RuntimeError with the end of its log when it does not come that far.
    """
    with responder() as ports, tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
        directory = Path(name)
        with _running(write(directory, ports, count), directory) as process:
            client = Client(str(directory / "data" / "control"))
            _until_up(client, count, process, directory / "log")
            time.sleep(WARM)
            controller = psutil.Process(process.pid)
            together, processes, downs = [], [], []
            for _ in range(seconds):
                time.sleep(1.0)
                tree = [controller, *controller.children(recursive=True)]
                together.append(sum(each.memory_full_info().pss for each in tree) / 2**20)
                processes.append(float(len(tree)))
                downs.append(float(_health(client).get("DOWN", 0)))
    case = f"thirdring run, {count} targets"
    return [
        row(case, "pss", "MB", together, below=BOTH),
        row(case, "processes", "count", processes),
        row(case, "false_downs", "targets", downs, never_above=0),
    ]


def _until_up(client: Client, count: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + UP_WITHIN
    while True:
        why = "not all targets are up"
        try:
            if _health(client).get("UP", 0) == count:
                return
        except CallFailed as error:
            why = str(error)
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{why}; the controller's log ends:\n{log.read_text()[-3000:]}")
        time.sleep(1.0)


def _health(client: Client) -> dict[str, int]:
    """How many targets are in which health."""
    found: dict[str, int] = client.get("/api/v1/status")["health"]
    return found


@contextlib.contextmanager
def _running(configuration: Path, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "controller", "run", "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=CHECKOUT,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
