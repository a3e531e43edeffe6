"""What only the driver of a virtual address promises, over real agents and a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.model.commands import Drive
from controller.model.groups import DriverVerb
from controller.model.moments import Value
from tests.builders import addresses
from tests.builders.addresses import AddressWorld
from tests.builders.platform import GROUP


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[AddressWorld]:
    if reason := addresses.missing():
        pytest.skip(reason)
    made = AddressWorld(tmp_path)
    try:
        for side in addresses.SIDES:
            await made.start(side)
        yield made
    finally:
        await made.close()


async def look(world: AddressWorld) -> dict[str, Value]:
    command = Drive(id="READ-1", group=GROUP, verb=DriverVerb.READ_BACK, side="primary", epoch=1, timeout=2.0)
    return dict((await world.driver.perform(command)).data)


async def test_a_store_that_cannot_be_read_is_no_drift(world: AddressWorld) -> None:
    """Its holder holds on, and nobody has to be told so again."""
    assert (await look(world))["drifted"] == ""
    world.lose_store()
    seen = await look(world)
    assert await world.answers("primary") == "primary", "read within the hold"
    assert seen["drifted"] == ""
    assert seen["fence_ready"] is False and "can't be read" in str(seen["fence_lacks"])
