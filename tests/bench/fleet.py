"""Phones on loopback that answer OPTIONS, and the configuration of a controller that probes them all once a second."""

from __future__ import annotations

import contextlib
import csv
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

RESPONDER: Final = Path(__file__).with_name("responder.py")
PORTS: Final = 32

CONFIGURATION: Final = """
name: bench
include: [shipped:ladders.yaml, shipped:rules.yaml, shipped:domains.yaml, shipped:severity.yaml]
runbooks: ["shipped:"]
node: {{data: {data}}}
http: {{port: {port}}}
people: {{ann: {{display: Ann, role: duty, channels: [{{name: hook, kind: webhook, with: {{url: "http://127.0.0.1:9/"}}}}]}}}}
fleets:
  phones:
    csv: phones.csv
    kind: phone
    title: "${{name}}"
    rungs: [{{name: sip, probe: sip_options, with: {{uri: "sip:127.0.0.1:${{port}}"}}, interval: 1s, timeout: 500ms, fall: 3}}]
"""


def write(directory: Path, ports: Sequence[str], count: int) -> Path:
    """The configuration's path: `count` phones, spread over the ports that answer. Data goes below the directory too."""
    with (directory / "phones.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "port"))
        writer.writerows((f"phones-{number}", ports[number % len(ports)]) for number in range(count))
    configuration = directory / "controller.yaml"
    configuration.write_text(CONFIGURATION.format(data=directory / "data", port=_free_port()))
    return configuration


@contextlib.contextmanager
def responder() -> Iterator[list[str]]:
    """A process that answers on these ports."""
    process = subprocess.Popen(
        [sys.executable, str(RESPONDER), str(PORTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
