"""Real Kamailio edges on loopback, from the shipped edge.cfg, and sides that answer calls through them."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from controller.actions.kamailio_dispatcher import KamailioDispatcher
from controller.actions.kamailio_dispatcher.lists import Line, rendered
from controller.actions.kamailio_dispatcher.parameters import DispatcherParameters
from controller.actions.kamailio_dispatcher.rpc import Rpc
from controller.model.errors import ActionError
from controller.model.policy import EdgesRule, GroupPolicy, Side
from tests.builders.platform import group_policy
from tests.builders.responders import datagram_peer, free_port, sip_answer

CONFIGURATION = Path(__file__).parents[2] / "config" / "kamailio" / "edge.cfg"
STARTING = 15.0
ADDRESSES = {"primary": "127.0.0.21", "backup": "127.0.0.22", "edge1": "127.0.0.11", "edge2": "127.0.0.12"}

_calls = itertools.count(1)


def missing() -> str | None:
    """Why no edge can run here, or None."""
    if shutil.which("kamailio") is None:
        return "needs Debian's kamailio"
    try:
        with socket.socket() as probe:
            probe.bind((ADDRESSES["edge1"], 0))
    except OSError as error:
        return f"needs more loopback addresses: {error}"
    return None


class KamailioEdge:
    """One Kamailio process group. Ports are chosen once, so that a restarted edge is the same edge."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.address = ADDRESSES[name]
        self.sip_port = free_port(socket.SOCK_DGRAM, self.address)
        self.rpc_port = free_port(socket.SOCK_STREAM, self.address)
        self.list_file = directory / f"{name}.list"
        self.log = directory / f"{name}.log"
        self.rpc = Rpc(f"http://{self.address}:{self.rpc_port}/", timeout=2.0)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns when it answers JSON-RPC. Raises AssertionError with its log otherwise."""
        values = {
            "EDGE": self.address,
            "EDGE_SIP": self.sip_port,
            "EDGE_RPC": self.rpc_port,
            "LIST_FILE": self.list_file,
            "FR_TIMER": 300,
        }
        given = [f"--substdef=!{name}!{value}!g" for name, value in values.items()]
        argv = [
            "kamailio",
            "-DD",
            "-E",
            "-m",
            "16",
            "-M",
            "4",
            "-w",
            str(self.log.parent),
            "-f",
            str(CONFIGURATION),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220
                [*argv, *given], stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + STARTING
        while True:
            try:
                await self.rpc.read("core.uptime", patient=True)
                return
            except ActionError:
                alive = self._process.poll() is None
                assert alive and time.monotonic() < deadline, self.log.read_text()[-2000:]
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """The whole process group: children of a dead Kamailio go on answering."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.wait)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def hang(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)


class KamailioPlatform:
    """Two edges and two sides. What is true is asked by calls."""

    def __init__(
        self, directory: Path, *, edge_rule: bool, rule: EdgesRule, standby: str = "disabled"
    ) -> None:
        self.directory = directory
        self.edges = {name: KamailioEdge(name, directory) for name in ("edge1", "edge2")}
        self.ports = {name: free_port(socket.SOCK_DGRAM, ADDRESSES[name]) for name in ("primary", "backup")}
        self.uris = {name: f"sip:{ADDRESSES[name]}:{port}" for name, port in self.ports.items()}
        self.fallback = standby == "fallback"
        self._stack = AsyncExitStack()
        self.group: GroupPolicy = group_policy(
            sides=tuple(Side(name=name, component=name, destination=uri) for name, uri in self.uris.items()),
            edges_rule=rule,
        )
        self.parameters = DispatcherParameters.model_validate(
            {
                "edges": {
                    name: {"rpc": edge.rpc.url, "list_file": edge.list_file}
                    for name, edge in self.edges.items()
                },
                "sides": {name: self._side(name, edge_rule) for name in self.uris},
                "live_calls": "side",
                "standby": standby,
                "rpc_timeout": 2.0,
            }
        )
        self.driver = KamailioDispatcher(self.group, self.parameters)

    async def start(self) -> None:
        for name, port in self.ports.items():
            answer = sip_answer(200, "OK", f"X-Side: {name}".encode(), b"Contact: <sip:side@127.0.0.1>")
            await self._stack.enter_async_context(datagram_peer(answer, ADDRESSES[name], port))
        for edge in self.edges.values():
            edge.list_file.write_text(rendered(self._lines()))
        await asyncio.gather(*(edge.start() for edge in self.edges.values()))

    async def stop(self) -> None:
        await self.driver.close()
        for edge in self.edges.values():
            await edge.rpc.close()
            await edge.stop()
        await self._stack.aclose()

    async def call(self, edge: str, *, timeout: float = 1.5) -> str:
        """Which side answers a call through this edge; the status where none does, "" for silence."""
        at = self.edges[edge]
        number = next(_calls)
        loop = asyncio.get_running_loop()
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        class Caller(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                answers.put_nowait(data)

        transport, _ = await loop.create_datagram_endpoint(Caller, local_addr=("127.0.0.1", 0))
        try:
            port = transport.get_extra_info("sockname")[1]
            transport.sendto(
                _invite(f"sip:agent@{at.address}:{at.sip_port}", port, number), (at.address, at.sip_port)
            )
            async with asyncio.timeout(timeout):
                while True:
                    lines = (await answers.get()).decode().split("\r\n")
                    status = int(lines[0].split()[1])
                    if status >= 200:
                        side = next((line for line in lines if line.startswith("X-Side: ")), "")
                        return side.partition(": ")[2] or str(status)
        except TimeoutError:
            return ""
        finally:
            transport.close()

    def _lines(self) -> list[Line]:
        lines = []
        for side, priority in (("primary", 10), ("backup", 5)):
            active = side == "primary" or self.fallback
            lines.append(Line(set=1, uri=self.uris[side], active=active, priority=priority, epoch=1))
        lines += [Line(set=9, uri=uri, active=False, priority=0, epoch=1) for uri in self.uris.values()]
        return lines

    def _side(self, name: str, edge_rule: bool) -> Mapping[str, object]:
        """The command's fence is a file in these tests: what counts is when and how it is asked for."""
        if edge_rule:
            return {"edge_rule": True}
        mark = str(self.directory / f"{name}.fenced")
        return {
            "fence": {
                "fence": ("touch", mark),
                "confirm": ("test", "-e", mark),
                "release": ("rm", mark),
            }
        }


def _invite(uri: str, port: int, number: int) -> bytes:
    lines = (
        f"INVITE {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKcall{number}",
        "Max-Forwards: 70",
        f"From: <sip:caller@127.0.0.1>;tag=from{number}",
        f"To: <{uri}>",
        f"Call-ID: call-{number}-{os.getpid()}@127.0.0.1",
        "CSeq: 1 INVITE",
        f"Contact: <sip:caller@127.0.0.1:{port}>",
        "Content-Length: 0",
        "",
        "",
    )
    return "\r\n".join(lines).encode()
