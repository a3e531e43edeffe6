"""The runbook action `freeswitch`: one verb on one FreeSWITCH, read back where it can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.actions.calls import validated
from controller.actions.fields import Strict
from controller.actions.freeswitch.exchange import FreeswitchExchange
from controller.actions.freeswitch.parameters import GatewayParameters, SocketParameters
from controller.actions.trunks import TrunkState, reached
from controller.model.commands import RunAction
from controller.model.errors import ActionError
from controller.ports import ActionOutcome

STOP_SHARE = 0.8
"""Of the action's timeout, spent on waiting for the last call: the rest is for saying that it still goes on."""


class FreeswitchAction:
    """ports.Action. `Settings` names the FreeSWITCHes a runbook may touch."""

    class Settings(Strict):
        servers: dict[str, SocketParameters] = {}

    class Parameters(Strict):
        """`profile` and `gateway`: of register, unregister and kill_gateway."""

        reports: ClassVar[Mapping[str, str]] = {"calls": "int", "status": "string", "recovered": "int"}

        server: str = Field(min_length=1)
        verb: Literal["pause", "resume", "calls", "stop", "recover", "register", "unregister", "kill_gateway"]
        profile: str = ""
        gateway: str = ""

        @model_validator(mode="after")
        def _named(self) -> Self:
            if self.verb in ("register", "unregister", "kill_gateway"):
                GatewayParameters(profile=self.profile, gateway=self.gateway)
            elif self.profile or self.gateway:
                raise ValueError(f"{self.verb} takes no gateway")
            return self

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def run(self, command: RunAction) -> ActionOutcome:
        call = validated(self.Parameters, command)
        if call.server not in self._settings.servers:
            raise ActionError(f"no FreeSWITCH {call.server!r} is configured")
        gateways = [GatewayParameters(profile=call.profile, gateway=call.gateway)] if call.gateway else []
        exchange = FreeswitchExchange(
            self._settings.servers[call.server], gateways, command.group or "actions"
        )
        try:
            return await self._done(exchange, call, command.timeout)
        finally:
            await exchange.close()

    async def close(self) -> None:
        """Nothing outlives a run."""

    async def _done(self, exchange: FreeswitchExchange, call: Parameters, timeout: float) -> ActionOutcome:
        match call.verb:
            case "pause":
                await exchange.pause()
                return ActionOutcome(data=(("calls", await exchange.calls()),))
            case "resume":
                await exchange.resume()
                return ActionOutcome(message="takes calls")
            case "calls":
                return ActionOutcome(data=(("calls", await exchange.calls()),))
            case "stop":
                await exchange.switch.stop(timeout * STOP_SHARE)
                return ActionOutcome(message="has ended")
            case "recover":
                return ActionOutcome(data=(("recovered", await exchange.recover()),))
            case "register":
                await exchange.register(call.gateway)
                return await reached(exchange, TrunkState.REGISTERED)
            case "unregister":
                await exchange.unregister(call.gateway)
                return await reached(exchange, TrunkState.WITHDRAWN)
            case "kill_gateway":
                await exchange.switch.change(f"sofia profile {call.profile} killgw {call.gateway}")
                return await reached(exchange, TrunkState.UNKNOWN_NAME)
