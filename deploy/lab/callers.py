"""The measuring instrument: what the callers of a platform see, call by call.

    with Callers(lab, rate=100, seconds=10) as callers:
        ...                       # break something
    report = callers.report       # complete once the block has ended
    report.outage()               # or None

An outage runs from the start of the first call that failed or was late to the start of the first call after which all
succeed on time; with a fixed rate its resolution is one call's spacing (10 ms at 100 calls a second).
"""

import json
import math
import signal
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from lab import sipp
from lab.arrivals import Arrival
from lab.calling import Outcome, Plan
from lab.errors import LabError, NotReady
from lab.laboratory import Lab
from lab.sipp import LoadReport
from lab.topology import Host, address

LATE_MS: Final = 500.0


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call. `started`, `ended` are the machine's monotonic clock in seconds (time.monotonic in any process).

    `post_dial_delay_ms`: from the first INVITE to the first 180 or 200 (RFC 6076 4.3.1, successful session request
    delay); `answer_ms`: to the 200; `status`: of the final response; `side`: which platform side it says served it;
    `released`: the BYE was answered; `lag_ms`: how late after its planned time the INVITE left.
    """

    call_id: str
    target: str
    started: float
    ended: float
    lag_ms: float
    outcome: Outcome
    status: int | None
    side: Host | None
    post_dial_delay_ms: float | None
    answer_ms: float | None
    released: bool
    rtp_sent: int
    rtp_received: int

    @property
    def answered(self) -> bool:
        return self.outcome is Outcome.ANSWERED

    def good(self, late_ms: float) -> bool:
        """Answered, and heard ringing or answer within `late_ms`."""
        return self.answered and self.post_dial_delay_ms is not None and self.post_dial_delay_ms <= late_ms


@dataclass(frozen=True, kw_only=True)
class LateAnswer:
    """An answer to a call its caller had already given up."""

    call_id: str
    at: float
    side: Host | None


@dataclass(frozen=True, kw_only=True)
class Outage:
    """`begins` and `ends` are call starts (monotonic seconds). `over` is False if the last call was still bad: then `ends`
    is that call's end, and the true figure is larger. `failed` and `late` count the bad calls inside.
    """

    begins: float
    ends: float
    over: bool
    failed: int
    late: int

    @property
    def duration_ms(self) -> float:
        return (self.ends - self.begins) * 1000


@dataclass(frozen=True, kw_only=True)
class CallReport:
    """Calls in the order of their starts."""

    calls: tuple[Call, ...]
    late_answers: tuple[LateAnswer, ...]

    @property
    def attempted(self) -> int:
        return len(self.calls)

    @property
    def answered(self) -> int:
        return sum(call.answered for call in self.calls)

    @property
    def failed(self) -> int:
        return self.attempted - self.answered

    @property
    def by_side(self) -> Counter[Host | None]:
        """Answered calls by the side that answered."""
        return Counter(call.side for call in self.calls if call.answered)

    def outage(
        self, *, late_ms: float = LATE_MS, since: float = -math.inf, until: float = math.inf
    ) -> Outage | None:
        """The outage among calls started in [since, until), or None if all of them were good.

        `late_ms` math.inf counts failed calls only.
        """
        calls = self.between(since, until)
        bad = [index for index, call in enumerate(calls) if not call.good(late_ms)]
        if not bad:
            return None
        inside = calls[bad[0] : bad[-1] + 1]
        over = bad[-1] + 1 < len(calls)
        failed = sum(not call.answered for call in inside)
        return Outage(
            begins=inside[0].started,
            ends=calls[bad[-1] + 1].started if over else inside[-1].ended,
            over=over,
            failed=failed,
            late=len(bad) - failed,
        )

    def between(self, since: float, until: float = math.inf) -> tuple[Call, ...]:
        """Calls started in [since, until)."""
        return tuple(call for call in self.calls if since <= call.started < until)

    def wrong_side(self, right: Host, *, since: float, until: float = math.inf) -> int:
        """Answered calls, started in [since, until), that another side than `right` served."""
        return sum(call.answered and call.side is not right for call in self.between(since, until))

    def post_dial_delay_ms(
        self, share: float = 0.5, *, since: float = -math.inf, until: float = math.inf
    ) -> float | None:
        """The quantile of post-dial delay over answered calls started in [since, until); None if there are none."""
        delays = sorted(
            call.post_dial_delay_ms
            for call in self.between(since, until)
            if call.post_dial_delay_ms is not None
        )
        return delays[min(len(delays) - 1, math.floor(share * len(delays)))] if delays else None

    def extra_post_dial_delay_ms(
        self, fault_at: float, *, share: float = 0.5, until: float = math.inf
    ) -> float | None:
        """How much longer the post-dial delay's quantile is for calls started in [fault_at, until) than before."""
        before = self.post_dial_delay_ms(share, until=fault_at)
        after = self.post_dial_delay_ms(share, since=fault_at, until=until)
        return None if before is None or after is None else after - before

    def stale(self, arrivals: Sequence[Arrival]) -> list[Arrival]:
        """INVITEs that reached an agent after their call was over for its caller: what a healed side still delivered."""
        ended = {call.call_id: call.ended for call in self.calls}
        return [arrival for arrival in arrivals if arrival.at > ended.get(arrival.call_id, math.inf)]

    @property
    def lag_p99_ms(self) -> float:
        """The instrument's own delay: how late INVITEs left after their planned time."""
        lags = sorted(call.lag_ms for call in self.calls)
        return lags[math.floor(0.99 * len(lags))] if lags else 0.0

    def summary(self) -> dict[str, object]:
        """Figures for people and for --json."""
        outage = self.outage()
        delays = [call.post_dial_delay_ms for call in self.calls if call.post_dial_delay_ms is not None]
        return {
            "attempted": self.attempted,
            "answered": self.answered,
            "failed": self.failed,
            "late": sum(call.answered and not call.good(LATE_MS) for call in self.calls),
            "unreleased": sum(call.answered and not call.released for call in self.calls),
            "by_side": {str(side): count for side, count in sorted(self.by_side.items(), key=str)},
            "late_answers": len(self.late_answers),
            "outage_ms": None if outage is None else round(outage.duration_ms, 1),
            "outage_over": None if outage is None else outage.over,
            "post_dial_delay_ms": round(statistics.median(delays), 2) if delays else None,
            "lag_p99_ms": round(self.lag_p99_ms, 2),
            "rtp_sent": sum(call.rtp_sent for call in self.calls),
            "rtp_received": sum(call.rtp_received for call in self.calls),
        }


