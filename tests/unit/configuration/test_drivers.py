"""Each driver in a whole configuration: what `thirdring check` says of a right and of a wrong one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller import registry
from controller.configuration.check import CheckReport, check
from controller.configuration.kinds import Kinds
from controller.configuration.loading import load

ROOT = Path(__file__).parents[3]
KINDS = Kinds(names=registry.CATEGORIES, load=registry.load)
FENCE = {"fence": ["fence", "on"], "confirm": ["fence", "shown"], "release": ["fence", "off"]}
SOCKET = {"address": "127.0.0.1", "password": "not the shipped one"}
MANAGER = {"address": "127.0.0.1", "user": "third-ring", "secret": "s3cret"}

DRIVERS: dict[str, dict[str, Any]] = {
    "http": {
        "edges": {"entry": {"url": "https://sbc.example.net/routing", "headers": {"Authorization": "x"}}},
        "epoch": "/note",
        "snapshots": "/var/lib/thirdring/snapshots",
        "primary": {"members": {"/target": "a"}},
        "backup": {"members": {"/target": "b"}},
    },
    "dns": {
        "edges": {"entry": {"address": "192.0.2.53"}},
        "primary_server": "entry",
        "zone": "example.net.",
        "name": "sip.example.net.",
        "key": {"name": "third-ring.", "secret": "c2l4dGVlbi1vY3RldHMtYXQtbGVhc3Q="},
        "primary": {"records": ["192.0.2.21"]},
        "backup": {"records": ["192.0.2.22"]},
    },
    "haproxy": {
        "edges": {"entry": {"socket": "/run/haproxy.sock", "epochs": "/etc/haproxy/epochs.map"}},
        "primary": {},
        "backup": {},
    },
    "asterisk": {
        "primary": {"manager": MANAGER, "trunks": ["carrier"]},
        "backup": {"manager": MANAGER, "trunks": ["carrier"]},
    },
    "freeswitch": {
        "primary": {"socket": SOCKET, "gateways": [{"profile": "external", "gateway": "carrier"}]},
        "backup": {"socket": SOCKET, "gateways": [{"profile": "external", "gateway": "carrier"}]},
    },
    "keepalived": {
        "address": "192.0.2.100",
        "primary": {"write": ["ssh", "a", "write"], "show": ["ssh", "a", "ip", "-j", "addr"]},
        "backup": {"write": ["ssh", "b", "write"], "show": ["ssh", "b", "ip", "-j", "addr"]},
    },
}


def configuration(directory: Path, kind: str) -> dict[str, Any]:
    """The shipped single node with another driver."""
    shutil.copytree(ROOT / "config", directory / "config")
    whole: dict[str, Any] = yaml.safe_load((directory / "config" / "single.yaml").read_text())
    group = whole["groups"]["calls"]
    given = dict(DRIVERS[kind])
    sides = {side: {**given.pop(side), "fence": FENCE} for side in ("primary", "backup")}
    if "primary_server" in given:
        given["primary"] = given.pop("primary_server")
    whole["components"]["entry"] = {**whole["components"]["core-switch"], "kind": "edge"}
    group["driver"] = {"kind": kind, "with": {**given, "sides": sides}}
    group["edges"] = ["entry"] if "edges" in given else []
    if kind == "haproxy":
        for side, item in group["sides"].items():
            item["destination"] = f"calls/{side}"
    if kind == "keepalived":
        group["step_timeout"] = "3s"
    return whole


def checked(directory: Path, whole: dict[str, Any]) -> CheckReport:
    path = directory / "config" / "single.yaml"
    path.write_text(yaml.safe_dump(whole, allow_unicode=True, sort_keys=False))
    return check(path, KINDS, lambda kind: ROOT / kind, environment={})


@pytest.mark.parametrize("kind", DRIVERS)
async def test_a_right_one_loads_and_can_be_built(tmp_path: Path, kind: str) -> None:
    report = checked(tmp_path, configuration(tmp_path, kind))
    assert [str(problem) for problem in report.problems] == []
    policy = load(tmp_path / "config" / "single.yaml", KINDS, lambda kind: ROOT / kind, environment={}).policy
    group = policy.groups["calls"]
    driver = registry.load("driver", kind)(group, group.driver_parameters)
    assert driver.fencing in ("cas", "none")
    await driver.close()


def test_a_verb_that_would_be_cut_off_is_told(tmp_path: Path) -> None:
    whole = configuration(tmp_path, "keepalived")
    del whole["groups"]["calls"]["step_timeout"]
    (problem,) = checked(tmp_path, whole).problems
    assert "1 s cut off a verb of the driver that may take 2.2 s" in problem.message
    assert problem.path == "groups.calls.step_timeout"


def test_a_destination_that_the_driver_can_t_use_is_told(tmp_path: Path) -> None:
    whole = configuration(tmp_path, "haproxy")
    whole["groups"]["calls"]["sides"]["backup"]["destination"] = "sip:192.0.2.22:5060"
    (problem,) = checked(tmp_path, whole).problems
    assert problem.message == "'sip:192.0.2.22:5060' is not BACKEND/SERVER"
    assert problem.path == "groups.calls.sides.backup.destination" and problem.line > 1


def test_a_wrong_parameter_is_told_where_it_stands(tmp_path: Path) -> None:
    whole = configuration(tmp_path, "dns")
    whole["groups"]["calls"]["driver"]["with"]["ttl"] = 3600
    whole["groups"]["calls"]["driver"]["with"]["key"]["secret"] = "c2hvcnQ="
    problems = checked(tmp_path, whole).problems
    assert {problem.path.rpartition(".with.")[2] for problem in problems} == {"ttl", "key.secret"}
    assert not any("c2hvcnQ=" in str(problem) for problem in problems)


def test_an_edge_that_is_not_the_group_s_is_told(tmp_path: Path) -> None:
    whole = configuration(tmp_path, "http")
    whole["groups"]["calls"]["driver"]["with"]["edges"] = {
        "entri": whole["groups"]["calls"]["driver"]["with"]["edges"]["entry"]
    }
    messages = [problem.message for problem in checked(tmp_path, whole).problems]
    assert any("no such name under edges" in message for message in messages)
