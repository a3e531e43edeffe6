"""What a call report says, by hand-made calls; needs no root."""

import math

from lab.arrivals import Arrival
from lab.callers import Call, CallReport
from lab.calling import Outcome
from lab.kamailio import reply_counters
from lab.topology import Host

GOOD, LATE, FAILED = "good", "late", "failed"


def call(number: int, what: str, side: Host = Host.PRIMARY) -> Call:
    """A call started at number / 100 s that ended 0.3 s later."""
    answered = what != FAILED
    delay = {GOOD: 2.0, LATE: 900.0, FAILED: None}[what]
    return Call(
        call_id=str(number),
        target="198.18.0.11",
        started=number / 100,
        ended=number / 100 + 0.3,
        lag_ms=0.0,
        outcome=Outcome.ANSWERED if answered else Outcome.TIMED_OUT,
        status=200 if answered else None,
        side=side if answered else None,
        post_dial_delay_ms=delay,
        answer_ms=delay,
        released=answered,
        rtp_sent=0,
        rtp_received=0,
    )


def report(*whats: str) -> CallReport:
    return CallReport(calls=tuple(call(number, what) for number, what in enumerate(whats)), late_answers=())


def test_no_outage_when_all_calls_are_good() -> None:
    assert report(GOOD, GOOD).outage() is None
    assert report().outage() is None


def test_an_outage_runs_from_the_first_bad_call_to_the_first_after_which_all_are_good() -> None:
    outage = report(GOOD, FAILED, GOOD, LATE, GOOD, GOOD).outage()
    assert outage is not None
    assert (outage.begins, outage.ends, outage.over) == (0.01, 0.04, True)
    assert (outage.failed, outage.late) == (1, 1)
    assert math.isclose(outage.duration_ms, 30)


def test_late_calls_may_be_left_out() -> None:
    outage = report(LATE, FAILED, LATE, GOOD).outage(late_ms=math.inf)
    assert outage is not None
    assert (outage.begins, outage.ends, outage.late) == (0.01, 0.02, 0)


def test_an_outage_that_lasts_to_the_end_is_not_over() -> None:
    outage = report(GOOD, FAILED, FAILED).outage()
    assert outage is not None
    assert not outage.over
    assert math.isclose(outage.ends, 0.32)


def test_an_outage_can_be_sought_in_a_window() -> None:
    calls = report(FAILED, GOOD, FAILED, GOOD)
    outage = calls.outage(since=0.01)
    assert outage is not None and outage.begins == 0.02
    assert calls.outage(since=0.01, until=0.02) is None


def test_wrong_side_counts_answered_calls_only() -> None:
    calls = CallReport(
        calls=(call(0, GOOD), call(1, GOOD, Host.BACKUP), call(2, FAILED), call(3, GOOD)), late_answers=()
    )
    assert calls.wrong_side(Host.BACKUP, since=0.01) == 1
    assert calls.by_side == {Host.PRIMARY: 2, Host.BACKUP: 1}


def test_an_invite_after_its_call_is_over_is_stale() -> None:
    def arrival(call_id: str, at: float) -> Arrival:
        return Arrival(at=at, call_id=call_id, source="198.18.0.21", side=Host.PRIMARY, sent_at=None)

    stale = arrival("0", 0.31)
    assert report(GOOD).stale([arrival("0", 0.01), stale, arrival("a stranger's", 9.0)]) == [stale]


def test_extra_post_dial_delay_compares_before_and_after() -> None:
    assert report(GOOD, GOOD, LATE, LATE).extra_post_dial_delay_ms(0.02) == 898.0
    assert report(GOOD, FAILED).extra_post_dial_delay_ms(0.01) is None


def test_reply_counters_by_side() -> None:
    dump = [
        {"entry": 6, "size": 2, "slot": [{"name": "198.18.0.21::180", "value": 3, "type": "int"}]},
        {"entry": 9, "size": 1, "slot": [{"name": "198.18.0.22::timeout", "value": 1, "type": "int"}]},
        {"entry": 9, "size": 1, "slot": [{"name": "203.0.113.1::200", "value": 1, "type": "int"}]},
    ]
    assert reply_counters(dump) == {Host.PRIMARY: {"180": 3}, Host.BACKUP: {"timeout": 1}}
    assert reply_counters([]) == {Host.PRIMARY: {}, Host.BACKUP: {}}
