"""HAProxy's runtime API, as tested with 2.6: one command a connection, the answer ends with it.

A change is answered by an empty line; anything else says why it was not made, in words. Nothing is compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from controller.actions.points import Nonsense, Unreachable
from controller.model.errors import ActionError, ActionRefused, ActionUnknown

MOST_OCTETS = 8 * 1024 * 1024

RUNNING = frozenset({1, 2})
"""srv_op_state of a server that gets connections: starting, running."""

IN_MAINTENANCE = 0x01 | 0x02 | 0x20
IN_DRAIN = 0x08 | 0x10
"""srv_admin_state, bits: forced, inherited, its name can't be resolved; forced, inherited. 0x04, `disabled` in the
configuration, stays for good: a server that was made ready since has it and gets connections."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerState:
    """As `show servers state` has it. `weight` 0 drains a server too."""

    operation: int
    administration: int
    weight: int

    @property
    def takes_calls(self) -> bool:
        return self.enabled and self.operation in RUNNING

    @property
    def enabled(self) -> bool:
        return not self.administration & (IN_MAINTENANCE | IN_DRAIN) and self.weight > 0

    @property
    def maintained(self) -> bool:
        return bool(self.administration & IN_MAINTENANCE)

    @property
    def drained(self) -> bool:
        return bool(self.administration & IN_DRAIN)


class Runtime:
    """One edge's. `timeout`: of one command, seconds."""

    def __init__(self, socket: str, *, timeout: float) -> None:
        self._socket = socket
        self._timeout = timeout

    async def read(self, command: str) -> str:
        """Raises Unreachable."""
        try:
            return await self._say(command)
        except ActionUnknown as error:
            raise Unreachable(str(error)) from error

    async def change(self, command: str) -> None:
        """Raises Unreachable (nothing was sent), ActionRefused (with its words), ActionUnknown (no answer)."""
        if told := (await self._say(command)).strip():
            raise ActionRefused(f"{self._socket}: {command}: {told.splitlines()[0]}")

    async def servers(self, backend: str) -> dict[str, ServerState]:
        """By name. Raises Unreachable, ActionRefused (no such backend), Nonsense."""
        return parsed(await self.state(backend), backend)

    async def state(self, backend: str = "") -> str:
        """In the words of a state file. Raises Unreachable."""
        return await self.read(f"show servers state {backend}".rstrip())

    async def connections(self, backend: str, server: str) -> int:
        """Those that go on. Raises Unreachable, Nonsense."""
        lines = (await self.read("show stat")).splitlines()
        names = lines[0].removeprefix("# ").split(",") if lines else []
        for line in lines[1:]:
            row = dict(zip(names, line.split(","), strict=False))
            if (row.get("pxname"), row.get("svname")) == (backend, server):
                return int(row["scur"] or 0)
        raise Nonsense(f"{self._socket}: show stat has no {backend}/{server}")

    async def entry(self, map_name: str, key: str) -> str | None:
        """The value of a key. Raises Unreachable, ActionRefused (no such map)."""
        answer = await self.read(f"show map {map_name}")
        if "Unknown map" in answer:
            raise ActionRefused(f"{self._socket}: {answer.strip()}")
        for line in answer.splitlines():
            parts = line.split(None, 2)
            if len(parts) == 3 and parts[1] == key:
                return parts[2]
        return None

    async def set_entry(self, map_name: str, key: str, value: str, *, there: bool) -> None:
        """Errors as of `change`."""
        await self.change(f"{'set' if there else 'add'} map {map_name} {key} {value}")

    async def _say(self, command: str) -> str:
        try:
            async with asyncio.timeout(self._timeout):
                if self._socket.startswith("/"):
                    reader, writer = await asyncio.open_unix_connection(self._socket)
                else:
                    host, _, port = self._socket.rpartition(":")
                    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"{self._socket}: {_told(error)}") from error
        try:
            async with asyncio.timeout(self._timeout):
                writer.write(f"{command}\n".encode())
                answer = bytearray()
                while piece := await reader.read(64 * 1024):
                    answer += piece
                    if len(answer) > MOST_OCTETS:
                        raise ActionError(f"{self._socket}: more than {MOST_OCTETS} octets for {command}")
        except (OSError, TimeoutError) as error:
            raise ActionUnknown(f"{self._socket}: no answer to {command}: {_told(error)}") from error
        finally:
            writer.close()
        # A process that ends closes its connections in silence; an answer always has at least its empty line.
        if not answer:
            raise ActionUnknown(f"{self._socket}: closed without an answer to {command}")
        return answer.decode(errors="replace")


def parsed(answer: str, backend: str) -> dict[str, ServerState]:
    """`show servers state BACKEND`: a version, the names of the columns, a line a server."""
    lines = answer.splitlines()
    if not lines or lines[0].strip() != "1" or len(lines) < 2 or not lines[1].startswith("# "):
        raise ActionRefused(f"no state of {backend}: {answer.strip()[:80]}")
    names = lines[1].removeprefix("# ").split()
    found = {}
    for line in lines[2:]:
        row: Mapping[str, str] = dict(zip(names, line.split(), strict=False))
        if row.get("be_name") != backend:
            continue
        try:
            found[row["srv_name"]] = ServerState(
                operation=int(row["srv_op_state"]),
                administration=int(row["srv_admin_state"]),
                weight=int(row["srv_uweight"]),
            )
        except (KeyError, ValueError) as error:
            raise Nonsense(f"the state of {backend} can't be understood: {error!r}") from error
    return found


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
