"""keepalived's driver with commands that stand for the hosts: what they say, refuse, or never say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from controller.actions.keepalived import Keepalived
from controller.actions.keepalived.driver import held
from controller.actions.keepalived.parameters import KeepalivedParameters
from controller.actions.points import Nonsense
from controller.model.commands import Drive
from controller.model.errors import ActionError, ActionRefused
from controller.model.groups import DriverVerb
from controller.model.moments import Value
from tests.builders.outside import Marks
from tests.builders.platform import GROUP, group_policy

VIP = "2001:db8::10"
HOST = """
# A host of a pair: holds the address while its number is not the one for out of order.
case "$1" in
  write) number=$(cat); [ "$THIRDRING_EPOCH" -ge "$(cat epoch)" ] || { echo stale; exit 4; }
         echo "$THIRDRING_EPOCH" >epoch; echo "$number" >"$2" ;;
  show) if [ "$(cat "$2")" = -254 ]; then echo '[{"ifname": "lo"}]'
        else echo '[{"ifname": "lo"}, {"ifname": "eth0", "addr_info": [{"local": "2001:db8:0::10"}]}]'; fi ;;
esac
"""


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Any]:
    host = tmp_path / "host"
    host.write_text(f"#!/bin/sh\ncd {tmp_path}\n{HOST}")
    host.chmod(0o755)
    (tmp_path / "epoch").write_text("1\n")
    for side, number in (("primary", "0"), ("backup", "-254")):
        (tmp_path / side).write_text(f"{number}\n")
    marks = Marks(tmp_path)
    return {
        "address": VIP,
        "sides": {
            side: {
                "write": [str(host), "write", side],
                "show": [str(host), "show", side],
                "refused": [4],
                "fence": marks.fence(side),
            }
            for side in ("primary", "backup")
        },
        "timeout": 10.0,
        "settle": 0.1,
    }


def driver(written: dict[str, Any]) -> Keepalived:
    return Keepalived(group_policy(edges=(), step_timeout=60.0), KeepalivedParameters.model_validate(written))


async def act(made: Keepalived, verb: DriverVerb, side: str, epoch: int = 2) -> dict[str, Value]:
    command = Drive(id="CMD-0001", group=GROUP, verb=verb, side=side, epoch=epoch, timeout=5.0)
    return dict((await made.perform(command)).data)


async def test_the_numbers_move_the_address(written: dict[str, Any], tmp_path: Path) -> None:
    made = driver(written)
    assert made.fencing == "none"
    await act(made, DriverVerb.REDIRECT, "backup")
    assert [(tmp_path / side).read_text() for side in ("primary", "backup")] == ["-254\n", "0\n"]
    seen = await act(made, DriverVerb.READ_BACK, "backup")
    assert (seen["active"], seen["drifted"], seen["ungated"]) == ("backup", "", "")


async def test_a_command_may_refuse_an_old_epoch(written: dict[str, Any], tmp_path: Path) -> None:
    await act(driver(written), DriverVerb.REDIRECT, "backup", 7)
    with pytest.raises(ActionRefused, match="stale"):
        await act(driver(written), DriverVerb.REDIRECT, "primary", 6)
    assert (tmp_path / "backup").read_text() == "0\n"


async def test_a_side_that_does_not_answer_is_cut_off_by_others(
    written: dict[str, Any], tmp_path: Path
) -> None:
    written["sides"]["primary"].update(show=["sleep", "60"], write=["sleep", "60"])
    written["timeout"] = 1.5
    made = driver(written)
    command = Drive(id="CMD-0001", group=GROUP, verb=DriverVerb.FENCE, side="primary", epoch=2, timeout=5.0)
    assert "sleep did not end in 1.5 s" in (await made.perform(command)).message
    await act(made, DriverVerb.CONFIRM_FENCE, "primary")
    data = await act(made, DriverVerb.REDIRECT, "backup")
    assert data["unreachable"] == "primary" and (tmp_path / "backup").read_text() == "0\n"


async def test_an_address_that_does_not_move_is_no_success(written: dict[str, Any]) -> None:
    written["sides"]["primary"]["write"] = ["true"]
    with pytest.raises(ActionError, match=f"primary still holds {VIP}"):
        await act(driver(written), DriverVerb.REDIRECT, "backup")


async def test_what_is_no_list_of_addresses(written: dict[str, Any]) -> None:
    written["sides"]["backup"]["show"] = ["echo", "ssh: no route to host"]
    made = driver(written)
    seen = await act(made, DriverVerb.READ_BACK, "primary")
    assert (seen["unreachable"], seen["active"]) == ("backup", "primary")
    with pytest.raises(ActionError, match="no list of addresses"):
        await act(made, DriverVerb.REDIRECT, "backup")


async def test_a_long_list_is_read_to_its_end(written: dict[str, Any], tmp_path: Path) -> None:
    links = [
        {"ifname": f"veth{n}", "addr_info": [{"local": f"10.0.{n // 250}.{n % 250}"}]} for n in range(500)
    ]
    (tmp_path / "long").write_text(json.dumps([*links, {"addr_info": [{"local": VIP}]}]))
    written["sides"]["primary"]["show"] = ["cat", str(tmp_path / "long")]
    assert (await act(driver(written), DriverVerb.READ_BACK, "primary"))["holding"] == "primary"


@pytest.mark.parametrize("said", ["{}x", "[1]", '[{"addr_info": [{"local": "eth0"}]}]', '{"a": 1}'])
def test_nonsense_is_no_absence(said: str) -> None:
    with pytest.raises(Nonsense):
        held(said, VIP)


def test_addresses_are_compared_as_addresses() -> None:
    assert held('[{"addr_info": [{"local": "2001:DB8:0:0::10"}]}]', VIP)
    assert not held('[{"addr_info": [{"local": "2001:db8::1"}, {"family": "mpls"}]}]', VIP)


Change = Callable[[dict[str, Any]], object]

WRONG: dict[str, Change] = {
    "no address": lambda it: it.update(address="vip.example.test"),
    "a standby that would take it": lambda it: it.update(standby=0),
    "a standby above": lambda it: it.update(active=-10, standby=-5),
    "out of range": lambda it: it.update(active=300),
    "nothing to write with": lambda it: it["sides"]["primary"].pop("write"),
    "a status of success": lambda it: it["sides"]["primary"].update(refused=[0]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_parameters_that_make_no_sense(written: dict[str, Any], wrong: str) -> None:
    KeepalivedParameters.model_validate(written)
    WRONG[wrong](written)
    with pytest.raises(ValidationError):
        KeepalivedParameters.model_validate(written)
