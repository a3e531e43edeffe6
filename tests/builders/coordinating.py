"""A node as far as it coordinates: its lease, its register and its grants over one client of etcd."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from controller.etcd.client import EtcdClient, EtcdSettings
from controller.leases.etcd.grants import EtcdGrants
from controller.leases.etcd.lease import EtcdLease
from controller.leases.etcd.places import Places
from controller.leases.etcd.register import EtcdRegister
from controller.model.errors import CoordinationError

PLACES = Places("failures")
LIFETIME = 1
STATE = "group/calls"


class Node:
    """`proved`: (from, until) this node may have acted, in monotonic seconds."""

    def __init__(
        self,
        name: str,
        endpoints: Sequence[str],
        directory: Path,
        *,
        timeout: float = 0.3,
        lifetime: int = LIFETIME,
    ) -> None:
        self.client = EtcdClient(EtcdSettings(endpoints=tuple(endpoints), timeout=timeout, accept_old=True))
        self.lease = EtcdLease(self.client, PLACES, name, lifetime=lifetime)
        self.register = EtcdRegister(self.client, PLACES, self.lease, directory / f"{name}.pin")
        self.grants = EtcdGrants(self.client, PLACES, self.lease)
        self.proved: list[tuple[float, float]] = []
        self.errors = 0
        self.writes = 0

    async def lead(self, period: float = 0.1) -> None:
        """As a controller does: renew, and write while it leads. Until cancelled."""
        while True:
            began = time.monotonic()
            try:
                deadline = await self.lease.acquire()
                if deadline is not None:
                    self.proved.append((time.monotonic(), deadline))
                    records = await self.register.read()
                    known = records.get(STATE)
                    await self.register.write(
                        {STATE: f"{began}".encode()}, {STATE: known.revision if known else 0}
                    )
                    self.writes += 1
            except CoordinationError:
                self.errors += 1
            await asyncio.sleep(period)


def overlaps(nodes: Sequence[Node]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Times in which two nodes could both prove that they lead."""
    return [
        (a, b)
        for index, first in enumerate(nodes)
        for second in nodes[index + 1 :]
        for a in first.proved
        for b in second.proved
        if a[0] < b[1] and b[0] < a[1]
    ]
