"""A controller beside each test, and the command as `python -m controller` enters it."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from controller.__main__ import main
from controller.configuration.settings import Settings
from tests.builders.consoles import Beside, Sides, beside, settings_of, write_configuration


@pytest.fixture(scope="session")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    sides = Sides()
    yield settings_of(write_configuration(tmp_path_factory.mktemp("commands"), sides))
    sides.close()


@pytest.fixture
def controller(configured: Settings, tmp_path: Path) -> Iterator[Beside]:
    node = replace(
        configured.node,
        data=tmp_path / "data",
        control=tmp_path / "control",
        archive=f"sqlite+aiosqlite:///{tmp_path / 'archive.db'}",
    )
    with beside(replace(configured, node=node)) as made:
        yield made


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document that was printed."""
        return json.loads(self.out)


Command = Callable[..., Said]


@pytest.fixture
def thirdring(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command line; its exit code, and what it printed."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["thirdring", *arguments])
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Said(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def command(thirdring: Command, controller: Beside) -> Command:
    """Runs a command against the controller."""

    def run(*arguments: str, language: str = "en") -> Said:
        return thirdring("--socket", controller.socket, *arguments, "--language", language)

    return run
