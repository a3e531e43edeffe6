"""The round of a hold, in virtual time over a kernel and a store that do as they are told."""

from __future__ import annotations

import asyncio
import random

import pytest

from controller.agent.coordination import Phase
from controller.agent.gate import ARMED
from controller.agent.hold import Standing
from controller.agent.refusals import Refusal, Refused
from tests.builders.holding import D, FakePromises, VirtualLoop, World, in_virtual_time


def test_a_grant_that_is_opened_while_it_watches_is_held() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.start()
        assert world.holder.hold.standing is Standing.INERT and not world.kernel.passes
        began = loop.time()
        await world.store.put(3, "primary")
        await world.holder.held(3, 1.0) if world.holder.hold.epoch else await asyncio.sleep(0.05)
        assert world.holder.hold.standing is Standing.HOLDING
        assert world.kernel.passes and world.kernel.address and world.kernel.announced == 1
        assert loop.time() - began < 0.1
        assert world.memory.of("calls").epoch == 3 and world.memory.written[0] == 3
        await asyncio.sleep(5.0)
        assert world.kernel.passes and world.kernel.announced == 1
        assert 45 <= world.holder.hold.count <= 52
        assert len(world.kernel.open) == 1

    in_virtual_time(work)


def test_a_group_that_never_switched_is_held_at_epoch_nought() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.store.put(0, "primary")
        await world.start()
        await asyncio.sleep(0.05)
        await world.holder.told(0)
        await world.holder.held(0, 1.0)
        assert world.holder.hold.standing is Standing.HOLDING and world.kernel.passes
        await world.store.put(1, "primary", Phase.FENCING)
        await asyncio.sleep(0.05)
        assert world.holder.hold.standing is Standing.INERT and not world.kernel.passes

    in_virtual_time(work)


def test_a_grant_that_is_raised_for_its_holder_is_held_on_without_a_gap() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.start()
        await world.store.put(3, "primary")
        await asyncio.sleep(0.05)
        assert world.kernel.passes
        await world.store.put(5, "primary")
        until = loop.time() + 3 * D
        while loop.time() < until:
            assert world.kernel.passes
            await asyncio.sleep(0.01)
        assert world.holder.hold.epoch == 5 and world.memory.of("calls").epoch == 5
        assert world.kernel.announced == 1

    in_virtual_time(work)


def test_a_grant_found_at_the_start_is_not_taken_until_told() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.store.put(3, "primary")
        await world.start()
        await asyncio.sleep(2.0)
        assert world.holder.hold.standing is Standing.INERT and not world.store.beats
        await world.holder.told(3)
        await world.holder.held(3, 1.0)
        assert world.kernel.passes

    in_virtual_time(work)


@pytest.mark.parametrize(
    ("epoch", "holder", "phase"),
    [(3, "primary", Phase.FENCING), (4, "primary", Phase.FENCING), (4, "backup", Phase.HELD)],
)
def test_a_grant_that_is_closed_or_anothers_ends_the_hold_at_once(
    epoch: int, holder: str, phase: Phase
) -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.start()
        await world.store.put(3, "primary")
        await asyncio.sleep(0.5)
        assert world.kernel.passes
        changed = loop.time()
        await world.store.put(epoch, holder, phase)
        await asyncio.sleep(0.01)
        assert not world.kernel.passes and not world.kernel.address
        assert world.kernel.open[-1][1] - changed < 0.01
        assert world.released == [epoch]
        assert world.memory.of("calls").epoch == epoch
        await asyncio.sleep(2.0)
        assert not world.kernel.passes and world.released == [epoch]

    in_virtual_time(work)


def test_a_refused_heartbeat_ends_it_even_when_the_watch_hears_nothing() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.start()
        await world.store.put(3, "primary")
        await asyncio.sleep(0.5)
        world.store.deaf = True
        await world.store.put(4, "backup")
        await asyncio.sleep(0.12)
        assert not world.kernel.passes and world.released == [4]

    in_virtual_time(work)


def test_silence_closes_it_by_d_from_the_last_confirmed_request_and_not_earlier() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.start()
        await world.store.put(3, "primary")
        await asyncio.sleep(0.5)
        world.store.silent = True
        last = world.store.beats[-1][0]
        await asyncio.sleep(2.0)
        closed = world.kernel.open[-1][1]
        assert last - 0.01 + D <= closed + 0.001 and closed <= last + D
        assert world.holder.hold.standing is Standing.WAITING and not world.kernel.address
        assert not world.released, "it only ran out: the side is not stopped"
        world.store.silent = False
        await asyncio.sleep(0.3)
        assert world.kernel.passes and world.kernel.announced == 2

    in_virtual_time(work)


def test_an_answer_that_comes_too_late_extends_nothing() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.start()
        await world.store.put(3, "primary")
        await asyncio.sleep(0.5)
        world.store.slow = 0.160
        at = loop.time()
        await asyncio.sleep(3.0)
        assert world.kernel.open[-1][1] < at + D + 0.01

    in_virtual_time(work)


