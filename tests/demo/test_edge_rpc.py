"""The edge's JSON-RPC. The same commands are given to a real Kamailio, where it is installed, and to the demo's edge;
both must answer alike.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from demo_platform.edge import Edge
from demo_platform.layout import CONTROLLER, Layout, Role

RELOAD_DELTA = 1
EDGE_CONFIGURATION = Path(__file__).parents[2] / "config" / "kamailio" / "edge.cfg"


@dataclass(kw_only=True)
class Api:
    """`uris` of the primary and the backup."""

    url: str
    list_file: Path
    uris: tuple[str, str]
    session: aiohttp.ClientSession

    async def post(self, body: str, epoch: object = None) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"} | ({} if epoch is None else {"X-Epoch": str(epoch)})
        async with self.session.post(self.url, data=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def call(self, method: str, params: object = (), epoch: object = None) -> tuple[int, Any]:
        """Status, and `result` or the error's message; the text of an answer that is not JSON-RPC."""
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 7})
        status, text = await self.post(body, epoch)
        if status not in (200, 404, 500):
            return status, text
        document = json.loads(text)
        assert (document["jsonrpc"], document["id"]) == ("2.0", 7)
        return status, document["result"] if status == 200 else (
            document["error"]["code"],
            document["error"]["message"],
        )

    async def flags(self) -> dict[str, str]:
        status, result = await self.call("dispatcher.list")
        assert status == 200
        assert result["NRSETS"] == len(result["RECORDS"])
        targets = [t["DEST"] for record in result["RECORDS"] for t in record["SET"]["TARGETS"]]
        return {target["URI"]: target["FLAGS"] for target in targets}


@pytest.fixture(params=["demo", "kamailio"])
async def api(request: pytest.FixtureRequest, layout: Layout, tmp_path: Path) -> AsyncIterator[Api]:
    list_file = tmp_path / "dispatcher.list"
    uris = layout.uri(Role.PRIMARY), layout.uri(Role.BACKUP)
    list_file.write_text(f"1 {uris[0]} 0 10 epoch=1\n1 {uris[1]} 4 5 epoch=1\n")
    start = start_demo if request.param == "demo" else start_kamailio
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        made = Api(url=f"http://{layout.edge_rpc}/", list_file=list_file, uris=uris, session=session)
        stop = await start(layout, list_file, made)
        yield made
        await stop()


async def start_demo(layout: Layout, list_file: Path, api: Api) -> Any:
    edge = Edge(layout.edge, list_file, reload_delta=RELOAD_DELTA)
    await edge.rpc.open(layout.edge_rpc)
    return edge.close


async def start_kamailio(layout: Layout, list_file: Path, api: Api) -> Any:
    """The edge that the driver is made for, on loopback."""
    if shutil.which("kamailio") is None:
        pytest.skip("kamailio is not installed")
    values = {
        "EDGE": layout.edge.host,
        "EDGE_SIP": layout.edge.port,
        "EDGE_RPC": layout.edge_rpc.port,
        "CONTROLLER": CONTROLLER,
        "LIST_FILE": list_file,
        "FR_TIMER": 300,
    }
    delta = f'\nmodparam("dispatcher", "reload_delta", {RELOAD_DELTA})\nrequest_route'
    configuration = list_file.with_name("kamailio.cfg")
    configuration.write_text(EDGE_CONFIGURATION.read_text().replace("\nrequest_route", delta, 1))
    defined = [f"--substdef=!{name}!{value}!g" for name, value in values.items()]
    options = ["-DD", "-E", "-m", "32", "-M", "4", "-w", "/"]
    command = ["kamailio", *options, *defined, "-f", str(configuration)]
    with list_file.with_name("kamailio.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
        )

    async def stop() -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(10):
            await process.wait()

    for _ in range(200):
        try:
            await api.call("core.uptime")
            return stop
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)
    await stop()
    pytest.fail(f"kamailio does not answer: {list_file.with_name('kamailio.log').read_text()[-1000:]}")


async def test_the_list_shows_what_the_file_says(api: Api) -> None:
    status, result = await api.call("dispatcher.list")
    assert status == 200
    (record,) = result["RECORDS"]
    assert record["SET"]["ID"] == 1
    first, second = (target["DEST"] for target in record["SET"]["TARGETS"])
    assert {name: first[name] for name in ("URI", "FLAGS", "PRIORITY")} == {
        "URI": api.uris[0],
        "FLAGS": "AX",
        "PRIORITY": 10,
    }
    assert first["ATTRS"]["BODY"] == "epoch=1"
    assert (second["URI"], second["FLAGS"], second["PRIORITY"]) == (api.uris[1], "DX", 5)
    assert set(first["ATTRS"]) >= {"BODY", "DUID", "MAXLOAD", "WEIGHT", "RWEIGHT", "SOCKET"}


