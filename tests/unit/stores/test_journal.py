"""What only a journal on a disk can suffer: kills, full disks, damaged files."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller.model.chain import Head
from controller.model.errors import ChainBroken, StoreError, StoreFull
from controller.model.groups import Hold
from controller.stores.journal import SqliteJournal
from controller.stores.journal_reader import JournalReader
from tests.builders.journals import note

ROOT = Path(__file__).parents[3]
RECORDER = Path(__file__).with_name("recorder.py")
HOLD = Hold(scope="*", by="li", reason="night work", since_wall=1.0, until_wall=2.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


async def filled(path: Path, count: int = 10) -> list[str]:
    """A closed journal of `count` entries; their digests."""
    journal = SqliteJournal(path, "here")
    await journal.open()
    entries = await journal.record([note(str(n)) for n in range(count)])
    await journal.close()
    return [entry.digest for entry in entries]


def tamper(path: Path, statement: str, *arguments: object) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement, arguments)
    connection.close()


def test_a_killed_process_loses_nothing_it_acknowledged(path: Path) -> None:
    chooser = random.Random(7)
    acknowledged: dict[int, str] = {}
    newest = 0
    for _ in range(20):
        child = subprocess.Popen(
            [sys.executable, str(RECORDER), str(path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert child.stdout is not None
        opened, last, live = child.stdout.readline().split()
        assert opened == "open"
        assert int(last) >= newest
        assert int(live) == min(50, int(last))
        for _ in range(chooser.randrange(1, 40)):
            child.stdout.readline()
            # The rest of what it printed before it died is read after the kill.
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        child.wait()
        for line in rest.splitlines(keepends=True):
            if line.endswith("\n"):
                _, sequence, digest = line.split()
                acknowledged[int(sequence)] = digest
                newest = max(newest, int(sequence))

    async def check() -> None:
        journal = SqliteJournal(path, "here", tail=10**9)
        recovered = await journal.open()
        assert recovered.last_sequence >= newest > 0
        assert await journal.verify() == []
        found = {entry.sequence: entry async for entry in journal.entries(limit=10**9)}
        assert sorted(found) == list(range(1, recovered.last_sequence + 1))
        assert {sequence: found[sequence].digest for sequence in acknowledged} == acknowledged
        # Live state and entries were written together: the last entry of each scope is what is live.
        expected = {f"scope-{n % 50}": str(n) for n in range(1, recovered.last_sequence + 1)}
        assert {hold.scope: hold.reason for hold in recovered.aggregates} == expected  # type: ignore[union-attr]
        await journal.close()

    asyncio.run(check())


def test_another_process_is_refused_and_told_who_holds_it(path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, str(RECORDER), str(path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert child.stdout is not None
        assert [child.stdout.readline().split()[0] for _ in range(2)] == [b"open", b"ack"]
        with pytest.raises(StoreError, match=rf"another controller \(process {child.pid}\)"):
            asyncio.run(SqliteJournal(path, "here").open())
    finally:
        child.kill()
        child.communicate()

    async def reopen() -> int:
        journal = SqliteJournal(path, "here")
        last = (await journal.open()).last_sequence
        await journal.close()
        return last

    assert asyncio.run(reopen()) > 0


async def test_several_waiting_callers_share_one_transaction(path: Path) -> None:
    journal = SqliteJournal(path, "here")
    await journal.open()
    await journal.record([note()])
    watcher = sqlite3.connect(path)
    before = watcher.execute("PRAGMA data_version").fetchone()[0]
    # While the writer is held by another transaction, callers pile up behind it.
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    first = asyncio.create_task(journal.record([note("first")]))
    await asyncio.sleep(0)
    rest = [asyncio.create_task(journal.record([note(str(n))])) for n in range(50)]
    await asyncio.sleep(0)
    blocker.execute("ROLLBACK")
    blocker.close()
    await asyncio.gather(first, *rest)
    log_frames = path.with_name(path.name + "-wal").stat().st_size // 4120
    assert watcher.execute("PRAGMA data_version").fetchone()[0] != before
    assert journal.head.sequence == 52
    # 51 transactions would have written at least three pages each.
    assert log_frames < 60
    watcher.close()
    await journal.close()


async def test_a_full_disk_records_nothing_and_recording_goes_on_when_there_is_room(path: Path) -> None:
    journal = SqliteJournal(path, "here", size_limit=120_000)
    await journal.open()
    recorded = 0
    with pytest.raises(StoreFull, match=str(path)):
        for n in range(1000):
            await journal.record([note("x" * 500), dataclasses.replace(note(str(n)), changed=(HOLD,))])
            recorded += 2
    assert journal.head.sequence == recorded
    assert await journal.verify() == []
    with pytest.raises(StoreFull):
        await journal.record([note("y" * 100_000)])
    await journal.close()
    journal = SqliteJournal(path, "here")
    assert (await journal.open()).last_sequence == recorded
    assert (await journal.record([note("z" * 100_000)]))[0].sequence == recorded + 1
    await journal.close()


@pytest.mark.skipif(
    subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode
    if shutil.which("unshare")
    else True,
    reason="needs root for a file system of its own",
)
def test_a_file_system_without_room(tmp_path: Path) -> None:
    script = tmp_path / "fill.py"
    script.write_text(
        """
