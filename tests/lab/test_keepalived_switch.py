"""keepalived's track files, with two real ones: the address moves by the numbers, and where they are powerless."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.actions.keepalived import Keepalived
from controller.model.commands import Drive
from controller.model.errors import ActionError
from controller.model.groups import DriverVerb
from controller.model.moments import Value
from tests.builders import redundant_hosts
from tests.builders.platform import GROUP
from tests.builders.redundant_hosts import RedundantHosts

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(redundant_hosts.missing() is not None, reason=str(redundant_hosts.missing())),
]


@pytest.fixture(params=[True, False], ids=["preempt", "nopreempt"])
def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedundantHosts]:
    made = RedundantHosts(tmp_path, preempt=request.param)
    try:
        made.start()
        yield made
    finally:
        made.close()


def drive(verb: DriverVerb, side: str, epoch: int = 2) -> Drive:
    return Drive(id="CMD-0001", group=GROUP, verb=verb, side=side, epoch=epoch, timeout=20.0)


async def act(driver: Keepalived, verb: DriverVerb, side: str, epoch: int = 2) -> dict[str, Value]:
    return dict((await driver.perform(drive(verb, side, epoch))).data)


async def test_the_address_moves_and_comes_back(hosts: RedundantHosts) -> None:
    driver = hosts.driver()
    seen = await act(driver, DriverVerb.READ_BACK, "primary")
    assert (seen["active"], seen["holding"], seen["drifted"]) == ("primary", "primary", "")
    await act(driver, DriverVerb.PRECHECK, "backup")
    begun = time.monotonic()
    await act(driver, DriverVerb.REDIRECT, "backup")
    print(f"\nmoved in {(time.monotonic() - begun) * 1000:.0f} ms")
    assert hosts.holders() == {"backup"}
    await act(driver, DriverVerb.REDIRECT, "backup")
    await act(driver, DriverVerb.REDIRECT, "primary", 3)
    assert hosts.holders() == {"primary"}


async def test_a_fenced_side_has_let_go_and_only_stands_by_afterwards(hosts: RedundantHosts) -> None:
    driver = hosts.driver()
    await act(driver, DriverVerb.FENCE, "primary")
    assert hosts.holders() == set(), "nobody takes it before the other side is told to"
    seen = await act(driver, DriverVerb.READ_BACK, "primary")
    assert (seen["active"], seen["holding"]) == ("", "")
    await act(driver, DriverVerb.CONFIRM_FENCE, "primary")
    await act(driver, DriverVerb.REDIRECT, "backup")
    await act(driver, DriverVerb.UNFENCE, "primary")
    assert hosts.holders() == {"backup"}


async def test_a_host_that_died_comes_back_without_the_address(hosts: RedundantHosts) -> None:
    driver = hosts.driver()
    await act(driver, DriverVerb.REDIRECT, "backup")
    hosts.kill("primary")
    hosts.run("primary")
    await asyncio.sleep(1.0)  # ten advertisements: what would preempt would have by now
    assert hosts.holders() == {"backup"}


async def test_two_holders_are_drift_and_put_right(hosts: RedundantHosts) -> None:
    """Hosts that can't see each other; here somebody also changed the number."""
    driver = hosts.driver()
    hosts.cut()
    hosts.files["backup"].write_text("0\n")
    await hosts.settled({"primary", "backup"})
    seen = await act(driver, DriverVerb.READ_BACK, "primary")
    assert (seen["active"], seen["drifted"], seen["holding"]) == ("", "backup", "backup,primary")
    await act(driver, DriverVerb.REASSERT, "primary")
    assert hosts.holders() == {"primary"}


async def test_a_standby_that_may_take_over_by_itself_does(hosts: RedundantHosts) -> None:
    driver = hosts.driver(standby=-60)
    await act(driver, DriverVerb.REDIRECT, "backup")
    await hosts.settled({"backup"})
    assert hosts.files["primary"].read_text() == "-60\n"
    hosts.kill("backup")
    deadline = time.monotonic() + 10
    while "primary" not in hosts.holders():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_target_whose_keepalived_is_dead_is_no_success(hosts: RedundantHosts) -> None:
    hosts.kill("backup")
    driver = hosts.driver(settle=1.0)
    with pytest.raises(ActionError, match=f"backup does not hold {redundant_hosts.VIP}"):
        await act(driver, DriverVerb.REDIRECT, "backup")
    await act(hosts.driver(), DriverVerb.REDIRECT, "primary", 3)
    assert hosts.holders() == {"primary"}
