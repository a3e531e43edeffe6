"""Real controllers over a real etcd: one dies, hangs or is cut off, and another goes on with what it had decided."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.cli.client import CallFailed, Client
from controller.cli.exits import Exit
from tests.builders.etcd import PROGRAM, Etcd, free_ports

pytestmark = pytest.mark.etcd

ROOT = Path(__file__).parents[2]

CONFIGURATION = """
name: ring
language: en
include: [shipped:ladders.yaml, shipped:rules.yaml, shipped:domains.yaml, shipped:severity.yaml]
runbooks: ["shipped:"]
node:
  name: {name}
  data: {name}
  coordination: {{kind: etcd, cluster: ring, endpoints: [{endpoints}], ttl: 1s, timeout: 300ms, accept_old_etcd: true}}
http: {{port: {port}}}
people: {{ann: {{display: Ann, role: duty, channels: [{{name: hook, kind: webhook, with: {{url: "http://127.0.0.1:9/"}}}}]}}}}
components:
  phone:
    kind: phone
    title: Phone
    rungs: [{{name: tcp, probe: tcp, with: {{address: "127.0.0.1:{target}"}}, interval: 200ms, timeout: 100ms, fall: 2}}]
"""


class Controller:
    def __init__(self, name: str, directory: Path, etcd: Etcd, target: int) -> None:
        self.name = name
        self.directory = directory
        self.file = directory / f"{name}.yaml"
        self.file.write_text(
            CONFIGURATION.format(
                name=name,
                endpoints=", ".join(json.dumps(url) for url in etcd.urls),
                port=free_ports(1)[0],
                target=target,
            )
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.client = Client(str(self.socket))

    @property
    def socket(self) -> Path:
        return self.directory / self.name / "control"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "controller", "run", "-c", str(self.file)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=(self.directory / f"{self.name}.log").open("ab"),
        )
        until(lambda: self.status() is not None or self.ended, f"{self.name} to answer", 30)
        assert not self.ended, (self.directory / f"{self.name}.log").read_text()

    def status(self) -> dict[str, Any] | None:
        """None when it does not answer."""
        try:
            found: dict[str, Any] = self.client.get("/api/v1/status")
        except CallFailed as error:
            if error.code is not Exit.UNREACHABLE:
                raise
            return None
        return found

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As a person types it."""
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "controller",
                "--socket",
                str(self.socket),
                "--language",
                "en",
                *arguments,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def hold(self, reason: str) -> None:
        """Raises CallFailed."""
        self.client.post("/api/v1/holds", {"scope": "*", "reason": reason, "minutes": 60.0})

    def holds(self) -> list[str]:
        status = self.status()
        return [] if status is None else [found["reason"] for found in status["holds"]]

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    @property
    def leads(self) -> bool:
        status = self.status()
        return bool(status and status["leader"])

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()


