"""A store that was wiped or put back: a person says that it is this controller's from now on, and every epoch begins above
all that anybody saw, so that nothing from before can be mistaken for anything from after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controller.leases.etcd.bundle import EtcdCoordination
from controller.leases.etcd.pin import Adoption
from controller.model.encoding import decode_aggregate, encode_aggregate
from controller.model.errors import CoordinationConflict
from controller.model.facts import Aggregate, Counters, aggregate_key, retired
from controller.model.groups import Group, Hold, Phase, SwitchOutcome

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


def merged(
    stored: Mapping[str, Aggregate], own: Iterable[Aggregate], seen: Mapping[str, int], adoption: Adoption
) -> dict[str, Aggregate]:
    """What is to be written into a store that holds `stored`.

    Of this node's `own` state: all of it where the store holds nothing, or what is missing of it when this node did not
    come to the end; of a store that was put back, the holds it does not know. Counters never go down. Every group that
    would begin at an epoch which somebody has seen begins anew, as whoever went further knows it.
    """
    mine = {aggregate_key(one): one for one in own if not retired(one)}
    written: dict[str, Aggregate] = {}
    for key, one in mine.items():
        if isinstance(one, Counters):
            there, counted = stored.get(key), _counted(one, stored.get(key))
            if not isinstance(there, Counters) or dict(counted.numbers) != dict(there.numbers):
                written[key] = counted
        elif isinstance(one, Group) or key in stored:
            continue
        elif (
            not stored
            or adoption is Adoption.RESUMED
            or (adoption is Adoption.FIRST and isinstance(one, Hold))
        ):
            written[key] = one
    for key in sorted(mine.keys() | stored.keys()):
        known = [group for group in (stored.get(key), mine.get(key)) if isinstance(group, Group)]
        if not known:
            continue
        furthest = max(known, key=lambda group: group.epoch)
        elsewhere = seen.get(furthest.name, 0)
        joined = isinstance(stored.get(key), Group) and adoption is Adoption.JOINED
        if joined and known[0].epoch >= max(elsewhere, *map(_highest, known[1:]), 0):
            continue  # whoever brought it in has put it above all that
        (written[key],) = begun_anew((furthest,), {furthest.name: max(elsewhere, *map(_highest, known))})
    return written


def _counted(one: Counters, there: Aggregate | None) -> Counters:
    numbers = dict(there.numbers) if isinstance(there, Counters) else {}
    for name, number in one.numbers:
        if not isinstance(known := numbers.get(name), int) or (isinstance(number, int) and number > known):
            numbers[name] = number
    return Counters(numbers=tuple(sorted(numbers.items())))


def _highest(group: Group) -> int:
    return max(group.epoch, group.edge_epoch, 0 if group.switch is None else group.switch.epoch)


async def adopt(
    coordination: EtcdCoordination, aggregates: Iterable[Aggregate], seen: Mapping[str, int]
) -> Adopted:
    """`aggregates`: the durable state of this node's journal, whose controller is stopped. Raises CoordinationConflict
    when another node leads and something has to be written, CoordinationError when the store can't be used. Until it has
    come to its end this node refuses the store; begun again it goes on."""
    register, lease = coordination.register, coordination.lease
    adoption = await register.begin_adoption()
    records = await register.read()
    stored: dict[str, Aggregate] = {}
    for key, record in records.items():
        aggregate = decode_aggregate(record.value.decode())
        if aggregate is not None:
            stored[key] = aggregate
    written = merged(stored, aggregates, seen, adoption)
    if written:
        if await lease.acquire() is None:
            raise CoordinationConflict(
                f"etcd: {lease.holder or 'another node'} leads already: adopt there, or stop it first"
            )
        try:
            keys = sorted(written)
            for start in range(0, len(keys), MOST_KEYS):
                part = keys[start : start + MOST_KEYS]
                await register.write(
                    {key: encode_aggregate(written[key]).encode() for key in part},
                    {key: records[key].revision if key in records else 0 for key in part},
                )
        finally:
            await lease.release()
    await register.finish_adoption()
    state = {**stored, **written}
    groups = tuple(state[key] for key in sorted(state))
    return Adopted(not stored, tuple(one for one in groups if isinstance(one, Group)))
