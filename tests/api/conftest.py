"""A real controller for each test, over one configuration that is read once."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.configuration.settings import Settings
from tests.builders.consoles import Running, Sides, running, settings_of, write_configuration


@pytest.fixture(scope="session")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    sides = Sides()
    yield settings_of(write_configuration(tmp_path_factory.mktemp("console"), sides))
    sides.close()


@pytest.fixture
def settings(configured: Settings, tmp_path: Path) -> Settings:
    """With a data directory of its own."""
    node = replace(
        configured.node,
        data=tmp_path / "data",
        control=tmp_path / "control",
        archive=f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}",
    )
    return replace(configured, node=node)


@pytest.fixture
async def controller(settings: Settings) -> AsyncIterator[Running]:
    async with running(settings) as made:
        yield made
