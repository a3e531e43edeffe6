"""A platform side: relays calls with their media, registers, and has its fault switches."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from controller.sip.call_record import CallOutcome
from controller.sip.digest import Credentials
from controller.sip.echo import MediaPath
from controller.sip.messages import parse_message
from controller.sip.register import Registered, Registration, RegistrationOutcome, RegistrationPlan
from controller.sip.transactions import Send
from demo_platform.echo import Answerer
from demo_platform.layout import REGISTER_PASSWORD, REGISTER_USER, Layout
from demo_platform.media import OneWay
from demo_platform.side import Side
from demo_platform.switches import read_switches
from tests.demo.phone import Line, dial


@pytest.fixture
async def side(layout: Layout) -> AsyncIterator[Side]:
    answerers = [Answerer(layout.echo), Answerer(layout.agents)]
    made = make_side(layout)
    yield made
    await made.close()
    for answerer in answerers:
        answerer.close()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    made = Line()
    yield made
    made.close()


def make_side(layout: Layout, fence_mark: Path | None = None) -> Side:
    return Side(
        "primary",
        layout.primary,
        echo=layout.echo,
        agents=layout.agents,
        passwords={REGISTER_USER: REGISTER_PASSWORD},
        fence_mark=fence_mark,
    )


@pytest.mark.parametrize("user", ["echo", "hotline"])
async def test_a_call_is_relayed_marked_and_its_media_anchored(side: Side, user: str) -> None:
    call = await dial(f"sip:{user}@{side.address}", to=side.address)
    assert call.outcome is CallOutcome.COMPLETED
    assert call.record.bye_status == 200
    assert call.answer is not None and call.answer.get_all("X-Side") == ("primary",)
    assert call.audio is not None and call.audio.address == side.address.host
    assert call.proof.path is MediaPath.BOTH_WAYS
    assert call.proof.round_trip_loss < 0.2


async def test_the_echo_service_being_down_fails_test_calls_only(layout: Layout) -> None:
    agents, side = Answerer(layout.agents), make_side(layout)
    try:
        test_call = await dial(f"sip:echo@{side.address}", to=side.address)
        assert (test_call.outcome, test_call.record.status) == (CallOutcome.REJECTED, 408)
        real_call = await dial(f"sip:hotline@{side.address}", to=side.address)
        assert real_call.outcome is CallOutcome.COMPLETED
    finally:
        await side.close()
        agents.close()


async def test_a_zombie_answers_options_and_refuses_calls(side: Side, line: Line) -> None:
    side.switches.zombie = True
    line.send(line.request("OPTIONS", f"sip:{side.address}"), side.address)
    options = await line.response(method="OPTIONS")
    call = await dial(f"sip:echo@{side.address}", to=side.address)
    assert options.status == 200 and options.get("X-Side") == "primary"
    assert call.record.status == 503 and call.record.header("X-Side") == "primary"


@pytest.mark.parametrize(
    ("direction", "path"),
    [(OneWay.IN, MediaPath.NOT_HEARD), (OneWay.OUT, MediaPath.NOTHING_RECEIVED)],
)
async def test_one_way_audio_is_told_by_its_direction(side: Side, direction: OneWay, path: MediaPath) -> None:
    side.switches.one_way = direction
    call = await dial(f"sip:echo@{side.address}", to=side.address)
    assert call.outcome is CallOutcome.COMPLETED
    assert call.proof.path is path


async def test_a_fenced_side_hears_the_controller_only(side: Side) -> None:
    controller, edge = Line("127.0.0.1"), Line("127.0.0.9")
    try:
        side.switches.fenced = True
        edge.send(edge.request("OPTIONS", f"sip:{side.address}"), side.address)
        controller.send(controller.request("OPTIONS", f"sip:{side.address}"), side.address)
        assert (await controller.response()).status == 200
        with pytest.raises(TimeoutError):
            await edge.response(within=0.2)
        side.switches.fenced = False
        edge.send(edge.request("OPTIONS", f"sip:{side.address}"), side.address)
        assert (await edge.response()).status == 200
    finally:
        controller.close()
        edge.close()


async def test_a_fenced_side_relays_the_controllers_test_calls_only(side: Side) -> None:
    talking = asyncio.create_task(
        dial(f"sip:echo@{side.address}", to=side.address, host="127.0.0.9", duration=1.0)
    )
    for _ in range(200):
        if side.calls:
            break
        await asyncio.sleep(0.01)
    side.switches.fenced = True
    test_call = await dial(f"sip:echo@{side.address}", to=side.address)
    assert test_call.outcome is CallOutcome.COMPLETED and test_call.proof.path is MediaPath.BOTH_WAYS
    cut = await talking
    assert cut.record.bye_status is None, "a call under way is cut off"
    assert cut.proof.round_trip_loss > 0.3


async def test_a_side_started_behind_its_fence_comes_up_fenced(layout: Layout, tmp_path: Path) -> None:
    fence_mark = tmp_path / "primary.fenced"
    fence_mark.touch()
    side = make_side(layout, fence_mark)
    assert side.switches.fenced
    await side.close()


@pytest.mark.parametrize(
    ("password", "outcome"),
    [
        (REGISTER_PASSWORD, RegistrationOutcome.REGISTERED),
        ("wrong", RegistrationOutcome.UNAUTHORIZED),
        (None, RegistrationOutcome.UNAUTHORIZED),
    ],
)
async def test_registration_needs_the_password(
    side: Side, line: Line, password: str | None, outcome: RegistrationOutcome
) -> None:
    result = await register(side, line, password)
    assert result.outcome is outcome
    assert result.challenged
    if outcome is RegistrationOutcome.REGISTERED:
        assert result.granted is not None and 55 <= result.granted <= 60


async def register(side: Side, line: Line, password: str | None) -> Registered:
    credentials = None if password is None else Credentials(username=REGISTER_USER, password=password)
    registration = Registration(
        RegistrationPlan(
            registrar=f"sip:{side.address}",
            aor=f"sip:{REGISTER_USER}@demo",
            sent_by=str(line.address),
            contact=f"sip:{REGISTER_USER}@{line.address}",
            expires=60,
            credentials=credentials,
        ),
        token="f00d" * 8,
    )
    outputs = registration.start(0.0)
    while registration.result is None:
        for output in outputs:
            if isinstance(output, Send):
                line.send(output.datagram, side.address)
        response = await line.response(method="REGISTER")
        outputs = registration.receive(parse_message(response.encode()), 0.1)
    return registration.result


async def test_switches_are_thrown_and_read_over_http(side: Side, layout: Layout) -> None:
    await side.control.open(layout.primary_control)
    url = f"http://{layout.primary_control}/"
    async with aiohttp.ClientSession() as session:
        async with session.put(url, data='{"zombie": true, "one_way": "in"}') as answer:
            assert answer.status == 200
        assert side.switches.zombie and side.switches.one_way is OneWay.IN
        async with session.get(url) as answer:
            state = await answer.json()
        assert (state["name"], state["zombie"], state["one_way"], state["fenced"]) == (
            "primary",
            True,
            "in",
            False,
        )
        async with session.put(url, data='{"zombie": "yes"}') as answer:
            assert answer.status == 400
        assert side.switches.zombie is True


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"zombie": 1}', '{"one_way": "sideways"}', '{"other": true}']
)
def test_switches_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_switches(text)


async def test_requests_to_other_machines_are_never_relayed(side: Side, line: Line) -> None:
    request = line.request(
        "BYE", "sip:someone@192.0.2.7", to_tag="x", headers=(("Route", f"<sip:{side.address};lr>"),)
    )
    line.send(request, side.address)
    assert (await line.response()).status == 404
