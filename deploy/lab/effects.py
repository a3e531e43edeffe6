"""What every fault is, and how its effect is seen."""

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from typing import ClassVar

from lab.errors import EffectMissing
from lab.laboratory import Lab
from lab.state import FaultRecord
from lab.topology import EDGES, SIDES, Host, address


class Fault(ABC):
    """Something to break in a lab; subclasses are frozen dataclasses whose fields say where and how much."""

    kind: ClassVar[str]

    @abstractmethod
    def apply(self, lab: Lab) -> None:
        """Break it."""

    @abstractmethod
    def assert_effect(self, lab: Lab) -> None:
        """Raises EffectMissing unless it is broken in the way the fault says."""

    @abstractmethod
    def undo(self, lab: Lab) -> None:
        """Heal it; also if it was applied by halves, or not at all."""

    @abstractmethod
    def assert_undone(self, lab: Lab) -> None:
        """Raises EffectMissing unless it works again."""

    def record(self) -> FaultRecord:
        return FaultRecord(kind=self.kind, parameters=asdict(self))  # type: ignore[call-overload]


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise EffectMissing(otherwise)


def expect_soon(condition: Callable[[], bool], otherwise: str, *, within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise EffectMissing(otherwise)
        time.sleep(0.01)


def hears(lab: Lab, source: Host, target: Host) -> bool:
    """Whether one of three OPTIONS from `source` is answered with 200; silence takes 0.3 s."""
    for _ in range(3):
        response = lab.options(source, address(target), timeout_s=0.1)
        if response is not None:
            return response.status == 200
    return False


def speaks(lab: Lab, edge: Host) -> bool:
    """Whether the edge answers at all: 503 only says that no side is active."""
    return lab.options(Host.OBSERVER, address(edge), timeout_s=0.1) is not None


def restart_if_dead(lab: Lab, role: str) -> None:
    if not lab.processes.alive(role):
        lab.processes.restart(role)
        host = Host(lab.processes.record(role).host)
        if role == str(host) and host in (*SIDES, *EDGES):
            expect_soon(
                lambda: lab.options(host, address(host), timeout_s=0.1) is not None, f"{role} does not start"
            )


def lost(lab: Lab, packets: int, source: Host, target: Host) -> int:
    """How many of so many small packets from one host to another are lost; waits 0.1 s for the last ones."""
    with lab.network.socket(source) as sender, lab.network.socket(target) as receiver:
        receiver.bind((address(target), 0))
        receiver.setblocking(False)
        to = receiver.getsockname()
        heard = 0
        for number in range(packets):
            try:
                sender.sendto(b"loss", to)
            except OSError:
                continue  # no route or no neighbour: as lost as any
            if number % 50 == 49:
                heard += _drain(receiver)
        deadline = time.monotonic() + 0.1
        while time.monotonic() < deadline and heard < packets:
            heard += _drain(receiver)
            time.sleep(0.005)
    return packets - heard


def _drain(sock: socket.socket) -> int:
    heard = 0
    while True:
        try:
            sock.recv(64)
        except BlockingIOError:
            return heard
        heard += 1
