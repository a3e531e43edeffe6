"""The switch of a group whose calls go where a JSON document says."""

from __future__ import annotations

from collections.abc import Collection

from controller.actions.http_switch.parameters import HttpSwitchParameters
from controller.actions.http_switch.resource import Resource
from controller.actions.http_switch.snapshots import Snapshots
from controller.actions.points import Seen, change, look_at
from controller.actions.requests import Requests
from controller.actions.routed import RoutedSwitch, needed
from controller.model.policy import GroupPolicy


class HttpSwitch(RoutedSwitch):
    """`fencing` is "cas" with an epoch in the document: a write goes under the entity tag of a document that showed no
    newer epoch. Without one it is "none": the tag guards against a lost update, and a stale controller reads it too."""

    Parameters = HttpSwitchParameters

    def __init__(self, group: GroupPolicy, parameters: HttpSwitchParameters) -> None:
        """Raises ConfigurationError when the group and the parameters don't agree."""
        self.parameters = parameters
        super().__init__(
            group,
            parameters,
            lambda: DocumentRouting(group, parameters),
            fencing="none" if parameters.epoch is None else "cas",
        )


class DocumentRouting:
    """points.Routing over one document an edge."""

    def __init__(self, group: GroupPolicy, parameters: HttpSwitchParameters) -> None:
        self._requests = Requests(timeout=parameters.timeout, ca=parameters.ca)
        self._snapshots = Snapshots(parameters.snapshots, group.name, keep=parameters.keep)
        self._resources = {
            name: Resource(
                name,
                resource,
                sides={side: given.members for side, given in parameters.sides.items()},
                epoch=parameters.epoch,
                requests=self._requests,
                snapshots=self._snapshots,
                settle=parameters.settle,
            )
            for name, resource in parameters.edges.items()
        }
        self._needed = needed(group, self._resources)

    @property
    def names(self) -> Collection[str]:
        return self._resources

    async def look(self) -> Seen:
        return await look_at(self.names, lambda name: self._resources[name].look())

    async def lacks(self) -> list[str]:
        lacks = self._snapshots.lacks()
        for resource in self._resources.values():
            lacks += await resource.lacks()
        return lacks

    async def send(self, side: str, epoch: int) -> Seen:
        return await change(
            self.names, lambda name: self._resources[name].send(side, epoch), needed=self._needed
        )

    async def withdraw(self, side: str, epoch: int) -> None:
        """A document names the side that gets the calls: it is withdrawn when the other one is named."""

    async def drain(self, side: str, other: str, epoch: int) -> tuple[int | None, Seen]:
        return None, await self.send(other, epoch)

    async def restore(self, side: str, epoch: int) -> None:
        """Nothing but the routing was changed."""

    async def close(self) -> None:
        await self._requests.close()
