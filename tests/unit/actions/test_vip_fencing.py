"""When a side that held an address counts as fenced, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from controller.actions.points import Unreachable
from controller.actions.vip.driver import Vip, mismatches
from controller.actions.vip.fencing import Fencing, Proof
from controller.actions.vip.parameters import VipParameters
from controller.model.errors import ActionError, ConfigurationError, CoordinationConflict
from controller.ports import Heartbeat
from tests.builders.holding import VirtualLoop, in_virtual_time
from tests.builders.platform import group_policy
from tests.builders.registers import Store, StoreGrants, StoreLease

GROUP = "calls"
OUTWAIT = 1.15
LOOK = 0.5


class FakeAgent:
    """An agent as the driver sees it. `silent`: nothing comes back; `slow`: seconds a release takes."""

    def __init__(self) -> None:
        self.silent = False
        self.slow = 0.01
        self.troubles: list[str] = []
        self.stopped = False
        self.standing = "holding"
        self.asked: list[tuple[str, int]] = []

    async def status(self, group: str) -> Mapping[str, Any]:
        await self._answer()
        return {"standing": self.standing, "stopped": self.stopped, "troubles": self.troubles}

    async def ask(self, what: str, group: str, epoch: int, **more: Any) -> Mapping[str, Any]:
        await self._answer()
        self.asked.append((what, epoch))
        self.standing = "inert"
        await asyncio.sleep(self.slow)
        self.stopped = not self.troubles
        return {"released": True, "stopped": self.stopped, "troubles": self.troubles}

    async def _answer(self) -> None:
        await asyncio.sleep(0.005)
        if self.silent:
            await asyncio.sleep(LOOK)
            raise Unreachable("no answer")


class OutsideFence:
    def __init__(self, confirms_after: float) -> None:
        self._left = confirms_after
        self.fenced: list[int] = []

    async def fence(self, epoch: int) -> str:
        self.fenced.append(epoch)
        await asyncio.sleep(self._left)
        return "cut"

    async def confirm(self, epoch: int) -> str:
        if not self.fenced:
            raise ActionError("not cut")
        return "cut"


class SlowFence(OutsideFence):
    """It never shows that it has cut anything off."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.asked = 0

    async def confirm(self, epoch: int) -> str:
        self.asked += 1
        raise ActionError("not cut")


class Grants(StoreGrants):
    """`deaf`: the watch brings nothing any more."""

    deaf: Heartbeat | None = None

    def last_heard(self, group: str) -> Heartbeat | None:
        return self.deaf or super().last_heard(group)


class World:
    def __init__(self, loop: VirtualLoop, *, outside: OutsideFence | None = None) -> None:
        self.loop = loop
        self.store = Store(now=loop.time)
        self.lease = StoreLease(self.store, "node1", lifetime=1000.0)
        self.grants = Grants(self.store, self.lease)
        self.agent = FakeAgent()
        self.fencing = Fencing(
            GROUP,
            {"primary": self.agent},  # type: ignore[dict-item]
            {} if outside is None else {"primary": outside},  # type: ignore[dict-item]
            outwait=OUTWAIT,
            look=LOOK,
            monotonic=loop.time,
        )

    async def hold(self, epoch: int = 1) -> None:
        """Held, with the last heartbeat 60 ms ago."""
        await self.lease.acquire()
        grant = await self.grants.open_grant(GROUP, "primary", epoch)
        assert self.grants.beat(GROUP, grant, "a", 1)
        await asyncio.sleep(0.060)

    async def confirmed(self, epoch: int = 2) -> tuple[Proof, float]:
        proof, _ = await self.fencing.confirmed(self.grants, "primary", epoch)
        return proof, self.loop.time()


def test_the_hold_is_waited_out_from_the_last_heartbeat_that_was_received() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World(loop)
        world.agent.silent = True
        await world.hold()
        heard = world.store.beats[GROUP].received
        await world.fencing.close(world.grants, "primary", 2)
        world.fencing.begin("primary", 2)
        proof, at = await world.confirmed()
        assert proof is Proof.TIME and heard + OUTWAIT <= at < heard + OUTWAIT + 0.01

    in_virtual_time(work)


def test_it_is_waited_out_from_the_close_when_a_later_heartbeat_was_not_heard() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World(loop)
        world.agent.silent = True
        await world.hold()
        world.grants.deaf = world.store.beats[GROUP]
        world.grants.beat(GROUP, world.store.grants[GROUP], "a", 2)
        closed = loop.time()
        await world.fencing.close(world.grants, "primary", 2)
        proof, at = await world.confirmed()
        assert proof is Proof.TIME and at >= closed + OUTWAIT

    in_virtual_time(work)


def test_a_closed_grant_is_not_closed_anew_for_another_side() -> None:
    """Its agent would take that for a command to stop, when it was only just let back in."""

    async def work(loop: VirtualLoop) -> None:
        world = World(loop)
        await world.hold()
        await world.fencing.close(world.grants, "primary", 2)
        before = world.store.grants[GROUP]
        assert await world.fencing.close(world.grants, "backup", 3) is None
        assert world.store.grants[GROUP] == before

    in_virtual_time(work)


