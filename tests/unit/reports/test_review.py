from __future__ import annotations

import json
from dataclasses import replace

import pytest

from controller.core.timeline import Step
from controller.model.facts import Counters, FactKind
from controller.model.faults import FaultKind, Impact, Severity
from controller.model.groups import SwitchOutcome
from controller.model.incidents import IncidentState, SeverityReason
from controller.reports.losses import CallsLost, Source
from controller.reports.review import Review, drilled, make_review, similar
from tests.builders.reviewing import (
    CONFIGURATION,
    FAULT,
    INCIDENT,
    MEASURED,
    ONSET,
    Story,
    background,
    drill,
    zombie,
)


def reviewed(story: Story) -> Review:
    review = make_review(story.entries(), "INC-0007", background())
    assert review is not None
    return review


def test_phases_lie_between_two_named_entries() -> None:
    story = reviewed(zombie()).story
    took = {span.step: span.seconds for span in story.spans}
    assert took == pytest.approx(
        {
            Step.DETECT: 0.41,
            Step.DECIDE: 0.03,
            Step.SWITCH: 0.26,
            Step.VERIFY: 0.42,
            Step.ACKNOWLEDGE: 48.47,
            Step.MITIGATE: 1.12,
            Step.RESOLVE: 26_400.0,
        },
        abs=1e-3,
    )
    assert story.outage.seconds == pytest.approx((0.70, 1.37), abs=1e-3)


def test_the_evidence_is_that_of_the_decision_and_not_what_became_of_it() -> None:
    review = reviewed(zombie())
    assert review.decided is not None and review.decided.name == "response_chosen"
    (fault,) = review.faults
    assert fault.active and [term.name for term in fault.evidence][0] == "live-calls-fail"


def test_what_was_done_refused_and_proved_is_all_there() -> None:
    review = reviewed(zombie())
    assert [run.id for run in review.runs] == ["RUN-0011"]
    assert [step.path for step in review.runs[0].steps] == ["switch", "tell-the-desk", "check-recordings"]
    (switch,) = review.switches
    assert switch.ended is not None and switch.ended.get("outcome") == SwitchOutcome.VERIFIED
    assert [name for name, _ in switch.switch.walls][-1] == "verifying"
    assert [line.get("verb") for line in review.withheld] == ["failback"]
    assert [line.get("side") for line in review.proofs] == ["backup"]
    assert [item.person for item in review.pages[0].deliveries] == ["li", "li"]
    assert review.configuration == CONFIGURATION


def test_the_seal_names_the_range_and_the_last_digest() -> None:
    entries = zombie().entries(after=1041)
    review = make_review(entries, "INC-0007")
    assert review is not None
    assert (review.seal.first, review.seal.last) == (1042, 1041 + len(entries))
    assert review.seal.digest == entries[-1].digest
    assert review.seal.violations == ()


def test_an_altered_entry_is_named() -> None:
    entries = zombie().entries()
    entries[5] = entries[5]._replace(payload=entries[5].payload.replace("failover", "fallback"))
    review = make_review(entries, "INC-0007")
    assert review is not None
    assert len(review.seal.violations) == 1 and str(entries[5].sequence) in review.seal.violations[0]


@pytest.mark.parametrize(
    "payload", ["{", "[]", '{"changed":[{"type":"Incident","value":{}}]}', '{"changed":[{}],"data":{}}']
)
def test_an_entry_that_can_not_be_read_is_named_and_the_rest_told(payload: str) -> None:
    entries = zombie().entries()
    entries[8] = entries[8]._replace(payload=payload)
    review = make_review(entries, "INC-0007")
    assert review is not None
    assert len(review.story.lines) == len(entries)
    assert any("can't be read" in text for text in review.seal.violations)


def test_an_erased_payload_is_no_violation() -> None:
    entries = zombie().entries()
    note = next(index for index, entry in enumerate(entries) if entry.kind == "note")
    entries[note] = entries[note]._replace(payload="")
    review = make_review(entries, "INC-0007")
    assert review is not None and review.seal.violations == ()


def test_entries_that_do_not_say_what_the_incident_is_make_no_review() -> None:
    story = Story()
    story.tell(0.0, FactKind.NOTE, "INC-0007", Counters(), text="hello")
    assert make_review(story.entries(), "INC-0007") is None
    assert make_review([], "INC-0007") is None


