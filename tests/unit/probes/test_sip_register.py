from __future__ import annotations

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.probes.sip_register import SipRegister, SipRegisterParameters
from tests.builders.answerer import CHALLENGE, PASSWORD, Answerer, answerer
from tests.builders.responders import datagram_peer, free_port

KEY = RungKey("registrar", "register")


def probe(port: int, **settings: object) -> SipRegister:
    return SipRegister(
        SipRegisterParameters(
            registrar=f"sip:127.0.0.1:{port}",
            aor="sip:probe@lab.example",
            **settings,  # type: ignore[arg-type]
        )
    )


async def run(peer: Answerer, **settings: object) -> ProbeResult:
    return await probe(peer.port, **settings).run(KEY, 5.0)


async def test_credentials_are_proved() -> None:
    async with answerer() as peer:
        peer.challenge = CHALLENGE
        result = await run(peer, username="probe", password=PASSWORD, expect_challenge=True)
        assert peer.requests[0].get("Contact") is None  # it only asks
    assert (result.outcome, result.up, result.code) == (Outcome.UP, True, 200)
    assert dict(result.values) == {"challenged": True, "granted": None, "bindings": 0}


async def test_a_contact_is_registered_and_refreshed_under_one_call_id() -> None:
    async with answerer() as peer:
        one = probe(peer.port, contact="sip:probe@127.0.0.1:9")
        first = await one.run(KEY, 5.0)
        await one.run(KEY, 5.0)
        assert len({request.call_id for request in peer.requests}) == 1
        assert [request.cseq.number for request in peer.requests] == [1, 2]
    assert dict(first.values) == {"challenged": False, "granted": 60, "bindings": 1}


async def test_an_open_registrar_is_a_finding() -> None:
    async with answerer() as peer:
        result = await run(peer, expect_challenge=True)
    assert result.outcome is Outcome.FAILED and "without a password" in result.note


async def test_refusals() -> None:
    async with answerer() as peer:
        peer.challenge = CHALLENGE
        wrong = await run(peer, username="probe", password="wrong")
        peer.challenge, peer.status = None, 503
        refusing = await run(peer)
    assert (wrong.outcome, wrong.code, wrong.up) == (Outcome.UP_AUTH, 401, False)
    assert (refusing.outcome, refusing.code) == (Outcome.REFUSING, 503)


async def test_silence_refusal_and_garbage() -> None:
    async with answerer() as peer:
        peer.silent = True
        silent = await probe(peer.port).run(KEY, 0.7)
    refused = await probe(free_port()).run(KEY, 5.0)
    async with datagram_peer(lambda request: [b"\r\n\r\nnonsense"]) as bad:
        garbage = await probe(bad.port).run(KEY, 0.3)
    assert silent.outcome is Outcome.NO_REPLY and silent.sends == 2
    assert refused.outcome is Outcome.TRANSPORT and refused.latency < 3.0
    assert garbage.outcome is Outcome.MALFORMED
