"""One suite over both probers: in process, and as a child process."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import pytest

from controller.engine.clock import SystemClock
from controller.engine.prober import LocalProber
from controller.engine.prober_process import ProcessProber
from controller.model.events import Event, HealthChanged, LadderFinished, Measured, VantageBeat, VantageLost
from controller.model.health import HealthState, Hysteresis, Outcome, RungKey
from controller.model.policy import RungPolicy
from controller.ports import Prober, Target
from controller.probes.sip_options import OptionsParameters
from controller.registry import load
from tests.builders.responders import datagram_peer, free_port, silence, sip_answer

CHILD = Path(__file__).parents[1] / "builders" / "prober_child.py"
ROOT = Path(__file__).parents[2]

E = TypeVar("E", bound=Event)


def child_argv(fd: int) -> tuple[str, ...]:
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import runpy; sys.argv = ['child', '{fd}']; "
    return (sys.executable, "-c", start + f"runpy.run_path({str(CHILD)!r}, run_name='__main__')")


class Listener:
    """Reads a prober's events and lets a test wait for one."""

    def __init__(self, prober: Prober) -> None:
        self.seen: list[Event] = []
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._listen(prober))

    async def _listen(self, prober: Prober) -> None:
        async for event in prober.events():
            async with self._news:
                self.seen.append(event)
                self._news.notify_all()

    def of(self, kind: type[E], **wanted: object) -> list[E]:
        return [
            event
            for event in self.seen
            if isinstance(event, kind)
            and all(getattr(event, name) == value for name, value in wanted.items())
        ]

    async def until(self, kind: type[E], count: int = 1, **wanted: object) -> E:
        """The `count`th event of that kind and content."""
        async with asyncio.timeout(30), self._news:
            await self._news.wait_for(lambda: len(self.of(kind, **wanted)) >= count)
        return self.of(kind, **wanted)[count - 1]

    async def ended(self) -> None:
        async with asyncio.timeout(30):
            await self._task


def target(component: str, port: int, **policy: object) -> Target:
    settings: dict[str, object] = {
        "interval": 0.1,
        "timeout": 0.08,
        "hysteresis": Hysteresis(fall=2, rise=2),
        **policy,
    }
    rung = RungPolicy(
        name="sip",
        probe="sip_options",
        parameters=OptionsParameters(uri=f"sip:127.0.0.1:{port}"),
        **settings,  # type: ignore[arg-type]
    )
    return Target(RungKey(component, "sip"), rung)


def key(component: str) -> RungKey:
    return RungKey(component, "sip")


@pytest.fixture(params=["local", "process"])
async def prober(request: pytest.FixtureRequest) -> AsyncIterator[Prober]:
    made: Prober
    if request.param == "local":
        made = LocalProber("north", SystemClock(), functools.partial(load, "probe"))
    else:
        made = ProcessProber("north", SystemClock(), argv=child_argv)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def listener(prober: Prober) -> Listener:
    return Listener(prober)


async def test_beats_with_growing_counters(prober: Prober, listener: Listener) -> None:
    async with datagram_peer(sip_answer()) as peer:
        await prober.assign([target("a", peer.port)])
        first = await listener.until(VantageBeat)
        await listener.until(HealthChanged, current=HealthState.UP)
        seen = len(listener.of(VantageBeat))
        later = await listener.until(VantageBeat, count=seen + 5)
    assert first.vantage == "north"
    assert later.probes > first.probes
    assert later.lag >= 0.0
    probes = [beat.probes for beat in listener.of(VantageBeat)]
    assert probes == sorted(probes)


async def test_first_success_is_up_and_only_changes_are_told(prober: Prober, listener: Listener) -> None:
    async with datagram_peer(sip_answer()) as peer:
        await prober.assign([target("a", peer.port)])
        change = await listener.until(HealthChanged)
        answered = len(peer.received)
        while len(peer.received) < answered + 5:
            peer.arrived.clear()
            await peer.arrived.wait()
    assert (change.previous, change.current) == (HealthState.UNKNOWN, HealthState.UP)
    assert (change.outcome, change.code, change.vantage) == (Outcome.UP, 200, "north")
    assert len(listener.of(HealthChanged, key=key("a"), current=HealthState.UP)) == 1


async def test_silence_makes_down_and_answers_make_up(prober: Prober, listener: Listener) -> None:
    async with datagram_peer(sip_answer()) as peer:
        await prober.assign([target("a", peer.port)])
        await listener.until(HealthChanged, current=HealthState.UP)
        peer.answer = silence
        suspect = await listener.until(HealthChanged, current=HealthState.SUSPECT)
        down = await listener.until(HealthChanged, current=HealthState.DOWN)
        peer.answer = sip_answer()
        await listener.until(HealthChanged, current=HealthState.RECOVERING)
        up = await listener.until(HealthChanged, count=2, current=HealthState.UP)
    assert suspect.failures == 1 and down.failures == 2
    assert down.outcome is Outcome.NO_REPLY
    assert 0.0 < down.last_good < down.first_bad < down.at.mono
    assert up.first_bad == 0.0 and up.failures == 0


