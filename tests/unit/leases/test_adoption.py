"""What begins anew in an adopted store."""

from controller.leases.etcd.adoption import begun_anew
from controller.model.facts import Counters
from controller.model.groups import Group, Phase, Switch, SwitchOutcome, SwitchVerb

SWITCH = Switch(id="SW-1", verb=SwitchVerb.FAILOVER, origin="a", target="b", epoch=9, automatic=True)


def test_every_group_begins_above_all_that_anybody_saw() -> None:
    groups = (
        Group(name="own", active="a", epoch=7),
        Group(name="edges", active="a", epoch=7, edge_epoch=12),
        Group(name="agents", active="a", epoch=7),
    )
    anew = begun_anew((*groups, Counters(numbers=(("SW", 3),))), {"agents": 40})
    assert [one.epoch for one in anew if isinstance(one, Group)] == [8, 13, 41]
    assert all(one.phase is Phase.IDLE for one in anew if isinstance(one, Group))
    assert anew[-1] == Counters(numbers=(("SW", 3),))


def test_a_switch_that_was_under_way_is_settled_by_a_person() -> None:
    (group,) = begun_anew((Group(name="g", active="a", epoch=8, phase=Phase.FENCING, switch=SWITCH),), {})
    assert isinstance(group, Group)
    assert (group.epoch, group.phase, group.switch) == (10, Phase.NEEDS_PERSON, None)
    assert (group.last_switch, group.last_outcome) == ("SW-1", SwitchOutcome.NEEDS_PERSON)
