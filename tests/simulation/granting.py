"""Two controllers that give an address to one side and the other, by the real rules of fencing: whoever leads acts, and
whoever led before may still be in the middle of something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from controller.actions.points import Unreachable
from controller.actions.vip.fencing import Fencing
from controller.agent.coordination import Grant, Phase
from controller.agent.refusals import Refused
from controller.model.errors import ActionError, CoordinationConflict, CoordinationError
from controller.ports import Grant as Stood
from controller.ports import GrantPhase, Heartbeat
from tests.simulation.loop import Host

if TYPE_CHECKING:
    from tests.simulation.holding import HoldingWorld

T = TypeVar("T")

GROUP = "calls"
ETCD, CONTROLLERS = "etcd", ("controller", "other controller")


class LeaderGrants:
    """ports.Grants of one controller. Each change is one transaction, guarded by who leads and by what was seen last; as in
    `EtcdGrants`, that is tried before it is read anew."""

    def __init__(self, world: HoldingWorld, name: str, host: Host) -> None:
        self._world, self._name, self._host = world, name, host
        self._last: Stood | None = None
        self.heard: Heartbeat | None = None

    async def read(self, group: str) -> tuple[Stood | None, Heartbeat | None]:
        stood, beat = await self._ask(self._seen)
        self._last = stood
        return stood, beat

    async def close_grant(self, group: str, epoch: int) -> tuple[Stood, Heartbeat | None]:
        def closed(stood: Stood | None) -> Grant | None:
            if stood is None or stood.epoch > epoch:
                raise CoordinationConflict("another epoch")
            if stood.phase is GrantPhase.FENCING and stood.epoch == epoch:
                return None
            return Grant(epoch, stood.holder, Phase.FENCING, 0)

        return await self._brought(closed, visible=self._world.rules.closing_transaction)

    async def open_grant(self, group: str, holder: str, epoch: int) -> Stood:
        def opened(stood: Stood | None) -> Grant | None:
            if stood is not None:
                if stood.epoch == epoch and stood.phase is GrantPhase.HELD and stood.holder == holder:
                    return None
                own = stood.holder == holder or not self._world.rules.fenced_first
                if stood.phase is not GrantPhase.FENCING and not own:
                    raise CoordinationConflict("it must be fenced first")
                if stood.epoch > epoch:
                    raise CoordinationConflict("another epoch")
            return Grant(epoch, holder, Phase.HELD, 0)

        grant, _ = await self._brought(opened)
        return grant

    def last_heard(self, group: str) -> Heartbeat | None:
        return self.heard

    def hear(self, epoch: int, revision: int) -> None:
        """What the watch brings, whenever it comes."""
        if self.heard is None or revision > self.heard.revision:
            now = self._host.mono(self._world.loop.now)
            self.heard = Heartbeat(GROUP, epoch, "", "", 0, revision, now)

    async def _brought(
        self, wanted: Callable[[Stood | None], Grant | None], *, visible: bool = True
    ) -> tuple[Stood, Heartbeat | None]:
        """`wanted`: the grant as it should be, of the one that stands; None: it is so already."""
        if (last := self._last) is not None:
            try:
                if (grant := wanted(last)) is not None:
                    brought = await self._change(grant, last, visible=visible)
                    self._world.result.acts["at first try"] += 1
                    return brought
            except CoordinationConflict:
                self._world.result.acts["read anew"] += 1
        stood, beat = await self.read(GROUP)
        if (grant := wanted(stood)) is not None:
            return await self._change(grant, stood, visible=visible)
        assert stood is not None
        return stood, beat

    async def _change(
        self, grant: Grant, stood: Stood | None, *, visible: bool
    ) -> tuple[Stood, Heartbeat | None]:
        store = self._world.store

        def serve() -> tuple[Stood, Heartbeat | None]:
            if store.leader != self._name:
                raise CoordinationConflict("another node leads")
            if (0 if store.grant is None else store.grant.revision) != (
                0 if stood is None else stood.revision
            ):
                raise CoordinationConflict("the grant was changed meanwhile")
            store.put(grant, visible=visible)
            self._world.tell()
            now, beat = self._seen()
            assert now is not None
            return now, beat

        self._last = None
        self._last, beat = await self._ask(serve)
        return self._last, beat

    async def _ask(self, serve: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(0.5):
                return await self._world.network.ask(self._name, ETCD, serve)
        except TimeoutError:
            raise CoordinationError("no answer") from None

    def _seen(self) -> tuple[Stood | None, Heartbeat | None]:
        store = self._world.store
        grant, beat = store.grant, store.beat
        stood = None
        if grant is not None:
            stood = Stood(GROUP, grant.epoch, grant.holder, GrantPhase(str(grant.phase)), grant.revision)
        heard = None if beat is None else Heartbeat(GROUP, beat[0], "", "", 0, beat[1], 0.0)
        return stood, heard


class AgentPath:
    """A controller's way to one agent: what `actions.vip.agents.Agent` does over TLS."""

    def __init__(self, world: HoldingWorld, name: str, side: str) -> None:
        self._world, self._name, self._side = world, name, side

    async def status(self, group: str) -> Mapping[str, Any]:
        holder, host = self._world.holders[self._side], self._world.hosts[self._side]
        try:
            async with asyncio.timeout(0.2):
                return await self._world.network.ask(
                    self._name, self._side, lambda: self._world.status(holder, host)
                )
        except TimeoutError:
            raise Unreachable(self._side) from None

    async def ask(self, what: str, group: str, epoch: int, **given: Any) -> Mapping[str, Any]:
        world, done = self._world, asyncio.get_running_loop().create_future()

        async def release() -> None:
            try:
                gone = await world.holders[self._side].release(epoch)
            except Refused as refused:
                said: object = ActionError(str(refused))
            else:
                said = {"released": gone, "stopped": True}
            world.network.send(self._side, self._name, lambda: done.done() or done.set_result(said))

        def arrive() -> None:
            world.loop.spawn(world.hosts[self._side], release())

        world.network.send(self._name, self._side, arrive)
        answer = await done
        if isinstance(answer, ActionError):
            raise answer
        return answer


