"""Faults put in and taken out while a demo stays: by a person, or by a drill of the controller's.

    deploy/demo break FAULT [WHO]
    deploy/demo heal [WHO]

Drills of the controller run these too: few modules are imported, so that the fault comes when the drill says.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo_platform.errors import DemoError, NotDone
from demo_platform.faults import Fault, Faults
from demo_platform.layout import Layout, Role
from demo_platform.processes import Processes, chosen_directory
from demo_platform.serving import FAILED
from demo_platform.supervisor import Supervisor


def put_in(arguments: list[str]) -> int:
    """deploy/demo break FAULT [WHO]"""
    parser = argparse.ArgumentParser(prog="deploy/demo break", description="Put a fault in.")
    parser.add_argument("fault", type=Fault, choices=list(Fault))
    parser.add_argument("who", type=Role, choices=list(Role), nargs="?", default=Role.PRIMARY)
    parser.add_argument("--directory", type=Path, default=chosen_directory())
    options = parser.parse_args(arguments)
    faults = Faults(Processes(options.directory), Layout.read(options.directory))
    faults.put_in(options.fault, options.who)
    print(f"{options.who}: {options.fault}")
    return 0


def take_out(arguments: list[str]) -> int:
    """deploy/demo heal WHO"""
    parser = argparse.ArgumentParser(prog="deploy/demo heal", description="Take a fault out.")
    parser.add_argument("who", type=Role, choices=list(Role), nargs="?", default=Role.PRIMARY)
    parser.add_argument("--directory", type=Path, default=chosen_directory())
    options = parser.parse_args(arguments)
    layout = Layout.read(options.directory)
    platform = Supervisor(options.directory, layout)
    if not platform.processes.alive(Role.EDGE) and options.who is not Role.EDGE:
        raise NotDone(f"no demo is running in {options.directory} (deploy/demo --stay)")
    done = Faults(platform.processes, layout).take_out(options.who, platform.restart)
    print(f"{options.who}: {done}")
    return 0


BY_HAND = {"break": put_in, "heal": take_out}


def main(arguments: list[str]) -> int:
    command = BY_HAND.get(arguments[0]) if arguments else None
    if command is None:
        print(f"usage: {' | '.join(BY_HAND)}", file=sys.stderr)
        return 2
    try:
        return command(arguments[1:])
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
