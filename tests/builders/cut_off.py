"""Three members of etcd on hosts of their own, as network namespaces, any of which can be cut off from the others while
its clients still reach it."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

Result = TypeVar("Result")

COUNT = 3
_NUMBERS = itertools.count()
_LIBC = ctypes.CDLL(None, use_errno=True)


def missing() -> str | None:
    """Why there can be none here."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    for program in ("ip", "nft", "etcd"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


def _run(*argv: str, stdin: str | None = None) -> None:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr or done.stdout}"


class Islands:
    """`endpoints` in the order of the members; reached from inside the namespace where `run` runs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._prefix = f"etcd{os.getpid()}x{next(_NUMBERS)}"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(f"http://{self._address(number)}:2379" for number in range(COUNT))

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for name in ("switch", *map(str, range(COUNT))):
            subprocess.run(["ip", "netns", "del", self._namespace(name)], capture_output=True, check=False)

    def run(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """`work` on a loop in a thread that is where everybody is reached from, once all members answer."""
        results: list[Result] = []
        errors: list[BaseException] = []

        def inside() -> None:
            try:
                with open(f"/run/netns/{self._namespace('switch')}", "rb") as handle:
                    assert _LIBC.setns(handle.fileno(), 0x40000000) == 0
                self._stand()
                results.append(asyncio.run(work()))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def cut(self, number: int) -> None:
        """From the other members; not from anybody else."""
        others = ", ".join(self._address(other) for other in range(COUNT) if other != number)
        _run(
            *("ip", "netns", "exec", self._namespace(str(number)), "nft", "-f", "-"),
            stdin="table ip cut {\n"
            f"chain in {{ type filter hook input priority 0; ip saddr {{ {others} }} drop; }}\n"
            f"chain out {{ type filter hook output priority 0; ip daddr {{ {others} }} drop; }}\n"
            "}\n",
        )

    def heal(self, number: int) -> None:
        _run("ip", "netns", "exec", self._namespace(str(number)), "nft", "delete", "table", "ip", "cut")

    def leader(self) -> int:
        """Asked from inside."""
        for number, endpoint in enumerate(self.endpoints):
            request = urllib.request.Request(f"{endpoint}/v3/maintenance/status", data=b"{}", method="POST")
            with urllib.request.urlopen(request, timeout=1.0) as response:
                status = json.load(response)
            if status.get("leader") == status["header"]["member_id"]:
                return number
        raise AssertionError("no member leads")

    def _namespace(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _address(self, number: int) -> str:
        return f"10.78.0.{number + 1}"

    def _build(self) -> None:
        for name in ("switch", *map(str, range(COUNT))):
            _run("ip", "netns", "add", self._namespace(name))
        lines = "link add br0 type bridge stp_state 0 forward_delay 0\nlink set lo up\n"
        for number in range(COUNT):
            peer = self._namespace(str(number))
            lines += f"link add port{number} type veth peer name eth0 netns {peer}\n"
            lines += f"link set port{number} master br0 up\n"
        lines += "addr add 10.78.0.254/24 dev br0\nlink set br0 up\n"
        _run("ip", "-n", self._namespace("switch"), "-batch", "-", stdin=lines)
        cluster = ",".join(f"m{number}=http://{self._address(number)}:2380" for number in range(COUNT))
        for number in range(COUNT):
            address, namespace = self._address(number), self._namespace(str(number))
            lines = f"link set lo up\nlink set eth0 up\naddr add {address}/24 dev eth0\n"
            _run("ip", "-n", namespace, "-batch", "-", stdin=lines)
            client, peer = f"http://{address}:2379", f"http://{address}:2380"
            self._processes.append(
                subprocess.Popen(
                    [
                        "ip", "netns", "exec", namespace,
                        "etcd", "--name", f"m{number}", "--data-dir", str(self._directory / f"m{number}"),
                        "--listen-client-urls", client, "--advertise-client-urls", client,
                        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                        "--initial-cluster", cluster, "--initial-cluster-token", self._prefix,
                        "--heartbeat-interval", "20", "--election-timeout", "200", "--log-level", "error",
                    ],
                    stdout=subprocess.DEVNULL,
                    stderr=(self._directory / f"m{number}.log").open("ab"),
                )
            )  # fmt: skip

    def _stand(self) -> None:
        """Until all members answer a linearizable read. From inside."""
        deadline = time.monotonic() + 30
        for endpoint in self.endpoints:
            request = urllib.request.Request(f"{endpoint}/v3/kv/range", data=b'{"key":"eA=="}', method="POST")
            while True:
                try:
                    with urllib.request.urlopen(request, timeout=1.0):
                        break
                except OSError:
                    assert time.monotonic() < deadline, f"{endpoint} does not answer"
                    time.sleep(0.05)
