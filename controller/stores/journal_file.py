"""The file behind the journal: its schema, its pragmas, its rows, and what SQLite's errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from controller.model.chain import Head, Linked
from controller.model.errors import ChainBroken, StoreError, StoreFull
from controller.model.facts import Entry

SCHEMA_VERSION = 1
PAGE_SIZE = 4096

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
  sequence INTEGER PRIMARY KEY,
  node TEXT NOT NULL,
  wall REAL NOT NULL,
  kind TEXT NOT NULL,
  incident TEXT NOT NULL,
  drill INTEGER NOT NULL,
  payload TEXT NOT NULL,
  payload_hash TEXT NOT NULL,
  previous TEXT NOT NULL,
  digest TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS entries_by_incident ON entries (incident, sequence) WHERE incident <> '';
CREATE TABLE IF NOT EXISTS aggregates (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS head (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  node TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  digest TEXT NOT NULL
) STRICT;
"""

_ROWS = 50
"""In one statement."""

_COLUMNS = "sequence, node, wall, kind, incident, drill, payload, payload_hash, previous, digest"


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to a file that exists, in autocommit: transactions are begun by name. Raises StoreError.

    synchronous=FULL makes every commit durable in WAL mode; a reader never blocks the writer.
    """
    with mapped(path):
        connection = sqlite3.connect(
            f"file:{path.absolute().as_posix().replace('?', '%3f').replace('#', '%23')}?mode={'ro' if read_only else 'rw'}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=5.0,
        )
        try:
            if read_only:
                connection.execute("PRAGMA query_only=1")
            else:
                connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                # Checkpoints are made by the writer when it has nothing else to do, not inside a commit.
                connection.execute("PRAGMA wal_autocheckpoint=0")
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version > SCHEMA_VERSION:
                    raise StoreError(f"{path}: written by a newer version (schema {version})")
                connection.executescript(_SCHEMA)
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, each naming the file."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None) or 0
        match code & 0xFF:
            case sqlite3.SQLITE_FULL:
                raise StoreFull(f"{path}: no room left to record") from error
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                raise ChainBroken(f"{path}: the file is damaged ({error})") from error
            case _:
                raise StoreError(f"{path}: {error}") from error


def append(connection: sqlite3.Connection, linked: Sequence[Linked]) -> None:
    """Entries, the aggregates they changed, and the head, in the transaction that is open."""
    live: dict[str, tuple[str, str, int]] = {}
    gone: set[str] = set()
    for entry, encoded in linked:
        for key, text, retired in encoded.aggregates:
            if retired:
                live.pop(key, None)
                gone.add(key)
            else:
                gone.discard(key)
                live[key] = (key, text, entry.sequence)
    for entries in _parts([entry for entry, _ in linked]):
        connection.execute(f"INSERT INTO entries ({_COLUMNS}) VALUES {_marks(entries)}", _flat(entries))
    for keys in _parts([(key,) for key in gone]):
        connection.execute(f"DELETE FROM aggregates WHERE (key) IN (VALUES {_marks(keys)})", _flat(keys))
    for rows in _parts(list(live.values())):
        connection.execute(
            f"INSERT INTO aggregates (key, value, sequence) VALUES {_marks(rows)}"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value, sequence = excluded.sequence",
            _flat(rows),
        )
    newest = linked[-1].entry
    connection.execute(
        "INSERT INTO head (id, node, sequence, digest) VALUES (1,?,?,?)"
        " ON CONFLICT (id) DO UPDATE SET node = excluded.node, sequence = excluded.sequence, digest = excluded.digest",
        (newest.node, newest.sequence, newest.digest),
    )


Row = tuple[object, ...]


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """As many rows as go into one statement: for each statement the interpreter is let go and waited for anew, which the
    loop's thread, when it is busy, makes the better part of a commit."""
    for start in range(0, len(rows), _ROWS):
        yield rows[start : start + _ROWS]


def _marks(rows: Sequence[Row]) -> str:
    return ",".join([f"({','.join('?' * len(rows[0]))})"] * len(rows))


def _flat(rows: Sequence[Row]) -> list[object]:
    return [value for row in rows for value in row]


def read_head(connection: sqlite3.Connection) -> Head | None:
    row = connection.execute("SELECT node, sequence, digest FROM head").fetchone()
    return None if row is None else Head(*row)


def read_entries(
    connection: sqlite3.Connection, *, after: int = 0, incident: str = "", limit: int = 1000
) -> list[Entry]:
    """Oldest first."""
    if incident:
        found = connection.execute(
            f"SELECT {_COLUMNS} FROM entries WHERE incident = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            (incident, after, limit),
        )
    else:
        found = connection.execute(
            f"SELECT {_COLUMNS} FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit)
        )
    return [_entry(row) for row in found]


def before_newest(connection: sqlite3.Connection, count: int, *, incident: str = "") -> int:
    """The sequence of the newest entry that is not among the newest `count`; 0 when there is none."""
    condition, values = (" WHERE incident = ?", (incident,)) if incident else ("", ())
    row = connection.execute(
        f"SELECT sequence FROM entries{condition} ORDER BY sequence DESC LIMIT 1 OFFSET ?", (*values, count)
    ).fetchone()
    return 0 if row is None else int(row[0])


def read_newest(connection: sqlite3.Connection, count: int) -> list[Entry]:
    """The newest `count` entries, oldest first."""
    found = connection.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY sequence DESC LIMIT ?", (count,))
    return [_entry(row) for row in found][::-1]


def read_aggregates(connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """(key, value, sequence of the entry that set it)."""
    return connection.execute("SELECT key, value, sequence FROM aggregates ORDER BY key").fetchall()


def _entry(row: tuple[int, str, float, str, str, int, str, str, str, str]) -> Entry:
    sequence, node, wall, kind, incident, drill, payload, payload_hash, previous, digest = row
    return Entry(
        sequence=sequence,
        node=node,
        wall=wall,
        kind=kind,
        incident=incident,
        drill=bool(drill),
        payload=payload,
        payload_hash=payload_hash,
        previous=previous,
        digest=digest,
    )
