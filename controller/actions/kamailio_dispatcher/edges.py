"""All edges of a group, asked and changed together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from controller.actions.kamailio_dispatcher.edge import Edge, View
from controller.actions.kamailio_dispatcher.rpc import Unreachable
from controller.model.errors import ActionError, ActionRefused, ActionUnknown
from controller.model.moments import Values


class Reached(NamedTuple):
    """`unreachable`: edges that did not answer, and may go on as they were."""

    views: dict[str, View]
    unreachable: tuple[str, ...]

    @property
    def data(self) -> Values:
        return (("edges", ",".join(sorted(self.views))), ("unreachable", ",".join(self.unreachable)))


class Edges:
    """`all_needed`: a change that does not reach every edge fails; else one is enough."""

    def __init__(self, edges: Mapping[str, Edge], *, all_needed: bool) -> None:
        self._edges = edges
        self.needed = len(edges) if all_needed else 1

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._edges)

    def of(self, names: Iterable[str]) -> tuple[Edge, ...]:
        return tuple(self._edges[name] for name in sorted(names))

    async def change(
        self,
        epoch: int,
        *,
        routing: dict[str, bool],
        fencing: dict[str, bool] | None = None,
        first: str = "",
    ) -> Reached:
        if not routing and not fencing:
            return Reached({}, ())
        return await self.ask(
            lambda edge: edge.change(epoch, routing=routing, fencing=fencing, first=first),
            needed=self.needed,
        )

    async def ask(self, what: Callable[[Edge], Awaitable[View]], *, needed: int = 1) -> Reached:
        """All at once. Raises the gravest thing any of them said; Unreachable with fewer than `needed`."""
        answers = await asyncio.gather(*(what(edge) for edge in self._edges.values()), return_exceptions=True)
        views: dict[str, View] = {}
        unreachable: list[str] = []
        worst: list[BaseException] = []
        for name, answer in zip(self._edges, answers, strict=True):
            if isinstance(answer, View):
                views[name] = answer
            elif isinstance(answer, Unreachable):
                unreachable.append(name)
            else:
                worst.append(answer)
        if worst:
            raise min(worst, key=_gravity)
        if len(views) < needed:
            raise Unreachable(f"no answer from {', '.join(sorted(unreachable))}")
        return Reached(views, tuple(sorted(unreachable)))

    async def live_calls(self, names: Iterable[str], profile: str, host: str) -> int:
        """Of `host`, on these edges together."""
        return sum(await asyncio.gather(*(self._edges[name].live_calls(profile, host) for name in names)))

    async def close(self) -> None:
        for edge in self._edges.values():
            await edge.close()


def _gravity(error: BaseException) -> int:
    """An edge that refuses an epoch outweighs one whose answer was lost, and that one a plain failure."""
    match error:
        case ActionRefused():
            return 1
        case ActionUnknown():
            return 2
        case ActionError():
            return 3
        case _:
            return 0
