"""One suite for every journal, the fake included."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.model.chain import Head, broken_links
from controller.model.errors import StoreError
from controller.model.facts import GENESIS, Counters, Entry, Fact, FactKind
from controller.model.faults import Fault, FaultKind
from controller.model.groups import Group, Hold, Phase, Switch, SwitchVerb
from controller.model.moments import Moment
from controller.stores.journal import SqliteJournal
from tests.builders.journals import MemoryJournal, Platter, note

Make = Callable[..., MemoryJournal | SqliteJournal]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Every call opens the same medium again."""
    platter = Platter()

    def build(node: str = "here") -> MemoryJournal | SqliteJournal:
        if request.param == "memory":
            return MemoryJournal(node, platter)
        return SqliteJournal(tmp_path / "journal.sqlite", node)

    return build


async def read(journal: MemoryJournal | SqliteJournal, **how: object) -> list[Entry]:
    return [entry async for entry in journal.entries(**how)]  # type: ignore[arg-type]


async def test_a_new_journal_recovers_nothing(make: Make) -> None:
    journal = make()
    recovered = await journal.open()
    assert (list(recovered.aggregates), recovered.last_sequence, recovered.head) == ([], 0, GENESIS)
    assert await read(journal) == []
    assert await journal.verify() == []
    await journal.close()


async def test_records_are_gapless_and_chained_from_genesis(make: Make) -> None:
    journal = make()
    await journal.open()
    first = await journal.record([note("one"), note("two")])
    second = await journal.record([note("three")])
    entries = [*first, *second]
    assert [entry.sequence for entry in entries] == [1, 2, 3]
    assert entries[0].previous == GENESIS
    assert [entry.previous for entry in entries[1:]] == [entry.digest for entry in entries[:-1]]
    assert await read(journal) == entries
    assert broken_links(entries, Head("here", 0, GENESIS)) == []
    assert journal.head == Head("here", 3, entries[2].digest)
    assert await journal.verify() == []
    await journal.close()


async def test_recording_nothing_is_nothing(make: Make) -> None:
    journal = make()
    await journal.open()
    assert list(await journal.record([])) == []
    assert journal.head.sequence == 0
    await journal.close()


async def test_many_callers_at_once_keep_their_order(make: Make) -> None:
    journal = make()
    await journal.open()
    answers = await asyncio.gather(*(journal.record([note(str(n)), note(f"{n}b")]) for n in range(200)))
    assert [entry.sequence for answer in answers for entry in answer] == list(range(1, 401))
    assert [f'"text":"{n}"' in answer[0].payload for n, answer in enumerate(answers)] == [True] * 200
    assert await journal.verify() == []
    await journal.close()


async def test_entries_are_found_by_sequence_and_by_incident(make: Make) -> None:
    journal = make()
    await journal.open()
    await journal.record([note(str(n), incident="INC-0001" if n % 3 == 0 else "") for n in range(1500)])
    assert [entry.sequence for entry in await read(journal, after=1497, limit=10)] == [1498, 1499, 1500]
    assert len(await read(journal)) == 1000
    assert len(await read(journal, limit=1201)) == 1201
    found = await read(journal, incident="INC-0001", after=4, limit=2)
    assert [(entry.sequence, entry.incident) for entry in found] == [(7, "INC-0001"), (10, "INC-0001")]
    await journal.close()


