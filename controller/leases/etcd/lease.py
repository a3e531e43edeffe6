"""Leadership: one key, created by the node that leads, under a lease of its own.

A keep-alive is no proof of leadership: members answer it without asking each other, one that was cut off from its quorum
for a third of a second longer, and one that stood still revokes leases that were renewed meanwhile. So each renewal is a
keep-alive and a guarded write; the write is what proves it. Every later write of the leader carries the same guard.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Callable

from controller.etcd.client import EtcdClient
from controller.etcd.transactions import Body, created_at, get, put
from controller.leases.etcd.places import Places
from controller.model.errors import CoordinationConflict, CoordinationError, CoordinationUnknown

MARGIN = 0.1
"""Share of the lifetime that the deadline stays below it: the clocks of two machines differ by far less."""


class EtcdLease:
    """ports.Lease. `lifetime` in whole seconds, from before the request that began or renewed it."""

    def __init__(
        self,
        client: EtcdClient,
        places: Places,
        node: str,
        *,
        lifetime: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._places = places
        self._node = node
        self._lifetime = lifetime
        self._monotonic = monotonic
        # A node that starts again is not the one that led before: its predecessor may still be acting.
        self._incarnation = secrets.token_hex(8)
        self._lease = 0
        self._created = 0
        self._holder = ""

    @property
    def holder(self) -> str:
        return self._holder

    @property
    def guard(self) -> Body:
        """True in a transaction only while this node leads. Raises CoordinationConflict when it does not."""
        if not self._created:
            raise CoordinationConflict("this node does not lead")
        return created_at(self._places.leader, self._created)

    async def acquire(self) -> float | None:
        began = self._monotonic()
        held = await (self._renew() if self._created else self._campaign())
        return began + self._lifetime * (1.0 - MARGIN) if held else None

    async def release(self) -> None:
        """Safe to call when it is not held, and when nobody answers: then it runs out."""
        lease, self._lease, self._created = self._lease, 0, 0
        self._holder = ""
        if lease:
            with contextlib.suppress(CoordinationError):
                await self._client.revoke(lease)

    async def vacant(self) -> None:
        revision, standing = await self._client.get(self._places.leader)
        if standing is None:
            return
        async for changes in self._client.watch(self._places.leader, after=revision):
            if any(change.key == self._places.leader and change.value is None for change in changes):
                return

    async def _campaign(self) -> bool:
        lease = await self._client.grant(self._lifetime)
        mine = json.dumps({"version": 1, "node": self._node, "incarnation": self._incarnation}).encode()
        leader = self._places.leader
        try:
            answer = await self._client.transact(
                [created_at(leader, 0)], [put(leader, mine, lease=lease)], [get(leader)]
            )
        except CoordinationUnknown:
            # If it was carried out this node leads without knowing it: nobody else may until the lease is gone.
            with contextlib.suppress(CoordinationError):
                await self._client.revoke(lease)
            raise
        if answer.succeeded:
            self._lease, self._created, self._holder = lease, answer.revision, self._node
            return True
        self._holder = _node(answer.found[0][0].value) if answer.found and answer.found[0] else ""
        with contextlib.suppress(CoordinationError):
            await self._client.revoke(lease)
        return False

    async def _renew(self) -> bool:
        alive, written = await asyncio.gather(
            self._client.keep_alive(self._lease),
            self._client.transact(
                [self.guard],
                [put(self._places.renewal, self._incarnation.encode())],
                [get(self._places.leader)],
            ),
            return_exceptions=True,
        )
        if not isinstance(written, BaseException) and not written.succeeded:
            found = written.found[0] if written.found else ()
            self._lost(_node(found[0].value) if found else "")
            return False
        for failure in (written, alive):
            if isinstance(failure, BaseException):
                raise failure
        if not alive:
            self._lost("")
            return False
        return True

    def _lost(self, holder: str) -> None:
        self._lease, self._created, self._holder = 0, 0, holder


def _node(value: bytes) -> str:
    try:
        return str(json.loads(value).get("node", ""))
    except (ValueError, AttributeError):
        return ""
