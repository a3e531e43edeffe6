"""The composition root: builds a controller from its settings, and runs it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller import registry
from controller.configuration.check import CheckReport, check, render_text
from controller.configuration.kinds import Kinds
from controller.configuration.loading import load
from controller.configuration.node import NodeSettings
from controller.configuration.schema import schema
from controller.configuration.settings import Settings
from controller.core.invariants import violations
from controller.engine.clock import SystemClock
from controller.engine.desk import Desk
from controller.engine.dispatch import Dispatcher
from controller.engine.holds import RUNG, Holds
from controller.engine.leadership import Leadership, watch_timers
from controller.engine.loop import Engine, failover_relevant
from controller.engine.prober_process import ProcessProber
from controller.engine.records import Records
from controller.engine.replication import Replica
from controller.engine.sharing import Sharing
from controller.etcd.client import EtcdSettings
from controller.leases.etcd.adoption import Adopted
from controller.leases.etcd.adoption import adopt as leases_adopt
from controller.leases.etcd.bundle import EtcdCoordination
from controller.leases.etcd.places import Places
from controller.leases.local import LocalLease
from controller.model.errors import ConfigurationError, CoordinationError, Problem
from controller.model.events import LadderFinished, VantageBeat
from controller.model.facts import Entry, Fact, FactKind, entry_payload
from controller.model.health import RungKey
from controller.model.moments import Values
from controller.model.policy import Policy
from controller.notifiers.pager import Pager
from controller.ports import Action, Adopting, Coordinated, Grants, Lease, Notifier, SwitchDriver, Target
from controller.stores.archive import SqlArchive
from controller.stores.journal import SqliteJournal
from controller.stores.journal_reader import JournalReader
from controller.stores.shipping import Shipper
from controller.web.access import Access, Account, Role
from controller.web.console import Console
from controller.web.links import AcknowledgeLinks
from controller.web.server import Listeners, make_application

log = logging.getLogger(__name__)

WATCH_PERIOD = 0.1
"""Seconds between two looks at this process's own timers."""

WARM = 20.0
"""Seconds after which every target has been heard of."""

COLLECTING = (20_000, 20, 20)
"""Thresholds of the garbage collector; nearly everything here is freed without it."""


def shipped(kind: str) -> Path:
    """Where the shipped `runbooks` or `config` are: in an installed package, or in the checkout."""
    package = Path(__file__).parent
    installed = package / "shipped" / kind
    return installed if installed.is_dir() else package.parent / kind


def kinds() -> Kinds:
    """Every adapter this installation knows, by category; none is imported yet."""
    return Kinds(
        names={name: tuple(table) for name, table in registry.CATEGORIES.items()}, load=registry.load
    )


def load_settings(path: Path) -> Settings:
    """Raises ConfigurationError with every problem found."""
    return load(path, kinds(), shipped)


def check_settings(path: Path, loss: float) -> CheckReport:
    """What is wrong with a configuration, and what its groups can promise. `loss`: 0 to 1, each way."""
    return check(path, kinds(), shipped, loss=loss)


