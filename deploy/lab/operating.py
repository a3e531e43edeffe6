"""A person at the ring: asks whichever node leads, arms, lets sides back in, and reads what was written down."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from controller.cli.client import CallFailed, Client
from lab.errors import NotReady
from lab.ring_files import GROUP
from lab.topology import NODES, Host

PAUSE_S: Final = 0.05
PERMIT_S: Final = 60.0


class Operator:
    """`directory`: the lab's, in which each node has its data."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._clients = {node: Client(str(directory / str(node) / "control")) for node in NODES}

    def status(self, node: Host) -> dict[str, Any] | None:
        """None: it does not answer."""
        try:
            found: dict[str, Any] = self._clients[node].get("/api/v1/status")
        except CallFailed:
            return None
        return found

    def leader(self, *, timeout_s: float = 20.0) -> Host:
        """Raises NotReady when none leads by then."""

        def leads() -> Host | None:
            for node in NODES:
                status = self.status(node) if (self._directory / str(node) / "control").exists() else None
                if status is not None and status["leader"]:
                    return node
            return None

        return self.wait(leads, "a node to lead", timeout_s=timeout_s)  # type: ignore[no-any-return]

    def group(self) -> dict[str, Any]:
        """As the leader has it."""

        def found() -> dict[str, Any] | None:
            status = self.status(self.leader())
            return None if status is None else next(one for one in status["groups"] if one["name"] == GROUP)

        return self.wait(found, "the leader to answer")  # type: ignore[no-any-return]

    def active(self) -> Host:
        return Host(self.group()["active"])

    def arm(self, *, timeout_s: float = PERMIT_S) -> None:
        """Until it is not refused any more."""
        self._asked(f"/api/v1/groups/{GROUP}/arm", {}, timeout_s)
        self.wait(lambda: self.group()["armed"], "the group to be armed")

    def let_back_in(self, *, timeout_s: float = PERMIT_S) -> None:
        """The side that was fenced stands by again, if one was."""
        deadline = time.monotonic() + timeout_s
        while (group := self.group())["fenced"]:
            if time.monotonic() > deadline:
                raise NotReady(f"{', '.join(group['fenced'])} is not let back in within {timeout_s:g} s")
            if not group["switch"] and not group["upkeep"]:
                body = {"active": group["active"], "reason": "healed"}
                # Refused while something else is going on: looked at again.
                with contextlib.suppress(CallFailed):
                    self._clients[self.leader()].post(f"/api/v1/groups/{GROUP}/release", body)
            time.sleep(PAUSE_S)

    def switchover(self, *, timeout_s: float = PERMIT_S) -> None:
        """Asked for; not waited for."""
        self._asked(f"/api/v1/groups/{GROUP}/switchover", {"reason": "planned"}, timeout_s)

    def fail_back(self, *, timeout_s: float = PERMIT_S) -> None:
        """Asked for; not waited for."""
        self._asked(f"/api/v1/groups/{GROUP}/failback", {"reason": "healed"}, timeout_s)

    def settled(self) -> bool:
        """Both sides are well, nothing is being done, and nothing but a fault is needed for a switch."""
        group = self.group()
        return (
            group["armed"] is not None
            and group["phase"] == "idle"
            and not any(
                group[name] for name in ("switch", "upkeep", "fenced", "drifted_edges", "unreachable_edges")
            )
            and group["cooldown_seconds"] == 0
            and all(side["health"] == "UP" for side in group["sides"])
        )

    def timeline(self, node: Host, *, after: int = 0) -> list[dict[str, Any]]:
        """The node's entries with a sequence above `after`. Raises CallFailed."""
        entries: list[dict[str, Any]] = []
        while True:
            page = self._clients[node].get("/api/v1/timeline", incident="", after=after, limit=5000)[
                "entries"
            ]
            entries += page
            if len(page) < 5000:
                return entries
            after = page[-1]["sequence"]

    def sequences(self) -> dict[Host, int]:
        """How far each node that answers has written."""
        found = {node: self.status(node) for node in NODES}
        return {node: status["journal"]["sequence"] for node, status in found.items() if status is not None}

    def verify(self, node: Host) -> list[str]:
        """What `thirdring verify` finds in the node's journal file."""
        journal = self._directory / str(node) / "journal.db"
        done = subprocess.run(
            [sys.executable, "-m", "controller", "--json", "verify", "--journal", str(journal)],
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        try:
            found: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            return [f"verify of {node} ends with {done.returncode}: {done.stderr.strip()[-400:]}"]
        return list(found["violations"])

    def wait(self, condition: Callable[[], Any], what: str, *, timeout_s: float = 20.0) -> Any:
        """The condition's first true value. Raises NotReady."""
        deadline = time.monotonic() + timeout_s
        while True:
            if found := condition():
                return found
            if time.monotonic() > deadline:
                raise NotReady(f"{what}: not within {timeout_s:g} s")
            time.sleep(PAUSE_S)

    def _asked(self, path: str, body: dict[str, object], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._clients[self.leader()].post(path, body)
                return
            except CallFailed as error:
                if time.monotonic() > deadline:
                    raise NotReady(f"{path}: refused for {timeout_s:g} s: {error}") from error
                time.sleep(PAUSE_S)
