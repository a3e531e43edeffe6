"""One controller, put together from its settings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from controller import registry
from controller.app.coordination import coordinated
from controller.app.keys import key
from controller.configuration.settings import Settings
from controller.engine.audit import Audit
from controller.engine.clock import SystemClock
from controller.engine.desk import Desk
from controller.engine.dispatch import Dispatcher
from controller.engine.holds import RUNG, Holds
from controller.engine.inbox import failover_relevant
from controller.engine.leadership import Leadership, watch_timers
from controller.engine.loop import Engine
from controller.engine.prober_process import ProcessProber
from controller.engine.records import Records
from controller.engine.replication import Replica
from controller.engine.sharing import Sharing
from controller.leases.local import LocalLease
from controller.model.errors import ConfigurationError, Problem
from controller.model.events import LadderFinished, VantageBeat
from controller.model.health import RungKey
from controller.model.policy import Policy
from controller.notifiers.pager import Pager
from controller.ports import Action, Coordinated, Grants, Lease, Notifier, SwitchDriver, Target
from controller.stores.archive import SqlArchive
from controller.stores.journal import SqliteJournal
from controller.stores.shipping import Shipper
from controller.web.access import Access, Account, Role
from controller.web.console import Console
from controller.web.links import AcknowledgeLinks
from controller.web.server import Listeners, make_application

WATCH_PERIOD = 0.1
"""Seconds between two looks at this process's own timers."""


class Controller:
    """One node: the engine and everything around it. `ready` is called with the address once it answers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        node, policy = settings.node, settings.policy
        node.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.clock = SystemClock()
        self.journal = SqliteJournal(journal := node.data / "journal.db", node.name)
        self.archive = SqlArchive(node.archive)
        self.coordination = coordinated(node)
        self.lease: Lease = (
            LocalLease(node.data / "lease.lock", lifetime=node.coordination.ttl)
            if self.coordination is None
            else self.coordination.lease
        )
        replica = None if self.coordination is None else Replica(self.coordination.register)
        self.prober = ProcessProber(node.name, self.clock)
        self.links = AcknowledgeLinks(key(node.data / "links.key"), spent=node.data / "links.spent")
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
        records = Records(self.journal, self.archive, node.name, self.clock, shared=replica is not None)
        self.engine.subscribe(records.notice)
        self.desk = Desk(self.engine, self.journal, records, Audit(journal), self.clock)
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
            token = key(node.data / "web.token").hex()
            accounts[token] = Account(name="operator", role=Role.OPERATOR)
        return Access(accounts, key(node.data / "session.key"))

    def _link(self, incident: str, person: str) -> str:
        token = self.links.make(incident, person, self.clock.now().wall)
        return f"{self.settings.node.http.public_url}/a/{token}"


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


async def _end(parts: Sequence[asyncio.Task[None]]) -> None:
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)
