"""What each node's vantage says, one key a node, gone with the node."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from controller.etcd.client import EtcdClient
from controller.etcd.transactions import put
from controller.leases.etcd.places import Places
from controller.model.errors import CoordinationError
from controller.model.health import HealthState, Outcome, RungKey
from controller.ports import Sighting, Word

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

    async def publish(self, sighting: Sighting) -> None:
        try:
            if (
                not self._lease
                or self._published % 10 == 0
                and not await self._client.keep_alive(self._lease)
            ):
                self._lease, _ = await self._client.grant(LIFETIME)
            self._published += 1
            await self._client.transact(
                [], [put(self._places.vantage(self._node), _encoded(sighting), lease=self._lease)]
            )
        except CoordinationError:
            self._lease = 0
            raise

    async def watch(self) -> AsyncIterator[Sighting]:
        found = await self._client.prefix(self._places.vantages)
        for item in found.items:
            if (sighting := self._decoded(item.key, item.value)) is not None:
                yield sighting
        async for changes in self._client.watch(self._places.vantages, after=found.revision):
            for change in changes:
                if change.value is not None:
                    sighting = self._decoded(change.key, change.value)
                    if sighting is not None:
                        yield sighting

    def _decoded(self, key: str, value: bytes) -> Sighting | None:
        node = key[len(self._places.vantages) :]
        if node == self._node:
            return None
        try:
            return _decoded(node, json.loads(value))
        except (ValueError, KeyError, TypeError) as error:
            raise CoordinationError(f"etcd: the sighting of {node} can't be read: {error!r}") from error


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
