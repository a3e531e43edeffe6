"""The driver of a virtual address over real agents and a real etcd: what a switch takes, and what proves a fence."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from controller.actions.vip import Vip
from controller.actions.vip.parameters import VipParameters
from controller.etcd.client import EtcdClient, EtcdSettings
from controller.leases.etcd.grants import EtcdGrants
from controller.leases.etcd.lease import EtcdLease
from controller.leases.etcd.places import Places
from controller.model.commands import Drive
from controller.model.errors import ActionError, ActionRefused
from controller.model.groups import DriverVerb
from controller.model.moments import Value
from tests.builders import agents as builder
from tests.builders.agents import CLUSTER, GROUP, SIDES, Agents
from tests.builders.hosts import ADDRESSES, Caller, Hosts, both_answer
from tests.builders.platform import group_policy

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(builder.missing() is not None, reason=str(builder.missing())),
]


class Controller:
    """One that leads, in this process, in the switch's namespace."""

    def __init__(self, agents: Agents) -> None:
        directory = agents.directory
        self.client = EtcdClient(EtcdSettings(endpoints=(agents.etcd.url,), accept_old=True))
        places = Places(CLUSTER)
        self.lease = EtcdLease(self.client, places, "node1", lifetime=5)
        self.grants = EtcdGrants(self.client, places, self.lease)
        parameters = VipParameters.model_validate(
            {
                "sides": {side: {"agent": f"https://{ADDRESSES[host]}:8752"} for host, side in SIDES.items()},
                "tls": {
                    "certificate": directory / "controller.pem",
                    "key": directory / "controller.pem",
                    "authority": directory / "ca.pem",
                },
            }
        )
        self.driver = Vip(group_policy(step_timeout=2.0), parameters)
        self.driver.coordinate(self.grants)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Controller:
        assert await self.lease.acquire() is not None
        self._tasks = [asyncio.create_task(self.grants.watch()), asyncio.create_task(self._lead())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.driver.close()
        await self.lease.release()
        await self.client.close()

    async def _lead(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await self.lease.acquire()

    async def do(self, verb: DriverVerb, side: str, epoch: int, *, timeout: float = 2.0) -> dict[str, Value]:
        command = Drive(id="CMD-1", group=GROUP, verb=verb, side=side, epoch=epoch, timeout=timeout)
        outcome = await asyncio.wait_for(self.driver.perform(command), timeout)
        return dict(outcome.data)

    async def until(self, settled: Callable[[dict[str, Value]], bool], side: str, epoch: int) -> None:
        async with asyncio.timeout(10.0):
            while not settled(await self.do(DriverVerb.READ_BACK, side, epoch)):
                await asyncio.sleep(0.05)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts() as made:
        yield made


@pytest.fixture
def agents(hosts: Hosts, tmp_path: Path) -> Agents:
    made = Agents(hosts, tmp_path)
    made.etcd.start()
    for host in SIDES:
        made.start(host)
    return made


def control(agents: Agents, work: Callable[[Controller], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Controller(agents) as controller:
            await work(controller)

    agents.hosts.inside("switch", lambda: asyncio.run(run()))


async def first_hold(controller: Controller) -> None:
    await controller.do(DriverVerb.REDIRECT, "primary", 1)
    await controller.until(lambda seen: seen["holder"] == "primary" and not seen["drifted"], "primary", 1)


def test_a_planned_switch_there_and_back(hosts: Hosts, agents: Agents) -> None:
    async def work(controller: Controller) -> None:
        seen = await controller.do(DriverVerb.READ_BACK, "primary", 1)
        assert seen["active"] == "" and seen["holder"] == "none" and seen["fence_ready"] is True
        await controller.grants.close_grant(GROUP, 1)  # before anybody held it
        await first_hold(controller)
        began = time.monotonic()
        await controller.do(DriverVerb.PRECHECK, "backup", 2)
        await controller.do(DriverVerb.FENCE, "primary", 2)
        fenced = await controller.do(DriverVerb.CONFIRM_FENCE, "primary", 2)
        assert fenced["proof"] == "agent"
        await controller.do(DriverVerb.REDIRECT, "backup", 2)
        print(f"\nprecheck, fence, confirm, redirect: {(time.monotonic() - began) * 1000:.0f} ms")
        await controller.do(DriverVerb.REDIRECT, "backup", 2)
        seen = await controller.do(DriverVerb.READ_BACK, "backup", 2)
        assert (seen["active"], seen["epoch"], seen["drifted"]) == ("backup", 2, "")
        await controller.do(DriverVerb.UNFENCE, "primary", 2)
        with pytest.raises(ActionError):
            await controller.do(DriverVerb.CONFIRM_FENCE, "primary", 2)
        for verb in (DriverVerb.FENCE, DriverVerb.REDIRECT, DriverVerb.REASSERT):
            with pytest.raises(ActionRefused):
                await controller.do(verb, "primary", 1)
        await controller.do(DriverVerb.FENCE, "backup", 3)
        await controller.do(DriverVerb.CONFIRM_FENCE, "backup", 3)
        await controller.do(DriverVerb.REDIRECT, "primary", 3)

    with Caller(hosts) as caller:
        control(agents, work)
        time.sleep(0.2)
        order = [reply.host for reply in caller.replies]
        assert [host for host, before in zip(order, ["", *order], strict=False) if host != before] == [
            "a",
            "b",
            "a",
        ]
        moved = [
            at
            for at, before in zip(caller.replies[1:], caller.replies, strict=False)
            if at.host != before.host
        ]
        gaps = [after.at - max(r.at for r in caller.replies if r.at < after.at) for after in moved]
        print(f"the address was away for {[round(gap * 1000) for gap in gaps]} ms")


@pytest.mark.parametrize("fault", ["stopped agent", "host gone", "killed agent"])
def test_a_holder_that_says_nothing_is_waited_out(hosts: Hosts, agents: Agents, fault: str) -> None:
    fell, fenced, held = [], [], []

    async def work(controller: Controller) -> None:
        await first_hold(controller)
        await asyncio.sleep(0.5)
        match fault:
            case "stopped agent":
                agents.signal("a", signal.SIGSTOP)
            case "host gone":
                hosts.port("a", up=False)
            case "killed agent":
                agents.kill("a")
        fell.append(time.monotonic())
        await controller.do(DriverVerb.FENCE, "primary", 2)
        data = await controller.do(DriverVerb.CONFIRM_FENCE, "primary", 2)
        fenced.append(time.monotonic())
        assert data["proof"] == "time" and data["waited_from"] == "heartbeat"
        await controller.do(DriverVerb.REDIRECT, "backup", 2)
        held.append(time.monotonic())
        seen = await controller.do(DriverVerb.READ_BACK, "backup", 2)
        assert seen["active"] == "backup" and seen["unreachable"] == "primary"

    with Caller(hosts) as caller:
        control(agents, work)
        if fault == "stopped agent":
            agents.signal("a", signal.SIGCONT)
        hosts.port("a", up=True)
        time.sleep(0.5)
        assert not both_answer(caller.replies)
        last = max(reply.at for reply in caller.replies if reply.host == "a")
        assert last < fenced[0], "fenced only after the last reply"
    print(
        f"\n{fault}: last reply {last - fell[0]:.3f} s, fenced {fenced[0] - fell[0]:.3f} s, held by the other"
        f" {held[0] - fell[0]:.3f} s after it"
    )
    assert fenced[0] - fell[0] < 1.0 + 0.05 + 0.1 + 0.15


def test_a_side_that_does_not_stop_is_not_fenced(hosts: Hosts, tmp_path: Path) -> None:
    stuck = {"name": "trunk", "stop": ["true"], "verify": ["test", "-e", str(tmp_path / "stopped")]}
    agents = Agents(hosts, tmp_path, activities=lambda host: [stuck] if host == "a" else [])
    agents.etcd.start()
    for host in SIDES:
        agents.start(host)

    async def work(controller: Controller) -> None:
        await first_hold(controller)
        await controller.do(DriverVerb.FENCE, "primary", 2)
        with pytest.raises(ActionError, match="trunk"):
            await controller.do(DriverVerb.CONFIRM_FENCE, "primary", 2)
        with pytest.raises(ActionError, match="trunk"):
            await controller.do(DriverVerb.REDIRECT, "backup", 2)
        await asyncio.sleep(1.2)  # the hold has run out long since: that does not stop the trunk
        with pytest.raises(ActionError, match="trunk"):
            await controller.do(DriverVerb.CONFIRM_FENCE, "primary", 2)
        (tmp_path / "stopped").touch()
        await controller.do(DriverVerb.FENCE, "primary", 2)
        assert (await controller.do(DriverVerb.CONFIRM_FENCE, "primary", 2))["proof"] == "agent"

    control(agents, work)


def test_an_unheld_address_is_given_back_to_its_holder(hosts: Hosts, agents: Agents) -> None:
    """VipUnheld: a holder that was started anew is inert; reassertion tells it to hold."""

    async def work(controller: Controller) -> None:
        await first_hold(controller)
        agents.kill("a")
        await controller.until(lambda seen: seen["holder"] == "none", "primary", 1)
        await asyncio.to_thread(agents.start, "a")
        seen = await controller.do(DriverVerb.READ_BACK, "primary", 1)
        assert seen["drifted"] == "primary" and seen["active"] == "primary"
        await controller.do(DriverVerb.REASSERT, "primary", 1)
        await controller.until(lambda seen: seen["holder"] == "primary" and not seen["drifted"], "primary", 1)
        # Closed and given back to the same side, at a new epoch: it starts what it stopped.
        await controller.do(DriverVerb.FENCE, "primary", 2)
        await controller.do(DriverVerb.CONFIRM_FENCE, "primary", 2)
        await controller.do(DriverVerb.REDIRECT, "primary", 2)
        assert not agents.group("a")["stopped"]

    control(agents, work)


def test_a_switch_that_stops_before_its_fence_leaves_the_holder_holding(hosts: Hosts, agents: Agents) -> None:
    """It is let back in at a newer epoch than its grant's, and given the address again at that epoch."""

    async def work(controller: Controller) -> None:
        await first_hold(controller)
        await controller.do(DriverVerb.UNFENCE, "primary", 2)
        await controller.do(DriverVerb.REDIRECT, "primary", 2)
        seen = await controller.do(DriverVerb.READ_BACK, "primary", 2)
        assert (seen["active"], seen["epoch"], seen["drifted"]) == ("primary", 2, "")
        await controller.do(DriverVerb.UNFENCE, "primary", 3)
        await controller.do(DriverVerb.REASSERT, "primary", 3)
        await controller.until(lambda seen: seen["holder"] == "primary" and not seen["drifted"], "primary", 3)

    with Caller(hosts) as caller:
        control(agents, work)
        times = [reply.at for reply in caller.replies if reply.kind == "ip4"]
        assert max(after - before for before, after in zip(times, times[1:], strict=False)) < 0.3


def test_an_agent_without_a_fence_is_not_ready(hosts: Hosts, agents: Agents) -> None:
    async def work(controller: Controller) -> None:
        await first_hold(controller)
        agents.kill("b")
        with pytest.raises(ActionError, match="no answer from the agent of backup"):
            await controller.do(DriverVerb.PRECHECK, "backup", 2)
        seen = await controller.do(DriverVerb.READ_BACK, "primary", 1)
        assert (seen["edges_reached"], seen["unreachable"]) == (1, "backup")
        agents.etcd.signal(signal.SIGSTOP)
        seen = await controller.do(DriverVerb.READ_BACK, "primary", 1, timeout=5.0)
        assert seen["fence_ready"] is False and "can't be read" in str(seen["fence_lacks"])
        with pytest.raises(ActionError):
            await controller.do(DriverVerb.FENCE, "primary", 2, timeout=5.0)
        agents.etcd.signal(signal.SIGCONT)

    control(agents, work)


def test_a_store_that_was_wiped_is_obeyed_once_a_person_adopted_it(hosts: Hosts, agents: Agents) -> None:
    async def before(controller: Controller) -> None:
        await first_hold(controller)

    async def wiped(controller: Controller) -> None:
        # The wiped store says what the old one said; the agents' pin refuses its word all the same.
        await controller.grants.open_grant(GROUP, "primary", 1)
        assert agents.wait("a", lambda status: status["store"])["store"] != controller.client.cluster
        await asyncio.sleep(1.2)
        for host in SIDES:
            assert agents.group(host)["standing"] != "holding"
        assert await controller.driver.highest_epoch() == 1
        for epoch in (0, 1):
            with pytest.raises(ActionRefused):
                await controller.driver.adopt(epoch, controller.client.cluster)
        await controller.driver.adopt(2, controller.client.cluster)
        await controller.grants.close_grant(GROUP, 2)
        await controller.do(DriverVerb.REDIRECT, "primary", 2, timeout=3.0)
        await controller.until(lambda seen: seen["holder"] == "primary" and not seen["drifted"], "primary", 2)

    control(agents, before)
    agents.etcd.kill()
    shutil.rmtree(agents.directory / "etcd")
    agents.etcd.start("another")
    control(agents, wiped)
    # It is still the one after a new start.
    agents.kill("b")
    agents.start("b")
    assert agents.group("b")["epoch"] == 2
