"""The runbook action `asterisk`: one verb on one Asterisk, read back where it can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.actions.asterisk.exchange import AsteriskExchange
from controller.actions.asterisk.parameters import ManagerParameters
from controller.actions.asterisk.session import number
from controller.actions.calls import validated
from controller.actions.fields import Line, Strict
from controller.actions.trunks import TrunkState, reached
from controller.model.commands import RunAction
from controller.model.errors import ActionError
from controller.ports import ActionOutcome


class AsteriskAction:
    """ports.Action. `Settings` names the Asterisks a runbook may touch."""

    class Settings(Strict):
        servers: dict[str, ManagerParameters] = {}

    class Parameters(Strict):
        """`name`: of the trunk (register, unregister), the endpoint or `all` (maintenance), the queue's member (queue_*:
        an interface such as PJSIP/100). `queue`: "" for all of a member's queues. `reason`: shown in the queue."""

        reports: ClassVar[Mapping[str, str]] = {"calls": "int", "status": "string", "available": "int"}

        server: str = Field(min_length=1)
        verb: Literal[
            "drain",
            "undrain",
            "calls",
            "register",
            "unregister",
            "maintenance_on",
            "maintenance_off",
            "queue_pause",
            "queue_unpause",
        ]
        name: Line = ""
        queue: Line = ""
        reason: Line = ""

        @model_validator(mode="after")
        def _named(self) -> Self:
            if (self.verb in ("drain", "undrain", "calls")) is bool(self.name):
                raise ValueError(f"{self.verb} takes {'no' if self.name else 'a'} name")
            if self.name == "*all":
                raise ValueError("name one, *all would take others along")
            return self

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def run(self, command: RunAction) -> ActionOutcome:
        call = validated(self.Parameters, command)
        if call.server not in self._settings.servers:
            raise ActionError(f"no Asterisk {call.server!r} is configured")
        trunks = (call.name,) if call.verb in ("register", "unregister") else ()
        exchange = AsteriskExchange(self._settings.servers[call.server], trunks, command.group or "actions")
        try:
            return await self._done(exchange, call)
        finally:
            await exchange.close()

    async def close(self) -> None:
        """Nothing outlives a run."""

    async def _done(self, exchange: AsteriskExchange, call: Parameters) -> ActionOutcome:
        match call.verb:
            case "drain":
                await exchange.pause()
                return ActionOutcome(message="stops with its last call")
            case "undrain":
                await exchange.resume()
                return ActionOutcome(message="goes on")
            case "calls":
                return ActionOutcome(data=(("calls", await exchange.calls()),))
            case "register":
                await exchange.register(call.name)
                return await reached(exchange, TrunkState.REGISTERED)
            case "unregister":
                await exchange.unregister(call.name)
                return await reached(exchange, TrunkState.WITHDRAWN)
            case "maintenance_on" | "maintenance_off":
                state = call.verb.removeprefix("maintenance_")
                await exchange.manager.change(
                    "PJSIPSetMaintenance", ("Endpoint", call.name), ("State", state)
                )
                return ActionOutcome(message=f"maintenance of {call.name} is {state}")
            case "queue_pause" | "queue_unpause":
                return await self._paused(exchange, call)

    async def _paused(self, exchange: AsteriskExchange, call: Parameters) -> ActionOutcome:
        fields = [("Interface", call.name), ("Paused", "true" if call.verb == "queue_pause" else "false")]
        fields += [("Queue", call.queue)] if call.queue else []
        fields += [("Reason", call.reason)] if call.reason else []
        await exchange.manager.change("QueuePause", *fields)
        rows = await exchange.manager.read(
            "QueueSummary", *([("Queue", call.queue)] if call.queue else []), listed=True
        )
        left = sum(number(row, "Available") for row in rows if row.get("Event") == "QueueSummary")
        return ActionOutcome(message=f"{left} members available", data=(("available", left),))
