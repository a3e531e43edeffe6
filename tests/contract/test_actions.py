"""One suite over the actions: an outcome is a success, a failure without effect, a refusal, or unknown; never a lie."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from controller.actions.command import MOST_OUTPUT, Command
from controller.actions.http import MOST_BODY, Http
from controller.model.commands import RunAction
from controller.model.errors import ActionError, ActionRefused, ActionUnknown
from controller.model.moments import Values
from controller.model.parameters import flatten, unflatten
from controller.ports import Action

PROGRAM = """
import os, sys, time, subprocess
what = sys.argv[1]
if what == "works":
    print("done", *sys.argv[2:])
elif what == "refuses":
    print("stale epoch"); sys.exit(4)
elif what == "fails":
    print("busy"); sys.exit(3)
elif what == "unsure":
    sys.exit(5)
elif what == "declines":
    print("nothing done"); sys.exit(6)
elif what == "hangs":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    open(sys.argv[2], "w").write(f"{os.getpid()} {child.pid}")
    time.sleep(600)
elif what == "talks":
    sys.stdout.write("x" * 1_000_000)
elif what == "leaves":
    print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid)
elif what == "shows":
    print(sorted(os.environ.items()))
"""


def command(
    parameters: dict[str, Any], *, timeout: float = 5.0, epoch: int = 7, disruptive: bool = False
) -> RunAction:
    return RunAction(
        id="CMD-0001",
        action="test",
        parameters=flatten(parameters),
        timeout=timeout,
        run="RUN-0001",
        step="one",
        group="calls",
        epoch=epoch,
        disruptive=disruptive,
    )


class Bench:
    """One action, and the parameters that lead it to each outcome."""

    def __init__(self, action: Action, outcomes: dict[str, dict[str, Any]]) -> None:
        self.action = action
        self.outcomes = outcomes

    async def run(self, outcome: str, *, timeout: float = 5.0) -> dict[str, Any]:
        done = await self.action.run(command(self.outcomes[outcome], timeout=timeout))
        return dict(done.data)


def allowed(program: Path) -> dict[str, Any]:
    argv = [sys.executable, str(program), "{what}", "{more}"]
    entry = {
        "argv": argv,
        "parameters": {"what": "[a-z]+", "more": r"[\w/.:@-]+"},
        "refused": [4],
        "unknown": [5],
        "harmless": [6],
    }
    return {"commands": {"program": entry, "absent": {"argv": ["/no/such/program"]}}}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
async def commands(program: Path, tmp_path: Path) -> AsyncIterator[Bench]:
    action = Command(Command.Settings.model_validate(allowed(program)))

    def asks(what: str) -> dict[str, Any]:
        return {"command": "program", "arguments": {"what": what, "more": str(tmp_path / "pids")}}

    outcomes = {what: asks(what) for what in ("works", "refuses", "fails", "unsure", "hangs")}
    outcomes["unreachable"] = {"command": "absent"}
    outcomes["hostile"] = {"command": "program", "arguments": {"what": "works", "more": "a;reboot"}}
    yield Bench(action, outcomes)
    await action.close()


@pytest.fixture
async def requests(aiohttp_server: Callable[..., Awaitable[Any]]) -> AsyncIterator[Bench]:
    release = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        match request.match_info["what"]:
            case "works":
                return web.json_response(
                    {"epoch": request.headers.get("X-Epoch"), "body": await request.text()}
                )
            case "refuses":
                return web.Response(status=409, text="stale epoch")
            case "fails":
                return web.Response(status=503)
            case "unsure":
                return web.Response(status=500)
            case "redirects":
                return web.Response(status=302, headers={"Location": "/works"})
            case "large":
                return web.Response(text="x" * 1_000_000)
            case "drops":
                assert request.transport is not None
                request.transport.abort()
        await release.wait()
        return web.Response()

    application = web.Application()
    application.router.add_route("*", "/{what}", answer)
    server = await aiohttp_server(application)
    action = Http(Http.Settings())
    outcomes: dict[str, dict[str, Any]] = {
        what: {"url": str(server.make_url(f"/{what}")), "method": "POST", "json": {"a": [1, 2]}}
        for what in ("works", "refuses", "fails", "unsure", "hangs", "redirects", "large", "drops")
    }
    outcomes["unreachable"] = {"url": "http://127.0.0.1:1/"}
    outcomes["hostile"] = {"url": "file:///etc/passwd"}
    yield Bench(action, outcomes)
    release.set()
    await action.close()


@pytest.fixture(params=["commands", "requests"])
def bench(request: pytest.FixtureRequest) -> Bench:
    found: Bench = request.getfixturevalue(request.param)
    return found


async def test_success_brings_the_values_it_declares(bench: Bench) -> None:
    data = await bench.run("works")
    declared = type(bench.action).Parameters.reports  # type: ignore[attr-defined]
    assert set(data) == set(declared)
    kinds = {"string": str, "int": int}
    assert all(isinstance(data[name], kinds[kind]) for name, kind in declared.items())


async def test_a_no_is_a_refusal(bench: Bench) -> None:
    with pytest.raises(ActionRefused, match="stale epoch"):
        await bench.run("refuses")


async def test_what_says_it_was_not_done_is_a_plain_failure(bench: Bench) -> None:
    with pytest.raises(ActionError) as error:
        await bench.run("fails")
    assert not isinstance(error.value, (ActionRefused, ActionUnknown))


async def test_what_can_not_be_told_is_unknown(bench: Bench) -> None:
    with pytest.raises(ActionUnknown):
        await bench.run("unsure")


async def test_no_answer_in_time_is_unknown(bench: Bench) -> None:
    with pytest.raises(ActionUnknown):
        await bench.run("hangs", timeout=1.0)


async def test_what_never_started_is_a_plain_failure(bench: Bench) -> None:
    with pytest.raises(ActionError) as error:
        await bench.run("unreachable")
    assert not isinstance(error.value, (ActionRefused, ActionUnknown))


async def test_parameters_are_checked_before_anything_is_done(bench: Bench) -> None:
    for parameters in (bench.outcomes["hostile"], {}, {"nonsense": 1}):
        with pytest.raises(ActionError) as error:
            await bench.action.run(command(parameters))
        assert not isinstance(error.value, (ActionRefused, ActionUnknown))


async def test_cancelling_leaves_nothing_behind(bench: Bench) -> None:
    task = asyncio.create_task(bench.run("hangs", timeout=60.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class TestCommand:
    async def test_the_whole_process_group_is_killed_at_the_timeout(
        self, commands: Bench, tmp_path: Path
    ) -> None:
        with pytest.raises(ActionUnknown):
            await commands.run("hangs", timeout=4.0)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        for pid in pids:
            assert await ended(pid)

    async def test_cancelling_kills_the_process_group(self, commands: Bench, tmp_path: Path) -> None:
        task = asyncio.create_task(commands.run("hangs", timeout=60.0))
        pids = await written(tmp_path / "pids")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for pid in pids:
            assert await ended(pid)

    async def test_output_is_bounded(self, commands: Bench) -> None:
        action = commands.action
        done = await action.run(command({"command": "program", "arguments": {"what": "talks", "more": "x"}}))
        assert dict(done.data)["output"] == "x" * MOST_OUTPUT

    async def test_a_child_left_behind_does_not_hold_us_up(self, commands: Bench) -> None:
        arguments = {"what": "leaves", "more": "x"}
        done = await commands.action.run(
            command({"command": "program", "arguments": arguments}, timeout=30.0)
        )
        child = int(str(dict(done.data)["output"]))
        try:
            assert dict(done.data)["code"] == 0
        finally:
            os.kill(child, signal.SIGKILL)

    async def test_the_environment_is_its_own(self, commands: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THIRDRING_SECRET", "abc")
        done = await commands.action.run(
            command({"command": "program", "arguments": {"what": "shows", "more": "x"}})
        )
        shown = str(dict(done.data)["output"])
        assert "abc" not in shown and os.environ.get("HOME", "/nowhere") not in shown
        assert "('THIRDRING_EPOCH', '7')" in shown and "('THIRDRING_RUN', 'RUN-0001')" in shown

    @pytest.mark.parametrize(
        "arguments",
        [
            {"what": "works"},
            {"what": "works", "more": "x", "most": "y"},
            {"what": "works", "more": "-rf"},
            {"what": "works", "more": "x\n"},
            {"what": "works", "more": "x y"},
            {"what": "works", "more": "$(reboot)"},
            {"what": "works", "more": ""},
        ],
    )
    async def test_arguments_that_do_not_fit(self, commands: Bench, arguments: dict[str, str]) -> None:
        with pytest.raises(ActionError, match=r"arguments don't fit|not allowed"):
            await commands.action.run(command({"command": "program", "arguments": arguments}))

    async def test_what_is_not_on_the_list(self, commands: Bench) -> None:
        """Nobody puts it there while a step is tried again."""
        with pytest.raises(ActionRefused, match="allow-list"):
            await commands.action.run(command({"command": "/bin/sh"}))

    async def test_an_exit_status_that_nobody_declared_says_nothing_of_what_a_disruptive_step_did(
        self, commands: Bench, tmp_path: Path
    ) -> None:
        def ends(what: str) -> RunAction:
            arguments = {"what": what, "more": str(tmp_path)}
            return command({"command": "program", "arguments": arguments}, disruptive=True, timeout=30.0)

        with pytest.raises(ActionUnknown, match="ended with 3: busy"):
            await commands.action.run(ends("fails"))
        with pytest.raises(ActionError, match="nothing done") as declared:
            await commands.action.run(ends("declines"))
        assert not isinstance(declared.value, (ActionRefused, ActionUnknown))
        with pytest.raises(ActionRefused):
            await commands.action.run(ends("refuses"))

    @pytest.mark.parametrize(
        "entry",
        [
            {"argv": []},
            {"argv": ["echo"]},
            {"argv": ["/bin/echo", "{what}"]},
            {"argv": ["/bin/echo"], "parameters": {"what": "a"}},
            {"argv": ["/bin/echo", "{what}"], "parameters": {"what": "("}},
            {"argv": ["/bin/echo"], "shell": True},
            {"argv": ["/bin/echo"], "refused": [3], "harmless": [3]},
            {"argv": ["/bin/echo"], "harmless": [0]},
        ],
    )
    def test_an_allow_list_that_makes_no_sense(self, entry: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            Command.Settings.model_validate({"commands": {"x": entry}})


class TestHttp:
    async def test_the_epoch_and_the_body_go_along(self, requests: Bench) -> None:
        data = await requests.run("works")
        assert '"epoch": "7"' in data["body"] and "[1, 2]" in data["body"]

    async def test_redirects_are_refused_and_not_followed(self, requests: Bench) -> None:
        with pytest.raises(ActionRefused, match="302"):
            await requests.run("redirects")

    async def test_a_dropped_connection_is_unknown(self, requests: Bench) -> None:
        with pytest.raises(ActionUnknown):
            await requests.run("drops")

    async def test_an_answer_is_bounded(self, requests: Bench) -> None:
        data = await requests.run("large")
        assert data["body"] == "x" * MOST_BODY

    async def test_other_statuses_may_be_expected(self, requests: Bench) -> None:
        done = await requests.action.run(command({**requests.outcomes["refuses"], "expect": [409]}))
        assert ("status", 409) in done.data
        with pytest.raises(ActionRefused):
            await requests.action.run(command({**requests.outcomes["works"], "expect": [204]}))

    async def test_only_hosts_of_the_list(self, requests: Bench) -> None:
        closed = Http(Http.Settings(hosts=("sbc.example.net", "127.0.0.1:1")))
        with pytest.raises(ActionError, match="not allowed"):
            await closed.run(command(requests.outcomes["works"]))
        await closed.close()

    async def test_the_environment_s_proxy_is_not_used(
        self, requests: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert await requests.run("works")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"url": "ftp://a"},
            {"url": "http://user:pass@a/"},
            {"url": "http://a", "json": {"b": 1}, "body": "c"},
            {"url": "http://a", "method": "TRACE"},
            {"url": "http://a", "expect": [99]},
        ],
    )
    def test_parameters_that_make_no_sense(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            Http.Parameters.model_validate(wrong)


def test_nested_parameters_survive_the_way() -> None:
    tree = {"a": 1, "h": {"X/Y": "1", "t~e": "2"}, "list": ["x", {"y": None}], "on": True}
    flat: Values = flatten(tree)
    assert unflatten(flat) == tree
    assert ("h/X~1Y", "1") in flat and ("list/1/y", None) in flat


async def written(path: Path) -> list[int]:
    """The two process ids in a file, once they are there."""
    for _ in range(1000):
        numbers = path.read_text().split() if path.exists() else []  # noqa: ASYNC240
        if len(numbers) == 2:
            return [int(number) for number in numbers]
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path.name} was never written")


def gone(pid: int) -> bool:
    """It has ended; a zombie, which its new parent has not reaped, counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def ended(pid: int) -> bool:
    for _ in range(500):
        if gone(pid):
            return True
        await asyncio.sleep(0.01)
    return False
