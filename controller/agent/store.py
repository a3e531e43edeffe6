"""Grants and heartbeats in etcd.

/thirdring/CLUSTER/grant/GROUP    {"version", "group", "epoch", "holder", "phase"}    written by the leading controller
/thirdring/CLUSTER/hold/GROUP     {"version", "group", "epoch", "agent", "boot", "count"}      written by the holder
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Final

from controller.agent.coordination import Beat, Grant, Phase, Unconfirmed
from controller.agent.settings import AgentSettings
from controller.etcd.client import EtcdClient, EtcdSettings
from controller.etcd.transactions import KeyValue, changed_at, get, put
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
    def cluster(self) -> str:
        """etcd's own id of its cluster; empty until it has answered."""
        return self._client.cluster

    def pin(self, cluster: str) -> None:
        """Answers of any other cluster are refused from now on."""
        self._client.pin(cluster)

    async def read(self, group: str) -> Grant | None:
        try:
            _, found = await self._client.get(self._grant(group))
            return _understood([found] if found is not None else [])
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
            answer = await self._client.hedged(
                [changed_at(self._grant(group), grant.revision)],
                [put(self._hold(group), json.dumps(value).encode())],
                [get(self._grant(group))],
            )
            return grant if answer.succeeded else _understood(answer.found[0])
        except CoordinationError as error:
            raise Unconfirmed(str(error)) from error

    async def watch(self, group: str) -> AsyncIterator[Grant | None]:
        key = self._grant(group)
        try:
            if not self._checked:
                await self._client.check()
                self._checked = True
            revision, found = await self._client.get(key)
            yield _understood([found] if found is not None else [])
            async for changes in self._client.watch(key, after=revision):
                for change in changes:
                    if change.key == key:
                        item = KeyValue(key, change.value or b"", change.created, change.revision)
                        yield _understood([item] if change.value is not None else [])
        except CoordinationError as error:
            raise Unconfirmed(str(error)) from error

    async def close(self) -> None:
        await self._client.close()

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
