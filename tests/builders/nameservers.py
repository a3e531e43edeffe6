"""Two real name servers (BIND 9) on loopback: a primary that takes signed updates, and a secondary that follows it."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import dns.message
import dns.opcode
import dns.query
import dns.rcode
import dns.tsig
import dns.update

from controller.actions.dns import Dns
from controller.actions.dns.parameters import DnsParameters
from controller.model.policy import EdgesRule, GroupPolicy, Side
from tests.builders.driving import Nature
from tests.builders.outside import Marks
from tests.builders.platform import group_policy
from tests.builders.responders import free_port

NAMED = shutil.which("named") or "/usr/sbin/named"
ZONE, NAME = "example.test.", "sip.example.test."
SECRET = "c2l4dGVlbi1vY3RldHMtYXQtbGVhc3Q="
TARGETS = {"primary": "192.0.2.21", "backup": "192.0.2.22"}
STARTING = 20.0

COMMON = """
key "third-ring." {{ algorithm hmac-sha256; secret "{secret}"; }};
options {{
  directory "{directory}";
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  pid-file none;
  session-keyfile none;
  managed-keys-directory "{directory}";
  recursion no;
  dnssec-validation no;
  transfer-source 127.0.0.1;
  notify {notify};
  also-notify {{ {others} }};
  notify-delay 0;
  transfer-format many-answers;
  max-refresh-time {refresh};
  min-refresh-time {refresh};
  max-retry-time 1;
  min-retry-time 1;
}};
controls {{ }};
"""
PRIMARY = """
zone "example.test" {{ type primary; file "{directory}/zone"; allow-update {{ key "third-ring."; }}; allow-transfer {{ 127.0.0.1; }}; }};
"""
SECONDARY = """
zone "example.test" {{ type secondary; file "{directory}/zone"; primaries {{ 127.0.0.1 port {primary}; }}; allow-notify {{ 127.0.0.1; }}; }};
"""
ZONE_FILE = """$TTL 30
@ SOA ns1.example.test. hostmaster.example.test. 1 3600 600 86400 30
@ NS ns1.example.test.
@ NS ns2.example.test.
ns1 A 127.0.0.1
ns2 A 127.0.0.1
sip 30 A 192.0.2.21
_thirdring.sip 0 TXT "epoch=1"
alias CNAME sip
other A 192.0.2.99
"""


def missing() -> str | None:
    return None if Path(NAMED).exists() else "needs Debian's bind9"


class NameServer:
    """One `named`. Its port and its zone outlive a restart."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory / name
        self.directory.mkdir(mode=0o755)
        self.port = _port()
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, text: str, **values: Any) -> None:
        values = {**values, "directory": self.directory, "port": self.port, "secret": SECRET}
        (self.directory / "named.conf").write_text(text.format(**values))

    async def start(self) -> None:
        """Returns when it answers for the zone. Raises AssertionError with its log otherwise."""
        self._process = process = self._started()
        deadline = time.monotonic() + STARTING
        while not await asyncio.to_thread(self._answers):
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise AssertionError((self.directory / "log").read_text()[-2000:])
            await asyncio.sleep(0.05)

    def _started(self) -> subprocess.Popen[bytes]:
        argv = [NAMED, "-g", "-n", "1", "-U", "1", "-c", str(self.directory / "named.conf")]
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(argv, stdout=log, stderr=log)

    def _answers(self) -> bool:
        try:
            answer = dns.query.tcp(
                dns.message.make_query(ZONE, "SOA"), "127.0.0.1", timeout=1, port=self.port
            )
        except (OSError, EOFError, dns.exception.DNSException):
            return False
        return answer.rcode() == dns.rcode.NOERROR and bool(answer.answer)

    async def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(self._process.wait)
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def ask(self, name: str = NAME, kind: str = "A") -> list[str]:
        """By somebody else's means."""
        query = dns.message.make_query(name, kind)
        answer = await asyncio.to_thread(dns.query.udp, query, "127.0.0.1", 5, self.port)
        return sorted(str(record) for found in answer.answer for record in found)

    async def update(self, name: str, kind: str, *records: str, ttl: int = 30) -> None:
        """Somebody else's update."""
        message = dns.update.UpdateMessage(ZONE, keyring=dns.tsig.Key("third-ring.", SECRET, "hmac-sha256"))
        message.delete(name, kind)
        for record in records:
            message.add(name, ttl, kind, record)
        answer = await asyncio.to_thread(dns.query.tcp, message, "127.0.0.1", 5, self.port)
        assert answer.rcode() == dns.rcode.NOERROR


