"""The callers' process: `python -m demo_platform.calling PLAN.json`, with a plan of lab.calling."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from lab.calling import Caller, Plan


def main(path: Path) -> None:
    plan = Plan(**json.loads(path.read_text()))
    try:
        with Path(plan.output).open("w", buffering=1) as output:
            caller = Caller(plan, output)
            signal.signal(signal.SIGTERM, lambda *_: caller.stop())
            caller.run()
    except OSError as error:
        sys.exit(f"the callers can't use {plan.local}: {error.strerror}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
