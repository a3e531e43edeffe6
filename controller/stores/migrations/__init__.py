"""The archive's schema, step by step (Alembic). `upgrade` brings an archive of any age to the newest.

Only ever add a revision, and only ever one that the version before this one can still write to: during an upgrade of
the controllers both ship into the same archive.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

FIRST = "0001"

LOCK = 0x7468_7269
"""PostgreSQL's advisory lock while the schema is looked at: several nodes start at the same time."""


def upgrade(connection: Connection) -> None:
    """In the transaction of `connection`. An archive from before there were revisions is taken for the first one; one
    that is newer than this version is left as it is."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    current = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    if current is None and inspect(connection).has_table("entries"):
        command.stamp(config, FIRST)
        current = FIRST
    if current is None or (current in known and current != scripts.get_current_head()):
        command.upgrade(config, "head")
