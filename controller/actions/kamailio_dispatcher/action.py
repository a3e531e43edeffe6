"""The runbook action `kamailio.dispatcher`: the state of one destination on some edges."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from controller.actions.fields import Seconds, Strict
from controller.actions.kamailio_dispatcher.edge import Edge
from controller.actions.kamailio_dispatcher.parameters import EdgeParameters
from controller.actions.kamailio_dispatcher.rpc import Rpc
from controller.model.commands import RunAction
from controller.model.errors import ActionError
from controller.ports import ActionOutcome

NO_FENCING_SET = -1
"""No set has this number: the action moves destinations and fences nothing."""


class DispatcherAction:
    """ports.Action. `Settings` names the edges a runbook may touch; a call names some of them."""

    class Settings(Strict):
        edges: dict[str, EdgeParameters] = {}
        rpc_timeout: Seconds = 0.5
        local_address: str = ""

    class Parameters(Strict):
        """`edges`: their names, joined by commas. `destination`: the URI byte for byte as in their lists."""

        edges: str
        set: int = Field(default=1, ge=0)
        destination: str = Field(min_length=1)
        state: Literal["active", "disabled"]

        @field_validator("edges")
        @classmethod
        def _some(cls, text: str) -> str:
            if not any(name.strip() for name in text.split(",")):
                raise ValueError("names no edge")
            return text

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._edges: dict[tuple[str, int], Edge] = {}

    async def run(self, command: RunAction) -> ActionOutcome:
        try:
            call = self.Parameters.model_validate(dict(command.parameters))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "parameters"
            raise ActionError(f"{place}: {first['msg']}") from None
        names = [name.strip() for name in call.edges.split(",") if name.strip()]
        if unknown := sorted(set(names) - set(self._settings.edges)):
            raise ActionError(f"edges not configured: {', '.join(unknown)}")
        wanted = {call.destination: call.state == "active"}
        edges = [self._edge(name, call.set) for name in names]
        await asyncio.gather(*(edge.change(command.epoch, routing=wanted) for edge in edges))
        return ActionOutcome(
            message=f"{call.destination} is {call.state} at {', '.join(names)}",
            data=(("edges", ",".join(names)), ("state", call.state), ("epoch", command.epoch)),
        )

    async def close(self) -> None:
        for edge in self._edges.values():
            await edge.close()

    def _edge(self, name: str, number: int) -> Edge:
        """One a set; made at its first use."""
        if (name, number) not in self._edges:
            settings = self._settings
            self._edges[name, number] = Edge(
                name,
                settings.edges[name],
                routing_set=number,
                fencing_set=NO_FENCING_SET,
                rpc=Rpc(
                    settings.edges[name].rpc,
                    timeout=settings.rpc_timeout,
                    local_address=settings.local_address,
                ),
                environment={},
            )
        return self._edges[name, number]
