"""The prober with probe kinds of the tests' own, and standing still under load."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controller.engine.clock import SystemClock
from controller.engine.prober import LocalProber
from controller.model.events import Event, HealthChanged, LadderFinished, VantageBeat
from controller.model.health import HealthState, Hysteresis, Outcome, ProbeResult, RungKey
from controller.model.policy import RungPolicy
from controller.ports import Flight, Target
from controller.probes.sip_options import OptionsParameters, SipOptions
from tests.builders.responders import datagram_peer, silence, sip_answer

KEY = RungKey("primary", "probe")


class Scripted:
    """A coroutine probe that does what its parameters, a function, say."""

    mass = False

    def __init__(self, parameters: Callable[[RungKey, float], Any]) -> None:
        self._script = parameters

    async def run(self, key: RungKey, timeout: float) -> ProbeResult:
        outcome: ProbeResult = await self._script(key, timeout)
        return outcome

    async def close(self) -> None: ...


class Clumsy(SipOptions):
    """A mass kind that raises: at sending from some target's second probe on, and each time it is drained. What is not
    answered it never finishes."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[RungKey, int] = {}

    def send(self, ticket: object, prepared: Any, timeout: float, now: float) -> Flight:
        self.sent[prepared.key] = self.sent.get(prepared.key, 0) + 1
        if prepared.key == KEY and self.sent[KEY] > 1:
            raise RuntimeError("out of cheese")
        return super().send(ticket, prepared, timeout, now)

    def drain(self) -> None:
        super().drain()
        raise RuntimeError("no drain")

    def give_up(self, transaction: Any, now: float, void: str) -> None:
        raise RuntimeError("no end")


KINDS = {"scripted": Scripted, "sip_options": SipOptions, "clumsy": Clumsy}


def policy(probe: str, parameters: object, **settings: Any) -> RungPolicy:
    return RungPolicy(
        name="probe", probe=probe, parameters=parameters, **{"interval": 0.05, "timeout": 0.04, **settings}
    )


@asynccontextmanager
async def probing(*targets: Target) -> AsyncIterator[tuple[LocalProber, list[Event], asyncio.Condition]]:
    prober = LocalProber("north", SystemClock(), lambda name: KINDS[name])
    seen: list[Event] = []
    news = asyncio.Condition()

    async def listen() -> None:
        async for event in prober.events():
            async with news:
                seen.append(event)
                news.notify_all()

    await prober.start()
    task = asyncio.create_task(listen())
    await prober.assign(targets)
    try:
        yield prober, seen, news
    finally:
        await prober.close()
        await task


async def ladder(prober: LocalProber, seen: list[Event], news: asyncio.Condition) -> ProbeResult:
    await prober.run_ladder("CMD-1", [KEY], 5.0, 1)
    answers: list[LadderFinished] = []

    def arrived() -> bool:
        answers[:] = [event for event in seen if isinstance(event, LadderFinished)]
        return bool(answers)

    async with asyncio.timeout(20), news:
        await news.wait_for(arrived)
    return answers[0].results[0]


async def test_a_probe_that_raises_is_a_void_result_with_a_note() -> None:
    async def broken(key: RungKey, timeout: float) -> ProbeResult:
        raise RuntimeError("out of cheese")

    target = Target(KEY, policy("scripted", broken, on_demand=True))
    async with probing(target) as (prober, seen, news):
        result = await ladder(prober, seen, news)
    assert result.outcome is Outcome.VOID and result.up is None
    assert "RuntimeError: out of cheese" in result.note
    assert prober.statistics()["voided"] == 1


async def test_what_a_target_says_can_always_be_shown() -> None:
    phrase = "服务不可用".encode("gbk").decode("utf-8", "surrogateescape")

    async def gibberish(key: RungKey, timeout: float) -> ProbeResult:
        now = time.monotonic()
        values = (("side", phrase), ("mos", 4.4), ("title", "主用"))
        return ProbeResult(key, now, now, Outcome.REFUSING, False, code=503, note=phrase, values=values)

    target = Target(KEY, policy("scripted", gibberish, on_demand=True))
    async with probing(target) as (prober, seen, news):
        result = await ladder(prober, seen, news)
    assert result.note.encode() and "?" in result.note
    assert dict(result.values) == {"side": result.note, "mos": 4.4, "title": "主用"}
    changed = next(event for event in seen if isinstance(event, HealthChanged))
    assert changed.note == result.note


async def test_a_mass_kind_that_raises_stops_nobodys_probes(caplog: pytest.LogCaptureFixture) -> None:
    other = RungKey("backup", "probe")
    loop = asyncio.get_running_loop()
    escaped: list[str] = []
    loop.set_exception_handler(lambda _, context: escaped.append(str(context.get("exception"))))
    async with datagram_peer(sip_answer()) as peer:
        parameters = OptionsParameters(uri=f"sip:127.0.0.1:{peer.port}")
        targets = [Target(key, policy("clumsy", parameters, timeout=0.5)) for key in (KEY, other)]
        async with probing(*targets) as (prober, _, _):
            async with asyncio.timeout(20):
                while prober.statistics()["voided"] < 3 or prober.statistics()["probes"] < 12:
                    await asyncio.sleep(0.01)
    assert not escaped
    assert [
        record.getMessage() for record in caplog.records if getattr(record, "action", "") == "probe_defect"
    ] == [
        "Clumsy raised RuntimeError: no drain",
        "clumsy raised RuntimeError: out of cheese",
    ], "each said once"


