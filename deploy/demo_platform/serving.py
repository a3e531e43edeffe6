"""How each of the demo's processes runs: until SIGTERM or SIGINT, saying "ready" once it serves."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable

from demo_platform.errors import DemoError

READY = "ready"
FAILED = 69
"""Exit status of a process that could not start; why is its last line on standard error (EX_UNAVAILABLE)."""


def run(start: Callable[[], Awaitable[object]]) -> None:
    """Run what `start` sets going until a signal. Exits with 69 when it can't start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_serve(start))
    except DemoError as error:
        print(error, file=sys.stderr)
        sys.exit(FAILED)


async def _serve(start: Callable[[], Awaitable[object]]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    serving = await start()
    print(READY, flush=True)
    await stopping.wait()
    del serving  # held until now, so that nothing it owns is collected while it serves