class Callers:
    """Calls at a fixed rate from the caller's host, through `targets` in turn (both edges if None; the VIP, or one edge).

    Leaving the context waits for the calls under way (at most `patience_s` + hold + 2 s) after stopping new ones, unless
    `wait` was called before to let all `rate` x `seconds` be placed.
    """

    def __init__(
        self,
        lab: Lab,
        *,
        rate: float = 100,
        seconds: float = 10,
        targets: Sequence[str] | None = None,
        user: str = "agent",
        hold_s: float = 0.3,
        patience_s: float = 4.0,
        rtp_packets: int = 0,
    ) -> None:
        self._lab = lab
        self._plan = Plan(
            output=str(lab.directory / "calls.jsonl"),
            local=address(Host.CALLER),
            targets=list(targets or (edge.address for edge in lab.edges)),
            user=user,
            rate=rate,
            calls=round(rate * seconds),
            hold_s=hold_s,
            patience_s=patience_s,
            rtp_packets=rtp_packets,
        )
        self._process: subprocess.Popen[str] | None = None
        self._report: CallReport | None = None

    @property
    def report(self) -> CallReport:
        """Raises LabError before the calls have ended."""
        if self._report is None:
            raise LabError("the calls have not ended")
        return self._report

    def start(self) -> None:
        """Returns when the first call is about to be placed."""
        environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        self._process = self._lab.popen(
            Host.CALLER,
            [sys.executable, "-m", "lab.calling"],
            environment=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(self._plan)))
        self._process.stdin.close()
        if self._process.stdout.readline() != "ready\n":
            self._process.wait(timeout=5)
            raise NotReady(f"the caller ended with {self._process.returncode}")

    def wait(self) -> CallReport:
        """Let every call be placed and end."""
        plan = self._plan
        return self._finish(plan.calls / plan.rate + plan.patience_s + plan.hold_s + 10)

    def stop(self) -> CallReport:
        """Place no more calls, let those under way end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._finish(self._plan.patience_s + self._plan.hold_s + 10)

    def _finish(self, timeout_s: float) -> CallReport:
        if self._report is None:
            assert self._process is not None, "not started"
            try:
                status = self._process.wait(timeout=timeout_s)
            except subprocess.TimeoutExpired as error:
                self._process.kill()
                self._process.wait()
                raise NotReady("the caller does not end") from error
            finally:
                if self._process.stdout is not None:
                    self._process.stdout.close()
            if status != 0:
                raise LabError(f"the caller ended with {status}")
            self._report = read_report(Path(self._plan.output))
        return self._report

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def read_report(path: Path) -> CallReport:
    """The report of what the calling process wrote."""
    calls, late = [], []
    for line in path.read_text().splitlines():
        document = json.loads(line)
        side = None if document["side"] is None else Host(document["side"])
        if "late" in document:
            late.append(LateAnswer(call_id=document["late"], at=document["at"], side=side))
        else:
            calls.append(Call(**(document | {"side": side, "outcome": Outcome(document["outcome"])})))
    calls.sort(key=lambda call: call.started)
    return CallReport(calls=tuple(calls), late_answers=tuple(late))


def load(
    lab: Lab, *, rate: int = 100, seconds: int = 10, target: str | None = None, user: str = "agent"
) -> LoadReport:
    """The same kind of calls placed by SIPp: counts only, to hold the instrument above against. Blocks till the end."""
    path = lab.directory / "load.csv"
    path.unlink(missing_ok=True)
    argv = sipp.load_argv(
        local=address(Host.CALLER),
        target=target or lab.edges[0].address,
        user=user,
        rate=rate,
        calls=rate * seconds,
        port=5070,
        statistics=path,
    )
    done = subprocess.run(
        lab.exec_argv(Host.CALLER, argv),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        cwd=lab.directory,
        check=False,
    )
    # SIPp ends with 1 if any call failed, which is a finding; above that it could not run.
    if done.returncode not in (0, 1):
        raise LabError(f"sipp ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return sipp.read_statistics(path)
