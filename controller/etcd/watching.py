"""A watch over every member at once, so that one which hangs, or is cut off, makes nobody deaf."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import aiohttp

from controller.etcd.member import Member
from controller.etcd.transactions import encoded, key_values, prefix_end
from controller.model.errors import CoordinationError

log = logging.getLogger(__name__)

RETRY: Final = 0.2
"""Seconds until a member whose watch broke is asked again."""


class Change(NamedTuple):
    """`value` None: the key was deleted, or its lease ran out."""

    key: str
    value: bytes | None
    created: int
    revision: int


class _Batch(NamedTuple):
    revision: int  # of the newest change in it
    changes: tuple[Change, ...]


class _Broken(NamedTuple):
    member: Member
    error: CoordinationError


class _Standing(NamedTuple):
    member: Member


class Watch:
    """Each member tells every change, in order, and a revision never in two parts (etcd API guarantees, "watch"): so
    whatever is no newer than what was handed on has been handed on."""

    def __init__(
        self, members: Sequence[Member], session: aiohttp.ClientSession, prefix: str, after: int
    ) -> None:
        self._members = members
        self._session = session
        self._prefix = prefix
        self._seen = after
        self._told: asyncio.Queue[_Batch | _Broken | _Standing] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def changes(self) -> AsyncIterator[tuple[Change, ...]]:
        """An empty batch: a member's watch stands. Raises CoordinationError when no member's does."""
        self._tasks = [
            asyncio.create_task(self._follow(member), name="etcd-watch") for member in self._members
        ]
        broken: set[Member] = set()
        while True:
            match await self._told.get():
                case _Broken(member, error):
                    broken.add(member)
                    if len(broken) == len(self._members):
                        raise error
                case _Standing(member):
                    broken.discard(member)
                    yield ()
                case _Batch(revision, changes):
                    if revision > self._seen:
                        news = tuple(change for change in changes if change.revision > self._seen)
                        self._seen = revision
                        yield news

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, member: Member) -> None:
        while True:
            request = {
                "create_request": {
                    "key": encoded(self._prefix),
                    "range_end": encoded(prefix_end(self._prefix)),
                    "start_revision": str(self._seen + 1),
                }
            }
            try:
                async for message in member.watch(self._session, request):
                    self._take(member, message)
            except CoordinationError as error:
                self._told.put_nowait(_Broken(member, error))
                await asyncio.sleep(RETRY)

    def _take(self, member: Member, message: Mapping[str, Any]) -> None:
        if message.get("canceled"):
            reason = message.get("cancel_reason") or f"compacted at {message.get('compact_revision')}"
            raise CoordinationError(f"etcd {member.endpoint}: the watch was cancelled: {reason}")
        if message.get("created"):
            self._told.put_nowait(_Standing(member))
        try:
            changes = tuple(
                Change(
                    item.key,
                    None if event.get("type") == "DELETE" else item.value,
                    item.created,
                    item.changed,
                )
                for event in message.get("events") or ()
                for item in key_values([event["kv"]])
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CoordinationError(
                f"etcd {member.endpoint}: a watch's event can't be read: {error!r}"
            ) from error
        if changes:
            self._told.put_nowait(_Batch(changes[-1].revision, changes))
