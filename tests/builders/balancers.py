"""Two real HAProxys on loopback, and two sides behind them that say who they are."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from controller.actions.haproxy import Haproxy
from controller.actions.haproxy.parameters import HaproxyParameters
from controller.model.policy import EdgesRule, GroupPolicy, Side
from tests.builders.driving import Nature
from tests.builders.outside import Marks
from tests.builders.platform import group_policy
from tests.builders.responders import free_port

STARTING = 15.0
SIDES = ("primary", "backup")
CONFIGURATION = """
global
  stats socket {socket} level admin
  stats socket ipv4@127.0.0.1:{api} level admin
  stats socket ipv4@127.0.0.1:{reader} level operator
  stats timeout 5s
  server-state-file {state}
  maxconn 100
defaults
  mode tcp
  timeout connect 500ms
  timeout queue 500ms
  timeout client 60s
  timeout server 60s
  load-server-state-from-file global
frontend sip
  bind 127.0.0.1:{port}
  # Only a map that the configuration names can be used at run time.
  tcp-request connection set-var(sess.epoch) str(calls),map({epochs})
  default_backend calls
backend calls
  server primary 127.0.0.1:{primary} check inter 50ms fall 2 rise 1
  server backup 127.0.0.1:{backup} check inter 50ms fall 2 rise 1
  server stranger 127.0.0.1:{backup} disabled
"""


def missing() -> str | None:
    return None if shutil.which("haproxy") else "needs Debian's haproxy"


class CallServer:
    """A side: says its name to whoever connects, and keeps the connection as a phone would."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port(socket.SOCK_STREAM)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._open):
                writer.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            writer.write(f"{self.name}\n".encode())
            while await reader.read(1024):
                pass
        except ConnectionError:
            pass
        finally:
            self._open.discard(writer)
            writer.close()


class HaproxyEdge:
    def __init__(self, name: str, directory: Path, sides: dict[str, CallServer]) -> None:
        self.name = name
        self.directory = directory / name
        self.directory.mkdir()
        # A path of a Unix socket has at most 107 octets, which a test's directory may exceed.
        self._short = tempfile.TemporaryDirectory(prefix="edge-")
        self.socket = str(Path(self._short.name) / "api")
        self.port = free_port(socket.SOCK_STREAM)
        self.api = free_port(socket.SOCK_STREAM)
        self.reader = free_port(socket.SOCK_STREAM)
        self.state = self.directory / "state"
        self.state.touch()
        self.epochs = self.directory / "epochs.map"
        self.epochs.touch()
        self._process: subprocess.Popen[bytes] | None = None
        text = CONFIGURATION.format(
            socket=self.socket,
            api=self.api,
            reader=self.reader,
            state=self.state,
            port=self.port,
            epochs=self.epochs,
            **{side: server.port for side, server in sides.items()},
        )
        (self.directory / "haproxy.cfg").write_text(text)

    async def start(self) -> None:
        self._process = process = self._started()
        deadline = time.monotonic() + STARTING
        while not await asyncio.to_thread(self._answers):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.directory / "log").read_text()[-2000:])
            await asyncio.sleep(0.02)

    def _started(self) -> subprocess.Popen[bytes]:
        with (self.directory / "log").open("ab") as log:
            argv = ["haproxy", "-db", "-f", str(self.directory / "haproxy.cfg")]
            return subprocess.Popen(argv, stdout=log, stderr=log)

    def _answers(self) -> bool:
        try:
            return self.say("show version") != ""
        except OSError:
            return False

    async def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def say(self, command: str) -> str:
        """By somebody else's means."""
        with socket.socket(socket.AF_UNIX) as speaker:
            speaker.settimeout(5)
            speaker.connect(self.socket)
            speaker.sendall(f"{command}\n".encode())
            answer = b""
            while piece := speaker.recv(65536):
                answer += piece
        return answer.decode()

    def clean(self) -> None:
        self._short.cleanup()


class Phone:
    """A connection through an edge that stays."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def call(cls, port: int) -> tuple[Phone, str]:
        """And the side that answered, "503" when none did."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(5):
                told = (await reader.readline()).decode().strip()
        except ConnectionError:
            told = ""
        return cls(reader, writer), told or "503"

    async def ended(self) -> bool:
        """Whether the far end closes it, for as long as a test waits."""
        try:
            async with asyncio.timeout(2):
                return await self._reader.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        self._writer.close()


class BalancerWorld:
    """Both edges, both sides and the driver, as the contract suite sees and breaks them."""

    nature = Nature(forgets=True)

    def __init__(self, directory: Path) -> None:
        self.marks = Marks(directory)
        self.sides = {name: CallServer(name) for name in SIDES}
        self.edges = {name: HaproxyEdge(name, directory, self.sides) for name in ("edge1", "edge2")}
        self.group = self.group_of(EdgesRule.REACHABLE)
        self.parameters = HaproxyParameters.model_validate(self.written())
        self.driver = Haproxy(self.group, self.parameters)
        self._begun = False

    def written(self) -> dict[str, Any]:
        return {
            "edges": {
                name: {"socket": edge.socket, "state_file": str(edge.state), "epochs": str(edge.epochs)}
                for name, edge in self.edges.items()
            },
            "sides": {side: {"fence": self.marks.fence(side)} for side in SIDES},
            "timeout": 3.0,
            "settle": 5.0,
        }

    @staticmethod
    def group_of(rule: EdgesRule) -> GroupPolicy:
        sides = tuple(Side(name=side, component=side, destination=f"calls/{side}") for side in SIDES)
        return group_policy(sides=sides, edges_rule=rule, step_timeout=30.0)

    def second(self) -> Haproxy:
        return Haproxy(self.group, self.parameters)

    async def answers(self, edge: str) -> str:
        phone, side = await Phone.call(self.edges[edge].port)
        phone.close()
        return side

    async def stop(self, edge: str) -> None:
        await self.edges[edge].stop()

    async def start(self, edge: str) -> None:
        if not self._begun:
            self._begun = True
            for side in self.sides.values():
                await side.start()
        fresh = not self.edges[edge].state.read_text()
        await self.edges[edge].start()
        if fresh:
            self.edges[edge].say("set server calls/backup state maint")
            self.edges[edge].say(f"add map {self.edges[edge].epochs} calls 1")

    async def meddle(self, edge: str, side: str) -> None:
        for name in SIDES:
            self.edges[edge].say(f"set server calls/{name} state {'ready' if name == side else 'maint'}")

    async def close(self) -> None:
        await self.driver.close()
        for edge in self.edges.values():
            await edge.stop()
            edge.clean()
        for side in self.sides.values():
            await side.stop()
