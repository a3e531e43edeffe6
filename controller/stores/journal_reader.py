"""Reading a journal without holding it: for the timeline, for verification, and for a journal whose controller is down."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from controller.model.chain import Head, beginning, broken_links, head_of
from controller.model.errors import StoreError
from controller.model.facts import Entry
from controller.stores import journal_file

_T = TypeVar("_T")
_P = ParamSpec("_P")

_CHUNK = 500


class JournalReader:
    """One read-only connection on a thread of its own. It sees what is committed and never blocks the writer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal-reader")

    async def open(self) -> None:
        """Raises StoreError when there is no journal to read."""
        if not self._path.exists():
            raise StoreError(f"{self._path}: no such journal")
        self._connection = await self._on_thread(journal_file.connect, self._path, read_only=True)

    async def entries(self, *, after: int = 0, incident: str = "", limit: int = 1000) -> AsyncIterator[Entry]:
        """Oldest first; at most `limit`."""
        connection = self._open_connection()
        while limit > 0:
            size = min(limit, _CHUNK)
            chunk = await self._on_thread(
                journal_file.read_entries, connection, after=after, incident=incident, limit=size
            )
            for entry in chunk:
                yield entry
            if len(chunk) < size:
                return
            after, limit = chunk[-1].sequence, limit - len(chunk)

    async def before_newest(self, count: int, *, incident: str = "") -> int:
        """The sequence after which the newest `count` entries (of that incident) come; 0 when there are no more."""
        connection = self._open_connection()
        return await self._on_thread(journal_file.before_newest, connection, count, incident=incident)

    async def head(self) -> Head | None:
        """The newest entry; None when there is none."""
        connection = self._open_connection()
        return await self._on_thread(journal_file.read_head, connection)

    async def verify(self, anchors: Sequence[Head] = ()) -> list[str]:
        """Every violation, as sentences: the whole chain, the stored head, and heads written down elsewhere.

        Cost is linear in the journal; at most one chunk is in memory.
        """
        connection = self._open_connection()
        stored = await self.head()
        problems: list[str] = []
        expected = {anchor.sequence: anchor.digest for anchor in anchors if anchor.sequence > 0}
        last: Head | None = None
        while True:
            before = last
            after = 0 if before is None else before.sequence
            try:
                chunk = await self._on_thread(
                    journal_file.read_entries, connection, after=after, limit=_CHUNK
                )
            except StoreError as error:
                return [*problems, f"after sequence {after}: {error}"]
            if not chunk:
                break
            first = before if before is not None else beginning(chunk[0].node)
            problems += await self._on_thread(broken_links, chunk, first)
            for entry in chunk:
                digest = expected.pop(entry.sequence, entry.digest)
                if digest != entry.digest:
                    problems.append(f"sequence {entry.sequence}: it was another entry when it was anchored")
            last = head_of(chunk[-1])
        problems += [
            f"sequence {sequence}: it was anchored, and the journal ends before it" for sequence in expected
        ]
        if stored is not None and (last is None or last.sequence < stored.sequence):
            problems.append(f"the journal ends before its head, sequence {stored.sequence}")
        return problems

    async def export(self, target: Path) -> Head | None:
        """Write every entry as JSON lines, and the head as the last line; the file appears whole or not at all.

        Raises StoreError when the journal can't be read, OSError when `target` can't be written.
        """
        return await self._on_thread(self._export, self._open_connection(), target)

    def _export(self, connection: sqlite3.Connection, target: Path) -> Head | None:
        partial = target.with_name(target.name + ".part")
        head: Head | None = None
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            while chunk := journal_file.read_entries(
                connection, after=0 if head is None else head.sequence, limit=_CHUNK
            ):
                for entry in chunk:
                    stream.write(json.dumps(entry._asdict(), ensure_ascii=False) + "\n")
                head = head_of(chunk[-1])
            stream.write(json.dumps({"head": None if head is None else head._asdict()}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
        return head

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await self._on_thread(connection.close)
        self._thread.shutdown(wait=False)

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self._path}: the journal is not open")
        return self._connection

    async def _on_thread(self, work: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        def guarded() -> _T:
            with journal_file.mapped(self._path):
                return work(*arguments, **named)

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)
