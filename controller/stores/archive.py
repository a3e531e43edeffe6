"""Where journals are shipped: SQLite by default, PostgreSQL for several nodes. Read for reports, never for decisions."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    and_,
    func,
    insert,
    inspect,
    or_,
    select,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from controller.model.errors import ChainBroken, StoreError
from controller.model.facts import Entry

METADATA = MetaData()

ENTRIES = Table(
    "entries",
    METADATA,
    Column("node", String(255), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("wall", Double, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("incident", String(64), nullable=False),
    Column("drill", Boolean(create_constraint=False), nullable=False),
    Column("payload", Text, nullable=False),
    Column("payload_hash", String(64), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
)
"""As the newest revision in `migrations` leaves it."""

NEWEST = "0001"
"""The newest revision of the schema."""

UPGRADE = (sys.executable, "-m", "controller", "upgrade-archive")
UPGRADE_WITHIN = 120.0
"""Seconds."""

_LIMITS = {"asyncpg": {"timeout": 5.0, "command_timeout": 30.0}}
"""Seconds, by database driver: a database that is cut off must be noticed."""

_CHUNK = 500


class SqlArchive:
    """ports.Archive on a SQLAlchemy URL, for example "sqlite+aiosqlite:////var/lib/thirdring/archive.sqlite"."""

    def __init__(self, url: str) -> None:
        try:
            driver = make_url(url).get_driver_name()
            self._engine: AsyncEngine = create_async_engine(
                url, pool_pre_ping=True, connect_args=_LIMITS.get(driver, {})
            )
        except (ArgumentError, ImportError) as error:
            raise StoreError(f"archive: {error}") from error
        self._name = f"archive {self._engine.url.render_as_string(hide_password=True)}"

    async def open(self) -> None:
        """Bring the tables to this version's. Raises StoreError."""
        with self._mapped():
            async with self._engine.connect() as connection:
                if await connection.run_sync(_revision) == NEWEST:
                    return
            await self._upgrade()

    async def _upgrade(self) -> None:
        """By a process of its own, see `migration_main`. Raises StoreError, TimeoutError."""
        process = await asyncio.create_subprocess_exec(
            *UPGRADE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        url = self._engine.url.render_as_string(hide_password=False)
        try:
            async with asyncio.timeout(UPGRADE_WITHIN):
                _, complaint = await process.communicate(f"{url}\n".encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            reason = complaint.decode(errors="replace").strip() or f"ended with {process.returncode}"
            raise StoreError(f"{self._name}: its tables can't be brought to this version: {reason}")

    async def ship(self, entries: Sequence[Entry]) -> None:
        """In order and without gaps, for one node or several. What is there already is left as it is.

        Raises ChainBroken when an entry differs from the one archived under its sequence or leaves a gap, StoreError
        when the archive can't be reached; then none of `entries` was added.
        """
        by_node: dict[str, list[Entry]] = {}
        for entry in entries:
            by_node.setdefault(entry.node, []).append(entry)
        with self._mapped():
            async with self._engine.begin() as connection:
                for node, its in by_node.items():
                    its.sort(key=lambda entry: entry.sequence)
                    found = await connection.execute(
                        select(ENTRIES.c.sequence, ENTRIES.c.digest).where(
                            ENTRIES.c.node == node,
                            ENTRIES.c.sequence.between(its[0].sequence - 1, its[-1].sequence),
                        )
                    )
                    archived = {row.sequence: row.digest for row in found}
                    missing = self._missing(its, archived)
                    for start in range(0, len(missing), _CHUNK):
                        rows = [entry._asdict() for entry in missing[start : start + _CHUNK]]
                        await connection.execute(insert(ENTRIES), rows)

    def _missing(self, entries: Sequence[Entry], archived: dict[int, str]) -> list[Entry]:
        missing: list[Entry] = []
        for entry in entries:
            before = archived.get(entry.sequence - 1)
            if entry.sequence > 1 and before is None:
                raise ChainBroken(
                    f"{self._name}: node {entry.node!r}: sequence {entry.sequence} would leave a gap"
                )
            if before is not None and before != entry.previous:
                raise ChainBroken(
                    f"{self._name}: node {entry.node!r}: sequence {entry.sequence} does not follow what is archived"
                )
            there = archived.get(entry.sequence)
            if there is None:
                missing.append(entry)
                archived[entry.sequence] = entry.digest
            elif there != entry.digest:
                raise ChainBroken(
                    f"{self._name}: node {entry.node!r}: another sequence {entry.sequence} is archived"
                )
        return missing

    async def last_sequence(self, node: str) -> int:
        """0 when nothing of this node is archived."""
        with self._mapped():
            async with self._engine.connect() as connection:
                found = await connection.execute(
                    select(func.max(ENTRIES.c.sequence)).where(ENTRIES.c.node == node)
                )
                return found.scalar() or 0

    async def entries(
        self, *, incident: str = "", after_wall: float = 0.0, limit: int = 10000
    ) -> AsyncIterator[Entry]:
        """Of all nodes, by wall time, node and sequence; strictly after `after_wall`."""
        c = ENTRIES.c
        position: tuple[float, str, int] | None = None
        while limit > 0:
            size = min(limit, _CHUNK)
            query = select(ENTRIES).order_by(c.wall, c.node, c.sequence).limit(size)
            if incident:
                query = query.where(c.incident == incident)
            if position is None:
                query = query.where(c.wall > after_wall)
            else:
                wall, node, sequence = position
                query = query.where(
                    or_(
                        c.wall > wall,
                        and_(c.wall == wall, c.node > node),
                        and_(c.wall == wall, c.node == node, c.sequence > sequence),
                    )
                )
            with self._mapped():
                async with self._engine.connect() as connection:
                    rows = (await connection.execute(query)).mappings().all()
            for row in rows:
                yield _entry(row)
            if len(rows) < size:
                return
            last = rows[-1]
            position, limit = (last["wall"], last["node"], last["sequence"]), limit - len(rows)

    async def close(self) -> None:
        await self._engine.dispose()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            reason = str(getattr(error, "orig", None) or error)
            raise StoreError(f"{self._name}: {reason}") from error


def _revision(connection: Connection) -> str | None:
    """Of the tables as they are; None of an archive that is empty or from before there were revisions."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _entry(row: RowMapping) -> Entry:
    named: dict[str, Any] = dict(row)
    return Entry(**named)
