"""How a node's commands reach the actuators: an edge's JSON-RPC and the configured commands, over the simulated network."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from random import Random

import aiohttp
from aiohttp.client_reqrep import ConnectionKey

from controller.actions import processes
from controller.actions.kamailio_dispatcher import driver
from controller.actions.kamailio_dispatcher.rpc import Parameter, Rpc
from controller.model.errors import ActionError
from tests.simulation.loop import HOST
from tests.simulation.network import Network
from tests.simulation.platform import Platform, Refused

ADDRESSES = {"edge1": "192.0.2.11", "edge2": "192.0.2.12"}

SWITCH = "switch"
"""The host of the switch ports."""


class SimulatedRpc(Rpc):
    """The real client, but for the wire."""

    def __init__(self, node: str, edge: str, network: Network, platform: Platform, *, timeout: float) -> None:
        super().__init__(f"http://{edge}/", timeout=timeout)
        self._node, self._edge = node, edge
        self._network, self._platform = network, platform

    async def _post(
        self, method: str, parameters: tuple[Parameter, ...], epoch: int | None, *, patient: bool = False
    ) -> tuple[int, str]:
        platform, edge = self._platform, self._edge

        def serve() -> tuple[int, str]:
            if not platform.edges[edge].up:
                raise ConnectionRefusedError(edge)
            try:
                result = platform.rpc(edge, method, list(parameters), epoch)
            except Refused as refused:
                if refused.status != 500:
                    return refused.status, refused.body
                error = {"code": 500, "message": refused.body}
                return 500, json.dumps({"jsonrpc": "2.0", "error": error, "id": 1})
            return 200, json.dumps({"jsonrpc": "2.0", "result": result, "id": 1})

        try:
            async with asyncio.timeout(self._timeout / 4 if self._failing and not patient else self._timeout):
                answer = await self._network.ask(self._node, edge, serve)
        except ConnectionRefusedError as error:
            key = ConnectionKey(edge, 8090, False, True, None, None, None)
            raise aiohttp.ClientConnectorError(key, error) from error
        self._failing = False
        return answer


@contextlib.contextmanager
def wired(node: str, network: Network, platform: Platform) -> Iterator[None]:
    """Drivers that are made inside speak to the simulated edges."""
    real = driver.Rpc

    def make(url: str, *, timeout: float, local_address: str = "") -> Rpc:
        edge = next(name for name, address in ADDRESSES.items() if address in url)
        return SimulatedRpc(node, edge, network, platform, timeout=timeout)

    driver.Rpc = make  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        driver.Rpc = real  # type: ignore[misc]


class Commands:
    """In the place of `processes.run`: the commands that tests/simulation/platform.yaml lists, each on the host that the
    caller runs on."""

    def __init__(self, network: Network, platform: Platform, random: Random) -> None:
        self._network = network
        self._platform = platform
        self._random = random

    async def run(self, argv: Sequence[str], *, environment: Mapping[str, str], text: str = "") -> str:
        host = HOST.get()
        if host is None:
            raise ActionError("no host to run it on")
        platform, epoch = self._platform, int(environment["THIRDRING_EPOCH"])
        work = 0.01 + 0.05 * self._random.random()
        match argv:
            case (_, "port", what, side):
                done = await self._network.ask(
                    host.name, SWITCH, lambda: platform.cut(side, what, epoch), work=work
                )
            case (_, "list", edge):
                if not platform.edges[edge].up:
                    raise processes.CommandFailed(argv, 255, "connection refused")
                done = await self._network.ask(
                    host.name, edge, lambda: platform.write_list(edge, text, epoch), work=work
                )
            case _:
                raise ActionError(f"{argv[0]}: can't be started")
        if not done:
            raise processes.CommandFailed(argv, 1, "no")
        return "done"
