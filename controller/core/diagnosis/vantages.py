"""Who counts: verdicts are k of n over live vantages, one vote a failure domain; a silent or isolated vantage abstains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from immutables import Map

from controller.core.topology import UNBIASED, Bias, Topology, topology
from controller.model.health import HealthState, Measurement, RungKey, Vantage
from controller.model.policy import Policy, RungPolicy
from controller.model.state import RungView, State

BAD = frozenset({HealthState.DOWN, HealthState.RECOVERING})
RETURN_GRACE = 2.0
"""Seconds from the first answer until a vantage that was cut off counts again: its other probes must rise first."""

FEWEST_LANDMARKS = 3
"""With fewer things to look at, all of them down proves nothing about the one who looks."""


def voters(state: State, by_vantage: Mapping[str, HealthState], wanted: frozenset[HealthState]) -> set[str]:
    """Failure domains whose live vantages say one of `wanted`."""
    domains = set()
    for name, word in by_vantage.items():
        vantage = state.vantages.get(name)
        if vantage is not None and vantage.live and word in wanted:
            domains.add(vantage.failure_domain or name)
    return domains


_DOWN = frozenset({HealthState.DOWN})
_UP = frozenset({HealthState.UP})
_SUSPECT = frozenset({HealthState.SUSPECT})


def verdict(
    state: State, by_vantage: Mapping[str, HealthState], k: int, bias: Bias = UNBIASED
) -> HealthState:
    """The word of at least `k` failure domains. `k` never shrinks with the number of live vantages.

    Against a side its own domain has no vote: where the two stand or fall together it can only see itself. The other
    side's has one, and never the deciding one alone: it may be the one that is cut off, and its own side gains.
    """
    if k == 1 and len(by_vantage) == 1 and bias is UNBIASED:
        ((name, word),) = by_vantage.items()
        vantage = state.vantages.get(name)
        return word if vantage is not None and vantage.live else HealthState.UNKNOWN
    down = voters(state, by_vantage, _DOWN)
    if _carried(down, k, bias):
        return HealthState.DOWN
    if _carried(voters(state, by_vantage, BAD), k, bias):
        return HealthState.RECOVERING
    if down or voters(state, by_vantage, _SUSPECT):
        return HealthState.SUSPECT
    return HealthState.UP if voters(state, by_vantage, _UP) else HealthState.UNKNOWN


def _carried(domains: set[str], k: int, bias: Bias) -> bool:
    counted = domains - {bias.own} if bias.own else domains
    return len(counted) >= k and bool(counted - bias.opposite)


def isolated(state: State, policy: Policy, vantage: str) -> bool:
    """Nothing that the groups consist of answers this vantage, edges and test targets included: then it is the one that
    is cut off. A rung that is only in doubt does not answer either, nor does one whose last good result began
    before the first of them failed."""
    known, down, beside = 0, False, False
    layout = topology(policy)
    onset = _onset(state, policy, layout)
    for name in layout.landmarks:
        words = _words(state, policy, vantage, name, onset)
        if HealthState.UP in words:
            return False
        if words:
            known += 1
            down = down or HealthState.DOWN in words
            beside = beside or layout.proves_isolation(name)
    return known >= FEWEST_LANDMARKS and down and beside


def _onset(state: State, policy: Policy, layout: Topology) -> float:
    """When the oldest present failure of a landmark began."""
    moments = [
        view.first_bad
        for name in layout.landmarks
        if name in policy.components
        for rung in policy.components[name].ladder
        if (view := state.rungs.get(RungKey(name, rung.name))) is not None
        and view.first_bad
        and view.state is not HealthState.UP
    ]
    return min(moments, default=0.0)


def _words(state: State, policy: Policy, vantage: str, component: str, onset: float) -> set[HealthState]:
    words: set[HealthState] = set()
    for rung in policy.components[component].ladder if component in policy.components else ():
        key = RungKey(component, rung.name)
        view = state.rungs.get(key)
        word = None if view is None or rung.on_demand else view.by_vantage.get(vantage)
        if word is None or word is HealthState.UNKNOWN:
            continue
        measured = state.measurements.get(key)
        if word is HealthState.UP and measured is not None and _began(measured, rung) < onset:
            continue
        words.add(word)
    return words


def _began(measured: Measurement, rung: RungPolicy) -> float:
    """At the earliest, where only the end is known."""
    return measured.sent_at or measured.at - rung.timeout


def seat(state: State, changed: Vantage) -> State:
    return replace(state, vantages=state.vantages.set(changed.name, changed))


def recount(state: State, policy: Policy, vantage: str, at: float) -> State:
    """All verdicts this vantage has a word in, after it came or went. Linear in its targets; rare."""
    layout = topology(policy)
    rungs, broken = state.rungs, state.broken
    for key, view in state.rungs.items():
        if vantage not in view.by_vantage:
            continue
        word = verdict(
            state,
            view.by_vantage,
            layout.quorum.get(key.component, 1),
            layout.biases.get(key.component, UNBIASED),
        )
        if word is not view.state:
            rungs = rungs.set(key, replace(view, state=word, since=at))
            broken = mark(policy, rungs, broken, key.component)
    return replace(state, rungs=rungs, broken=broken)


def mark(
    policy: Policy, rungs: Map[RungKey, RungView], broken: Map[str, str], component: str
) -> Map[str, str]:
    """`broken` with this component's first broken rung. While its rungs are unknown the last finding stands."""
    found = policy.components.get(component)
    if found is None:
        return broken
    known = False
    for rung in found.ladder:
        view = rungs.get(RungKey(component, rung.name))
        if rung.on_demand or view is None:
            continue
        if view.state in BAD:
            return broken if broken.get(component) == rung.name else broken.set(component, rung.name)
        known = known or view.state is not HealthState.UNKNOWN
    return broken.delete(component) if known and component in broken else broken


def reader(state: State, layout: Topology, key: RungKey) -> str:
    """The one vantage whose reads of an edge's counters are kept: two would count the same calls twice."""
    view = state.rungs.get(key)
    names = [name for name, vantage in state.vantages.items() if vantage.live]
    if view is not None:
        names = [name for name in names if name in view.by_vantage] or names
    return min(names, default="")