def test_closing_again_waits_no_longer_and_after_a_new_hold_it_does() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World(loop)
        world.agent.silent = True
        await world.hold()
        world.grants.deaf = world.store.beats[GROUP]._replace(revision=0)
        first = await world.fencing.close(world.grants, "primary", 2)
        await asyncio.sleep(0.5)
        again = await world.fencing.close(world.grants, "primary", 3)
        assert first is not None and again is not None and again.since == first.since
        await world.grants.open_grant(GROUP, "primary", 3)
        await asyncio.sleep(0.5)
        anew = await world.fencing.close(world.grants, "primary", 4)
        assert anew is not None and anew.since == loop.time()

    in_virtual_time(work)


def test_the_agents_word_is_sooner_and_is_asked_for_once() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World(loop)
        await world.hold()
        began = loop.time()
        await world.fencing.close(world.grants, "primary", 2)
        for _ in range(3):
            world.fencing.begin("primary", 2)
        proof, at = await world.confirmed()
        assert proof is Proof.AGENT and at - began < 0.1
        assert world.agent.asked == [("release", 2)]

    in_virtual_time(work)


def test_an_outside_fence_confirms_a_silent_side_before_its_time() -> None:
    async def work(loop: VirtualLoop) -> None:
        outside = OutsideFence(confirms_after=0.2)
        world = World(loop, outside=outside)
        world.agent.silent = True
        await world.hold()
        began = loop.time()
        await world.fencing.close(world.grants, "primary", 2)
        world.fencing.begin("primary", 2)
        proof, at = await world.confirmed()
        assert proof is Proof.OUTSIDE and at - began < 0.3 and outside.fenced == [2]

    in_virtual_time(work)


def test_time_does_not_stop_what_a_living_agent_says_still_runs() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World(loop)
        world.agent.troubles = ["trunk: still registered"]
        await world.hold()
        await world.fencing.close(world.grants, "primary", 2)
        world.fencing.begin("primary", 2)
        with pytest.raises(ActionError, match="trunk"):
            await world.confirmed()
        await asyncio.sleep(5.0)
        with pytest.raises(ActionError, match="trunk"):
            await world.confirmed()
        world.agent.troubles = []
        world.fencing.begin("primary", 2)
        assert (await world.confirmed())[0] is Proof.AGENT

    in_virtual_time(work)


def test_confirming_closes_nothing_and_an_open_grant_is_no_fence() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World(loop)
        await world.hold()
        with pytest.raises(ActionError, match="has the grant"):
            await world.confirmed()
        assert world.store.grants[GROUP].phase == "held" and not world.agent.asked

    in_virtual_time(work)


def test_a_new_controller_waits_a_closed_grant_out_from_its_own_first_sight() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World(loop)
        world.agent.silent = True
        await world.hold()
        await world.fencing.close(world.grants, "primary", 2)
        await asyncio.sleep(0.4)
        successor = Fencing(
            GROUP,
            {"primary": world.agent},  # type: ignore[dict-item]
            {},
            outwait=OUTWAIT,
            look=LOOK,
            monotonic=loop.time,
        )
        world.grants.deaf = world.store.beats[GROUP]._replace(revision=0)  # it heard nothing yet
        began = loop.time()
        proof, _ = await successor.confirmed(world.grants, "primary", 2)
        assert proof is Proof.TIME and loop.time() >= began + OUTWAIT

    in_virtual_time(work)


def test_an_older_epoch_closes_nothing() -> None:
    async def work(loop: VirtualLoop) -> None:
        world = World(loop)
        await world.hold(epoch=5)
        for side in ("primary", "backup"):
            with pytest.raises(CoordinationConflict):
                await world.fencing.close(world.grants, side, 4)
        assert await world.fencing.close(world.grants, "backup", 6) is None
        assert world.store.grants[GROUP].phase == "held"

    in_virtual_time(work)


@pytest.mark.parametrize("after", [0.2, 2.0])
def test_a_side_that_is_let_in_again_is_cut_off_by_nothing_from_before(after: float) -> None:
    """The way back has an epoch of its own; whatever the fence was still at belongs to an older one."""

    async def work(loop: VirtualLoop) -> None:
        outside = SlowFence()
        world = World(loop, outside=outside)
        world.agent.silent = True
        await world.hold()
        await world.fencing.close(world.grants, "primary", 2)
        world.fencing.begin("primary", 2)
        await asyncio.sleep(after)
        world.fencing.forget("primary", 3)
        asked = outside.asked
        assert (asked > 0) is (after > 0.5)
        await asyncio.sleep(5.0)
        assert outside.asked == asked

    in_virtual_time(work)


def parameters(**changes: Any) -> VipParameters:
    sides = {name: {"agent": f"https://{name}.example:8752"} for name in ("primary", "backup")}
    tls = {"certificate": "c.pem", "key": "k.pem", "authority": "a.pem"}
    return VipParameters.model_validate({"sides": sides, "tls": tls, **changes})


async def test_a_fence_that_cannot_be_waited_out_in_a_step_is_a_configuration_error() -> None:
    assert not mismatches(group_policy(step_timeout=1.4), parameters())
    with pytest.raises(ConfigurationError, match="too short to wait a hold out"):
        Vip(group_policy(step_timeout=1.3), parameters())
    with pytest.raises(ConfigurationError, match="is missing"):
        sides = {name: {"agent": "https://x:1"} for name in ("primary", "third")}
        Vip(group_policy(step_timeout=2.0), parameters(sides=sides))
    with pytest.raises(ValueError, match="https only"):
        parameters(sides={name: {"agent": "http://x:1"} for name in ("primary", "backup")})
