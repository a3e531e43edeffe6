"""What begins anew in an adopted store."""

from controller.leases.etcd.adoption import begun_anew, merged
from controller.leases.etcd.pin import Adoption
from controller.model.facts import Aggregate, Counters, aggregate_key
from controller.model.groups import Group, Hold, Phase, Switch, SwitchOutcome, SwitchVerb

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


def keyed(*aggregates: Aggregate) -> dict[str, Aggregate]:
    return {aggregate_key(one): one for one in aggregates}


HOLD = Hold(scope="*", by="ann", reason="works", since_wall=1.0, until_wall=2.0)
OWN = (Group(name="g", active="b", epoch=7), HOLD, Counters(numbers=(("INC", 4), ("SW", 2))))


def test_an_empty_store_gets_all_of_the_own_state() -> None:
    written = merged({}, OWN, {"g": 9}, Adoption.FIRST)
    assert written == keyed(Group(name="g", active="b", epoch=10), *OWN[1:])


def test_a_store_that_was_put_back_takes_from_whoever_went_further() -> None:
    older = Group(name="g", active="a", epoch=3)
    stored = keyed(older, Counters(numbers=(("INC", 6), ("SW", 1))), Group(name="h", active="a", epoch=5))
    written = merged(stored, OWN, {"h": 6}, Adoption.FIRST)
    assert written == keyed(
        Group(name="g", active="b", epoch=8),  # the journal knows of a switch that the store does not
        Group(name="h", active="a", epoch=7),  # this node never knew it, its agents do
        HOLD,
        Counters(numbers=(("INC", 6), ("SW", 2))),
    )
    assert merged(keyed(Group(name="g", active="a", epoch=12)), OWN[:1], {}, Adoption.FIRST) == keyed(
        Group(name="g", active="a", epoch=13)
    )


def test_whoever_joins_changes_nothing_that_stands_above_what_it_saw() -> None:
    brought = keyed(Group(name="g", active="b", epoch=10), *OWN[1:])
    assert merged(brought, OWN, {"g": 10}, Adoption.JOINED) == {}
    assert merged(brought, OWN, {"g": 11}, Adoption.JOINED) == keyed(Group(name="g", active="b", epoch=12))
    assert merged(keyed(brought["group/g"], OWN[2]), OWN, {}, Adoption.JOINED) == {}, (
        "the hold was released since"
    )
    switching = Group(name="g", active="a", epoch=10, phase=Phase.FENCING, switch=SWITCH)
    assert merged(keyed(switching, *OWN[1:]), OWN, {"g": 10}, Adoption.JOINED) == {}


def test_what_was_broken_off_is_brought_to_its_end() -> None:
    run = Group(name="h", active="a", epoch=1)
    part = keyed(Group(name="g", active="b", epoch=10))
    written = merged(part, (*OWN, run), {"g": 9}, Adoption.RESUMED)
    assert written == keyed(
        Group(name="g", active="b", epoch=11), Group(name="h", active="a", epoch=2), *OWN[1:]
    )
