from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from controller.model.health import Outcome
from controller.probes.icmp import Icmp, IcmpParameters
from controller.probes.icmp_packets import echo_reply_filter

Drive = Callable[[Icmp], Any]


def may_ping() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    except PermissionError:
        try:
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()
        except PermissionError:
            return False
    return True


needs_icmp = pytest.mark.skipif(not may_ping(), reason="neither CAP_NET_RAW nor ping_group_range here")


@needs_icmp
async def test_loopback_answers(drive: Drive) -> None:
    driver = drive(Icmp())
    result = await driver.probe(driver.prepare(IcmpParameters(host="127.0.0.1")))
    assert (result.outcome, result.up, result.sends) == (Outcome.UP, True, 1)
    assert 0.0 < result.latency < 5.0


@needs_icmp
async def test_many_at_once_are_told_apart(drive: Drive) -> None:
    driver = drive(Icmp())
    hosts = [f"127.0.{number // 100}.{number % 100 + 1}" for number in range(300)]
    prepared = [driver.prepare(IcmpParameters(host=host), host) for host in hosts]
    futures = [driver.send(each)[1] for each in prepared]
    async with asyncio.timeout(20):
        results = await asyncio.gather(*futures)
    assert [result.key.component for result in results] == hosts
    assert all(result.up for result in results)


@needs_icmp
async def test_two_probers_do_not_hear_each_other(drive: Drive) -> None:
    one, other = drive(Icmp()), drive(Icmp())
    for driver in (one, other):
        prepared = driver.prepare(IcmpParameters(host="127.0.0.1"))
        assert all([(await driver.probe(prepared)).up for _ in range(10)])
    assert one.kind.counters()["late"] == other.kind.counters()["late"] == 0
    if os.geteuid() == 0:
        assert one.kind.counters()["foreign"] == other.kind.counters()["foreign"] == 0


@needs_icmp
async def test_an_unroutable_host_is_transport(drive: Drive) -> None:
    driver = drive(Icmp())
    # 240.0.0.0/4 is reserved (RFC 1112 4): the kernel has no way to send there, or nothing answers.
    flight, future = driver.send(driver.prepare(IcmpParameters(host="255.255.255.254")))
    await asyncio.sleep(0)
    driver.give_up(flight)
    assert future.result().up is False
    assert future.result().outcome in (Outcome.TRANSPORT, Outcome.NO_REPLY)


@needs_icmp
async def test_a_void_end_and_a_single_result(drive: Drive) -> None:
    driver = drive(Icmp())
    flight, future = driver.send(driver.prepare(IcmpParameters(host="127.0.0.1")))
    driver.give_up(flight, "our own loop lagged")
    driver.give_up(flight)
    assert future.result().outcome is Outcome.VOID and driver.calls == 1


@needs_icmp
async def test_ipv6(drive: Drive) -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as finder:
            finder.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 loopback here")
    driver = drive(Icmp())
    result = await driver.probe(driver.prepare(IcmpParameters(host="::1")))
    assert result.up is True


async def test_without_any_permission_it_says_so(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    driver = drive(Icmp())
    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(ValueError, match="CAP_NET_RAW"):
        driver.prepare(IcmpParameters(host="127.0.0.1"))


def run(program: list[tuple[int, int, int, int]], packet: bytes) -> bool:
    """A classic BPF machine, for the instructions that our filters use."""
    accumulator = index = position = 0
    while True:
        code, true, false, operand = program[position]
        position += 1
        match code:
            case 0xB1:
                index = 4 * (packet[operand] & 0xF)
            case 0x50:
                accumulator = packet[index + operand]
            case 0x48:
                accumulator = struct.unpack_from("!H", packet, index + operand)[0]
            case 0x30:
                accumulator = packet[operand]
            case 0x28:
                accumulator = struct.unpack_from("!H", packet, operand)[0]
            case 0x15:
                position += true if accumulator == operand else false
            case 0x06:
                return operand > 0
            case _:
                raise AssertionError(f"instruction {code:#x}")


@pytest.mark.parametrize(
    ("family", "header", "reply"), [(socket.AF_INET, b"\x46" + b"\0" * 23, 0), (socket.AF_INET6, b"", 129)]
)
def test_the_filter_passes_only_our_replies(family: int, header: bytes, reply: int) -> None:
    program = echo_reply_filter(family, 4711)

    def passes(kind: int, identifier: int) -> bool:
        return run(program, header + struct.pack("!BBHHH", kind, 0, 0, identifier, 1))

    assert passes(reply, 4711)
    assert not passes(reply, 4712)
    assert not passes(8, 4711)
    assert not passes(3, 4711)


def test_parameters_are_checked() -> None:
    IcmpParameters(host="fe80::1")
    IcmpParameters(host="platform.example")
    for wrong in ("", "a b", "[::1]x"):
        with pytest.raises(ValidationError):
            IcmpParameters(host=wrong)
