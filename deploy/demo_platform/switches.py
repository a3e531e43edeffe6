"""The fault switches of a platform side, and the HTTP port at which they are read and thrown."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from aiohttp import web

from demo_platform.errors import AddressInUse
from demo_platform.layout import Address
from demo_platform.media import OneWay


@dataclass(kw_only=True)
class Switches:
    """`zombie`: INVITE is refused with 503, OPTIONS answered with 200. `fenced`: nobody's calls but the controller's
    come in.
    """

    zombie: bool = False
    one_way: OneWay = OneWay.NONE
    fenced: bool = False


class Control:
    """GET / tells the switches, with the process's id; PUT / throws those named in a JSON object."""

    def __init__(self, switches: Switches, *, name: str, counters: Callable[[], dict[str, int]]) -> None:
        self._switches = switches
        self._name = name
        self._counters = counters
        application = web.Application(client_max_size=4096)
        application.router.add_get("/", self._read)
        application.router.add_put("/", self._throw)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)

    async def open(self, address: Address) -> None:
        """Raises AddressInUse."""
        await self._runner.setup()
        await listen(self._runner, address)

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _read(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"name": self._name, "pid": os.getpid(), **asdict(self._switches), **self._counters()}
        )

    async def _throw(self, request: web.Request) -> web.Response:
        try:
            wanted = read_switches(await request.text())
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        for name, value in wanted.items():
            setattr(self._switches, name, value)
        return await self._read(request)


def read_switches(text: str) -> dict[str, bool | OneWay]:
    """Raises ValueError for anything but a JSON object of switches and their values."""
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("expected a JSON object of switches")
    wanted: dict[str, bool | OneWay] = {}
    for name, value in document.items():
        match name:
            case "zombie" | "fenced":
                if not isinstance(value, bool):
                    raise ValueError(f"{name} must be true or false")
                wanted[name] = value
            case "one_way":
                wanted[name] = OneWay(value)
            case _:
                raise ValueError(f"no switch {name!r}; there are zombie, one_way, fenced")
    return wanted


async def listen(runner: web.AppRunner, address: Address) -> None:
    """Serve an application at `address`. Raises AddressInUse."""
    try:
        await web.TCPSite(runner, *address).start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise AddressInUse(f"tcp {address} is in use by another program") from None


def is_fenced(mark: Path | None) -> bool:
    """Whether the fence of this side was put up and not taken down, in an earlier life of its process too."""
    return mark is not None and mark.exists()
