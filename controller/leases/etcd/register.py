"""The leader's state, one key an aggregate, written only under its guard.

Each write also changes one key, `commit`, at the revision this node knows it to stand at. So a copy of an older write that
comes late (a member that hung, an answer that was lost) is refused whatever it contains: without that, one that creates a
key would bring it back after it was deleted. And it says whose write was the last, so that of two copies sent to two
members the one that was refused can tell that the other was carried out.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from controller.etcd.client import EtcdClient
from controller.etcd.transactions import KeyValue, changed_at, delete, everything, get, put
from controller.leases.etcd.lease import EtcdLease
from controller.leases.etcd.pin import Adoption, Pin
from controller.leases.etcd.places import Places
from controller.model.errors import CoordinationConflict, CoordinationError, CoordinationUnknown
from controller.ports import Record

PAGE = 1000
"""Keys in one answer."""


class EtcdRegister:
    """ports.Register. `pin`: the file in which this node remembers the store it belongs to."""

    def __init__(self, client: EtcdClient, places: Places, lease: EtcdLease, pin: Path) -> None:
        self._client = client
        self._places = places
        self._lease = lease
        self._pin = Pin(pin, client, places)
        self._commit: int | None = None
        self._writing = asyncio.Lock()
        lease.belong(self._pin)

    async def open(self) -> None:
        """At a node's first start the store that answers is its own; from then on any other one is refused
        (CoordinationForeign), until a person adopts it. CoordinationError: that can't be told now, and is tried again
        before anything else is done."""
        await self._pin.open()

    @property
    def identity(self) -> str:
        """Of the store that this node belongs to. Raises CoordinationError before `open`."""
        return self._pin.identity

    async def begin_adoption(self) -> Adoption:
        """The store that answers is this node's, once `finish_adoption` was called; before, a restart refuses it. Raises
        CoordinationError."""
        self._commit = None
        return await self._pin.begin_adoption()

    async def finish_adoption(self) -> None:
        """Raises CoordinationError."""
        await self._pin.finish_adoption()

    async def read(self) -> Mapping[str, Record]:
        await self._pin.open()
        places = self._places
        answer = await self._client.transact(
            [self._pin.guard],
            [get(places.commit), everything(places.states, most=PAGE)],
            [get(places.identity)],
        )
        if not answer.succeeded:
            self._pin.verify(answer.found[0][0].value if answer.found[0] else None)
            raise CoordinationError("etcd: which store this is was changed while it was read")
        commit, items = answer.found
        found = list(items)
        while len(items) == PAGE:
            # All pages as of the first, which was linearizable.
            items = (
                await self._client.prefix(
                    places.states, start=items[-1].key + "\0", revision=answer.revision, most=PAGE
                )
            ).items
            found += items
        self._commit = commit[0].changed if commit else 0
        self._pin.remember()
        start = len(places.states)
        return {item.key[start:]: Record(item.value, item.changed) for item in found}

    async def write(self, changes: Mapping[str, bytes | None], expected: Mapping[str, int]) -> int:
        async with self._writing:
            guard = self._lease.guard
            if self._commit is None:
                _, standing = await self._client.get(self._places.commit)
                self._commit = 0 if standing is None else standing.changed
            word = _word(self._lease.created, self._commit, changes, expected)
            compare = [guard, changed_at(self._places.commit, self._commit)]
            operations = [put(self._places.commit, word)]
            for key, value in changes.items():
                place = self._places.state(key)
                compare.append(changed_at(place, expected[key]))
                operations.append(delete(place) if value is None else put(place, value))
            try:
                answer = await self._client.transact(
                    compare,
                    operations,
                    [get(self._places.leader), get(self._places.commit)],
                    repeatable=True,
                )
            except CoordinationUnknown:
                self._commit = None
                raise
            if answer.succeeded:
                self._commit = answer.revision
            else:
                self._commit = self._carried_out(word, *answer.found)
            return self._commit

    async def close(self) -> None:
        await self._pin.close()
        await self._client.close()

    def _carried_out(self, word: bytes, leaders: tuple[KeyValue, ...], commits: tuple[KeyValue, ...]) -> int:
        """The revision at which another copy of this write was. Raises CoordinationConflict when none was."""
        if commits and commits[0].value == word:
            return commits[0].changed
        self._commit = None
        if not leaders or leaders[0].created != self._lease.created:
            raise CoordinationConflict("etcd: another node leads, or none")
        raise CoordinationConflict("etcd: another one wrote first")


def _word(term: int, commit: int, changes: Mapping[str, bytes | None], expected: Mapping[str, int]) -> bytes:
    """Of one write in one situation: the same for each copy and each repetition of it, and of no other."""
    digest = hashlib.sha256(f"{term} {commit}".encode())
    for key, value in sorted(changes.items()):
        part = [key, expected[key], None if value is None else hashlib.sha256(value).hexdigest()]
        digest.update(json.dumps(part).encode())
    return digest.hexdigest().encode()
