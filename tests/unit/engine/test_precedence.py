"""Real-time scheduling of the controller's process, each case in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

POLICY = "lambda pid: os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK"


def permitted() -> bool:
    trial = "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"
    return subprocess.run([sys.executable, "-c", trial], capture_output=True, timeout=30).returncode == 0


privileged = pytest.mark.skipif(not permitted(), reason="real-time scheduling is not permitted here")


def said(program: str, **settings: bool) -> dict[str, object]:
    head = "import json, os, subprocess, sys, threading, time; from controller.engine import precedence"
    run = subprocess.run(
        [sys.executable, "-c", f"{head}; policy = {POLICY}\n{program}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, object] = json.loads(run.stdout)
    return found


@privileged
def test_the_process_and_its_threads_have_it_and_its_children_do_not() -> None:
    found = said(
        """
taken = precedence.take(precedence.Precedence.CONTROLLER)
seen = {}
go = threading.Event()
thread = threading.Thread(target=lambda: seen.update(thread=policy(0)))
thread.start(); thread.join()
precedence.keep()
child = subprocess.run([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"], capture_output=True, text=True)
print(json.dumps({"taken": taken, "main": policy(0), "child": int(child.stdout), **seen}))
"""
    )
    assert found == {"taken": True, "main": os.SCHED_RR, "thread": os.SCHED_RR, "child": os.SCHED_OTHER}


@privileged
def test_what_computes_without_a_pause_goes_back_to_all_others_and_goes_on() -> None:
    found = said(
        """
precedence.LONGEST = 0.2
parked = threading.Event()
kept = {}
def wait():
    kept["before"] = policy(0)
    parked.wait()
    kept["after"] = policy(0)
precedence.take(precedence.Precedence.CONTROLLER)
thread = threading.Thread(target=wait)
thread.start()
precedence.keep()
until = time.monotonic() + 20
while policy(0) == os.SCHED_RR and time.monotonic() < until:
    pass
parked.set(); thread.join()
print(json.dumps({"main": policy(0), **kept}))
"""
    )
    assert found == {"main": os.SCHED_OTHER, "before": os.SCHED_RR, "after": os.SCHED_OTHER}


def test_where_it_is_not_permitted_the_process_goes_on_without() -> None:
    found = said(
        """
import resource
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
print(json.dumps({"taken": precedence.take(precedence.Precedence.CONTROLLER), "main": policy(0)}))
"""
    )
    assert found == {"taken": False, "main": os.SCHED_OTHER}


@privileged
def test_a_sides_command_has_it_too_and_what_that_starts_does_not() -> None:
    found = said(
        """
import asyncio, uvloop
from controller.actions.processes import run
precedence.take(precedence.Precedence.CONTROLLER)
precedence.keep()
show = "import os; print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, flush=True)"
script = f"import subprocess, sys, time; time.sleep(0.1); {show}; subprocess.run([sys.executable, '-c', {show!r}])"
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    command, its_child = runner.run(run([sys.executable, "-c", script], environment={})).split()
child = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True)
print(json.dumps({"main": policy(0), "command": int(command), "its": int(its_child), "other": int(child.stdout)}))
"""
    )
    assert found == {
        "main": os.SCHED_RR,
        "command": os.SCHED_RR,
        "its": os.SCHED_OTHER,
        "other": os.SCHED_OTHER,
    }


@privileged
def test_a_sides_command_runs_without_it_where_it_can_not_be_passed_on() -> None:
    found = said(
        """
import asyncio, uvloop
from controller.actions.processes import run
precedence.take(precedence.Precedence.CONTROLLER)
precedence.keep()
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    command = runner.run(run(["sh", "-c", "cut -d' ' -f41 /proc/self/stat"], environment={}))
print(json.dumps({"main": policy(0), "command": int(command)}))
"""
    )
    assert found == {"main": os.SCHED_RR, "command": os.SCHED_OTHER}