async def test_a_refused_port_is_evidence_at_once(prober: Prober, listener: Listener) -> None:
    await prober.assign([target("a", free_port(), timeout=5.0, interval=6.0)])
    change = await listener.until(HealthChanged)
    assert change.outcome is Outcome.TRANSPORT
    assert change.at.mono - change.first_bad < 4.0


async def test_a_first_failure_is_provoked(prober: Prober, listener: Listener) -> None:
    """With one probe in ten seconds, only the confirming burst can make three failures of it soon."""
    async with datagram_peer(silence) as peer:
        await prober.assign(
            [
                target(
                    "a",
                    peer.port,
                    interval=10.0,
                    hysteresis=Hysteresis(fall=3),
                    failover_relevant=True,
                    confirm=2,
                    confirm_interval=0.02,
                )
            ]
        )
        down = await listener.until(HealthChanged, current=HealthState.DOWN)
    assert down.failures == 3
    assert down.at.mono - down.first_bad < 5.0


async def test_a_second_copy_goes_out(prober: Prober, listener: Listener) -> None:
    async with datagram_peer(silence) as peer:
        await prober.assign([target("a", peer.port, timeout=0.2, interval=0.5, copies=2)])
        await listener.until(HealthChanged)
        branches = [line for data in peer.received for line in data.split(b"\r\n") if line[:4] == b"Via:"]
    assert len(branches) >= 2
    assert branches[0] == branches[1]


async def test_an_answer_to_the_second_copy_counts(prober: Prober, listener: Listener) -> None:
    def every_other(request: bytes) -> list[bytes]:
        return sip_answer()(request) if peer.received.count(request) > 1 else []

    async with datagram_peer(silence) as peer:
        peer.answer = every_other
        await prober.assign([target("a", peer.port, timeout=1.0, interval=1.0, copies=2)])
        await prober.run_ladder("CMD-1", [key("a")], 3.0, 1)
        answer = await listener.until(LadderFinished)
    assert answer.results[0].outcome is Outcome.UP
    assert answer.results[0].sends == 2


async def test_on_demand_rungs_wait_for_their_ladder(prober: Prober, listener: Listener) -> None:
    async with datagram_peer(sip_answer()) as peer, datagram_peer(sip_answer()) as other:
        await prober.assign([target("a", peer.port, on_demand=True), target("b", other.port)])
        await listener.until(HealthChanged, key=key("b"))
        beats = len(listener.of(VantageBeat))
        await listener.until(VantageBeat, count=beats + 3)
        assert peer.received == []
        await prober.run_ladder("CMD-7", [key("a"), key("b")], 5.0, 3)
        answer = await listener.until(LadderFinished)
    assert answer.command == "CMD-7"
    assert sorted(result.key.component for result in answer.results) == ["a"] * 3 + ["b"] * 3
    assert all(result.up for result in answer.results)
    assert len(peer.received) == 3


async def test_a_ladder_is_answered_in_time_whatever_happens(prober: Prober, listener: Listener) -> None:
    async with datagram_peer(silence) as peer:
        await prober.assign([target("a", peer.port, timeout=10.0, interval=60.0, on_demand=True)])
        asked = SystemClock().now().mono
        await prober.run_ladder("CMD-1", [key("a"), key("nobody")], 0.5, 5)
        answer = await listener.until(LadderFinished)
    assert answer.at.mono - asked < 5.0
    assert len([result for result in answer.results if result.key == key("a")]) == 5
    unknown = [result for result in answer.results if result.key == key("nobody")]
    assert unknown and all(result.outcome is Outcome.VOID for result in unknown)
    assert not any(result.up for result in answer.results)


async def test_values_are_reported_each_time_where_asked_for(prober: Prober, listener: Listener) -> None:
    async with datagram_peer(sip_answer(503, "Busy", b"Retry-After: 7")) as peer:
        await prober.assign([target("a", peer.port, reports_values=True)])
        measured = await listener.until(Measured, count=3, key=key("a"))
    assert measured.outcome is Outcome.REFUSING
    assert measured.up is False
    assert measured.values == (("retry_after", 7),)


async def test_an_assignment_replaces_the_one_before(prober: Prober, listener: Listener) -> None:
    async with datagram_peer(sip_answer()) as kept, datagram_peer(sip_answer()) as dropped:
        await prober.assign([target("a", kept.port), target("b", dropped.port)])
        await listener.until(HealthChanged, key=key("a"))
        await listener.until(HealthChanged, key=key("b"))
        await prober.assign([target("a", kept.port), target("c", kept.port)])
        await listener.until(HealthChanged, key=key("c"))
        received = len(dropped.received)
        beats = len(listener.of(VantageBeat))
        await listener.until(VantageBeat, count=beats + 4)
        assert len(dropped.received) <= received + 1
    assert len(listener.of(HealthChanged, key=key("a"))) == 1  # its health was kept


