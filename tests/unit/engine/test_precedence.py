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


FOLLOWER = """
import os, sys
from controller.engine import precedence
for line in sys.stdin:
    if line.strip() == "give up":
        precedence._give_up(0, None)
    precedence.follow(os.getppid(), precedence.Precedence.PROBER)
    print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0).sched_priority, flush=True)
"""


@privileged
def test_the_process_and_its_threads_have_it_and_what_they_start_does_not() -> None:
    found = said(
        """
seen = {}
go = threading.Event()
def wait():
    go.wait()
    seen["thread"] = policy(0)
thread = threading.Thread(target=wait)
thread.start()
taken = precedence.take(precedence.Precedence.CONTROLLER)
go.set(); thread.join()
late = threading.Thread(target=lambda: seen.update(late=policy(0)))
late.start(); late.join()
child = subprocess.run([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"], capture_output=True, text=True)
print(json.dumps({"taken": taken, "main": policy(0), "child": int(child.stdout), **seen}))
"""
    )
    assert found == {
        "taken": True,
        "main": os.SCHED_RR,
        "thread": os.SCHED_RR,
        "late": os.SCHED_OTHER,
        "child": os.SCHED_OTHER,
    }


@privileged
def test_a_prober_follows_its_parent_once() -> None:
    found = said(
        f"""
child = subprocess.Popen([sys.executable, "-c", {FOLLOWER!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def told(word):
    print(word, file=child.stdin, flush=True)
    return [int(part) for part in child.stdout.readline().split()]
before = told("look")
precedence.take(precedence.Precedence.CONTROLLER)
after, given_up = told("look"), told("give up")
child.stdin.close(); child.wait()
own = os.sched_getparam(0).sched_priority
print(json.dumps(dict(before=before, after=after, given_up=given_up, own=own)))
"""
    )
    lowest = os.sched_get_priority_min(os.SCHED_RR)
    assert found == {
        "before": [os.SCHED_OTHER, 0],
        "after": [os.SCHED_RR, lowest],
        "given_up": [os.SCHED_OTHER, 0],
        "own": lowest + 1,
    }


@privileged
def test_what_computes_without_a_pause_goes_back_to_all_others_and_goes_on() -> None:
    found = said(
        """
precedence.LONGEST = 0.2
parked = threading.Event()
kept = {}
def wait():
    parked.wait()
    kept["thread"] = policy(0)
thread = threading.Thread(target=wait)
thread.start()
kept["taken"] = precedence.take(precedence.Precedence.CONTROLLER)
until = time.monotonic() + 20
while policy(0) == os.SCHED_RR and time.monotonic() < until:
    pass
parked.set(); thread.join()
print(json.dumps({"main": policy(0), **kept}))
"""
    )
    assert found == {"main": os.SCHED_OTHER, "taken": True, "thread": os.SCHED_OTHER}


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
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    command = runner.run(run(["sh", "-c", "cut -d' ' -f41 /proc/self/stat"], environment={}))
print(json.dumps({"main": policy(0), "command": int(command)}))
"""
    )
    assert found == {"main": os.SCHED_RR, "command": os.SCHED_OTHER}
