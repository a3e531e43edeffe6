"""An address that two hosts' agents may hold, on loopback and without root: the driver, the agents with their TLS, and etcd
are the real ones. Only the kernel is not: it would be this machine's own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

import trustme

from controller.actions.vip import Vip
from controller.actions.vip.parameters import VipParameters
from controller.agent.gate import Guarded, TableMissing
from controller.agent.server import Server
from controller.agent.service import Agent
from controller.agent.settings import AgentSettings
from controller.agent.store import EtcdCoordination
from controller.model.commands import Drive
from controller.model.groups import DriverVerb
from tests.builders.coordinating import PLACES, Node
from tests.builders.driving import Nature
from tests.builders.etcd import PROGRAM, Etcd
from tests.builders.holding import FakeKernel
from tests.builders.platform import GROUP, group_policy
from tests.builders.responders import free_port

SIDES = ("primary", "backup")


def missing() -> str | None:
    return None if PROGRAM is not None else "etcd is not installed (Debian: etcd-server)"


class FakeHost:
    """kernel.Kernel."""

    def __init__(self) -> None:
        self.gate = FakeKernel(asyncio.get_running_loop())

    async def open(self) -> None:
        """A process that is started anew finds the gate closed."""
        self.gate.shut()
        await self.gate.drop()

    def locks(self, guarded: Sequence[Guarded]) -> FakeKernel:
        return self.gate

    async def test(self) -> None:
        self.verify()

    def verify(self) -> None:
        if not self.gate.table:
            raise TableMissing("no table")

    def make(self) -> None:
        self.gate.table = True
        self.gate.shut()

    async def close(self) -> None:
        await self.gate.drop()


class Running:
    """One agent, in this process."""

    def __init__(self, settings: AgentSettings) -> None:
        self.host = FakeHost()
        self.agent = Agent(settings, EtcdCoordination(settings), self.host)
        self._server = Server(self.agent)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it listens and is ready to hold."""
        await self.agent.open()
        await self._server.start()
        self._task = asyncio.create_task(self.agent.run())
        async with asyncio.timeout(10):
            while self.agent.fence_lacks:
                assert not self._task.done(), self._task.exception()
                await asyncio.sleep(0.005)
            await self.agent.members[GROUP].holder.seen()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._server.close()
        await self.agent.close()


class AddressWorld:
    """Two agents and their driver, as the contract suite sees and breaks them. The primary holds at epoch 1 once both have
    been started."""

    nature = Nature(
        points=SIDES, live_calls=7, meddled=("backup", "backup"), unreached=(1, "primary"), single=True
    )

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._etcd = Etcd(directory)
        self._etcd.start()
        self._node = Node("node-1", self._etcd.urls, directory, timeout=2.0, lifetime=60)
        self._ports = {side: free_port(socket.SOCK_STREAM) for side in SIDES}
        self._agents: dict[str, Running] = {}
        self._watching: asyncio.Task[None] | None = None
        authority = trustme.CA()
        authority.cert_pem.write_to_path(directory / "ca.pem")
        for name in ("controller", *SIDES):
            issued = authority.issue_cert(name, "127.0.0.1")
            issued.private_key_and_cert_chain_pem.write_to_path(directory / f"{name}.pem")
        self.driver = self.second()

    def second(self) -> Vip:
        pem = self._directory / "controller.pem"
        driver = Vip(
            group_policy(edges=(), step_timeout=2.0),
            VipParameters.model_validate(
                {
                    "sides": {
                        side: {"agent": f"https://127.0.0.1:{port}"} for side, port in self._ports.items()
                    },
                    "tls": {"certificate": pem, "key": pem, "authority": self._directory / "ca.pem"},
                }
            ),
        )
        driver.coordinate(self._node.grants)
        return driver

    async def answers(self, edge: str) -> str:
        """Whoever asks for the address gets its holder, wherever they ask."""
        holders = [
            side for side, one in self._agents.items() if one.host.gate.passes and one.host.gate.address
        ]
        assert len(holders) < 2, "two hold the address"
        return holders[0] if holders else "503"

    async def stop(self, edge: str) -> None:
        await self._agents.pop(edge).stop()

    async def start(self, edge: str) -> None:
        self._agents[edge] = Running(self._settings(edge))
        await self._agents[edge].start()
        if self._watching is None and len(self._agents) == len(SIDES):
            await self._node.register.open()
            assert await self._node.lease.acquire() is not None
            self._watching = asyncio.create_task(self._node.grants.watch())
            first = Drive(
                id="CMD-1", group=GROUP, verb=DriverVerb.REDIRECT, side="primary", epoch=1, timeout=2.0
            )
            await self.driver.perform(first)

    async def meddle(self, edge: str, side: str) -> None:
        """Nobody can give it to the other side past the store. Somebody makes this agent let go."""
        agent = self._agents[edge].agent
        await agent.release(GROUP, agent.memory.of(GROUP).epoch, stop=False)

    def lose_store(self) -> None:
        for member in self._etcd.members:
            member.kill()

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self.driver.close()
        for one in self._agents.values():
            await one.stop()
        await self._node.register.close()
        self._etcd.close()

    def _settings(self, side: str) -> AgentSettings:
        pem = self._directory / f"{side}.pem"
        return AgentSettings.model_validate(
            {
                "name": side,
                "cluster": PLACES.cluster,
                "data": self._directory / f"{side}.data",
                "host": "127.0.0.1",
                "port": self._ports[side],
                "tls": {
                    "certificate": pem,
                    "key": pem,
                    "authority": self._directory / "ca.pem",
                    "controllers": ["controller"],
                },
                "etcd": {"endpoints": self._etcd.urls, "accept_old_etcd": True},
                "groups": {
                    GROUP: {
                        "side": side,
                        "addresses": [{"address": "192.0.2.100", "interface": "eth0"}],
                        "live_calls": ["/bin/echo", "7"],
                    }
                },
            }
        )
