"""The kernel's side of the protocol: what the gate drops, when it closes, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.agent import gate as gates
from controller.agent import selftest
from controller.agent.address import Addresses
from controller.agent.gate import (
    FrozenTooLong,
    Gate,
    Guarded,
    HoldExpired,
    TableChanged,
    TableMissing,
)
from controller.agent.nftables import Nftables
from tests.builders import hosts as builder
from tests.builders.hosts import VIPS, Caller, Hosts

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(builder.missing() is not None, reason=str(builder.missing())),
]

D = 0.4


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts() as made:
        yield made


def gate_in(hosts: Hosts, host: str = "a") -> Gate:
    """The context's socket stays in the namespace it was made in."""

    def make() -> Gate:
        gate = Gate(Nftables(), [Guarded(address=address, device="eth0") for address in VIPS])
        gate.make()
        return gate

    return hosts.inside(host, make)


def add_addresses(hosts: Hosts, host: str = "a") -> None:
    hosts.run(host, "ip", "addr", "replace", f"{VIPS[0]}/32", "dev", "eth0")
    hosts.run(host, "ip", "addr", "replace", f"{VIPS[1]}/128", "dev", "eth0", "nodad")


def hold(gate: Gate, seconds: float, *, first: bool = False) -> float:
    gate.arm(VIPS)
    gate.extend(VIPS, seconds, first=first)
    return time.monotonic()


def test_a_closed_gate_is_silent_and_an_open_one_answers_until_its_time(hosts: Hosts) -> None:
    """Every kind: ARP and neighbour discovery, IPv4 and IPv6, in and out."""
    gate = gate_in(hosts)
    add_addresses(hosts)
    with Caller(hosts) as caller:
        time.sleep(0.2)
        assert not caller.replies
        for _ in range(5):
            opened = hold(gate, D, first=True)
            caller.wait_for("a")
            last = caller.wait_silent("a")
            assert D - 0.1 < last - opened < D + 0.010
        # The host itself speaks from the address: that is dropped, too, unless it is held.
        before = len(caller.replies)
        hosts.inside("a", speak)
        time.sleep(0.1)
        assert len(caller.replies) == before
        hold(gate, D, first=True)
        hosts.inside("a", speak)
        caller.wait_for("a")


def speak() -> None:
    for family, address, to in (
        (socket.AF_INET, VIPS[0], builder.CALLER4),
        (socket.AF_INET6, VIPS[1], builder.CALLER6),
    ):
        with socket.socket(family, socket.SOCK_DGRAM) as speaker, contextlib.suppress(OSError):
            speaker.bind((str(address), 0))
            speaker.sendto(b"third ring", (str(to), 9))


def test_extending_loses_nothing_and_costs_little(hosts: Hosts) -> None:
    gate = gate_in(hosts)
    add_addresses(hosts)
    with Caller(hosts) as caller:
        hold(gate, D, first=True)
        caller.wait_for("a")
        since, costs = time.monotonic(), []
        for _ in range(300):
            began = time.perf_counter()
            hold(gate, D)
            costs.append(time.perf_counter() - began)
            time.sleep(0.002)
        ended = time.monotonic()
        replies = [reply for reply in caller.since(since) if reply.at < ended]
    gaps = [
        after.at - before.at
        for kind in ("ip4", "ip6")
        for before, after in itertools.pairwise([reply for reply in replies if reply.kind == kind])
    ]
    assert len(replies) > 400 and max(gaps) < 0.2
    assert statistics.median(costs) < 0.005


def test_adding_what_is_there_with_the_same_time_extends_nothing(hosts: Hosts) -> None:
    """With another time it does since Linux 6.12, even without anything having been compared: neither is relied on."""
    gate = gate_in(hosts)
    add_addresses(hosts)
    with Caller(hosts) as caller:
        opened = hold(gate, D, first=True)
        caller.wait_for("a")
        time.sleep(max(0.0, opened + D / 2 - time.monotonic()))
        hold(gate, D, first=True)  # leaves out deleting what is held
        assert caller.wait_silent("a") - opened < D + 0.010


def test_stage_one_is_not_extended_by_repeating_it(hosts: Hosts) -> None:
    gate = gate_in(hosts)
    for _ in range(20):
        began = time.monotonic()
        gate.arm(VIPS)
        time.sleep(0.030)
        gate.arm(VIPS)
        if time.monotonic() - began < 0.045:
            break
        time.sleep(0.060)
    else:
        pytest.fail("this machine never got to it in time")
    time.sleep(max(0.0, began + 0.056 - time.monotonic()))
    with pytest.raises(FrozenTooLong):
        gate.extend(VIPS, D, first=True)


def test_what_has_died_is_refused_by_name(hosts: Hosts) -> None:
    gate = gate_in(hosts)
    gate.arm(VIPS)
    with pytest.raises(HoldExpired):
        gate.extend(VIPS, D)  # nothing was ever held
    hold(gate, D, first=True)
    gate.arm(VIPS)
    time.sleep(0.060)
    with pytest.raises(FrozenTooLong):
        gate.extend(VIPS, D)
    time.sleep(D)
    gate.arm(VIPS)
    with pytest.raises(HoldExpired):
        gate.extend(VIPS, D)
    gate.arm(VIPS)
    with pytest.raises(HoldExpired):
        gate.extend(VIPS, -0.1, first=True)
    gate.shut(VIPS)
    gate.shut(VIPS)
    gate.verify()


