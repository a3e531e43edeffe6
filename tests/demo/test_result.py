"""What a run comes to, from crafted records."""

from dataclasses import replace

import pytest

from demo_platform.faults import Fault
from demo_platform.result import Calls, Milestones, Result, count_calls, counted, describe, milestones
from lab.callers import Call, CallReport
from lab.calling import Outcome
from lab.topology import Host

FAULT_AT = 10.0


def call(
    started: float, *, side: Host | None = Host.PRIMARY, delay_ms: float = 5.0, released: bool = True
) -> Call:
    """Answered by `side`; refused if None."""
    return Call(
        call_id=f"{started}",
        target="edge",
        started=started,
        ended=started + 0.4,
        lag_ms=0.0,
        outcome=Outcome.REFUSED if side is None else Outcome.ANSWERED,
        status=500 if side is None else 200,
        side=side,
        post_dial_delay_ms=None if side is None else delay_ms,
        answer_ms=None if side is None else delay_ms,
        released=side is not None and released,
        rtp_sent=10,
        rtp_received=10,
    )


def report(*calls: Call) -> CallReport:
    return CallReport(calls=calls, late_answers=())


def good(first: float, number: int, side: Host) -> list[Call]:
    return [call(first + 0.05 * index, side=side) for index in range(number)]


def test_an_outage_runs_from_the_first_bad_call_to_the_first_after_which_all_are_good() -> None:
    bad = [call(10.0 + 0.05 * index, side=None) for index in range(12)]
    seen = count_calls(
        report(*good(8.0, 40, Host.PRIMARY), *bad, *good(10.6, 20, Host.BACKUP)), fault_at=FAULT_AT
    )
    assert seen == Calls(
        placed=72,
        lost=12,
        late=0,
        cut=0,
        outage_ms=600.0,
        outage_over=True,
        bad_before_fault=0,
        after_side="backup",
    )


def test_calls_cut_while_talking_and_late_ones_are_told() -> None:
    cut = call(9.8, released=False)
    late = call(10.2, side=Host.BACKUP, delay_ms=700.0)
    seen = count_calls(report(*good(8.0, 10, Host.PRIMARY), cut, late, *good(10.3, 9, Host.BACKUP)), FAULT_AT)
    assert (seen.cut, seen.late, seen.lost) == (1, 1, 0)
    assert seen.outage_ms == pytest.approx(100.0)


def test_an_outage_is_over_only_when_the_last_calls_are_good() -> None:
    ending = [*good(10.5, 4, Host.BACKUP), call(10.7, side=None)]
    still = count_calls(report(*good(8.0, 10, Host.PRIMARY), call(10.0, side=None), *ending), FAULT_AT)
    assert not still.outage_over
    few = count_calls(report(call(10.0, side=None), *good(10.5, 3, Host.BACKUP)), FAULT_AT)
    assert not few.outage_over


def test_trouble_before_the_fault_is_not_the_faults() -> None:
    seen = count_calls(report(call(5.0, side=None), *good(9.0, 60, Host.PRIMARY)), FAULT_AT)
    assert (seen.bad_before_fault, seen.lost, seen.outage_ms) == (1, 0, None)


def entry(kind: str, wall: float, **data: object) -> dict[str, object]:
    return {"kind": kind, "wall": wall, "data": data}


def test_milestones_count_from_the_fault_and_take_the_first_of_each() -> None:
    entries = [
        entry("fault_raised", 99.0),
        entry("fault_raised", 100.3),
        entry("fault_raised", 100.4),
        entry("switch_started", 100.35),
        entry("switch_phase", 100.36, phase="fencing"),
        entry("switch_phase", 100.5, phase="promoting"),
        entry("switch_phase", 100.6, phase="verifying"),
        entry("switch_ended", 101.0, outcome="verified"),
    ]
    assert milestones(entries, 100.0) == Milestones(
        fault_named=0.3, switch_started=0.35, fenced=0.5, redirected=0.6, verified=1.0
    )
    assert milestones([entry("switch_ended", 101.0, outcome="failed")], 100.0).verified is None


RESULT = Result(
    fault="killed",
    side="primary",
    rate=20.0,
    incident="INC-0001",
    severity=1,
    outcome="verified",
    calls=Calls(
        placed=100,
        lost=9,
        late=1,
        cut=8,
        outage_ms=450.0,
        outage_over=True,
        bad_before_fault=0,
        after_side="backup",
    ),
    milestones=Milestones(fault_named=0.2),
    page=("what", "impact", "did", "need"),
    acknowledge="http://127.0.0.1:18080/a/x",
    report="var/demo/report.html",
    violations=(),
)


def test_only_the_incidents_own_final_count_makes_its_report_final() -> None:
    mitigated = {"kind": "incident_mitigated", "subject": "INC-0001"}
    another = {"kind": "calls_counted", "subject": "INC-0002"}
    own = {"kind": "calls_counted", "subject": "INC-0001"}
    assert not counted([mitigated, another], "INC-0001")
    assert counted([mitigated, another, own], "INC-0001")


def test_good_means_verified_restored_and_an_intact_timeline() -> None:
    assert RESULT.good
    assert not replace(RESULT, outcome="failed").good
    assert not replace(RESULT, report="").good
    assert not replace(RESULT, violations=("entry 7 does not verify",)).good
    assert not replace(RESULT, calls=replace(RESULT.calls, outage_over=False)).good
    assert not replace(RESULT, calls=replace(RESULT.calls, after_side="primary")).good


@pytest.mark.parametrize("zh", [True, False])
def test_the_result_tells_every_figure_and_does_not_flatter(zh: bool) -> None:
    headline, rows = describe(RESULT, Fault.KILLED, zh=zh)
    told = "\n".join(value for _, value in rows)
    for figure in (
        "450 ms",
        "9",
        "100",
        "INC-0001",
        "SEV1",
        "http://127.0.0.1:18080/a/x",
        "var/demo/report.html",
    ):
        assert figure in told
    worse, rows = describe(
        replace(RESULT, calls=replace(RESULT.calls, outage_over=False)), Fault.KILLED, zh=zh
    )
    assert worse != headline
    assert ("实际更长" if zh else "larger") in "\n".join(value for _, value in rows)
