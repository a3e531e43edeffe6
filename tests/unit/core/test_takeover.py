"""How long nobody decides, worked out by hand."""

import pytest

from controller.core.takeover import Takeover, shortest_hold


def test_the_gap_of_the_reference() -> None:
    """TTL 1, election 0.2: the leader's key is gone by 1.5 s, and by 2.1 s with etcd's leader lost too."""
    takeover = Takeover(ttl=1.0, renewal=0.0, timeout=0.0, election=0.2)
    assert takeover.gap == pytest.approx(1.5)
    assert takeover.gap_with_election == pytest.approx(2.1)
    assert takeover.stall == pytest.approx(0.4)


def test_the_next_controller_s_own_time_comes_on_top() -> None:
    assert Takeover(ttl=3.0, renewal=0.5, timeout=0.3, election=0.2).gap == pytest.approx(4.3)


@pytest.mark.parametrize(("election", "lease"), [(0.2, 1.0), (0.6, 1.0), (1.0, 2.0), (3.0, 5.0)])
def test_etcd_makes_no_lease_shorter_than_one_and_a_half_elections(election: float, lease: float) -> None:
    assert Takeover(ttl=1.0, renewal=0.3, timeout=0.3, election=election).lease == lease


def test_a_hold_must_outlive_an_election() -> None:
    assert shortest_hold(0.2) == pytest.approx(0.8)
    assert shortest_hold(0.5) > 1.0, "at 500 ms the measured gap was 0.89 s: too slow for a hold of 1 s"
