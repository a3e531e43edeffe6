"""What actuators testify to: each rule is shown a breach and must name it, and a lawful move and must not."""

from __future__ import annotations

from controller.core.invariants import (
    Answered,
    Healing,
    Obeyed,
    Observation,
    Taking,
    observed,
    violations,
    witnessed,
)
from controller.core.timeline import lines
from controller.model.facts import FactKind
from tests.builders.records import Story, group

G = "main"


def found(*seen: Observation, story: Story | None = None, healing: Healing | None = None) -> list[str]:
    records = [] if story is None else [story.entries()]
    return [str(each) for each in observed(seen, records, healing=healing)]


def taking(at: float, *sides: str, epoch: int = 0) -> Taking:
    return Taking(at=at, group=G, sides=sides, epoch=epoch)


def test_i1_two_sides_at_once() -> None:
    assert found(taking(0.0, "a"), taking(1.0), taking(2.0, "b", epoch=2)) == []
    assert found(taking(0.0, "a"), taking(1.0, "a", "b", epoch=2)) == [
        "I1: at 1.000 s: a and b take calls at once, under epoch 2"
    ]


def planned() -> Story:
    story = Story()
    story.add(FactKind.SWITCH_STARTED, 0.0, G, group(epoch=2), switch="SW-0001", verb="switchover", epoch=2)
    return story


def test_i1_a_planned_move_goes_from_edge_to_edge_but_not_for_long() -> None:
    both = taking(1.0, "a", "b", epoch=2)
    assert found(taking(0.0, "a"), both, taking(1.5, "b", epoch=2), story=planned()) == []
    assert found(taking(0.0, "a"), both, taking(9.0, "b", epoch=2), story=planned()) == [
        "I1: at 9.000 s: a and b took calls for 8.00 s"
    ]


def test_i1_a_side_that_goes_on_answers_what_waited_in_it() -> None:
    late = Answered(at=3.0, group=G, side="a")
    assert found(taking(0.0, "b"), late) == ["I1: at 3.000 s: a answers a call while b takes them"]
    assert found(taking(0.0), late) == []
    assert found(taking(0.0, "a"), late) == []


def test_i1_a_drained_side_is_not_cut_off_and_may_answer_late() -> None:
    late = Answered(at=3.0, group=G, side="a")
    assert found(taking(0.0, "a"), taking(1.0, "b", epoch=2), late, story=planned()) == []
    assert found(taking(0.0, "a"), taking(1.0, "b", epoch=3), late, story=planned()) != []


def test_i1_a_drained_side_that_was_broken_meanwhile_may_answer_late_as_well() -> None:
    """Both sides break after the drain and come back: what waited in the old one is answered, and no command was given."""
    late = Answered(at=4.0, group=G, side="a")
    drained = (taking(0.0, "a"), taking(1.0, epoch=2), taking(3.0, "b"))
    assert found(*drained, late, story=planned()) == []
    assert found(*drained, taking(3.5, "b", epoch=3), late, story=planned()) != []


def back(story: Story) -> Story:
    story.add(FactKind.SWITCH_PHASE, 0.0, G, group(epoch=3), switch="SW-0001", phase="compensating", epoch=3)
    return story


def test_i1_on_the_way_back_one_side_is_left_before_the_other_is_gone_to() -> None:
    late = Answered(at=1.2, group=G, side="b")
    gone, returned = taking(1.0, epoch=3), taking(1.1, "a", epoch=3)
    for story in (back(Story()), back(planned())):
        assert found(taking(0.5, "b", epoch=2), gone, returned, late, story=story) == []
        both = taking(1.0, "a", "b", epoch=3)
        assert found(taking(0.5, "b", epoch=2), both, returned, story=story) == [
            "I1: at 1.000 s: a and b take calls at once, under epoch 3"
        ]


def test_i3_an_actuator_that_obeys_what_is_older() -> None:
    def obeyed(place: str, epoch: int) -> Obeyed:
        return Obeyed(at=1.0, group=G, place=place, epoch=epoch)

    assert found(obeyed("edge1", 2), obeyed("edge2", 1), obeyed("edge1", 2), obeyed("edge1", 3)) == []
    assert found(obeyed("edge1", 2), obeyed("edge1", 1)) == ["I3: at 1.000 s: edge1 obeys epoch 1 after 2"]


def test_i12_one_working_side_takes_calls_after_healing_and_goes_on_to() -> None:
    healing = Healing(at=10.0, within=5.0, until=30.0, working=frozenset({"a", "b"}))
    assert found(taking(0.0, "a"), taking(5.0), taking(14.0, "b", epoch=2), healing=healing) == []
    assert found(taking(0.0, "a"), healing=healing) == []
    assert found(taking(0.0, "a"), taking(5.0), healing=healing) == [
        "I12: at 15.000 s: nobody takes calls 5.0 s after everything was healed"
    ]
    assert found(taking(0.0), taking(16.0, "a"), healing=healing) == [
        "I12: at 15.000 s: nobody takes calls 5.0 s after everything was healed"
    ]
    assert found(taking(0.0, "a"), taking(20.0), healing=healing) == [
        "I12: at 20.000 s: nobody takes calls 10.0 s after everything was healed"
    ]
    broken = Healing(at=10.0, within=5.0, until=30.0, working=frozenset({"b"}))
    assert found(taking(0.0, "a"), healing=broken) == [
        "I12: at 15.000 s: a takes calls 5.0 s after everything was healed"
    ]


