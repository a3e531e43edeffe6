"""The audio of a test call where our own host is what is late: that is no evidence against the far side."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from controller.model.health import Outcome, RungKey
from controller.probes import media
from controller.probes.datagrams import DatagramSocket
from controller.probes.media import Media, MediaReport
from controller.probes.sip_call import SipCall, SipCallParameters
from controller.sip.sdp import PCMU, AudioDescription, build_audio, parse_audio
from tests.builders.answerer import answerer

PACKETS = 100  # more than are read from a socket in one turn of the loop


class Echo:
    """Sends everything back at once when it has all and was told to: a far side in a thread of its own."""

    def __init__(self, sock: socket.socket) -> None:
        self.has_all = threading.Event()
        self.send_back = threading.Event()
        self.sent_back = threading.Event()
        self._socket = sock

    def run(self) -> None:
        got = [self._socket.recvfrom(2048) for _ in range(PACKETS)]
        self.has_all.set()
        self.send_back.wait(20)
        for datagram, address in got:
            self._socket.sendto(datagram, address)
        self.sent_back.set()


@contextmanager
def far_side() -> Iterator[tuple[socket.socket, AudioDescription]]:
    """A socket that takes packets in and sends nothing, and the answer that names it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)
        port = sock.getsockname()[1]
        yield sock, parse_audio(build_audio(address="127.0.0.1", port=port, session_id=1, codecs=(PCMU,)))


async def measured(answer: AudioDescription, seconds: float) -> MediaReport:
    ours = Media(asyncio.get_running_loop(), "127.0.0.1")
    try:
        return await ours.run(answer, seconds)
    finally:
        ours.close()


def stand_still(seconds: float) -> None:
    """Of the whole loop."""
    time.sleep(seconds)


async def test_silence_while_our_own_loop_stands_still_is_in_doubt() -> None:
    with far_side() as (_, answer):
        asyncio.get_running_loop().call_later(0.05, stand_still, 0.15)
        report = await measured(answer, 0.2)
    assert report.one_way == "in" and "our own loop lagged" in report.doubt


async def test_silence_that_our_own_lag_does_not_explain_is_not_in_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(media, "LAG_TOLERATED", 20.0)  # this machine may be as busy as it likes
    with far_side() as (_, answer):
        report = await measured(answer, 0.1)
    assert (report.one_way, report.sent, report.doubt) == ("in", 5, "")


async def test_packets_that_our_own_host_does_not_take_are_no_loss_of_the_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(DatagramSocket, "send", lambda *_: errno.ENOBUFS)
    with far_side() as (_, answer):
        report = await measured(answer, 0.1)
    assert report.one_way == "in" and report.doubt == "our own host did not send 5 packets"


async def test_what_waits_in_our_socket_is_read_before_anything_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(media, "PACKET_TIME", 0.001)
    with far_side() as (sock, answer):
        echo = Echo(sock)
        thread = threading.Thread(target=echo.run)
        thread.start()

        async def stand_still_at_the_end() -> None:
            while not echo.has_all.is_set():
                await asyncio.sleep(0)
            echo.send_back.set()
            assert echo.sent_back.wait(20)
            stand_still(2 * media.STRAGGLERS)

        standing = asyncio.create_task(stand_still_at_the_end())
        report = await measured(answer, PACKETS * media.PACKET_TIME)
        await standing
        thread.join()
    assert (report.one_way, report.received, report.loss_percent) == ("", PACKETS, 0.0)


@pytest.mark.parametrize("fault", ["silence", "noise", "loss"])
async def test_a_call_whose_audio_we_spoilt_ourselves_is_void(fault: str) -> None:
    async with answerer() as peer:
        peer.media.echo = fault != "silence"
        peer.media.noise = fault == "noise"
        peer.media.drop_every = 2 if fault == "loss" else 0
        probe = SipCall(SipCallParameters(uri=f"sip:echo@127.0.0.1:{peer.port}", media=0.4, minimum_mos=4.0))
        running = asyncio.create_task(probe.run(RungKey("primary", "call"), 30.0))
        async with asyncio.timeout(20):
            while peer.media.received < 3:
                await asyncio.sleep(0)
        stand_still(0.15)
        result = await running
        await probe.close()
    assert result.outcome is Outcome.VOID and result.up is None and not result.values
    assert "our own loop lagged" in result.note


async def test_audio_that_came_through_counts_however_late_we_were() -> None:
    async with answerer() as peer:
        probe = SipCall(SipCallParameters(uri=f"sip:echo@127.0.0.1:{peer.port}", media=0.4))
        running = asyncio.create_task(probe.run(RungKey("primary", "call"), 30.0))
        async with asyncio.timeout(20):
            while peer.media.received < 3:
                await asyncio.sleep(0)
        stand_still(0.15)
        result = await running
        await probe.close()
    values = dict(result.values)
    assert result.outcome is Outcome.UP and values["one_way"] == ""
    assert values["mos"] is None and values["loss_percent"] is None, "our own lag spoilt these"


async def test_an_answer_too_late_for_five_packets_is_not_judged_by_one() -> None:
    async with answerer() as peer:
        peer.media.echo = False
        probe = SipCall(SipCallParameters(uri=f"sip:echo@127.0.0.1:{peer.port}", media=1.0))
        result = await probe.run(RungKey("primary", "call"), 0.3)
        await probe.close()
    assert result.outcome is Outcome.NO_REPLY and dict(result.values)["one_way"] == ""
    assert peer.media.received == 0