async def test_states_are_set_and_shown(api: Api) -> None:
    primary, backup = api.uris
    done = (200, "Ok. Dispatcher state updated.")
    assert await api.call("dispatcher.set_state", ["a", 1, backup], epoch=2) == done
    assert await api.call("dispatcher.set_state", ["d", 1, primary], epoch=2) == done
    assert await api.flags() == {primary: "DX", backup: "AX"}
    for letters, flags in (("ap", "AP"), ("i", "IX"), ("ip", "IP"), ("t", "TX"), ("d", "DX"), ("D", "DX")):
        assert await api.call("dispatcher.set_state", [letters, 1, primary], epoch=2) == done
        assert (await api.flags())[primary] == flags


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (["zz", 1, "{primary}"], "Unknown State Value"),
        (["d", 7, "{primary}"], "State Update Failed"),
        (["d", 1, "{primary};transport=udp"], "State Update Failed"),
        (["d", 1, "sip:127.0.0.99:15061"], "State Update Failed"),
        (["d", 1], "Invalid Parameters"),
        ([], "Invalid Parameters"),
    ],
)
async def test_a_state_that_cannot_be_set_is_an_error(api: Api, params: list[object], message: str) -> None:
    filled = [p.format(primary=api.uris[0]) if isinstance(p, str) else p for p in params]
    assert await api.call("dispatcher.set_state", filled, epoch=2) == (500, (500, message))
    assert await api.flags() == {api.uris[0]: "AX", api.uris[1]: "DX"}


async def test_all_in_a_set_that_is_not_there_is_no_error(api: Api) -> None:
    assert (await api.call("dispatcher.set_state", ["d", 7, "all"], epoch=2))[0] == 200
    assert (await api.call("dispatcher.set_state", ["d", 1, "all"], epoch=2))[0] == 200
    assert await api.flags() == {api.uris[0]: "DX", api.uris[1]: "DX"}


async def test_parameters_count_by_position_and_names_mean_nothing(api: Api) -> None:
    named = {"uri": "d", "state": 1, "set": api.uris[0]}
    assert (await api.call("dispatcher.set_state", named, epoch=2))[0] == 200
    assert (await api.flags())[api.uris[0]] == "DX"


async def test_an_older_epoch_or_none_changes_nothing(api: Api) -> None:
    primary = api.uris[0]
    assert (await api.call("dispatcher.set_state", ["t", 1, primary], epoch=5))[0] == 200
    for stale in (4, 0, None, "-1", "x", ""):
        assert await api.call("dispatcher.set_state", ["d", 1, primary], epoch=stale) == (409, "5")
        assert await api.call("dispatcher.reload", epoch=stale) == (409, "5")
    assert (await api.flags())[primary] == "TX"
    assert (await api.call("dispatcher.set_state", ["a", 1, primary], epoch=5))[0] == 200
    assert (await api.call("dispatcher.set_state", ["t", 1, primary], epoch=6))[0] == 200
    assert await api.call("dispatcher.set_state", ["a", 1, primary], epoch=5) == (409, "6")


async def test_a_reload_brings_back_the_file_and_must_wait(api: Api) -> None:
    primary, backup = api.uris
    await api.call("dispatcher.set_state", ["a", 1, backup], epoch=2)
    api.list_file.write_text(f"1 {primary} 4 0 epoch=2\nbad line\n# note\n1 {backup} 0 10 epoch=2\n")
    assert await api.call("dispatcher.reload", epoch=2) == (200, "Ok. Dispatcher successfully reloaded.")
    assert await api.flags() == {primary: "DX", backup: "AX"}
    _, result = await api.call("dispatcher.list")
    targets = [target["DEST"] for target in result["RECORDS"][0]["SET"]["TARGETS"]]
    assert {target["ATTRS"]["BODY"] for target in targets} == {"epoch=2"}
    assert await api.call("dispatcher.reload", epoch=2) == (500, (500, "Ongoing reload"))


async def test_a_missing_file_keeps_the_list_and_an_empty_one_empties_it(api: Api) -> None:
    api.list_file.unlink()
    assert await api.call("dispatcher.reload", epoch=2) == (500, (500, "Reload Failed"))
    assert len(await api.flags()) == 2
    api.list_file.write_text("")
    await _once_more(api)
    assert await api.call("dispatcher.list") == (500, (500, "No Destination Sets"))


async def _once_more(api: Api) -> None:
    """Reload as soon as the last one is long enough ago."""
    for _ in range(100):
        if (await api.call("dispatcher.reload", epoch=2))[0] == 200:
            return
        await asyncio.sleep(0.1)
    pytest.fail("no reload within 10 s")


async def test_counters_uptime_and_what_is_unknown(api: Api) -> None:
    assert await api.call("htable.dump", ["n"]) == (200, [])
    assert await api.call("htable.dump", ["zz"]) == (500, (500, "No such htable"))
    status, uptime = await api.call("core.uptime")
    assert status == 200 and set(uptime) == {"now", "up_since", "uptime"} and uptime["uptime"] >= 0
    assert await api.call("no.such") == (500, (500, "Method Not Found"))


async def test_live_calls_are_counted_by_profile(api: Api) -> None:
    assert await api.call("dlg.profile_get_size", ["side", "127.0.0.11"]) == (200, 0)
    status, error = await api.call("dlg.profile_get_size", ["nobody", "127.0.0.11"])
    assert (status, error) == (404, (404, "Profile not found: nobody"))


async def test_what_is_not_json_gets_no_answer(api: Api) -> None:
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        await api.post("{bad")
    assert (await api.call("core.uptime"))[0] == 200


async def test_only_the_controller_is_heard(api: Api) -> None:
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.3", 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(api.url, data="{}") as answer,
    ):
        assert answer.status == 403