# What a record itself holds of its actuators' words.


def switched() -> Story:
    """A side is left by rule under epoch 2, the edges obey, and the other one answers a real call."""
    story = Story()
    one = group(epoch=2)
    story.add(
        FactKind.SWITCH_STARTED, 1.0, G, one, switch="SW-1", verb="failover", epoch=2, origin="a", target="b"
    )
    commanded(story, 1.1, "fence", "a", 2)
    commanded(story, 1.2, "redirect", "b", 2)
    verified(story, 1.3, "b")
    return story


def commanded(story: Story, at: float, verb: str, side: str, epoch: int, status: str = "succeeded") -> None:
    command = f"CMD-{len(story.facts):04d}"
    known = {"switch": "SW-1", "verb": verb, "command": command}
    story.add(FactKind.SWITCH_INTENDED, at, G, side=side, epoch=epoch, **known)
    story.add(FactKind.SWITCH_STEP_FINISHED, at + 0.05, G, status=status, **known)


def verified(story: Story, at: float, side: str) -> None:
    story.add(
        FactKind.SWITCH_STEP_FINISHED, at, G, switch="SW-1", verb="verify", status="succeeded", side=side
    )


def read(story: Story, at: float, active: str, epoch: int) -> None:
    known = {"switch": "SW-1", "verb": "read_back", "status": "succeeded", "edges_reached": 2}
    story.add(FactKind.SWITCH_STEP_FINISHED, at, G, active=active, epoch=epoch, **known)


def told(story: Story) -> list[str]:
    seen = witnessed(lines(story.entries()))
    return [str(each) for each in observed(seen, [story.entries()])]


def test_a_record_of_obedient_actuators_holds_nothing_against_them() -> None:
    story = switched()
    assert told(story) == []
    assert [type(seen).__name__ for seen in witnessed(lines(story.entries()))] == [
        "Obeyed",
        "Obeyed",
        "Taking",
        "Answered",
    ]


def test_i1_a_call_that_the_side_just_left_answers() -> None:
    story = switched()
    verified(story, 2.0, "a")
    assert told(story) == [f"I1 at sequence {len(story.facts)}: main: a answers a call while b takes them"]
    assert [each.invariant for each in violations(story.entries()) if each.invariant == "I1"] == ["I1"]


def test_i1_a_call_that_nobody_known_answers_says_nothing() -> None:
    story = switched()
    verified(story, 2.0, "somebody")
    verified(story, 2.1, "")
    assert told(story) == []


def test_i1_whoever_all_edges_were_found_to_pass_calls_to_may_answer() -> None:
    story = switched()
    story.add(FactKind.EDGE_DRIFTED, 2.0, G, drifted="edge1,edge2", unreachable="", seen="a", epoch=2)
    verified(story, 2.1, "a")
    assert told(story) == []
    story.add(FactKind.EDGE_REASSERTED, 2.2, G, group(active="b", epoch=2))
    verified(story, 2.3, "a")
    assert told(story) == [f"I1 at sequence {len(story.facts)}: main: a answers a call while b takes them"]


def test_i3_a_command_that_was_obeyed_after_a_newer_epoch_was_read() -> None:
    story = switched()
    read(story, 2.0, "b", 5)
    commanded(story, 2.1, "redirect", "a", 3)
    assert "I3 at sequence 9: main: main obeys epoch 3 after 5" in told(story)
    refused = switched()
    read(refused, 2.0, "b", 5)
    commanded(refused, 2.1, "redirect", "a", 3, status="refused")
    assert told(refused) == [], "which is what an actuator does with it"


def test_i3_an_answer_that_comes_late_and_a_reading_of_what_was_forgotten_are_no_breach() -> None:
    story = switched()
    known = {"switch": "SW-1", "verb": "unfence", "command": "CMD-LATE"}
    story.add(FactKind.SWITCH_INTENDED, 2.0, G, side="a", epoch=2, **known)
    commanded(story, 2.1, "fence", "b", 3)
    story.add(FactKind.SWITCH_STEP_FINISHED, 2.2, G, status="succeeded", **known)
    read(story, 2.3, "b", 1)
    assert told(story) == []


def test_what_others_did_while_they_led_is_believed() -> None:
    story = switched()
    story.add(FactKind.LEADERSHIP_TAKEN, 9.0, "here", group(active="a", epoch=4))
    verified(story, 9.5, "a")
    assert told(story) == []
