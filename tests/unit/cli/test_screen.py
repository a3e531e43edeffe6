"""What people and far ends write is printed as it is, whatever brackets it holds."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from controller.cli import application
from controller.cli.exits import Exit

BRACKETS = "[/red] [bold]half[/bold] :warning: [target_not_ready"

HELD = {
    "node": "a",
    "configuration": "test",
    "leader": True,
    "observing_only": False,
    "journal": {"failing": False},
    "health": {"UP": 2},
    "groups": [],
    "drills": [],
    "incidents": [],
    "time": 1_700_000_000.0,
    "holds": [{"scope": "calls", "reason": BRACKETS, "by": "wang", "until_wall": 1_700_000_000.0}],
}
NOTED = {
    "entries": [
        {
            "sequence": 1,
            "wall": 1_700_000_000.0,
            "kind": "note",
            "incident": "INC-0001",
            "subject": "INC-0001",
            "actor": "wang",
            "drill": False,
            "data": {"note": BRACKETS},
        }
    ]
}
REFUSED = {"dry_run": True, "refused": ["target_not_ready"], "facts": []}


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Path]:
    """A control socket that answers like a controller would."""
    path = tmp_path / "control.sock"
    started, loop = threading.Event(), asyncio.new_event_loop()

    async def serve() -> web.AppRunner:
        served = web.Application()
        served.router.add_get("/api/v1/status", answering(HELD))
        served.router.add_get("/api/v1/timeline", answering(NOTED))
        served.router.add_post("/api/v1/groups/calls/arm", answering(REFUSED))
        runner = web.AppRunner(served)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        return runner

    def live() -> None:
        runner = loop.run_until_complete(serve())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=live)
    thread.start()
    started.wait()
    yield path
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def answering(document: object) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response(document)

    return handle


def told(
    arguments: list[str], socket: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["thirdring", "--socket", str(socket), "--language", "en", *arguments])
    with pytest.raises(SystemExit) as ended:
        application.main()
    return int(ended.value.code or 0), capsys.readouterr().out


@pytest.mark.parametrize("command", ["status", "timeline"])
def test_brackets_are_not_markup(
    command: str, controller: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out = told([command], controller, capsys, monkeypatch)
    assert code == Exit.DONE
    assert BRACKETS in out


def test_a_refusal_shows_its_name(
    controller: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out = told(["arm", "calls", "--dry-run"], controller, capsys, monkeypatch)
    assert code == Exit.REFUSED
    assert "[target_not_ready]" in out
