"""The coordinated state of several nodes: what this one decided, in the store that the next leader reads.

Nothing disruptive, and no answer to a person, leaves before the store has it. Faults follow behind: every node names
them itself, and a new leader only wants to know which incident they are in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from controller.model.encoding import decode_aggregate, shared_aggregate
from controller.model.errors import CoordinationError, CoordinationForeign, CoordinationUnknown
from controller.model.facts import Aggregate, Fact, aggregate_key, retired
from controller.ports import Register

log = logging.getLogger(__name__)

MOST_KEYS = 100
"""Keys in one transaction; the store takes 128 operations by default, and its guards count."""

FAULTS = "fault/"


class Replica:
    """One leader's writes to the store, in order, each guarded by what it last knew of every key.

    `note` what a commit changed; `settle` before anything leaves; `trail` behind, for what nobody waits for.
    """

    def __init__(self, register: Register) -> None:
        self._register = register
        self._revisions: dict[str, int] = {}
        self._held: dict[str, str] = {}
        self._pending: dict[str, str | None] = {}
        self._trailing: dict[str, str | None] = {}
        self._writing = asyncio.Lock()

    @property
    def behind(self) -> int:
        """Aggregates the store does not have yet as they are."""
        return len(self._pending) + len(self._trailing)

    async def read(self) -> tuple[Aggregate, ...]:
        """Everything the store holds; forgets what was pending. Raises CoordinationError."""
        async with self._writing:
            records = await self._register.read()
            self._pending.clear()
            self._trailing.clear()
            self._revisions = {key: record.revision for key, record in records.items()}
            self._held = {key: record.value.decode("utf-8", "replace") for key, record in records.items()}
        aggregates: list[Aggregate] = []
        for key, record in sorted(records.items()):
            try:
                aggregate = decode_aggregate(record.value.decode())
            except (ValueError, KeyError, TypeError) as error:
                raise CoordinationError(f"{key} in the coordination store can't be read: {error}") from error
            if aggregate is not None:
                aggregates.append(aggregate)
        return tuple(aggregates)

    def note(self, facts: Iterable[Fact]) -> None:
        """What these facts changed is to be in the store; the last word on each key counts."""
        for fact in facts:
            for aggregate in fact.changed:
                key = aggregate_key(aggregate)
                held = self._held.get(key, "")
                text = None if retired(aggregate) else shared_aggregate(aggregate, held)
                waiting = self._trailing if key.startswith(FAULTS) else self._pending
                if key in waiting or held != (text or ""):
                    waiting[key] = text

    def forget(self) -> None:
        """This node no longer leads: what it wanted to write is void."""
        self._pending.clear()
        self._trailing.clear()

    async def settle(self) -> None:
        """Until the store has everything that is pending. Raises CoordinationConflict when another node leads or wrote,
        CoordinationUnknown when the store may have it all the same, else CoordinationError: then nothing may leave."""
        async with self._writing:
            while self._pending:
                await self._write(self._pending)

    async def trail(self) -> None:
        """As `settle`, and what follows behind as well."""
        async with self._writing:
            while self._pending or self._trailing:
                await self._write(self._pending or self._trailing)

    async def _write(self, waiting: dict[str, str | None]) -> None:
        keys: Sequence[str] = sorted(waiting)[:MOST_KEYS]
        texts = {key: waiting.pop(key) for key in keys}
        changes = {
            key: None if text is None else text.encode()
            for key, text in texts.items()
            if text is not None or key in self._revisions
        }
        if not changes:
            return
        expected = {key: self._revisions.get(key, 0) for key in changes}
        try:
            try:
                revision = await self._register.write(changes, expected)
            except CoordinationUnknown as error:
                revision = await self._read_back(changes, expected, error)
        except CoordinationError:
            for key, text in texts.items():
                waiting.setdefault(key, text)
            raise
        for key in changes:
            text = texts[key]
            if text is None:
                self._revisions.pop(key, None)
                self._held.pop(key, None)
            else:
                self._revisions[key] = revision
                self._held[key] = text

    async def _read_back(
        self, changes: dict[str, bytes | None], expected: dict[str, int], lost: CoordinationUnknown
    ) -> int:
        """The answer to a write was lost: it is looked at whether it took effect, and only if not it is made again."""
        try:
            found = await self._register.read()
        except CoordinationForeign:
            raise
        except CoordinationError as error:
            raise CoordinationUnknown(f"{lost}; nor can it be read back: {error}") from error
        applied = {
            key: (found[key].value if key in found else None) == value
            and (found[key].revision if key in found else 0) != expected[key]
            for key, value in changes.items()
        }
        if all(applied.values()):
            return max((found[key].revision for key in changes if key in found), default=0)
        return await self._register.write(changes, expected)
