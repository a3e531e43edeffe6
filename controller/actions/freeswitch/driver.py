"""The switch of a group whose carriers' calls go to the FreeSWITCH that is registered with them.

`fencing` is "none": FreeSWITCH obeys whoever has the password. The epoch is kept in its database to be seen, and a newer one
is refused here; claims neither I1 nor I3.
"""

from __future__ import annotations

from controller.actions.freeswitch.exchange import FreeswitchExchange
from controller.actions.freeswitch.parameters import FreeswitchParameters
from controller.actions.routed import RoutedSwitch
from controller.actions.trunks import TrunkRouting
from controller.model.commands import Drive
from controller.model.groups import DriverVerb
from controller.model.policy import GroupPolicy
from controller.ports import ActionOutcome


class Freeswitch(RoutedSwitch):
    Parameters = FreeswitchParameters

    def __init__(self, group: GroupPolicy, parameters: FreeswitchParameters) -> None:
        """Raises ConfigurationError when the group and the parameters don't agree."""
        self.parameters = parameters
        self._exchanges = {
            name: FreeswitchExchange(side.socket, side.gateways, group.name)
            for name, side in parameters.sides.items()
        }
        super().__init__(
            group,
            parameters,
            lambda: TrunkRouting(
                self._exchanges, pauses=parameters.drain == "pause", settle=parameters.settle
            ),
            fencing="none",
        )

    async def perform(self, command: Drive) -> ActionOutcome:
        """PROMOTE also brings the old side's calls back, where that is configured: it comes after the confirmed fence."""
        outcome = await super().perform(command)
        if command.verb is DriverVerb.PROMOTE and self.parameters.sides[command.side].recover:
            recovered = await self._exchanges[command.side].recover()
            return ActionOutcome(message=outcome.message, data=(*outcome.data, ("recovered", recovered)))
        return outcome
