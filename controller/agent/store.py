"""Grants and heartbeats in etcd.

/thirdring/CLUSTER/grant/GROUP    {"version", "group", "epoch", "holder", "phase"}    written by the leading controller
/thirdring/CLUSTER/hold/GROUP     {"version", "group", "epoch", "agent", "boot", "count"}      written by the holder
/thirdring/CLUSTER/cluster         a random word that a store which was wiped has not, whatever its own id; by the controllers
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Final

from controller.agent.coordination import Beat, Grant, Phase, Unconfirmed
from controller.agent.settings import AgentSettings
from controller.etcd.client import EtcdClient, EtcdSettings
from controller.etcd.transactions import KeyValue, changed_at, get, put, value_is
from controller.model.errors import CoordinationError, StoreError

VERSION: Final = 1


class EtcdCoordination:
    """coordination.Coordination. Raises StoreError (the password file), CoordinationError (TLS files) when made."""

    def __init__(self, settings: AgentSettings) -> None:
        etcd = settings.etcd
        password = ""
        if etcd.password_file is not None:
            try:
                password = etcd.password_file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise StoreError(f"{etcd.password_file}: {error.strerror}") from error
        self._prefix = f"/thirdring/{settings.cluster}"
        self._checked = False
        self._identity = ""
        self._identified = asyncio.Event()
        self._client = EtcdClient(
            EtcdSettings(
                endpoints=etcd.endpoints,
                user=etcd.user,
                password=password,
                authority=etcd.authority,
                certificate=etcd.certificate,
                key=etcd.key,
                accept_old=etcd.accept_old_etcd,
            )
        )

    @property
    def store(self) -> str:
        """etcd's own id of its cluster, which it has again when all its members are wiped and started as before; and behind
        a slash the word that the first controller left there, once that was seen."""
        return f"{self._client.cluster}/{self._identity}" if self._identity else self._client.cluster

    def pin(self, store: str) -> None:
        """One without the word behind the slash: the first word that is seen is believed."""
        cluster, _, self._identity = store.partition("/")
        self._client.pin(cluster)
        if self._identity:
            self._identified.set()
        else:
            self._identified.clear()

    async def identified(self) -> None:
        await self._identified.wait()

    async def read(self, group: str) -> Grant | None:
        try:
            found, _ = await self._read(group)
            return found
        except CoordinationError as error:
            raise Unconfirmed(str(error)) from error

    async def beat(self, group: str, grant: Grant, beat: Beat) -> Grant | None:
        value = {
            "version": VERSION,
            "group": group,
            "epoch": grant.epoch,
            "agent": beat.agent,
            "boot": beat.boot,
            "count": beat.count,
        }
        try:
            # The grant's revision stands for its epoch, holder and phase: it changes with each of them.
            guards = [changed_at(self._grant(group), grant.revision)]
            if self._identity:
                guards.append(value_is(self._place, self._identity.encode()))
            answer = await self._client.hedged(
                guards,
                [put(self._hold(group), json.dumps(value).encode())],
                [get(self._grant(group)), get(self._place)],
            )
            if answer.succeeded:
                return grant
            self._verify(answer.found[1])
            return _understood(answer.found[0])
        except CoordinationError as error:
            raise Unconfirmed(str(error)) from error

    async def watch(self, group: str) -> AsyncIterator[Grant | None]:
        key = self._grant(group)
        try:
            if not self._checked:
                await self._client.check()
                self._checked = True
            found, revision = await self._read(group)
            yield found
            # What comes now is believed without asking for the word: closing is always safe, and to hold asks for a
            # heartbeat, whose guard it is.
            async for changes in self._client.watch(key, after=revision):
                for change in changes:
                    if change.key == key:
                        item = KeyValue(key, change.value or b"", change.created, change.revision)
                        yield _understood([item] if change.value is not None else [])
        except CoordinationError as error:
            raise Unconfirmed(str(error)) from error

    async def close(self) -> None:
        await self._client.close()

    async def _read(self, group: str) -> tuple[Grant | None, int]:
        """The grant, and the store's revision. Raises CoordinationError, Unconfirmed."""
        answer = await self._client.transact([], [get(self._grant(group)), get(self._place)])
        grants, words = answer.found
        self._verify(words)
        return _understood(grants), answer.revision

    def _verify(self, words: Sequence[KeyValue]) -> None:
        """Raises Unconfirmed when it is not the store that this agent belongs to."""
        word = words[0].value.decode("ascii", "replace") if words else ""
        if self._identity and word != self._identity:
            what = "is another one, or was restored and begun anew" if word else "was wiped"
            raise Unconfirmed(f"the store {what}: nothing is held until a person adopts it (thirdring adopt)")
        if word and not self._identity:
            self._identity = word
            self._identified.set()

    @property
    def _place(self) -> str:
        return f"{self._prefix}/cluster"

    def _grant(self, group: str) -> str:
        return f"{self._prefix}/grant/{group}"

    def _hold(self, group: str) -> str:
        return f"{self._prefix}/hold/{group}"


def _understood(items: Sequence[KeyValue]) -> Grant | None:
    """Fields it does not know are a newer version's, and left alone. Raises Unconfirmed."""
    if not items:
        return None
    item = items[0]
    try:
        content = json.loads(item.value)
        return Grant(
            int(content["epoch"]), str(content["holder"]), Phase(str(content["phase"])), item.changed
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Unconfirmed(f"the grant at {item.key} can't be understood: {error!r}") from error
