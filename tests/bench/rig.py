"""The real controller in a lab: started, armed, watched, killed, and its record read.

with Lab.create(FAST_LAB) as lab, Rig(lab) as rig:
    rig.arm()
    with Callers(lab) as callers, inject(lab, ProcessKilled()) as fault:
        incident = rig.wait_incident(lambda found: found["mitigated_wall"])
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from controller.cli.client import CallFailed, Client
from lab.laboratory import Lab, LabSettings
from lab.topology import Host

CHECKOUT: Final = Path(__file__).resolve().parents[2]
FAST_LAB: Final = LabSettings(both_sides_active=True, fr_timer_ms=100)
STANDARD_LAB: Final = LabSettings(both_sides_active=True, fr_timer_ms=1000)
"""What the two configurations count on: the profile's edge timer, and a standby that the edges may fall back on."""

PAGER_PORT: Final = 18092
GROUP: Final = "calls"


class Pager:
    """A webhook receiver on the controller's host; `pages` are the bodies in the order they came."""

    def __init__(self, lab: Lab) -> None:
        pages: list[dict[str, Any]] = []
        self.pages = pages

        class Receive(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                pages.append(json.loads(body) | {"received": time.time()})
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                """Not into the test's output."""

        self._server = HTTPServer(("", 0), Receive, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = lab.network.socket(Host.CONTROLLER, socket.SOCK_STREAM)
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.socket.bind(("127.0.0.1", PAGER_PORT))
        self._server.server_activate()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Rig:
    """`profile`: of config/lab.yaml's group and probes. `extra` is YAML laid over it, in its
    shape; `change` alters its group in place."""

    def __init__(
        self,
        lab: Lab,
        *,
        profile: str = "fast",
        extra: str = "",
        change: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.lab = lab
        self.directory = Path(tempfile.mkdtemp(prefix="rig-"))
        self.pager = Pager(lab)
        self.configuration = self.directory / "controller.yaml"
        shipped = CHECKOUT / "config" / "lab.yaml"
        group = yaml.safe_load(shipped.read_text())["groups"][GROUP]
        if change is not None:
            change(group)
        self.configuration.write_text(f"""
include: [{shipped}]
profile: {profile}
groups: {json.dumps({GROUP: group})}
name: lab
node: {{name: rig, data: data}}
people:
  on-call:
    display: on-call
    role: emergency team
    language: en
    channels: [{{name: receiver, kind: webhook, with: {{url: "http://127.0.0.1:{PAGER_PORT}/page"}}}}]
escalation:
  levels: [{{people: [on-call], after: 0}}]
  repeat: 60s
  severities: [SEV1, SEV2, SEV3]
{extra}
""")
        self.client = Client(str(self.directory / "data" / "control"))
        self._environment = {"LAB": lab.name}
        self._process: subprocess.Popen[str] | None = None

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self, *, timeout_s: float = 20.0) -> None:
        """Returns when the controller leads and answers. Raises RuntimeError with its log's end."""
        with (self.directory / "log").open("a") as log:
            self._process = self.lab.popen(
                Host.CONTROLLER,
                [sys.executable, "-m", "controller", "run", "-c", str(self.configuration)],
                environment=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=CHECKOUT,
            )
        self.wait(lambda: self.status()["leader"], "leadership", timeout_s=timeout_s)

    def kill(self) -> None:
        """kill -9 of the controller alone: its prober must notice by itself."""
        assert self._process is not None, "not started"
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def close(self) -> None:
        self.stop()
        self.pager.close()
        for side in (Host.PRIMARY, Host.BACKUP):
            subprocess.run(self.lab.unfence_argv(side), capture_output=True, check=False)
        shutil.rmtree(self.directory)

    # What a person does

    def arm(self, *, timeout_s: float = 20.0) -> None:
        """Waits until arming is not refused any more."""

        def armed() -> bool:
            self.client.post(f"/api/v1/groups/{GROUP}/arm")
            return True

        self.wait(armed, "arming", timeout_s=timeout_s)

    def disarm(self) -> None:
        self.client.post(f"/api/v1/groups/{GROUP}/disarm")

    def let_back_in(self) -> None:
        """The fenced side, healed, stands by again."""
        active = self.group()["active"]
        self.client.post(f"/api/v1/groups/{GROUP}/release", {"active": active, "reason": "healed"})
        self.wait(lambda: not self.group()["fenced"], "the fence to be lifted")

    def fail_back(self, *, timeout_s: float = 40.0) -> None:
        """To the preferred side, once the controller permits it; until the switch has ended."""
        before = self.group()["last_switch"]

        def asked() -> bool:
            group = self.group()
            if group["switch"] is None and group["last_switch"] == before:
                self.client.post(f"/api/v1/groups/{GROUP}/failback", {"reason": "healed"})
            return True

        self.wait(asked, "failback to be permitted", timeout_s=timeout_s)
        self.wait(lambda: self.group()["switch"] is None, "failback to end", timeout_s=timeout_s)

    # What it says

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/api/v1/status")
        return found

    def group(self) -> dict[str, Any]:
        return next(group for group in self.status()["groups"] if group["name"] == GROUP)

    def incidents(self) -> list[dict[str, Any]]:
        """Newest first."""
        found: list[dict[str, Any]] = self.client.get("/api/v1/incidents")["incidents"]
        return found

    def timeline(self, *, incident: str = "", after: int = 0) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        while True:
            page = self.client.get("/api/v1/timeline", incident=incident, after=after, limit=5000)["entries"]
            entries += page
            if len(page) < 5000:
                return entries
            after = page[-1]["sequence"]

    @property
    def sequence(self) -> int:
        found: int = self.status()["journal"]["sequence"]
        return found

    def facts(self, kind: str, *, after: int = 0) -> list[dict[str, Any]]:
        return [entry for entry in self.timeline(after=after) if entry["kind"] == kind]

    def violations(self) -> list[str]:
        found: list[str] = self.client.verification()["violations"]
        return found

    def journal_violations(self) -> list[str]:
        """What `thirdring verify` finds in the journal file, with no controller running."""
        argv = [sys.executable, "-m", "controller", "--json", "verify", "--journal"]
        done = subprocess.run(
            [*argv, str(self.directory / "data" / "journal.db")],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        if (done.returncode == 0) is not found["intact"]:
            raise RuntimeError(f"exit code {done.returncode}, but {found}")
        return list(found["violations"])

    def wait(
        self, condition: Callable[[], object], what: str, *, timeout_s: float = 15.0, pause_s: float = 0.05
    ) -> Any:
        """The condition's first true value. Raises RuntimeError with the end of the controller's log."""
        deadline = time.monotonic() + timeout_s
        last = ""
        while True:
            try:
                if found := condition():
                    return found
            except CallFailed as error:
                last = f": {error}"
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                why = "the controller ended" if ended else f"not within {timeout_s:g} s"
                raise RuntimeError(f"{what}: {why}{last}; its log ends:\n{self.log[-3000:]}")
            time.sleep(pause_s)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
