"""Protected groups: sides, edges, driver, readiness, verification, and the time a switch may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from controller.configuration.documents import Document, Location
from controller.configuration.fields import (
    Count,
    Flag,
    PositiveCount,
    PositiveSeconds,
    Seconds,
    Section,
    Words,
)
from controller.configuration.kinds import Kinds
from controller.configuration.profiles import PROFILES
from controller.configuration.validation import closest, validate
from controller.core import objectives
from controller.model.errors import Problem
from controller.model.health import RungKey
from controller.model.policy import (
    Component,
    EdgesRule,
    GroupPolicy,
    Profile,
    ReadinessItem,
    RungPolicy,
    Side,
    Verification,
)
from controller.model.runbooks import Text

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
    """What the worst case allows for each term after detection. `edge_timer` is the edges' own fr_timer."""

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


def build_group(
    name: str,
    entry: GroupEntry,
    document: Document,
    components: Mapping[str, Component],
    known: Mapping[str, Document],
    kinds: Kinds,
    default: Profile,
    problems: list[Problem],
) -> tuple[GroupPolicy, objectives.WorstCase] | None:
    """The frozen group with its budget. `known`: every component the files name, wrong ones included."""
    profile = entry.profile or default
    shape = PROFILES[profile]
    before = len(problems)
    references: list[tuple[str, Location]] = [
        (side.component, ("sides", key, "component")) for key, side in entry.sides.items()
    ]
    references += [(edge, ("edges", index)) for index, edge in enumerate(entry.edges)]
    references += [(entry.echo, ("echo",))] if entry.echo else []
    for component, path in references:
        if component not in known:
            problems.append(
                document.problem(path, f"unknown component {component!r}{closest(component, known)}")
            )

    def key(reference: str, *path: str | int) -> RungKey:
        component, _, rung = reference.rpartition(".")
        if component not in known:
            problems.append(
                document.problem(path, f"unknown component {component!r}{closest(component, known)}")
            )
        elif component in components and components[component].rung(rung) is None:
            rungs = [item.name for item in components[component].ladder]
            problems.append(document.problem(path, f"{component} has no rung {rung!r}{closest(rung, rungs)}"))
        return RungKey(component, rung)

    readiness = tuple(
        ReadinessItem(
            name=item.name,
            key=None if item.rung is None else key(item.rung, "readiness", index, "rung"),
            freshness=item.freshness,
            manual=item.manual,
            owner=item.owner,
        )
        for index, item in enumerate(entry.readiness)
    )
    verification = None
    if entry.verification is not None:
        verification = Verification(
            rung=key(entry.verification.rung, "verification", "rung"),
            codec=entry.verification.codec,
            calls=entry.verification.calls,
            timeout=entry.verification.timeout,
            attempts=entry.verification.attempts,
        )
    adapter = kinds.adapter("driver", entry.driver.kind, document, ("driver", "kind"), problems)
    parameters = None
    if adapter is not None:
        parameters = kinds.validated(adapter, document.part(("driver", "with"), entry.driver.with_), problems)
    freeze = shape.allowances.freeze if entry.freeze_timeout is None else entry.freeze_timeout
    written = entry.allowances

    def allowed(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else value

    allowances = objectives.Allowances(
        decide=allowed(written.decide, shape.allowances.decide),
        freeze=freeze,
        fence=allowed(written.fence, shape.allowances.fence),
        redirect=allowed(written.redirect, shape.allowances.redirect),
        edge_timer=allowed(written.edge_timer, shape.allowances.edge_timer),
    )
    sides: list[tuple[RungKey, RungPolicy]] = []
    for key_, side in entry.sides.items():
        found = components.get(side.component)
        relevant = () if found is None else objectives.relevant(found)
        sides += relevant
        if found is not None and not relevant:
            problems.append(
                document.problem(
                    ("sides", key_, "component"),
                    f"{side.component} has no scheduled failover_relevant rung: its failure would not be seen",
                )
            )
    edges = [
        rung for edge in entry.edges if edge in components for rung in objectives.relevant(components[edge])
    ]
    if len(problems) > before or not sides:
        return None
    worst = objectives.worst_case(sides, edges, allowances)
    group = GroupPolicy(
        name=name,
        title=Text(zh=name, en=name) if entry.title is None else entry.title.frozen(),
        sides=tuple(
            Side(name=side, component=item.component, destination=item.destination)
            for side, item in entry.sides.items()
        ),
        preferred=entry.preferred,
        driver=entry.driver.kind,
        driver_parameters=parameters,
        edges=entry.edges,
        edges_rule=entry.edges_rule,
        echo=entry.echo,
        readiness=readiness,
        verification=verification,
        rto=shape.rto if entry.rto is None else entry.rto,
        profile=profile,
        budget=worst.budget,
        vantages=entry.vantages,
        evidence_kinds=entry.evidence_kinds,
        cooldown=entry.cooldown,
        switches_per_window=entry.switches_per_window,
        window=entry.window,
        failback_stable=entry.failback_stable,
        automatic_failback=entry.automatic_failback,
        drain_deadline=entry.drain_deadline,
        step_timeout=allowed(entry.step_timeout, shape.step_timeout),
        freeze_timeout=freeze,
        reconcile_interval=entry.reconcile_interval,
        runbook=entry.runbook,
        last_resort=entry.last_resort,
        media_anchored=entry.media_anchored,
    )
    return group, worst
