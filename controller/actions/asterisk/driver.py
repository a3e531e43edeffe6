"""The switch of a group whose carriers' calls go to the Asterisk that is registered with them.

`fencing` is "none": Asterisk obeys whoever logs in. The epoch is kept in its database to be seen, and a newer one is refused
here; claims neither I1 nor I3.
"""

from __future__ import annotations

from controller.actions.asterisk.exchange import AsteriskExchange
from controller.actions.asterisk.parameters import AsteriskParameters
from controller.actions.routed import RoutedSwitch
from controller.actions.trunks import TrunkRouting
from controller.model.policy import GroupPolicy


class Asterisk(RoutedSwitch):
    Parameters = AsteriskParameters

    def __init__(self, group: GroupPolicy, parameters: AsteriskParameters) -> None:
        """Raises ConfigurationError when the group and the parameters don't agree."""
        self.parameters = parameters
        exchanges = {
            name: AsteriskExchange(side.manager, side.trunks, group.name)
            for name, side in parameters.sides.items()
        }
        super().__init__(
            group,
            parameters,
            lambda: TrunkRouting(exchanges, pauses=parameters.drain == "stop", settle=parameters.settle),
            fencing="none",
        )
