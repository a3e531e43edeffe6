"""The fence of a platform side, as commands for the controller's allow-list.

    python -m demo_platform.fence fence primary      the side is told to drop all traffic but the controller's; one that
                                                     doesn't answer (dead, stopped, stuck) is killed
    python -m demo_platform.fence confirm primary    proof: no process of that side is left; or OPTIONS from elsewhere
                                                     stays unanswered while the controller's own is answered
    python -m demo_platform.fence release primary    the side is let back in; started again if it was killed

Exit status 0: done, or proved. 1: not, and why is on standard output. 2: usage. The fence is a file first, so that a side
started while it stands comes up fenced.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from demo_platform.errors import DemoError, NotDone
from demo_platform.layout import CONTROLLER, SIDES, Address, Layout, Role
from demo_platform.processes import Processes, chosen_directory

ASK_S: Final = 0.15
"""Seconds a side has to say that it drops. A healthy one takes about a millisecond."""
STRANGER: Final = "127.0.0.2"
"""Anybody who is not the controller."""
USAGE: Final = (
    "usage: python -m demo_platform.fence {fence|confirm|release} {primary|backup} [--directory DIR]"
)


def mark(directory: Path, side: Role) -> Path:
    """The file that says the side is fenced."""
    return directory / f"{side}.fenced"


class Fence:
    """`directory` is where the platform runs."""

    def __init__(self, directory: Path, side: Role) -> None:
        self._side = side
        self._mark = mark(directory, side)
        layout = Layout.read(directory)
        self._sip = layout.sip(side)
        self._control = layout.control(side)
        self._processes = Processes(directory)

    def put_up(self) -> str:
        """Fence the side; returns how. Raises NotDone."""
        self._mark.touch()
        if not self._processes.alive(self._side):
            return "no process to fence"
        if not self._processes.stopped(self._side) and self._ask({"fenced": True}) is True and self._drops():
            return "drops all traffic"
        self._processes.end(self._side, first=signal.SIGKILL)
        return "killed"

    def confirm(self) -> str:
        """The proof that nothing comes from or goes to the side. Raises NotDone."""
        if not self._mark.exists():
            raise NotDone(f"{self._side} is not fenced")
        if not self._processes.alive(self._side):
            return "no process left"
        if self._drops():
            return "drops all traffic"
        raise NotDone(f"{self._side} lives and was not seen to drop traffic")

    def take_down(self) -> str:
        """Let the side back in. Raises NotDone."""
        self._mark.unlink(missing_ok=True)
        record = self._processes.record(self._side)
        if record is None:
            raise NotDone(f"{self._side} was never started")
        if not self._processes.alive(self._side):
            self._processes.start(self._side, record.argv)
            return "started again"
        if self._ask({"fenced": False}) is False:
            return "takes traffic again"
        raise NotDone(f"{self._side} lives and does not answer")

    def _drops(self) -> bool:
        """By its effect, whatever the side says: a stranger's OPTIONS, sent first, has no answer when the controller's,
        sent after it to the same socket, has one.
        """
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as controller,
        ):
            for sock, host in ((stranger, STRANGER), (controller, CONTROLLER)):
                sock.bind((host, 0))
                sock.connect(self._sip)
                sock.settimeout(ASK_S)
            try:
                stranger.send(_options(stranger, self._sip))
                controller.send(_options(controller, self._sip))
                controller.recv(65535)
            except OSError:
                return False  # no proof: it may be busy, and answer the stranger in a moment
            stranger.setblocking(False)
            try:
                stranger.recv(65535)
            except BlockingIOError:
                return True
            except OSError:
                return False
            return False

    def _ask(self, switches: dict[str, bool]) -> bool | None:
        """Throw the side's switches; whether it says that it drops traffic then, None without an answer."""
        body = json.dumps(switches).encode()
        head = f"PUT / HTTP/1.0\r\nHost: side\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            with socket.create_connection(self._control, timeout=ASK_S) as connection:
                connection.sendall(head.encode() + body)
                answer = b"".join(iter(lambda: connection.recv(4096), b""))
            fenced = json.loads(answer.partition(b"\r\n\r\n")[2])["fenced"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return fenced if isinstance(fenced, bool) else None


def _options(sock: socket.socket, to: Address) -> bytes:
    host, port = sock.getsockname()
    token = os.urandom(8).hex()
    return "\r\n".join(
        (
            f"OPTIONS sip:{to} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{token}",
            "Max-Forwards: 70",
            f"From: <sip:fence@{host}>;tag={token}",
            f"To: <sip:{to}>",
            f"Call-ID: {token}",
            "CSeq: 1 OPTIONS",
            "Content-Length: 0",
            "",
            "",
        )
    ).encode()


def main(arguments: list[str]) -> int:
    directory = chosen_directory()
    if len(arguments) == 4 and arguments[2] == "--directory":
        directory = Path(arguments[3])
        arguments = arguments[:2]
    if len(arguments) != 2 or arguments[1] not in SIDES:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        fence = Fence(directory, Role(arguments[1]))
        match arguments[0]:
            case "fence":
                print(fence.put_up())
            case "confirm":
                print(fence.confirm())
            case "release":
                print(fence.take_down())
            case _:
                print(USAGE, file=sys.stderr)
                return 2
    except DemoError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
