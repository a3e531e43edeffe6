"""`thirdring run` when it can't: one clear error, exit code 1, nothing left behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.cli.exits import Exit
from tests.builders.consoles import Sides, write_configuration
from tests.cli.conftest import Command


@pytest.fixture
def sides() -> Iterator[Sides]:
    made = Sides()
    yield made
    made.close()


def test_a_configuration_that_is_wrong(thirdring: Command, tmp_path: Path, sides: Sides) -> None:
    wrong = {"preferred: primary": "preferred: primary\n    colour: red", "role: viewer": "role: king"}
    path = write_configuration(tmp_path, sides, wrong)
    said = thirdring("run", "-c", str(path))
    assert said.code == Exit.PROBLEM and said.out == ""
    for named in ("groups.calls.colour", "http.tokens"):
        (line,) = [line for line in said.err.splitlines() if named in line]
        assert f"{path}:" in line, "every error at once, with its file and line"


def test_a_port_in_use(thirdring: Command, tmp_path: Path, sides: Sides) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = write_configuration(tmp_path, sides, {"http:\n": f"http:\n  port: {port}\n"})
        said = thirdring("run", "-c", str(path), "--quiet")
    assert said.code == Exit.PROBLEM and said.out == ""
    (line,) = [line for line in said.err.splitlines() if line.startswith("thirdring: ")]
    assert f"127.0.0.1:{port}" in line and "another program" in line
    assert not (tmp_path / "control").exists()
