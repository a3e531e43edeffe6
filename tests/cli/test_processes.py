"""The command as a process of its own: the installed script, a controller it starts, and one it can't."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.cli.exits import Exit
from tests.builders.consoles import Sides, write_configuration

SCRIPT = Path(sys.executable).with_name("thirdring")


def thirdring(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "LANG": "C.UTF-8", "THIRDRING_LANGUAGE": "en"},
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture
def sides() -> Iterator[Sides]:
    made = Sides()
    yield made
    made.close()


def test_no_controller(tmp_path: Path) -> None:
    said = thirdring("--socket", str(tmp_path / "none"), "status")
    assert said.returncode == Exit.UNREACHABLE
    assert "no controller answers" in said.stderr and "thirdring run" in said.stderr
    assert "THIRDRING_SOCKET" in said.stderr and said.stdout == ""


def test_one_runs_and_a_second_one_says_why_it_does_not(tmp_path: Path, sides: Sides) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = write_configuration(tmp_path, sides, {"http:\n": f"http:\n  port: {port}\n"})
    running = subprocess.Popen(
        [str(SCRIPT), "--json", "run", "-c", str(path), "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = running.stdout.readline()
            assert line, running.communicate()
            text += line
        ready = json.loads(text)
        assert ready["address"] == f"http://127.0.0.1:{port}"
        said = thirdring("--socket", ready["control"], "status", "--json")
        assert said.returncode == Exit.DONE and json.loads(said.stdout)["node"] == "test"
        said = thirdring("run", "-c", str(path))
        assert said.returncode == Exit.PROBLEM
        assert f"another controller (process {running.pid})" in said.stderr and "Traceback" not in said.stderr
        running.send_signal(signal.SIGTERM)
        _, complaints = running.communicate(timeout=30)
        assert running.returncode == Exit.DONE, complaints
        assert complaints == "" and not Path(ready["control"]).exists()
    finally:
        if running.poll() is None:
            running.kill()
            running.communicate()
