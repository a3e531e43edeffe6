"""Faults of the demo platform, put in and taken out while calls run. Each makes sure that it had its effect."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from typing import Any

from demo_platform.errors import NotDone
from demo_platform.fence import mark
from demo_platform.layout import SIDES, Layout, Role
from demo_platform.processes import Processes
from lab import sip

EFFECT_S = 3.0


class Fault(StrEnum):
    KILLED = "killed"  # the process is gone: its port refuses
    HUNG = "hung"  # the process is stopped: its port swallows
    ZOMBIE = "zombie"  # OPTIONS 200, INVITE 503
    DEAF = "deaf"  # one-way audio: what callers say gets lost
    MUTE = "mute"  # one-way audio: callers hear nothing


class Faults:
    """Of the platform that `processes` belong to. Sides may have any fault, the echo service, agents and edge be killed
    or hung.
    """

    def __init__(self, processes: Processes, layout: Layout) -> None:
        self._processes = processes
        self._layout = layout

    def put_in(self, fault: Fault, role: Role) -> float:
        """Returns when, in monotonic seconds: from just before. Raises NotDone if it has no effect."""
        if fault not in (Fault.KILLED, Fault.HUNG) and role not in SIDES:
            raise NotDone(f"{role} can be killed or hung; {fault} is for {' and '.join(SIDES)}")
        if not self._processes.alive(role):
            raise NotDone(f"{role} is not running")
        at = time.monotonic()
        match fault:
            case Fault.KILLED:
                self._processes.send(role, signal.SIGKILL)
                self._wait(lambda: not self._processes.alive(role), f"{role} survives SIGKILL")
            case Fault.HUNG:
                self._processes.send(role, signal.SIGSTOP)
                self._wait(lambda: self._processes.stopped(role), f"{role} does not stop")
            case Fault.ZOMBIE:
                self._throw(role, {"zombie": True})
                self._wait(
                    lambda: (self._status(role, "OPTIONS"), self._status(role, "INVITE")) == (200, 503),
                    f"{role} still takes calls",
                )
            case Fault.DEAF:
                self._throw(role, {"one_way": "in"})
            case Fault.MUTE:
                self._throw(role, {"one_way": "out"})
        return at

    def take_out(self, role: Role, restart: Callable[[Role], None]) -> str:
        """Whatever fault it is; returns what was done. A fence stays as it is: letting a side back in is the
        controller's decision. Raises NotDone if the process doesn't get well.
        """
        if not self._processes.alive(role):
            restart(role)
            done = "started again"
        elif self._processes.stopped(role):
            self._processes.send(role, signal.SIGCONT)
            done = "continued"
        else:
            done = "switches back to normal"
        if role in SIDES:
            self._throw(role, {"zombie": False, "one_way": ""})
            fenced = mark(self._processes.directory, role).exists()
            done += ", still fenced" if fenced else ""
        self._wait(lambda: self._status(role, "OPTIONS") == 200, f"{role} does not answer")
        return done

    def read(self, side: Role) -> dict[str, Any]:
        """The side's switches. Raises NotDone if it doesn't answer."""
        return self._call("GET", side, b"")

    def _throw(self, side: Role, switches: dict[str, object]) -> None:
        answer = self._call("PUT", side, json.dumps(switches).encode())
        if not switches.items() <= answer.items():
            raise NotDone(f"{side} did not throw its switches: {answer}")

    def _call(self, method: str, side: Role, body: bytes) -> dict[str, Any]:
        connection = HTTPConnection(*self._layout.control(side), timeout=EFFECT_S)
        try:
            connection.request(method, "/", body)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError) as error:
            raise NotDone(f"{side} does not answer at its fault switches: {error}") from error
        finally:
            connection.close()
        return answer

    def _status(self, role: Role, method: str) -> int | None:
        """How it answers a request of ours."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            answer = sip.exchange(sock, method, "", self._layout.sip(role), timeout_s=0.3)
        return None if answer is None else answer.status

    def _wait(self, has_effect: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + EFFECT_S
        while not has_effect():
            if time.monotonic() > deadline:
                raise NotDone(otherwise)
            time.sleep(0.01)
