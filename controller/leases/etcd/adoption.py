"""A store that was wiped or put back: a person says that it is this controller's from now on, and every epoch begins above
all that anybody saw, so that nothing from before can be mistaken for anything from after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controller.leases.etcd.bundle import EtcdCoordination
from controller.model.encoding import decode_aggregate, encode_aggregate
from controller.model.errors import CoordinationConflict
from controller.model.facts import Aggregate, aggregate_key, retired
from controller.model.groups import Group, Phase, SwitchOutcome

MOST_KEYS = 100
"""Keys in one transaction; the store takes 128 operations by default, and its guards count."""


class Adopted(NamedTuple):
    """`first`: this node brought its state into an empty store; otherwise it only joined what another had brought.
    `groups`: as they begin anew."""

    first: bool
    groups: tuple[Group, ...]


def begun_anew(aggregates: Iterable[Aggregate], seen: Mapping[str, int]) -> tuple[Aggregate, ...]:
    """Every group at one epoch above its own, its edges' and what its agents have `seen`. A switch that was under way
    ended nobody knows how: a person settles that group."""
    anew: list[Aggregate] = []
    for aggregate in aggregates:
        if isinstance(aggregate, Group):
            switch = aggregate.switch
            known = (aggregate.epoch, aggregate.edge_epoch, seen.get(aggregate.name, 0))
            epoch = max(*known, 0 if switch is None else switch.epoch) + 1
            aggregate = dataclasses.replace(aggregate, epoch=epoch, edge_epoch=0, upkeep=None)
            if switch is not None:
                aggregate = dataclasses.replace(
                    aggregate,
                    switch=None,
                    phase=Phase.NEEDS_PERSON,
                    last_switch=switch.id,
                    last_outcome=SwitchOutcome.NEEDS_PERSON,
                )
        anew.append(aggregate)
    return tuple(anew)


async def adopt(
    coordination: EtcdCoordination, aggregates: Iterable[Aggregate], seen: Mapping[str, int]
) -> Adopted:
    """`aggregates`: the durable state of this node's journal, whose controller is stopped. Raises CoordinationConflict
    when another node leads in a store that is still empty, CoordinationError when it can't be used."""
    register, lease = coordination.register, coordination.lease
    await register.adopt()
    records = await register.read()
    if records:
        found = (decode_aggregate(record.value.decode()) for record in records.values())
        return Adopted(False, tuple(group for group in found if isinstance(group, Group)))
    if await lease.acquire() is None:
        raise CoordinationConflict(
            f"etcd: {lease.holder or 'another node'} leads already: adopt there, or stop it first"
        )
    try:
        anew = begun_anew(aggregates, seen)
        texts = {aggregate_key(one): encode_aggregate(one).encode() for one in anew if not retired(one)}
        keys = sorted(texts)
        for start in range(0, len(keys), MOST_KEYS):
            part = keys[start : start + MOST_KEYS]
            await register.write({key: texts[key] for key in part}, dict.fromkeys(part, 0))
    finally:
        await lease.release()
    return Adopted(True, tuple(one for one in anew if isinstance(one, Group)))
