"""Where a controller listens, and what it says when it can't."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from controller.configuration.settings import Settings
from controller.model.errors import StoreError
from tests.builders.consoles import Running, running


async def refused(settings: Settings) -> str:
    with pytest.raises(StoreError) as raised:
        async with running(settings):
            pytest.fail("it listens")
    return str(raised.value)


async def test_a_socket_that_a_killed_controller_left_is_cleared(settings: Settings) -> None:
    control = settings.node.control
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(control))
    assert control.is_socket()
    async with running(settings) as controller:
        assert (await controller.get("/api/v1/status"))["node"] == "test"
    assert not control.exists(), "it takes its socket with it"


async def test_a_socket_that_answers_is_somebody_elses(controller: Running, tmp_path: Path) -> None:
    settings = controller.controller.settings
    other = replace(settings, node=replace(settings.node, data=tmp_path / "other"))
    said = await refused(other)
    assert str(settings.node.control) in said and "another controller" in said and "node.control" in said
    assert (await controller.get("/api/v1/status"))["node"] == "test", (
        "the first one goes on, its socket in place"
    )
    assert settings.node.control.is_socket()


async def test_a_file_in_the_sockets_place_is_not_removed(settings: Settings) -> None:
    settings.node.control.write_text("precious")
    assert "not a socket" in await refused(settings)
    assert settings.node.control.read_text() == "precious"


async def test_a_port_in_use(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = replace(settings.node, http=replace(settings.node.http, port=port))
        said = await refused(replace(settings, node=node))
    assert f"127.0.0.1:{port}" in said and "http.port" in said
    assert not settings.node.control.exists(), "what it had opened is closed"
    async with running(settings):
        pass


async def test_a_path_too_long_for_a_socket(settings: Settings, tmp_path: Path) -> None:
    control = tmp_path / ("x" * 120)
    said = await refused(replace(settings, node=replace(settings.node, control=control)))
    assert str(control) in said and "too long" in said


async def test_a_journal_of_another_controller(controller: Running, tmp_path: Path) -> None:
    settings = controller.controller.settings
    said = await refused(replace(settings, node=replace(settings.node, control=tmp_path / "second")))
    assert "journal.db" in said and "another controller (process " in said
    assert (await controller.get("/healthz"))["status"] == "ok"