async def test_a_flight_that_its_kind_never_finishes_is_void_and_its_target_probed_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with datagram_peer(silence) as peer:
        parameters = OptionsParameters(uri=f"sip:127.0.0.1:{peer.port}")
        target = Target(RungKey("backup", "probe"), policy("clumsy", parameters))
        async with probing(target) as (prober, _, _), asyncio.timeout(20):
            while prober.statistics()["voided"] < 3:
                await asyncio.sleep(0.01)
            assert prober.statistics()["in_flight"] <= 1
    assert [record.getMessage() for record in caplog.records if "no end" in record.getMessage()] == [
        "clumsy raised RuntimeError: no end"
    ]


async def test_a_probe_that_never_ends_is_cancelled_and_void() -> None:
    cancelled = asyncio.Event()

    async def endless(key: RungKey, timeout: float) -> ProbeResult:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    target = Target(KEY, policy("scripted", endless, on_demand=True))
    async with probing(target) as (prober, seen, news):
        result = await ladder(prober, seen, news)
    assert result.outcome is Outcome.VOID and "did not end" in result.note
    assert cancelled.is_set()


async def test_a_probe_in_the_air_is_not_doubled_but_skipped_and_counted() -> None:
    running = most = 0
    release = asyncio.Event()

    async def slow(key: RungKey, timeout: float) -> ProbeResult:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1
        now = time.monotonic()
        return ProbeResult(key, now, now, Outcome.UP, True)

    target = Target(KEY, policy("scripted", slow, interval=0.02, timeout=30.0))
    async with probing(target) as (prober, _, _):
        async with asyncio.timeout(20):
            while prober.statistics()["skipped"] < 3:
                await asyncio.sleep(0.01)
        release.set()
    assert most == 1


async def test_a_loop_that_stands_still_invents_no_outage() -> None:
    """Probes with 40 ms, and the loop blocked for longer again and again: answers wait in the socket, and what is
    missing is void. Few targets: the answering peer shares this loop, and must itself keep up on a busy machine."""
    async with datagram_peer(sip_answer()) as peer:
        targets = [
            Target(
                RungKey(f"phone-{number}", "sip"),
                policy(
                    "sip_options",
                    OptionsParameters(uri=f"sip:{number}@127.0.0.1:{peer.port}"),
                    hysteresis=Hysteresis(fall=1),
                ),
            )
            for number in range(20)
        ]
        async with probing(*targets) as (prober, seen, news):
            async with asyncio.timeout(20), news:
                await news.wait_for(lambda: sum(isinstance(e, HealthChanged) for e in seen) == 20)
            figures = prober.statistics()
            for stalls in range(100):
                if stalls >= 8 and figures["skipped"] > 0 and figures["voided"] > 0:
                    break
                time.sleep(0.15)  # noqa: ASYNC251
                await asyncio.sleep(0.02)
                figures = prober.statistics()
    changes = [event for event in seen if isinstance(event, HealthChanged)]
    assert {event.current for event in changes} == {HealthState.UP}
    assert figures["skipped"] > 0 and figures["voided"] > 0


async def test_the_same_stall_does_not_hide_a_real_outage() -> None:
    async with datagram_peer(silence) as peer:
        parameters = OptionsParameters(uri=f"sip:127.0.0.1:{peer.port}")
        target = Target(KEY, policy("sip_options", parameters, interval=0.1, hysteresis=Hysteresis(fall=2)))
        async with probing(target) as (_, seen, news):
            time.sleep(0.3)  # noqa: ASYNC251
            async with asyncio.timeout(20), news:
                await news.wait_for(
                    lambda: any(
                        isinstance(event, HealthChanged) and event.current is HealthState.DOWN
                        for event in seen
                    )
                )


async def test_the_heart_beats_while_libraries_are_imported() -> None:
    """Or the vantage is lost for a moment at every start on a busy machine."""
    beaten = threading.Event()

    def slow_import(name: str) -> type:
        assert beaten.wait(10), "no heartbeat left while the kind was imported"
        return KINDS[name]

    prober = LocalProber("north", SystemClock(), slow_import)
    await prober.start()

    async def listen() -> None:
        beats = 0
        async for event in prober.events():
            beats += isinstance(event, VantageBeat)
            if beats == 3:
                beaten.set()

    listening = asyncio.create_task(listen())
    await prober.assign(
        [Target(KEY, policy("scripted", lambda key, timeout: asyncio.sleep(0), on_demand=True))]
    )
    assert prober.knows([KEY]) and beaten.is_set()
    await prober.close()
    await listening


async def test_the_heart_beats_while_slow_probes_are_built() -> None:
    built: list[float] = []

    class Slow(Scripted):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters)
            time.sleep(0.03)
            built.append(time.monotonic())

    prober = LocalProber("north", SystemClock(), lambda name: Slow)
    await prober.start()
    turns: list[int] = []

    async def turn() -> None:
        while True:
            turns.append(len(built))
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    keys = [RungKey(f"phone-{number}", "probe") for number in range(20)]
    await prober.assign([Target(key, policy("slow", None, on_demand=True)) for key in keys])
    turning.cancel()
    assert max(after - before for before, after in itertools.pairwise(turns)) == 1
    await prober.close()


async def test_an_unknown_kind_says_once_why_it_stays_unknown() -> None:
    target = Target(KEY, policy("no_such_kind", None))
    async with probing(target) as (_, seen, news), asyncio.timeout(20), news:
        await news.wait_for(lambda: any(isinstance(event, HealthChanged) for event in seen))
    (change,) = [event for event in seen if isinstance(event, HealthChanged)]
    assert (change.current, change.outcome) == (HealthState.UNKNOWN, Outcome.VOID)
    assert "no_such_kind" in change.note
