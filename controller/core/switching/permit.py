"""Permit: every reason why a switch, or a repair that drops calls, may not start now.

All standing guards are returned at once, in the order of `Refusal`. Which guards stand in whose way:

- by rule (automatic): all of them;
- a person's switchover, failover, failback: what protects automation from itself (arming, vantages, hold, cooldown,
  budget, RTO, fault domain) does not apply; safety and readiness do. `failover` applies the rule by hand, so it
  needs evidence, of which the person is one kind;
- `force`: holds, cooldown and evidence count as well, so that each one bypassed is named; those the person named in
  `overrides` are bypassed, but never one of UNBYPASSABLE;
- a repair (`verb` None): as by rule, without what concerns a target side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controller.core.switching import readiness
from controller.model.faults import EvidenceKind, Fault, FaultKind
from controller.model.groups import UNBYPASSABLE, Group, Phase, Refusal, SwitchVerb
from controller.model.moments import Moment
from controller.model.policy import EdgesRule, GroupPolicy, Policy
from controller.model.runs import RunState
from controller.model.state import State

ONLY_BY_RULE = frozenset(
    {
        Refusal.NOT_ARMED,
        Refusal.OVER_RTO,
        Refusal.NEVER_SWITCH,
        Refusal.OUTSIDE_DOMAIN,
    }
)
"""Guards against automation; a person is not asked."""

ALSO_BY_FORCE = frozenset(
    {
        Refusal.TOO_FEW_VANTAGES,
        Refusal.ON_HOLD,
        Refusal.COOLDOWN,
        Refusal.BUDGET_SPENT,
    }
)
"""Guards against automation that a force must nevertheless name."""

OLDEST_READ = 5
"""Reconciliation intervals after which what was read of the edges is unknown data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is asked for. `verb` None: a repair that drops the calls of the group's active side.

    `evidence`: kinds beyond those of the standing faults. `fault`: a FaultKind or a FaultKey as text; "" unknown.
    `run`: the run that asks, which does not stand in its own way. `overrides`: the guards a force names.
    """

    group: str
    verb: SwitchVerb | None
    target: str = ""
    automatic: bool = True
    fault: str = ""
    evidence: tuple[EvidenceKind, ...] = ()
    run: str = ""
    overrides: tuple[Refusal, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """`refusals` stand; `bypassed` would, had a force not named them. `evidence`: the kinds that were counted."""

    refusals: tuple[Refusal, ...]
    bypassed: tuple[Refusal, ...] = ()
    evidence: tuple[EvidenceKind, ...] = ()


def refusals(state: State, at: Moment, policy: Policy, request: Request) -> tuple[Refusal, ...]:
    """Why it may not start now; empty when it may."""
    return judge(state, at, policy, request).refusals


def judge(state: State, at: Moment, policy: Policy, request: Request) -> Judgement:
    group, rules = state.groups.get(request.group), policy.groups.get(request.group)
    if group is None or rules is None:
        return Judgement(refusals=(Refusal.UNKNOWN_GROUP,))
    if request.verb is not None and rules.side(request.target) is None:
        return Judgement(refusals=(Refusal.UNKNOWN_SIDE,))
    case = _Case(state=state, at=at, policy=policy, group=group, rules=rules, request=request)
    standing = {
        guard for guard in Refusal if guard in _GUARDS and _applies(guard, request) and _GUARDS[guard](case)
    }
    bypassed: set[Refusal] = set()
    if request.verb is SwitchVerb.FORCE and not request.automatic:
        bypassed = standing & set(request.overrides) - UNBYPASSABLE
    return Judgement(
        refusals=tuple(guard for guard in Refusal if guard in standing - bypassed),
        bypassed=tuple(guard for guard in Refusal if guard in bypassed),
        evidence=case.evidence(),
    )


def arming_refusals(state: State, at: Moment, policy: Policy, name: str) -> tuple[Refusal, ...]:
    """Why a group may not be armed: the standby must be proved ready, and the worst case must fit the RTO."""
    group, rules = state.groups.get(name), policy.groups.get(name)
    if group is None or rules is None:
        return (Refusal.UNKNOWN_GROUP,)
    standby = rules.other(group.active).name
    request = Request(group=name, verb=SwitchVerb.FAILOVER, target=standby)
    case = _Case(state=state, at=at, policy=policy, group=group, rules=rules, request=request)
    guards = (
        Refusal.TARGET_NOT_READY,
        Refusal.UNKNOWN_DATA,
        Refusal.FENCE_NOT_READY,
        Refusal.OVER_RTO,
        Refusal.EDGES_UNREACHABLE,
        Refusal.NEEDS_PERSON,
    )
    return tuple(guard for guard in guards if _GUARDS[guard](case))


def faults_against(state: State, rules: GroupPolicy, side: str, name: str) -> tuple[Fault, ...]:
    """The standing, unsuppressed faults of a side or its whole group; of this name, unless it is empty."""
    place = rules.side(side)
    component = "" if place is None else place.component
    return tuple(
        fault
        for fault in state.faults.values()
        if fault.active
        and not fault.suppressed_by
        and (fault.component == component or (fault.group == rules.name and fault.side in ("", side)))
        and (not name or name in (str(fault.kind), str(fault.key)))
    )


def holds_over(state: State, at: Moment, scopes: frozenset[str], *, maintenance: bool) -> bool:
    return any(
        hold.until_wall > at.wall and hold.scope in scopes and hold.maintenance is maintenance
        for hold in state.holds.values()
    )


def held(state: State, at: Moment, rules: GroupPolicy) -> bool:
    """Whether automation is paused for the group by any hold or maintenance."""
    scopes = _scopes(rules)
    return holds_over(state, at, scopes, maintenance=False) or holds_over(state, at, scopes, maintenance=True)


def leads(state: State, at: Moment) -> bool:
    """Leadership is proved for this moment."""
    return state.lease_deadline is not None and at.mono < state.lease_deadline


def may_act(state: State, at: Moment) -> bool:
    """The two guards that are checked again before every single command."""
    return leads(state, at) and at.mono >= state.gap_until


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    state: State
    at: Moment
    policy: Policy
    group: Group
    rules: GroupPolicy
    request: Request

    def evidence(self) -> tuple[EvidenceKind, ...]:
        """Kinds that stand against the active side, without control experiments' own word for themselves."""
        kinds = set(self.request.evidence)
        for fault in faults_against(self.state, self.rules, self.group.active, self.request.fault):
            kinds.update(fault.evidence_kinds)
        if not self.request.automatic:
            kinds.add(EvidenceKind.PERSON)
        return tuple(kind for kind in EvidenceKind if kind in kinds)

    def target_component(self) -> str:
        side = self.rules.side(self.request.target)
        return "" if side is None else side.component

    def readiness(self) -> frozenset[Refusal]:
        return readiness.shortcomings(
            self.state, self.at, self.policy, self.rules, self.group, self.request.target
        )


