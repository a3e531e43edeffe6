"""Protected groups: sides, edges, driver, readiness, verification, and the time a switch may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from controller.configuration.documents import Document
from controller.configuration.fields import (
    Count,
    Flag,
    PositiveCount,
    PositiveSeconds,
    Seconds,
    Section,
    Words,
)
from controller.configuration.validation import validate
from controller.model.errors import Problem
from controller.model.policy import (
    EdgesRule,
    Profile,
)

RungReference = Annotated[str, Field(pattern=r"^.+\.[a-z][a-z0-9_]*$")]
"""COMPONENT.RUNG."""


class SideEntry(Section):
    """`destination` is the side as the driver names it: for Kamailio the SIP URI, byte for byte as in its list."""

    component: str
    destination: str = Field(min_length=1)


class DriverEntry(Section):
    kind: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")


class ReadinessEntry(Section):
    """Either `rung` (COMPONENT.RUNG), which must have been UP within `freshness`, or `manual` with its `owner`."""

    name: str = Field(min_length=1)
    rung: RungReference | None = None
    freshness: PositiveSeconds = 60.0
    manual: Flag = False
    owner: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> ReadinessEntry:
        if (self.rung is None) is not self.manual:
            raise ValueError("give either a rung or manual: true with its owner")
        if self.manual and not self.owner:
            raise ValueError("a manual item needs its owner")
        return self


class VerificationEntry(Section):
    rung: RungReference
    codec: str = ""
    calls: PositiveCount = 1
    timeout: PositiveSeconds = 3.0
    attempts: PositiveCount = 3


class AllowancesEntry(Section):
    """What the worst case counts for a term after detection instead of what it may take. `edge_timer` is the edges' own
    fr_timer. `fence` and `redirect` are assumptions, as measured: without them each verb counts its whole timeout."""

    decide: Seconds | None = None
    fence: Seconds | None = None
    redirect: Seconds | None = None
    edge_timer: Seconds | None = None


class GroupEntry(Section):
    title: Words | None = None
    sides: dict[str, SideEntry]
    preferred: str
    driver: DriverEntry
    edges: tuple[str, ...] = ()
    edges_rule: EdgesRule = EdgesRule.REACHABLE
    echo: str = ""
    readiness: tuple[ReadinessEntry, ...] = ()
    verification: VerificationEntry | None = None
    rto: PositiveSeconds | None = None
    profile: Profile | None = None
    allowances: AllowancesEntry = AllowancesEntry()
    vantages: PositiveCount = 1
    evidence_kinds: Annotated[PositiveCount, Field(le=4)] = 2
    cooldown: Seconds = 300.0
    switches_per_window: Count = 2
    window: PositiveSeconds = 3600.0
    failback_stable: Seconds = 600.0
    automatic_failback: Flag = False
    failback_below: Annotated[float, Field(gt=0)] | None = None
    drain_deadline: Seconds = 60.0
    step_timeout: PositiveSeconds | None = None
    freeze_timeout: PositiveSeconds | None = None
    reconcile_interval: PositiveSeconds = 1.0
    runbook: str = "failover"
    last_resort: str = "both-sides-down"
    media_anchored: Flag = False

    @model_validator(mode="after")
    def _two_sides(self) -> GroupEntry:
        if len(self.sides) != 2:
            raise ValueError(f"a group has exactly two sides, not {len(self.sides)}")
        if self.preferred not in self.sides:
            raise ValueError(f"preferred: {self.preferred} is not one of the sides {', '.join(self.sides)}")
        if self.failback_below is not None and not self.edges:
            raise ValueError("failback_below: only edges count calls, and there are none")
        components = [side.component for side in self.sides.values()]
        if components[0] == components[1]:
            raise ValueError(f"both sides are the component {components[0]}")
        return self


def read_groups(
    documents: Mapping[str, Document], problems: list[Problem]
) -> dict[str, tuple[GroupEntry, Document]]:
    found = {}
    for name, document in documents.items():
        entry = validate(GroupEntry, document, problems)
        if entry is not None:
            found[name] = (entry, document)
    return found


def profiles_of(groups: Mapping[str, tuple[GroupEntry, Document]], default: Profile) -> dict[str, Profile]:
    """The profile of each component that is a group's side, edge or echo: the group's. The faster of two wins."""
    found: dict[str, Profile] = {}
    for entry, _ in groups.values():
        profile = entry.profile or default
        members = (*(side.component for side in entry.sides.values()), *entry.edges, entry.echo)
        for name in members:
            if found.get(name) is not Profile.FAST:
                found[name] = profile
    return found
