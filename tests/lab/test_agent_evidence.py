"""A hang is known at once: the agent's stream over mutual TLS, as the probe reads it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.probes.host_agent import HostAgent, HostAgentParameters
from tests.builders import agents as builder
from tests.builders.agents import GROUP, Agents
from tests.builders.hosts import ADDRESSES, Hosts
from tests.unit.agent.test_side import ANSWERER

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(builder.missing() is not None, reason=str(builder.missing())),
]

KEY = RungKey("primary", "agent")


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts() as made:
        yield made


@asynccontextmanager
async def probe(agents: Agents, who: str = "controller") -> AsyncIterator[HostAgent]:
    directory = agents.directory
    made = HostAgent(
        HostAgentParameters.model_validate(
            {
                "agent": f"https://{ADDRESSES['a']}:8752",
                "group": GROUP,
                "certificate": directory / f"{who}.pem",
                "key": directory / f"{who}.pem",
                "authority": directory / "ca.pem",
            }
        )
    )
    try:
        yield made
    finally:
        await made.close()


def in_switch(hosts: Hosts, work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    hosts.inside("switch", lambda: asyncio.run(run()))


async def until(one: HostAgent, verdict: str, *, timeout: float = 10.0) -> ProbeResult:
    async with asyncio.timeout(timeout):
        while True:
            result = await one.run(KEY, 1.0)
            if dict(result.values).get("verdict") == verdict:
                return result
            await asyncio.sleep(0.005)


def test_dead_and_stopped_are_pushed_at_once_and_a_silent_agent_says_nothing(
    hosts: Hosts, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", ANSWERER, str(tmp_path)]
    platform = hosts.start("a", *words, log=tmp_path / "platform.log")
    agents = Agents(hosts, tmp_path, process={"match": words})
    agents.etcd.start()
    agents.start("a")

    async def work() -> None:
        async with probe(agents) as one:
            result = await until(one, "alive")
            assert result.up is True and result.outcome is Outcome.UP
            took = []
            for number, verdict in (
                (signal.SIGSTOP, "stopped"),
                (signal.SIGCONT, "alive"),
                (signal.SIGKILL, "dead"),
            ):
                os.kill(platform.pid, number)
                began = time.monotonic()
                result = await until(one, verdict)
                took.append(time.monotonic() - began)
                assert result.up is (verdict == "alive")
            print(f"\nstopped, continued, killed: known {[round(one * 1000) for one in took]} ms later")
            assert max(took) < 0.5
            agents.signal("a", signal.SIGSTOP)
            async with asyncio.timeout(10.0):
                while (await one.run(KEY, 0.2)).up is not None:
                    await asyncio.sleep(0.05)
            agents.signal("a", signal.SIGCONT)
            await until(one, "dead")
        async with probe(agents, "stranger") as refused:
            result = await refused.run(KEY, 1.0)
            assert result.outcome is Outcome.VOID and "may not ask" in (await refused.run(KEY, 1.0)).note

    in_switch(hosts, work)