def _not_armed(case: _Case) -> bool:
    """A failback by rule must have been allowed in so many words."""
    unwanted = case.request.verb is SwitchVerb.FAILBACK and not case.rules.automatic_failback
    return case.group.armed is None or unwanted


def _no_lease(case: _Case) -> bool:
    return not leads(case.state, case.at)


def _too_few_vantages(case: _Case) -> bool:
    """k is fixed; vantages of one failure domain count once."""
    domains = {item.failure_domain or item.name for item in case.state.vantages.values() if item.live}
    return len(domains) < case.rules.vantages


def _one_kind_of_evidence(case: _Case) -> bool:
    """An experiment rules another explanation out; it is made with the instruments that raised the suspicion, so it is
    no second kind. A person's word alone is not enough either. An address that nobody holds is no suspicion: it is what
    the holders' own kernels say, and waiting for a second kind would leave it so for ever."""
    if any(
        fault.kind is FaultKind.VIP_UNHELD
        for fault in faults_against(case.state, case.rules, case.group.active, case.request.fault)
    ):
        return False
    kinds = set(case.evidence()) - {EvidenceKind.CONTROL}
    return len(kinds) < case.rules.evidence_kinds or not kinds - {EvidenceKind.PERSON}


def _on_hold(case: _Case) -> bool:
    return holds_over(case.state, case.at, _scopes(case.rules), maintenance=False)


def _maintenance(case: _Case) -> bool:
    """By rule: of anything the group consists of. By a person: of the side that would take the calls."""
    scopes = _scopes(case.rules) if case.request.automatic else frozenset({case.target_component()})
    return holds_over(case.state, case.at, scopes, maintenance=True)


def _cooldown(case: _Case) -> bool:
    return case.group.cooldown_until is not None and case.at.mono < case.group.cooldown_until


def _run_in_progress(case: _Case) -> bool:
    """A switch, or a run that is acting. One that waits for a person holds nobody up: it is judged again when it
    goes on."""
    if case.group.switch is not None:
        return True
    return any(
        run.group == case.group.name
        and run.id != case.request.run
        and run.state in (RunState.RUNNING, RunState.ROLLING_BACK)
        for run in case.state.runs.values()
    )


def _target_not_ready(case: _Case) -> bool:
    return Refusal.TARGET_NOT_READY in case.readiness()


def _unknown_data(case: _Case) -> bool:
    if case.rules.verification is None:
        return True  # a switch nobody could prove
    if case.rules.edges:
        oldest = max(OLDEST_READ * case.rules.reconcile_interval, OLDEST_READ * case.rules.step_timeout)
        if case.group.read_at is None or case.at.mono - case.group.read_at > oldest:
            return True
    return Refusal.UNKNOWN_DATA in case.readiness()


def _fence_not_ready(case: _Case) -> bool:
    return case.group.fence_ready is not True


