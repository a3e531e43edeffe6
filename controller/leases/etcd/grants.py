"""Which side of a group may hold its address, and how long ago its holder was last confirmed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple

from controller.etcd.client import EtcdClient
from controller.etcd.transactions import KeyValue, changed_at, get, put
from controller.leases.etcd.lease import EtcdLease
from controller.leases.etcd.places import Places
from controller.model.errors import CoordinationConflict, CoordinationError
from controller.ports import Grant, GrantPhase, Heartbeat

log = logging.getLogger(__name__)

RETRY = 0.2
"""Seconds until a broken watch is begun again; heartbeats that fall into it count from when they are read."""


class _Standing(NamedTuple):
    """`held`: the epoch at which it was held last. `document`: as it is written; what this version does not know in it
    is kept."""

    grant: Grant
    held: int
    document: Mapping[str, Any]


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
        self._last: dict[str, _Standing] = {}

    async def read(self, group: str) -> tuple[Grant | None, Heartbeat | None]:
        standing, heartbeat = await self._standing(group)
        return None if standing is None else standing.grant, heartbeat

    async def close_grant(self, group: str, epoch: int) -> tuple[Grant, Heartbeat | None]:
        def closed(standing: _Standing | None) -> Grant | None:
            if standing is not None and standing.grant.epoch > epoch:
                raise CoordinationConflict(
                    f"{group}: epoch {epoch} is older than the grant's {standing.grant.epoch}"
                )
            if standing is not None and _is(standing.grant, epoch, GrantPhase.FENCING):
                return None
            holder = "" if standing is None else standing.grant.holder
            return Grant(group, epoch, holder, GrantPhase.FENCING, 0)

        return await self._brought(group, closed)

    async def open_grant(self, group: str, holder: str, epoch: int) -> Grant:
        def opened(standing: _Standing | None) -> Grant | None:
            if standing is not None:
                grant = standing.grant
                if _is(grant, epoch, GrantPhase.HELD) and grant.holder == holder:
                    return None
                # Its own holder's grant may be raised: whoever else asks must see it closed first.
                if grant.phase is not GrantPhase.FENCING and grant.holder != holder:
                    raise CoordinationConflict(
                        f"{group}: {grant.holder} holds it at epoch {grant.epoch}; it must be fenced first"
                    )
                if grant.epoch > epoch:
                    raise CoordinationConflict(
                        f"{group}: epoch {epoch} is older than the grant's {grant.epoch}"
                    )
                if standing.held >= epoch and grant.holder != holder:
                    raise CoordinationConflict(
                        f"{group}: {grant.holder} has held it at epoch {epoch}; another holder needs a newer one"
                    )
            return Grant(group, epoch, holder, GrantPhase.HELD, 0)

        grant, _ = await self._brought(group, opened)
        return grant

    def last_heard(self, group: str) -> Heartbeat | None:
        return self._heard.get(group)

    async def watch(self) -> None:
        """Until cancelled: takes the time of every heartbeat as it arrives."""
        deaf = False
        while True:
            try:
                found = await self._client.prefix(self._places.holds)
                async with aclosing(self._client.watch(self._places.holds, after=found.revision)) as watch:
                    async for changes in watch:
                        deaf = False
                        for change in changes:
                            if change.value is not None:
                                self._hear(change.key, change.value, change.revision)
            except CoordinationError as error:
                if not deaf:
                    deaf = True
                    log.warning("heartbeats are not heard: %s", error, extra={"action": "holds_unheard"})
            await asyncio.sleep(RETRY)

    def _hear(self, key: str, value: bytes, revision: int) -> None:
        group = key[len(self._places.holds) :]
        heartbeat = _heartbeat(group, value, revision, self._monotonic())
        if heartbeat is not None:
            self._heard[group] = heartbeat

    async def _brought(
        self, group: str, wanted: Callable[[_Standing | None], Grant | None]
    ) -> tuple[Grant, Heartbeat | None]:
        """The grant as `wanted` says of what stands (None: it is so already). Tried first on what was seen last, which
        spares a read: the transaction is refused unless that still stands."""
        last = self._last.get(group)
        if last is not None:
            with contextlib.suppress(CoordinationConflict):
                if (grant := wanted(last)) is not None:
                    return await self._change(grant, last)
        standing, heartbeat = await self._standing(group)
        if (grant := wanted(standing)) is not None:
            return await self._change(grant, standing)
        assert standing is not None
        return standing.grant, heartbeat

    async def _standing(self, group: str) -> tuple[_Standing | None, Heartbeat | None]:
        answer = await self._client.transact(
            [], [get(self._places.grant(group)), get(self._places.hold(group))]
        )
        grants, holds = answer.found
        return self._seen(group, grants), self._heartbeat(group, holds)

    def _seen(self, group: str, items: tuple[KeyValue, ...]) -> _Standing | None:
        self._last.pop(group, None)
        found = _standing(group, items)
        if found is not None:
            self._last[group] = found
        return found

    async def _change(self, grant: Grant, standing: _Standing | None) -> tuple[Grant, Heartbeat | None]:
        """The grant as it stands now, and the last heartbeat there was when it took effect: a later one can't succeed
        under the grant that it replaced."""
        group, place = grant.group, self._places.grant(grant.group)
        document = {} if standing is None else dict(standing.document)
        held = 0 if standing is None else standing.held
        document |= {
            "version": 1,
            "group": group,
            "epoch": grant.epoch,
            "holder": grant.holder,
            "phase": str(grant.phase),
            "held": grant.epoch if grant.phase is GrantPhase.HELD else held,
        }
        answer = await self._client.transact(
            [self._lease.guard, changed_at(place, 0 if standing is None else standing.grant.revision)],
            [put(place, json.dumps(document).encode()), get(place), get(self._places.hold(group))],
            [get(place), get(self._places.hold(group)), get(self._places.leader)],
            repeatable=True,
        )
        found = self._seen(group, answer.found[0])
        if not answer.succeeded:
            leaders = answer.found[2]
            if not leaders or leaders[0].created != self._lease.created:
                raise CoordinationConflict(f"{group}: another node leads, or none")
            # Only this node writes grants; what is there as it wants it is another copy of this very transaction.
            if found is None or found.document != document:
                raise CoordinationConflict(f"{group}: the grant was changed meanwhile")
        if found is None:
            raise CoordinationError(f"etcd: the grant of {group} is not there after it was written")
        return found.grant, self._heartbeat(group, answer.found[1])

    def _heartbeat(self, group: str, items: tuple[KeyValue, ...]) -> Heartbeat | None:
        if not items:
            return None
        heard = self._heard.get(group)
        if heard is not None and heard.revision == items[0].changed:
            return heard
        return _heartbeat(group, items[0].value, items[0].changed, self._monotonic())


def _standing(group: str, items: tuple[KeyValue, ...]) -> _Standing | None:
    if not items:
        return None
    try:
        document: dict[str, Any] = json.loads(items[0].value)
        grant = Grant(
            group,
            int(document["epoch"]),
            str(document["holder"]),
            GrantPhase(document["phase"]),
            items[0].changed,
        )
        return _Standing(grant, int(document.get("held", grant.epoch)), document)
    except (ValueError, KeyError, TypeError) as error:
        raise CoordinationError(f"etcd: the grant of {group} can't be read: {error!r}") from error


def _is(grant: Grant, epoch: int, phase: GrantPhase) -> bool:
    return grant.epoch == epoch and grant.phase is phase


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
