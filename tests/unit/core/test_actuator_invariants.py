"""What actuators testify to: each rule is shown a breach and must name it, and a lawful move and must not."""

from __future__ import annotations

from controller.core.invariants import Answered, Healing, Obeyed, Observation, Taking, observed
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


def test_i1_the_way_back_goes_from_edge_to_edge_too() -> None:
    story = Story()
    story.add(FactKind.SWITCH_PHASE, 0.0, G, group(epoch=3), switch="SW-0001", phase="compensating", epoch=3)
    both = taking(1.0, "a", "b", epoch=3)
    assert found(both, taking(1.1, "a", epoch=3), story=story) == []
    assert found(both, taking(9.0, "a", epoch=3), story=story) != []


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
