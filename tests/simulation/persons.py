"""What people do: they arm, acknowledge, hold, ask for switches, and settle what stopped. They ask whoever leads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from controller.model.commands import Notify
from controller.model.events import (
    DrillRequested,
    Event,
    OperatorAcknowledged,
    OperatorArmed,
    OperatorPlacedHold,
    OperatorReleasedGroup,
    OperatorReleasedHold,
    OperatorRequestedSwitch,
)
from controller.model.groups import Group, Phase, Refusal, SwitchVerb
from controller.model.moments import Moment
from tests.simulation.node import Node
from tests.simulation.platform import GROUP

if TYPE_CHECKING:
    from tests.simulation.world import World

ACKNOWLEDGES = 4.0
"""Seconds from a page to its acknowledgement."""

FORCED = tuple(refusal for refusal in Refusal if refusal is not Refusal.FENCE_NOT_READY)


class Persons:
    def __init__(self, world: World) -> None:
        self._world = world
        self.armed = True
        self.holds = 0

    def begin(self) -> None:
        self._world.loop.after(2.0, self._arm)

    def leader(self) -> Node | None:
        return next((node for node in self._world.nodes if node.leads), None)

    def tell(self, make: Callable[[Moment], Event]) -> None:
        """Whoever leads is told, on its own clock; nobody leads: it is said again a little later."""
        node = self.leader()
        if node is None:
            self._world.loop.after(0.5, self.tell, make)
            return
        host, now = node.host, self._world.loop.now
        node.engine.submit(make(Moment(host.mono(now), host.wall(now))))

    def group(self) -> Group | None:
        node = self.leader()
        return None if node is None else node.state.groups.get(GROUP)

    def _arm(self) -> None:
        """Again and again, until it was believed."""
        group = self.group()
        if self.armed and (group is None or group.armed is None):
            self.tell(lambda at: OperatorArmed(at=at, group=GROUP, armed=True, by="eve"))
        self._world.loop.after(0.5, self._arm)

    def paged(self, command: Notify) -> None:
        def acknowledge() -> None:
            self.tell(
                lambda at: OperatorAcknowledged(
                    at=at, incident=command.incident, by=command.person, via="link"
                )
            )

        self._world.loop.after(ACKNOWLEDGES, acknowledge)

    def act(self, name: str, lasts: float) -> None:
        match name:
            case "hold":
                self.holds += 1
                self.tell(
                    lambda at: OperatorPlacedHold(
                        at=at, scope=GROUP, by="eve", reason="a look", until_wall=at.wall + lasts + 1000.0
                    )
                )
                self._world.loop.after(lasts, self._release)
            case "disarm":
                self.armed = False
                self.tell(lambda at: OperatorArmed(at=at, group=GROUP, armed=False, by="eve"))
                self._world.loop.after(lasts, self._rearm)
            case "switchover":
                self._ask(SwitchVerb.SWITCHOVER)
            case "double click":
                self._ask(SwitchVerb.SWITCHOVER)
                self._ask(SwitchVerb.SWITCHOVER)
            case "force":
                self._ask(SwitchVerb.FORCE)
            case "drill":
                self.tell(lambda at: DrillRequested(at=at, drill="", scenario="primary-hung", by="eve"))

    def _ask(self, verb: SwitchVerb) -> None:
        """To the side that does not have the calls."""
        group = self.group()
        target = "primary" if group is not None and group.active == "backup" else "backup"
        overrides = FORCED if verb is SwitchVerb.FORCE else ()
        self.tell(
            lambda at: OperatorRequestedSwitch(
                at=at, group=GROUP, verb=verb, target=target, by="eve", reason="asked", overrides=overrides
            )
        )

    def _release(self) -> None:
        self.tell(lambda at: OperatorReleasedHold(at=at, scope=GROUP, by="eve"))

    def _rearm(self) -> None:
        self.armed = True

    def settle(self) -> None:
        """After a stop a person says which side has the calls: one that works, the one that is believed to if it does."""
        group = self.group()
        if group is not None and group.phase is Phase.NEEDS_PERSON:
            sides = self._world.platform.sides
            working = [name for name in sorted(sides) if sides[name].works]
            if working:
                active = group.active if group.active in working else working[0]
                self.tell(
                    lambda at: OperatorReleasedGroup(
                        at=at, group=GROUP, active=active, by="eve", reason="looked at it"
                    )
                )
        self._world.loop.after(1.0, self.settle)
