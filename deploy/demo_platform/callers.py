"""Calls through the edge, and what became of them: the lab's measuring instrument, on the demo's addresses.

callers.start(); ...; callers.progress(); ...; report = callers.stop(); report.outage()
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from demo_platform.errors import NotReady
from demo_platform.layout import Layout
from demo_platform.processes import Processes, python
from lab.callers import CallReport, read_report
from lab.calling import Plan

ROLE = "callers"
USER = "hotline"
HOLD_S = 0.4
RTP_PACKETS = 10
READY_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Calls that have ended so far. `last_side`: who answered the last one, empty if nobody did."""

    ended: int
    answered: int
    failed: int
    last_side: str


class Callers:
    """`rate` calls a second, each held for `HOLD_S` with sound both ways; at most `seconds` of them."""

    def __init__(
        self,
        processes: Processes,
        layout: Layout,
        *,
        rate: float = 20.0,
        seconds: float = 600.0,
        patience_s: float = 4.0,
    ) -> None:
        self._processes = processes
        self._plan = Plan(
            output=str(processes.directory / "calls.jsonl"),
            local=layout.callers.host,
            targets=[layout.edge.host],
            user=USER,
            rate=rate,
            calls=round(rate * seconds),
            hold_s=HOLD_S,
            patience_s=patience_s,
            rtp_packets=RTP_PACKETS,
            signalling_port=layout.callers.port,
            media_port=layout.callers.port + 1,
            target_port=layout.edge.port,
        )
        self._read = 0
        self._progress = Progress(ended=0, answered=0, failed=0, last_side="")

    @property
    def output(self) -> Path:
        """One JSON object a call, written when it ends (lab.calling)."""
        return Path(self._plan.output)

    def start(self) -> None:
        """Returns when the first call is about to be placed. Raises NotReady."""
        self.output.unlink(missing_ok=True)
        plan = self._processes.directory / "calls.plan.json"
        plan.write_text(json.dumps(asdict(self._plan)))
        self._processes.start(ROLE, python("demo_platform.calling", str(plan)))
        deadline = time.monotonic() + READY_S
        while not self.output.exists():
            if self._processes.exit_status(ROLE) is not None or time.monotonic() > deadline:
                raise NotReady(f"the callers did not start; see {self._processes.log(ROLE)}")
            time.sleep(0.02)

    @property
    def running(self) -> bool:
        return self._processes.alive(ROLE)

    def progress(self) -> Progress:
        answered, failed, side = 0, 0, self._progress.last_side
        for call in self._new():
            if "late" in call:
                continue
            good = call["outcome"] == "answered"
            answered += good
            failed += not good
            side = str(call["side"] or "") if good else ""
        before = self._progress
        self._progress = Progress(
            ended=before.ended + answered + failed,
            answered=before.answered + answered,
            failed=before.failed + failed,
            last_side=side,
        )
        return self._progress

    def stop(self) -> CallReport:
        """Place no more calls and let those under way end."""
        self._processes.end(ROLE, patience=self._plan.patience_s + self._plan.hold_s + 5)
        return read_report(self.output)

    def hang_up(self) -> None:
        """End the callers at once, whatever is under way."""
        self._processes.end(ROLE, first=signal.SIGKILL)

    def _new(self) -> Iterator[dict[str, object]]:
        """The calls written since the last time; a line still being written is left for the next."""
        with self.output.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                yield json.loads(line)