class Controller:
    """While it leads it moves the address; some moves stop before the fence, or after it was commanded, and the holder
    gets its hold back under a higher epoch."""

    def __init__(self, world: HoldingWorld, host: Host) -> None:
        self._world = world
        self.host = host
        self.grants = LeaderGrants(world, host.name, host)

    async def run(self) -> None:
        world = self._world
        fencing = Fencing(
            GROUP,
            {side: AgentPath(world, self.host.name, side) for side in world.hosts},  # type: ignore[misc]
            {},
            outwait=world.rules.outwait,
            look=0.3,
            monotonic=world.loop.time,
        )
        await asyncio.sleep(0.5)
        while True:
            if world.store.leader != self.host.name:
                await asyncio.sleep(0.1)
                continue
            try:
                stood, _ = await self.grants.read(GROUP)
                await self._act(fencing, stood)
            except (CoordinationError, ActionError):
                await asyncio.sleep(0.2)

    async def _act(self, fencing: Fencing, stood: Stood | None) -> None:
        world, grants = self._world, self.grants
        if stood is None:
            await grants.open_grant(GROUP, next(iter(world.hosts)), 1)
            return
        await asyncio.sleep(world.random.uniform(1.0, 2.5))
        if world.quiet:
            return
        active, epoch = stood.holder, stood.epoch + 1
        target = next(side for side in world.hosts if side != active)
        stops = world.random.random()
        if stood.phase is GrantPhase.HELD and stops < 0.15:
            await grants.open_grant(GROUP, active, epoch)
            world.result.acts["raised"] += 1
            return
        if not world.rules.fenced_first:
            await grants.open_grant(GROUP, target, epoch)
            return
        while True:
            try:
                await fencing.close(grants, active, epoch)
                fencing.begin(active, epoch)
                if stops < 0.3:
                    await asyncio.sleep(world.random.uniform(0.0, 0.5))
                    await grants.open_grant(GROUP, active, epoch + 1)
                    world.result.acts["given back"] += 1
                    return
                proof, _ = await fencing.confirmed(grants, active, epoch)
                await grants.open_grant(GROUP, target, epoch)
            except (CoordinationError, ActionError):
                if world.store.leader != self.host.name:
                    raise
                await asyncio.sleep(0.3)
                continue
            world.result.proofs[str(proof)] += 1
            world.result.moves += 1
            return
