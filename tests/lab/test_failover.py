"""The real controller against real Kamailio: every fault of a side, what only looks like one, and its own death in the
middle of a switch."""

from __future__ import annotations

import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.callers import Callers
from lab.faults import (
    EchoDown,
    EdgeRestarted,
    Fault,
    HostDead,
    ProbePath,
    ProcessKilled,
    ProcessStopped,
    Zombie,
    inject,
)
from lab.laboratory import Lab
from lab.topology import EDGES, Host
from tests.bench.rig import STANDARD_LAB, Rig

pytestmark = pytest.mark.lab

STANDARD = "standard"
"""The profile that a busy machine's stalls do not disturb; deploy/bench failover measures `fast`."""


@pytest.fixture
def platform() -> Iterator[Lab]:
    """A lab of its own: what a controller leaves at the edges is another test's drift."""
    with Lab.create(STANDARD_LAB) as lab:
        yield lab


@pytest.fixture
def rig(platform: Lab) -> Iterator[Rig]:
    with Rig(platform, profile=STANDARD) as made:
        made.arm()
        yield made


def data(rig: Rig, kind: str, /, **wanted: str) -> list[dict[str, Any]]:
    """The data of the entries of this kind, oldest first."""
    return [
        entry["data"]
        for entry in rig.facts(kind)
        if all(entry["data"].get(name) == value for name, value in wanted.items())
    ]


def switched(rig: Rig) -> bool:
    return rig.group()["last_outcome"] is not None and rig.group()["switch"] is None


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (ProcessKilled(), "PlatformDead"),
        (ProcessStopped(), "PlatformHung"),
        (Zombie(), "PlatformZombie"),
        (HostDead(), "PlatformDead"),
    ],
    ids=["killed", "hung", "zombie", "host dead"],
)
def test_a_broken_side_is_named_left_and_paged(platform: Lab, rig: Rig, fault: Fault, named: str) -> None:
    with Callers(platform, rate=100, seconds=60) as callers:
        time.sleep(1.0)
        with inject(platform, fault):
            rig.wait(lambda: switched(rig), "the switch to end")
            left = time.monotonic()
            time.sleep(1.0)
        time.sleep(1.5)
        rig.let_back_in()
        time.sleep(1.0)
        until = time.monotonic()
    incidents = rig.incidents()
    assert [incident["root"] for incident in incidents] == ["calls"]
    assert data(rig, "fault_raised")[0]["kind"] == named
    ended = data(rig, "switch_ended")
    assert [(end["outcome"], end["active"]) for end in ended] == [("verified", "backup")]
    verified = data(rig, "switch_step_finished", verb="verify", status="succeeded")
    assert verified[-1]["side"] == "backup"
    report = callers.report
    assert report.wrong_side(Host.BACKUP, since=left, until=until) == 0
    assert [call for call in report.between(left, until) if not call.answered] == []
    assert report.stale(platform.arrivals()) == []
    rig.wait(lambda: rig.pager.pages, "the page")
    page = rig.pager.pages[0]
    assert page["incident"] == incidents[0]["id"]
    assert all(page[line] for line in ("what", "impact", "did", "need"))
    assert "/a/" in page["acknowledge"]
    assert rig.violations() == []


@pytest.mark.parametrize(
    ("fault", "named", "timeout_s"),
    [(ProbePath(), "ProbePathBroken", 10.0), (EchoDown(), "TestTargetDown", 20.0)],
    ids=["probe path", "echo down"],
)
def test_what_is_not_the_side_never_switches(
    platform: Lab, rig: Rig, fault: Fault, named: str, timeout_s: float
) -> None:
    with Callers(platform, rate=100, seconds=90) as callers:
        time.sleep(1.0)
        with inject(platform, fault):
            rig.wait(lambda: data(rig, "fault_raised", kind=named), named, timeout_s=timeout_s)
            time.sleep(2.0)
            # The callers go home: that answers are missing is no evidence against the side either.
            report = callers.stop()
            time.sleep(3.0)
    assert [fact for fact in data(rig, "fault_raised") if fact["actionable"]] == []
    assert data(rig, "switch_started") == []
    assert report.failed == 0
    assert report.by_side.keys() == {Host.PRIMARY}
    assert rig.group()["active"] == "primary"
    assert rig.violations() == []


def asserted(platform: Lab, epoch: int) -> bool:
    return all(platform.rpc(edge, "pv.shvGet", "epoch")["value"] == epoch for edge in EDGES)


def test_a_restarted_or_meddled_edge_is_put_right(platform: Lab, rig: Rig) -> None:
    order = {"reason": "a test", "target": "backup", "overrides": ["one_kind_of_evidence"]}
    rig.client.post("/api/v1/groups/calls/force", order)
    rig.wait(lambda: switched(rig), "the switch to end")
    assert rig.group()["active"] == "backup", data(rig, "switch_ended")
    epoch = rig.group()["epoch"]
    with inject(platform, EdgeRestarted()):
        rig.wait(lambda: asserted(platform, epoch), "the epoch at both edges")
    assert platform.dispatcher_flags(Host.EDGE1)[Host.BACKUP][0] == "A"
    uri = "sip:198.18.0.22:5060"
    platform.rpc(Host.EDGE2, "dispatcher.set_state", "d", 1, uri, epoch=epoch)
    rig.wait(lambda: platform.dispatcher_flags(Host.EDGE2)[Host.BACKUP][0] == "A", "edge2 to be put right")
    rig.wait(lambda: data(rig, "edge_drifted", drifted="edge2"), "the drift on record")
    rig.wait(lambda: not rig.group()["drifted_edges"], "no drift")
    response = platform.invite(Host.OBSERVER, platform.edge(Host.EDGE2).address)
    assert response is not None and response.side == Host.BACKUP
    assert rig.violations() == []


