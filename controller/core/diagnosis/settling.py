"""One cause, one fault to act upon: dependents wait a moment for their parent, and are explained by it.

A dependent's fault is held back for `policy.settle` seconds. If what it depends on has a fault by then, that one
explains it. If not, but many dependents of the same parent fail together, a common cause is inferred at the parent,
though it looks up or nobody probes it. Sides of groups never wait and are never explained away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from immutables import Map

from controller.core.diagnosis.raising import changed, cleared, diagnosed, raised, suppressed
from controller.core.diagnosis.standing import NOBODY, cause_at, faults_at
from controller.core.draft import Draft
from controller.core.topology import topology
from controller.model.diagnosis import Diagnosis, Settling
from controller.model.events import FaultRaised
from controller.model.faults import EvidenceKind, Fault, FaultKey, FaultKind, TermResult, Verdict
from controller.model.policy import Policy
from controller.model.state import State

MOST_AT_ONCE = 100
"""Faults settled in one go: a failover may be waiting meanwhile."""

BREATH = 0.02
"""Seconds between two goes: whatever is urgent goes between them."""

MANY = 20
"""Times the policy's minimum: so many failing together are one cause whatever their share."""


def parents(policy: Policy, component: str) -> tuple[str, ...]:
    """What can explain this component's faults; nothing explains a side's."""
    found = policy.components.get(component)
    if found is None or component in topology(policy).places:
        return ()
    return found.depends_on


def defer(draft: Draft, fault: Fault) -> None:
    """Hold a dependent's new fault back."""
    parent = _parent(draft.state, draft.policy, fault.component)
    diagnosis, recent = draft.state.diagnosis, draft.state.recent_failures
    now = draft.at.mono
    since = now - draft.policy.common_cause.window
    failures = recent.get(parent, ())
    # More than this are one cause anyway.
    old = max(0, len(failures) - MANY * draft.policy.common_cause.minimum)
    while old < len(failures) and failures[old][0] < since:
        old += 1
    draft.state = replace(
        draft.state,
        diagnosis=replace(
            diagnosis,
            pending=diagnosis.pending.set(fault.key, fault),
            settling=_waiting(diagnosis.settling, parent, (fault.key,), now, draft.policy.settle),
        ),
        recent_failures=recent.set(parent, (*failures[old:], (now, fault.component))),
    )


def withdraw(draft: Draft, key: FaultKey) -> None:
    """It was over before it was recorded."""
    diagnosis = draft.state.diagnosis
    settling = diagnosis.settling
    for parent, waiting in settling.items():
        if key in waiting.keys:
            settling = _without(settling, parent, key)
            break
    _keep(draft, replace(diagnosis, pending=diagnosis.pending.delete(key), settling=settling))


def explain_dependents(draft: Draft, component: str) -> None:
    """A parent has got a fault: those of its dependents that stand by themselves are explained by it."""
    keys = [
        fault.key
        for child in draft.policy.children.get(component, ())
        if child in draft.state.diagnosis.standing and component in parents(draft.policy, child)
        for fault in faults_at(draft.state, child)
        if not fault.suppressed_by and fault.kind is not FaultKind.REPORTED
    ]
    if keys:
        _wait(draft, component, keys, 0.0)


def release(draft: Draft, component: str) -> None:
    """A parent's fault is over: what it explained has a while to come back, or stands by itself."""
    if cause_at(draft.state, component) is not None:
        return
    keys = draft.state.diagnosis.followers.get(component, NOBODY)
    if keys:
        _wait(draft, component, keys, max(draft.policy.settle, draft.policy.common_cause.window))


def settle(draft: Draft) -> None:
    """Whatever is due."""
    for parent, waiting in sorted(draft.state.diagnosis.settling.items()):
        if draft.at.mono < waiting.due:
            continue
        if waiting.keys:
            _settle(draft, parent, waiting)
        else:
            _keep(
                draft,
                replace(draft.state.diagnosis, settling=draft.state.diagnosis.settling.delete(parent)),
            )


def dwindled(draft: Draft, component: str) -> None:
    """An inferred common cause ends with its dependents' faults, or when the parent's own fault is found."""
    inferred = draft.state.faults.get(FaultKey(FaultKind.COMMON_CAUSE, component))
    if inferred is None or inferred.rule:
        return
    left = len(draft.state.diagnosis.followers.get(component, NOBODY))
    if left < draft.policy.common_cause.minimum:
        cleared(draft, inferred, "its dependents recovered")
        release(draft, component)


def wake_at(state: State) -> float | None:
    return min((waiting.due for waiting in state.diagnosis.settling.values()), default=None)


def _parent(state: State, policy: Policy, component: str) -> str:
    above = parents(policy, component)
    explained = (name for name in above if name in state.broken or name in state.diagnosis.standing)
    return next(explained, above[0])


def _keep(draft: Draft, diagnosis: Diagnosis) -> None:
    draft.state = replace(draft.state, diagnosis=diagnosis)


def _wait(draft: Draft, parent: str, keys: Iterable[FaultKey], seconds: float) -> None:
    diagnosis = draft.state.diagnosis
    settling = _waiting(diagnosis.settling, parent, keys, draft.at.mono, seconds)
    _keep(draft, replace(diagnosis, settling=settling))


def _waiting(
    settling: Map[str, Settling], parent: str, keys: Iterable[FaultKey], now: float, seconds: float
) -> Map[str, Settling]:
    known = settling.get(parent)
    due = now + seconds
    together = NOBODY if known is None else known.keys
    if known is not None:
        # Whoever joins is no reason to hurry: an event folded late has its own wait behind it already.
        due = known.due if seconds else min(known.due, due)
    for key in keys:
        together = together.set(key, True)
    return settling.set(parent, Settling(due, together))


