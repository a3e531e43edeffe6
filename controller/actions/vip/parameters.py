"""What a configuration says of a group switched by its virtual address."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from yarl import URL

from controller.actions.fences import FenceParameters
from controller.actions.fields import HttpUrl, Strict
from controller.model.groups import DriverVerb

GATE_LATE = 0.050
"""Seconds: a gate is closed by this much after the hold time from the start of its last confirmed heartbeat."""

FINISHING = 0.2
"""Seconds left for everything but waiting in the verb that confirms a fence."""


class TlsParameters(Strict):
    """PEM files: what this controller shows to the agents, and the authority of their certificates."""

    certificate: Path
    key: Path
    authority: Path


class SideParameters(Strict):
    """`agent`: the URL of the side's host agent. `fence`: an outside fence, which confirms sooner than waiting the hold
    out and covers what the hold can't (a paused virtual machine)."""

    agent: HttpUrl
    fence: FenceParameters | None = None

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if URL(self.agent).scheme != "https":
            raise ValueError("agents speak https only")
        return self


class VipParameters(Strict):
    """`sides` as in the group. `hold_time`: D in seconds, no shorter than the agents'. `margin`: on top of D + 50 ms, for
    the clocks' rates and this node's own scheduling. `agent_timeout`: of one request to an agent."""

    sides: dict[str, SideParameters] = Field(min_length=2, max_length=2)
    tls: TlsParameters
    hold_time: Annotated[float, Field(ge=0.3, le=60.0)] = 1.0
    margin: Annotated[float, Field(ge=0.02, le=5.0)] = 0.1
    agent_timeout: Annotated[float, Field(ge=0.05, le=10.0)] = 0.5

    @property
    def outwait(self) -> float:
        """Seconds after which a hold has ended by itself."""
        return self.hold_time + GATE_LATE + self.margin

    @property
    def longest_fence(self) -> float:
        """Seconds until a side that says nothing any more is fenced; 0 when every side has an outside fence, of which only
        whoever runs it can tell."""
        return 0.0 if all(side.fence is not None for side in self.sides.values()) else self.outwait

    @property
    def single_holder(self) -> bool:
        """The grant is one side's or the other's, and stays with it until that one is fenced."""
        return True

    @property
    def idle_verbs(self) -> frozenset[DriverVerb]:
        """Giving the address is one act, REDIRECT; what must stop with a side stops in its FENCE."""
        return frozenset({DriverVerb.FREEZE, DriverVerb.PROMOTE})
