"""What an agent must not forget is on the disk before it is acted on, and only one agent has it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.agent.alone import Alone
from controller.agent.memory import AnotherAgent, Memory, Remembered
from controller.model.errors import StoreError


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


HOLDER = """
import sys, time
from pathlib import Path
from controller.agent.alone import Alone
from controller.agent.alone import Alone
from controller.agent.memory import Memory
if len(sys.argv) > 1:
    mine = Memory(Path(sys.argv[1]))
    mine.open()
else:
    mine = Alone()
    mine.take()
print("open", flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def another(*arguments: str) -> Iterator[None]:
    """A process that has it, and is killed in the end."""
    root = Path(__file__).parents[3]
    child = subprocess.Popen([sys.executable, "-c", HOLDER, *arguments], stdout=subprocess.PIPE, cwd=root)
    try:
        assert child.stdout is not None and child.stdout.readline() == b"open\n"
        yield
    finally:
        child.kill()
        child.communicate()


def test_a_second_agent_of_a_directory_is_refused_and_a_dead_one_is_not_missed(tmp_path: Path) -> None:
    with another(str(tmp_path)):
        memory = Memory(tmp_path)
        with pytest.raises(AnotherAgent):
            memory.open()
        memory.close()
    memory = Memory(tmp_path)
    memory.open()
    memory.close()


def test_a_second_agent_of_a_network_namespace_is_refused_and_a_dead_one_is_not_missed() -> None:
    # The place is of the network namespace, and so of all tests of this machine: one at a time.
    with open("/tmp/thirdring-agent-memory.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        alone = Alone()
        with another(), pytest.raises(AnotherAgent):
            alone.take()
        alone.give_up()
        alone.take()
        with pytest.raises(AnotherAgent):
            Alone().take()
        alone.give_up()
