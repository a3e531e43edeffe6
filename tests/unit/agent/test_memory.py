"""What an agent must not forget is on the disk before it is acted on, and only one agent has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.agent.memory import AnotherAgent, Memory, Remembered
from controller.model.errors import StoreError


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """The lock is of the network namespace, and so of all tests of this machine."""
    import fcntl

    with open("/tmp/thirdring-agent-memory.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


async def test_what_was_remembered_is_there_again_and_an_epoch_never_goes_down(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.open()
    await memory.remember("calls", epoch=7, held=True)
    await memory.remember("calls", epoch=3, stopped=True)
    await memory.pin("1234")
    memory.close()
    again = Memory(tmp_path)
    again.open()
    assert again.of("calls") == Remembered(epoch=7, held=True, stopped=True)
    assert again.of("other") == Remembered() and again.store == "1234"
    again.close()


async def test_it_is_synced_before_it_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(tmp_path)
    memory.open()
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(memory.of("calls").epoch), real(fd))[1])
    await memory.remember("calls", epoch=7)
    assert synced == [0, 0], "the file and its directory, before anybody could act on it"
    await memory.remember("calls", epoch=7)
    assert len(synced) == 2, "what has not changed is not written"
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(StoreError, match="no space"):
        await memory.remember("calls", epoch=8)
    assert memory.of("calls").epoch == 7
    memory.close()


async def test_fields_of_a_newer_agent_are_kept_and_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "cluster": "",
                "colour": "red",
                "groups": {"calls": {"epoch": 4, "held": False, "stopped": False}},
            }
        )
    )
    memory = Memory(tmp_path)
    memory.open()
    await memory.remember("calls", epoch=5)
    memory.close()
    assert json.loads(path.read_text())["colour"] == "red"
    for text in ("{", "[]", '{"version": 1}', '{"version": 9, "cluster": "", "groups": {}}'):
        path.write_text(text)
        broken = Memory(tmp_path)
        with pytest.raises(StoreError):
            broken.open()
        broken.close()


def test_a_second_agent_is_refused_in_any_directory_and_a_dead_one_is_not_missed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from controller.agent.memory import Memory\n"
        "memory = Memory(Path(sys.argv[1])); memory.open(); print('open', flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[3]
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "one")], stdout=subprocess.PIPE, cwd=root
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == b"open\n"
        for directory in ("one", "two"):
            memory = Memory(tmp_path / directory)
            with pytest.raises(AnotherAgent):
                memory.open()
            memory.close()
    finally:
        child.kill()
        child.wait()
    memory = Memory(tmp_path / "one")
    memory.open()
    memory.close()