@pytest.mark.parametrize(
    "meddling", ["flush ruleset", "flush chain netdev thirdring egress_0", "add chain netdev thirdring x"]
)
def test_meddling_is_seen(hosts: Hosts, meddling: str) -> None:
    gate = gate_in(hosts)
    gate.verify()
    hosts.run("a", "nft", meddling)
    expected = TableMissing if meddling == "flush ruleset" else TableChanged
    with pytest.raises(expected):
        gate.verify()
    if expected is TableMissing:
        with pytest.raises(TableMissing):
            gate.arm(VIPS)
        with pytest.raises(TableMissing):
            gate.extend(VIPS, D)
    gate.make()
    gate.verify()


def test_making_it_again_closes_what_was_open_without_a_gap(hosts: Hosts) -> None:
    gate = gate_in(hosts)
    hold(gate, 60.0, first=True)
    add_addresses(hosts)
    with Caller(hosts) as caller:
        caller.wait_for("a")
        gate.make()
        assert time.monotonic() - caller.wait_silent("a") < 1.0
        gate.make()
        time.sleep(0.1)
        caller.wait_silent("a", timeout=0.3)


def test_an_interface_that_is_put_back_is_gated_or_missed(hosts: Hosts) -> None:
    """Since Linux 6.16 a chain waits for its interface; before, it loses it, and that is seen."""
    gate = gate_in(hosts)
    hosts.run("a", "ip", "link", "set", "eth0", "name", "eth1")
    hosts.run("a", "ip", "link", "set", "eth1", "name", "eth0")
    try:
        gate.verify()
    except TableChanged:
        return
    add_addresses(hosts)
    hosts.run("a", "ip", "link", "set", "eth0", "up")
    with Caller(hosts) as caller:
        time.sleep(0.2)
        assert not caller.replies
        hold(gate, D, first=True)
        caller.wait_for("a")


async def test_an_address_that_is_held_is_not_what_the_host_itself_speaks_from(hosts: Hosts) -> None:
    """RFC 6724 prefers the longest match: a heartbeat that left from the address would be cut off with it."""
    found: list[str] = []

    async def work() -> None:
        addresses = Addresses()
        await addresses.open()
        for address in VIPS:
            await addresses.refresh(Guarded(address=address, device="eth0"))
            assert await addresses.present(Guarded(address=address, device="eth0"))
        for near in ("10.77.0.101", "fd77::101"):
            found.append(hosts.run("a", "ip", "-o", "route", "get", near))
        for address in VIPS:
            await addresses.remove(Guarded(address=address, device="eth0"))
            await addresses.remove(Guarded(address=address, device="eth0"))
            assert not await addresses.present(Guarded(address=address, device="eth0"))
        await addresses.close()

    hosts.inside("a", lambda: asyncio.run(work()))
    assert "src 10.77.0.1 " in found[0] and "src fd77::1 " in found[1], found


SELF_TEST = """
import asyncio, sys
from controller.agent import gate
from controller.agent.selftest import SelfTestFailed, self_test
if sys.argv[1] == "deaf":
    gate._egress = lambda address: ("ip saddr 203.0.113.99",)
elif sys.argv[1] == "open":
    gate._ingress = gate._egress = lambda address: ("ip saddr 203.0.113.99",)
elif sys.argv[1] == "eternal":
    run = gate.Gate._run
    gate.Gate._run = lambda self, commands: run(self, [c.replace("timeout 300ms", "timeout 9s") for c in commands])
elif sys.argv[1] == "revived":
    extend = gate.Gate.extend
    gate.Gate.extend = lambda self, a, s, first=False: self._run(
        [f"add element netdev {self.table} held_{k} {{ {e} timeout {int(s * 1000)}ms }}" for k, e in gate.keys(a)])
try:
    asyncio.run(self_test(["eth0"]))
except SelfTestFailed as error:
    print("failed:", error)
else:
    print("passed")
"""


@pytest.mark.parametrize("sabotage", ["none", "deaf", "open", "eternal", "revived"])
def test_the_self_test_passes_here_and_catches_a_gate_that_does_not_hold(
    hosts: Hosts, tmp_path: Path, sabotage: str
) -> None:
    script = tmp_path / "try.py"
    script.write_text(SELF_TEST)
    done = subprocess.run(
        hosts.argv("a", sys.executable, str(script), sabotage),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert done.stdout.startswith("passed" if sabotage == "none" else "failed:"), done.stdout + done.stderr
    assert "thirdring" not in hosts.run("a", "nft", "list", "tables")


async def test_the_self_test_names_an_interface_that_is_not_there() -> None:
    with pytest.raises(selftest.SelfTestFailed, match="no-such-device"):
        await asyncio.wait_for(selftest.self_test(["no-such-device"]), 10)


def test_the_ruleset_quotes_its_interface() -> None:
    with pytest.raises(ValueError, match="interface"):
        gates.ruleset([Guarded(address=VIPS[0], device='eth0" ; drop')], "thirdring")
