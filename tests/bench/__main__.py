"""Runs one bench: `deploy/bench NAME [--json] [--quick]`.

Without --json a table for a person; with it the last line of output is one JSON object
{"bench", "machine", "rows": [{"case", "metric", "unit", "ours": {"min", "median", "max", "n"}, "peer", "aim", "met"}]}.
Exit 1 when a row misses its aim.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

BENCHES = {
    "failover": "what callers lose: the edge alone, keepalived and us, fault by fault (root)",
    "vip": "what callers of a virtual address lose: three controllers beside keepalived, fault by fault (root)",
    "ring": "thirty minutes of three controllers with loss, jitter and stops of one: nothing may happen (root)",
    "quiet": "ten healthy minutes with loss and stalls: nothing may happen (root)",
    "probes": "SIP OPTIONS targets at one second on one core: cost, lag, false verdicts",
    "journal": "1,000 and 5,000 facts a second beside 10,000 targets: what a decision waits for the disk",
    "storm": "5,000 targets behind one parent fail within a second, and the platform with them (root)",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy/bench", description=__doc__)
    parser.add_argument(
        "name", choices=BENCHES, help="; ".join(f"{name}: {text}" for name, text in BENCHES.items())
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter repetitions; not for quoting")
    arguments = parser.parse_args()
    rows: Callable[..., list[dict[str, Any]]] = importlib.import_module(f"tests.bench.{arguments.name}").rows
    found = rows(quick=arguments.quick)
    for row in found:
        print(line(row), file=sys.stderr)
    if arguments.json:
        document = {"bench": arguments.name, "machine": machine(), "quick": arguments.quick, "rows": found}
        print(json.dumps(document, ensure_ascii=False))
    return 0 if all(row["met"] is not False for row in found) else 1


def line(row: dict[str, Any]) -> str:
    peer = row["peer"]
    beside = f"   {peer['name']} {peer['median']:g}" if peer else ""
    verdict = {True: "met", False: "MISSED", None: ""}[row["met"]]
    ours = row["ours"]
    return (
        f"{row['case']:<34} {row['metric']:<26} {ours['median']:>10.4g} {row['unit']:<8}"
        f" [{ours['min']:.4g}..{ours['max']:.4g}, n={ours['n']}]{beside}   {row['aim'] or ''} {verdict}"
    )


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = ""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        for text in file:
            if text.startswith("model name"):
                model = text.partition(":")[2].strip()
                break
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
