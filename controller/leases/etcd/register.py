"""The leader's state, one key an aggregate, written only under its guard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from controller.etcd.client import EtcdClient
from controller.etcd.transactions import changed_at, delete, put
from controller.leases.etcd.lease import EtcdLease
from controller.leases.etcd.places import Places
from controller.model.errors import CoordinationConflict, CoordinationError
from controller.ports import Record


class EtcdRegister:
    """ports.Register. `pin`: the file in which this node remembers the cluster it belongs to."""

    def __init__(self, client: EtcdClient, places: Places, lease: EtcdLease, pin: Path) -> None:
        self._client = client
        self._places = places
        self._lease = lease
        self._pin = pin

    async def open(self) -> None:
        """Pins the cluster at the first start; from then on any other one is refused, until a person adopts it."""
        try:
            pinned = self._pin.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            pinned = ""
        except (OSError, ValueError) as error:
            raise CoordinationError(f"{self._pin}: {error}") from error
        if pinned:
            self._client.pin(pinned)
        await self._client.check()
        if not pinned:
            self.adopt()

    def adopt(self) -> None:
        """The cluster that answers is this node's from now on. Raises CoordinationError."""
        try:
            self._pin.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = self._pin.with_suffix(".new")
            temporary.write_text(f"{self._client.cluster}\n", encoding="ascii")
            temporary.replace(self._pin)
        except OSError as error:
            raise CoordinationError(f"{self._pin}: {error}") from error

    async def read(self) -> Mapping[str, Record]:
        found = await self._client.prefix(self._places.states)
        start = len(self._places.states)
        return {item.key[start:]: Record(item.value, item.changed) for item in found.items}

    async def write(self, changes: Mapping[str, bytes | None], expected: Mapping[str, int]) -> int:
        compare = [self._lease.guard]
        operations = []
        for key, value in changes.items():
            place = self._places.state(key)
            compare.append(changed_at(place, expected[key]))
            operations.append(delete(place) if value is None else put(place, value))
        answer = await self._client.transact(compare, operations)
        if not answer.succeeded:
            raise CoordinationConflict("etcd: another node leads, or wrote first")
        return answer.revision

    async def close(self) -> None:
        await self._client.close()
