"""Several nodes over one store: nothing leaves that it does not have, and who takes over goes on from it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from immutables import Map

from controller.core.invariants import violations
from controller.engine import replication
from controller.engine.dispatch import Dispatcher
from controller.engine.leadership import Leadership
from controller.engine.loop import Engine
from controller.engine.recovery import durable
from controller.engine.replication import Replica
from controller.leases.local import LocalLease
from controller.model.errors import CoordinationConflict, CoordinationError, StoreError, StoreUnknown
from controller.model.events import DrillRequested, HealthChanged, OperatorPlacedHold
from controller.model.facts import Fact, FactKind, Gone
from controller.model.groups import Group, Hold
from controller.model.health import HealthState, Outcome, RungKey
from controller.model.moments import Moment
from controller.ports import Record
from tests.builders.journals import MemoryJournal, Platter
from tests.builders.platform import policy
from tests.builders.registers import Store, StoreLease, StoreRegister, Trouble
from tests.unit.engine.test_loop import SCENARIO, HandClock, IdleProber, NoPager, Recorder

AT = Moment(10.0, 1_700_000_000.0)


def told(*changed: object) -> Fact:
    return Fact(kind=FactKind.NOTE, at=AT, subject="x", changed=changed)


def group(name: str, epoch: int = 1) -> Group:
    return Group(name=name, active="primary", epoch=epoch)


class Writer:
    def __init__(self, store: Store, node: str = "a") -> None:
        self.lease = StoreLease(store, node, lifetime=3600.0)
        self.register = StoreRegister(store, self.lease)
        self.replica = Replica(self.register)


@pytest.fixture
def store() -> Store:
    return Store(now=time.monotonic)


@pytest.fixture
async def writer(store: Store) -> Writer:
    writer = Writer(store)
    assert await writer.lease.acquire() is not None
    assert await writer.replica.read() == ()
    return writer


async def test_the_last_word_on_each_is_what_the_next_leader_reads(writer: Writer) -> None:
    hold = Hold(scope="*", by="ann", reason="r", since_wall=1.0, until_wall=2.0)
    writer.replica.note([told(group("calls", 1), hold), told(group("calls", 2))])
    assert writer.replica.behind == 2
    await writer.replica.settle()
    assert writer.register.writes == 1 and writer.replica.behind == 0
    writer.replica.note([told(replace(hold, until_wall=0.0))])
    await writer.replica.settle()
    assert await Replica(writer.register).read() == (group("calls", 2),)


async def test_what_the_store_has_already_is_not_written_again(writer: Writer) -> None:
    writer.replica.note([told(group("calls"))])
    await writer.replica.settle()
    writer.replica.note([told(group("calls")), told(Gone(key="run/RUN-9"))])
    await writer.replica.settle()
    assert writer.register.writes == 1


async def test_more_than_one_transaction_holds(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "MOST_KEYS", 10)
    writer.replica.note([told(*(group(f"g{number}") for number in range(35)))])
    await writer.replica.settle()
    assert writer.register.writes == 4
    assert len(await Replica(writer.register).read()) == 35


@pytest.mark.parametrize("trouble", [Trouble.LOST, Trouble.UNSENT])
async def test_a_lost_answer_is_read_back_and_written_once(
    writer: Writer, store: Store, trouble: Trouble
) -> None:
    writer.replica.note([told(group("calls"))])
    store.troubles.append(trouble)
    await writer.replica.settle()
    assert (await Replica(writer.register).read()) == (group("calls"),)
    writer.replica.note([told(group("calls", 2))])  # its revision is known
    await writer.replica.settle()
    assert (await Replica(writer.register).read()) == (group("calls", 2),)


async def test_a_leader_that_was_replaced_writes_nothing(writer: Writer, store: Store) -> None:
    store.expires = 0.0
    other = Writer(store, "b")
    assert await other.lease.acquire() is not None
    writer.replica.note([told(group("calls", 9))])
    with pytest.raises(CoordinationConflict):
        await writer.replica.settle()
    assert store.records == {}


async def test_even_the_same_node_is_not_its_own_predecessor(writer: Writer, store: Store) -> None:
    """An old incarnation wakes up after a new one has written."""
    store.expires = 0.0
    again = Writer(store, "a")
    assert await again.lease.acquire() is not None
    writer.replica.note([told(group("calls", 9))])
    with pytest.raises(CoordinationConflict):
        await writer.replica.settle()


async def test_what_could_not_be_written_is_still_pending(writer: Writer, store: Store) -> None:
    store.down = True
    writer.replica.note([told(group("calls", 1))])
    with pytest.raises(CoordinationError):
        await writer.replica.settle()
    store.down = False
    await writer.replica.settle()
    assert (await Replica(writer.register).read()) == (group("calls", 1),)


class Node:
    """One of several engines over one store, with its own journal and its own lease."""

    def __init__(self, store: Store, name: str) -> None:
        rules = replace(policy(), scenarios=Map({"kill": SCENARIO}))
        self.clock = HandClock()
        self.journal = MemoryJournal(name, Platter())
        self.action = Recorder(self.journal)
        self.lease = StoreLease(store, name, lifetime=0.5)
        self.register = StoreRegister(store, self.lease)
        replica = Replica(self.register)
        self.dispatcher = Dispatcher(
            clock=self.clock,
            prober=IdleProber(),
            actions={"inject": self.action, "undo": self.action},
            drivers={},
            pager=NoPager(),
        )
        self.engine = Engine(
            node=name,
            policy=rules,
            journal=self.journal,
            dispatcher=self.dispatcher,
            clock=self.clock,
            replica=replica,
            resign=lambda reason: self.leadership.step_down(reason),
        )
        self.leadership = Leadership(self.lease, self.clock, self.engine.submit, period=0.1, replica=replica)
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def following(self) -> bool:
        return self.engine.snapshot.state.following

    @property
    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.journal.platter.entries]

    async def start(self) -> None:
        await self.engine.open()
        self.tasks = [
            asyncio.create_task(self.engine.run()),
            asyncio.create_task(self.leadership.keep()),
        ]

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.dispatcher.close()

    def see_primary_up(self) -> None:
        for rung in policy().components["primary"].ladder:
            self.engine.submit(
                HealthChanged(
                    at=self.clock.now(),
                    vantage="v",
                    key=RungKey("primary", rung.name),
                    previous=HealthState.UNKNOWN,
                    current=HealthState.UP,
                    outcome=Outcome.UP,
                )
            )

    def hold(self) -> OperatorPlacedHold:
        at = self.clock.now()
        return OperatorPlacedHold(at=at, scope="calls", by="wang", reason="test", until_wall=at.wall + 600)

    def drill(self) -> DrillRequested:
        return DrillRequested(at=self.clock.now(), drill="", scenario="kill", by="wang")


@pytest.fixture
async def nodes(store: Store) -> AsyncIterator[tuple[Node, Node]]:
    first, second = Node(store, "a"), Node(store, "b")
    await first.start()
    await until(lambda: not first.following)
    await second.start()
    yield first, second
    await first.kill()
    await second.kill()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def test_one_leads_and_the_other_refuses_by_name(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    facts = await second.engine.ask(second.hold())
    assert [fact.get("reasons") for fact in facts] == ["not_leader"]
    facts = await first.engine.ask(first.hold())
    assert [fact.kind for fact in facts] == [FactKind.HOLD_PLACED]


async def test_a_hold_survives_the_death_of_the_node_that_took_it(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    await first.engine.ask(first.hold())
    await first.kill()
    await until(lambda: not second.following)
    assert "calls" in second.engine.snapshot.state.holds
    assert FactKind.LEADERSHIP_TAKEN in second.kinds


async def test_a_node_whose_write_is_refused_does_nothing_of_it_and_follows(
    nodes: tuple[Node, Node], store: Store
) -> None:
    first, second = nodes
    first.see_primary_up()
    await until(lambda: first.engine.waiting == 0)
    store.leader, store.term, store.expires = "b", store.term + 1, time.monotonic() + 3600  # behind its back
    with pytest.raises(StoreError, match="leadership"):
        await first.engine.ask(first.drill())
    await until(lambda: first.following)
    assert not first.action.seen
    assert first.engine.counters.withheld >= 1
    assert FactKind.LEADERSHIP_LOST in first.kinds


async def test_a_store_that_is_gone_stops_what_changes_anything(
    nodes: tuple[Node, Node], store: Store
) -> None:
    first, _ = nodes
    first.see_primary_up()
    await until(lambda: first.engine.waiting == 0)
    store.down = True
    with pytest.raises(StoreError):
        await first.engine.ask(first.drill())
    assert not first.action.seen
    store.down = False
    await until(lambda: not first.following or not nodes[1].following)


async def test_what_may_have_been_written_is_never_called_not_done(
    nodes: tuple[Node, Node], store: Store
) -> None:
    first, second = nodes
    store.troubles.append(Trouble.VANISHED)
    with pytest.raises(StoreUnknown):
        await first.engine.ask(first.hold())
    store.down = False
    await until(lambda: not first.following or not second.following)
    leader = second if first.following else first
    assert "calls" in leader.engine.snapshot.state.holds


async def test_what_a_person_asks_for_is_not_even_tried_while_nothing_proves_who_leads(
    nodes: tuple[Node, Node], store: Store
) -> None:
    """The store would carry it out as soon as it answers again, for the lead was not lost."""
    first, second = nodes
    store.down = True
    await until(lambda: first.engine.snapshot.state.lease_deadline is None)
    assert not first.following
    writes = first.register.writes
    with pytest.raises(StoreError, match="not done") as caught:
        await first.engine.ask(first.hold())
    assert not isinstance(caught.value, StoreUnknown)
    assert first.register.writes == writes
    store.down = False
    await until(lambda: not first.following or not second.following)
    leader = second if first.following else first
    assert not leader.engine.snapshot.state.holds
    assert FactKind.HOLD_PLACED not in first.kinds


async def test_a_command_leaves_only_when_the_store_has_its_intent(
    nodes: tuple[Node, Node], store: Store
) -> None:
    first, _ = nodes
    first.see_primary_up()
    await until(lambda: first.engine.waiting == 0)
    await first.engine.ask(first.drill())
    await asyncio.wait_for(first.action.called.wait(), 5)
    assert any(key.startswith("drill/") for key in store.records)


async def test_what_readers_see_is_one_moment_while_the_store_is_waited_for(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal has the commit, the store not yet: the head is not ahead of the state."""
    first, _ = nodes
    write, seen = first.register.write, list[list[str]]()

    async def looked_at(changes: Mapping[str, bytes | None], expected: Mapping[str, int]) -> int:
        snapshot = first.engine.snapshot
        recorded = first.journal.platter.entries[: snapshot.sequence]
        live = durable(snapshot.state, snapshot.policy)
        seen.append([str(found) for found in violations(recorded, live=live, chain=False)])
        return await write(changes, expected)

    monkeypatch.setattr(first.register, "write", looked_at)
    await first.engine.ask(first.hold())
    assert seen
    assert not any(seen), seen


