"""Where everything must run, a test of the lab or of a browser that is skipped is a failure."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"
TESTS = """
import pytest

@pytest.mark.browser
def test_needs_a_browser():
    pytest.skip("no browser")

@pytest.mark.lab
@pytest.mark.skip(reason="no lab")
def test_needs_a_lab():
    pass

def test_may_be_skipped():
    pytest.skip("a platform without it")
"""


def outcome(directory: Path, everything: str) -> str:
    shutil.copy(CONFTEST, directory / "conftest.py")
    (directory / "test_some.py").write_text(TESTS)
    (directory / "pytest.ini").write_text("[pytest]\nmarkers =\n    lab: x\n    browser: x\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(directory)],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env={**os.environ, "THIRDRING_TEST_ALL": everything, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    return ran.stdout


def test_skips_are_failures_only_where_everything_must_run(tmp_path: Path) -> None:
    assert "3 skipped" in outcome(tmp_path, "")
    said = outcome(tmp_path, "1")
    assert "1 failed, 1 skipped, 1 error" in said, "skipped by a mark, a test has not even begun"
    assert "must run here" in said and "no browser" in said and "no lab" in said
