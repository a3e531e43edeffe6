"""A renewal that fails once costs a tenth of a second, not a second."""

from __future__ import annotations

from controller.model.events import LeaseChanged
from tests.builders.diagnosis import World, build_policy


def test_a_switch_waits_no_longer_than_the_lease() -> None:
    world = World(build_policy(), rerouting=False)
    world.watch()
    world.run(4.0)
    world.send(LeaseChanged(at=world.at(), deadline=None))
    world.set(primary={"sip": "refused", "call": "refused", "live": "ignore"})
    world.run(2.0)
    assert not world.wanted
    world.send(LeaseChanged(at=world.at(), deadline=world.now + 100.0))
    world.run(0.15)
    assert [wanted.runbook for wanted in world.wanted] == ["failover"]
