"""Runs one agent in this process, until it is told to end or something fails that only a new start can mend."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable

from controller.agent.kernel import HostKernel
from controller.agent.server import Server
from controller.agent.service import Agent
from controller.agent.settings import AgentSettings
from controller.agent.store import EtcdCoordination

log = logging.getLogger(__name__)


def run(settings: AgentSettings, ready: Callable[[], None]) -> None:
    """`ready` is called once it listens. Raises StoreError, GateError, AddressError, OSError."""
    asyncio.run(_run(settings, ready))


async def _run(settings: AgentSettings, ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    guarded = [one.guarded for group in settings.groups.values() for one in group.addresses]
    agent = Agent(settings, EtcdCoordination(settings), HostKernel(guarded))
    server = Server(agent)
    try:
        await agent.open()
        await server.start()
        ready()
        working = asyncio.create_task(agent.run(), name="agent")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            await working
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
    finally:
        await server.close()
        await agent.close()
