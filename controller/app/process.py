"""A controller as this process."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable

from controller.app.controller import Controller
from controller.configuration.settings import Settings
from controller.engine import precedence

WARM = 20.0
"""Seconds after which every target has been heard of."""

COLLECTING = (20_000, 20, 20)
"""Thresholds of the garbage collector; nearly everything here is freed without it."""

GIVING_WAY = 0.0005
"""Seconds after which a thread lets another one run that waits: a commit's thread waits some twenty times while the loop is
busy, which at Python's own 5 ms is longer than the whole way to the first command should take."""


def run(settings: Settings, ready: Callable[[str], None]) -> None:
    """Run a controller until SIGINT or SIGTERM."""
    import uvloop

    _set_memory_aside()
    gc.set_threshold(*COLLECTING)
    sys.setswitchinterval(GIVING_WAY)

    def started(address: str) -> None:
        if settings.node.realtime:
            precedence.take(precedence.Precedence.CONTROLLER)
        ready(address)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        loop.call_later(WARM, _set_memory_aside)
        await Controller(settings).run(started, stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _set_memory_aside() -> None:
    """What lives as long as the process is not walked through by the garbage collector again and again: over ten
    thousand targets that took 150 ms each time, in the middle of whatever was going on."""
    gc.collect()
    gc.freeze()