def until(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    if PROGRAM is None:
        pytest.skip("etcd is not installed (Debian: etcd-server)")
    (tmp_path / "etcd").mkdir()
    cluster = Etcd(tmp_path / "etcd", members=3)
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture
def target() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield listening


@pytest.fixture
def pair(tmp_path: Path, etcd: Etcd, target: socket.socket) -> Iterator[tuple[Controller, Controller]]:
    """The first leads."""
    first, second = (Controller(name, tmp_path, etcd, target.getsockname()[1]) for name in ("alpha", "beta"))
    try:
        first.start()
        until(lambda: first.leads, "alpha to lead")
        second.start()
        yield first, second
    finally:
        for controller in (first, second):
            with contextlib.suppress(ProcessLookupError, AssertionError):
                controller.signal(signal.SIGCONT)
            controller.kill()


def says_it_does_not_lead(controller: Controller) -> bool:
    status = controller.status()
    return status is not None and not status["leader"]


def taken(controller: Controller, reason: str) -> bool:
    try:
        controller.hold(reason)
    except CallFailed:
        return False
    return True


def test_what_a_leader_took_survives_its_death(pair: tuple[Controller, Controller]) -> None:
    first, second = pair
    until(lambda: second.status()["led_by"] == "alpha", "beta to know who leads")
    assert not second.leads
    first.hold("works")
    refused = second.command("hold", "*", "--reason", "works too")
    assert refused.returncode == Exit.REFUSED and "another node leads" in refused.stderr
    first.kill()
    began = time.monotonic()
    until(lambda: second.leads, "beta to lead", 10)
    assert time.monotonic() - began < 6.0
    assert second.holds() == ["works"]
    first.start()
    time.sleep(1.0)
    assert not first.leads
    second.hold("more")
    for controller in (first, second):
        assert controller.command("verify").returncode == 0


def test_a_leader_that_stands_still_finds_out_and_does_nothing(pair: tuple[Controller, Controller]) -> None:
    first, second = pair
    first.hold("before")
    first.signal(signal.SIGSTOP)
    until(lambda: second.leads, "beta to lead", 10)
    second.hold("meanwhile")
    first.signal(signal.SIGCONT)
    until(lambda: first.status() is not None and not first.leads, "alpha to follow")
    with pytest.raises(CallFailed):
        first.hold("stale")
    assert "stale" not in second.holds()
    assert sorted(set(second.holds())) == ["meanwhile"]  # of one scope, the newest


def test_an_etcd_member_that_dies_changes_nothing(pair: tuple[Controller, Controller], etcd: Etcd) -> None:
    first, _ = pair
    etcd.leader().kill()
    until(lambda: taken(first, "after"), "a hold to be taken", 10)
    etcd.start()
    assert first.leads


def test_without_etcd_nobody_leads_and_nothing_is_lost(
    pair: tuple[Controller, Controller], etcd: Etcd
) -> None:
    first, second = pair
    first.hold("before")
    for member in etcd.members:
        member.signal(signal.SIGSTOP)
    until(lambda: all(says_it_does_not_lead(each) for each in pair), "nobody to lead", 10)
    with pytest.raises(CallFailed, match="not done"):
        first.hold("nobody took this")
    for member in etcd.members:
        member.signal(signal.SIGCONT)
    until(lambda: first.leads or second.leads, "one to lead again", 15)
    leader = first if first.leads else second
    assert leader.holds() == ["before"]


def test_both_see_a_fault_and_one_incident_is_opened(
    pair: tuple[Controller, Controller], target: socket.socket
) -> None:
    first, second = pair
    target.close()
    until(lambda: bool(first.status()["incidents"]), "an incident", 20)
    (incident,) = first.status()["incidents"]
    assert second.status()["incidents"] == []
    first.kill()
    until(lambda: second.leads, "beta to lead", 10)
    until(lambda: bool(second.status()["incidents"]), "the incident", 10)
    time.sleep(1.0)
    assert [found["id"] for found in second.status()["incidents"]] == [incident["id"]]


def test_a_wiped_store_is_refused_until_a_person_adopts_it(
    pair: tuple[Controller, Controller], etcd: Etcd
) -> None:
    first, second = pair
    first.hold("before")
    etcd.wipe()
    etcd.start()
    until(lambda: not first.leads and not second.leads, "nobody to lead", 10)
    time.sleep(2.0)
    assert not first.leads and not second.leads
    adopt = ("adopt", "-c", str(first.file), "--reason", "disks lost")
    refused = first.command(*adopt)
    assert refused.returncode != 0 and "has this journal open" in refused.stderr
    first.kill()
    second.kill()
    assert first.command(*adopt).returncode == 0
    joined = second.command("adopt", "-c", str(second.file), "--reason", "disks lost")
    assert joined.returncode == 0 and "joins" in joined.stdout
    first.start()
    until(lambda: first.leads, "alpha to lead")
    assert first.holds() == ["before"]
    assert first.command("verify").returncode == 0