def over_rto(rules: GroupPolicy) -> bool:
    """Its worst case is longer than it may be out for, or nobody worked it out."""
    return rules.budget is None or rules.budget.total > rules.rto


def _over_rto(case: _Case) -> bool:
    return over_rto(case.rules)


def _budget_spent(case: _Case) -> bool:
    """Completion times are wall times, to survive a restart; one in the future (a stepped clock) counts."""
    begin = case.at.wall - case.rules.window
    return sum(wall > begin for wall in case.group.automatic_walls) >= case.rules.switches_per_window


def _timer_gap(case: _Case) -> bool:
    return case.at.mono < case.state.gap_until


def _already_active(case: _Case) -> bool:
    return case.request.target == case.group.active and case.group.phase is not Phase.NEEDS_PERSON


def _domain(case: _Case) -> tuple[Fault, ...]:
    return faults_against(case.state, case.rules, case.group.active, case.request.fault)


def _never_switch(case: _Case) -> bool:
    """Every named standing fault is one that never switches. None standing is a matter of evidence."""
    faults = _domain(case)
    return bool(faults) and all(
        not fault.actionable
        or fault.kind not in case.policy.domains
        or case.policy.domains[fault.kind].never_switch
        for fault in faults
    )


def _outside_domain(case: _Case) -> bool:
    """One-way audio lies inside the side only when the media anchor does; another group's fault never does."""
    if not case.request.fault:
        return False
    faults = _domain(case)
    if not faults:
        return any(
            fault.active and case.request.fault in (str(fault.kind), str(fault.key))
            for fault in case.state.faults.values()
        )
    return all(fault.kind is FaultKind.MEDIA_ONE_WAY and not case.rules.media_anchored for fault in faults)


def _edges_unreachable(case: _Case) -> bool:
    unreachable = set(case.group.unreachable_edges) & set(case.rules.edges)
    if case.rules.edges_rule is EdgesRule.ALL:
        return bool(unreachable)
    return bool(case.rules.edges) and len(unreachable) == len(case.rules.edges)


def _unstable(case: _Case) -> bool:
    """Failback only: the target has stood unbroken for long enough, without a break."""
    if case.request.verb is not SwitchVerb.FAILBACK:
        return False
    since = case.group.standby_since
    return since is None or case.at.mono - since < case.rules.failback_stable


def _needs_person(case: _Case) -> bool:
    return case.group.phase is Phase.NEEDS_PERSON


_GUARDS: dict[Refusal, Callable[[_Case], bool]] = {
    Refusal.NOT_ARMED: _not_armed,
    Refusal.NO_LEASE: _no_lease,
    Refusal.TOO_FEW_VANTAGES: _too_few_vantages,
    Refusal.ONE_KIND_OF_EVIDENCE: _one_kind_of_evidence,
    Refusal.ON_HOLD: _on_hold,
    Refusal.MAINTENANCE: _maintenance,
    Refusal.COOLDOWN: _cooldown,
    Refusal.RUN_IN_PROGRESS: _run_in_progress,
    Refusal.TARGET_NOT_READY: _target_not_ready,
    Refusal.UNKNOWN_DATA: _unknown_data,
    Refusal.FENCE_NOT_READY: _fence_not_ready,
    Refusal.OVER_RTO: _over_rto,
    Refusal.BUDGET_SPENT: _budget_spent,
    Refusal.TIMER_GAP: _timer_gap,
    Refusal.ALREADY_ACTIVE: _already_active,
    Refusal.NEVER_SWITCH: _never_switch,
    Refusal.OUTSIDE_DOMAIN: _outside_domain,
    Refusal.EDGES_UNREACHABLE: _edges_unreachable,
    Refusal.UNSTABLE: _unstable,
    Refusal.NEEDS_PERSON: _needs_person,
}

_NEED_A_TARGET = frozenset(
    {
        Refusal.TARGET_NOT_READY,
        Refusal.UNKNOWN_DATA,
        Refusal.FENCE_NOT_READY,
        Refusal.OVER_RTO,
        Refusal.ALREADY_ACTIVE,
        Refusal.NEVER_SWITCH,
        Refusal.OUTSIDE_DOMAIN,
        Refusal.EDGES_UNREACHABLE,
        Refusal.UNSTABLE,
    }
)
"""Guards that mean nothing for a repair."""


def _applies(guard: Refusal, request: Request) -> bool:
    if request.verb is None and guard in _NEED_A_TARGET:
        return False
    if request.verb in (SwitchVerb.SWITCHOVER, SwitchVerb.FAILBACK) and guard is Refusal.ONE_KIND_OF_EVIDENCE:
        return False
    if request.automatic:
        return True
    match guard:
        case _ if guard in ALSO_BY_FORCE:
            return request.verb is SwitchVerb.FORCE
        case _:
            return guard not in ONLY_BY_RULE


def _scopes(rules: GroupPolicy) -> frozenset[str]:
    return frozenset({"*", rules.name, *rules.edges, *(side.component for side in rules.sides)})
