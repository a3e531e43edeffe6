"""What a host can see of its own side that nobody outside sees as soon: dead, stopped and hung processes, full queues.

Told at once when it changes. It is one kind of evidence; a switch needs another beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from controller.agent.processes import DEAD_LETTERS, STOPPED_LETTERS, Process, Processes
from controller.agent.queues import waiting
from controller.agent.settings import EvidenceSettings
from controller.sip.options import OptionsTemplate, match_response

log = logging.getLogger(__name__)


class Verdict(StrEnum):
    ALIVE = "alive"
    DEAD = "dead"  # no process, or zombies only
    STOPPED = "stopped"  # every process is suspended
    HUNG = "hung"  # processes that answer nothing
    UNKNOWN = "unknown"  # nothing to look at, or no answer was ever heard


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """`processes`: how many run. `queued`: octets (UDP) and connections (TCP) that wait at the watched ports.
    `answered`: seconds since the last own OPTIONS was answered; None: never, or none is sent. `since`: monotonic
    seconds of the verdict's beginning."""

    verdict: Verdict
    processes: int
    queued: int
    answered: float | None
    since: float
    reason: str


class Witness:
    """Looks at one side each `interval`. `evidence` is the newest; `change` waits for another verdict."""

    def __init__(self, settings: EvidenceSettings, processes: Processes | None) -> None:
        self._settings = settings
        self._processes = processes
        self._caller = _Caller(settings.options) if settings.options else None
        self._changed = asyncio.Condition()
        self._queued_since: float | None = None
        self._queued = 0
        self._blind = False
        self.changes = 0
        self.evidence = Evidence(
            verdict=Verdict.UNKNOWN,
            processes=0,
            queued=0,
            answered=None,
            since=time.monotonic(),
            reason="not looked at yet",
        )

    async def run(self) -> None:
        """Until cancelled."""
        interval = self._settings.interval
        due = time.monotonic()
        try:
            if self._caller is not None:
                self._caller.open()
            while True:
                late = time.monotonic() - due
                if late > self._settings.hung_after / 4:
                    self._void()
                if self._caller is not None:
                    self._caller.ask()
                await self._look()
                due = time.monotonic() + interval
                await asyncio.sleep(interval)
        finally:
            if self._caller is not None:
                self._caller.close()

    async def change(self, seen: int) -> Evidence:
        """The newest evidence once `changes` is no longer `seen`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.changes != seen)
            return self.evidence

    def _void(self) -> None:
        """This process did not run for a while: what it missed is no evidence."""
        now = time.monotonic()
        self._queued_since = None
        if self._caller is not None and self._caller.answered is not None:
            self._caller.answered = max(self._caller.answered, now)

    async def _look(self) -> None:
        members: tuple[Process, ...] = ()
        if self._processes is not None:
            known = self._processes.known()
            # In a thread: on a host with thousands of processes it takes longer than a round.
            members = known if known is not None else await asyncio.to_thread(self._processes.search)
        now = time.monotonic()
        queued = self._waiting()
        answered = self._caller.since(now) if self._caller is not None else None
        verdict, reason = self._judge(now, [one.state for one in members], queued, answered)
        before = self.evidence
        self.evidence = Evidence(
            verdict=verdict,
            processes=sum(one.state not in DEAD_LETTERS for one in members),
            queued=queued,
            answered=answered,
            since=before.since if verdict is before.verdict else now,
            reason=reason,
        )
        if verdict is not before.verdict:
            async with self._changed:
                self.changes += 1
                self._changed.notify_all()

    def _waiting(self) -> int:
        if not self._settings.ports or self._blind:
            return 0
        try:
            return waiting(self._settings.ports)
        except OSError as error:
            self._blind = True
            log.warning("queues can't be watched here: %s", error, extra={"action": "evidence"})
            return 0

    def _judge(
        self, now: float, states: Sequence[str], queued: int, answered: float | None
    ) -> tuple[Verdict, str]:
        if self._processes is not None:
            if all(state in DEAD_LETTERS for state in states):
                return Verdict.DEAD, "no process" if not states else "zombies only"
            if all(state in STOPPED_LETTERS | DEAD_LETTERS for state in states):
                return Verdict.STOPPED, "every process is suspended"
            if self._processes.suspended():
                return Verdict.STOPPED, "its unit is frozen"
        if queued == 0 or queued < self._queued:
            self._queued_since = None
        elif self._queued_since is None:
            self._queued_since = now
        self._queued = queued
        limit = self._settings.hung_after
        if answered is not None and answered >= limit:
            return Verdict.HUNG, f"no answer to an OPTIONS of its own for {answered:.2f} s"
        if self._queued_since is not None and now - self._queued_since >= limit:
            return Verdict.HUNG, f"{queued} waiting in its sockets, and nothing taken for {limit:g} s"
        if answered is None and self._processes is None:
            return (
                Verdict.UNKNOWN,
                "nothing answered yet" if self._caller is not None else "nothing to look at",
            )
        return Verdict.ALIVE, ""


class _Caller:
    """Sends OPTIONS from a socket of its own on this host, and knows when one was last answered (by any status)."""

    def __init__(self, uri: str) -> None:
        host, _, port = uri.removeprefix("sip:").rpartition("@")[2].rpartition(":")
        self._to = (str(ip_address(host.strip("[]"))), int(port))
        self._uri = uri
        self._socket: socket.socket | None = None
        self._template: OptionsTemplate | None = None
        self._asked: dict[bytes, float] = {}
        self.answered: float | None = None

    def open(self) -> None:
        family = socket.AF_INET6 if ":" in self._to[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(("::" if family == socket.AF_INET6 else "", 0))
        port = self._socket.getsockname()[1]
        host = "[::1]" if family == socket.AF_INET6 else "127.0.0.1"
        self._template = OptionsTemplate(
            uri=self._uri, sent_by=f"{host}:{port}", user_agent="Third-Ring-Agent"
        )
        asyncio.get_running_loop().add_reader(self._socket, self._heard)

    def ask(self) -> None:
        if self._socket is None or self._template is None:
            return
        self._heard()
        branch = b"z9hG4bK" + secrets.token_hex(8).encode()
        datagram = self._template.render(
            branch=branch, tag=secrets.token_hex(4).encode(), call_id=secrets.token_hex(8).encode()
        )
        if len(self._asked) > 100:
            self._asked.clear()
        self._asked[branch] = time.monotonic()
        with contextlib.suppress(OSError):  # a refused port is told by the process, and by the missing answer
            self._socket.sendto(datagram, self._to)

    def since(self, now: float) -> float | None:
        return None if self.answered is None else now - self.answered

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _heard(self) -> None:
        while self._socket is not None:
            try:
                datagram = self._socket.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error that was queued
            key = match_response(datagram)
            if key is not None and self._asked.pop(key.branch, None) is not None:
                self.answered = time.monotonic()