class Lost(StrEnum):
    REQUEST = "request"
    ANSWER = "answer"


class Relay:
    """Between a driver and a name server: loses updates or their answers on demand."""

    def __init__(self, behind: NameServer) -> None:
        self._behind = behind
        self.lose: Lost | None = None
        self.before_update: Callable[[], Awaitable[object]] | None = None
        self.updates = 0
        self.authoritative = True  # False: as from a cache
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Its port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._behind.port)
        try:
            while True:
                request = await _message(reader)
                update = (request[4] >> 3) & 0x0F == dns.opcode.UPDATE
                self.updates += update
                if update and self.before_update is not None:
                    await self.before_update()
                if update and self.lose is Lost.REQUEST:
                    return
                onward.write(request)
                answer = await _message(onward_reader)
                if update and self.lose is Lost.ANSWER:
                    return
                if not self.authoritative:
                    answer = answer[:4] + bytes([answer[4] & ~0x04]) + answer[5:]
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            onward.close()
            writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """With its length."""
    length = await reader.readexactly(2)
    return length + await reader.readexactly(int.from_bytes(length))


class NameWorld:
    """Both servers and the driver, as the contract suite sees and breaks them."""

    nature = Nature(meddled=("primary", "edge1,edge2"))

    def __init__(
        self, directory: Path, rule: EdgesRule = EdgesRule.REACHABLE, *, follows: bool = True
    ) -> None:
        """`follows`: the secondary is told of changes, and asks each second."""
        self.marks = Marks(directory)
        self.servers = {name: NameServer(name, directory) for name in ("edge1", "edge2")}
        first, second = self.servers.values()
        (first.directory / "zone").write_text(ZONE_FILE)
        refresh = 1 if follows else 3600
        others = f"127.0.0.1 port {second.port};"
        notify = "explicit" if follows else "no"
        first.configure(COMMON + PRIMARY, notify=notify, others=others, refresh=refresh)
        second.configure(COMMON + SECONDARY, notify="no", others="", refresh=refresh, primary=first.port)
        self.group = self.group_of(rule)
        self.parameters = DnsParameters.model_validate(self.written())
        self.driver = Dns(self.group, self.parameters)

    @staticmethod
    def group_of(rule: EdgesRule) -> GroupPolicy:
        sides = tuple(Side(name=side, component=side, destination=target) for side, target in TARGETS.items())
        return group_policy(sides=sides, edges_rule=rule, step_timeout=30.0)

    def written(self) -> dict[str, Any]:
        return {
            "edges": {
                name: {"address": "127.0.0.1", "port": server.port} for name, server in self.servers.items()
            },
            "primary": "edge1",
            "zone": ZONE,
            "name": NAME,
            "key": {"name": "third-ring.", "secret": SECRET},
            "sides": {
                side: {"records": [target], "fence": self.marks.fence(side)}
                for side, target in TARGETS.items()
            },
            "timeout": 3.0,
            "converge": 5.0,
        }

    def second(self) -> Dns:
        return Dns(self.group, self.parameters)

    async def answers(self, edge: str) -> str:
        target = (await self.servers[edge].ask())[0]
        side = next(name for name, address in TARGETS.items() if address == target)
        return "503" if self.marks.stands(side) else side

    async def stop(self, edge: str) -> None:
        await self.servers[edge].stop()

    async def start(self, edge: str) -> None:
        await self.servers[edge].start()

    async def meddle(self, edge: str, side: str) -> None:
        """The one that takes updates; the other follows it."""
        await self.servers["edge1"].update(NAME, "A", TARGETS[side])
        await self.follow(edge, TARGETS[side])

    async def follow(self, edge: str, target: str) -> None:
        deadline = time.monotonic() + STARTING
        while await self.servers[edge].ask() != [target]:
            assert time.monotonic() < deadline, f"{edge} does not follow"
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self.driver.close()
        for server in self.servers.values():
            await server.stop()


def _port() -> int:
    """Free for TCP and UDP."""
    for _ in range(50):
        port = free_port(socket.SOCK_STREAM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
