"""OPTIONS against real sockets on loopback: every answer, and every way of not answering."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from controller.model.health import Outcome
from controller.probes.answers import AnswerPolicy
from controller.probes.sip_options import OptionsParameters, SipOptions
from controller.sip.messages import Request, parse_message
from controller.sip.replies import reply
from tests.builders.responders import DatagramPeer, datagram_peer, free_port, silence, sip_answer

Drive = Callable[[SipOptions], Any]


def parameters(port: int, **settings: Any) -> OptionsParameters:
    return OptionsParameters(uri=f"sip:127.0.0.1:{port}", **settings)


async def arrival(peer: DatagramPeer) -> None:
    async with asyncio.timeout(20):
        await peer.arrived.wait()


async def drained_until(driver: Any, counter: str, count: int = 1) -> None:
    async with asyncio.timeout(20):
        while driver.kind.counters()[counter] < count:
            await asyncio.sleep(0.001)


async def test_the_request_is_sound(drive: Drive) -> None:
    async with datagram_peer(sip_answer()) as peer:
        driver = drive(SipOptions())
        result = await driver.probe(driver.prepare(parameters(peer.port, max_forwards=3)))
    request = parse_message(peer.received[0])
    assert isinstance(request, Request)
    assert (request.method, request.max_forwards) == ("OPTIONS", 3)
    assert request.top_via.host == "127.0.0.1" and "rport" in request.top_via.parameters
    assert (result.outcome, result.up, result.code, result.sends) == (Outcome.UP, True, 200, 1)
    assert 0.0 < result.latency < 5.0


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.UP),
        (202, Outcome.UP),
        (302, Outcome.MISROUTED),
        (401, Outcome.UP_AUTH),
        (404, Outcome.MISROUTED),
        (407, Outcome.UP_AUTH),
        (408, Outcome.NEXT_HOP_DOWN),
        (480, Outcome.REFUSING),
        (483, Outcome.ERROR),
        (500, Outcome.ERROR),
        (503, Outcome.REFUSING),
        (504, Outcome.NEXT_HOP_DOWN),
        (600, Outcome.REFUSING),
        (603, Outcome.ERROR),
    ],
)
async def test_outcomes(drive: Drive, status: int, outcome: Outcome) -> None:
    async with datagram_peer(sip_answer(status, "Reason")) as peer:
        driver = drive(SipOptions())
        result = await driver.probe(driver.prepare(parameters(peer.port)))
    assert (result.outcome, result.code) == (outcome, status)
    assert result.up is (200 <= status < 300)


UP_STATUSES = {
    (AnswerPolicy.STRICT, ()): {200, 202},
    (AnswerPolicy.KAMAILIO, (404, 408)): {200, 202, 404},
    (AnswerPolicy.OPENSIPS, (404,)): {200, 404},
    (AnswerPolicy.ASTERISK, ()): {200, 202, 302, 401, 404, 408, 500, 503, 603},
    (AnswerPolicy.FREESWITCH, ()): {200, 202, 302, 401, 404, 500},
}


@pytest.mark.parametrize(("policy", "codes"), UP_STATUSES)
async def test_policies_by_vendor(drive: Drive, policy: AnswerPolicy, codes: tuple[int, ...]) -> None:
    up = set()
    async with datagram_peer(silence) as peer:
        driver = drive(SipOptions())
        prepared = driver.prepare(parameters(peer.port, policy=policy, accept=frozenset(codes)))
        for status in (200, 202, 302, 401, 404, 408, 500, 503, 603):
            peer.answer = sip_answer(status, "Reason")
            if (await driver.probe(prepared)).up:
                up.add(status)
    assert up == UP_STATUSES[policy, codes]


async def test_asterisk_may_want_2xx_only(drive: Drive) -> None:
    async with datagram_peer(sip_answer(404, "Not Found")) as peer:
        driver = drive(SipOptions())
        prepared = driver.prepare(parameters(peer.port, policy=AnswerPolicy.ASTERISK, qualify_2xx_only=True))
        assert (await driver.probe(prepared)).up is False


async def test_retry_after_is_told(drive: Drive) -> None:
    async with datagram_peer(sip_answer(503, "Overload", b"Retry-After: 30 (busy)")) as peer:
        driver = drive(SipOptions())
        result = await driver.probe(driver.prepare(parameters(peer.port)))
    assert result.values == (("retry_after", 30),)
    assert result.note == "Overload, retry after 30 s"


async def test_a_refused_port_is_told_at_once_and_disturbs_nobody(drive: Drive) -> None:
    async with datagram_peer(sip_answer()) as peer:
        driver = drive(SipOptions())
        good, bad = driver.prepare(parameters(peer.port)), driver.prepare(parameters(free_port()))
        futures = [driver.send(bad if number % 2 else good)[1] for number in range(20)]
        async with asyncio.timeout(20):
            results = await asyncio.gather(*futures)
    assert [result.up for result in results] == [True, False] * 10
    assert all(result.outcome is Outcome.TRANSPORT for result in results[1::2])
    assert "refused" in results[1].note


async def test_no_answer(drive: Drive) -> None:
    async with datagram_peer(silence) as peer:
        driver = drive(SipOptions())
        flight, future = driver.send(driver.prepare(parameters(peer.port)))
        await arrival(peer)
        flight.resend(1.0)
        driver.give_up(flight)
        driver.give_up(flight)
    result = future.result()
    assert (result.outcome, result.up, result.sends) == (Outcome.NO_REPLY, False, 2)
    assert driver.calls == 1


async def test_a_void_end(drive: Drive) -> None:
    async with datagram_peer(silence) as peer:
        driver = drive(SipOptions())
        flight, future = driver.send(driver.prepare(parameters(peer.port)))
        driver.give_up(flight, "our own loop lagged 900 ms")
    assert future.result().up is None and future.result().outcome is Outcome.VOID


async def test_late_answers_are_counted(drive: Drive) -> None:
    async with datagram_peer(silence) as peer:
        driver = drive(SipOptions())
        flight, future = driver.send(driver.prepare(parameters(peer.port)))
        await arrival(peer)
        driver.give_up(flight)
        (late,) = sip_answer()(peer.received[0])
        peer.transport.sendto(late, ("127.0.0.1", own_port(driver)))
        await drained_until(driver, "late")
    assert future.result().outcome is Outcome.NO_REPLY
    assert driver.calls == 1


def own_port(driver: Any) -> int:
    (shared,) = driver.kind._sockets.values()
    return int(shared.socket.getsockname()[1])


async def test_an_answer_from_another_source_is_none(drive: Drive) -> None:
    async with datagram_peer(sip_answer()) as peer, datagram_peer(silence, "127.0.0.2") as stranger:
        peer.via = stranger.transport
        driver = drive(SipOptions())
        flight, future = driver.send(driver.prepare(parameters(peer.port)))
        await drained_until(driver, "wrong_source")
        driver.give_up(flight)
    assert future.result().outcome is Outcome.NO_REPLY
    assert "127.0.0.2" in future.result().note


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b"OPTIONS", b"INVITE"),
        lambda text: text.replace(b"CSeq: 1 ", b"CSeq: 2 "),
        lambda text: text.replace(b"Call-ID: ", b"Call-ID: x"),
        lambda text: text.replace(b";tag=", b";tag=x", 1),
    ],
)
async def test_our_branch_on_another_dialog_is_no_answer(
    drive: Drive, spoil: Callable[[bytes], bytes]
) -> None:
    async with datagram_peer(lambda request: [spoil(sip_answer()(request)[0])]) as peer:
        driver = drive(SipOptions())
        flight, future = driver.send(driver.prepare(parameters(peer.port)))
        await drained_until(driver, "mismatched")
        driver.give_up(flight)
    assert future.result().outcome is Outcome.NO_REPLY and "another dialog" in future.result().note


@pytest.mark.parametrize(
    "garbage", [b"?", b"\x00" * 100, b"HTTP/1.1 200 OK\r\n\r\n", b"SIP/2.0 200", b"SIP/2.0 "]
)
async def test_garbage_is_malformed(drive: Drive, garbage: bytes) -> None:
    async with datagram_peer(lambda request: [garbage]) as peer:
        driver = drive(SipOptions())
        flight, future = driver.send(driver.prepare(parameters(peer.port)))
        await drained_until(driver, "malformed")
        driver.give_up(flight)
    assert future.result().outcome is Outcome.MALFORMED and future.result().up is False


async def test_garbage_before_the_answer_does_no_harm(drive: Drive) -> None:
    async with datagram_peer(lambda request: [b"noise", request, *sip_answer()(request)]) as peer:
        driver = drive(SipOptions())
        result = await driver.probe(driver.prepare(parameters(peer.port)))
    assert result.up is True
    assert driver.kind.counters()["foreign"] == 1  # a request of somebody's


async def test_a_provisional_answer_means_wait(drive: Drive) -> None:
    async with datagram_peer(sip_answer(100, "Trying")) as peer:
        driver = drive(SipOptions())
        flight, future = driver.send(driver.prepare(parameters(peer.port)))
        async with asyncio.timeout(20):
            while not flight.provisional:
                await asyncio.sleep(0.001)
        assert not flight.done
        peer.transport.sendto(sip_answer()(peer.received[0])[0], ("127.0.0.1", own_port(driver)))
        result = await future
    assert result.up is True


async def test_only_a_provisional_answer(drive: Drive) -> None:
    async with datagram_peer(sip_answer(100, "Trying")) as peer:
        driver = drive(SipOptions())
        flight, future = driver.send(driver.prepare(parameters(peer.port)))
        async with asyncio.timeout(20):
            while not flight.provisional:
                await asyncio.sleep(0.001)
        driver.give_up(flight)
    assert (future.result().outcome, future.result().code) == (Outcome.NO_REPLY, 100)


async def test_ipv6(drive: Drive) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        async with datagram_peer(sip_answer(), "::1") as peer:
            driver = drive(SipOptions())
            result = await driver.probe(driver.prepare(OptionsParameters(uri=f"sip:[::1]:{peer.port}")))
    except OSError:
        pytest.skip("no IPv6 loopback here")
    assert result.up is True
    assert b"[::1]:" in peer.received[0]


async def named(
    driver: Any, monkeypatch: pytest.MonkeyPatch, hosts: list[str], port: int, **more: Any
) -> object:
    asked = asyncio.Event()

    async def getaddrinfo(host: str, number: int, **_: object) -> list[Any]:
        asked.set()
        if not hosts:
            raise OSError("no such name")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (each, number)) for each in hosts]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    prepared = driver.prepare(OptionsParameters(uri=f"sip:platform.example:{port}", **more))
    await asked.wait()
    await asyncio.sleep(0)
    return prepared


async def test_every_address_of_a_name_is_probed(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        datagram_peer(sip_answer(), "127.0.0.1") as one,
        datagram_peer(sip_answer(503, "Busy"), "127.0.0.3", one.port) as other,
    ):
        hosts = ["127.0.0.1", "127.0.0.3"]
        everywhere, anywhere = drive(SipOptions()), drive(SipOptions())
        strict = await everywhere.probe(await named(everywhere, monkeypatch, hosts, one.port))
        lenient = await anywhere.probe(await named(anywhere, monkeypatch, hosts, one.port, require="any"))
        assert len(one.received) == len(other.received) == 2
        other.answer = sip_answer()
        healed = await everywhere.probe(await named(everywhere, monkeypatch, hosts, one.port))
    assert (strict.up, strict.code) == (False, 503) and "127.0.0.3" in strict.note
    assert (lenient.up, lenient.code) == (True, 200)
    assert healed.up is True


async def test_a_name_without_an_address(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = drive(SipOptions())
    result = await driver.probe(await named(driver, monkeypatch, [], 5060))
    assert result.outcome is Outcome.TRANSPORT and "does not resolve" in result.note


# TCP and TLS


async def stream_peer(
    answer: Callable[[Request], bytes], context: ssl.SSLContext | None = None
) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = parse_message(await reader.readuntil(b"\r\n\r\n"))
            assert isinstance(request, Request)
            writer.write(answer(request))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)


def ok(request: Request) -> bytes:
    return b"\r\n" + reply(request, 100).encode() + reply(request, 200, to_tag="t").encode()


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def test_tcp(drive: Drive) -> None:
    async with await stream_peer(ok) as server:
        driver = drive(SipOptions())
        result = await driver.probe(driver.prepare(parameters(port_of(server), transport="tcp")))
    assert (result.outcome, result.up, result.code) == (Outcome.UP, True, 200)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", Outcome.MALFORMED),
        (b"SIP/2.0 200 OK\r\n\r\n", Outcome.MALFORMED),
        (b"", Outcome.TRANSPORT),
    ],
)
async def test_tcp_with_a_bad_peer(drive: Drive, answer: bytes, outcome: Outcome) -> None:
    async with await stream_peer(lambda request: answer) as server:
        driver = drive(SipOptions())
        result = await driver.probe(driver.prepare(parameters(port_of(server), transport="tcp")))
    assert result.outcome is outcome and result.up is False


async def test_tcp_refused_and_silent(drive: Drive) -> None:
    driver = drive(SipOptions())
    refused = await driver.probe(driver.prepare(parameters(free_port(socket.SOCK_STREAM), transport="tcp")))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        flight, future = driver.send(driver.prepare(parameters(listening.getsockname()[1], transport="tcp")))
        await asyncio.sleep(0)
        driver.give_up(flight)
    assert refused.outcome is Outcome.TRANSPORT
    assert future.result().outcome is Outcome.NO_REPLY


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


async def tls_probe(drive: Drive, authority: trustme.CA, names: list[str], tmp_path: Any, **tls: Any) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    seen: list[str | None] = []
    context.sni_callback = lambda sock, name, _: seen.append(name)
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    async with await stream_peer(ok, context) as server:
        driver = drive(SipOptions())
        settings = OptionsParameters(
            uri="sip:lab.example",
            address=f"127.0.0.1:{port_of(server)}",
            transport="tls",
            tls={"authorities": str(trusted), **tls},
        )
        return await driver.probe(driver.prepare(settings)), seen


async def test_tls_names_the_sip_domain_and_checks_it(
    drive: Drive, authority: trustme.CA, tmp_path: Any
) -> None:
    result, seen = await tls_probe(drive, authority, ["lab.example"], tmp_path)
    assert result.up is True
    assert seen == ["lab.example"]


async def test_tls_for_another_domain(drive: Drive, authority: trustme.CA, tmp_path: Any) -> None:
    result, _ = await tls_probe(drive, authority, ["other.example", "*.example"], tmp_path)
    assert result.outcome is Outcome.TRANSPORT and "other.example" in result.note


async def test_tls_of_an_unknown_authority(drive: Drive, authority: trustme.CA, tmp_path: Any) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "stranger.pem"))
    result, _ = await tls_probe(
        drive, authority, ["lab.example"], tmp_path, authorities=str(tmp_path / "stranger.pem")
    )
    assert result.outcome is Outcome.TRANSPORT and "TLS" in result.note


async def test_tls_unverified_when_told_so(drive: Drive, authority: trustme.CA, tmp_path: Any) -> None:
    result, _ = await tls_probe(drive, authority, ["other.example"], tmp_path, verify=False)
    assert result.up is True


async def test_our_own_broken_files_are_void(drive: Drive, authority: trustme.CA, tmp_path: Any) -> None:
    result, _ = await tls_probe(drive, authority, ["lab.example"], tmp_path, authorities="/nowhere.pem")
    assert result.outcome is Outcome.VOID and result.up is None


def test_parameters_are_checked() -> None:
    for wrong in (
        {"uri": "http://a"},
        {"uri": "sip:a@[::1"},
        {"uri": "sip:a", "address": "a:b"},
        {"uri": "sip:a", "policy": "lax"},
        {"uri": "sip:a", "max_forwards": 256},
        {"uri": "sip:a", "extra": 1},
    ):
        with pytest.raises(ValidationError):
            OptionsParameters(**wrong)
