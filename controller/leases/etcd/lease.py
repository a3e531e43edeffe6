"""Leadership: one key, created by the node that leads, attached to a lease that is young.

A keep-alive is no proof of leadership: members answer it without asking each other, and one that was cut off from its
quorum goes on for a third of a second. Nor does it protect: before etcd 3.4.31 and 3.5.13 a leader that stood still
revokes what it last knew to be due. Measured on 3.4.23, its leader stopped for 3 s, TTL 1: in 4 of 10 rounds a key whose
lease was kept alive by the new leader vanished 11-46 ms after a confirmed renewal; of keys renewed as here, 0 of 10.

So no lease is kept alive: each renewal takes a new one and moves the key to it. Both are commits, so the new lease's time
runs, on whichever member leads, from no earlier than our request; and what a member that stood still revokes is a lease
it knew before, which the key has left by then. The old leases run out by themselves, with nothing attached.

Every later write of the leader carries the same guard as the renewal: the key's creation.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable

from controller.etcd.client import EtcdClient, WentBack
from controller.etcd.transactions import Body, KeyValue, changed_at, created_at, delete, get, put
from controller.leases.etcd.pin import Pin
from controller.leases.etcd.places import Places
from controller.model.errors import CoordinationConflict, CoordinationError

log = logging.getLogger(__name__)

MARGIN = 0.1
"""Share of the lifetime that the deadline stays below it: the clocks of two machines differ by far less."""


REMEMBERED = 60.0
"""Seconds after which it is noted again how far the store has come."""


class EtcdLease:
    """ports.Lease. `lifetime` in whole seconds, from before the request that began or renewed it."""

    shared = True

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
        self._lifetime = lifetime
        self._monotonic = monotonic
        self._node = node
        # A node that starts again is not the one that led before: its predecessor may still be acting.
        self._incarnation = secrets.token_hex(8)
        self._beats = 0
        self._pin: Pin | None = None
        self._created = 0
        self._changed = 0
        self._holder = ""
        self._leases: deque[int] = deque(maxlen=8)
        self._longer = False
        self._remember_at = 0.0

    def belong(self, pin: Pin) -> None:
        """Leads nowhere but in that store."""
        self._pin = pin

    @property
    def holder(self) -> str:
        return self._holder

    @property
    def created(self) -> int:
        """The revision at which the key this node leads by was created; 0: it does not lead."""
        return self._created

    @property
    def guard(self) -> Body:
        """True in a transaction only while this node leads. Raises CoordinationConflict when it does not."""
        if not self._created:
            raise CoordinationConflict("this node does not lead")
        return created_at(self._places.leader, self._created)

    async def acquire(self) -> float | None:
        """A leadership that was lost is not taken again in the same call: another node may have led in between."""
        try:
            deadline = await (self._renew() if self._created else self._campaign())
        except WentBack as error:
            if self._pin is not None:
                await self._pin.doubt(str(error))
            raise
        if self._pin is not None and self._monotonic() >= self._remember_at:
            self._remember_at = self._monotonic() + REMEMBERED
            self._pin.remember()
        return deadline

    async def release(self) -> None:
        """Safe to call when it is not held, and when nobody answers: then it runs out."""
        created, self._created, self._holder = self._created, 0, ""
        if not created:
            return
        leader = self._places.leader
        leases = tuple(self._leases)
        self._leases.clear()
        with contextlib.suppress(CoordinationError):
            await self._client.transact([created_at(leader, created)], [delete(leader)], repeatable=True)
        # A copy of a campaign that still is under way must not bring the key back.
        await asyncio.gather(*(self._client.revoke(lease) for lease in leases), return_exceptions=True)

    async def vacant(self) -> None:
        leader = self._places.leader
        revision, standing = await self._client.get(leader)
        if standing is None:
            return
        async with contextlib.aclosing(self._client.watch(leader, after=revision)) as watch:
            async for changes in watch:
                # The newest counts: one may have left it and another taken it in one batch.
                mine = [change for change in changes if change.key == leader]
                if mine and mine[-1].value is None:
                    return

    async def _campaign(self) -> float | None:
        guards = []
        if self._pin is not None:
            await self._pin.open()
            guards.append(self._pin.guard)
        leader, identity = self._places.leader, self._places.identity
        _, standing = await self._client.get(leader)
        if standing is not None:
            return await self._adopt(standing)
        began = self._monotonic()
        lease, lifetime = await self._grant()
        answer = await self._client.transact(
            [created_at(leader, 0), *guards],
            [put(leader, self._value(), lease=lease), get(leader)],
            [get(leader), get(identity)],
            repeatable=True,
            within=self._lifetime / 2,
        )
        if not answer.found[0]:
            if self._pin is not None:
                self._pin.verify(answer.found[1][0].value if answer.found[1] else None)
            self._holder = ""
            return None
        standing = answer.found[0][0]
        if not answer.succeeded and standing.value != self._value():
            return await self._adopt(standing)
        self._created, self._changed = standing.created, standing.changed
        return self._until(began, lifetime)

    async def _adopt(self, standing: KeyValue) -> float | None:
        """Another's, unless a campaign of this very process was won and its answer lost."""
        node, incarnation = _owner(standing.value)
        self._holder = node
        if incarnation != self._incarnation:
            return None
        self._created, self._changed = standing.created, standing.changed
        return await self._renew()

    async def _renew(self) -> float | None:
        leader, created = self._places.leader, self._created
        self._beats += 1
        value = self._value()
        began = self._monotonic()
        lease, lifetime = await self._grant()
        while True:
            answer = await self._client.transact(
                # Its last change too: a copy of an older renewal would move the key back to an older lease.
                [created_at(leader, created), changed_at(leader, self._changed)],
                [put(leader, value, lease=lease), get(leader)],
                [get(leader)],
                repeatable=True,
                within=self._lifetime / 2,
            )
            if self._created != created:  # released meanwhile
                return None
            standing = answer.found[0][0] if answer.found[0] else None
            if standing is None or standing.created != created:
                self._created, self._holder = 0, "" if standing is None else _owner(standing.value)[0]
                return None
            self._changed = standing.changed
            if answer.succeeded or standing.value == value:
                return self._until(began, lifetime)
            # An older renewal, whose answer was lost, took effect: this one is made again on top of it.

    def _value(self) -> bytes:
        document = {"version": 1, "node": self._node, "incarnation": self._incarnation, "beats": self._beats}
        return json.dumps(document).encode()

    async def _grant(self) -> tuple[int, int]:
        lease, lifetime = await self._client.grant(self._lifetime, within=self._lifetime / 2)
        self._leases.append(lease)
        if lifetime > self._lifetime and not self._longer:
            self._longer = True
            log.warning(
                "etcd makes leases of %d s where %d were asked for, because of its election timeout: a takeover waits"
                " for that",
                lifetime,
                self._lifetime,
                extra={"action": "lease_longer"},
            )
        return lease, min(lifetime, self._lifetime)

    def _until(self, began: float, lifetime: int) -> float:
        self._holder = self._node
        deadline = began + lifetime * (1.0 - MARGIN)
        if self._monotonic() >= deadline:
            raise CoordinationError("etcd: the lease was confirmed too late to act on")
        return deadline


def _owner(value: bytes) -> tuple[str, str]:
    """(node, incarnation); empty where no node wrote it."""
    try:
        document = json.loads(value)
        return str(document["node"]), str(document["incarnation"])
    except (ValueError, KeyError, TypeError):
        return "", ""
