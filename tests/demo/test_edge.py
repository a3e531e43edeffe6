"""Calls through the edge: to the active side, and what callers see when a side fails."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.sip.call_record import CallOutcome
from controller.sip.echo import MediaPath
from demo_platform.datagrams import SipSocket
from demo_platform.echo import Answerer
from demo_platform.edge import Edge
from demo_platform.layout import Layout, Role
from demo_platform.side import Side
from tests.demo.phone import Finished, Line, dial


class Platform:
    """Everything but the processes: one edge, two sides, agents, an echo service, in this event loop."""

    def __init__(self, layout: Layout, list_file: Path, *, failure_route: bool = False) -> None:
        self.layout = layout
        self.list_file = list_file
        list_file.write_text(
            f"1 {layout.uri(Role.PRIMARY)} 0 10 epoch=1\n1 {layout.uri(Role.BACKUP)} 4 5 epoch=1\n"
        )
        self.answerers = [Answerer(layout.echo), Answerer(layout.agents)]
        self.sides = {
            role: Side(
                role.value, layout.sip(role), echo=layout.echo, agents=layout.agents, passwords={"a": "b"}
            )
            for role in (Role.PRIMARY, Role.BACKUP)
        }
        self.edge = Edge(layout.edge, list_file, fr_timer=0.2, failure_route=failure_route)

    def set_state(self, letters: str, side: Role) -> None:
        self.edge.dispatcher.set_state(letters, 1, self.layout.uri(side))

    def count(self, side: Role, what: str) -> int:
        return self.edge.counters[f"{self.layout.sip(side).host}::{what}"]

    async def silence(self, side: Role) -> SipSocket:
        """Replace a side by a socket that takes everything in and never says anything: what a hung one looks like."""
        await self.sides.pop(side).close()
        return SipSocket(self.layout.sip(side), lambda message, source: None)

    async def close(self) -> None:
        await self.edge.close()
        for side in self.sides.values():
            await side.close()
        for answerer in self.answerers:
            answerer.close()


@pytest.fixture
async def platform(layout: Layout, tmp_path: Path) -> AsyncIterator[Platform]:
    made = Platform(layout, tmp_path / "dispatcher.list")
    yield made
    await made.close()


@pytest.fixture
async def rerouting(layout: Layout, tmp_path: Path) -> AsyncIterator[Platform]:
    made = Platform(layout, tmp_path / "dispatcher.list", failure_route=True)
    yield made
    await made.close()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    made = Line()
    yield made
    made.close()


def side_of(call: Finished) -> str | None:
    return call.record.header("X-Side")


async def call_through(platform: Platform, user: str = "hotline") -> Finished:
    return await dial(f"sip:{user}@{platform.edge.address}", to=platform.edge.address)


async def test_a_call_passes_edge_and_side_and_back(platform: Platform) -> None:
    call = await call_through(platform)
    assert call.outcome is CallOutcome.COMPLETED and call.record.bye_status == 200
    assert side_of(call) == "primary"
    assert call.proof.path is MediaPath.BOTH_WAYS
    assert (platform.count(Role.PRIMARY, "180"), platform.count(Role.PRIMARY, "200")) == (1, 1)
    assert platform.edge.under_way == 0


async def test_a_switch_moves_the_next_call_and_leaves_the_one_under_way(platform: Platform) -> None:
    talking = asyncio.create_task(
        dial(f"sip:hotline@{platform.edge.address}", to=platform.edge.address, duration=0.6)
    )
    for _ in range(200):
        if platform.count(Role.PRIMARY, "200"):
            break
        await asyncio.sleep(0.01)
    platform.set_state("a", Role.BACKUP)
    platform.set_state("d", Role.PRIMARY)
    moved = await call_through(platform)
    stayed = await talking
    assert (side_of(stayed), side_of(moved)) == ("primary", "backup")
    assert stayed.outcome is CallOutcome.COMPLETED and stayed.record.bye_status == 200


async def test_without_an_active_side_callers_and_options_are_told(platform: Platform, line: Line) -> None:
    platform.set_state("d", Role.PRIMARY)
    call = await call_through(platform)
    assert (call.outcome, call.record.status) == (CallOutcome.REJECTED, 503)
    line.send(line.request("OPTIONS", f"sip:{platform.edge.address}"), platform.edge.address)
    assert (await line.response(method="OPTIONS")).status == 503
    platform.set_state("t", Role.BACKUP)  # T still takes calls
    line.send(line.request("OPTIONS", f"sip:{platform.edge.address}"), platform.edge.address)
    assert (await line.response(method="OPTIONS")).status == 200
    assert side_of(await call_through(platform)) == "backup"


async def test_a_zombie_reaches_callers_as_500_and_is_counted(platform: Platform) -> None:
    platform.sides[Role.PRIMARY].switches.zombie = True
    call = await call_through(platform)
    assert (call.record.status, side_of(call)) == (500, "primary")
    assert platform.count(Role.PRIMARY, "503") == 1
    assert platform.count(Role.PRIMARY, "timeout") == 0


async def test_a_silent_side_is_given_up_after_the_timer_and_counted(platform: Platform) -> None:
    silent = await platform.silence(Role.PRIMARY)
    try:
        call = await call_through(platform)
        assert call.record.status == 408
        assert call.record.ended - call.record.started < 1.5
        assert platform.count(Role.PRIMARY, "timeout") == 1
    finally:
        silent.close()


async def test_with_a_failure_route_callers_notice_nothing_of_a_zombie(rerouting: Platform) -> None:
    rerouting.set_state("a", Role.BACKUP)
    rerouting.sides[Role.PRIMARY].switches.zombie = True
    call = await call_through(rerouting)
    assert call.outcome is CallOutcome.COMPLETED and side_of(call) == "backup"
    assert (rerouting.count(Role.PRIMARY, "503"), rerouting.count(Role.BACKUP, "200")) == (1, 1)


async def test_with_a_failure_route_a_silent_side_costs_the_timer(rerouting: Platform) -> None:
    rerouting.set_state("a", Role.BACKUP)
    silent = await rerouting.silence(Role.PRIMARY)
    try:
        call = await call_through(rerouting)
        assert call.outcome is CallOutcome.COMPLETED and side_of(call) == "backup"
        assert call.record.post_dial_delay >= 0.2
        assert rerouting.count(Role.PRIMARY, "timeout") == 1
    finally:
        silent.close()


async def test_what_the_callee_refuses_is_not_a_failure_of_the_side(rerouting: Platform, line: Line) -> None:
    rerouting.set_state("a", Role.BACKUP)
    line.send(
        line.request("INVITE", f"sip:hotline@{rerouting.edge.address}", offer=False), rerouting.edge.address
    )
    await line.response(488)
    assert (rerouting.count(Role.PRIMARY, "488"), rerouting.count(Role.BACKUP, "488")) == (1, 0)


async def test_a_caller_who_gives_up_is_let_go_all_the_way(layout: Layout, tmp_path: Path) -> None:
    platform = Platform(layout, tmp_path / "dispatcher.list")
    platform.answerers.pop().close()
    patient = Answerer(layout.agents, ring_s=30)
    try:
        call = await dial(
            f"sip:hotline@{platform.edge.address}",
            to=platform.edge.address,
            hang_up_when=lambda call: 180 in call.record.provisional,
        )
        assert (call.outcome, call.record.status) == (CallOutcome.NO_ANSWER, 487)
        assert patient.calls == 0
        assert platform.edge.under_way == 0
    finally:
        patient.close()
        await platform.close()


async def test_an_invite_sent_twice_reaches_the_agent_once(platform: Platform, line: Line) -> None:
    invite = line.request("INVITE", f"sip:hotline@{platform.edge.address}")
    for _ in range(3):
        line.send(invite, platform.edge.address)
    await line.response(200)
    line.send(invite, platform.edge.address)
    await line.response(200)
    assert platform.answerers[1].answered == 1


async def test_hops_are_counted(platform: Platform, line: Line) -> None:
    invite = line.request("INVITE", f"sip:hotline@{platform.edge.address}")
    spent = tuple((name, "1" if name == "Max-Forwards" else value) for name, value in invite.headers)
    line.send(
        type(invite)(method="INVITE", uri=invite.uri, headers=spent, body=invite.body), platform.edge.address
    )
    await line.response(483)  # of the side: the edge took the last hop there was
    assert platform.count(Role.PRIMARY, "483") == 1
    assert platform.answerers[1].answered == 0


async def test_what_is_in_no_dialog_is_refused(platform: Platform, line: Line) -> None:
    line.send(line.request("BYE", f"sip:x@{platform.edge.address}", to_tag="y"), platform.edge.address)
    assert (await line.response(method="BYE")).status == 481
