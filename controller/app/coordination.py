"""How a node coordinates with others, and how it takes a store for its own that was wiped or put back."""

from __future__ import annotations

from controller import registry
from controller.configuration.node import NodeSettings
from controller.configuration.settings import Settings
from controller.engine.clock import SystemClock
from controller.etcd.client import EtcdSettings
from controller.leases.etcd.adoption import Adopted
from controller.leases.etcd.adoption import adopt as leases_adopt
from controller.leases.etcd.bundle import EtcdCoordination
from controller.leases.etcd.places import Places
from controller.model.errors import CoordinationError
from controller.model.facts import Fact, FactKind
from controller.model.moments import Values
from controller.ports import Adopting, SwitchDriver
from controller.stores.journal import SqliteJournal


def coordinated(node: NodeSettings) -> EtcdCoordination | None:
    """None for a node that stands alone. Raises CoordinationError when a file can't be used."""
    settings = node.coordination
    if settings.kind == "local":
        return None
    etcd = EtcdSettings(
        endpoints=settings.endpoints,
        timeout=settings.timeout,
        user=settings.user,
        password=settings.password,
        authority=settings.authority,
        certificate=settings.certificate,
        key=settings.key,
        accept_old=settings.accept_old_etcd,
    )
    return EtcdCoordination(
        etcd, Places(settings.cluster), node.name, lifetime=int(settings.ttl), pin=node.data / "cluster.pin"
    )


async def adopt(settings: Settings, *, by: str, reason: str) -> Adopted:
    """Take the coordination store that answers for this controller's own, with the state of this node's journal. The
    controller of this node must be stopped. Raises StoreError, CoordinationError, ActionError."""
    node, policy = settings.node, settings.policy
    coordination = coordinated(node)
    if coordination is None:
        raise CoordinationError("this node stands alone (coordination: local): there is no store to adopt")
    journal = SqliteJournal(node.data / "journal.db", node.name)
    built: dict[str, SwitchDriver] = {
        name: registry.load("driver", group.driver)(group, group.driver_parameters)
        for name, group in policy.groups.items()
    }
    drivers = {name: driver for name, driver in built.items() if isinstance(driver, Adopting)}
    recovered = await journal.open()
    try:
        seen = {name: await driver.highest_epoch() for name, driver in drivers.items()}
        adopted = await leases_adopt(coordination, recovered.aggregates, seen)
        epochs = {group.name: group.epoch for group in adopted.groups}
        for name, driver in drivers.items():
            if seen[name] < (epoch := epochs.get(name, seen[name] + 1)):
                await driver.adopt(epoch, coordination.store)
        data: Values = (
            ("store", coordination.store),
            ("reason", reason),
            ("first", adopted.first),
            ("epochs", ",".join(f"{name}={epoch}" for name, epoch in sorted(epochs.items()))),
        )
        fact = Fact(
            kind=FactKind.STORE_ADOPTED, at=SystemClock().now(), subject=node.name, actor=by, data=data
        )
        await journal.record([fact])
        return adopted
    finally:
        await journal.close()
        await coordination.close()
        for each in built.values():
            await each.close()