def patient(group: dict[str, Any]) -> None:
    """These tests hold steps up on purpose, and a busy machine does too: the switch must not give them up."""
    group["step_timeout"] = 5
    group["driver"]["with"]["rpc_timeout"] = 4
    group["verification"] |= {"timeout": 5, "attempts": 5}


class Tripwire:
    """Commands of the group wrapped so that one of them, the first time, says that it was reached and waits."""

    def __init__(self, directory: Path, verb: str, *, before: bool) -> None:
        self.reached, self.released, self.ran = (directory / name for name in ("reached", "released", "ran"))
        wait = f"if mkdir {self.reached}; then until [ -e {self.released} ]; do sleep 0.01; done; fi"
        act = f'echo {verb} >>{self.ran}; "$@"'
        self.script = directory / verb
        self.script.write_text(f"#!/bin/sh\n{wait}\n{act}\n" if before else f"#!/bin/sh\n{act}\n{wait}\n")
        self.script.chmod(self.script.stat().st_mode | stat.S_IXUSR)
        self.verb = verb

    def lay(self, group: dict[str, Any]) -> None:
        if self.verb == "promote":
            group["driver"]["with"]["sides"]["backup"]["promote"] = [str(self.script), "true"]
        else:
            fence = group["driver"]["with"]["sides"]["primary"]["fence"]
            fence[self.verb] = [str(self.script), *fence[self.verb]]

    def release(self) -> None:
        self.released.touch()

    @property
    def runs(self) -> int:
        return len(self.ran.read_text().splitlines()) if self.ran.exists() else 0


@pytest.mark.parametrize(
    ("verb", "before", "most_runs"),
    [
        # Killed before it took effect: asked whether it did, then done. After: asked, and not done again.
        ("fence", True, 2),
        ("fence", False, 1),
        ("confirm", False, 3),
        ("promote", True, 2),
    ],
    ids=["before the fence", "after the fence", "confirming", "promoting"],
)
def test_killed_in_the_middle_it_reads_back_and_finishes(
    platform: Lab, tmp_path: Path, verb: str, before: bool, most_runs: int
) -> None:
    wire = Tripwire(tmp_path, verb, before=before)
    with Rig(platform, profile=STANDARD, change=lambda group: (patient(group), wire.lay(group))) as rig:
        rig.arm()
        with Callers(platform, rate=50, seconds=90) as callers:
            time.sleep(1.0)
            with inject(platform, ProcessStopped()):
                rig.wait(wire.reached.exists, "the wire", pause_s=0.01)
                rig.kill()
                wire.release()
                assert rig.journal_violations() == []
                rig.start()
                rig.wait(lambda: switched(rig), "the switch to end")
                left = time.monotonic()
                time.sleep(1.0)
        check_resumed(rig, callers, platform, left)
        assert 1 <= wire.runs <= most_runs


@pytest.mark.parametrize("phase", ["redirecting", "verifying"])
def test_killed_near_the_end_it_reads_back_and_finishes(platform: Lab, tmp_path: Path, phase: str) -> None:
    wire = Tripwire(tmp_path, "promote", before=False)
    with Rig(platform, profile=STANDARD, change=lambda group: (patient(group), wire.lay(group))) as rig:
        rig.arm()
        with Callers(platform, rate=50, seconds=90) as callers:
            time.sleep(1.0)
            with inject(platform, ProcessStopped()):
                rig.wait(wire.reached.exists, "the wire", pause_s=0.01)
                if phase == "redirecting":
                    # An edge that hangs holds the redirect up.
                    platform.processes.send("edge2", signal.SIGSTOP)
                wire.release()
                rig.wait(lambda: rig.group()["phase"] == phase, phase, pause_s=0.002)
                rig.kill()
                platform.processes.send("edge2", signal.SIGCONT)
                assert rig.journal_violations() == []
                rig.start()
                rig.wait(lambda: switched(rig), "the switch to end")
                left = time.monotonic()
                time.sleep(1.0)
        check_resumed(rig, callers, platform, left)


def check_resumed(rig: Rig, callers: Callers, platform: Lab, left: float) -> None:
    """One switch, finished by the second controller, which looked before it did anything."""
    ended = data(rig, "switch_ended")
    assert [(end["outcome"], end["active"]) for end in ended] == [("verified", "backup")]
    assert len(rig.incidents()) == 1
    assert [chosen["response"] for chosen in data(rig, "response_chosen")] == ["switch"]
    entries = rig.timeline()
    restart = max(number for number, entry in enumerate(entries) if entry["kind"] == "controller_started")
    intended = [entry for entry in entries[restart:] if entry["kind"] == "switch_intended"]
    assert intended[0]["data"]["verb"] == "read_back"
    commands = [entry["data"]["command"] for entry in entries if entry["kind"] == "switch_intended"]
    assert len(commands) == len(set(commands))
    assert callers.report.wrong_side(Host.BACKUP, since=left) == 0
    assert callers.report.stale(platform.arrivals()) == []
    assert rig.violations() == []
