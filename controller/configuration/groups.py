"""Protected groups: sides, edges, driver, readiness, verification, and the time a switch may take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
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
from controller.core.objectives import Allowances, WorstCase, relevant, worst_case
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


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Makes groups of what is known of everything else. `places`: every component the files name, wrong ones included;
    `runbooks` likewise; `default` is the profile of a group that names none."""

    components: Mapping[str, Component]
    places: Mapping[str, Document]
    runbooks: Collection[str]
    kinds: Kinds
    default: Profile
    problems: list[Problem]

    def build(self, name: str, entry: GroupEntry, document: Document) -> tuple[GroupPolicy, WorstCase] | None:
        """The frozen group with its budget; None, with problems appended, when anything in it is wrong."""
        before = len(self.problems)
        profile = entry.profile or self.default
        shape = PROFILES[profile]
        self._check_names(entry, document)
        self._check_edges(entry, document)
        readiness = self._readiness(entry, document)
        verification = self._verification(entry, document)
        parameters = self._driver(entry, document)
        allowances = _allowances(entry, shape.allowances)
        sides = self._deciding(entry, document)
        edges = [
            rung
            for edge in entry.edges
            if edge in self.components
            for rung in relevant(self.components[edge])
        ]
        if len(self.problems) > before or not sides:
            return None
        worst = worst_case(sides, edges, allowances)
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
            rto=_given(entry.rto, shape.rto),
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
            step_timeout=_given(entry.step_timeout, shape.step_timeout),
            freeze_timeout=allowances.freeze,
            reconcile_interval=entry.reconcile_interval,
            runbook=entry.runbook,
            last_resort=entry.last_resort,
            media_anchored=entry.media_anchored,
        )
        return group, worst

    def _check_names(self, entry: GroupEntry, document: Document) -> None:
        for side, item in entry.sides.items():
            self._component(item.component, document, ("sides", side, "component"))
        for index, edge in enumerate(entry.edges):
            self._component(edge, document, ("edges", index))
        if entry.echo:
            self._component(entry.echo, document, ("echo",))
        for key, runbook in (("runbook", entry.runbook), ("last_resort", entry.last_resort)):
            if runbook not in self.runbooks:
                self.problems.append(
                    document.problem((key,), f"unknown runbook {runbook!r}{closest(runbook, self.runbooks)}")
                )

    def _check_edges(self, entry: GroupEntry, document: Document) -> None:
        """An edge's probe that counts by side must name the sides and their destinations as the group does: otherwise
        its counters would never be found, and live traffic never be evidence."""
        for index, edge in enumerate(entry.edges):
            ladder = self.components[edge].ladder if edge in self.components else ()
            for rung in ladder:
                counted = getattr(rung.parameters, "sides", None)
                if not isinstance(counted, Mapping) or not any(side in counted for side in entry.sides):
                    continue  # no counters, or those of another group
                for side, item in entry.sides.items():
                    if side not in counted:
                        message = f"the rung {rung.name} of {edge} counts nothing for the side {side}"
                    elif str(counted[side]) != item.destination:
                        message = (
                            f"the rung {rung.name} of {edge} counts {counted[side]} for the side {side}, whose destination"
                            f" is {item.destination}: they must be the same byte for byte"
                        )
                    else:
                        continue
                    self.problems.append(document.problem(("edges", index), message))

    def _component(self, name: str, document: Document, path: Location) -> bool:
        if name in self.places:
            return True
        self.problems.append(
            document.problem(path, f"unknown component {name!r}{closest(name, self.places)}")
        )
        return False

    def _key(self, reference: str, document: Document, path: Location) -> RungKey:
        name, _, rung = reference.rpartition(".")
        component = self.components.get(name)
        if self._component(name, document, path) and component is not None and component.rung(rung) is None:
            rungs = [item.name for item in component.ladder]
            self.problems.append(document.problem(path, f"{name} has no rung {rung!r}{closest(rung, rungs)}"))
        return RungKey(name, rung)

    def _readiness(self, entry: GroupEntry, document: Document) -> tuple[ReadinessItem, ...]:
        return tuple(
            ReadinessItem(
                name=item.name,
                key=None
                if item.rung is None
                else self._key(item.rung, document, ("readiness", index, "rung")),
                freshness=item.freshness,
                manual=item.manual,
                owner=item.owner,
            )
            for index, item in enumerate(entry.readiness)
        )

    def _verification(self, entry: GroupEntry, document: Document) -> Verification | None:
        if entry.verification is None:
            return None
        path = ("verification", "rung")
        key = self._key(entry.verification.rung, document, path)
        component = self.components.get(key.component)
        rung = None if component is None else component.rung(key.rung)
        if rung is not None and "side" not in self.kinds.values_of(rung.probe):
            self.problems.append(
                document.problem(
                    path,
                    f"the probe {rung.probe} can't tell which side answered: verify by a test call (sip_call)",
                )
            )
        return Verification(
            rung=key,
            codec=entry.verification.codec,
            calls=entry.verification.calls,
            timeout=entry.verification.timeout,
            attempts=entry.verification.attempts,
        )

    def _driver(self, entry: GroupEntry, document: Document) -> object:
        adapter = self.kinds.adapter("driver", entry.driver.kind, document, ("driver", "kind"), self.problems)
        if adapter is None:
            return None
        written = document.part(("driver", "with"), entry.driver.with_)
        parameters = self.kinds.validated(adapter, written, self.problems)
        # A driver whose parameters map edges or sides names them as the group does.
        for key, names in (("edges", entry.edges), ("sides", tuple(entry.sides))):
            mapped = getattr(parameters, key, None)
            if not isinstance(mapped, Mapping):
                continue
            for name in mapped:
                if name not in names:
                    self.problems.append(
                        written.problem(
                            (key, name), f"the group has no such name under {key}{closest(name, names)}"
                        )
                    )
            for name in names:
                if name not in mapped:
                    self.problems.append(written.problem((key,), f"nothing for {name} of the group"))
        return parameters

    def _deciding(self, entry: GroupEntry, document: Document) -> list[tuple[RungKey, RungPolicy]]:
        """The rungs that say DOWN of the sides; a side without any is a problem."""
        rungs: list[tuple[RungKey, RungPolicy]] = []
        for side, item in entry.sides.items():
            component = self.components.get(item.component)
            if component is None:
                continue
            own = relevant(component)
            rungs += own
            if not own:
                self.problems.append(
                    document.problem(
                        ("sides", side, "component"),
                        f"{item.component} has no scheduled failover_relevant rung: its failure would not be seen",
                    )
                )
        return rungs


def _allowances(entry: GroupEntry, shape: Allowances) -> Allowances:
    written = entry.allowances
    return Allowances(
        decide=_given(written.decide, shape.decide),
        freeze=_given(entry.freeze_timeout, shape.freeze),
        fence=_given(written.fence, shape.fence),
        redirect=_given(written.redirect, shape.redirect),
        edge_timer=_given(written.edge_timer, shape.edge_timer),
    )


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
