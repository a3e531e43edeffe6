"""A side's processes and activities, and what the host sees of them: real processes, real sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.agent.activities import Side, troubles
from controller.agent.evidence import Verdict, Witness
from controller.agent.processes import ProcessError, Processes, process
from controller.agent.queues import waiting
from controller.agent.settings import ActivitySettings, EvidenceSettings, GroupSettings, ProcessSettings, Stop

# A main process and a child that go on apart from each other, as Kamailio's do.
PLATFORM = """
import os, sys, time
child = os.fork()
if child:
    open(sys.argv[1], "w").write(str(os.getpid()))
while True:
    time.sleep(60)
"""

ANSWERER = """
import socket, sys
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.bind(("127.0.0.1", 0))
print(link.getsockname()[1], flush=True)
while True:
    request, peer = link.recvfrom(4096)
    head = request.decode().split("\\r\\n")
    keep = [line for line in head if line.split(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq")]
    link.sendto("\\r\\n".join(["SIP/2.0 404 Not Found", *keep, "Content-Length: 0", "", ""]).encode(), peer)
"""


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    children: list[subprocess.Popen[bytes]] = []

    def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, start_new_session=True
        )
        children.append(child)
        return child

    yield start
    for child in children:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()


async def settle(condition: Callable[[], Any], timeout: float = 10.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


async def platform(started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> Path:
    pid_file = tmp_path / "platform.pid"
    started(PLATFORM, str(pid_file))
    await settle(lambda: pid_file.exists() and pid_file.read_text())
    return pid_file


async def test_the_whole_group_is_stopped_and_continued(
    started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    pid_file = await platform(started, tmp_path)
    processes = Processes(ProcessSettings(pid_file=pid_file), {})
    await settle(lambda: len(processes.members()) == 2)
    assert not processes.stopped()
    await processes.stop(5.0)
    assert processes.stopped() and {one.state for one in processes.members()} == {"T"}
    await processes.stop(5.0)
    await processes.start()
    await settle(lambda: not processes.stopped())
    assert {one.state for one in processes.members()} <= {"S", "R"}


async def test_children_that_outlive_their_main_process_are_stopped_too(
    started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    pid_file = await platform(started, tmp_path)
    again = tmp_path / "again"
    settings = ProcessSettings(pid_file=pid_file, stop=Stop.KILL, start=("touch", str(again)))
    processes = Processes(settings, {})
    await settle(lambda: len(processes.members()) == 2)
    main = int(pid_file.read_text())
    os.kill(main, signal.SIGKILL)
    pid_file.unlink()
    await settle(lambda: (found := process(main)) is None or found.state == "Z")
    assert not processes.stopped(), "its child lives on"
    await processes.stop(5.0)
    assert processes.stopped()
    await processes.start()
    assert again.exists()


async def test_processes_are_found_by_the_words_of_their_command(
    started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    child = started("import time; time.sleep(60)", str(tmp_path))
    words = (sys.executable, "-c", "import time; time.sleep(60)", str(tmp_path))
    processes = Processes(ProcessSettings(match=words), {})
    await settle(lambda: [one.pid for one in processes.members()] == [child.pid])
    assert not Processes(ProcessSettings(match=(*words[:3], str(tmp_path / "x"))), {}).members()
    await processes.stop(5.0)
    assert processes.stopped()


async def test_what_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    settings = ProcessSettings(pid_file=tmp_path / "none", stop=Stop.KILL, start=("false",))
    with pytest.raises(ProcessError, match="ended with 1"):
        await Processes(settings, {}).start()


def group(tmp_path: Path, **changes: Any) -> GroupSettings:
    return GroupSettings.model_validate(
        {"side": "primary", "addresses": [{"address": "10.0.0.9", "interface": "eth0"}], **changes}
    )


async def test_activities_are_stopped_verified_and_started_and_one_failure_hides_no_other(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "registered"
    mark.touch()

    def activity(name: str, stop: str, verify: str, start: str = "true") -> ActivitySettings:
        shell = ("sh", "-c")
        return ActivitySettings(
            name=name, stop=(*shell, stop), verify=(*shell, verify), start=(*shell, start)
        )

    activities = (
        activity("trunk", f"rm {mark}", f"! test -e {mark}", f"echo $THIRDRING_EPOCH > {mark}"),
        activity("dialler", "echo stuck; exit 3", "echo still dialling; exit 1"),
        activity("cron", "exit 4", "true"),
    )
    side = Side("calls", group(tmp_path, activities=activities))
    assert troubles(await side.stop(7)) == (
        "dialler: sh ended with 3: stuck; sh ended with 1: still dialling",
    )
    assert not mark.exists()
    assert troubles(await side.stopped(7)) == ("dialler: sh ended with 1: still dialling",)
    assert not troubles(await side.start(7))
    assert mark.read_text() == "7\n"


async def test_a_command_that_hangs_is_killed(tmp_path: Path) -> None:
    hanging = ActivitySettings(name="trunk", stop=("true",), verify=("sleep", "60"), timeout=0.2)
    side = Side("calls", group(tmp_path, activities=(hanging,)))
    assert troubles(await side.stop(1)) == ("trunk: sleep: no end within 0.2 s",)


@pytest.mark.parametrize(("prints", "calls"), [("17 calls", 17), ("none", None), (" ", None)])
async def test_live_calls_are_counted_by_the_groups_command(
    tmp_path: Path, prints: str, calls: int | None
) -> None:
    assert await Side("calls", group(tmp_path, live_calls=("echo", prints))).live_calls(1) == calls
    assert await Side("calls", group(tmp_path)).live_calls(1) is None


async def until(witness: Witness, verdict: Verdict) -> None:
    async with asyncio.timeout(10.0):
        while witness.evidence.verdict is not verdict:
            await witness.change(witness.changes)


async def test_dead_stopped_and_hung_are_told_apart_and_at_once(
    started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    child = started(ANSWERER, str(tmp_path))
    assert child.stdout is not None
    port = int(child.stdout.readline())
    settings = EvidenceSettings(ports=(port,), options=f"sip:127.0.0.1:{port}", interval=0.02, hung_after=0.3)
    words = (sys.executable, "-c", ANSWERER, str(tmp_path))
    witness = Witness(settings, Processes(ProcessSettings(match=words), {}))
    running = asyncio.create_task(witness.run())
    await until(witness, Verdict.ALIVE)
    await settle(lambda: witness.evidence.answered is not None)
    os.kill(child.pid, signal.SIGSTOP)
    await until(witness, Verdict.STOPPED)
    os.kill(child.pid, signal.SIGCONT)
    await until(witness, Verdict.ALIVE)
    child.kill()
    await until(witness, Verdict.DEAD)
    running.cancel()


async def test_a_side_that_takes_nothing_is_hung(
    started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """The process runs; its socket fills, and nothing answers."""
    script = ANSWERER.replace(
        "while True:", "import time\nrequest, peer = link.recvfrom(4096)\nwhile True:"
    ).replace("    request, peer = link.recvfrom(4096)\n    head", "    time.sleep(60)\n    head")
    child = started(script, str(tmp_path))
    assert child.stdout is not None
    port = int(child.stdout.readline())
    words = (sys.executable, "-c", script, str(tmp_path))
    settings = EvidenceSettings(ports=(port,), interval=0.02, hung_after=0.2)
    witness = Witness(settings, Processes(ProcessSettings(match=words), {}))
    running = asyncio.create_task(witness.run())
    await until(witness, Verdict.ALIVE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        for _ in range(3):
            caller.sendto(b"OPTIONS", ("127.0.0.1", port))
    await until(witness, Verdict.HUNG)
    assert witness.evidence.queued > 0 and "waiting in its sockets" in witness.evidence.reason
    running.cancel()


def test_what_waits_is_counted_at_the_watched_ports_only() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf,
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        deaf.bind(("127.0.0.1", 0))
        listener.bind(("::1", 0))
        listener.listen(8)
        datagrams, connections = deaf.getsockname()[1], listener.getsockname()[1]
        assert waiting((datagrams, connections)) == 0
        callers = [socket.create_connection(("::1", connections)) for _ in range(3)]
        assert waiting((connections,)) == 3
        for _ in range(2):
            sender.sendto(b"x" * 100, ("127.0.0.1", datagrams))
        assert waiting((datagrams,)) >= 200
        assert waiting((datagrams, connections)) >= 203
        assert waiting((1,)) == 0
        for caller in callers:
            caller.close()