def test_faults_put_down_to_a_parent_are_counted_and_not_listed() -> None:
    story = Story()
    phones = [
        replace(FAULT, kind=FaultKind.DEVICE_DOWN, component=f"phone{number}", suppressed_by="primary")
        for number in range(3)
    ]
    story.tell(0.1, FactKind.INCIDENT_OPENED, "INC-0007", INCIDENT, FAULT, *phones)
    review = reviewed(story)
    assert (len(review.faults), review.explained) == (1, 3)
    assert review.decided is None


# Calls lost


def losses(**data: str | float | bool | None) -> CallsLost:
    given = {name: value for name, value in data.items() if value is not None}
    return reviewed(zombie(measured=tuple(given.items()))).losses


def test_calls_counted_at_the_edges_are_measured() -> None:
    found = losses(**dict(MEASURED))
    assert (found.source, found.low, found.high, found.attempts) == (Source.EDGE, 23, 23, 41)


def test_what_the_edge_carried_over_makes_it_a_range() -> None:
    found = losses(**{**dict(MEASURED), "calls_answered_aside": 9})
    assert (found.low, found.high) == (14, 23)


def test_what_was_counted_at_the_mitigation_is_so_far_until_the_last_timeouts_are_in() -> None:
    story = zombie()
    story.facts = [fact for fact in story.facts if fact.kind is not FactKind.INCIDENT_RESOLVED]
    assert reviewed(story).losses.so_far
    story.tell(12.0, FactKind.CALLS_COUNTED, "INC-0007", **{**dict(MEASURED), "calls_failed": 30})
    found = reviewed(story).losses
    assert (found.high, found.so_far) == (30, False)


def test_with_a_rate_only_it_is_an_estimate_with_a_range() -> None:
    found = losses(calls_source="baseline", calls_baseline=100.0)
    assert found.source is Source.ESTIMATE
    assert found.low is not None and found.high is not None
    # 100 calls a second over 0.70 to 1.37 s, two standard deviations of a Poisson count either way.
    assert (found.low, found.high) == (53, 161)


def test_of_fewer_than_all_calls_the_estimate_begins_at_none() -> None:
    story = zombie(measured=(("calls_source", "baseline"), ("calls_baseline", 100.0)))
    reason = SeverityReason("masked", Impact.MANY_CALLS, INCIDENT.reason.urgency)
    story.facts = [
        replace(
            fact,
            changed=tuple(
                replace(item, reason=reason) if isinstance(item, type(INCIDENT)) else item
                for item in fact.changed
            ),
        )
        for fact in story.facts
    ]
    assert reviewed(story).losses.low == 0


def test_with_neither_it_is_unknown_and_not_zero() -> None:
    found = losses()
    assert (found.source, found.low, found.high) == (Source.UNKNOWN, None, None)


@pytest.mark.parametrize("failed", ["many", -3, True])
def test_a_count_that_is_none_is_unknown(failed: str | float | bool) -> None:
    assert losses(calls_source="edge", calls_failed=failed).source is Source.UNKNOWN


# What happened before


def test_similar_incidents_share_the_fault_and_the_place() -> None:
    earlier = replace(INCIDENT, id="INC-0001", opened_wall=ONSET - 100)
    others = [
        earlier,
        replace(earlier, id="INC-0002", opened_wall=ONSET - 50),
        replace(earlier, id="INC-0003", kind=FaultKind.TRUNK_DOWN),
        replace(earlier, id="INC-0004", root="other", group="other"),
        replace(earlier, id="INC-0005", state=IncidentState.MERGED),
        replace(earlier, id="INC-0006", opened_wall=ONSET + 9999),
        replace(INCIDENT, severity=Severity.SEV2),
    ]
    assert [item.id for item in similar(INCIDENT, others)] == ["INC-0002", "INC-0001"]


def test_a_drill_counts_when_it_led_to_the_same_diagnosis_here_before() -> None:
    drills = [
        drill(),
        drill(id="D2", diagnosed="PlatformDead"),
        drill(id="D3", group="x", component="x"),
        drill(id="D4", finished_wall=0.0),
        drill(id="D5", incidents=("INC-0007",)),
    ]
    assert [item.id for item in drilled(INCIDENT, drills)] == ["DRILL-0002"]


def test_the_builder_tells_what_a_journal_would_hold() -> None:
    """Every payload of the story is canonical JSON with the four parts a reader relies on."""
    for entry in zombie().entries():
        payload = json.loads(entry.payload)
        assert {"actor", "changed", "data", "subject"} <= payload.keys()
