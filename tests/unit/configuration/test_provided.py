"""Runbooks and drills that ask for commands the allow-list does not hold: said before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from controller import registry
from controller.actions.command import Command
from controller.configuration.check import CheckReport, check
from controller.configuration.kinds import Kinds

ROOT = Path(__file__).parents[3]
KINDS = Kinds(names=registry.CATEGORIES, load=registry.load)
LOADED = {
    "include": [
        "shipped:ladders.yaml",
        "shipped:rules.yaml",
        "shipped:domains.yaml",
        "shipped:severity.yaml",
    ],
    "runbooks": ["shipped:"],
}
SWITCH = {"kind": "switch", "rungs": [{"name": "host", "probe": "icmp", "with": {"host": "192.0.2.1"}}]}
COMPONENT = {"component": "[a-z]+"}


def checked(tmp_path: Path, commands: dict[str, Any], **more: Any) -> CheckReport:
    content = {
        **LOADED,
        "components": {"core": SWITCH},
        "actions": {"command": {"commands": commands}},
        **more,
    }
    path = tmp_path / "third-ring.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return check(path, KINDS, lambda kind: ROOT / kind, environment={})


def of_commands(problems: tuple[Any, ...]) -> list[str]:
    return [str(problem) for problem in problems if ".with." in problem.path]


def test_a_runbook_that_would_be_started_here_is_warned_about_with_its_line(tmp_path: Path) -> None:
    program = {"argv": ["/bin/true", "{component}"], "parameters": COMPONENT}
    report = checked(tmp_path, {"restart": program, "restart-media": program, "release": program})
    assert not report.problems
    lines = (ROOT / "runbooks" / "device-quarantine.yaml").read_text().splitlines()
    named = [number for number, line in enumerate(lines, 1) if "command: quarantine" in line]
    assert of_commands(report.warnings) == [
        f"shipped:runbooks/device-quarantine.yaml:{line}: {path}.with.command: no command 'quarantine' under"
        " actions.command.commands: the step would be refused"
        for line, path in zip(named, ("steps[2]", "steps[5].rollback"), strict=True)
    ]


def test_ones_own_runbook_is_warned_about_whoever_starts_it(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.yaml").write_text(
        """
runbook: mine
title: {zh: 我的, en: Mine}
summary: {zh: 我的, en: Mine}
inputs: [what]
steps:
  - name: both
    parallel:
      - name: one
        action: command
        with: {command: one}
        irreversible: "no"
      - name: two
        action: command
        with: {command: two, arguments: {component: "${what}", colour: red}}
        irreversible: "no"
      - name: three
        action: command
        with: {command: three, arguments: {component: "7"}}
        irreversible: "no"
      - name: whichever
        action: command
        with: {command: "${what}"}
        irreversible: "no"
"""
    )
    program = {"argv": ["/bin/true", "{component}"], "parameters": COMPONENT}
    own = {"runbooks": ["shipped:", "mine"], "components": {"core": {**SWITCH, "kind": "echo"}}}
    report = checked(tmp_path, {"two": program, "three": program, "restart": program}, **own)
    assert not report.problems
    assert [
        text.partition(": steps[0]")[2] for text in of_commands(report.warnings) if "mine.yaml" in text
    ] == [
        ".parallel[0].with.command: no command 'one' under actions.command.commands: the step would be refused",
        ".parallel[1].with.arguments: the command two has other parameters: colour",
        ".parallel[2].with.arguments.component: the command three does not allow '7'",
    ]


@pytest.mark.parametrize("missing", ["break", "heal"])
def test_a_drill_that_could_not_be_put_in_or_undone_is_a_problem(tmp_path: Path, missing: str) -> None:
    commands = {name: {"argv": ["/bin/true"]} for name in ("break", "heal") if name != missing}
    drill = {
        "title": {"zh": "停", "en": "kill"},
        "component": "core",
        "inject": {"action": "command", "with": {"command": "break"}},
        "undo": {"action": "command", "with": {"command": "heal"}},
        "expires": "10s",
        "objectives": [{"name": "detect", "limit": "1s"}],
    }
    report = checked(tmp_path, commands, drills={"kill": drill})
    key = "inject" if missing == "break" else "undo"
    (problem,) = of_commands(report.problems)
    assert f"drills.kill.{key}.with.command: no command '{missing}'" in problem


def test_an_allow_list_that_is_wrong_itself_is_one_problem(tmp_path: Path) -> None:
    report = checked(tmp_path, {"restart": {"argv": ["true"]}})
    assert [problem.path for problem in report.problems] == ["actions.command.commands.restart"]


def test_what_only_a_run_can_tell_is_left_to_it() -> None:
    settings = Command.Settings.model_validate(
        {"commands": {"x": {"argv": ["/bin/true", "{component}"], "parameters": COMPONENT}}}
    )
    for parameters in (
        {"command": "${which}"},
        {"command": "x", "arguments": {"component": "${component}"}},
        {"command": "x", "arguments": {"component": "core"}},
        {},
    ):
        assert Command.lacks(settings, parameters) is None
