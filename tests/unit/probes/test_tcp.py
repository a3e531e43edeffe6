from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from pydantic import ValidationError

from controller.model.health import Outcome
from controller.probes.tcp import Tcp, TcpParameters
from tests.builders.responders import free_port

Drive = Callable[[Tcp], Any]


async def test_an_open_port(drive: Drive) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        driver = drive(Tcp())
        port = server.sockets[0].getsockname()[1]
        prepared = driver.prepare(TcpParameters(address=f"127.0.0.1:{port}"))
        results = [await driver.probe(prepared) for _ in range(50)]
    assert all(result.outcome is Outcome.UP and result.up for result in results)


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_closed_port_on_both_loops(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """uvloop's poll stops at POLLERR: the refusal must come through all the same, and again."""

    async def refused() -> list[Outcome]:
        outcomes: list[Outcome] = []
        kind = Tcp()
        done = asyncio.Event()

        def finished(ticket: object, result: Any) -> None:
            outcomes.append(result.outcome)
            done.set()

        kind.open(asyncio.get_running_loop(), finished)
        prepared = kind.prepare(
            ("a", "port"),  # type: ignore[arg-type]
            TcpParameters(address=f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"),
        )
        for _ in range(3):
            done.clear()
            kind.send(None, prepared, 5.0, time.monotonic())
            async with asyncio.timeout(10):
                await done.wait()
        kind.close()
        return outcomes

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(refused()) == [Outcome.TRANSPORT] * 3


async def filled(server: socket.socket) -> list[socket.socket]:
    """Connections that fill the server's backlog, so that the next one gets no answer to its SYN."""
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    waiting = []
    for _ in range(4):
        each = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        each.connect_ex(server.getsockname())
        waiting.append(each)
    await asyncio.sleep(0.05)
    return waiting


async def test_no_answer_to_the_syn(drive: Drive) -> None:
    with socket.socket() as server:
        waiting = await filled(server)
        driver = drive(Tcp())
        prepared = driver.prepare(TcpParameters(address=f"127.0.0.1:{server.getsockname()[1]}"))
        flight, future = driver.send(prepared)
        late, void = driver.send(prepared)
        await asyncio.sleep(0.05)
        driver.give_up(flight)
        driver.give_up(late, "our own loop lagged")
        for each in waiting:
            each.close()
    assert (future.result().outcome, future.result().up) == (Outcome.NO_REPLY, False)
    assert void.result().outcome is Outcome.VOID


async def test_a_handshake_that_waits_to_be_seen_is_no_timeout(drive: Drive) -> None:
    """The loop stood still, the handshake did not."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        driver = drive(Tcp())
        flight, future = driver.send(
            driver.prepare(TcpParameters(address=f"127.0.0.1:{server.getsockname()[1]}"))
        )
        driver.give_up(flight)  # without the loop having run in between
        assert future.result().outcome is Outcome.UP and driver.calls == 1


def test_parameters_are_checked(drive: Drive) -> None:
    with pytest.raises(ValidationError):
        TcpParameters(address="host:99999")


async def test_a_port_is_needed(drive: Drive) -> None:
    with pytest.raises(ValueError, match="no port"):
        drive(Tcp()).prepare(TcpParameters(address="127.0.0.1"))
