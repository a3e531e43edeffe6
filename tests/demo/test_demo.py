"""`deploy/demo` itself, with a real controller, on the addresses of the shipped configuration: the main job end to end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.cli.client import Client
from demo_platform.layout import Role
from demo_platform.processes import DIRECTORY, Processes

CHECKOUT = Path(__file__).parents[2]
RUN_S = 110


def start(*options: str) -> subprocess.Popen[str]:
    """What deploy/demo runs once the environment is there."""
    return subprocess.Popen(
        [sys.executable, "-m", "demo_platform.demo", *options],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": "deploy"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def started(demo: subprocess.Popen[str]) -> None:
    """Until the controller serves and calls run."""
    processes = Processes(CHECKOUT / DIRECTORY)
    deadline = time.monotonic() + 60
    while not processes.alive("callers"):
        assert demo.poll() is None, demo.communicate()
        assert time.monotonic() < deadline, "the demo does not start"
        time.sleep(0.05)


def living() -> list[str]:
    processes = Processes(CHECKOUT / DIRECTORY)
    return [role for role in processes.roles() if processes.alive(role)]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    assert living() == []


def run(*options: str) -> tuple[int, dict[str, Any]]:
    demo = start("--json", *options)
    try:
        output, errors = demo.communicate(timeout=RUN_S)
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGTERM)
            demo.communicate(timeout=30)
    assert errors == "", errors
    return demo.returncode, json.loads(output)


@pytest.mark.parametrize("fault", ["killed", "hung", "zombie"])
def test_the_primary_breaks_and_the_backup_takes_the_calls(fault: str) -> None:
    status, result = run("--fault", fault, "--language", "en")
    assert result["good"] and status == 0, result
    calls, reached = result["calls"], result["milestones"]
    assert calls["after_side"] == Role.BACKUP
    assert calls["bad_before_fault"] == 0
    assert 0 < calls["lost"] < calls["placed"]
    assert calls["outage_ms"] > 0
    # In the order of the design: named, decided, fenced, redirected, verified.
    order = [reached[name] for name in ("fault_named", "switch_started", "fenced", "redirected", "verified")]
    assert None not in order and order == sorted(order)
    assert len(result["page"]) == 4 and all(result["page"])
    assert result["incident"] in result["page"][0]
    assert result["acknowledge"].startswith("http://127.0.0.1:18080/a/")
    report = Path(result["report"])
    text = report.read_text()
    assert result["incident"] in text
    assert "尚未计入" not in text and "still to come" not in text, "it is final on the calls lost"
    report.unlink()


def test_an_interrupted_demo_ends_all_it_started() -> None:
    demo = start("--language", "en")
    started(demo)
    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert "interrupted" in errors


def test_a_second_demo_is_told_and_what_a_killed_one_left_is_ended_by_the_next() -> None:
    first = start("--language", "en")
    started(first)
    second = start("--language", "en")
    _, errors = second.communicate(timeout=30)
    assert second.returncode == 69 and "a demo is running" in errors and str(first.pid) in errors
    first.kill()
    first.communicate(timeout=30)
    assert living() != []
    third = start("--language", "en")
    assert third.stdout is not None
    said = next(line for line in third.stdout if line.startswith("1 "))  # the platform stands
    third.send_signal(signal.SIGTERM)
    third.communicate(timeout=30)
    assert "ended what an earlier run left" in said
    assert third.returncode == 130


def test_a_controller_that_dies_is_started_again_while_the_demo_stays() -> None:
    demo = start("--stay", "--language", "en")
    try:
        assert demo.stdout is not None
        said = iter(demo.stdout)
        assert any("The demo goes on" in line for line in said)
        record = Processes(DIRECTORY).record("controller")
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)
        assert any("the controller ended (SIGKILL); starting it again" in line for line in said)
        assert any("recovered from its journal" in line for line in said)
        again = Processes(DIRECTORY).record("controller")
        assert again is not None and again.pid != record.pid
        (group,) = Client(str(DIRECTORY / "thirdring.sock")).get("/api/v1/status")["groups"]
        assert group["armed"]
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=30)
    assert demo.returncode == 130


def test_a_fault_by_hand_does_not_wait_for_an_installation(tmp_path: Path) -> None:
    """The script of another checkout, whose environment is older than its pyproject.toml, and no demo running."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("demo_platform", "lab"):
        (tmp_path / "deploy" / name).symlink_to(CHECKOUT / "deploy" / name)
    script = tmp_path / "deploy" / "demo"
    script.write_text((CHECKOUT / "deploy" / "demo").read_text())
    (tmp_path / "deploy" / "environment").write_text("#!/bin/sh\necho installing >&2\nexit 1\n")
    (tmp_path / "deploy" / "environment").chmod(0o755)
    for arguments in (("break", "hung"), ("heal", "primary")):
        done = subprocess.run(
            ["bash", str(script), *arguments, "--directory", str(tmp_path / "none")],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 69 and done.stderr.startswith("demo: no demo"), done