async def test_the_live_state_comes_back_and_what_is_retired_does_not(make: Make) -> None:
    journal = make()
    await journal.open()
    group = Group(name="main", active="primary", epoch=3)
    switch = Switch(
        id="SW-0001",
        verb=SwitchVerb.FAILOVER,
        origin="primary",
        target="backup",
        epoch=4,
        automatic=True,
        due=12.5,
        walls=(("freezing", 100.5),),
    )
    moved = dataclasses.replace(group, phase=Phase.FREEZING, switch=switch, next_read=99.0)
    fault = Fault(kind=FaultKind.PLATFORM_DEAD, component="a", details=(("名", "线路"), ("n", 1.5)))
    hold = Hold(scope="*", by="li", reason="maintenance", since_wall=1.0, until_wall=2.0)
    counters, _ = Counters().next("SW")

    def changed(*aggregates: object) -> Fact:
        return dataclasses.replace(note(), changed=aggregates)  # type: ignore[arg-type]

    await journal.record([changed(group, counters), changed(fault, hold)])
    await journal.record([changed(moved), changed(dataclasses.replace(hold, until_wall=0.0))])
    await journal.close()
    again = make()
    recovered = await again.open()
    # No monotonic instant survives: it means nothing in another process.
    expected = dataclasses.replace(moved, switch=dataclasses.replace(switch, due=None), next_read=None)
    assert sorted(recovered.aggregates, key=repr) == sorted([expected, fault, counters], key=repr)
    assert recovered.last_sequence == 4
    assert recovered.head == again.head.digest
    await again.record([changed(dataclasses.replace(fault, active=False))])
    await again.close()
    recovered = await make().open()
    assert sorted(recovered.aggregates, key=repr) == sorted([expected, counters], key=repr)


async def test_the_last_of_several_changes_in_one_commit_wins(make: Make) -> None:
    journal = make()
    await journal.open()
    hold = Hold(scope="main", by="li", reason="x", since_wall=1.0, until_wall=9.0)
    gone = dataclasses.replace(hold, until_wall=0.0)
    back = dataclasses.replace(hold, reason="y")
    await journal.record([dataclasses.replace(note(), changed=(each,)) for each in (hold, gone, back)])
    await journal.close()
    assert list((await make().open()).aggregates) == [back]


async def test_a_second_opening_is_refused_until_the_first_is_closed(make: Make) -> None:
    journal, second = make(), make()
    await journal.open()
    with pytest.raises(StoreError, match="another controller"):
        await second.open()
    await journal.record([note()])
    await journal.close()
    assert (await second.open()).last_sequence == 1
    await second.close()


async def test_another_nodes_journal_is_refused(make: Make) -> None:
    journal = make("here")
    await journal.open()
    await journal.record([note()])
    await journal.close()
    with pytest.raises(StoreError, match="journal of node 'here'"):
        await make("there").open()


async def test_a_closed_journal_takes_nothing_and_closes_twice(make: Make) -> None:
    journal = make()
    with pytest.raises(StoreError, match="not open"):
        await journal.record([note()])
    await journal.open()
    await journal.close()
    await journal.close()
    with pytest.raises(StoreError, match="not open"):
        await journal.record([note()])


async def test_any_text_and_any_number_can_be_recorded(make: Make) -> None:
    journal = make()
    await journal.open()
    fact = Fact(
        kind=FactKind.NOTE,
        at=Moment(0, 0),  # integers where floats are meant hash as floats
        subject="\udcff\x00中文",
        data=(("nan", float("nan")), ("inf", float("inf")), ("zero", -0.0), ("line", "a\u2028b")),
    )
    await journal.record([fact, note()])
    assert await journal.verify() == []
    await journal.close()
    assert (await make().open()).last_sequence == 2


async def test_the_newest_are_found_without_reading_the_rest(make: Make) -> None:
    journal = make()
    await journal.open()
    assert await journal.before_newest(5) == 0
    await journal.record([note(str(n), incident=f"INC-{n % 2}") for n in range(8)])
    assert [await journal.before_newest(count) for count in (0, 1, 7, 8, 9)] == [8, 7, 1, 0, 0]
    assert [await journal.before_newest(count, incident="INC-1") for count in (0, 1, 3, 4)] == [8, 6, 2, 0]
    newest = await read(journal, after=await journal.before_newest(2, incident="INC-1"), incident="INC-1")
    assert [entry.sequence for entry in newest] == [6, 8]
    await journal.close()
