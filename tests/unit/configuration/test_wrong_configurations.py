"""Wrong configurations and everything that is said about them, as a person would read it.

Each `wrong/NAME.yaml` has its problems in `wrong/NAME.txt`. After a wanted change run with UPDATE_GOLDEN=1 and read the
difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controller.configuration.check import check, render_text
from tests.builders.adapters import kinds

GOLDEN = Path(__file__).parents[2] / "golden" / "configuration"
ONLY_INCLUDED = {"wrong-again"}
CASES = sorted(path.stem for path in (GOLDEN / "wrong").glob("*.yaml") if path.stem not in ONLY_INCLUDED)
ENVIRONMENT = {"SET": "0123456789abcdef", "SHORT": "x"}


def shipped(kind: str) -> Path:
    return Path("runbooks") if kind == "runbooks" else Path(".")


def problems(path: str) -> str:
    report = check(Path(path), kinds(), shipped, environment=ENVIRONMENT)
    return "".join(f"{problem}\n" for problem in report.problems)


@pytest.mark.parametrize("case", CASES)
def test_every_problem_at_once(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    found = problems(f"wrong/{case}.yaml")
    golden = Path("wrong", f"{case}.txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(found)
    assert found == golden.read_text()
    assert found


def test_what_they_spoil_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    assert problems("platform.yaml") == ""


def test_problems_are_rendered_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    report = check(Path("wrong/not-yaml.yaml"), kinds(), shipped)
    text = render_text(report)
    assert text.startswith("wrong/not-yaml.yaml: 1 problem(s); nothing would be started with it\n")
    assert "  wrong/not-yaml.yaml:4: not YAML: " in text
