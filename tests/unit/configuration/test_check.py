"""What `thirdring check` says, as a person reads it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from controller.configuration.check import CheckReport, check, render_text
from controller.model.encoding import plain
from controller.model.errors import Problem
from tests.builders.adapters import kinds

GOLDEN = Path(__file__).parents[2] / "golden" / "configuration"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_report_reads_well(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    text = (
        render_text(check(Path("check.yaml"), kinds(), lambda kind: Path(kind), loss=0.02), language) + "\n"
    )
    text = re.sub(r"[0-9a-f]{12}", "0" * 12, text)  # the revision: any change of a file changes it
    golden = Path(f"check.{language}.txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_report_is_plain_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    data = json.loads(json.dumps(plain(check(Path("check.yaml"), kinds(), lambda kind: Path(kind)))))
    calls, slow = data["groups"]
    assert (calls["may_arm"], slow["may_arm"]) == (True, False)
    assert sum(term["seconds"] for term in slow["terms"]) == pytest.approx(slow["total"])


def test_more_loss_more_false_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    reports = [
        check(Path("check.yaml"), kinds(), lambda kind: Path(kind), loss=loss) for loss in (0.0, 0.01, 0.02)
    ]
    expected = [report.groups[0].false_downs[0].expected for report in reports]
    assert expected[0] == 0.0
    assert expected == sorted(expected)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_idle_rules_are_one_line_a_file_and_each_is_in_the_data(language: str) -> None:
    def idle(rule: str, lacking: str) -> Problem:
        message = f"the rule {rule} is idle for platform: nothing offers {lacking}"
        return Problem(file="rules.yaml", line=7, path="terms", message=message)

    other = Problem(file="rules.yaml", line=3, path="x", message="something else")
    warnings = (other, idle("a", "self.agent.verdict"), idle("b", "edge.total, self.hold.age"))
    found = CheckReport(configuration="x.yaml", warnings=warnings)
    told = render_text(found, language).splitlines()
    assert f"  {other}" in told
    (line,) = [line for line in told if "idle" in line or "不起作用" in line]
    assert "2" in line and "platform: edge, self.agent, self.hold" in line
    assert len(plain(found)["warnings"]) == 3
