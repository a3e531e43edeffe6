"""`keep`: while no guarded write commits, a hold rests on the word of every other agent of the group.

Each promises, for a hold time, to refuse promotion. The holder counts from before it asked, the promiser from when it was
asked, and some more: so the hold has ended before the promise has. A promiser that sees the grant being closed promises no
longer; one that was restarted does not know what it promised, and waits one promise out. One silent agent ends it all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp

from controller.agent.coordination import Grant, Phase
from controller.agent.gate import ARMED
from controller.agent.hold import Standing
from controller.agent.memory import Memory
from controller.agent.refusals import Refusal, Refused
from controller.agent.settings import GroupSettings, WithoutEtcd

MARGIN: Final = ARMED + 0.050
"""Seconds that a promise lasts beyond the hold time: the gate may be that much late."""

log = logging.getLogger(__name__)


class PromiseBook:
    """What this agent has promised. `monotonic` seconds."""

    def __init__(
        self, groups: Mapping[str, GroupSettings], memory: Memory, monotonic: Callable[[], float]
    ) -> None:
        self._groups = groups
        self._memory = memory
        self._now = monotonic
        started = monotonic()
        self._until = {
            name: started + group.hold_time + MARGIN
            for name, group in groups.items()
            if group.without_etcd is WithoutEtcd.KEEP
        }

    def bound_until(self, group: str) -> float:
        return self._until.get(group, 0.0)

    def promise(
        self,
        group: str,
        asked: Grant,
        hold_time: float,
        *,
        known: Grant | None,
        standing: Standing,
    ) -> None:
        """Bound from now on. `asked`: the grant that the asker holds by; `known`: the newest seen here. Raises
        Refused."""
        settings = self._groups[group]
        if settings.without_etcd is not WithoutEtcd.KEEP:
            raise Refused(Refusal.NOT_ALLOWED, f"group {group} drops when etcd is gone")
        if hold_time > settings.hold_time:
            raise Refused(Refusal.WRONG_VALUE, f"holds {hold_time:g} s, here {settings.hold_time:g} s")
        if asked.holder == settings.side or standing is not Standing.INERT:
            raise Refused(Refusal.NOT_GRANTED, f"{settings.side} is this side, and is {standing}")
        if asked.epoch < (highest := self._memory.of(group).epoch):
            raise Refused(Refusal.OLD_EPOCH, f"epoch {asked.epoch} is older than {highest}")
        if known is not None and (known.phase is Phase.FENCING or known.revision > asked.revision):
            raise Refused(Refusal.NOT_GRANTED, f"the grant is {known.holder}'s, {known.phase}")
        self._until[group] = max(self.bound_until(group), self._now() + settings.hold_time + MARGIN)


class Peers:
    """hold.Promises of one group: asks every other agent, at the same time."""

    def __init__(
        self,
        group: str,
        settings: GroupSettings,
        book: PromiseBook,
        session: Callable[[], aiohttp.ClientSession],
    ) -> None:
        self._group = group
        self._settings = settings
        self._book = book
        self._session = session
        self._silent: str = ""

    async def ask(self, grant: Grant) -> bool:
        if self._settings.without_etcd is not WithoutEtcd.KEEP:
            return False
        peers = self._settings.peers
        answers = await asyncio.gather(*(self._ask(url, grant) for url in peers.values()))
        silent = ", ".join(f"{name}: {answer}" for name, answer in zip(peers, answers, strict=True) if answer)
        if silent != self._silent:
            log.warning(
                "%s: etcd is silent; promises: %s", self._group, silent or "all", extra={"action": "keep"}
            )
            self._silent = silent
        return not silent

    def bound_until(self, group: str) -> float:
        return self._book.bound_until(group)

    async def _ask(self, url: str, grant: Grant) -> str:
        """Why it did not promise; empty when it did."""
        body = {
            "group": self._group,
            "epoch": grant.epoch,
            "holder": grant.holder,
            "revision": grant.revision,
            "hold_time": self._settings.hold_time,
        }
        try:
            async with (
                asyncio.timeout(self._settings.write_timeout),
                self._session().post(f"{url.rstrip('/')}/promise", json=body) as answer,
            ):
                return "" if answer.status == 200 else (await answer.text())[:200]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return str(error) or type(error).__name__