async def test_events_end_with_close(prober: Prober, listener: Listener) -> None:
    await listener.until(VantageBeat)
    await prober.close()
    await listener.ended()


async def test_a_kind_that_cannot_be_used_is_void_and_harms_nobody(
    prober: Prober, listener: Listener
) -> None:
    async with datagram_peer(sip_answer()) as peer:
        bad = Target(
            RungKey("a", "odd"), RungPolicy(name="odd", probe="no_such_kind", parameters=None, on_demand=True)
        )
        await prober.assign([bad, target("b", peer.port)])
        await listener.until(HealthChanged, key=key("b"), current=HealthState.UP)
        await prober.run_ladder("CMD-1", [bad.key], 2.0, 1)
        answer = await listener.until(LadderFinished)
    (result,) = answer.results
    assert result.outcome is Outcome.VOID and result.up is None
    assert "no_such_kind" in result.note


# The child process only.


@pytest.fixture
async def process_prober() -> AsyncIterator[ProcessProber]:
    made = ProcessProber("north", SystemClock(), argv=child_argv, silent_after=0.5, restart_after=1.5)
    await made.start()
    yield made
    await made.close()


async def test_a_killed_child_is_replaced_and_assigned_anew() -> None:
    # On a busy machine a beat may be late: here only its end may tell.
    process_prober = ProcessProber(
        "north", SystemClock(), argv=child_argv, silent_after=20.0, restart_after=30.0
    )
    await process_prober.start()
    listener = Listener(process_prober)
    async with datagram_peer(sip_answer()) as peer:
        await process_prober.assign([target("a", peer.port)])
        await listener.until(HealthChanged, current=HealthState.UP)
        assert process_prober.pid is not None
        await process_prober.run_ladder("CMD-1", [key("a")], 20.0, 10_000)
        os.kill(process_prober.pid, signal.SIGKILL)
        lost = await listener.until(VantageLost)
        answer = await listener.until(LadderFinished, command="CMD-1")
        again = await listener.until(HealthChanged, count=2, current=HealthState.UP)
    assert lost.reason == "killed by signal 9"
    assert len(answer.results) == 10_000 and not any(result.up for result in answer.results)
    assert again.previous is HealthState.UNKNOWN
    assert process_prober.restarts == 1
    await process_prober.close()


async def test_a_silent_child_is_lost_and_then_replaced(process_prober: ProcessProber) -> None:
    listener = Listener(process_prober)
    await listener.until(VantageBeat)
    stopped = process_prober.pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    lost = await listener.until(VantageLost)
    beats = len(listener.of(VantageBeat))
    await listener.until(VantageBeat, count=beats + 1)
    assert "no heartbeat" in lost.reason
    assert len(listener.of(VantageLost)) == 1
    assert process_prober.pid != stopped


async def test_a_stall_that_ends_by_itself_keeps_the_child_and_its_health() -> None:
    prober = ProcessProber("north", SystemClock(), argv=child_argv, silent_after=0.4, restart_after=20.0)
    await prober.start()
    listener = Listener(prober)
    async with datagram_peer(sip_answer()) as peer:
        await prober.assign([target("a", peer.port)])
        await listener.until(HealthChanged, current=HealthState.UP)
        pid = prober.pid
        assert pid is not None
        # On a busy machine it may have been lost for a moment before.
        await listener.until(VantageBeat, count=len(listener.of(VantageBeat)) + 1)
        lost = len(listener.of(VantageLost))
        os.kill(pid, signal.SIGSTOP)
        await listener.until(VantageLost, count=lost + 1)
        os.kill(pid, signal.SIGCONT)
        beats = len(listener.of(VantageBeat))
        beat = await listener.until(VantageBeat, count=beats + 3)
        while beat.late < 1 and len(listener.of(VantageBeat)) < beats + 100:
            beat = await listener.until(VantageBeat, count=len(listener.of(VantageBeat)) + 1)
    await prober.close()
    assert prober.restarts == 0
    assert max(beat.lag for beat in listener.of(VantageBeat)) > 0.3
    assert beat.late >= 1  # the slots that came too late were skipped and counted
    assert not listener.of(HealthChanged, current=HealthState.DOWN)


async def test_a_child_that_never_starts_is_retried(tmp_path: Path) -> None:
    marker = tmp_path / "started"

    def argv(fd: int) -> tuple[str, ...]:
        if marker.exists():
            return child_argv(fd)
        marker.touch()
        return (sys.executable, "-c", "raise SystemExit(3)")

    prober = ProcessProber("north", SystemClock(), argv=argv)
    await prober.start()
    listener = Listener(prober)
    lost = await listener.until(VantageLost)
    await listener.until(VantageBeat)
    await prober.close()
    assert lost.reason == "exited with status 3"
