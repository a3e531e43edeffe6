"""Real agents on two hosts, a real etcd and a caller between them."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trustme
import yaml

from tests.builders import hosts as builder
from tests.builders.hosts import ADDRESSES, CALLER4, VIPS, Hosts

GROUP = "calls"
CLUSTER = "lab"
PREFIX = f"/thirdring/{CLUSTER}"
SIDES = {"a": "primary", "b": "backup"}
ROOT = Path(__file__).parents[2]
STARTING = 15.0


def missing() -> str | None:
    if (reason := builder.missing()) is not None:
        return reason
    return None if shutil.which("etcd") is not None else "etcd is not installed"


class Etcd:
    """One member on the switch, in memory-like speed: what matters here is that it answers, or does not."""

    url = f"http://{CALLER4}:2379"

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self._hosts = hosts
        self._directory = directory
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, token: str = "one") -> None:
        """`token`: another one makes another cluster of an empty directory."""
        peer = f"http://{CALLER4}:2380"
        self.process = self._hosts.start(
            "switch",
            *("etcd", "--name", "one", "--data-dir", str(self._directory / "etcd")),
            *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *(
                "--initial-cluster",
                f"one={peer}",
                "--initial-cluster-token",
                token,
                "--heartbeat-interval",
                "20",
                "--election-timeout",
                "200",
            ),
            *("--log-level", "error"),
            log=self._directory / "etcd.log",
        )
        deadline = time.monotonic() + STARTING
        while True:
            try:
                self.get("nothing")
                return
            except OSError:
                assert time.monotonic() < deadline, (self._directory / "etcd.log").read_text()
                time.sleep(0.05)

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def get(self, key: str) -> tuple[int, dict[str, Any]] | None:
        """(mod revision, value) by a linearizable read."""
        found = self._call("range", {"key": _encoded(key)}).get("kvs")
        if not found:
            return None
        return int(found[0]["mod_revision"]), json.loads(base64.b64decode(found[0]["value"]))

    def put(self, key: str, value: Mapping[str, Any]) -> float:
        """When it was committed, at the latest."""
        self._call("put", {"key": _encoded(key), "value": _encoded(json.dumps(value))})
        return time.monotonic()

    def grant(self, epoch: int, holder: str, phase: str = "held") -> float:
        return self.put(
            f"{PREFIX}/grant/{GROUP}",
            {"version": 1, "group": GROUP, "epoch": epoch, "holder": holder, "phase": phase},
        )

    def _call(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            connection = http.client.HTTPConnection(str(CALLER4), 2379, timeout=2)
            try:
                connection.request("POST", f"/v3/kv/{what}", json.dumps(body))
                answer: dict[str, Any] = json.loads(connection.getresponse().read())
                return answer
            finally:
                connection.close()

        return self._hosts.inside("switch", ask)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Agents:
    """`settings` are merged into each agent's group. Agents are started by `start`."""

    def __init__(self, hosts: Hosts, directory: Path, *, hold_time: float = 1.0, **group: Any) -> None:
        self.hosts = hosts
        self.directory = directory
        self.etcd = Etcd(hosts, directory)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._group = {"hold_time": hold_time, **group}
        authority = trustme.CA()
        authority.cert_pem.write_to_path(directory / "ca.pem")
        for host in ("a", "b"):
            self._issue(authority, f"agent-{host}", ADDRESSES[host])
        self._issue(authority, "controller")
        self._issue(authority, "stranger")
        trustme.CA().cert_pem.write_to_path(directory / "other-ca.pem")

    def _issue(self, authority: trustme.CA, *names: str) -> None:
        issued = authority.issue_cert(*names)
        issued.private_key_and_cert_chain_pem.write_to_path(self.directory / f"{names[0]}.pem")

    def file(self, host: str) -> Path:
        other = "b" if host == "a" else "a"
        content = {
            "version": 1,
            "name": f"agent-{host}",
            "cluster": CLUSTER,
            "data": f"data-{host}",
            "host": ADDRESSES[host],
            "tls": {
                "certificate": f"agent-{host}.pem",
                "key": f"agent-{host}.pem",
                "authority": "ca.pem",
                "controllers": ["controller"],
                "agents": [f"agent-{other}"],
            },
            "etcd": {"endpoints": [self.etcd.url], "accept_old_etcd": True},
            "groups": {
                GROUP: {
                    "side": SIDES[host],
                    "addresses": [{"address": str(address), "interface": "eth0"} for address in VIPS],
                    "peers": {f"agent-{other}": f"https://{ADDRESSES[other]}:8752"},
                    **{key: value(host) if callable(value) else value for key, value in self._group.items()},
                }
            },
        }
        path = self.directory / f"agent-{host}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    def start(self, host: str) -> None:
        """Returns once it listens and its self-test has passed."""
        self.processes[host] = self.hosts.start(
            host,
            *(sys.executable, "-m", "controller", "agent", "-c", str(self.file(host))),
            log=self.log(host),
        )
        self.wait(host, lambda status: status["fence_ready"])

    def log(self, host: str) -> Path:
        return self.directory / f"agent-{host}.log"

    def wait(self, host: str, settled: Any, timeout: float = STARTING) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        status: Any = None
        while time.monotonic() < deadline:
            try:
                _, status = self.ask(host, "GET", "/status")
                if settled(status):
                    return dict(status)
            except OSError as error:
                status = error
            time.sleep(0.02)
        raise AssertionError(f"{host}: {status}\n{self.log(host).read_text()[-4000:]}")

    def group(self, host: str) -> dict[str, Any]:
        _, status = self.ask(host, "GET", "/status")
        found: dict[str, Any] = status["groups"][GROUP]
        return found

    def ask(
        self, host: str, method: str, path: str, *, who: str = "controller", ca: str = "ca.pem", **body: Any
    ) -> tuple[int, Any]:
        """Over mutual TLS from the switch. Raises OSError, ssl.SSLError."""

        def work() -> tuple[int, Any]:
            context = ssl.create_default_context(cafile=str(self.directory / ca))
            if who:
                context.load_cert_chain(self.directory / f"{who}.pem")
            connection = http.client.HTTPSConnection(ADDRESSES[host], 8752, timeout=10, context=context)
            try:
                connection.request(method, path, json.dumps(body) if method == "POST" else None)
                answer = connection.getresponse()
                return answer.status, json.loads(answer.read())
            except http.client.HTTPException as error:
                raise ConnectionError(str(error) or type(error).__name__) from error
            finally:
                connection.close()

        return self.hosts.inside("switch", work)

    def post(self, host: str, path: str, epoch: int, **body: Any) -> tuple[int, Any]:
        return self.ask(host, "POST", path, group=GROUP, epoch=epoch, **body)

    def signal(self, host: str, number: int) -> None:
        os.kill(self.processes[host].pid, number)

    def kill(self, host: str) -> None:
        self.processes[host].kill()
        self.processes[host].wait()

    def end(self, host: str) -> None:
        self.processes[host].send_signal(signal.SIGTERM)
        assert self.processes[host].wait(timeout=10) == 0, self.log(host).read_text()
