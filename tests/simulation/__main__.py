"""Runs seeds: `deploy/simulate --seeds N --from S [--json]`. Exit 1, and the timeline of the first seed that failed.

--ablate NAME takes a safeguard away: then a failure is what is wanted. --timeline prints what happened in one seed.
"""

from __future__ import annotations

import argparse
import json
import sys

from tests.simulation.ablations import ABLATIONS
from tests.simulation.crashes import everywhere
from tests.simulation.runs import Sweep, sweep, timeline
from tests.simulation.troubles import TROUBLES


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many (2000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one (0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--ablate", choices=sorted(ABLATIONS), default="", help="without this safeguard")
    parser.add_argument("--timeline", action="store_true", help="print the timeline of the first seed")
    parser.add_argument(
        "--crash", action="store_true", help="crash the leader before each of its steps in a switch, instead"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    arguments = parser.parse_args()
    if arguments.timeline:
        print("\n".join(timeline(arguments.first, ablation=arguments.ablate)))
        return 0
    if arguments.crash:
        return _crashes(arguments)

    def progress(done: Sweep) -> None:
        print(
            f"\r{done.seeds} seeds, {done.seconds:.0f} s, {len(done.failed)} failed", end="", file=sys.stderr
        )

    done = sweep(
        arguments.first,
        arguments.seeds,
        workers=arguments.workers,
        ablation=arguments.ablate,
        progress=progress,
    )
    print(file=sys.stderr)
    print("\n".join(summary(done)), file=sys.stderr)
    first = min(done.failed, default=None)
    if first is not None:
        print("\n".join(timeline(first, ablation=arguments.ablate)), file=sys.stderr)
    if arguments.json:
        print(json.dumps(document(done, arguments.first), ensure_ascii=False))
    return 1 if done.failed else 0


def _crashes(arguments: argparse.Namespace) -> int:
    failed = 0
    for nodes in (1, 3):
        found = everywhere(arguments.first, nodes=nodes)
        print(
            f"{nodes} node(s): crashed before each of {found.steps} steps: {len(found.failed)} failed",
            file=sys.stderr,
        )
        for step, said in sorted(found.failed.items()):
            print(f"  step {step}: {said[0]}", file=sys.stderr)
        failed += len(found.failed)
    return 1 if failed else 0


def summary(done: Sweep) -> list[str]:
    rate = done.seeds / done.seconds if done.seconds else 0.0
    silent = sorted(set(TROUBLES) - set(done.fired))
    return [
        f"{done.seeds} seeds in {done.seconds:.0f} s ({rate:.1f} a second), {done.steps} steps,"
        f" {done.virtual / 3600:.1f} simulated hours, {len(done.failed)} failed",
        "  " + ", ".join(f"{count} {kind}" for kind, count in sorted(done.kinds.items())),
        "  troubles: " + ", ".join(f"{name} {count}" for name, count in done.fired.most_common()),
        *([f"  never fired: {', '.join(silent)}"] if silent else []),
        f"  switches: {done.facts['switch_started']} started, {done.facts['switch_ended']} ended,"
        f" {done.facts['switch_refused']} refused; takeovers: {done.facts['leadership_taken']}",
        *(f"  seed {seed}: {said[0]}" for seed, said in sorted(done.failed.items())[:20]),
    ]


def document(done: Sweep, first: int) -> dict[str, object]:
    return {
        "from": first,
        "seeds": done.seeds,
        "seconds": round(done.seconds, 1),
        "steps": done.steps,
        "simulated_seconds": round(done.virtual),
        "kinds": dict(done.kinds),
        "troubles": dict(done.fired),
        "never_fired": sorted(set(TROUBLES) - set(done.fired)),
        "facts": dict(done.facts),
        "failed": {str(seed): said for seed, said in sorted(done.failed.items())},
    }


if __name__ == "__main__":
    sys.exit(main())
