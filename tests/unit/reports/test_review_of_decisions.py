"""Reviews of what the core itself decided and recorded, in virtual time."""

from __future__ import annotations

import functools

import pytest

from controller.model.chain import beginning, link
from controller.reports.losses import Source
from controller.reports.review import Review, make_review
from controller.reports.review_document import review_document
from controller.reports.values import Language
from tests.builders.diagnosis import NOON, World, build_policy

RATE = 100.0


@functools.cache
def review_of(*, rerouting: bool, refusing: float) -> Review:
    """Of a primary that refuses live calls for so many seconds and then recovers."""
    world = World(build_policy(), calls_per_second=RATE, rerouting=rerouting, edge_timer=1.0, wall=NOON)
    world.watch(seed=1)
    world.run(8.0)
    world.set(primary={"call": "503", "live": "refuse"})
    world.run(refusing)
    world.set(primary={"call": "up", "live": "answer"})
    world.run(37.0)
    entries = [linked.entry for linked in link(world.facts, beginning("node-a"))]
    incident = next(entry.incident for entry in entries if entry.kind == "incident_opened")
    review = make_review([entry for entry in entries if entry.incident == incident], incident)
    assert review is not None
    return review


def test_the_calls_an_incident_cost_are_those_that_failed() -> None:
    review = review_of(rerouting=False, refusing=3.0)
    losses = review.losses
    assert losses.source is Source.EDGE and not losses.partial
    assert losses.low == losses.high == pytest.approx(3.0 * RATE, abs=0.1 * RATE)
    assert losses.rate == pytest.approx(RATE, rel=0.05)


def test_calls_that_the_edges_carried_over_are_not_all_lost() -> None:
    losses = review_of(rerouting=True, refusing=3.0).losses
    assert losses.high == pytest.approx(3.0 * RATE, abs=0.1 * RATE)
    assert losses.low is not None and losses.low <= 0.1 * RATE


def test_the_evidence_of_the_rule_that_fired_is_there() -> None:
    review = review_of(rerouting=False, refusing=3.0)
    (fault,) = review.faults
    assert len(fault.evidence) >= 4 and fault.rule and review.decided is not None


@pytest.mark.parametrize("language", list(Language))
def test_every_entry_reads_as_a_sentence(language: Language) -> None:
    """A phrase shows "?" for a value that it needs and the core did not record."""
    made = review_document(review_of(rerouting=False, refusing=3.0), language)
    rows = made.sections[-1].blocks[0].rows  # type: ignore[union-attr]
    assert len(rows) >= 5
    assert [row[-1].text for row in rows if "?" in row[-1].text] == []
