"""What the README says of commands, kinds and files is true."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

from controller import registry
from controller.cli.application import application

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_kinds_is_the_registry() -> None:
    for category, kinds in registry.CATEGORIES.items():
        row = next(line for line in README.splitlines() if line.startswith(f"| {category} |"))
        named = re.findall(r"`([\w.]+)`", row.split("; of the core")[0])
        assert named == sorted(kinds), category


def test_every_driver_says_who_refuses_an_old_epoch() -> None:
    table = README[README.index("| driver | what it moves |") :].split("\n\n")[0]
    named = [kind for row in table.splitlines()[2:] for kind in re.findall(r"`([\w.]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(registry.DRIVERS)


def test_every_command_is_in_the_readme() -> None:
    group = typer.main.get_command(application)
    table = README[README.index("| command |") : README.index("Every command takes")]
    for name in group.commands:  # type: ignore[attr-defined]
        assert re.search(rf"`{name}\b", table), f"{name} is not in the table of commands"


def test_every_place_that_is_named_exists() -> None:
    for place in re.findall(r"`((?:controller|config|deploy|tests|runbooks)(?:/[\w.]+)*)`", README):
        assert (ROOT / place).exists(), place


def test_the_top_level_holds_nothing_else() -> None:
    import subprocess

    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    allowed = {"controller", "runbooks", "config", "tests", "deploy", "pyproject.toml", "README.md"}
    top = {path.split("/")[0] for path in listed if not path.startswith(".")}
    assert top <= allowed, top - allowed
