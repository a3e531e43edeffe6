"""SIPp as the ones who answer, and as a second source of load."""

import csv
from dataclasses import dataclass
from pathlib import Path

from lab.kamailio import CONFIGURATIONS
from lab.topology import SIP_PORT, Answerer


def answerer_argv(who: Answerer) -> list[str]:
    """Answers calls and OPTIONS, and sends RTP back to where it came from."""
    return [
        "sipp",
        "-sf",
        str(CONFIGURATIONS / "answerer.xml"),
        "-i",
        who.address,
        "-p",
        str(SIP_PORT),
        "-mi",
        who.address,
        "-mp",
        str(who.rtp_port),
        "-rtp_echo",
        "-nostdin",
        "-f",
        "60",
    ]


def load_argv(
    *, local: str, target: str, user: str, rate: int, calls: int, port: int, statistics: Path
) -> list[str]:
    """`calls` calls at `rate` a second to `user` at `target`; cumulative statistics go to a CSV file."""
    return [
        "sipp",
        f"{target}:{SIP_PORT}",
        "-sf",
        str(CONFIGURATIONS / "load.xml"),
        "-s",
        user,
        "-i",
        local,
        "-p",
        str(port),
        "-mi",
        local,
        "-r",
        str(rate),
        "-m",
        str(calls),
        "-l",
        str(max(200, rate * 10)),
        "-nostdin",
        "-trace_stat",
        "-stf",
        str(statistics),
        "-fd",
        "1",
        "-f",
        "60",
        "-timeout",
        f"{calls // rate + 15}s",
    ]


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What SIPp counted. `response_ms` is its mean time to the 200."""

    attempted: int
    answered: int
    failed: int
    response_ms: float


def read_statistics(path: Path) -> LoadReport:
    """The last line of a -trace_stat file. Times in it are HH:MM:SS:microseconds."""
    *_, last = csv.DictReader(path.open(), delimiter=";")
    hours, minutes, seconds, micros = (int(part) for part in last["ResponseTime1(C)"].split(":"))
    return LoadReport(
        attempted=int(last["TotalCallCreated"]),
        answered=int(last["SuccessfulCall(C)"]),
        failed=int(last["FailedCall(C)"]),
        response_ms=((hours * 60 + minutes) * 60 + seconds) * 1000 + micros / 1000,
    )
