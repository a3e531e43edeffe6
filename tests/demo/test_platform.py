"""The platform as processes: started, broken, fenced, healed, ended; and what its callers see meanwhile."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from demo_platform.callers import Callers
from demo_platform.errors import AddressInUse, DemoError, NotDone
from demo_platform.faults import Fault, Faults
from demo_platform.fence import main as fence
from demo_platform.layout import Layout, Role
from demo_platform.processes import Processes
from demo_platform.supervisor import Supervisor
from lab.topology import Host
from tests.demo.phone import dial

RATE = 40.0
SPACING_MS = 1000 / RATE


@pytest.fixture
def platform(layout: Layout, tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path, layout) as made:
        made.start()
        yield made


@pytest.fixture
def faults(platform: Supervisor) -> Faults:
    return Faults(platform.processes, platform.layout)


@pytest.fixture
def callers(platform: Supervisor) -> Iterator[Callers]:
    made = Callers(platform.processes, platform.layout, rate=RATE, seconds=60, patience_s=1.5)
    made.start()
    yield made
    made.hang_up()


def switch(platform: Supervisor, *, epoch: int = 2) -> None:
    """What a driver does: the backup in, the primary out, by JSON-RPC."""
    for letters, side in (("a", Role.BACKUP), ("d", Role.PRIMARY)):
        connection = HTTPConnection(*platform.layout.edge_rpc, timeout=5)
        params = [letters, 1, platform.layout.uri(side)]
        body = json.dumps({"jsonrpc": "2.0", "method": "dispatcher.set_state", "params": params, "id": 1})
        connection.request("POST", "/", body, {"X-Epoch": str(epoch)})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def answered(callers: Callers, number: int, side: Role) -> None:
    """Until so many more calls have been answered, the last by this side."""
    before = callers.progress().answered
    wait_for(
        lambda: callers.progress().answered >= before + number and callers.progress().last_side == side,
        f"{number} calls answered by the {side}",
    )


def command(verb: str, side: Role, directory: Path) -> tuple[int, str]:
    """The fence as the controller runs it; exit status and what it said."""
    deploy = Path(__file__).parents[2] / "deploy"
    done = subprocess.run(
        [sys.executable, "-m", "demo_platform.fence", verb, side, "--directory", str(directory)],
        env={"PYTHONPATH": str(deploy)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def test_a_bare_switch_while_calls_run_loses_nothing(platform: Supervisor, callers: Callers) -> None:
    answered(callers, 10, Role.PRIMARY)
    switch(platform)
    answered(callers, 10, Role.BACKUP)
    report = callers.stop()
    assert report.failed == 0
    assert report.outage(late_ms=float("inf")) is None
    assert all(call.released for call in report.calls)
    assert set(report.by_side) == {Host.PRIMARY, Host.BACKUP}
    assert sum(call.rtp_received for call in report.calls) > 0.9 * sum(call.rtp_sent for call in report.calls)


@pytest.mark.parametrize("fault", [Fault.KILLED, Fault.HUNG, Fault.ZOMBIE])
def test_callers_see_a_broken_side_until_the_switch_and_not_after(
    platform: Supervisor, faults: Faults, callers: Callers, fault: Fault
) -> None:
    answered(callers, 10, Role.PRIMARY)
    at = faults.put_in(fault, Role.PRIMARY)
    failed = callers.progress().failed
    wait_for(lambda: callers.progress().failed >= failed + 5, "calls fail")
    switch(platform)
    switched = time.monotonic()
    answered(callers, 20, Role.BACKUP)
    report = callers.stop()
    outage = report.outage()
    assert outage is not None and outage.over
    assert outage.failed >= 5
    # From the fault to the switch, but for one call's spacing, the edge's timer and a busy machine.
    assert outage.duration_ms >= (switched - at) * 1000 - 2 * SPACING_MS - 400
    assert report.wrong_side(Host.BACKUP, since=switched + 0.1) == 0
    if fault is Fault.ZOMBIE:
        assert {call.status for call in report.calls if not call.answered} == {500}
    else:
        assert {call.status for call in report.calls if not call.answered} <= {408, None}
        assert any(call.answered and not call.released for call in report.calls), "calls were cut"


@pytest.mark.parametrize("fault", [Fault.DEAF, Fault.MUTE])
def test_one_way_audio_costs_no_calls_but_their_sound(
    platform: Supervisor, faults: Faults, callers: Callers, fault: Fault
) -> None:
    answered(callers, 5, Role.PRIMARY)
    at = faults.put_in(fault, Role.PRIMARY)
    answered(callers, 20, Role.PRIMARY)
    report = callers.stop()
    after = report.between(at + 0.1)
    assert report.failed == 0 and after
    assert all(call.rtp_received == 0 for call in after)
    assert faults.read(Role.PRIMARY)["one_way"] == ("in" if fault is Fault.DEAF else "out")


@pytest.mark.parametrize(
    ("fault", "how", "proof"),
    [
        (None, "drops all traffic", "drops all traffic"),
        (Fault.ZOMBIE, "drops all traffic", "drops all traffic"),
        (Fault.HUNG, "killed", "no process left"),
        (Fault.KILLED, "no process to fence", "no process left"),
    ],
)
def test_a_fence_holds_whatever_the_side_is_like_and_is_proved(
    platform: Supervisor, faults: Faults, fault: Fault | None, how: str, proof: str
) -> None:
    directory = platform.directory
    if fault is not None:
        faults.put_in(fault, Role.PRIMARY)
    assert command("confirm", Role.PRIMARY, directory) == (1, "primary is not fenced")
    assert command("fence", Role.PRIMARY, directory) == (0, how)
    assert command("confirm", Role.PRIMARY, directory) == (0, proof)
    assert command("fence", Role.PRIMARY, directory)[0] == 0, "fencing twice is the same"
    # Somebody heals the side: it stays fenced until it is let back in.
    assert faults.take_out(Role.PRIMARY, platform.restart).endswith("still fenced")
    assert command("confirm", Role.PRIMARY, directory) == (0, "drops all traffic")
    assert command("release", Role.PRIMARY, directory) == (0, "takes traffic again")
    assert command("confirm", Role.PRIMARY, directory)[0] == 1
    assert command("confirm", Role.BACKUP, directory)[0] == 1


def test_a_killed_side_is_started_again_by_its_release(platform: Supervisor, faults: Faults) -> None:
    faults.put_in(Fault.KILLED, Role.PRIMARY)
    assert command("fence", Role.PRIMARY, platform.directory)[0] == 0
    assert command("release", Role.PRIMARY, platform.directory) == (0, "started again")
    platform.wait_ready(Role.PRIMARY)
    call = asyncio.run(dial(f"sip:hotline@{platform.layout.edge}", to=platform.layout.edge))
    assert call.record.header("X-Side") == "primary"


def test_a_side_that_only_says_it_drops_is_not_confirmed(
    platform: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mark is there, the side takes traffic: what counts is what is seen on the wire."""
    (platform.directory / "primary.fenced").touch()
    assert fence(["confirm", "primary", "--directory", str(platform.directory)]) == 1
    assert "was not seen to drop" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["fence"], ["fence", "edge"], ["open", "primary", "--directory", "{}"]]
)
def test_a_fence_command_that_makes_no_sense_does_nothing(
    platform: Supervisor, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fence([text.format(platform.directory) for text in arguments]) == 2
    assert "usage" in capsys.readouterr().err
    assert not list(platform.directory.glob("*.fenced"))


def test_every_process_can_be_killed_hung_and_healed(platform: Supervisor, faults: Faults) -> None:
    for role in (Role.ECHO, Role.AGENTS, Role.EDGE):
        faults.put_in(Fault.HUNG, role)
        assert platform.processes.stopped(role)
        assert faults.take_out(role, platform.restart) == "continued"
        faults.put_in(Fault.KILLED, role)
        with pytest.raises(NotDone, match="not running"):
            faults.put_in(Fault.KILLED, role)
        assert faults.take_out(role, platform.restart) == "started again"
        with pytest.raises(NotDone, match="can be killed or hung"):
            faults.put_in(Fault.ZOMBIE, role)


def test_a_taken_port_is_one_clear_error_and_leaves_nothing_running(layout: Layout, tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sip,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as rpc,
    ):
        sip.bind(layout.backup)
        rpc.bind(layout.edge_rpc)
        rpc.listen()
        platform = Supervisor(tmp_path, layout)
        with pytest.raises(AddressInUse) as caught:
            platform.start()
    assert f"udp {layout.backup}" in str(caught.value) and f"tcp {layout.edge_rpc}" in str(caught.value)
    assert platform.processes.roles() == []


def test_a_process_that_cannot_start_is_named_with_its_last_words(layout: Layout, tmp_path: Path) -> None:
    class BrokenList(Supervisor):
        def check_addresses(self) -> None:
            self.list_file.unlink()

    platform = BrokenList(tmp_path, layout)
    with pytest.raises(DemoError, match="edge did not start: the dispatcher list can't be read"):
        platform.start()
    assert platform.processes.roles() == []


def test_what_a_killed_run_left_behind_is_ended_by_the_next(layout: Layout, tmp_path: Path) -> None:
    Supervisor(tmp_path, layout).start()  # and its owner is gone without a word
    later = Supervisor(tmp_path, layout)
    later.processes.send(Role.BACKUP, signal.SIGSTOP)
    assert later.sweep() == sorted(["agents", "backup", "echo", "edge", "primary"])
    later.check_addresses()
    assert later.sweep() == []


def test_a_process_without_a_record_is_known_by_its_mark(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    record = processes.start("pager", [sys.executable, "-c", "import time; time.sleep(60)"])
    (tmp_path / "processes" / "pager.json").unlink()
    assert Processes(tmp_path).end_all() == []
    assert processes.exit_status("pager") is None, "no record, no status"
    stat = Path(f"/proc/{record.pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_stranger_who_got_the_number_since_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        records = tmp_path / "processes"
        records.mkdir()
        fields = Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()
        for started in (int(fields[19]), int(fields[19]) + 1):
            record = {"role": "edge", "pid": stranger.pid, "started": started, "argv": ["x"]}
            (records / "edge.json").write_text(json.dumps(record))
            processes = Processes(tmp_path)
            assert not processes.alive("edge")
            processes.end("edge")
            assert processes.end_all() == []
        assert stranger.poll() is None
    finally:
        stranger.communicate(b"\n")


def test_a_role_runs_once(platform: Supervisor) -> None:
    with pytest.raises(NotDone, match="running already"):
        platform.processes.start(Role.EDGE, platform.argv(Role.EDGE))
    before = platform.processes.record(Role.EDGE)
    platform.restart(Role.EDGE)
    after = platform.processes.record(Role.EDGE)
    assert before is not None and after is not None and before.pid != after.pid
    assert not os.path.exists(f"/proc/{before.pid}")