@pytest.mark.parametrize("one_stage", [False, True])
def test_frozen_at_any_instant_it_is_never_open_past_its_bound(one_stage: bool) -> None:
    """Frozen at random instants, between the stages too: open only within D + 50 ms of a confirmed request. With one stage
    it is not, and that is seen."""

    async def work(loop: VirtualLoop) -> None:
        chance = random.Random(7)
        world = World.make(loop)
        world.kernel.one_stage = one_stage
        await world.start()
        await world.store.put(3, "primary")
        bad: list[str] = []
        frozen_between = 0

        def between() -> None:
            nonlocal frozen_between
            if chance.random() < 0.05:
                frozen_between += 1
                loop.freeze(chance.choice((0.01, 0.04, 0.06, 0.2, 0.8, 1.5)))

        world.kernel.frozen = world.kernel.late = between
        for _ in range(3000):
            await asyncio.sleep(chance.random() * 0.02)
            if chance.random() < 0.05:
                loop.freeze(chance.random() * 2.5)
            # The request began before its commit: this bound is the stricter.
            last = world.store.beats[-1][0] if world.store.beats else -10.0
            # Were it frozen for good now, this is when it would close.
            if world.kernel.passes and (closes := world.kernel.open[-1][1]) > last + D + ARMED:
                bad.append(f"open until {closes:.3f}, confirmed at {last:.3f}")
        assert bool(bad) is one_stage, bad[:3]
        assert frozen_between > 20 and len(world.kernel.open) > 10

    in_virtual_time(work)


def test_a_release_is_at_once_and_holds_until_told_again() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.start()
        await world.store.put(3, "primary")
        await asyncio.sleep(0.5)
        assert await world.holder.release(4)
        assert not world.kernel.passes and not world.kernel.address
        await asyncio.sleep(2.0)
        assert not world.kernel.passes and world.memory.of("calls").epoch == 4
        with pytest.raises(Refused) as refused:
            await world.holder.told(3)
        assert refused.value.reason is Refusal.OLD_EPOCH
        with pytest.raises(Refused) as refused:
            await world.holder.release(3)
        assert refused.value.reason is Refusal.OLD_EPOCH
        await world.store.put(4, "primary")
        await asyncio.sleep(0.1)
        assert world.kernel.passes

    in_virtual_time(work)


def test_a_request_that_the_grant_does_not_agree_with_is_refused() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.start()
        await world.store.put(3, "backup")
        for epoch in (3, 4):
            with pytest.raises(Refused) as refused:
                await world.holder.told(epoch)
            assert refused.value.reason is Refusal.NOT_GRANTED
        world.store.silent = True
        with pytest.raises(Refused) as refused:
            await world.holder.told(5)
        assert refused.value.reason is Refusal.NO_STORE
        world.holder.ready = "the self-test failed"
        with pytest.raises(Refused) as refused:
            await world.holder.told(5)
        assert refused.value.reason is Refusal.FENCE_NOT_READY

    in_virtual_time(work)


def test_an_epoch_that_cannot_be_remembered_is_not_acted_on() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.start()
        world.memory.failing = True
        await world.store.put(3, "primary")
        await asyncio.sleep(1.0)
        assert not world.kernel.passes and not world.store.beats
        with pytest.raises(Refused) as refused:
            await world.holder.told(3)
        assert refused.value.reason is Refusal.NO_STORE

    in_virtual_time(work)


def test_a_grant_older_than_what_was_seen_is_not_taken() -> None:
    """The store was wiped or restored."""

    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        world.memory.groups.clear()
        await world.memory.remember("calls", epoch=9)
        await world.start()
        await world.store.put(3, "primary")
        await asyncio.sleep(1.0)
        assert not world.kernel.passes and not world.store.beats

    in_virtual_time(work)


def test_a_table_that_is_gone_is_told_and_the_hold_taken_again() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        await world.start()
        await world.store.put(3, "primary")
        await asyncio.sleep(0.5)
        world.kernel.table = False
        await asyncio.sleep(0.15)
        assert world.lost and not world.kernel.address
        world.kernel.table = True
        await asyncio.sleep(0.15)
        assert world.kernel.passes and world.kernel.address

    in_virtual_time(work)


def test_promises_keep_it_while_the_store_is_silent_and_one_refusal_ends_it() -> None:
    async def work(loop: VirtualLoop) -> None:
        promises = FakePromises()
        world = World.make(loop, promises=promises)
        await world.start()
        await world.store.put(3, "primary")
        await asyncio.sleep(0.5)
        assert not promises.asked
        world.store.silent = True
        await asyncio.sleep(10.0)
        assert world.kernel.passes and world.holder.hold.kept and len(world.kernel.open) == 1
        promises.answer = False
        at = loop.time()
        await asyncio.sleep(2.0)
        assert not world.kernel.passes and world.kernel.open[-1][1] < at + D
        promises.answer = True
        await asyncio.sleep(1.0)
        assert not world.kernel.passes, "a hold that ended is never taken again on a promise"

    in_virtual_time(work)


def test_a_promise_to_another_is_waited_out() -> None:
    async def work(loop: VirtualLoop) -> None:
        promises = FakePromises(until=3.0)
        world = World.make(loop, promises=promises)
        await world.start()
        await world.store.put(3, "primary")
        await asyncio.sleep(2.9)
        assert not world.kernel.passes and world.holder.hold.standing is Standing.WAITING
        await asyncio.sleep(0.3)
        assert world.kernel.passes and world.kernel.open[0][0] >= 3.0

    in_virtual_time(work)


def test_ending_it_closes_the_gate() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World.make(loop)
        task = await world.start()
        await world.store.put(3, "primary")
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not world.kernel.passes and not world.kernel.address

    in_virtual_time(work)
