"""Everything that one node does through etcd, over one client."""

from __future__ import annotations

import logging
from pathlib import Path

from controller.etcd.client import EtcdClient, EtcdSettings
from controller.leases.etcd.grants import EtcdGrants
from controller.leases.etcd.lease import EtcdLease
from controller.leases.etcd.places import Places
from controller.leases.etcd.register import EtcdRegister
from controller.leases.etcd.sightings import EtcdSightings

log = logging.getLogger(__name__)


class EtcdCoordination:
    def __init__(self, etcd: EtcdSettings, places: Places, node: str, *, lifetime: int, pin: Path) -> None:
        """`lifetime` of leadership in whole seconds. Raises CoordinationError when a file can't be used."""
        self._client = EtcdClient(etcd)
        self.lease = EtcdLease(self._client, places, node, lifetime=lifetime)
        self.register = EtcdRegister(self._client, places, self.lease, pin)
        self.grants = EtcdGrants(self._client, places, self.lease)
        self.sightings = EtcdSightings(self._client, places, node)

    @property
    def store(self) -> str:
        """What agents tell it from another by: etcd's own id of the cluster, a slash, and the identity it was given. Raises
        CoordinationError before `open`."""
        return f"{self._client.cluster}/{self.register.identity}"

    async def open(self) -> None:
        """Raises CoordinationError: no member answers, one is too old, or it is not the cluster this node belongs to."""
        await self.register.open()

    async def close(self) -> None:
        await self.register.close()
