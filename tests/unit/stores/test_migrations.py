"""The archive's schema and the process that brings it up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from controller.model.errors import StoreError
from controller.stores import migrations
from controller.stores.archive import NEWEST, SqlArchive

ROOT = Path(__file__).parents[3]


def test_the_archive_knows_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST


def test_a_controllers_process_never_loads_what_migrates(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from controller.stores.archive import SqlArchive\n"
        f"archive = SqlArchive('sqlite+aiosqlite:///{tmp_path / 'archive.db'}')\n"
        "async def main():\n"
        "    await archive.open()\n"
        "    assert await archive.last_sequence('a') == 0\n"
        "    await archive.close()\n"
        "asyncio.run(main())\n"
        "assert not {'alembic', 'mako'} & set(sys.modules), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


async def test_what_can_not_be_brought_up_to_date_is_said(tmp_path: Path) -> None:
    file = tmp_path / "archive.db"
    archive = SqlArchive(f"sqlite+aiosqlite:///{file}")
    file.write_bytes(b"no database at all, " * 500)
    with pytest.raises(StoreError, match="not a database"):
        await archive.open()
    file.write_bytes(b"")
    file.with_name("archive.db-journal").mkdir()  # nothing can be written
    with pytest.raises(StoreError, match="can't be brought to this version"):
        await archive.open()
    file.with_name("archive.db-journal").rmdir()
    await archive.open()
    assert await archive.last_sequence("a") == 0
    await archive.close()
