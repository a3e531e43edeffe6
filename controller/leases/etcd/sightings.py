"""What each node's vantage says, one key a node, gone with the node."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from controller.etcd.client import EtcdClient
from controller.etcd.transactions import changed_at, get, put
from controller.leases.etcd.places import Places
from controller.model.errors import CoordinationError
from controller.model.health import HealthState, Outcome, RungKey
from controller.ports import Sighting, Word

log = logging.getLogger(__name__)

MOST_TRIES = 3

LIFETIME = 5
"""Seconds after which the word of a node that published nothing is removed. Nobody counts it until then either: only
progress does."""


class EtcdSightings:
    """ports.Sightings."""

    def __init__(self, client: EtcdClient, places: Places, node: str) -> None:
        self._client = client
        self._places = places
        self._node = node
        self._lease = 0
        self._published = 0
        self._revision = 0
        self._unreadable: set[str] = set()

    async def publish(self, sighting: Sighting) -> None:
        """A copy of an older one that arrives late is refused: it would look like progress."""
        place = self._places.vantage(self._node)
        try:
            if (
                not self._lease
                or self._published % 10 == 0
                and not await self._client.keep_alive(self._lease)
            ):
                self._lease, _ = await self._client.grant(LIFETIME)
            self._published += 1
            word = _encoded(sighting)
            for _ in range(MOST_TRIES):
                answer = await self._client.transact(
                    [changed_at(place, self._revision)],
                    [put(place, word, lease=self._lease), get(place)],
                    [get(place)],
                    repeatable=True,
                )
                standing = answer.found[0][0] if answer.found[0] else None
                self._revision = 0 if standing is None else standing.changed
                if answer.succeeded or (standing is not None and standing.value == word):
                    return
                # It is its predecessor's, or was removed meanwhile, or an earlier one was carried out after all.
            raise CoordinationError(f"etcd: another node publishes as {self._node}")
        except CoordinationError:
            self._lease = 0
            raise

    async def watch(self) -> AsyncIterator[Sighting]:
        found = await self._client.prefix(self._places.vantages)
        for item in found.items:
            if (sighting := self._decoded(item.key, item.value)) is not None:
                yield sighting
        async with aclosing(self._client.watch(self._places.vantages, after=found.revision)) as watch:
            async for changes in watch:
                for change in changes:
                    if change.value is not None:
                        sighting = self._decoded(change.key, change.value)
                        if sighting is not None:
                            yield sighting

    def _decoded(self, key: str, value: bytes) -> Sighting | None:
        """None for this node's own, and for one that can't be read: its node abstains here, and nobody else does."""
        node = key[len(self._places.vantages) :]
        if node == self._node:
            return None
        try:
            sighting = _decoded(node, json.loads(value))
        except (ValueError, KeyError, TypeError) as error:
            if node not in self._unreadable:
                self._unreadable.add(node)
                log.error(
                    "the sightings of %s can't be read: %r",
                    node,
                    error,
                    extra={"action": "sighting_unreadable"},
                )
            return None
        self._unreadable.discard(node)
        return sighting


def _encoded(sighting: Sighting) -> bytes:
    document = {
        "version": 1,
        "failure_domain": sighting.failure_domain,
        "probes": sighting.probes,
        "late": sighting.late,
        "lag": sighting.lag,
        "words": [[key.component, key.rung, *word] for key, word in sighting.words.items()],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _decoded(node: str, document: dict[str, Any]) -> Sighting:
    """A newer version may say more about a rung, at the end."""
    words = {}
    for component, rung, state, outcome, code, failures, flapping, last_good, first_bad, note, *_ in document[
        "words"
    ]:
        words[RungKey(component, rung)] = Word(
            state=HealthState(state),
            outcome=Outcome(outcome),
            code=int(code),
            failures=int(failures),
            flapping=bool(flapping),
            last_good=None if last_good is None else float(last_good),
            first_bad=None if first_bad is None else float(first_bad),
            note=str(note),
        )
    return Sighting(
        vantage=node,
        failure_domain=str(document["failure_domain"]),
        probes=int(document["probes"]),
        late=int(document["late"]),
        lag=float(document["lag"]),
        words=words,
    )
