"""Test calls against a real user agent server on loopback, good and bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import ValidationError

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.probes import media
from controller.probes.sip_call import SipCall, SipCallParameters
from tests.builders.answerer import CHALLENGE, PASSWORD, Answerer, answerer
from tests.builders.responders import datagram_peer, free_port

KEY = RungKey("primary", "call")


@pytest.fixture(autouse=True)
def late_as_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends run in this loop, on a machine that may be busy: what its lag does to a call is tested elsewhere."""
    monkeypatch.setattr(media, "LAG_TOLERATED", 60.0)


@pytest.fixture
async def peer() -> AsyncIterator[Answerer]:
    async with answerer() as made:
        yield made


async def call(peer: Answerer, timeout: float = 10.0, **settings: object) -> ProbeResult:
    probe = SipCall(
        SipCallParameters(uri=f"sip:echo@127.0.0.1:{peer.port}", **{"media": 0.2, **settings})  # type: ignore[arg-type]
    )
    try:
        return await probe.run(KEY, timeout)
    finally:
        await probe.close()


async def test_a_good_call_is_measured_and_hung_up(peer: Answerer) -> None:
    result = await call(peer)
    values = dict(result.values)
    assert result.outcome is Outcome.UP and result.up is True and result.code == 200
    assert values["side"] == "a" and values["answered"] is True and values["one_way"] == ""
    assert values["sent"] == 10 and values["received"] == 10
    assert isinstance(values["mos"], float) and values["mos"] > 4.3
    assert isinstance(values["pdd_ms"], float) and values["pdd_ms"] >= 0
    bye = await peer.until("BYE")
    assert peer.methods() == ["INVITE", "ACK", "BYE"]
    invite = peer.requests[0]
    for request in (invite, bye):
        assert request.get("X-Third-Ring-Test")
    assert list(values) == [
        "side", "mos", "pdd_ms", "loss_percent", "sent", "received", "jitter_ms", "answered", "code", "one_way",
    ]  # fmt: skip


async def test_nothing_comes_back(peer: Answerer) -> None:
    peer.media.echo = False
    result = await call(peer)
    assert result.outcome is Outcome.FAILED and result.up is False
    assert dict(result.values)["one_way"] == "in"
    assert dict(result.values)["mos"] == 1.0
    await peer.until("BYE")


async def test_audio_comes_back_but_never_ours(peer: Answerer) -> None:
    peer.media.noise = True
    result = await call(peer)
    assert result.outcome is Outcome.FAILED
    assert dict(result.values)["one_way"] == "out"


async def test_an_answer_that_refuses_audio(peer: Answerer) -> None:
    peer.body = (
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n"
    )
    result = await call(peer)
    assert result.outcome is Outcome.FAILED
    assert dict(result.values)["one_way"] == "both"


async def test_an_answer_of_the_other_ip_version_refuses_audio(peer: Answerer) -> None:
    peer.body = b"v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    result = await call(peer)
    assert result.outcome is Outcome.FAILED
    assert dict(result.values)["one_way"] == "both"


async def test_loss_lowers_the_score(peer: Answerer) -> None:
    peer.media.drop_every = 4
    result = await call(peer, media=0.4, minimum_mos=4.0)
    values = dict(result.values)
    assert values["sent"] == 20 and values["received"] == 15 and values["loss_percent"] == 25.0
    assert result.outcome is Outcome.FAILED and "MOS" in result.note


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(503, Outcome.REFUSING), (486, Outcome.ERROR), (404, Outcome.MISROUTED), (504, Outcome.NEXT_HOP_DOWN)],
)
async def test_a_refusal_is_told_apart_and_acknowledged(
    peer: Answerer, status: int, outcome: Outcome
) -> None:
    peer.status = status
    result = await call(peer)
    assert (result.outcome, result.up, result.code) == (outcome, False, status)
    assert dict(result.values)["answered"] is False
    assert dict(result.values)["side"] == "a"
    await peer.until("ACK")
    assert "BYE" not in peer.methods()