import asyncio, os
from pathlib import Path
from controller.model.errors import StoreFull
from controller.stores.journal import SqliteJournal
from tests.builders.journals import note

async def main():
    path = Path("/mnt/journal.sqlite")
    journal = SqliteJournal(path, "here")
    await journal.open()
    count = 0
    filler = Path("/mnt/filler")
    filler.write_bytes(bytes(700_000))
    try:
        while True:
            await journal.record([note("x" * 2000)])
            count += 1
    except StoreFull as error:
        print(error)
    assert journal.head.sequence == count > 0
    filler.unlink()
    assert (await journal.record([note()]))[0].sequence == count + 1
    assert await journal.verify() == []
    await journal.close()

asyncio.run(main())
"""
    )
    ran = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            'mount -t tmpfs -o size=1m tmpfs /mnt && exec "$0" "$1"',
            sys.executable,
            str(script),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr
    assert "no room left" in ran.stdout


async def test_a_fact_that_cannot_be_written_fails_alone(path: Path) -> None:
    journal = SqliteJournal(path, "here")
    await journal.open()
    unwritable = dataclasses.replace(note(), data=(("x", object()),))  # type: ignore[arg-type]
    good, bad = await asyncio.gather(
        journal.record([note()]), journal.record([unwritable]), return_exceptions=True
    )
    assert isinstance(bad, StoreError)
    assert not isinstance(good, BaseException)
    assert (await journal.record([note()]))[0].sequence == 2
    await journal.close()


async def test_a_changed_payload_is_found_at_start_and_by_verify(path: Path) -> None:
    await filled(path)
    tamper(path, "UPDATE entries SET payload = replace(payload, '\"4\"', '\"9\"') WHERE sequence = 5")
    with pytest.raises(ChainBroken, match=rf"{path}: sequence 5: its payload"):
        await SqliteJournal(path, "here").open()
    reader = JournalReader(path)
    await reader.open()
    assert await reader.verify() == ["sequence 5: its payload does not match its hash"]
    await reader.close()


@pytest.mark.parametrize(
    "column, value", [("wall", 1.0), ("kind", "note2"), ("incident", "INC-0009"), ("drill", 1), ("node", "b")]
)
async def test_a_changed_header_is_found(path: Path, column: str, value: object) -> None:
    await filled(path)
    tamper(path, f"UPDATE entries SET {column} = ? WHERE sequence = 3", value)
    with pytest.raises(ChainBroken, match="sequence 3: its header"):
        await SqliteJournal(path, "here").open()


async def test_a_removed_entry_is_found(path: Path) -> None:
    await filled(path)
    tamper(path, "DELETE FROM entries WHERE sequence = 6")
    with pytest.raises(ChainBroken, match="sequence 7: comes after 5"):
        await SqliteJournal(path, "here").open()


async def test_damage_older_than_the_tail_is_left_to_verify(path: Path) -> None:
    await filled(path, 50)
    tamper(path, "UPDATE entries SET payload = 'x' WHERE sequence = 5")
    journal = SqliteJournal(path, "here", tail=20)
    await journal.open()
    assert await journal.verify() == ["sequence 5: its payload does not match its hash"]
    await journal.close()


async def test_an_erased_payload_does_not_break_the_chain(path: Path) -> None:
    await filled(path)
    tamper(path, "UPDATE entries SET payload = '' WHERE sequence = 5")
    journal = SqliteJournal(path, "here")
    await journal.open()
    assert await journal.verify() == []
    await journal.close()


async def test_a_cut_tail_is_found_though_the_chain_holds(path: Path) -> None:
    digests = await filled(path)
    tamper(path, "DELETE FROM entries WHERE sequence > 7")
    with pytest.raises(ChainBroken, match="its head is sequence 10 and its newest entry 7"):
        await SqliteJournal(path, "here").open()
    tamper(path, "UPDATE head SET sequence = 7, digest = ?", digests[6])
    with pytest.raises(ChainBroken, match="ends at sequence 7, but sequence 10 was acknowledged"):
        await SqliteJournal(path, "here").open()
    path.with_name(path.name + ".head").unlink()
    journal = SqliteJournal(path, "here")
    assert (await journal.open()).last_sequence == 7
    anchor = Head("here", 10, digests[9])
    assert await journal.reader.verify([anchor]) == [
        "sequence 10: it was anchored, and the journal ends before it"
    ]
    await journal.close()


def test_a_lost_file_is_not_taken_for_a_new_journal(path: Path) -> None:
    asyncio.run(filled(path))
    path.unlink()
    with pytest.raises(ChainBroken, match="sequence 10 was acknowledged"):
        asyncio.run(SqliteJournal(path, "here").open())


async def test_a_rewritten_journal_is_found_by_its_anchor(path: Path, tmp_path: Path) -> None:
    await filled(path)
    other = tmp_path / "other" / "journal.sqlite"
    journal = SqliteJournal(other, "here")
    await journal.open()
    await journal.record([note("another history") for _ in range(12)])
    await journal.close()
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    shutil.copy(other, path)
    with pytest.raises(ChainBroken, match="sequence 10 is not the entry that was acknowledged"):
        await SqliteJournal(path, "here").open()


async def test_a_torn_anchor_says_nothing(path: Path) -> None:
    await filled(path)
    path.with_name(path.name + ".head").write_bytes(b"[10, \x00\x00")
    journal = SqliteJournal(path, "here")
    assert (await journal.open()).last_sequence == 10
    await journal.close()


async def test_a_torn_write_ahead_log_loses_only_what_was_not_whole(path: Path, tmp_path: Path) -> None:
    journal = SqliteJournal(path, "here")
    await journal.open()
    for n in range(5):
        await journal.record([note(str(n))])
    copy = tmp_path / "copy" / path.name
    copy.parent.mkdir()
    log = path.with_name(path.name + "-wal").read_bytes()
    shutil.copy(path, copy)
    copy.with_name(copy.name + "-wal").write_bytes(log[:-100])  # the last frame is torn
    await journal.close()
    torn = SqliteJournal(copy, "here")
    assert (await torn.open()).last_sequence == 4
    assert await torn.verify() == []
    await torn.close()
    # With the anchor of the same disk beside it, the loss of an acknowledged entry is named.
    shutil.copy(path.with_name(path.name + ".head"), copy.with_name(copy.name + ".head"))
    with pytest.raises(ChainBroken, match="ends at sequence 4, but sequence 5"):
        await SqliteJournal(copy, "here").open()


def test_a_damaged_page_is_one_clear_error(path: Path) -> None:
    asyncio.run(filled(path, 200))
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"{path}: "):
        asyncio.run(SqliteJournal(path, "here").open())


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_text("hello" * 1000)
    with pytest.raises(ChainBroken, match=f"{path}: the file is damaged"):
        asyncio.run(SqliteJournal(path, "here").open())


async def test_live_state_that_no_entry_explains_is_refused(path: Path) -> None:
    journal = SqliteJournal(path, "here")
    await journal.open()
    await journal.record([dataclasses.replace(note(), changed=(HOLD,))])
    await journal.close()
    tamper(path, "UPDATE aggregates SET value = replace(value, 'night work', 'day work')")
    with pytest.raises(ChainBroken, match=r"hold/\* is not as sequence 1 recorded it"):
        await SqliteJournal(path, "here").open()


async def test_a_newer_schema_is_refused(path: Path) -> None:
    await filled(path)
    tamper(path, "PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer version"):
        await SqliteJournal(path, "here").open()


async def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").mkdir()
    with pytest.raises(StoreError):
        await SqliteJournal(tmp_path / "journal.sqlite", "here").open()


async def test_after_a_failed_write_a_file_that_does_not_hold_is_not_gone_on_with(path: Path) -> None:
    journal = SqliteJournal(path, "here")
    await journal.open()
    await journal.record([note()])
    tamper(path, "DROP TABLE head")  # the next commit fails half way
    with pytest.raises(StoreError, match="until it could be opened again"):
        await journal.record([note("half")])
    for _ in range(2):
        with pytest.raises(ChainBroken, match="its head is sequence 0 and its newest entry 1"):
            await journal.record([note("later")])
    assert [entry.sequence async for entry in journal.entries()] == [1]
    await journal.close()


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Every write past `size` octets of any file fails, as on a disk that broke: SQLite calls it an I/O error."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_a_disk_that_fails_and_comes_back_is_gone_on_with(path: Path) -> None:
    journal = SqliteJournal(path, "here")
    await journal.open()
    await journal.record([note("x" * 3_000_000)])
    size = path.with_name(path.name + "-wal").stat().st_size
    with no_file_longer_than(size + 9000):
        with pytest.raises(StoreError, match="I/O error.*until it could be opened again"):
            await journal.record([note("y" * 100_000)])
        with pytest.raises(StoreError, match="I/O error"):
            await journal.record([dataclasses.replace(note("y" * 4_000_000), changed=(HOLD,))])
        assert journal.head.sequence == 1
    entries = await journal.record([note("after"), note("more")])
    assert [entry.sequence for entry in entries] == [2, 3]
    assert await journal.verify() == []
    await journal.close()
    again = SqliteJournal(path, "here")
    assert (await again.open()).head == entries[-1].digest
    await again.close()


async def test_what_a_failed_commit_left_on_the_disk_after_all_ends_the_process(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk took a commit that it then called failed: the state in memory no longer follows from the journal."""
    journal = SqliteJournal(path, "here")
    await journal.open()
    await journal.record([note()])
    looks = iter([None, StoreError("it can't be looked at")])

    def fails_after_the_commit() -> None:
        if (error := next(looks)) is not None:
            raise error

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_check_place", fails_after_the_commit)
        with pytest.raises(StoreError, match="can't be looked at"):
            await journal.record([note("taken after all")])
    with pytest.raises(ChainBroken, match="it ends at sequence 2, not at 1"):
        await journal.record([note("next")])
    await journal.close()
    again = SqliteJournal(path, "here")
    assert (await again.open()).last_sequence == 2, "a new start takes it as recorded"
    await again.close()


