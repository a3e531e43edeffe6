"""One host's agent: its groups, the fence's readiness, and what follows a loss."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from controller.agent import commands
from controller.agent.activities import Outcome, Side, troubles
from controller.agent.belonging import Belonging
from controller.agent.coordination import Coordination, Grant, Phase
from controller.agent.evidence import Evidence, Witness
from controller.agent.gate import GateError, TableChanged, TableMissing
from controller.agent.hold import Holder
from controller.agent.kernel import Kernel
from controller.agent.memory import Memory
from controller.agent.promises import Peers, PromiseBook
from controller.agent.refusals import Refusal, Refused
from controller.agent.selftest import SelfTestFailed
from controller.agent.settings import AgentSettings, GroupSettings
from controller.model.errors import StoreError

VERIFY: Final = 1.0
"""Seconds between two looks at the table."""

RETEST: Final = 30.0
"""Seconds after a self-test that failed until the next."""

log = logging.getLogger(__name__)


class Member:
    """One group on this host."""

    def __init__(self, name: str, settings: GroupSettings, holder: Holder, memory: Memory) -> None:
        self.name = name
        self.settings = settings
        self.holder = holder
        self.side = Side(name, settings)
        self.witness = Witness(settings.evidence, self.side.processes)
        self.troubles: tuple[str, ...] = ()
        """What of the last stop or start did not succeed."""
        self.stopped = False
        """Everything was stopped, and verified, since this process began."""
        self._memory = memory

    async def stop(self, epoch: int) -> tuple[Outcome, ...]:
        """Remembered before it is done, so that a reboot in between does not let the side go on. Raises StoreError."""
        self.stopped = False
        await self._memory.remember(self.name, epoch=epoch, stopped=True)
        outcomes = await self.side.stop(epoch)
        self.troubles = troubles(outcomes)
        self.stopped = not self.troubles
        if self.troubles:
            log.error("%s: not stopped: %s", self.name, "; ".join(self.troubles), extra={"action": "stop"})
        return outcomes

    async def start(self, epoch: int) -> tuple[Outcome, ...]:
        """Raises StoreError."""
        self.stopped = False
        outcomes = await self.side.start(epoch)
        self.troubles = troubles(outcomes)
        await self._memory.remember(self.name, epoch=epoch, stopped=False)
        return outcomes


class Agent:
    """Raises NftError when the library is missing. `open`, then `run` until cancelled, then `close`."""

    def __init__(self, settings: AgentSettings, coordination: Coordination, kernel: Kernel) -> None:
        self.settings = settings
        self.boot = uuid.uuid4().hex
        self.memory = Memory(settings.data)
        self.members: dict[str, Member] = {}
        self.fence_lacks = "the self-test has not ended"
        self.tables_lost = 0
        self._coordination = coordination
        self._belonging = Belonging(self.memory, coordination)
        self._kernel = kernel
        self._session: aiohttp.ClientSession | None = None
        self._testing = asyncio.Event()
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self.book = PromiseBook(settings.groups, self.memory, time.monotonic)

    async def open(self) -> None:
        """The gate is closed and no address is left when it returns. Raises StoreError, GateError, AddressError."""
        await self._kernel.open()  # first: of two agents on a host the second touches nothing
        self.memory.open()
        self._belonging.recall()
        for name, group in self.settings.groups.items():
            self.members[name] = Member(name, group, self._holder(name, group), self.memory)

    async def run(self) -> None:
        """Until cancelled, or until something fails that only a new start can mend."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_fence(), name="fence")
            for member in self.members.values():
                tasks.create_task(member.holder.run(), name=f"hold-{member.name}")
                tasks.create_task(member.witness.run(), name=f"evidence-{member.name}")
                tasks.create_task(self._recall(member), name=f"recall-{member.name}")
            tasks.create_task(self._belong(), name="belong")

    async def close(self) -> None:
        """The closed gate stays: without an agent nothing may answer as the address."""
        for task in self._stopping.values():
            task.cancel()
        if self._session is not None:
            await self._session.close()
        await self._coordination.close()
        await self._kernel.close()
        self.memory.close()

    def member(self, group: object) -> Member:
        """Raises Refused."""
        found = self.members.get(group) if isinstance(group, str) else None
        if found is None:
            raise Refused(Refusal.UNKNOWN_GROUP, f"this agent has no group {group}")
        return found

    async def hold(self, group: str, epoch: int, timeout: float) -> None:
        """Returns once the addresses are held. Raises Refused, StoreError."""
        member = self.member(group)
        await member.holder.told(epoch)
        if self.memory.of(group).stopped:
            await self._settled(group)
            await member.start(epoch)
        await member.holder.held(epoch, timeout)

    async def release(self, group: str, epoch: int, *, stop: bool) -> tuple[bool, tuple[str, ...]]:
        """(whether the addresses are gone, what is not stopped). Raises Refused, StoreError."""
        member = self.member(group)
        gone = await member.holder.release(epoch)
        if not stop:
            return gone, ()
        await self._settled(group)
        if member.stopped and not troubles(await member.side.stopped(epoch)):
            return gone, ()  # the closed grant was quicker than this request
        return gone, troubles(await member.stop(epoch))

    async def stop(self, group: str, epoch: int) -> tuple[str, ...]:
        member = await self._permitted(group, epoch)
        await self._settled(group)
        return troubles(await member.stop(epoch))

    async def start(self, group: str, epoch: int) -> tuple[str, ...]:
        member = await self._permitted(group, epoch)
        await self._settled(group)
        return troubles(await member.start(epoch))

    async def command(self, group: str, epoch: int, name: str, values: Mapping[str, str]) -> commands.Ended:
        """Raises Refused, StoreError, CommandError."""
        member = await self._permitted(group, epoch)
        command = member.settings.commands.get(name)
        if command is None:
            raise Refused(Refusal.UNKNOWN_COMMAND, f"group {group} lists no command {name}")
        argv = commands.filled(command, values)
        return await commands.run(argv, timeout=command.timeout, environment=member.side.environment(epoch))

    async def adopt(self, group: str, epoch: int, store: str) -> None:
        """Another store from now on: a person said so, after a wipe or a restore, and every epoch began anew above all
        that were seen. Raises Refused, StoreError."""
        member = self.member(group)
        if epoch <= (highest := self.memory.of(group).epoch):
            raise Refused(Refusal.OLD_EPOCH, f"adopting needs an epoch above {highest}, not {epoch}")
        await member.holder.release(epoch)
        await self._belonging.adopt(store)
        for each in self.members.values():
            each.holder.forget()

    def promise(self, group: str, asked: Grant, hold_time: float) -> None:
        holder = self.member(group).holder
        self.book.promise(group, asked, hold_time, known=holder.grant, standing=holder.hold.standing)

    def status(self) -> dict[str, Any]:
        return {
            "agent": self.settings.name,
            "cluster": self.settings.cluster,
            "store": self.memory.store,
            "boot": self.boot,
            "fence_ready": not self.fence_lacks,
            "fence_lacks": self.fence_lacks,
            "tables_lost": self.tables_lost,
            "groups": {name: self._status(member) for name, member in self.members.items()},
        }

    def _status(self, member: Member) -> dict[str, Any]:
        hold, grant = member.holder.hold, member.holder.grant
        remembered = self.memory.of(member.name)
        now = time.monotonic()
        return {
            "side": member.settings.side,
            "addresses": [str(one.address) for one in member.settings.addresses],
            "hold_time": member.settings.hold_time,
            "epoch": remembered.epoch,
            "standing": str(hold.standing),
            "held_epoch": hold.epoch,
            "closes_in": max(0.0, hold.deadline - now) if hold.deadline else 0.0,
            "heartbeats": hold.count,
            "kept": hold.kept,
            "trouble": hold.trouble,
            "fenced": remembered.stopped,
            "stopped": member.stopped,
            "troubles": list(member.troubles),
            "bound_for": max(0.0, self.book.bound_until(member.name) - now),
            "grant": None
            if grant is None
            else {"epoch": grant.epoch, "holder": grant.holder, "phase": str(grant.phase)},
            "evidence": shown(member.witness.evidence),
        }

    def _holder(self, name: str, group: GroupSettings) -> Holder:
        async def released(epoch: int) -> None:
            # Not awaited: the next grant must be seen while the side is being stopped.
            self._stopping[name] = asyncio.create_task(self._stop(name, epoch), name=f"stop-{name}")

        holder = Holder(
            group=name,
            side=group.side,
            agent=self.settings.name,
            boot=self.boot,
            hold_time=group.hold_time,
            write_timeout=group.write_timeout,
            locks=self._kernel.locks([one.guarded for one in group.addresses]),
            coordination=self._coordination,
            memory=self.memory,
            monotonic=time.monotonic,
            released=released,
            table_lost=self._table_lost,
            promises=Peers(name, group, self.book, self._opened),
        )
        holder.ready = self.fence_lacks
        return holder

    async def _stop(self, group: str, epoch: int) -> None:
        try:
            await self.members[group].stop(epoch)
        except StoreError as error:
            log.error("%s: %s", group, error, extra={"action": "remember"})

    async def _settled(self, group: str) -> None:
        """A stop that a closed grant began has ended."""
        task = self._stopping.get(group)
        if task is not None:
            await asyncio.wait([task])

    async def _belong(self) -> None:
        for member in self.members.values():
            await member.holder.seen()
        await self._belonging.keep()

    async def _recall(self, member: Member) -> None:
        """A side that was fenced, or that lost its grant while it was away, stays stopped when it comes back."""
        await member.holder.seen()
        remembered, grant = self.memory.of(member.name), member.holder.grant
        ours = grant is not None and grant.holder == member.settings.side and grant.phase is Phase.HELD
        if not ours and (remembered.stopped or remembered.held):
            log.warning("%s: this side was fenced; it is stopped", member.name, extra={"action": "recall"})
            await self._stop(member.name, remembered.epoch)

    async def _permitted(self, group: str, epoch: int) -> Member:
        """The epoch is on the disk before it is acted on."""
        member = self.member(group)
        if epoch < (highest := self.memory.of(group).epoch):
            raise Refused(Refusal.OLD_EPOCH, f"epoch {epoch} is older than {highest}")
        await self.memory.remember(group, epoch=epoch)
        return member

    async def _watch_fence(self) -> None:
        """Tests the kernel at the start and after every loss of the table, and looks at the table each second."""
        while True:
            passed = await self._test()
            deadline = time.monotonic() + RETEST
            while not self._testing.is_set() and (passed or time.monotonic() < deadline):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._testing.wait(), VERIFY)
                self._verify()
            self._testing.clear()

    async def _test(self) -> bool:
        try:
            await self._kernel.test()
        except (SelfTestFailed, GateError) as error:
            self._ready(f"self-test: {error}")
            log.error("the fence is not ready: %s", error, extra={"action": "fence"})
            return False
        self._ready("")
        return True

    def _verify(self) -> None:
        try:
            self._kernel.verify()
        except (TableMissing, TableChanged) as error:
            self._table_lost(error)

    def _table_lost(self, error: TableMissing | TableChanged) -> None:
        """Made again at once, closed; a hold that is confirmed opens it again. The fence counts as not ready until the
        self-test has passed again."""
        self.tables_lost += 1
        log.error("the gate was taken away: %s", error, extra={"action": "fence"})
        self.fence_lacks = f"the gate was taken away: {error}"
        try:
            self._kernel.make()
        except GateError as failure:
            self._ready(f"the gate was taken away and can't be made: {failure}")
        self._testing.set()

    def _ready(self, lacks: str) -> None:
        self.fence_lacks = lacks
        for member in self.members.values():
            member.holder.ready = lacks

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = client_context(self.settings)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context), trust_env=False
            )
        return self._session


def client_context(settings: AgentSettings) -> ssl.SSLContext:
    tls = settings.tls
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(tls.authority))
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def shown(evidence: Evidence) -> dict[str, Any]:
    return {
        "verdict": str(evidence.verdict),
        "processes": evidence.processes,
        "queued": evidence.queued,
        "answered": evidence.answered,
        "since": time.monotonic() - evidence.since,
        "reason": evidence.reason,
    }
