"""Groups as the core reads them: every name in them checked against what it names, and their worst case worked out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from controller.configuration.documents import Document, Location
from controller.configuration.groups import GroupEntry
from controller.configuration.kinds import Kinds
from controller.configuration.profiles import PROFILES
from controller.configuration.validation import closest
from controller.core.objectives import Allowance, Allowances, Basis, WorstCase, relevant, worst_case
from controller.model.errors import Problem
from controller.model.groups import DriverVerb
from controller.model.health import RungKey
from controller.model.policy import (
    Component,
    GroupPolicy,
    Profile,
    ReadinessItem,
    RungPolicy,
    Side,
    Verification,
)
from controller.model.runbooks import Text


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
        freeze_timeout = _given(entry.freeze_timeout, shape.freeze_timeout)
        step_timeout = _given(entry.step_timeout, shape.step_timeout)
        sides = self._deciding(entry, document)
        edges = [
            rung
            for edge in entry.edges
            if edge in self.components
            for rung in relevant(self.components[edge])
        ]
        if len(self.problems) > before or not sides:
            return None
        idle_verbs: frozenset[DriverVerb] = getattr(parameters, "idle_verbs", frozenset())
        allowances = Allowances(
            decide=_given(entry.allowances.decide, shape.decide),
            freeze=0.0 if DriverVerb.FREEZE in idle_verbs else min(freeze_timeout, step_timeout),
            fence=_fence(entry.allowances.fence, step_timeout, parameters),
            redirect=_redirect(entry.allowances.redirect, step_timeout, idle_verbs),
            edge_timer=_given(entry.allowances.edge_timer, shape.edge_timer),
        )
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
            idle_verbs=idle_verbs,
            single_holder=getattr(parameters, "single_holder", False),
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
            failback_below=entry.failback_below,
            drain_deadline=entry.drain_deadline,
            step_timeout=step_timeout,
            freeze_timeout=freeze_timeout,
            reconcile_interval=entry.reconcile_interval,
            runbook=entry.runbook,
            last_resort=entry.last_resort,
            media_anchored=entry.media_anchored,
        )
        self._check_driver(group, entry, document)
        return (group, worst) if len(self.problems) == before else None

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

    def _check_driver(self, group: GroupPolicy, entry: GroupEntry, document: Document) -> None:
        """What the driver finds wrong with the group as a whole."""
        adapter = self.kinds.adapter("driver", entry.driver.kind, document, ("driver", "kind"), self.problems)
        for found in getattr(adapter, "problems", _none_found)(group, group.driver_parameters):
            self.problems.append(document.problem(tuple(found.path.split(".")), found.message))

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


def _none_found(group: GroupPolicy, parameters: object) -> list[Problem]:
    return []


def _fence(declared: float | None, step_timeout: float, parameters: object) -> Allowance:
    """FENCE, then CONFIRM_FENCE. A hold that may have to be waited out is a bound of the driver's own: what is declared
    can't undercut it."""
    outwait: float = getattr(parameters, "longest_fence", 0.0)
    if outwait > (declared or 0.0):
        return Allowance(seconds=outwait, basis=Basis.HOLD)
    if declared is not None:
        return Allowance(seconds=declared)
    return _timeouts(step_timeout, 2)


def _redirect(declared: float | None, step_timeout: float, idle_verbs: frozenset[DriverVerb]) -> Allowance:
    """PROMOTE, unless the driver has nothing to do for it, then REDIRECT."""
    if declared is not None:
        return Allowance(seconds=declared)
    return _timeouts(step_timeout, 1 if DriverVerb.PROMOTE in idle_verbs else 2)


def _timeouts(step_timeout: float, verbs: int) -> Allowance:
    return Allowance(seconds=step_timeout * verbs, basis=Basis.TIMEOUT, verbs=verbs)


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