@pytest.mark.parametrize("replaced", ["file", "log", "directory"])
async def test_what_goes_to_a_file_that_is_not_there_any_more_is_not_acknowledged(
    tmp_path: Path, replaced: str
) -> None:
    path = tmp_path / "data" / "journal.sqlite"
    journal = SqliteJournal(path, "here")
    await journal.open()
    await journal.record([note()])
    match replaced:
        case "file":
            shutil.copy(path, tmp_path / "copy")
            os.replace(tmp_path / "copy", path)
        case "log":
            path.with_name(path.name + "-wal").unlink()
        case _:
            path.parent.rename(tmp_path / "moved")
            path.parent.mkdir()
    for _ in range(2):
        with pytest.raises(ChainBroken, match="removed or replaced"):
            await journal.record([note("lost")])
    assert journal.head.sequence == 1
    await journal.close()


async def test_an_anchor_that_cannot_be_kept_is_one_clear_error(path: Path) -> None:
    path.with_name(path.name + ".head").mkdir()
    with pytest.raises(StoreError, match=r"journal.sqlite.head: "):
        await SqliteJournal(path, "here").open()


async def test_the_file_is_its_owners_alone(path: Path) -> None:
    journal = SqliteJournal(path, "here")
    await journal.open()
    await journal.record([note()])
    assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}
    await journal.close()


async def test_an_export_holds_every_entry_and_the_head(path: Path, tmp_path: Path) -> None:
    digests = await filled(path, 700)
    reader = JournalReader(path)
    await reader.open()
    head = await reader.export(tmp_path / "out.jsonl")
    await reader.close()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["digest"] for line in lines[:-1]] == digests
    assert lines[-1] == {"head": {"node": "here", "sequence": 700, "digest": digests[-1]}}
    assert head == Head("here", 700, digests[-1])


async def test_reading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such journal"):
        await JournalReader(tmp_path / "none.sqlite").open()


async def test_a_reader_follows_a_writer(path: Path) -> None:
    journal, reader = SqliteJournal(path, "here"), JournalReader(path)
    await journal.open()
    await reader.open()
    await journal.record([note()])
    assert await reader.head() == journal.head
    assert [entry.sequence async for entry in reader.entries()] == [1]
    await reader.close()
    await journal.close()
