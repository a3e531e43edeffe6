"""The demo: a call platform, its callers and a controller; the primary breaks, and what became of the calls.

    deploy/demo [--fault killed|hung|zombie] [--rate N] [--stay] [--json] [--language zh|en]
    deploy/demo break FAULT [WHO]      while `deploy/demo --stay` runs: put a fault in, by hand
    deploy/demo heal WHO               take it out again

Exit status 0: the switch was verified, and the callers are served again. 1: it was not. 69: the demo could not be
started (a port in use, say). 130: interrupted. Whatever it started is ended with it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from controller.cli.client import CallFailed
from controller.cli.screen import preferred_language
from demo_platform.by_hand import BY_HAND
from demo_platform.controlling import LOCK
from demo_platform.errors import DemoError, NotDone
from demo_platform.faults import Fault
from demo_platform.processes import DIRECTORY
from demo_platform.screen import Screen
from demo_platform.serving import FAILED
from demo_platform.show import Show
from demo_platform.supervisor import Supervisor

CONFIGURATION = Path("config/demo.yaml")
INTERRUPTED = 130
SHOWN_FAULTS = (Fault.KILLED, Fault.HUNG, Fault.ZOMBIE)


class Interrupted(BaseException):
    """SIGTERM or SIGHUP: end like on Ctrl-C."""


def main(arguments: list[str]) -> int:
    command = BY_HAND.get(arguments[0]) if arguments else None
    try:
        return command(arguments[1:]) if command is not None else run(_options(arguments))
    except (KeyboardInterrupt, Interrupted):
        print("interrupted; everything that was started is ended", file=sys.stderr)
        return INTERRUPTED
    except (DemoError, CallFailed) as error:
        print(f"demo: {error}", file=sys.stderr)
        if "--json" in arguments:
            print(json.dumps({"good": False, "error": str(error)}, ensure_ascii=False))
        return FAILED


def run(options: argparse.Namespace) -> int:
    screen = Screen(zh=options.language == "zh", quiet=options.json)
    with _ending_on_signals(), _alone(options.directory):
        platform = Supervisor(options.directory)
        try:
            show = Show(
                platform,
                screen,
                options.config,
                language=options.language,
                rate=options.rate,
                fault=options.fault,
            )
            result = show.run()
            if options.json:
                print(json.dumps(result.document(), ensure_ascii=False), flush=True)
            if options.stay:
                show.stay()
        finally:
            with _undisturbed():
                platform.stop()
    return 0 if result.good else 1


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="deploy/demo",
        description="Starts a call platform, callers and a controller, breaks the primary, and shows what happens.",
        epilog="While it stays: deploy/demo break FAULT [WHO], deploy/demo heal WHO.",
    )
    parser.add_argument("--fault", type=Fault, choices=SHOWN_FAULTS, default=Fault.KILLED)
    parser.add_argument("--rate", type=_rate, default=20.0, metavar="N", help="calls a second (default 20)")
    parser.add_argument("--stay", action="store_true", help="go on, with the web page open, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print one JSON document, nothing else")
    parser.add_argument("--language", choices=("zh", "en"), default=preferred_language())
    parser.add_argument("--config", type=Path, default=CONFIGURATION, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _rate(text: str) -> float:
    rate = float(text)
    if not 1 <= rate <= 100:
        raise argparse.ArgumentTypeError("1 to 100 calls a second")
    return rate


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C, while everything is being ended, must not leave half of it running."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    yield


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the directory. The lock goes with the process, however that ends. Raises NotDone while another holds it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            raise NotDone(
                f"a demo is running in {directory} already (process {holder}); end it first"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        # Children must not inherit the lock: one left over would hold it. Python's files are closed on exec.
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
