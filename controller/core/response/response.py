"""What to do about an incident by rule (policy 七-3): small impact is repaired in place, large impact inside a switchable
domain is switched, and where neither may be, the reason is kept.

Whether a switch may start is the failover stage's to say; a refused one is asked for again when nothing refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from controller.core.diagnosis.severity import LARGE, Extent, rated
from controller.core.diagnosis.standing import leading
from controller.core.draft import Draft
from controller.core.switching import permit
from controller.model.diagnosis import Response
from controller.model.events import RunWanted
from controller.model.facts import FactKind
from controller.model.faults import Fault, FaultKey, FaultKind
from controller.model.groups import SwitchVerb
from controller.model.incidents import Incident
from controller.model.moments import Values
from controller.model.state import State

RETRY = 1.0
"""Seconds between looks whether what stood in the way is gone. A look leaves no trace."""

SOON = 0.1
"""The same for what one renewal of the lease, the end of a pause or the first reading back takes away: calls are lost
meanwhile."""


class Withheld(StrEnum):
    """Why nothing is done by rule."""

    NOT_ACTIONABLE = "not_actionable"  # the evidence is too thin to act on
    NO_ACTION = "no_action"  # the domain table says so, with its reason
    NO_ROW = "no_domain_row"
    NO_LEASE = "no_lease"
    TIMER_GAP = "timer_gap"
    ON_HOLD = "on_hold"
    FENCED = "side_fenced"  # a repair could let the side back in; a person does that
    ENDED = "already_tried"  # it failed; a person decides what next
    REFUSED = "refused"  # the failover stage's guards refused the switch
    SHADOWED = "shadowed"  # the group is not armed: described only
    MITIGATED = "mitigated"  # callers feel nothing: what is left is repaired by people, in their time


PASSING = frozenset(
    {
        Withheld.NO_LEASE,
        Withheld.TIMER_GAP,
        Withheld.ON_HOLD,
        Withheld.FENCED,
        Withheld.REFUSED,
        Withheld.SHADOWED,
    }
)
"""Looked at again until they are gone."""

MOMENTARY = frozenset({Withheld.NO_LEASE, Withheld.TIMER_GAP})


PATIENCE = 3.0
"""Seconds a fault must stand before it is repaired in place: a stall is no reason to restart anything."""

PATIENT = "patience"


class Choice(NamedTuple):
    fault: Fault
    runbook: str
    switches: bool
    withheld: Withheld | None = None
    because: str = ""


def respond(draft: Draft, incident: Incident, extent: Extent) -> None:
    """Decide, record the decision once, and ask for the run."""
    choice = choose(draft, incident, extent)
    if choice is None or not incident.open:
        return
    previous = draft.state.diagnosis.responses.get(incident.id)
    same = previous is not None and _same(previous, choice)
    if _patient(draft, choice):
        if not same:
            retry = draft.at.mono + RETRY
            waiting = Response(choice.fault.key, choice.runbook, PATIENT, choice.fault.evidence_kinds, retry)
            note(draft, incident.id, waiting)
        return
    if same and previous is not None:
        reason = "" if choice.withheld is None else str(choice.withheld)
        if previous.reason == "" or running(draft.state, incident.id, choice.runbook):
            return  # asked for already
        if previous.reason == reason:
            return
        if previous.reason == Withheld.ENDED and not _news(previous, choice):
            return
        if previous.reason in (Withheld.REFUSED, Withheld.SHADOWED) and (
            not _news(previous, choice) or _refused(draft, choice)
        ):
            return
    _decided(draft, incident, choice)


def leave(draft: Draft, incident: Incident, fault: Fault, extent: Extent) -> None:
    """A fault joined an incident whose impact is over: say that nothing is done about it, and why. What was decided
    before stands."""
    choice = _by_domain(draft, fault, extent)
    reasons = [Withheld.MITIGATED] if choice.withheld is None else [Withheld.MITIGATED, choice.withheld]
    because = "" if choice.withheld is None else choice.because
    _record(draft, incident, choice._replace(because=because), "none", reasons)


def forget(draft: Draft, incident: Incident, fault: FaultKey) -> None:
    """A fault is over: should it come back, a switch for it is decided anew. A repair is tried once an incident."""
    previous = draft.state.diagnosis.responses.get(incident.id)
    if previous is None or previous.fault != fault:
        return
    row = draft.policy.domains.get(fault.kind)
    if previous.reason or row is None or previous.runbook != row.repair:
        responses = draft.state.diagnosis.responses.delete(incident.id)
        draft.state = replace(draft.state, diagnosis=replace(draft.state.diagnosis, responses=responses))


def again(draft: Draft, incident: Incident, extent: Extent) -> None:
    """A look at what stood in the way. Nothing is recorded unless it is gone."""
    previous = draft.state.diagnosis.responses[incident.id]
    choice = choose(draft, incident, extent)
    momentary = choice is not None and (choice.withheld in MOMENTARY or unread(draft, choice.fault.group))
    waiting = previous._replace(retry_at=next_look(draft, momentary=momentary))
    if (
        choice is None
        or choice.withheld in PASSING
        or _patient(draft, choice)
        or running(draft.state, incident.id, choice.runbook)
    ):
        note(draft, incident.id, waiting)
        return
    judged_before = (
        previous.reason in (Withheld.REFUSED, Withheld.SHADOWED) and previous.runbook == choice.runbook
    )
    if judged_before and choice.withheld is None and _refused(draft, choice):
        note(draft, incident.id, waiting)
        return
    _decided(draft, incident, choice)


def next_look(draft: Draft, *, momentary: bool) -> float:
    """Monotonic seconds."""
    return draft.at.mono + (SOON if momentary else RETRY)


def unread(draft: Draft, group: str) -> bool:
    """Nothing was read back of it in this process yet, as when a node has just taken the lead: the first answer takes
    away what stands in the way."""
    found = draft.state.groups.get(group)
    return found is not None and found.read_at is None


def _patient(draft: Draft, choice: Choice) -> bool:
    """Too early for a repair, or a switch of its group is under way and may end it. A switch, and what serves callers
    when both sides are down, never waits."""
    if choice.withheld is not None or choice.switches or choice.fault.kind is FaultKind.BOTH_SIDES_DOWN:
        return False
    group = draft.state.groups.get(choice.fault.group)
    if group is not None and group.switch is not None:
        return True
    return draft.at.wall - choice.fault.raised_wall < PATIENCE


def choose(draft: Draft, incident: Incident, extent: Extent) -> Choice | None:
    """None when no fault is left that anything could be done about."""
    faults = leading(draft.state, incident.id)
    if not faults:
        return None
    fault = _foremost(draft, faults, extent)
    choice = _by_domain(draft, fault, extent)
    if choice.withheld is not None:
        return choice
    state, at = draft.state, draft.at
    if not permit.leads(state, at):
        return choice._replace(withheld=Withheld.NO_LEASE)
    if at.mono < state.gap_until:
        return choice._replace(withheld=Withheld.TIMER_GAP)
    if not choice.switches and _held(draft, fault):
        # A switch on hold is asked for all the same: the failover stage says what it would have done.
        return choice._replace(withheld=Withheld.ON_HOLD)
    return choice


def running(state: State, incident: str, runbook: str) -> bool:
    return any(
        run.live and run.incident == incident and run.runbook == runbook for run in state.runs.values()
    )


def note(draft: Draft, incident: str, response: Response) -> None:
    responses = draft.state.diagnosis.responses.set(incident, response)
    draft.state = replace(draft.state, diagnosis=replace(draft.state.diagnosis, responses=responses))


def _same(previous: Response, choice: Choice) -> bool:
    return previous.runbook == choice.runbook and previous.fault in (None, choice.fault.key)


def _news(previous: Response, choice: Choice) -> bool:
    return bool(set(choice.fault.evidence_kinds) - set(previous.evidence))


def _decided(draft: Draft, incident: Incident, choice: Choice) -> None:
    fault = choice.fault
    withheld = choice.withheld is not None
    if choice.withheld is not None:
        _record(draft, incident, choice, "none", (choice.withheld,))
    else:
        _record(draft, incident, choice, "switch" if choice.switches else "repair", ())
    response = Response(
        fault.key,
        choice.runbook,
        "" if choice.withheld is None else str(choice.withheld),
        fault.evidence_kinds,
        next_look(draft, momentary=choice.withheld in MOMENTARY) if choice.withheld in PASSING else None,
    )
    note(draft, incident.id, response)
    if not withheld:
        draft.events.append(
            RunWanted(
                at=draft.at,
                runbook=choice.runbook,
                incident=incident.id,
                group=fault.group,
                fault=str(fault.key),
                inputs=(("component", fault.component),),
                drill=incident.drill,
            )
        )


def _record(
    draft: Draft, incident: Incident, choice: Choice, response: str, reasons: Sequence[Withheld]
) -> None:
    fault = choice.fault
    data: Values = (
        ("fault", str(fault.key)),
        ("runbook", choice.runbook),
        ("response", response),
        ("reasons", ",".join(reasons)),
        ("reason", choice.because),
        ("evidence", ",".join(fault.evidence_kinds)),
    )
    draft.record(
        FactKind.RESPONSE_WITHHELD if reasons else FactKind.RESPONSE_CHOSEN,
        fault.group or fault.component,
        data=data,
        incident=incident.id,
        drill=incident.drill,
    )


def _foremost(draft: Draft, faults: Sequence[Fault], extent: Extent) -> Fault:
    """The worst one; with both sides down nothing else counts. Those that may be acted on go first."""
    # It may be on its way into the incident still.
    for group in {fault.group for fault in faults}:
        both = draft.state.faults.get(FaultKey(FaultKind.BOTH_SIDES_DOWN, group))
        if both is not None:
            return both
    # What both sides share is no reason to touch either.
    shared = next((fault for fault in faults if fault.kind is FaultKind.COMMON_CAUSE and fault.group), None)
    if shared is not None:
        return shared
    return min(
        faults,
        key=lambda fault: (
            not fault.actionable,
            rated(draft.state, draft.policy, fault, extent, draft.at).severity,
            fault.raised_wall,
        ),
    )


def _by_domain(draft: Draft, fault: Fault, extent: Extent) -> Choice:
    row = draft.policy.domains.get(fault.kind)
    if row is None:
        return Choice(fault, "", False, Withheld.NO_ROW)
    rules = draft.policy.groups.get(fault.group)
    if not (row.repair or row.switch):
        return Choice(fault, "", False, Withheld.NO_ACTION, row.no_action)
    if not fault.actionable:
        return Choice(fault, row.switch or row.repair, False, Withheld.NOT_ACTIONABLE)
    if fault.kind is FaultKind.BOTH_SIDES_DOWN:
        return Choice(fault, rules.last_resort if rules is not None else row.repair, False)
    group = draft.state.groups.get(fault.group)
    on_active = group is not None and bool(fault.side) and group.active == fault.side
    anchored = fault.kind is not FaultKind.MEDIA_ONE_WAY or (rules is not None and rules.media_anchored)
    impact = rated(draft.state, draft.policy, fault, extent, draft.at).reason.impact
    if (
        row.switch
        and not row.never_switch
        and rules is not None
        and on_active
        and anchored
        and impact in LARGE
    ):
        return Choice(
            fault, rules.runbook or row.switch, True, because="large impact inside a switchable domain"
        )
    if not row.repair:
        return Choice(
            fault, "", False, Withheld.NO_ACTION, row.no_action or "small impact, and no repair is declared"
        )
    if group is not None and fault.side and fault.side in group.fenced:
        return Choice(fault, row.repair, False, Withheld.FENCED)
    return Choice(fault, row.repair, False, because="repaired in place")


def _held(draft: Draft, fault: Fault) -> bool:
    scopes = {"*", fault.component, fault.group} - {""}
    return any(
        hold.scope in scopes and hold.until_wall > draft.at.wall for hold in draft.state.holds.values()
    )


def _refused(draft: Draft, choice: Choice) -> bool:
    rules, group = draft.policy.groups.get(choice.fault.group), draft.state.groups.get(choice.fault.group)
    if rules is None or group is None:
        return True
    request = permit.Request(
        group=rules.name,
        verb=SwitchVerb.FAILOVER,
        target=rules.other(group.active).name,
        fault=str(choice.fault.key),
    )
    return bool(permit.refusals(draft.state, draft.at, draft.policy, request))
