"""Who answers calls: rings, answers, echoes, hangs up; and what it does with what telephones get wrong."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from controller.sip.call_record import CallOutcome
from controller.sip.echo import MediaPath
from controller.sip.sdp import parse_audio
from controller.sip.transactions import acknowledge_failure, cancel
from demo_platform.datagrams import Datagrams
from demo_platform.echo import Answerer
from demo_platform.errors import AddressInUse
from demo_platform.layout import Address, Layout
from demo_platform.media import Echo
from tests.demo.phone import Line, dial


@pytest.fixture
async def answerer(layout: Layout) -> AsyncIterator[Answerer]:
    made = Answerer(layout.echo, ring_s=0.02)
    yield made
    made.close()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    made = Line()
    yield made
    made.close()


async def test_a_call_is_answered_and_hears_itself(answerer: Answerer) -> None:
    call = await dial(f"sip:echo@{answerer.address}", to=answerer.address)
    assert call.outcome is CallOutcome.COMPLETED
    assert call.record.provisional == (100, 180)
    assert call.record.bye_status == 200
    assert call.proof.path is MediaPath.BOTH_WAYS
    assert call.proof.round_trip_loss < 0.2
    assert answerer.calls == 0


async def test_who_gives_up_while_it_rings_is_let_go(layout: Layout) -> None:
    answerer = Answerer(layout.echo, ring_s=30)
    try:
        call = await dial(
            f"sip:echo@{answerer.address}",
            to=answerer.address,
            hang_up_when=lambda call: 180 in call.record.provisional,
        )
        assert call.outcome is CallOutcome.NO_ANSWER
        assert call.record.status == 487
        assert answerer.calls == 0
    finally:
        answerer.close()


async def test_an_invite_sent_twice_is_one_call_with_one_answer(answerer: Answerer, line: Line) -> None:
    invite = line.request("INVITE", f"sip:echo@{answerer.address}")
    line.send(invite, answerer.address)
    line.send(invite, answerer.address)
    first = await line.response(200)
    line.send(invite, answerer.address)
    again = await line.response(200)
    assert first.encode() == again.encode()
    assert answerer.answered == 1


async def test_an_answer_without_ack_is_repeated(answerer: Answerer, line: Line) -> None:
    line.send(line.request("INVITE", f"sip:echo@{answerer.address}"), answerer.address)
    first = await line.response(200)
    assert (await line.response(200)).to.tag == first.to.tag


async def test_a_refusal_without_ack_is_repeated_until_it_comes(answerer: Answerer, line: Line) -> None:
    invite = line.request("INVITE", f"sip:echo@{answerer.address}", offer=False)
    line.send(invite, answerer.address)
    await line.response(488)
    refusal = await line.response(488)
    line.send(acknowledge_failure(invite, refusal), answerer.address)
    line.send(line.request("OPTIONS", f"sip:{answerer.address}"), answerer.address)
    await line.response(200, method="OPTIONS")  # whatever came before it would have come by now
    with pytest.raises(TimeoutError):
        await line.response(488, within=1.2)


async def test_what_belongs_to_no_call_is_refused(answerer: Answerer, line: Line) -> None:
    uri = f"sip:echo@{answerer.address}"
    line.send(line.request("BYE", uri, to_tag="nobody"), answerer.address)
    assert (await line.response(method="BYE")).status == 481
    line.send(cancel(line.request("INVITE", uri)), answerer.address)
    assert (await line.response(method="CANCEL")).status == 481
    line.send(line.request("SUBSCRIBE", uri), answerer.address)
    assert (await line.response(method="SUBSCRIBE")).status == 405


async def test_noise_is_dropped_and_service_goes_on(answerer: Answerer, line: Line) -> None:
    for noise in (b"", b"\r\n\r\n", b"\0" * 40, b"INVITE\r\n", b"\xff" * 1400):
        line.send(noise, answerer.address)
    line.send(line.request("OPTIONS", f"sip:{answerer.address}"), answerer.address)
    assert (await line.response()).status == 200


async def test_who_hears_nothing_speaks_first() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    ear = Datagrams(Address("127.0.0.1", 0), lambda data, source: heard.put_nowait(data))
    echo = Echo("127.0.0.1", ear.address)
    try:
        async with asyncio.timeout(5):
            packets = [await heard.get() for _ in range(3)]
        assert {packet[:2] for packet in packets} == {b"\x80\x00"}
    finally:
        echo.close()
        ear.close()


async def test_a_taken_address_is_named(answerer: Answerer) -> None:
    with pytest.raises(AddressInUse, match=str(answerer.address)):
        Answerer(answerer.address)


async def test_the_answer_describes_one_codec_that_was_offered(answerer: Answerer, line: Line) -> None:
    line.send(line.request("INVITE", f"sip:echo@{answerer.address}"), answerer.address)
    answer = parse_audio((await line.response(200)).body)
    assert [codec.name for codec in answer.codecs] == ["PCMU"]
    assert answer.address == answerer.address.host
