"""The lab's command line, `deploy/lab/run`.

    run up                              a lab that stays until `run down`
    run status
    run calls --rate 100 --seconds 10   what callers see; exit code 3 if a call failed
    run fault process_stopped side=primary --for 5
    run fence primary; run fenced primary; run unfence primary
    run exec ctl -- thirdring run -c lab.yaml
    run up --ring                       three controllers over etcd, two holders of a virtual address
    run matrix                          every fault against every phase of a switch: a table in var/matrix.md
    run clear                           undo every fault on record
    run down

Exit codes: 0 done; 1 the lab could not do it; 2 wrong usage; 3 calls failed, or `fenced` says no; 4 the matrix shows a
violation; `exec` that of the command.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from types import FrameType
from typing import Final

from lab import state as states
from lab.callers import Callers, load
from lab.errors import LabError
from lab.faults import KINDS, clear, inject, make
from lab.laboratory import Lab, LabSettings, sweep
from lab.topology import ADDRESSES, EDGES, SIDES, VIP, Host

Answer = tuple[int, dict[str, object]]


def up(arguments: argparse.Namespace) -> Answer:
    if arguments.ring:
        from lab.ring import Ring

        settings = LabSettings(outside_fence=arguments.outside_fence)
        return 0, _describe(Ring.create(settings, name=arguments.name, persist=True))
    settings = LabSettings(both_sides_active=arguments.both_active, fr_timer_ms=arguments.fr_timer_ms)
    return 0, _describe(Lab.create(settings, name=arguments.name, persist=True))


def down(arguments: argparse.Namespace) -> Answer:
    swept = sweep()
    Lab.attach(arguments.name).down()
    return 0, {"down": arguments.name, "swept": swept}


def status(arguments: argparse.Namespace) -> Answer:
    names = states.recorded()
    return 0, {"labs": [_describe(Lab.attach(name)) for name in names]}


def fault(arguments: argparse.Namespace) -> Answer:
    pairs = dict(part.partition("=")[::2] for part in arguments.parameters)
    what = make(arguments.kind, pairs)
    lab = Lab.attach(arguments.name)
    with inject(lab, what) as injected:
        _say(f"{what}: in place and asserted; undone {_when(arguments.seconds)}")
        threading.Event().wait(arguments.seconds)
    took_ms = (injected.asserted_at - injected.applied_at) * 1000
    return 0, {
        "fault": what.kind,
        **asdict(what.record())["parameters"],
        "asserted_after_ms": round(took_ms, 1),
    }


def clear_faults(arguments: argparse.Namespace) -> Answer:
    return 0, {"cleared": [str(what) for what in clear(Lab.attach(arguments.name))]}


def calls(arguments: argparse.Namespace) -> Answer:
    lab = Lab.attach(arguments.name)
    targets = {"edges": None, "vip": [VIP]}.get(arguments.target, [arguments.target])
    if arguments.sipp:
        target = targets[0] if targets else None
        report = load(lab, rate=arguments.rate, seconds=arguments.seconds, target=target, user=arguments.user)
        return 3 if report.failed else 0, asdict(report)
    callers = Callers(
        lab,
        rate=arguments.rate,
        seconds=arguments.seconds,
        targets=targets,
        user=arguments.user,
        rtp_packets=arguments.rtp,
    )
    with callers:
        callers.wait()
    figures = callers.report.summary() | {"stale": len(callers.report.stale(lab.arrivals()))}
    return 3 if callers.report.failed else 0, figures


def fence(arguments: argparse.Namespace) -> Answer:
    lab, side = Lab.attach(arguments.name), Host(arguments.side)
    argv = {"fence": lab.fence_argv, "unfence": lab.unfence_argv, "fenced": lab.fenced_argv}[
        arguments.command
    ](side)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    if arguments.command == "fenced":
        return 3 if done.returncode else 0, {"side": side, "fenced": done.returncode == 0}
    if done.returncode:
        raise LabError(done.stderr.strip())
    return 0, {"side": side, "fenced": arguments.command == "fence"}


def run_matrix(arguments: argparse.Namespace) -> Answer:
    from lab import matrix  # with the controller's own client: not needed by any other command

    cells = matrix.run(quick=arguments.quick, rows=arguments.row or (), columns=arguments.column or ())
    matrix.write(cells, Path(arguments.output))
    held = all(cell.holds for cell in cells)
    return 0 if held else 4, {"table": arguments.output, "holds": held, "cells": matrix.document(cells)}


def execute(arguments: argparse.Namespace) -> Answer:
    argv = Lab.attach(arguments.name).exec_argv(Host(arguments.host), arguments.argv)
    os.execvp(argv[0], argv)


def _describe(lab: Lab) -> dict[str, object]:
    state = lab.state.read()
    alive = {role: lab.processes.members(role) for role in sorted(state.processes)}
    return {
        "name": lab.name,
        "directory": str(lab.directory),
        "settings": state.settings,
        "namespaces": {str(host): lab.network.namespace(host) for host in Host},
        "addresses": {str(host): list(addresses) for host, addresses in ADDRESSES.items()} | {"vip": [VIP]},
        "edges": [
            {"address": edge.address, "rpc": edge.rpc_url, "list": str(edge.list_file)} for edge in lab.edges
        ],
        "processes": {role: _life(list(members.values())) for role, members in alive.items()},
        "active": {str(edge): _flags(lab, edge) for edge in EDGES},
        "faults": [asdict(record) for record in state.faults],
    }


def _life(letters: list[str]) -> str:
    if not letters:
        return "dead"
    return "stopped" if all(letter == "T" for letter in letters) else f"{len(letters)} running"


def _flags(lab: Lab, edge: Host) -> object:
    try:
        return {str(side): flags for side, flags in lab.dispatcher_flags(edge).items()}
    except LabError as error:
        return f"unknown: {error}"


def _when(seconds: float | None) -> str:
    return "when this command is interrupted" if seconds is None else f"in {seconds:g} s"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return convert


COUNT: Final = _positive(int)
SECONDS: Final = _positive(float)


def parser() -> argparse.ArgumentParser:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    root = argparse.ArgumentParser(
        prog="deploy/lab/run",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--name", default="lab", help="which lab (default: lab)")
    root.add_argument("--json", action="store_true", help="one JSON object on standard output")
    commands = root.add_subparsers(dest="command", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], Answer], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        # Also after the command; SUPPRESS keeps it from resetting what stood before.
        command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        return command

    defaults = {field.name: field.default for field in fields(LabSettings)}
    command = add("up", up, "build a lab that stays")
    command.add_argument(
        "--both-active", action="store_true", help="the edges may use the backup by themselves"
    )
    command.add_argument(
        "--fr-timer-ms", type=COUNT, default=defaults["fr_timer_ms"], help="default: %(default)s"
    )
    command.add_argument("--ring", action="store_true", help="three controllers, and a virtual address")
    command.add_argument(
        "--outside-fence", action="store_true", help="a ring's sides can be cut off at the switch"
    )
    add("down", down, "take the lab down")
    add("status", status, "every lab on this machine")
    command = add("fault", fault, f"break something: {', '.join(KINDS)}")
    command.add_argument("kind", choices=list(KINDS), metavar="KIND")
    command.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="where and how much")
    command.add_argument("--for", dest="seconds", type=SECONDS, help="undo it after so many seconds")
    add("clear", clear_faults, "undo every fault on record")
    command = add("calls", calls, "place calls and say what became of them")
    command.add_argument("--rate", type=COUNT, default=100, help="calls a second (default: 100)")
    command.add_argument("--seconds", type=COUNT, default=10, help="default: 10")
    command.add_argument("--target", default="edges", help="edges (in turn, the default), vip, or an address")
    command.add_argument("--user", default="agent", help="who is called: agent, echo1, echo2")
    command.add_argument("--rtp", type=int, default=0, help="packets of sound a call (default: none)")
    command.add_argument("--sipp", action="store_true", help="let SIPp place them: counts only")
    for name, text in (
        ("fence", "cut a side off at the switch but for the controller"),
        ("unfence", "lift the fence"),
        ("fenced", "whether a side is fenced"),
    ):
        add(name, fence, text).add_argument("side", choices=[str(side) for side in SIDES])
    command = add("matrix", run_matrix, "every fault against every phase of a switch, in a ring of its own")
    command.add_argument("--quick", action="store_true", help="only with nothing else going on")
    command.add_argument("--row", action="append", help="only this fault (may be repeated)")
    command.add_argument("--column", action="append", help="only this phase (may be repeated)")
    command.add_argument("--output", default="var/matrix.md", help="the table (default: %(default)s)")
    command = add("exec", execute, "run a command on a host")
    command.add_argument("host", choices=[str(host) for host in Host])
    command.add_argument("argv", nargs="+", metavar="COMMAND")
    return root


def main() -> int:
    arguments = parser().parse_args()

    # So that a fault is undone, and a half-built lab taken down, when this command is ended from outside.
    def interrupted(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, interrupted)
    try:
        code, answer = arguments.run(arguments)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (LabError, FileNotFoundError) as error:
        if arguments.json:
            print(json.dumps({"error": str(error)}))
        _say(f"lab: {error}")
        return 1
    if arguments.json:
        print(json.dumps(answer))
    else:
        for key, value in answer.items():
            print(f"{key}: {value if isinstance(value, str) else json.dumps(value, default=str)}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
