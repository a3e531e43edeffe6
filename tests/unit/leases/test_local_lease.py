from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.leases.local import LocalLease
from controller.model.errors import StoreError

HOLDER = """
import asyncio, sys
from pathlib import Path
from controller.leases.local import LocalLease
lease = LocalLease(Path(sys.argv[1]))
print(asyncio.run(lease.acquire()) is not None, flush=True)
sys.stdin.read()
"""


async def test_a_process_that_dies_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "leader.lock"
    root = Path(__file__).parents[3]
    child = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    lease = LocalLease(path)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"True\n"
        assert await lease.acquire() is None
    finally:
        child.kill()
        child.communicate()
    assert await lease.acquire() is not None
    await lease.release()


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "removed"])
async def test_a_lock_file_that_is_gone_ends_the_lease(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "leader.lock"
    first, second = LocalLease(path), LocalLease(path)
    assert await first.acquire() is not None
    os.unlink(path)
    if replaced:
        assert await second.acquire() is not None
    assert await first.acquire() is None
    await first.release()
    await second.release()


async def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "leader.lock")
    with pytest.raises(StoreError, match="leader.lock"):
        await LocalLease(tmp_path / "leader.lock").acquire()