async def test_a_drill_of_a_dead_leader_is_undone_by_the_next(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    first.see_primary_up()
    second.see_primary_up()
    await until(lambda: first.engine.waiting == 0)
    await first.engine.ask(first.drill())
    await asyncio.wait_for(first.action.called.wait(), 5)
    await first.kill()
    await asyncio.wait_for(second.action.called.wait(), 5)
    assert [name for name, _ in second.action.seen][0] == "undo"


async def test_what_a_newer_version_added_is_kept_by_an_older_one(writer: Writer, store: Store) -> None:
    """Both run side by side during an upgrade: fields and kinds this version does not know survive its writes."""
    writer.replica.note([told(group("calls", 1))])
    await writer.replica.settle()
    key, other = "group/calls", "quorum/x"
    document = json.loads(store.records[key].value)
    document["value"]["added_later"] = {"deep": [1]}
    document["version"] = 2
    for place, text in (
        (key, json.dumps(document)),
        (other, '{"type":"Quorum","value":{"a":1},"version":2}'),
    ):
        store.revision += 1
        store.records[place] = Record(text.encode(), store.revision)
    assert await writer.replica.read() == (group("calls", 1),)
    writer.replica.note([told(group("calls", 2))])
    await writer.replica.settle()
    kept = json.loads(store.records[key].value)
    assert kept["value"]["added_later"] == {"deep": [1]} and kept["value"]["epoch"] == 2
    assert json.loads(store.records[other].value)["value"] == {"a": 1}


async def test_what_can_t_be_read_is_one_clear_error(writer: Writer, store: Store) -> None:
    store.records["group/calls"] = Record(b"\xff", 5)
    with pytest.raises(CoordinationError, match="group/calls"):
        await writer.replica.read()


async def test_what_nodes_share_is_not_written_under_a_lease_of_one_host(
    writer: Writer, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="lease that they share"):
        Leadership(
            LocalLease(tmp_path / "lock"), HandClock(), lambda event: None, period=0.1, replica=writer.replica
        )
