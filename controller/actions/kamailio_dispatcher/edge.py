"""One edge of a group: what it does now, and how it is made to do something else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller.actions import processes
from controller.actions.kamailio_dispatcher import lists
from controller.actions.kamailio_dispatcher.parameters import EdgeParameters
from controller.actions.kamailio_dispatcher.rpc import Nonsense, Rpc, Unreachable
from controller.model.errors import ActionError, ActionRefused

TAKING_CALLS = frozenset("AT")
"""A destination that is only being tried (T) still takes calls."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """`flags` as Kamailio shows them: A, T, I or D, then P or X."""

    uri: str
    flags: str
    priority: int
    epoch: int

    @property
    def takes_calls(self) -> bool:
        return self.flags[:1] in TAKING_CALLS


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """`routing` and `fencing`: the destinations of both sets, by URI. `gate`: the epoch the edge obeys, None without a
    gate (or not asked). `listed`: the URIs that its list file, where it can be read, would bring up active."""

    routing: Mapping[str, Destination]
    fencing: Mapping[str, Destination]
    gate: int | None = None
    listed: frozenset[str] | None = None

    @property
    def first(self) -> str:
        """The URI that gets new calls; "" when none does."""
        taking = [item for item in self.routing.values() if item.takes_calls]
        return max(taking, key=lambda item: item.priority).uri if taking else ""

    def takes_calls(self, uri: str) -> bool:
        return uri in self.routing and self.routing[uri].takes_calls

    def fences(self, uri: str) -> bool:
        return uri in self.fencing and self.fencing[uri].takes_calls

    @property
    def epoch(self) -> int:
        """The highest it shows anywhere."""
        shown = [item.epoch for item in (*self.routing.values(), *self.fencing.values())]
        return max((self.gate or 0, *shown))


class Edge:
    def __init__(
        self,
        name: str,
        settings: EdgeParameters,
        *,
        routing_set: int,
        fencing_set: int,
        rpc: Rpc,
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self.rpc = rpc
        self._settings = settings
        self._routing_set = routing_set
        self._fencing_set = fencing_set
        self._environment = environment
        self._changing = asyncio.Lock()
        self._floor = 0

    async def view(self, *, with_gate: bool = False, patient: bool = False) -> View:
        """Raises Unreachable, or ActionError for an answer that can't be understood."""
        answer = await self.rpc.read("dispatcher.list", patient=patient)
        try:
            sets = _sets(answer)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Nonsense(f"edge {self.name}: dispatcher.list can't be understood: {error!r}") from error
        gate = await self.rpc.gate() if with_gate else None
        listed = None
        if with_gate and self._settings.list_file is not None:
            lines, _ = lists.parse(
                await asyncio.to_thread(lists.read, self._settings.list_file), frozenset({self._routing_set})
            )
            listed = frozenset(line.uri for line in lines if line.active)
        return View(
            routing=sets.get(self._routing_set, {}),
            fencing=sets.get(self._fencing_set, {}),
            gate=gate,
            listed=listed,
        )

    async def change(
        self,
        epoch: int,
        *,
        routing: Mapping[str, bool] | None = None,
        fencing: Mapping[str, bool] | None = None,
        first: str = "",
    ) -> View:
        """Make these URIs take calls or not, and be fenced or not; what isn't named stays. `first`: the URI that is to
        have the higher priority, "" to leave priorities alone.

        The list file is written first; sides are taken out before others are put in; then it is read back.
        Raises ActionRefused (older epoch, a URI the edge doesn't know), Unreachable, ActionUnknown, ActionError.
        """
        routing, fencing = routing or {}, fencing or {}
        async with self._changing:
            if epoch < self._floor:
                raise ActionRefused(f"edge {self.name}: epoch {epoch} is older than {self._floor}")
            self._floor = epoch
            try:
                view = await self.view()
            except Unreachable:
                await self._leave_word(epoch, routing, fencing)
                raise
            self._known(view, routing, fencing)
            await self._write(view, epoch, routing, fencing, first)
            # Fences go up before calls move and come down before a side gets any.
            for uri, fenced in sorted(fencing.items(), key=lambda item: not item[1]):
                await self._set(fenced, self._fencing_set, uri, epoch)
            # Priorities can't be set at run time: what would come before `first` is only let in by a reload of the
            # list that was just written. Refused ("Ongoing reload"), it stays out.
            early = {uri for uri, taking in routing.items() if taking and _outranks(view, uri, first)}
            for uri, taking in sorted(routing.items(), key=lambda item: item[1]):
                if uri not in early:
                    await self._set(taking, self._routing_set, uri, epoch)
            if early:
                await self.rpc.change("dispatcher.reload", epoch=epoch)
            view = await self.view()
        for uri, taking in routing.items():
            if view.takes_calls(uri) is not taking:
                raise ActionError(f"edge {self.name}: {uri} shows {view.routing[uri].flags} after the change")
        for uri, fenced in fencing.items():
            if view.fences(uri) is not fenced:
                raise ActionError(f"edge {self.name}: the fence of {uri} did not take")
        return view

    async def live_calls(self, profile: str, host: str) -> int:
        """Dialogs of a side. Raises Unreachable or ActionError."""
        count = await self.rpc.read("dlg.profile_get_size", profile, host)
        if not isinstance(count, int):
            raise Nonsense(f"edge {self.name}: dlg.profile_get_size answered {count!r}")
        return count

    async def close(self) -> None:
        await self.rpc.close()

    def _known(self, view: View, routing: Mapping[str, bool], fencing: Mapping[str, bool]) -> None:
        """`dispatcher.set_state` must find every URI byte for byte: ask before the first one is changed."""
        for number, asked, there in (
            (self._routing_set, routing, view.routing),
            (self._fencing_set, fencing, view.fencing),
        ):
            missing = sorted(set(asked) - set(there))
            if missing:
                raise ActionRefused(
                    f"edge {self.name}: set {number} has no destination {', '.join(missing)} (byte for byte)"
                )

    async def _set(self, active: bool, number: int, uri: str, epoch: int) -> None:
        # Never "i" or "ip": under probing the next 2xx would bring such a destination back.
        await self.rpc.change("dispatcher.set_state", "a" if active else "d", number, uri, epoch=epoch)

    async def _leave_word(self, epoch: int, routing: Mapping[str, bool], fencing: Mapping[str, bool]) -> None:
        """An edge that is down comes up as its list file says: as it should be, then, where that can be written."""
        path = self._settings.list_file
        if path is None:
            return
        text = await asyncio.to_thread(lists.read, path)
        own, _ = lists.parse(text, frozenset({self._routing_set, self._fencing_set}))
        asked = {self._routing_set: routing, self._fencing_set: fencing}
        lines = [
            replace(line, active=asked[line.set].get(line.uri, line.active), epoch=epoch) for line in own
        ]
        await asyncio.to_thread(self._replace, lines, epoch)

    async def _write(
        self, view: View, epoch: int, routing: Mapping[str, bool], fencing: Mapping[str, bool], first: str
    ) -> None:
        lines = []
        highest = max((item.priority for item in view.routing.values()), default=0)
        for number, shown, asked in (
            (self._routing_set, view.routing, routing),
            (self._fencing_set, view.fencing, fencing),
        ):
            for uri, item in shown.items():
                active = asked.get(uri, item.takes_calls)
                priority = item.priority
                if first and number == self._routing_set:
                    priority = max(highest, 10) if uri == first else min(item.priority, max(highest, 10) - 5)
                lines.append(lists.Line(set=number, uri=uri, active=active, priority=priority, epoch=epoch))
        settings = self._settings
        if settings.list_file is not None:
            await asyncio.to_thread(self._replace, lines, epoch)
        elif settings.write_command is not None:
            environment = {**self._environment, "THIRDRING_EPOCH": str(epoch), "THIRDRING_EDGE": self.name}
            await processes.run(settings.write_command, environment=environment, text=lists.rendered(lines))

    def _replace(self, lines: list[lists.Line], epoch: int) -> None:
        path = self._settings.list_file
        if path is None:
            return
        sets = frozenset({self._routing_set, self._fencing_set})
        before = lists.read(path)
        own, foreign = lists.parse(before, sets)
        newest = max((line.epoch for line in own), default=0)
        if newest > epoch:
            raise ActionRefused(f"edge {self.name}: its list file is of epoch {newest}, newer than {epoch}")
        text = lists.rendered(lines, foreign)
        if text != before:
            lists.write(path, text)


def _outranks(view: View, uri: str, first: str) -> bool:
    """Whether it would get new calls before `first`, as the edge has their priorities now."""
    if first in ("", uri):
        return False
    return view.routing[uri].priority >= view.routing[first].priority


def _sets(answer: object) -> dict[int, dict[str, Destination]]:
    """`dispatcher.list` by set number and URI (RECORDS[].SET{ID, TARGETS[].DEST{URI, FLAGS, PRIORITY, ATTRS{BODY}}})."""
    if not isinstance(answer, Mapping):
        raise TypeError(f"not an object: {answer!r:.80}")
    found: dict[int, dict[str, Destination]] = {}
    for record in answer["RECORDS"]:
        number = int(record["SET"]["ID"])
        for target in record["SET"]["TARGETS"]:
            item = target["DEST"]
            attributes = item.get("ATTRS") or {}
            found.setdefault(number, {})[str(item["URI"])] = Destination(
                uri=str(item["URI"]),
                flags=str(item["FLAGS"]),
                priority=int(item["PRIORITY"]),
                epoch=lists.epoch_of(str(attributes.get("BODY") or "")),
            )
    return found