def _without(settling: Map[str, Settling], parent: str, key: FaultKey) -> Map[str, Settling]:
    rest = settling[parent].keys.delete(key)
    return settling.set(parent, settling[parent]._replace(keys=rest)) if rest else settling.delete(parent)


def _settle(draft: Draft, parent: str, waiting: Settling) -> None:
    top = _top(draft, parent)
    cause = None if top is None else cause_at(draft.state, top)
    if cause is None and top is not None:
        cause = _surfaced(draft, top)
    if cause is None and _together(draft, parent, waiting):
        cause = _common_cause(draft, parent, len(waiting.keys))
    if cause is not None and not cause.incident:
        return  # settled again in the same step, once its incident is open
    faults = _taken(draft, parent, waiting)
    if cause is None:
        for fault in faults:
            _alone(draft, fault)
        return
    known = len(draft.state.diagnosis.followers.get(cause.component, NOBODY))
    suppressed(draft, [fault for fault in faults if fault.suppressed_by != cause.component], cause)
    below = [
        key
        for fault in faults
        for key in sorted(draft.state.diagnosis.followers.get(fault.component, NOBODY))
    ]
    if below:
        suppressed(draft, [draft.state.faults[key] for key in below], cause)
    if parent in draft.state.diagnosis.settling and draft.state.diagnosis.settling[parent].keys:
        return  # how far it reaches is looked at once, with the last of them
    if len(draft.state.diagnosis.followers.get(cause.component, NOBODY)) != known:
        draft.events.append(FaultRaised(at=draft.at, key=cause.key))


def _taken(draft: Draft, parent: str, waiting: Settling) -> list[Fault]:
    """The faults that waited, no longer held back; without those that are over. Those that are left are due at once;
    with none left the parent rests for a while, or a storm folded late would be settled fault by fault."""
    diagnosis = draft.state.diagnosis
    pending, left = diagnosis.pending.mutate(), waiting.keys.mutate()
    faults = []
    for key in sorted(waiting.keys)[:MOST_AT_ONCE]:
        del left[key]
        fault = pending.pop(key, None) or draft.state.faults.get(key)
        if fault is not None:
            faults.append(fault)
    rest = left.finish()
    due = draft.at.mono + (BREATH if rest else draft.policy.settle)
    settling = diagnosis.settling.set(parent, Settling(due, rest))
    _keep(draft, replace(diagnosis, pending=pending.finish(), settling=settling))
    return faults


def _alone(draft: Draft, fault: Fault) -> None:
    """By itself; what was explained stays in the incident it came with."""
    if fault.key not in draft.state.faults:
        raised(draft, fault)
    elif fault.suppressed_by:
        changed(draft, replace(fault, suppressed_by=""), "no longer explained by what it depends on")
    explain_dependents(draft, fault.component)


def _explains(state: State, component: str) -> bool:
    return (
        component in state.broken
        or cause_at(state, component) is not None
        or any(key.component == component for key in _pending_at(state, component))
    )


def _pending_at(state: State, component: str) -> tuple[FaultKey, ...]:
    pending = state.diagnosis.pending
    if not pending:
        return ()
    return tuple(key for kind in FaultKind if (key := FaultKey(kind, component)) in pending)


def _top(draft: Draft, parent: str) -> str | None:
    """The topmost broken ancestor, from this parent up; None when the parent stands."""
    if not _explains(draft.state, parent):
        return None
    seen = {parent}
    while True:
        above = [
            name
            for name in parents(draft.policy, parent)
            if name not in seen and _explains(draft.state, name)
        ]
        if not above:
            return parent
        parent = above[0]
        seen.add(parent)


def _surfaced(draft: Draft, component: str) -> Fault | None:
    """The fault of a broken parent that was itself held back: recorded now. A parent that is broken by no rule's
    name gets the inferred one."""
    for key in _pending_at(draft.state, component):
        fault = draft.state.diagnosis.pending[key]
        withdraw(draft, key)
        raised(draft, fault)
        return fault
    if component in draft.state.broken and component in draft.policy.components:
        return _common_cause(draft, component, len(draft.policy.children.get(component, ())))
    return None


def _together(draft: Draft, parent: str, waiting: Settling) -> bool:
    rules = draft.policy.common_cause
    since = draft.at.mono - max(rules.window, draft.policy.settle)
    standing = draft.state.diagnosis.standing
    recent = {
        child
        for moment, child in draft.state.recent_failures.get(parent, ())
        if moment >= since and child in standing
    }
    pending, faults = draft.state.diagnosis.pending, draft.state.faults
    failed = recent | {key.component for key in waiting.keys if key in pending or key in faults}
    if len(failed) < rules.minimum:
        return False
    children = len(draft.policy.children.get(parent, ())) or len(failed)
    return len(failed) >= rules.share * children or len(failed) >= MANY * rules.minimum


def _common_cause(draft: Draft, parent: str, failed: int) -> Fault:
    children = len(draft.policy.children.get(parent, ()))
    term = TermResult(
        "dependents-fail-together",
        EvidenceKind.PEER,
        Verdict.TRUE,
        f"{failed} of {children} dependents failed together",
        (("failed", failed), ("dependents", children)),
    )
    fault = diagnosed(
        draft,
        FaultKind.COMMON_CAUSE,
        parent,
        actionable=False,
        evidence=(term,),
        kinds=(EvidenceKind.PEER,),
        details=(("failed", failed), ("dependents", children)),
    )
    raised(draft, fault)
    explain_dependents(draft, parent)
    return fault
