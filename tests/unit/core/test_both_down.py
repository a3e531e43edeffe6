"""When a group has no side left that takes calls."""

from __future__ import annotations

from dataclasses import replace

from controller.core.diagnosis.diagnosing import both_down
from controller.core.diagnosis.standing import entered, left
from controller.core.draft import Draft
from controller.model.faults import FaultKey, FaultKind
from tests.builders.diagnosis import GROUP, World, build_policy


def test_both_are_down_though_the_second_is_taken_for_a_common_cause() -> None:
    """Its calls fail like the first one's, which is what is named, and its own probes are silent: a side is not back for
    that, and the last resort is not left out."""
    world = World(build_policy(), rerouting=False)
    world.watch()
    world.run(4.0)
    world.set(primary={"sip": "refused", "call": "refused", "live": "ignore"})
    world.set(backup={"sip": "refused", "call": "refused", "live": "ignore"})
    world.run(1.0)
    (dead,) = [fault for fault in world.state.faults.values() if fault.component == "backup"]
    both = FaultKey(FaultKind.BOTH_SIDES_DOWN, GROUP)
    alike = replace(dead, kind=FaultKind.COMMON_CAUSE)
    standing = entered(left(world.state, dead), alike)
    draft = Draft(standing, world.at(), world.policy)
    both_down(draft, GROUP)
    assert both in draft.state.faults
    draft = Draft(left(standing, standing.faults[both]), world.at(), world.policy)
    both_down(draft, GROUP)
    assert both in draft.state.faults
