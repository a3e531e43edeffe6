"""The driver of a virtual address: the grant in the coordination store says who may hold it, the agents do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from controller.actions.fences import Fence
from controller.actions.vip.agents import Agent
from controller.actions.vip.fencing import Fencing
from controller.actions.vip.parameters import FINISHING, VipParameters
from controller.model.commands import Drive
from controller.model.errors import (
    ActionError,
    ActionRefused,
    ActionUnknown,
    ConfigurationError,
    CoordinationConflict,
    CoordinationError,
    CoordinationUnknown,
    Problem,
)
from controller.model.groups import DriverVerb
from controller.model.policy import GroupPolicy
from controller.ports import ActionOutcome, Grant, GrantPhase, Grants, Heartbeat

HOLDING = "holding"
NOBODY = "none"
LOOK = 0.01
"""Seconds between two looks for the new holder's first heartbeat."""


class Vip:
    """ports.SwitchDriver. Whoever holds is settled by the grant's epoch: a heartbeat under an older one fails, and an
    agent refuses an older command by itself.

    READ_BACK says in addition ("holder", the side whose hold is being renewed, "none" without one): VipUnheld.
    `coordinate` comes before the first verb; without a coordination store the fence is not ready, by name.
    """

    fencing = "token"
    Parameters = VipParameters

    @classmethod
    def problems(cls, group: GroupPolicy, parameters: VipParameters) -> list[Problem]:
        """What of these parameters does not fit the group."""
        return mismatches(group, parameters)

    def __init__(
        self,
        group: GroupPolicy,
        parameters: VipParameters,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigurationError when the sides are not the group's, or a fence can't be waited out in time."""
        if problems := self.problems(group, parameters):
            raise ConfigurationError(problems)
        self.group = group
        self.parameters = parameters
        self._now = monotonic
        self._grants: Grants | None = None
        self._agents = {
            name: Agent(name, side.agent, parameters.tls, timeout=parameters.agent_timeout)
            for name, side in parameters.sides.items()
        }
        self._fences = {
            name: Fence(side.fence, {"THIRDRING_GROUP": group.name, "THIRDRING_SIDE": name})
            for name, side in parameters.sides.items()
            if side.fence is not None
        }
        self._fencing = Fencing(
            group.name,
            self._agents,
            self._fences,
            outwait=parameters.outwait,
            look=parameters.agent_timeout,
            monotonic=monotonic,
        )

    def coordinate(self, grants: Grants) -> None:
        self._grants = grants

    async def highest_epoch(self) -> int:
        """Raises ActionError when an agent does not answer: it may have seen a higher one."""
        statuses = await asyncio.gather(*(agent.status(self.group.name) for agent in self._agents.values()))
        return max(_number(status, "epoch") for status in statuses)

    async def adopt(self, epoch: int, store: str) -> None:
        """Each agent releases, and takes grants of this store only. Raises ActionError."""
        await asyncio.gather(
            *(agent.ask("adopt", self.group.name, epoch, cluster=store) for agent in self._agents.values())
        )

    async def perform(self, command: Drive) -> ActionOutcome:
        if self.group.side(command.side) is None or command.side not in self._agents:
            raise ActionRefused(f"group {self.group.name} has no side {command.side}")
        try:
            return await self._perform(command)
        except CoordinationConflict as error:
            raise ActionRefused(f"the grant: {error}") from error
        except CoordinationUnknown as error:
            raise ActionUnknown(f"the grant: {error}") from error
        except CoordinationError as error:
            raise ActionError(f"the grant: {error}") from error

    async def close(self) -> None:
        await self._fencing.end()
        for agent in self._agents.values():
            await agent.close()
        for fence in self._fences.values():
            await fence.close()

    async def _perform(self, command: Drive) -> ActionOutcome:
        match command.verb:
            case DriverVerb.PRECHECK:
                return await self._precheck(command)
            case DriverVerb.DRAIN:
                calls = await self._agents[command.side].live_calls(self.group.name)
                return ActionOutcome(
                    message="calls in progress end with the address", data=(("live_calls", calls),)
                )
            case DriverVerb.FREEZE | DriverVerb.THAW:
                return ActionOutcome(message="what must stop is stopped with the fence")
            case DriverVerb.FENCE:
                return await self._fence(command)
            case DriverVerb.CONFIRM_FENCE:
                return await self._confirm_fence(command)
            case DriverVerb.UNFENCE:
                return await self._unfence(command)
            case DriverVerb.PROMOTE | DriverVerb.REDIRECT:
                return await self._give(command)
            case DriverVerb.READ_BACK:
                return await self._read_back(command)
            case DriverVerb.REASSERT:
                return await self._reassert(command)

    async def _precheck(self, command: Drive) -> ActionOutcome:
        """Both agents answer, both can fence themselves, and the grant can be read."""
        grant, _ = await self._store().read(self.group.name)
        statuses = await self._statuses()
        silent = sorted(set(self._agents) - set(statuses))
        if silent:
            raise ActionError(f"no answer from the agent of {', '.join(silent)}")
        if lacks := self._lacks(statuses):
            raise ActionRefused("a fence is not ready: " + "; ".join(lacks))
        highest = max([grant.epoch if grant else 0, *(_number(one, "epoch") for one in statuses.values())])
        if highest > command.epoch:
            raise ActionRefused(f"epoch {command.epoch} is older than {highest}")
        for name, fence in self._fences.items():
            if missing := await fence.lacks():
                raise ActionRefused(f"the outside fence of {name} is not ready: {'; '.join(missing)}")
        return ActionOutcome(data=(("agents", ",".join(sorted(statuses))),))

    async def _fence(self, command: Drive) -> ActionOutcome:
        """Closed first: from then on nothing renews it. Then whoever can hurry it is asked."""
        closure = await self._fencing.close(self._store(), command.side, command.epoch)
        self._fencing.begin(command.side, command.epoch)
        message = "the grant is closed" if closure is not None else f"the grant is not {command.side}'s"
        return ActionOutcome(message=message)

    async def _confirm_fence(self, command: Drive) -> ActionOutcome:
        proof, closure = await self._fencing.confirmed(self._store(), command.side, command.epoch)
        data = [("proof", str(proof))]
        if closure is not None:
            data.append(("waited_from", "heartbeat" if closure.by_heartbeat else "close"))
        return ActionOutcome(message=f"fenced: {proof}", data=tuple(data))

    async def _unfence(self, command: Drive) -> ActionOutcome:
        """Let back in as the standby: its processes and activities run, and it holds nothing."""
        side = command.side
        told = ""
        # First: what was still to cut it off would do so after it was let in.
        self._fencing.forget(side, command.epoch)
        if side in self._fences:
            told = await self._fences[side].release(command.epoch)
        answer = await self._agents[side].ask("start", self.group.name, command.epoch, within=command.timeout)
        if not answer.get("started"):
            raise ActionError(
                f"{side} is not started: {'; '.join(str(one) for one in answer.get('troubles') or ())}"
            )
        return ActionOutcome(message=told)

    async def _give(self, command: Drive) -> ActionOutcome:
        """The grant to this side, once its last holder is fenced for certain; returns when it is held."""
        grants, side, deadline = self._store(), command.side, self._now() + command.timeout
        grant, _ = await grants.read(self.group.name)
        if grant is not None and grant.epoch > command.epoch:
            raise ActionRefused(f"epoch {command.epoch} is older than the grant's, {grant.epoch}")
        if grant is not None and grant.phase is GrantPhase.HELD:
            if grant.holder != side:
                raise ActionRefused(f"the grant is {grant.holder}'s: it was not fenced")
            # Raised to this epoch, which its agent may know already from being let back in.
            grant = await grants.open_grant(self.group.name, side, command.epoch)
        else:
            # Closed before anybody held it: there is nobody to wait for.
            if grant is not None and grant.holder not in ("", side):
                if grant.holder not in self._agents:
                    raise ActionRefused(f"the grant was {grant.holder}'s, which this group has no side of")
                await self._fencing.settled(grants, grant)
            grant = await grants.open_grant(self.group.name, side, command.epoch)
        await self._held(grants, grant, deadline)
        return ActionOutcome(data=(("holder", side), ("epoch", grant.epoch)))

    async def _held(self, grants: Grants, grant: Grant, deadline: float) -> None:
        """By the agent's own word or by its heartbeat, which only an agent that may extend its gate writes next."""
        left = max(LOOK, deadline - self._now() - FINISHING / 4)
        asking = asyncio.create_task(
            self._agents[grant.holder].ask("hold", self.group.name, grant.epoch, within=left, timeout=left)
        )
        # Of a side that let go meanwhile one heartbeat of before may still arrive.
        heard = grants.last_heard(self.group.name)
        before = max(grant.revision, 0 if heard is None else heard.revision)
        first = 0
        try:
            while not asking.done():
                heard = grants.last_heard(self.group.name)
                if heard is not None and heard.epoch == grant.epoch and heard.revision > before:
                    # The one after the first is written once the gate was extended on the first.
                    first = first or heard.revision
                    if heard.revision > first:
                        return
                await asyncio.wait([asking], timeout=LOOK)
            asking.result()
        finally:
            asking.cancel()

    async def _reassert(self, command: Drive) -> ActionOutcome:
        """The active side holds again, and nobody else thinks it may."""
        grants, side = self._store(), command.side
        grant, _ = await grants.read(self.group.name)
        if (
            grant is None
            or grant.phase is GrantPhase.FENCING
            or (grant.holder == side and grant.epoch < command.epoch)
        ):
            return await self._give(command)
        if grant.holder != side or grant.epoch > command.epoch:
            raise ActionRefused(f"the grant is {grant.holder}'s at epoch {grant.epoch}")
        for name, status in (await self._statuses()).items():
            if name != side and (status["standing"] != "inert" or _number(status, "epoch") < grant.epoch):
                await self._agents[name].ask("release", self.group.name, grant.epoch, stop=False)
        await self._held(grants, grant, self._now() + command.timeout)
        return ActionOutcome(data=(("holder", side), ("epoch", grant.epoch)))

    async def _read_back(self, command: Drive) -> ActionOutcome:
        lacks: list[str] = []
        grant: Grant | None = None
        beat: Heartbeat | None = None
        readable = self._grants is not None
        try:
            grant, beat = await self._store().read(self.group.name)
        except (CoordinationError, ActionError) as error:
            readable = False
            lacks.append(f"the grant can't be read: {error}")
        statuses = await self._statuses()
        if not readable and not statuses:
            raise ActionError("; ".join(lacks))
        lacks += self._lacks(statuses)
        holder = self._holder(grant, beat)
        held = grant is not None and grant.phase is GrantPhase.HELD
        drifted = [
            name
            for name, status in statuses.items()
            if _drifted(name == command.side, status, grant, readable=readable)
        ]
        if readable and (not held or grant is None or grant.holder != command.side):
            drifted = sorted({*drifted, command.side})
        epochs = [_number(status, "epoch") for status in statuses.values()]
        highest = max([grant.epoch if grant is not None else 0, *epochs])
        newest = grant.epoch if grant is not None else 0
        return ActionOutcome(
            data=(
                ("active", grant.holder if grant is not None and held else ""),
                ("epoch", highest),
                ("edges_reached", len(statuses) if statuses else int(readable)),
                ("edges_total", len(self._agents)),
                ("drifted", ",".join(drifted)),
                (
                    "ungated",
                    ",".join(name for name, one in statuses.items() if _number(one, "epoch") < newest),
                ),
                ("unreachable", ",".join(sorted(set(self._agents) - set(statuses)))),
                ("fence_ready", not lacks),
                ("fence_lacks", "; ".join(lacks)),
                ("holder", holder),
                ("unheld", readable and holder == NOBODY),
            )
        )

    def _holder(self, grant: Grant | None, beat: Heartbeat | None) -> str:
        """Whose hold is being renewed, as far as heartbeats have come here."""
        if grant is None or grant.phase is not GrantPhase.HELD or self._grants is None or beat is None:
            return NOBODY
        heard = self._grants.last_heard(self.group.name)
        alive = (
            heard is not None
            and beat.epoch == grant.epoch
            and self._now() - heard.received < self.parameters.outwait
        )
        return grant.holder if alive else NOBODY

    async def _statuses(self) -> dict[str, Mapping[str, Any]]:
        """Of the agents that answer with something that can be used."""
        answers = await asyncio.gather(
            *(agent.status(self.group.name) for agent in self._agents.values()), return_exceptions=True
        )
        found: dict[str, Mapping[str, Any]] = {}
        for name, answer in zip(self._agents, answers, strict=True):
            if isinstance(answer, ActionError):
                continue
            if isinstance(answer, BaseException):
                raise answer
            found[name] = answer
        return found

    def _lacks(self, statuses: Mapping[str, Mapping[str, Any]]) -> list[str]:
        lacks = [] if self._grants is not None else ["there is no coordination store"]
        for name, status in statuses.items():
            if not status.get("fence_ready"):
                lacks.append(f"{name}: {status.get('fence_lacks') or 'its agent does not say'}")
            if status.get("side") != name:
                lacks.append(f"{name}: its agent is of side {status.get('side')}")
            held = status.get("hold_time")
            if not isinstance(held, (int, float)) or held > self.parameters.hold_time:
                lacks.append(
                    f"{name}: its agent holds for {held} s, the driver waits {self.parameters.hold_time:g}"
                )
        return lacks

    def _store(self) -> Grants:
        if self._grants is None:
            raise ActionError("a fence is not ready: there is no coordination store")
        return self._grants


def mismatches(group: GroupPolicy, parameters: VipParameters) -> list[Problem]:
    """The driver is told about each side of the group and no other, and its fence fits its step."""
    names = {side.name for side in group.sides}
    place = f"group {group.name}"
    problems = [
        Problem(
            file=place,
            line=0,
            path=f"driver.with.sides.{name}",
            message="is not one of the group's" if name in parameters.sides else "is missing",
        )
        for name in sorted(names ^ set(parameters.sides))
    ]
    needed = parameters.outwait + FINISHING
    if group.step_timeout < needed:
        problems.append(
            Problem(
                file=place,
                line=0,
                path="step_timeout",
                message=f"{group.step_timeout:g} s is too short to wait a hold out: at least {needed:g} s",
            )
        )
    return problems


def _drifted(active: bool, status: Mapping[str, Any], grant: Grant | None, *, readable: bool) -> bool:
    """Whether a side does not do as it should. What can't be read is unknown, and no reason to do anything."""
    holds = status.get("standing") == HOLDING
    if not active:
        return holds
    return not holds or (readable and (grant is None or status.get("held_epoch") != grant.epoch))


def _number(status: Mapping[str, Any], name: str) -> int:
    value = status.get(name)
    return value if isinstance(value, int) else 0
