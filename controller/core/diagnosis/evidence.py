"""The flat dotted variables that conditions of fault rules read about one component.

Each is looked up when it is first read: a rule costs what it reads. What is not known, or older than a term allows,
is missing, and a condition that needs it is UNKNOWN.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from controller.core.diagnosis import traffic
from controller.core.diagnosis.vantages import BAD
from controller.core.topology import Topology, group_of, rung_of
from controller.model.faults import EvidenceKind
from controller.model.health import HealthState, Measurement, Outcome, RungKey
from controller.model.moments import Value
from controller.model.policy import Policy, Role, Term
from controller.model.state import RungView, State
from controller.model.variables import COMPONENT

_SILENT = frozenset({HealthState.UNKNOWN, HealthState.UP})


def _taken_back(view: RungView) -> bool:
    """Whether it was known once, and its probes have been void for too long since."""
    return view.state is HealthState.UNKNOWN and view.outcome is Outcome.VOID


@functools.lru_cache(maxsize=4096)
def _split(name: str) -> tuple[str, str, str]:
    """role, rung ("" for a component's own variable) and attribute."""
    role, _, rest = name.partition(".")
    rung, dot, attribute = rest.partition(".")
    return (role, rung, attribute) if dot else (role, "", rest)


class Evidence(Mapping[str, Value]):
    """Of one component at one moment. Iterating gives the variables read so far."""

    def __init__(self, state: State, policy: Policy, layout: Topology, component: str, now: float) -> None:
        self._state, self._policy, self._now = state, policy, now
        self._component = component
        self._read: dict[str, Value] = {}
        self._keys: dict[tuple[Role, str], RungKey | None] = {}
        place = layout.places.get(component)
        self._group = group_of(policy, place)
        self._side = "" if place is None else place.side
        self._summary: traffic.Summary | None = None
        self._onset: float | None = None

    def get(self, key: str, default: Value = None) -> Value:  # type: ignore[override]
        if key not in self._read:
            self._read[key] = self._look_up(key)
        value = self._read[key]
        return default if value is None else value

    def __getitem__(self, key: str) -> Value:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)

    def key(self, role: Role, rung: str) -> RungKey | None:
        """Which rung of which component that is; None when there is none to run."""
        asked = (role, rung)
        if asked not in self._keys:
            component = self._who(role)
            known = rung_of(self._policy, component, rung) is not None
            self._keys[asked] = RungKey(component, rung) if known else None
        return self._keys[asked]

    def stale(self, term: Term) -> RungKey | None:
        """The rung a term asks for when what it said is too old: older than `fresh`, or begun before the trouble."""
        if term.probe is None or not term.fresh:
            return None
        key = self.key(*term.probe)
        if key is None:
            return None
        measured = self._state.measurements.get(key)
        if measured is None:
            view = self._state.rungs.get(key)
            # A scheduled rung that reports no values: its verdict is renewed by its prober's progress. Of a component in
            # trouble, though, a good one may be the last before the trouble.
            if view is not None and view.state is HealthState.UP and key.component == self._component:
                return key if self.onset else None
            return None if view is not None and view.state is not HealthState.UNKNOWN else key
        if self._now - measured.at > term.fresh or self._began(key, measured) < self.onset - 1e-9:
            return key
        return None

    @property
    def onset(self) -> float:
        """When the present trouble of this component began, at the earliest; 0.0 with none."""
        if self._onset is None:
            seen = self.traffic
            moments = [self._first_bad(probes_only=False), 0.0 if seen is None else seen.onset]
            self._onset = min((moment for moment in moments if moment), default=0.0)
        return self._onset

    @property
    def traffic(self) -> traffic.Summary | None:
        """None for what is no side of a group."""
        if self._group is None:
            return None
        if self._summary is None:
            peers = [side.name for side in self._group.sides if side.name != self._side]
            self._summary = traffic.summary(
                self._state.diagnosis.traffic,
                self._group.edges,
                self._side,
                peers[0] if peers else "",
                self._now,
                self._first_bad(probes_only=True),
            )
        return self._summary

    def _began(self, key: RungKey, measured: Measurement) -> float:
        if measured.sent_at:
            return measured.sent_at
        rung = rung_of(self._policy, key.component, key.rung)
        return measured.at - (0.0 if rung is None else rung.timeout)

    def _first_bad(self, *, probes_only: bool) -> float:
        earliest = 0.0
        found = self._policy.components.get(self._component)
        for rung in found.ladder if found is not None else ():
            if probes_only and rung.evidence is not EvidenceKind.PROBE:
                continue
            view = self._state.rungs.get(RungKey(self._component, rung.name))
            if view is None or view.state in _SILENT or not view.first_bad:
                continue
            if not earliest or view.first_bad < earliest:
                earliest = view.first_bad
        return earliest

    def _who(self, role: str) -> str:
        match role:
            case Role.SELF:
                return self._component
            case Role.PEER if self._group is not None:
                return next((s.component for s in self._group.sides if s.name != self._side), "")
            case Role.ECHO if self._group is not None:
                return self._group.echo
            case Role.PARENT:
                return self._parent()
            case _:
                return ""

    def _parent(self) -> str:
        """The first broken one of what it depends on, else the first."""
        found = self._policy.components.get(self._component)
        parents = found.depends_on if found is not None else ()
        return next((name for name in parents if name in self._state.broken), parents[0] if parents else "")

    def _look_up(self, name: str) -> Value:
        role, rung, attribute = _split(name)
        if role == Role.EDGE:
            return self._edge(attribute)
        component = self._who(role)
        if not component:
            return None
        if not rung:
            return self._of_component(component, attribute) if attribute in COMPONENT else None
        return self._of_rung(RungKey(component, rung), attribute)

    def _edge(self, attribute: str) -> Value:
        seen = self.traffic
        if seen is None:
            return None
        if attribute in ("total", "reached"):
            return int(getattr(seen, attribute))
        if not seen.reached:
            return None
        value: Value = getattr(seen, attribute, None)
        return value

    def _of_component(self, component: str, attribute: str) -> Value:
        broken = self._state.broken.get(component)
        match attribute:
            case "broken" | "state":
                if broken is None and not self._stands(component):
                    return None
                if broken is not None and self._state.rungs[RungKey(component, broken)].state not in BAD:
                    return None  # found broken once, and not known any more
                if attribute == "broken":
                    return broken or ""
                return str(HealthState.DOWN if broken else HealthState.UP)
            case "active":
                return self._active(component)
            case "fenced":
                return self._fenced(component)
            case _:
                return any(
                    view.flapping
                    for rung in self._policy.components[component].ladder
                    if (view := self._state.rungs.get(RungKey(component, rung.name))) is not None
                )

    def _stands(self, component: str) -> bool:
        found = self._policy.components.get(component)
        for rung in found.ladder if found is not None else ():
            view = self._state.rungs.get(RungKey(component, rung.name))
            if view is not None and view.state in (HealthState.UP, HealthState.SUSPECT):
                return True
        return False

    def _active(self, component: str) -> Value:
        if self._group is None:
            return None
        group = self._state.groups.get(self._group.name)
        side = next((side for side in self._group.sides if side.component == component), None)
        return None if group is None or side is None else group.active == side.name

    def _fenced(self, component: str) -> Value:
        if self._group is None:
            return None
        group = self._state.groups.get(self._group.name)
        side = next((side for side in self._group.sides if side.component == component), None)
        return None if group is None or side is None else side.name in group.fenced

    def _of_rung(self, key: RungKey, attribute: str) -> Value:
        view = self._state.rungs.get(key)
        measured = self._state.measurements.get(key)
        if view is not None and _taken_back(view):
            return None  # also what it measured before
        match attribute:
            case "state":
                if view is not None:
                    return None if view.state is HealthState.UNKNOWN else str(view.state)
                if measured is None:
                    return None
                return str(HealthState.UP if measured.up else HealthState.DOWN)
            case "outcome":
                if measured is not None:
                    return str(measured.outcome)
                return str(view.outcome) if self._heard(key) and view is not None else None
            case "failures":
                if measured is not None:
                    return measured.failures
                return view.failures if self._heard(key) and view is not None else None
            case _:
                for name, value in measured.values if measured is not None else ():
                    if name == attribute:
                        return value
                if attribute == "code" and view is not None and self._heard(key):
                    return view.code
                return None

    def _heard(self, key: RungKey) -> bool:
        """A live vantage ever said anything about it."""
        view = self._state.rungs.get(key)
        return view is not None and (view.state is not HealthState.UNKNOWN or view.first_bad > 0.0)


class Without(Mapping[str, Value]):
    """Evidence that leaves out one rung: what it said is too old for the term that asks."""

    def __init__(self, evidence: Evidence, role: str, rung: str) -> None:
        self._evidence, self._prefix = evidence, f"{role}.{rung}."

    def get(self, key: str, default: Value = None) -> Value:  # type: ignore[override]
        return default if key.startswith(self._prefix) else self._evidence.get(key, default)

    def __getitem__(self, key: str) -> Value:
        if key.startswith(self._prefix):
            raise KeyError(key)
        return self._evidence[key]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._evidence if not name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)
