"""A platform that is well, and a network that is not quite: 1 % of all packets lost and a stall of 800 ms every ten
seconds, of a side, of an edge or of the controller itself, at 100 calls a second. Nothing may be switched and nobody
paged. Then three things that are really broken and are no reason to switch a platform.

The profile is `standard`, the shipped default: `fast` is declared where a stall of 0.2 s *is* an outage.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import trustme

from lab.callers import Callers
from lab.faults import EchoDown, Fault, PacketLoss, Stall, inject
from lab.laboratory import Lab
from lab.topology import Host
from tests.bench.rig import STANDARD_LAB, Rig
from tests.bench.rows import row

EVERY: Final = 10.0
"""Seconds from one stall to the next."""

STALL: Final = 0.8
STALLED: Final = (Host.PRIMARY, Host.CONTROLLER, Host.BACKUP, Host.EDGE1)

NAMED_WITHIN: Final = 30.0
AFTERWARDS: Final = 5.0
"""Seconds every other rule has to draw a wrong conclusion after the fault was named."""

# The second test destination stands for a phone as well: both answer OPTIONS, and nothing else depends on it here.
EXTRA: Final = """
components:
  phone: {{kind: phone, title: Phone, rungs: [{{name: sip, probe: sip_options, with: {{uri: "sip:echo2@198.18.0.42:5060"}}}}]}}
  certificate:
    kind: certificate
    title: Certificate
    rungs: [{{name: certificate, probe: certificate, with: {{file: "{certificate}"}}, interval: 1s, fall: 2}}]
"""


def rows(quick: bool) -> list[dict[str, Any]]:
    """The rows of `deploy/bench quiet`: about two minutes when quick, else about eleven."""
    seconds = 60 if quick else 600
    with Lab.create(STANDARD_LAB) as lab, contextlib.ExitStack() as stack:
        certificate = lab.directory / "certificate.pem"
        issue(certificate, days=90)
        rig = stack.enter_context(Rig(lab, profile="standard", extra=EXTRA.format(certificate=certificate)))
        rig.arm()
        found = _healthy(lab, rig, seconds)
        found += _broken(lab, rig, "echo service down", "TestTargetDown", inject(lab, EchoDown()))
        found += _broken(lab, rig, "one phone down", "DeviceDown", inject(lab, EchoDown(user="echo2")))
        found += _broken(lab, rig, "certificate expiring", "CertificateExpiring", expiring(certificate))
        if violations := rig.violations():
            raise RuntimeError(f"the journal does not hold: {violations}")
    return found


def _healthy(lab: Lab, rig: Rig, seconds: int) -> list[dict[str, Any]]:
    case = f"{seconds} s healthy, 1 % loss, stalls of {STALL:g} s"
    after, pages = rig.sequence, len(rig.pager.pages)
    with Callers(lab, rate=100, seconds=seconds + 60) as callers, inject(lab, PacketLoss(per_mille=10)):
        until = time.monotonic() + seconds
        stalls = 0
        for host in itertools.cycle(STALLED):
            if time.monotonic() + EVERY > until:
                break
            began = time.monotonic()
            _stall(lab, rig, host)
            stalls += 1
            time.sleep(max(0.0, began + EVERY - time.monotonic()))
        time.sleep(max(0.0, until - time.monotonic()))
    report = callers.report
    raised = [entry["data"] for entry in rig.facts("fault_raised", after=after)]
    for fault in raised:
        print(f"{case}: {fault['kind']} at {fault['component']} ({fault['rule']})", file=sys.stderr)
    return [
        *_quiet(case, rig, after, pages),
        row(case, "incidents", "count", [len(rig.facts("incident_opened", after=after))]),
        row(case, "faults_raised", "count", [len(raised)]),
        row(case, "stalls", "count", [stalls]),
        row(case, "calls", "count", [report.attempted]),
        row(case, "calls_failed", "calls", [report.failed]),
    ]


def _quiet(case: str, rig: Rig, after: int, pages: int) -> list[dict[str, Any]]:
    time.sleep(1.0)  # a page on its way arrives
    switches = len(rig.facts("switch_started", after=after))
    return [
        row(case, "switches", "count", [switches], never_above=0),
        row(case, "pages", "count", [len(rig.pager.pages) - pages], never_above=0),
    ]


def _stall(lab: Lab, rig: Rig, host: Host) -> None:
    if host is not Host.CONTROLLER:
        _at(lab, Stall(side=host, seconds=STALL))
        return
    os.killpg(rig.pid, signal.SIGSTOP)
    try:
        time.sleep(STALL)
    finally:
        os.killpg(rig.pid, signal.SIGCONT)


def _at(lab: Lab, fault: Fault) -> None:
    with inject(lab, fault):
        """Its effect is asserted when it is over."""


def _broken(
    lab: Lab, rig: Rig, case: str, named: str, fault: contextlib.AbstractContextManager[object]
) -> list[dict[str, Any]]:
    after = rig.sequence
    with Callers(lab, rate=100, seconds=120) as callers, fault:
        began = time.time()
        facts = _wait_named(rig, named, after)
        time.sleep(AFTERWARDS)
    raised = {entry["data"]["kind"] for entry in rig.facts("fault_raised", after=after)}
    rig.wait(lambda: rig.facts("fault_cleared", after=after), f"{named} to clear", timeout_s=NAMED_WITHIN)
    return [
        row(case, "switches", "count", [len(rig.facts("switch_started", after=after))], never_above=0),
        row(case, "other_faults", "count", [len(raised - {named})], never_above=0),
        row(case, "named_after", "s", [facts[0]["wall"] - began]),
        row(case, "calls_failed", "calls", [callers.report.failed], never_above=0),
    ]


def _wait_named(rig: Rig, named: str, after: int) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        return [entry for entry in rig.facts("fault_raised", after=after) if entry["data"]["kind"] == named]

    wait: Callable[..., list[dict[str, Any]]] = rig.wait
    return wait(found, named, timeout_s=NAMED_WITHIN)


def issue(path: Path, *, days: float) -> None:
    """A certificate with so many days left, put there whole."""
    now = datetime.now(UTC)
    made = trustme.CA().issue_cert(
        "lab.example", not_before=now - timedelta(days=100), not_after=now + timedelta(days=days)
    )
    scratch = path.with_suffix(".new")
    made.cert_chain_pems[0].write_to_path(scratch)
    scratch.replace(path)


@contextlib.contextmanager
def expiring(path: Path) -> Iterator[None]:
    """Five days left."""
    issue(path, days=5)
    try:
        yield
    finally:
        issue(path, days=90)
