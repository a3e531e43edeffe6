"""What an agent's file may say, and what is shipped for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from controller.agent.commands import filled
from controller.agent.refusals import Refusal, Refused
from controller.agent.settings import AgentSettings, CommandSettings, ProcessSettings

SHIPPED = Path(__file__).parents[3] / "deploy" / "agent"


def content() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((SHIPPED / "agent.yaml").read_text())
    return found


def test_the_shipped_file_is_right_and_its_paths_are_placed() -> None:
    settings = AgentSettings.model_validate({**content(), "data": "state"}).at(Path("/etc/x"))
    assert settings.data == Path("/etc/x/state")
    assert settings.tls.key == Path("/etc/third-ring/agent.key")
    assert settings.etcd.password_file is None
    assert [str(one.address) for one in settings.groups["calls"].addresses] == [
        "10.0.0.100",
        "2001:db8:1::100",
    ]


def group(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda whole: whole["groups"]["calls"].update(changes)


WRONG: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("extra", lambda whole: whole.update(colour="red")),
    ("extra", group(sied="primary")),
    ("virtual address", group(addresses=[{"address": "127.0.0.1", "interface": "lo"}])),
    ("virtual address", group(addresses=[{"address": "fe80::1", "interface": "eth0"}])),
    ("pattern", group(addresses=[{"address": "10.0.0.9", "interface": 'eth0" ; drop'}])),
    ("twice", group(addresses=[{"address": "10.0.0.9", "interface": "eth0"}] * 2)),
    ("keep needs", group(without_etcd="keep", peers={})),
    ("no room", group(hold_time=0.4)),
    ("one of unit", group(process={"unit": "a.service", "pid_file": "/run/a.pid"})),
    ("start command", group(process={"pid_file": "/run/a.pid", "stop": "kill"})),
    ("argv names", group(commands={"x": {"argv": ["say", "{what}"]}})),
    ("https", group(peers={"b": "http://10.0.0.2"})),
    ("belong together", lambda whole: whole["etcd"].update(user="agent")),
    ("belong together", lambda whole: whole["etcd"].update(key=None)),
    ("belongs to both", lambda whole: whole["groups"].update(other=whole["groups"]["calls"])),
]


@pytest.mark.parametrize(("said", "change"), WRONG)
def test_what_is_wrong_is_said(said: str, change: Callable[[dict[str, Any]], object]) -> None:
    whole = content()
    change(whole)
    with pytest.raises(ValidationError, match=r"(?i)" + said):
        AgentSettings.model_validate(whole)


def test_every_error_is_said_at_once() -> None:
    whole = content()
    whole["port"] = 0
    whole["groups"]["calls"]["hold_time"] = 0.1
    whole["tls"]["colour"] = "red"
    with pytest.raises(ValidationError) as errors:
        AgentSettings.model_validate(whole)
    assert {error["loc"][0] for error in errors.value.errors()} == {"port", "groups", "tls"}


def test_a_command_takes_the_values_it_declares_and_they_match_whole() -> None:
    command = CommandSettings(argv=("gateway", "--name={name}", "off"), values={"name": "[a-z]{1,8}"})
    assert filled(command, {"name": "trunk"}) == ("gateway", "--name=trunk", "off")
    for values in ({}, {"name": "trunk", "other": "x"}, {"name": "trunk; reboot"}, {"name": "toolonganame"}):
        with pytest.raises(Refused) as refused:
            filled(command, values)
        assert refused.value.reason is Refusal.WRONG_VALUE


def test_a_process_is_named_in_one_way() -> None:
    assert ProcessSettings(match=("kamailio", "-f")).match == ("kamailio", "-f")
    with pytest.raises(ValidationError):
        ProcessSettings()
