"""A decision in the making: what is recorded and commanded, in order, beside the state it leads to."""

from __future__ import annotations

from dataclasses import replace

from controller.model.commands import Command
from controller.model.events import Handoff
from controller.model.facts import Aggregate, Fact, FactKind
from controller.model.groups import Group
from controller.model.moments import Moment, Values
from controller.model.policy import GroupPolicy, Policy
from controller.model.state import Decision, State


class Draft:
    """Lives for one event in one stage. A number given out is durable with the next fact."""

    def __init__(self, state: State, at: Moment, policy: Policy) -> None:
        self.state = state
        self.at = at
        self.policy = policy
        self.facts: list[Fact] = []
        self.commands: list[Command] = []
        self.events: list[Handoff] = []
        self._numbered = False

    def group(self, name: str) -> Group:
        return self.state.groups[name]

    def rules(self, name: str) -> GroupPolicy:
        return self.policy.groups[name]

    def number(self, prefix: str) -> str:
        counters, name = self.state.counters.next(prefix)
        self.state = replace(self.state, counters=counters)
        self._numbered = True
        return name

    def remember(self, group: Group) -> Group:
        """Keep a change of transient fields only: nothing durable, so no fact."""
        self.state = replace(self.state, groups=self.state.groups.set(group.name, group))
        return group

    def record(
        self,
        kind: FactKind,
        subject: str,
        *,
        data: Values = (),
        changed: tuple[Aggregate, ...] = (),
        incident: str = "",
        actor: str = "",
        drill: bool = False,
    ) -> None:
        if self._numbered:
            changed = (*changed, self.state.counters)
            self._numbered = False
        fact = Fact(
            kind=kind,
            at=self.at,
            subject=subject,
            incident=incident,
            actor=actor,
            drill=drill,
            data=data,
            changed=changed,
        )
        self.facts.append(fact)

    def change(
        self,
        kind: FactKind,
        group: Group,
        data: Values = (),
        *,
        actor: str = "",
        incident: str = "",
        drill: bool = False,
    ) -> Group:
        """Keep a durable change of a group, with the fact that says so. Incident and drill are its switch's."""
        switch = group.switch
        self.remember(group)
        self.record(
            kind,
            group.name,
            data=data,
            changed=(group,),
            incident=incident or (switch.incident if switch is not None else ""),
            actor=actor,
            drill=drill or (switch is not None and switch.drill),
        )
        return group

    def decision(self) -> Decision:
        return Decision(
            state=self.state,
            facts=tuple(self.facts),
            commands=tuple(self.commands),
            events=tuple(self.events),
        )
