"""The node's own journal: SQLite, one writer thread, group commit.

Facts and intents are here, on the disk, before any command leaves. Several `record` calls that wait at the same time
share one transaction and one fsync, in the order they were made.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

from controller.model.chain import Head, Linked, beginning, head_of, link
from controller.model.errors import ChainBroken, StoreError, StoreFull
from controller.model.facts import Entry, Fact
from controller.ports import Recovered
from controller.stores import journal_file
from controller.stores.anchor import Anchor
from controller.stores.journal_reader import JournalReader
from controller.stores.journal_recovery import live_aggregates, newest

_log = logging.getLogger(__name__)

_IDLE_CHECKPOINT = 1.0  # seconds without a commit before the write-ahead log is folded into the file
_LARGEST_LOG = 16 * 1024 * 1024  # bytes of payload after which it is folded in busy times too


class _Request(NamedTuple):
    facts: Sequence[Fact]
    answer: asyncio.Future[Sequence[Entry]]
    loop: asyncio.AbstractEventLoop


class SqliteJournal:
    """ports.Journal on one file (with `-wal` and `-shm` beside it, `.lock` and `.head`).

    `tail` newest entries are verified at start. `size_limit` in bytes caps the file (0: the disk is the limit).
    A process killed at any moment loses nothing that `record` returned; neither does a power cut, if the disk
    keeps what fsync said. After a failed write nothing is acknowledged until the file was opened again and found to
    end where we hold that it ends; where it doesn't, `record` raises ChainBroken from then on.
    """

    def __init__(self, path: Path, node: str, *, tail: int = 1000, size_limit: int = 0) -> None:
        self._path = path
        self._node = node
        self._tail = tail
        self._size_limit = size_limit
        self._head = beginning(node)
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._reader = JournalReader(path)
        self._lock: int | None = None
        self._anchor: Anchor | None = None
        self._failure: StoreError | None = None
        self._file: tuple[int, int] | None = None  # which one we opened
        self._log_file: tuple[int, int] | None = None
        self._unfolded = 0  # bytes of payload since the last checkpoint

    @property
    def head(self) -> Head:
        """The newest durable entry: what reports, pages and other nodes keep as an anchor."""
        return self._head

    @property
    def reader(self) -> JournalReader:
        return self._reader

    async def open(self) -> Recovered:
        recovered = await asyncio.to_thread(self._open)
        try:
            await self._reader.open()
        except BaseException:
            self._release()
            raise
        self._writer = threading.Thread(target=self._write, name="journal-writer", daemon=True)
        self._writer.start()
        return recovered

    async def record(self, facts: Sequence[Fact]) -> Sequence[Entry]:
        """A caller that is cancelled while it waits can't tell whether its facts were recorded."""
        if self._writer is None:
            raise StoreError(f"{self._path}: the journal is not open")
        if not facts:
            return ()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Entry]] = loop.create_future()
        self._requests.put(_Request(facts, answer, loop))
        return await answer

    def entries(self, *, after: int = 0, incident: str = "", limit: int = 1000) -> AsyncIterator[Entry]:
        return self._reader.entries(after=after, incident=incident, limit=limit)

    async def before_newest(self, count: int, *, incident: str = "") -> int:
        return await self._reader.before_newest(count, incident=incident)

    async def verify(self) -> Sequence[str]:
        return await self._reader.verify(anchors=(self._head,))

    async def close(self) -> None:
        """Writes what waits, then lets go of the file. Safe to call twice."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._requests.put(None)
            await asyncio.to_thread(writer.join)
        await self._reader.close()
        self._release()

    # Opening: on a worker thread.

    def _open(self) -> Recovered:
        try:
            self._take_lock()
            self._make_file()
            self._connection = connection = self._connect()
            with journal_file.mapped(self._path):
                self._head = self._newest(connection)
                self._anchor = Anchor(self._path)
                self._anchor.check(connection, self._head)
                return Recovered(
                    live_aggregates(connection, self._path), self._head.sequence, self._head.digest
                )
        except BaseException:
            self._release()
            raise

    def _take_lock(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        path = self._path.with_name(self._path.name + ".lock")
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise StoreError(
                f"{self._path}: another controller (process {holder}) has this journal open"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _make_file(self) -> None:
        """Readable by its owner only: payloads name people. The directory entry is made durable."""
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error
        else:
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        self._file = _identity(self._path)

    def _connect(self) -> sqlite3.Connection:
        connection = journal_file.connect(self._path)
        self._log_file = _identity(self._log_path)
        if self._size_limit:
            connection.execute(f"PRAGMA max_page_count={self._size_limit // journal_file.PAGE_SIZE}")
        return connection

    def _newest(self, connection: sqlite3.Connection) -> Head:
        return newest(connection, self._path, self._node, self._tail) or beginning(self._node)

    @property
    def _log_path(self) -> Path:
        """SQLite's write-ahead log: what is not folded into the file yet."""
        return self._path.with_name(self._path.name + "-wal")

    # Writing: on the writer thread.

    def _write(self) -> None:
        while True:
            try:
                waiting = [self._requests.get(timeout=_IDLE_CHECKPOINT if self._unfolded else None)]
            except queue.Empty:
                self._checkpoint()
                continue
            try:
                while True:
                    waiting.append(self._requests.get_nowait())
            except queue.Empty:
                pass
            requests = [request for request in waiting if request is not None]
            if requests:
                self._commit(requests)
            if len(requests) < len(waiting):
                self._checkpoint()
                return
            if self._unfolded > _LARGEST_LOG:
                self._checkpoint()

    def _commit(self, requests: list[_Request]) -> None:
        head, linked = self._head, list[Linked]()
        answers: list[tuple[_Request, Sequence[Entry] | StoreError]] = []
        for request in requests:
            try:
                part = link(request.facts, head)
            except (TypeError, ValueError, RecursionError) as error:
                answers.append((request, StoreError(f"{self._path}: a fact can't be written: {error}")))
                continue
            answers.append((request, [entry for entry, _ in part]))
            linked += part
            head = head_of(part[-1].entry)
        if linked:
            try:
                self._transact(linked)
            except StoreError as error:
                answers = [(request, error) for request, _ in answers]
            except Exception as error:
                # The thread must outlive a defect of its own, or every later caller would wait for ever.
                _log.exception("commit failed", extra={"action": "journal.defect"})
                self._failure = StoreError(f"{self._path}: {error!r}")
                answers = [(request, self._failure) for request, _ in answers]
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Request, Sequence[Entry] | StoreError]]] = {}
        for answered in answers:
            by_loop.setdefault(answered[0].loop, []).append(answered)
        for loop, its in by_loop.items():
            try:
                loop.call_soon_threadsafe(_resolve, its)
            except (
                RuntimeError
            ):  # the loop is closed: nobody waits any more, and what is recorded is recorded
                _log.warning("nobody waits for a commit", extra={"action": "journal.abandoned"})

    def _transact(self, linked: Sequence[Linked]) -> None:
        """Raises StoreFull or StoreError when nothing was recorded, ChainBroken when that can't be said any more."""
        if isinstance(self._failure, ChainBroken):
            raise self._failure
        try:
            if self._failure is not None:
                self._reopen()
            connection = self._connection
            assert connection is not None
            self._check_place()
            with journal_file.mapped(self._path):
                connection.execute("BEGIN IMMEDIATE")
                try:
                    journal_file.append(connection, linked)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            self._check_place()
        except StoreFull:
            raise
        except ChainBroken as error:
            self._failure = error
            raise
        except StoreError as error:
            # After a failed write or fsync nobody knows what is on the disk (the kernel may have dropped the dirty
            # pages and will say so only once): going on could acknowledge what is lost.
            self._failure = StoreError(f"{error}; the journal takes nothing until it could be opened again")
            raise self._failure from error
        self._head = head_of(linked[-1].entry)
        self._unfolded += sum(len(entry.payload) for entry, _ in linked)
        assert self._anchor is not None
        self._anchor.write(self._head)

    def _reopen(self) -> None:
        """Go on after a failure, if the file ends where we hold that it ends. Everything acknowledged is written into the
        file and synced anew first: what a disk took before it failed is then on it whatever became of its log.

        Raises ChainBroken when the file is not what we hold: what was decided meanwhile was decided on another past, so
        the process must end and recover from what is there. Raises StoreError while the disk still fails.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        _require(self._path, self._file)
        self._connection = connection = self._connect()
        with journal_file.mapped(self._path):
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise StoreError(f"{self._path}: a reader holds its log")
            found = self._newest(connection)
        if found != self._head:
            raise ChainBroken(
                f"{self._path}: after a failure it ends at sequence {found.sequence}, not at {self._head.sequence}"
            )
        _log.warning(
            "opened again after: %s",
            self._failure,
            extra={"action": "journal.reopened", "sequence": found.sequence},
        )
        self._failure = None

    def _check_place(self) -> None:
        """SQLite goes on writing to a file that was removed or replaced: every entry would be gone with the process.

        Raises ChainBroken for that, StoreError when the place can't be looked at.
        """
        _require(self._path, self._file)
        _require(self._log_path, self._log_file)

    def _checkpoint(self) -> None:
        """Fold the write-ahead log into the file; a failure leaves it in the log, which is as good."""
        self._unfolded = 0
        if self._connection is None:  # it could not be opened again
            return
        try:
            with journal_file.mapped(self._path):
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except StoreError as error:
            _log.warning("checkpoint failed: %s", error, extra={"action": "journal.checkpoint"})

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        anchor, self._anchor = self._anchor, None
        if anchor is not None:
            anchor.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _require(path: Path, opened: tuple[int, int] | None) -> None:
    if _identity(path) != opened:
        raise ChainBroken(f"{path}: the file was removed or replaced while it was in use")


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode; None when there is no such file. Raises StoreError."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    return found.st_dev, found.st_ino


def _resolve(answers: list[tuple[_Request, Sequence[Entry] | StoreError]]) -> None:
    for request, answer in answers:
        if request.answer.done():  # cancelled
            continue
        if isinstance(answer, StoreError):
            request.answer.set_exception(answer)
        else:
            request.answer.set_result(answer)
