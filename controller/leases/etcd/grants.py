"""Which side of a group may hold its address, and how long ago its holder was last confirmed."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from controller.etcd.client import EtcdClient
from controller.etcd.transactions import KeyValue, changed_at, get, put
from controller.leases.etcd.lease import EtcdLease
from controller.leases.etcd.places import Places
from controller.model.errors import CoordinationConflict, CoordinationError
from controller.ports import Grant, GrantPhase, Heartbeat

log = logging.getLogger(__name__)

RETRY = 0.2
"""Seconds until a broken watch is begun again; heartbeats that fall into it count from when they are read."""


class EtcdGrants:
    """ports.Grants. `watch` runs beside it: without it `received` is when the heartbeat was read, which is later and safe."""

    def __init__(
        self,
        client: EtcdClient,
        places: Places,
        lease: EtcdLease,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._places = places
        self._lease = lease
        self._monotonic = monotonic
        self._heard: dict[str, Heartbeat] = {}

    async def read(self, group: str) -> tuple[Grant | None, Heartbeat | None]:
        answer = await self._client.transact(
            [], [get(self._places.grant(group)), get(self._places.hold(group))]
        )
        grants, holds = answer.found
        return _grant(group, grants), self._heartbeat(group, holds)

    async def close_grant(self, group: str, epoch: int) -> tuple[Grant, Heartbeat | None]:
        standing, heartbeat = await self.read(group)
        if standing is not None and standing.epoch > epoch:
            raise CoordinationConflict(f"{group}: epoch {epoch} is older than the grant's {standing.epoch}")
        if standing is not None and standing.epoch == epoch and standing.phase is GrantPhase.FENCING:
            return standing, heartbeat
        closed = Grant(group, epoch, "" if standing is None else standing.holder, GrantPhase.FENCING, 0)
        revision, holds = await self._change(closed, standing)
        return closed._replace(revision=revision), self._heartbeat(group, holds)

    async def open_grant(self, group: str, holder: str, epoch: int) -> Grant:
        standing, _ = await self.read(group)
        opened = Grant(group, epoch, holder, GrantPhase.HELD, 0)
        if standing is not None:
            if standing._replace(revision=0) == opened:
                return standing
            if standing.phase is not GrantPhase.FENCING:
                raise CoordinationConflict(
                    f"{group}: {standing.holder} holds it at epoch {standing.epoch}; it must be fenced first"
                )
            if standing.epoch > epoch:
                raise CoordinationConflict(
                    f"{group}: epoch {epoch} is older than the grant's {standing.epoch}"
                )
        revision, _ = await self._change(opened, standing)
        return opened._replace(revision=revision)

    def last_heard(self, group: str) -> Heartbeat | None:
        return self._heard.get(group)

    async def watch(self) -> None:
        """Until cancelled: takes the time of every heartbeat as it arrives."""
        while True:
            try:
                found = await self._client.prefix(self._places.holds)
                async for changes in self._client.watch(self._places.holds, after=found.revision):
                    for change in changes:
                        if change.value is not None:
                            self._hear(change.key, change.value, change.revision)
            except CoordinationError as error:
                log.warning("heartbeats are not heard: %s", error, extra={"action": "holds_unheard"})
            await asyncio.sleep(RETRY)

    def _hear(self, key: str, value: bytes, revision: int) -> None:
        group = key[len(self._places.holds) :]
        heartbeat = _heartbeat(group, value, revision, self._monotonic())
        if heartbeat is not None:
            self._heard[group] = heartbeat

    async def _change(self, grant: Grant, standing: Grant | None) -> tuple[int, tuple[KeyValue, ...]]:
        """The revision, and the last heartbeat there was when it took effect: no later one can succeed."""
        place = self._places.grant(grant.group)
        value = json.dumps(
            {"version": 1, "epoch": grant.epoch, "holder": grant.holder, "phase": str(grant.phase)}
        )
        answer = await self._client.transact(
            [self._lease.guard, changed_at(place, 0 if standing is None else standing.revision)],
            [put(place, value.encode()), get(self._places.hold(grant.group))],
        )
        if not answer.succeeded:
            raise CoordinationConflict(f"{grant.group}: another node leads, or changed the grant")
        return answer.revision, answer.found[0]

    def _heartbeat(self, group: str, items: tuple[KeyValue, ...]) -> Heartbeat | None:
        if not items:
            return None
        heard = self._heard.get(group)
        if heard is not None and heard.revision == items[0].changed:
            return heard
        return _heartbeat(group, items[0].value, items[0].changed, self._monotonic())


def _grant(group: str, items: tuple[KeyValue, ...]) -> Grant | None:
    if not items:
        return None
    try:
        value: dict[str, Any] = json.loads(items[0].value)
        return Grant(
            group, int(value["epoch"]), str(value["holder"]), GrantPhase(value["phase"]), items[0].changed
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CoordinationError(f"etcd: the grant of {group} can't be read: {error!r}") from error


def _heartbeat(group: str, value: bytes, revision: int, received: float) -> Heartbeat | None:
    """None for what no agent writes: it confirms nobody's hold, but it is no reason to stop either."""
    try:
        document: dict[str, Any] = json.loads(value)
        return Heartbeat(
            group=group,
            epoch=int(document["epoch"]),
            agent=str(document["agent"]),
            boot=str(document["boot"]),
            beats=int(document["count"]),
            revision=revision,
            received=received,
        )
    except (ValueError, KeyError, TypeError):
        log.error("a heartbeat of %s can't be read", group, extra={"action": "hold_unreadable"})
        return None