async def test_an_accepted_refusal_is_up(peer: Answerer) -> None:
    peer.status = 486
    result = await call(peer, accept=frozenset({486}))
    assert result.up is True and result.outcome is Outcome.ERROR


async def test_the_wrong_side_answers(peer: Answerer) -> None:
    result = await call(peer, expected_side="b")
    assert result.outcome is Outcome.MISROUTED and "answered by a" in result.note


async def test_digest_is_answered(peer: Answerer) -> None:
    peer.challenge = CHALLENGE
    result = await call(peer, username="probe", password=PASSWORD)
    assert result.up is True
    assert peer.methods()[:4] == ["INVITE", "ACK", "INVITE", "ACK"]


async def test_wrong_credentials(peer: Answerer) -> None:
    peer.challenge = CHALLENGE
    result = await call(peer, username="probe", password="wrong")
    assert (result.outcome, result.code, result.up) == (Outcome.UP_AUTH, 401, False)


async def test_silence_and_the_deadline(peer: Answerer) -> None:
    peer.silent = True
    result = await call(peer, timeout=0.7)
    assert result.outcome is Outcome.NO_REPLY and result.sends == 2
    assert result.latency < 5.0
    assert peer.methods() == ["INVITE", "INVITE"]


async def test_ringing_without_an_answer_is_cancelled(peer: Answerer) -> None:
    peer.answer = False
    probe = SipCall(SipCallParameters(uri=f"sip:echo@127.0.0.1:{peer.port}"))
    result = await probe.run(KEY, 0.3)
    assert result.outcome is Outcome.NO_REPLY and "180" in result.note
    await peer.until("CANCEL")
    await probe.close()


async def test_a_late_answer_is_hung_up_too(peer: Answerer) -> None:
    peer.answer = False
    peer.ring = False
    probe = SipCall(SipCallParameters(uri=f"sip:echo@127.0.0.1:{peer.port}"))
    result = await probe.run(KEY, 0.2)
    assert result.outcome is Outcome.NO_REPLY
    peer.accept_now()
    await peer.until("BYE")
    await probe.close()


async def test_a_cancelled_probe_still_hangs_up(peer: Answerer) -> None:
    probe = SipCall(SipCallParameters(uri=f"sip:echo@127.0.0.1:{peer.port}", media=10.0))
    task = asyncio.create_task(probe.run(KEY, 20.0))
    await peer.until("ACK")
    task.cancel()
    await peer.until("BYE")
    await probe.close()


async def test_a_refused_port() -> None:
    probe = SipCall(SipCallParameters(uri=f"sip:echo@127.0.0.1:{free_port()}"))
    result = await probe.run(KEY, 5.0)
    assert result.outcome is Outcome.TRANSPORT and "refused" in result.note
    assert result.latency < 3.0
    await probe.close()


async def test_garbage() -> None:
    async with datagram_peer(lambda request: [b"\x00\xff not sip"]) as peer:
        probe = SipCall(SipCallParameters(uri=f"sip:echo@127.0.0.1:{peer.port}"))
        result = await probe.run(KEY, 0.3)
        await probe.close()
    assert result.outcome is Outcome.MALFORMED and result.up is False


async def test_an_answer_without_a_session_description(peer: Answerer) -> None:
    peer.body = b"this is no SDP"
    result = await call(peer)
    assert result.outcome is Outcome.MALFORMED
    await peer.until("BYE")


def test_parameters_are_checked() -> None:
    with pytest.raises(ValidationError):
        SipCallParameters(uri="tel:110")
    with pytest.raises(ValidationError):
        SipCallParameters(uri="sip:a@b", colour="blue")  # type: ignore[call-arg]
    assert "hunter2" not in repr(SipCallParameters(uri="sip:a@b", username="u", password="hunter2"))  # type: ignore[arg-type]
