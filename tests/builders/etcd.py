"""Real etcd members on loopback, as few or as many as a test needs, with the timers of a fast platform."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

PROGRAM = shutil.which("etcd")
HEARTBEAT_MS, ELECTION_MS = 20, 200


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Member:
    def __init__(self, name: str, directory: Path, client: int, peer: int, extra: Sequence[str]) -> None:
        self.name = name
        self.directory = directory / name
        self.client = client
        self.peer = peer
        self._log = directory / f"{name}.log"
        self._extra = tuple(extra)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def scheme(self) -> str:
        return "https" if "--cert-file" in self._extra else "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.client}"

    def start(self, cluster: str) -> None:
        assert PROGRAM is not None
        self.process = subprocess.Popen(
            [
                PROGRAM, "--name", self.name, "--data-dir", str(self.directory),
                "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                "--listen-peer-urls", f"http://127.0.0.1:{self.peer}",
                "--initial-advertise-peer-urls", f"http://127.0.0.1:{self.peer}",
                "--initial-cluster", cluster, "--initial-cluster-token", str(self.directory.parent),
                "--heartbeat-interval", str(HEARTBEAT_MS), "--election-timeout", str(ELECTION_MS),
                "--log-level", "error", *self._extra,
            ],
            stdout=subprocess.DEVNULL,
            stderr=self._log.open("ab"),
            env={**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"},
        )  # fmt: skip

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Etcd:
    """A cluster. `url`s in the order of its members."""

    def __init__(self, directory: Path, *, members: int = 1, extra: Sequence[str] = ()) -> None:
        self.directory = directory
        ports = free_ports(2 * members)
        self.members = [
            Member(f"m{number}", directory, ports[2 * number], ports[2 * number + 1], extra)
            for number in range(members)
        ]

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(member.url for member in self.members)

    @property
    def _cluster(self) -> str:
        return ",".join(f"{member.name}=http://127.0.0.1:{member.peer}" for member in self.members)

    def start(self) -> None:
        for member in self.members:
            if member.process is None:
                member.start(self._cluster)
        self.wait()

    def wait(self, seconds: float = 30.0) -> None:
        """Until every member that runs answers a linearizable read. With TLS: until it listens."""
        deadline = time.monotonic() + seconds
        for member in self.members:
            while member.process is not None and not self._answers(member):
                assert member.process.poll() is None, f"etcd {member.name} ended"
                assert time.monotonic() < deadline, f"etcd {member.name} does not answer"
                time.sleep(0.02)

    def _answers(self, member: Member) -> bool:
        if member.scheme == "https":
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", member.client)) == 0
        request = urllib.request.Request(f"{member.url}/v3/kv/range", data=b'{"key":"eA=="}', method="POST")
        try:
            with urllib.request.urlopen(request, timeout=1.0) as response:
                return bool(response.status == 200)
        except urllib.error.HTTPError as error:
            return error.code in (400, 401, 403)  # it wants a token
        except OSError:
            return False

    def leader(self) -> Member:
        import json

        for member in self.members:
            if member.process is None:
                continue
            request = urllib.request.Request(f"{member.url}/v3/maintenance/status", data=b"{}", method="POST")
            try:
                with urllib.request.urlopen(request, timeout=1.0) as response:
                    status = json.load(response)
            except OSError:
                continue
            if status.get("leader") == status["header"]["member_id"]:
                return member
        raise AssertionError("no member leads")

    def wipe(self, *, renamed: bool = True) -> None:
        """As after the loss of all disks. Unless `renamed` the new cluster has the old one's id: it is made of the
        members' addresses and the token."""
        for member in self.members:
            member.kill()
            shutil.rmtree(member.directory)
            if renamed:
                member.directory = self.directory / "again" / member.name
        (self.directory / "again").mkdir(exist_ok=True)

    def save(self) -> None:
        """A copy of all disks, as of now."""
        for member in self.members:
            member.kill()
            shutil.copytree(member.directory, self.directory / "saved" / member.name)
        self.start()

    def put_back(self) -> None:
        for member in self.members:
            member.kill()
            shutil.rmtree(member.directory)
            shutil.copytree(self.directory / "saved" / member.name, member.directory)
        self.start()

    def close(self) -> None:
        for member in self.members:
            if member.process is not None:
                member.signal(signal.SIGCONT)
            member.kill()