def configuration_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, with the parameters of every kind that is installed."""
    return schema(kinds())


def check_text(report: CheckReport, language: str) -> str:
    return render_text(report, language)


class Controller:
    """One node: the engine and everything around it. `ready` is called with the address once it answers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        node, policy = settings.node, settings.policy
        node.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.clock = SystemClock()
        self.journal = SqliteJournal(node.data / "journal.db", node.name)
        self.archive = SqlArchive(node.archive)
        self.coordination = _coordination(node)
        self.lease: Lease = (
            LocalLease(node.data / "lease.lock", lifetime=node.coordination.ttl)
            if self.coordination is None
            else self.coordination.lease
        )
        replica = None if self.coordination is None else Replica(self.coordination.register)
        self.prober = ProcessProber(node.name, self.clock)
        self.links = AcknowledgeLinks(_key(node.data / "links.key"), spent=node.data / "links.spent")
        self.pager = Pager(policy.people, _notifiers(policy), self._link)
        self.actions: dict[str, Action] = {
            kind: registry.load("action", kind)(chosen) for kind, chosen in node.actions.items()
        }
        self.drivers: dict[str, SwitchDriver] = {
            name: registry.load("driver", group.driver)(group, group.driver_parameters)
            for name, group in policy.groups.items()
        }
        self.dispatcher = Dispatcher(
            clock=self.clock,
            prober=self.prober,
            actions=self.actions,
            drivers=self.drivers,
            pager=self.pager,
        )
        self.engine = Engine(
            node=node.name,
            policy=policy,
            journal=self.journal,
            dispatcher=self.dispatcher,
            clock=self.clock,
            replica=replica,
            resign=lambda reason: self.leadership.step_down(reason),
        )
        self.leadership = Leadership(
            self.lease,
            self.clock,
            self.engine.submit,
            period=node.coordination.renewal,
            replica=replica,
        )
        self.sharing = (
            None
            if self.coordination is None
            else Sharing(
                self.coordination.sightings,
                self.clock,
                self.engine.submit,
                vantage=node.name,
                failure_domain=node.failure_domain,
                shared=failover_relevant(policy),
            )
        )
        if self.coordination is not None:
            for driver in self.drivers.values():
                if isinstance(driver, Coordinated):
                    driver.coordinate(self.coordination.grants)
        records = Records(self.journal, self.archive, node.name)
        self.desk = Desk(self.engine, self.journal, records, self.clock)
        self.shipper = Shipper(self.journal, self.archive, node.name)

    async def run(self, ready: Callable[[str], None], stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises StoreError when the journal, the socket or the port can't be used, and whatever
        ended a part of the controller that must not end."""
        node = self.settings.node
        await self.engine.open()
        async with contextlib.AsyncExitStack() as closing:
            if self.coordination is not None:
                closing.push_async_callback(self.coordination.close)
                await self.coordination.open()
            closing.push_async_callback(self.journal.close)
            closing.push_async_callback(self._close_adapters)
            listeners = Listeners(
                make_application(
                    self.desk,
                    self._access(),
                    Console(
                        access=self._access(),
                        links=self.links,
                        secure_cookies=node.http.public_url.startswith("https:"),
                        default_language=node.language,
                    ),
                )
            )
            # First of all: a port in use, or another controller, must show before anything is started or recorded.
            closing.push_async_callback(listeners.close)
            port = await listeners.open(node.http.host, node.http.port, node.control)
            closing.push_async_callback(self.archive.close)
            stop_noticing = self.engine.subscribe(lambda entries: self.shipper.notice(entries[-1].sequence))
            self.shipper.start(self.engine.snapshot.sequence)
            closing.push_async_callback(self.shipper.close)
            closing.callback(stop_noticing)
            closing.push_async_callback(self.lease.release)
            await self.prober.start()
            closing.push_async_callback(self.prober.close)
            await self.prober.assign(targets(self.settings.policy))
            parts = [
                asyncio.create_task(self.engine.run(), name="engine"),
                asyncio.create_task(self._listen_to_prober(), name="prober"),
                asyncio.create_task(
                    self.leadership.keep(),
                    name="leadership",
                ),
                asyncio.create_task(
                    watch_timers(
                        self.clock,
                        self.engine.submit,
                        period=WATCH_PERIOD,
                        tolerated=self.settings.policy.timer_gap,
                    ),
                    name="timers",
                ),
            ]
            if self.coordination is not None and self.sharing is not None:
                parts += [
                    asyncio.create_task(self.sharing.publish(), name="publishing"),
                    asyncio.create_task(self.sharing.listen(), name="listening"),
                    asyncio.create_task(self.coordination.grants.watch(), name="heartbeats"),
                    asyncio.create_task(self._holds(self.coordination.grants).read(), name="holds"),
                ]
            closing.push_async_callback(_end, parts)
            closing.push_async_callback(self.dispatcher.close)
            closing.push_async_callback(
                listeners.close
            )  # before the engine ends, which whoever asks waits for
            host = f"[{node.http.host}]" if ":" in node.http.host else node.http.host
            ready(f"http://{host}:{port}")
            stopped = asyncio.create_task(stop.wait(), name="stop")
            done, _ = await asyncio.wait([stopped, *parts], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            for part in done - {stopped}:
                part.result()

    async def _listen_to_prober(self) -> None:
        async for event in self.prober.events():
            if isinstance(event, LadderFinished) and not self.dispatcher.answered(event):
                continue
            if self.sharing is not None:
                self.sharing.notice(event)
            if isinstance(event, VantageBeat):
                event = replace(event, failure_domain=self.settings.node.failure_domain)
            self.engine.submit(event)

    def _holds(self, grants: Grants) -> Holds:
        return Holds(
            grants,
            self.clock,
            self.engine.submit,
            lambda: self.engine.snapshot.state,
            vantage=self.settings.node.name,
            groups=_holders(self.settings.policy),
        )

    async def _close_adapters(self) -> None:
        for action in self.actions.values():
            await action.close()
        for driver in self.drivers.values():
            await driver.close()
        await self.pager.close()

    def _access(self) -> Access:
        node = self.settings.node
        accounts = {
            token.secret: Account(name=token.name, role=Role[token.role.name]) for token in node.http.tokens
        }
        if not accounts:
            token = _key(node.data / "web.token").hex()
            accounts[token] = Account(name="operator", role=Role.OPERATOR)
        return Access(accounts, _key(node.data / "session.key"))

    def _link(self, incident: str, person: str) -> str:
        token = self.links.make(incident, person, self.clock.now().wall)
        return f"{self.settings.node.http.public_url}/a/{token}"


def _coordination(node: NodeSettings) -> EtcdCoordination | None:
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
    coordination = _coordination(node)
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


def targets(policy: Policy) -> list[Target]:
    return [
        Target(RungKey(component.name, rung.name), rung)
        for component in policy.components.values()
        for rung in component.ladder
        if rung.probed
    ]


def _holders(policy: Policy) -> dict[str, dict[str, str]]:
    """Groups whose address holders are watched: the component of each side, by the side's name."""
    return {
        name: {side.name: side.component for side in group.sides}
        for name, group in policy.groups.items()
        if any(policy.components[side.component].rung(RUNG) is not None for side in group.sides)
    }


def run(settings: Settings, ready: Callable[[str], None]) -> None:
    """Run a controller until SIGINT or SIGTERM."""
    import uvloop

    _set_memory_aside()
    gc.set_threshold(*COLLECTING)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        loop.call_later(WARM, _set_memory_aside)
        await Controller(settings).run(ready, stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _set_memory_aside() -> None:
    """What lives as long as the process is not walked through by the garbage collector again and again: over ten
    thousand targets that took 150 ms each time, in the middle of whatever was going on."""
    gc.collect()
    gc.freeze()


def web_token(settings: Settings) -> str:
    """The token made for a configuration that declares none; empty when it declares some."""
    node = settings.node
    return "" if node.http.tokens else _key(node.data / "web.token").hex()


async def read_timeline(path: Path, *, incident: str, after: int | None, limit: int) -> list[dict[str, Any]]:
    """Entries of a journal file, as the API shows them: those after a sequence, or the newest. Raises StoreError."""
    return [_view(entry) for entry in await _entries(path, incident=incident, after=after, limit=limit)]


async def check_journal(path: Path) -> tuple[list[str], str, int]:
    """Violations of the chain and the invariants, the head's digest, and the number of entries. Raises StoreError."""
    reader = JournalReader(path)
    await reader.open()
    try:
        broken = await reader.verify()
        head = await reader.head()
    finally:
        await reader.close()
    entries = await _entries(path, incident="", after=0, limit=sys.maxsize)
    found = [*broken, *(str(violation) for violation in violations(entries, chain=False))]
    return found, head.digest if head else "", head.sequence if head else 0


async def _entries(path: Path, *, incident: str, after: int | None, limit: int) -> list[Entry]:
    reader = JournalReader(path)
    await reader.open()
    try:
        if after is None:
            after = await reader.before_newest(limit, incident=incident)
        return [entry async for entry in reader.entries(incident=incident, after=after, limit=limit)]
    finally:
        await reader.close()


def _view(entry: Entry) -> dict[str, Any]:
    decoded = json.loads(entry.payload)
    decoded.pop("changed", None)
    return dict(entry_payload(entry, decoded))


def _notifiers(policy: Policy) -> dict[tuple[str, str], Notifier]:
    problems: list[Problem] = []
    notifiers: dict[tuple[str, str], Notifier] = {}
    for person in policy.people.values():
        for channel in person.channels:
            try:
                adapter = registry.load("notifier", channel.kind)
                notifiers[person.name, channel.name] = adapter(channel.parameters)
            except ImportError as error:
                problems.append(Problem(file="", line=0, path=f"people.{person.name}", message=str(error)))
    if problems:
        raise ConfigurationError(problems)
    return notifiers


def _key(path: Path) -> bytes:
    """32 secret bytes kept in `path`, made on first use, readable by this user alone."""
    with contextlib.suppress(FileNotFoundError):
        return bytes.fromhex(path.read_text().strip())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = secrets.token_bytes(32)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(key.hex() + "\n")
        return key
    return bytes.fromhex(path.read_text().strip())


async def _end(parts: Sequence[asyncio.Task[None]]) -> None:
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)
