"""When a side counts as fenced: its agent has released and stopped, an outside fence confirms, or its hold has run out.

The hold is waited out on this node's own monotonic clock: hold time, 50 ms and a margin from when the last heartbeat was
*received*, provided that a linearizable read after the closing transaction shows no later one; else from the close. A
lease that vanished proves nothing, and neither does silence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from controller.actions.fences import Fence
from controller.actions.points import Nonsense, Unreachable
from controller.actions.vip.agents import Agent
from controller.model.errors import ActionError, ActionUnknown, CoordinationConflict
from controller.ports import Grant, GrantPhase, Grants, Heartbeat

STATUS_PAUSE = 0.02
OUTSIDE_PAUSE = 0.05
"""Seconds between two looks at an outside fence."""


class Proof(StrEnum):
    AGENT = "agent"  # it has released the address and stopped the side
    OUTSIDE = "outside"  # the outside fence says so
    TIME = "time"  # the hold has run out after the close


@dataclass(frozen=True, kw_only=True, slots=True)
class Closure:
    """A grant that was closed. `since`: monotonic seconds from which its hold is waited out; `by_heartbeat`: that is
    when the last heartbeat was received, not the close."""

    holder: str
    epoch: int
    since: float
    by_heartbeat: bool


class Fencing:
    """Of one group. Remembers in this process only: after a restart a closed grant is waited out from then. `look`:
    seconds that an agent has to say how its side is."""

    def __init__(
        self,
        group: str,
        agents: dict[str, Agent],
        fences: dict[str, Fence],
        *,
        outwait: float,
        look: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._agents = agents
        self._fences = fences
        self._outwait = outwait
        self._now = monotonic
        self._closure: Closure | None = None
        self._proved: Closure | None = None
        self._tasks: dict[tuple[str, str, int], asyncio.Task[Any]] = {}
        self._said: dict[str, Mapping[str, Any]] = {}
        self._look = look

    async def close(self, grants: Grants, side: str, epoch: int) -> Closure | None:
        """No heartbeat of the side's is confirmed from now on. None: the grant was not its, open or closed, and is left
        as it is. CoordinationError as `Grants`."""
        grant, _ = await grants.read(self._group)
        if grant is not None and grant.epoch > epoch:
            raise CoordinationConflict(f"epoch {epoch} is older than the grant's {grant.epoch}")
        if grant is None or grant.holder not in ("", side):
            return None
        still = self._still(grant)
        if still is not None and grant.epoch == epoch:
            return still
        closed, beat = await grants.close_grant(self._group, epoch)
        return self._closed(grants, closed, beat, still)

    def begin(self, side: str, epoch: int) -> None:
        """Asks the side's agent to release and stop, and the outside fence to cut it off. Once an epoch; not awaited."""
        self._once("release", side, epoch, lambda: self._release(side, epoch))
        if side in self._fences:
            self._once("outside", side, epoch, lambda: self._cut_off(side, epoch))

    async def confirmed(self, grants: Grants, side: str, epoch: int) -> tuple[Proof, Closure | None]:
        """Waits for whichever proves it first, and changes nothing. Raises ActionError (its grant is open; the agent
        released but something of the side is not stopped), CoordinationError."""
        grant, beat = await grants.read(self._group)
        closure = None
        if grant is not None and grant.holder == side:
            if grant.phase is GrantPhase.HELD:
                raise ActionError(f"{side} is not fenced: it has the grant, at epoch {grant.epoch}")
            closure = self._still(grant) or self._closed(grants, grant, beat, None)
        self._said.pop(side, None)
        timer = asyncio.create_task(self._wait(closure))
        looking = asyncio.create_task(self._seen_stopped(side))
        own = (timer, looking)
        waiting: dict[asyncio.Task[Any], Proof] = {timer: Proof.TIME, looking: Proof.AGENT}
        for name, proven in (("release", Proof.AGENT), ("outside", Proof.OUTSIDE)):
            if (task := self._tasks.get((name, side, epoch))) is not None:
                waiting[task] = proven
        troubles: list[str] = []
        try:
            proof = await _first(waiting, troubles)
        finally:
            for task in own:
                task.cancel()
        if proof is Proof.TIME:
            # That the address is closed does not stop what the agent says still runs. One that is silent has no say.
            troubles += self._says(side)
        if proof is None or (proof is Proof.TIME and troubles):
            self.forget(side, epoch)
            raise ActionError(f"{side} is not fenced: {'; '.join(troubles) or 'nothing confirms it'}")
        self._proved = closure
        return proof, closure

    async def settled(self, grants: Grants, grant: Grant) -> None:
        """This grant's last holder is fenced for certain: it was confirmed here, or is now. Errors as `confirmed`."""
        still = self._still(grant)
        if still is None or still != self._proved:
            await self.confirmed(grants, grant.holder, grant.epoch)

    def forget(self, side: str, epoch: int) -> None:
        """Nothing that was begun for this side up to this epoch goes on; the next attempt asks again."""
        for key in [one for one in self._tasks if one[1] == side and one[2] <= epoch]:
            self._tasks.pop(key).cancel()

    async def end(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _still(self, grant: Grant) -> Closure | None:
        """What is remembered of this very closing."""
        known = self._closure
        if known is None or grant.phase is not GrantPhase.FENCING:
            return None
        return known if (known.holder, known.epoch) == (grant.holder, grant.epoch) else None

    def _closed(
        self, grants: Grants, closed: Grant, beat: Heartbeat | None, still: Closure | None
    ) -> Closure:
        """`beat`: of a linearizable read after the close."""
        since, by_heartbeat = self._now(), False
        heard = grants.last_heard(self._group)
        if beat is not None and heard is not None and heard.revision == beat.revision:
            since, by_heartbeat = min(since, heard.received), True
        if still is not None and still.since < since:
            since, by_heartbeat = still.since, still.by_heartbeat
        self._closure = Closure(
            holder=closed.holder, epoch=closed.epoch, since=since, by_heartbeat=by_heartbeat
        )
        return self._closure

    async def _wait(self, closure: Closure | None) -> None:
        """From the close of this side's grant. Without one it has none, or another has it by now, who could only get
        it after this side was fenced. An agent that lives has had the time to speak in any case."""
        left = 0.0 if closure is None else closure.since + self._outwait - self._now()
        await asyncio.sleep(max(self._look, left))

    async def _seen_stopped(self, side: str) -> None:
        while True:
            try:
                self._said[side] = await self._agents[side].status(self._group)
            except (Unreachable, Nonsense):
                self._said.pop(side, None)
            else:
                if not self._says(side):
                    return
            await asyncio.sleep(STATUS_PAUSE)

    def _says(self, side: str) -> list[str]:
        """What the agent last said of the side that is not as after a fence. Empty also when it says nothing."""
        status = self._said.get(side)
        if status is None:
            return []
        said = [str(one) for one in status.get("troubles") or ()]
        if status.get("standing") != "inert":
            said.append(f"its agent is {status.get('standing')}")
        if not status.get("stopped"):
            said.append("it was not stopped")
        return said

    async def _release(self, side: str, epoch: int) -> None:
        answer = await self._agents[side].ask("release", self._group, epoch, within=self._outwait, stop=True)
        if not (answer.get("released") and answer.get("stopped")):
            what = answer.get("troubles") or ["the address is still there"]
            raise ActionError("; ".join(str(one) for one in what))

    async def _cut_off(self, side: str, epoch: int) -> None:
        """Until it confirms; whoever waits sets the limit."""
        fence = self._fences[side]
        await fence.fence(epoch)
        while True:
            try:
                await fence.confirm(epoch)
                return
            except ActionError:
                await asyncio.sleep(OUTSIDE_PAUSE)

    def _once(self, name: str, side: str, epoch: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        key = (name, side, epoch)
        task = self._tasks.get(key)
        if task is not None and not (task.done() and _trouble(task) is not None):
            return
        for old in [one for one in self._tasks if one[0] == name and one[2] < epoch]:
            self._tasks.pop(old).cancel()
        self._tasks[key] = asyncio.create_task(work(), name=f"{name}-{self._group}-{side}")


async def _first(waiting: dict[asyncio.Task[Any], Proof], troubles: list[str]) -> Proof | None:
    """The first that succeeds. None: none can any more. Adds what the far ends say that is wrong."""
    while waiting:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in sorted(done, key=lambda one: list(Proof).index(waiting[one])):
            proof, trouble = waiting.pop(task), _trouble(task)
            if trouble is None:
                return proof
            if trouble:
                troubles.append(trouble)
        if troubles and Proof.OUTSIDE not in waiting.values():
            return None  # time alone would not do
    return None


def _trouble(task: asyncio.Task[Any]) -> str | None:
    """None: it succeeded. Empty: nobody answered, which says nothing. Else what the far end said."""
    if task.cancelled():
        return ""
    error = task.exception()
    if error is None:
        return None
    return "" if isinstance(error, (Unreachable, ActionUnknown)) else str(error) or type(error).__name__
