"""What a configuration says of a group switched by Kamailio's dispatcher."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from controller.actions.fences import FenceParameters
from controller.actions.fields import Argv, HttpUrl, Seconds, Strict
from controller.model.groups import DriverVerb


class Standby(StrEnum):
    DISABLED = "disabled"  # the side that is not active takes no call at all
    FALLBACK = "fallback"  # the edge's own failure_route may use it, at a lower priority


class EdgeParameters(Strict):
    """`list_file`: the edge's dispatcher list, on a disk that both see. `write_command`: puts standard input there, for
    an edge elsewhere. One of them: a switch that is not on the edge's disk does not survive its restart."""

    rpc: HttpUrl
    list_file: Path | None = None
    write_command: Argv | None = None

    @model_validator(mode="after")
    def _durable(self) -> Self:
        if (self.list_file is None) == (self.write_command is None):
            raise ValueError("an edge needs either list_file or write_command")
        return self


class SideParameters(Strict):
    """`fence`: from outside. `edge_rule`: the edges themselves drop the side's traffic (`fence_set` of
    config/kamailio/edge.cfg); enough where nothing of the side's reaches callers but through these edges. At least one
    of them. `freeze` stops what the side does on its own (diallers, call-backs, cron, trunk registrations); `thaw` takes
    it back; `promote` starts it on the side that takes over, which freezes again should the switch go back."""

    fence: FenceParameters | None = None
    edge_rule: bool = False
    freeze: Argv | None = None
    thaw: Argv | None = None
    promote: Argv | None = None

    @model_validator(mode="after")
    def _fenced(self) -> Self:
        if self.fence is None and not self.edge_rule:
            raise ValueError("a side needs a fence: taking it out of the dispatcher is none")
        if (self.freeze is None) != (self.thaw is None):
            raise ValueError("freeze and thaw belong together")
        return self


class DispatcherParameters(Strict):
    """`edges` and `sides` are named as in the group. `set`: the dispatcher set the edge routes by.
    `rpc_timeout`: of one JSON-RPC call. `live_calls`: the dialog profile that counts a side's calls, "" if none."""

    edges: dict[str, EdgeParameters] = Field(min_length=1)
    sides: dict[str, SideParameters] = Field(min_length=2, max_length=2)
    set: int = Field(default=1, ge=0)
    fence_set: int = Field(default=9, ge=0)
    standby: Standby = Standby.DISABLED
    rpc_timeout: Seconds = 0.25
    live_calls: str = ""
    local_address: str = ""

    @property
    def idle_verbs(self) -> frozenset[DriverVerb]:
        sides = self.sides.values()
        idle = set()
        if all(side.freeze is None for side in sides):
            idle.add(DriverVerb.FREEZE)
        if all(side.promote is None for side in sides):
            idle.add(DriverVerb.PROMOTE)
        return frozenset(idle)

    @model_validator(mode="after")
    def _sets(self) -> Self:
        if self.set == self.fence_set:
            raise ValueError("set and fence_set must differ")
        return self
