"""The controller in the demo: `thirdring run -c config/demo.yaml` in a process of its own, asked over its control socket."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from controller.cli.client import CallFailed, Client
from controller.cli.exits import Exit
from demo_platform.errors import NotDone, NotReady
from demo_platform.layout import LAYOUT_FILE
from demo_platform.processes import Processes, python

ROLE = "controller"
LOCK = "lock"
"""Held by the demo that uses the directory."""
READY_S = 30.0
POLL_S = 0.1

Entry = Mapping[str, Any]
"""A line of the timeline, as the API shows it."""


class ControllerProcess:
    """`control` is the socket named in the configuration."""

    def __init__(self, processes: Processes, configuration: Path, control: Path, *, language: str) -> None:
        self._processes = processes
        self._configuration = configuration
        self._control = control
        self._language = language
        self._client = Client(str(control))
        self._seen = 0

    def start(self, *, again: bool = False) -> None:
        """Returns once it answers; `again` keeps what it said before. Raises NotReady with its own last words."""
        if not again:
            self._processes.log(ROLE).unlink(missing_ok=True)
        self._processes.start(
            ROLE,
            python("controller", "--language", self._language, "run", "-c", str(self._configuration)),
            THIRDRING_LANGUAGE=self._language,
        )
        deadline = time.monotonic() + READY_S
        while True:
            try:
                self.status()
                return
            except CallFailed as error:
                if self._processes.exit_status(ROLE) is not None:
                    raise NotReady(f"the controller did not start:\n{self.last_words()}") from None
                if time.monotonic() > deadline:
                    raise NotReady(
                        f"the controller does not answer within {READY_S:g} s: {error}\n{self.last_words()}"
                    ) from None
            time.sleep(POLL_S)

    @property
    def running(self) -> bool:
        return self._processes.alive(ROLE)

    def ending(self) -> str:
        """How the process that was started last has ended: `exit status 1`, `SIGKILL`."""
        status = self._processes.exit_status(ROLE)
        if status is None:
            return "?"
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def last_words(self) -> str:
        lines = self._processes.log(ROLE).read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])

    def status(self) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self._client.get("/api/v1/status")
        return answer

    def group(self) -> str:
        """The protected group's name. Raises NotDone when the configuration has none."""
        names = [str(group["name"]) for group in self.status()["groups"]]
        if not names:
            raise NotDone(f"{self._configuration} has no group")
        return names[0]

    def arm(self, group: str, *, patience: float, waiting: Callable[[tuple[str, ...]], None]) -> None:
        """Arm as soon as nothing stands against it; `waiting` is told what does, when that changes.

        Raises NotReady after `patience` seconds.
        """
        deadline = time.monotonic() + patience
        told: tuple[str, ...] = ()
        path = f"/api/v1/groups/{group}/arm"
        while True:
            # Asked in a dry run first: a refused request is a line of the timeline.
            reasons = tuple(self._client.post(path, {"dry_run": True})["refused"])
            if not reasons:
                try:
                    self._client.post(path, {"dry_run": False})
                    return
                except CallFailed as error:
                    if error.code is not Exit.REFUSED:
                        raise
                    reasons = error.reasons or (str(error),)
            if reasons != told:
                waiting(reasons)
                told = reasons
            if time.monotonic() > deadline:
                raise NotReady(f"{group} can't be armed, {patience:g} s after the start: {', '.join(told)}")
            time.sleep(POLL_S)

    def news(self) -> Iterator[Entry]:
        """What the timeline has got since the last time."""
        entries = self._client.get("/api/v1/timeline", after=self._seen, limit=1000)["entries"]
        for entry in entries:
            self._seen = entry["sequence"]
            yield entry

    def incidents(self) -> list[Mapping[str, Any]]:
        """Newest first."""
        found: list[Mapping[str, Any]] = self._client.get("/api/v1/incidents")["incidents"]
        return found

    def incident(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._client.get(f"/api/v1/incidents/{name}")
        return found

    def report(self, incident: str, path: Path) -> None:
        """`thirdring report INCIDENT --format html -o PATH`. Raises NotDone."""
        done = subprocess.run(
            python(
                "controller",
                *("--socket", str(self._control), "--language", self._language),
                *("report", incident, "--format", "html", "--output", str(path)),
            ),
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode != 0 or not path.exists():
            raise NotDone(f"no report: {(done.stderr or done.stdout).strip()}")

    def verify(self) -> list[str]:
        """What does not hold of the journal's chain and the invariants; empty: all does."""
        found: list[str] = self._client.verification()["violations"]
        return found


def clear(directory: Path) -> None:
    """Make the demo's directory fresh; reports of earlier runs stay.

    Raises NotDone for a directory that has things in it and was not made by the demo.
    """
    if not directory.exists():
        return
    entries = [path for path in directory.iterdir() if path.name != LOCK]
    if entries and not (directory / LAYOUT_FILE).exists() and not (directory / "processes").exists():
        raise NotDone(f"{directory} is not the demo's; move it away or name another with --directory")
    for path in sorted(directory.rglob("*"), key=lambda found: -len(found.parts)):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif not path.name.startswith("report-") and path.name != LOCK:
            path.unlink()
