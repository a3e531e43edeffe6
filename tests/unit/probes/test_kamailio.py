"""The edge's JSON-RPC, as Kamailio 5.6.3 answers it; and the real one, where it is installed."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.probes.kamailio import (
    Kamailio,
    KamailioParameters,
    MalformedAnswer,
    RpcError,
    count_by_side,
    read_list,
    read_result,
)
from tests.builders.responders import datagram_peer, free_port, sip_answer

KEY = RungKey("edge-1", "edge")
SIDES = {"a": "sip:127.0.0.11:5060", "b": "sip:127.0.0.12:5060"}


class Edge:
    """What `dispatcher.list` and `htable.dump` give back; `raw` replaces every answer."""

    def __init__(self) -> None:
        self.flags = {"a": "AX", "b": "IX"}
        self.epoch = 6
        self.counters: dict[str, int] = {}
        self.raw: bytes | None = None
        self.table = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            request = json.loads(await reader.readexactly(length))
            status, body = self.answer(request)
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def answer(self, request: dict[str, Any]) -> tuple[int, bytes]:
        if self.raw is not None:
            return 200, self.raw
        if request["method"] == "dispatcher.list":
            targets = [
                {"DEST": {"URI": SIDES[side], "FLAGS": flags, "ATTRS": {"BODY": f"epoch={self.epoch}"}}}
                for side, flags in self.flags.items()
            ]
            if not targets:
                return 500, b'{"jsonrpc":"2.0","error":{"code":500,"message":"No records"},"id":1}'
            result: Any = {"RECORDS": [{"SET": {"ID": 1, "TARGETS": targets}}]}
        elif self.table:
            result = [{"slot": [{"name": name, "value": value}]} for name, value in self.counters.items()]
        else:
            return 500, b'{"jsonrpc":"2.0","error":{"code":500,"message":"No such htable"},"id":1}'
        return 200, json.dumps({"jsonrpc": "2.0", "result": result, "id": 1}).encode()


@asynccontextmanager
async def edge(**settings: Any) -> AsyncIterator[tuple[Edge, Kamailio]]:
    made = Edge()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        probe = Kamailio(parameters(f"http://127.0.0.1:{port}/RPC", **settings))
        yield made, probe
        await probe.close()


def parameters(url: str, **settings: Any) -> KamailioParameters:
    return KamailioParameters(url=url, group=1, sides=SIDES, **settings)  # type: ignore[arg-type]


async def run(probe: Kamailio, timeout: float = 10.0) -> ProbeResult:
    return await probe.run(KEY, timeout)


async def test_flags_epoch_and_counts_since_the_last_poll() -> None:
    async with edge() as (made, probe):
        made.counters = {"127.0.0.11::200": 900, "127.0.0.11::503": 7}
        first = await run(probe)
        made.counters = {
            "127.0.0.11::180": 50,
            "127.0.0.11::200": 910,
            "127.0.0.11::486": 2,
            "127.0.0.11::503": 10,
            "127.0.0.11::408": 1,
            "127.0.0.11::timeout": 4,
            "127.0.0.12::200": 5,
            "10.9.9.9::503": 5,
        }
        second = await run(probe)
        third = await run(probe)
    assert (first.outcome, first.up) == (Outcome.UP, True)
    assert dict(first.values) == {
        "reached": True, "epoch": 6, "a.flags": "AX", "b.flags": "IX",
        "a.invites": 0, "a.failures": 0, "a.timeouts": 0, "b.invites": 0, "b.failures": 0, "b.timeouts": 0,
    }  # fmt: skip
    counts = dict(second.values)
    assert (counts["a.invites"], counts["a.failures"], counts["a.timeouts"]) == (20, 4, 4)
    assert (counts["b.invites"], counts["b.failures"], counts["b.timeouts"]) == (5, 0, 0)
    assert dict(third.values)["a.invites"] == 0


async def test_a_restarted_edge_counts_anew() -> None:
    async with edge() as (made, probe):
        made.counters = {"127.0.0.11::503": 100}
        await run(probe)
        made.counters = {"127.0.0.11::503": 3}
        assert dict((await run(probe)).values)["a.failures"] == 3


async def test_a_window_sums_polls() -> None:
    async with edge(window=60.0) as (made, probe):
        for total in (10, 12, 15):
            made.counters = {"127.0.0.11::503": total}
            result = await run(probe)
    assert dict(result.values)["a.failures"] == 5


async def test_sides_behind_one_address_are_told_apart_by_port_only() -> None:
    sides = {"a": "sip:127.0.0.1:5071", "b": "sip:127.0.0.1:5072"}
    probe = Kamailio(KamailioParameters(url="http://127.0.0.1/", group=1, sides=sides))  # type: ignore[arg-type]
    dump = [{"slot": [{"name": "127.0.0.1:5072::503", "value": 2}, {"name": "127.0.0.1::503", "value": 9}]}]
    counts = count_by_side(dump, probe._names)
    assert counts["b"].failures == 2 and counts["a"].failures == 0


async def test_a_side_that_is_not_in_the_list() -> None:
    async with edge() as (made, probe):
        made.flags = {"a": "AX"}
        result = await run(probe)
    assert result.outcome is Outcome.FAILED and "127.0.0.12" in result.note
    assert dict(result.values)["b.flags"] == ""


async def test_an_empty_list_is_the_edges_own_error() -> None:
    async with edge() as (made, probe):
        made.flags = {}
        result = await run(probe)
    assert (result.outcome, result.code, result.note) == (Outcome.ERROR, 500, "No records")
    assert dict(result.values) == {"reached": False}


async def test_without_the_table_the_flags_still_come_and_the_counts_do_not() -> None:
    async with edge() as (made, probe):
        made.table = False
        result = await run(probe)
    assert result.outcome is Outcome.FAILED and "No such htable" in result.note
    assert dict(result.values)["a.flags"] == "AX" and "a.failures" not in dict(result.values)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"<html>", b"[]", b"null", b'{"jsonrpc":"2.0","id":1}', b'{"result":{}}', b'{"result":[1]}',
        b'{"result":{"RECORDS":[{"SET":7}]}}', b'{"result":{"RECORDS":[{"SET":{"ID":1,"TARGETS":[{}]}}]}}',
        b"[" * 100_000,
    ],
)  # fmt: skip
async def test_malformed_answers(raw: bytes) -> None:
    async with edge() as (made, probe):
        made.raw = raw
        result = await run(probe)
    assert (result.outcome, result.up) == (Outcome.MALFORMED, False)
    assert result.note


async def test_silence_and_refusal() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        silent = Kamailio(parameters(f"http://127.0.0.1:{server.getsockname()[1]}/"))
        mute = await run(silent, 0.1)
        await silent.close()
    refused = Kamailio(parameters(f"http://127.0.0.1:{free_port(socket.SOCK_STREAM)}/"))
    result = await run(refused)
    await refused.close()
    assert mute.outcome is Outcome.NO_REPLY and result.outcome is Outcome.TRANSPORT


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3)
    | st.dictionaries(
        st.sampled_from(["RECORDS", "SET", "ID", "TARGETS", "DEST", "URI", "FLAGS", "ATTRS", "BODY", "slot", "name", "value", "error", "result", "code"]),
        children,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(json_values)
def test_no_json_raises_anything_but_the_named_errors(value: Any) -> None:
    for read in (
        lambda: read_list(value, 1),
        lambda: count_by_side(value, {"127.0.0.11": "a"}),
        lambda: read_result(200, json.dumps(value).encode()),
    ):
        try:
            read()
        except (MalformedAnswer, RpcError):
            pass


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_the_named_errors(body: bytes) -> None:
    try:
        read_result(200, body)
    except (MalformedAnswer, RpcError):
        pass


def test_parameters_are_checked() -> None:
    with pytest.raises(ValidationError):
        KamailioParameters(url="http://a", group=1, sides={})  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        KamailioParameters(url="http://a", group=-1, sides=SIDES)  # type: ignore[arg-type]


EDGE = """#!KAMAILIO
children=1  tcp_children=1  tcp_accept_no_cl=yes  log_stderror=yes  auto_aliases=no
listen=udp:127.0.0.1:{sip}
listen=tcp:127.0.0.1:{rpc}
loadmodule "tm.so" loadmodule "sl.so" loadmodule "pv.so" loadmodule "kex.so" loadmodule "textops.so"
loadmodule "siputils.so" loadmodule "cfgutils.so" loadmodule "htable.so" loadmodule "xhttp.so"
loadmodule "jsonrpcs.so" loadmodule "dispatcher.so"
modparam("jsonrpcs", "transport", 1)
modparam("htable", "htable", "n=>size=6;initval=0")
modparam("dispatcher", "list_file", "{list}")
modparam("dispatcher", "flags", 2)
modparam("dispatcher", "xavp_dst", "_dsdst_")
request_route {{ if (!t_newtran()) exit; if (!ds_select_dst("1", "8")) exit; t_on_reply("SEEN"); t_relay(); }}
onreply_route[SEEN] {{ if (is_method("INVITE") && $rs >= 180) $var(i) = $shtinc(n=>$si::$rs); }}
event_route[xhttp:request] {{ jsonrpc_dispatch(); }}
"""


@pytest.mark.lab
@pytest.mark.skipif(shutil.which("kamailio") is None, reason="Kamailio is not installed")
async def test_a_real_edge(tmp_path: Path) -> None:
    async with datagram_peer(sip_answer(503, "Busy"), "127.0.0.11") as side:
        sip, rpc = free_port(), free_port(socket.SOCK_STREAM)
        listed = tmp_path / "dispatcher.list"
        sides = {"a": f"sip:127.0.0.11:{side.port}", "b": "sip:127.0.0.12:5060"}
        listed.write_text(f"1 {sides['a']} 0 10 epoch=6\n1 {sides['b']} 0 5 epoch=6\n")
        configuration = tmp_path / "edge.cfg"
        configuration.write_text(EDGE.format(sip=sip, rpc=rpc, list=listed))
        process = await asyncio.create_subprocess_exec(
            "kamailio", "-f", str(configuration), "-DD", "-E", "-P", str(tmp_path / "pid"), "-Y", str(tmp_path),
            stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        probe = Kamailio(
            KamailioParameters(url=f"http://127.0.0.1:{rpc}/RPC", group=1, sides=sides)  # type: ignore[arg-type]
        )
        try:
            async with asyncio.timeout(20):
                while not (first := await run(probe, 1.0)).up:
                    await asyncio.sleep(0.1)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
                caller.bind(("127.0.0.1", 0))
                ours = caller.getsockname()[1]
                for number in range(3):
                    caller.sendto(
                        f"INVITE sip:x@127.0.0.1:{sip} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{ours};rport;"
                        f"branch=z9hG4bK{number}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x@y>\r\nCall-ID: {number}\r\n"
                        "CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode(),
                        ("127.0.0.1", sip),
                    )
            seen = 0
            async with asyncio.timeout(20):
                while seen < 3:
                    result = await run(probe, 1.0)
                    seen += int(dict(result.values)["a.failures"] or 0)
        finally:
            process.terminate()
            await process.wait()
            await probe.close()
    assert dict(first.values)["a.flags"] == "AX" and dict(first.values)["epoch"] == 6
