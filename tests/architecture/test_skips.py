"""Where everything must run, a test that is skipped is a failure, unless it is named with its reason."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import ALLOWED, RING, allowed

ROOT = Path(__file__).parents[2]
CONFTEST = ROOT / "tests" / "conftest.py"
TESTS = """
import pytest

@pytest.mark.browser
def test_needs_a_browser():
    pytest.skip("no browser")

@pytest.mark.lab
@pytest.mark.skip(reason="no lab")
def test_needs_a_lab():
    pass

@pytest.mark.skipif(True, reason="no such program")
def test_needs_a_program():
    pass

@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail():
    assert False
"""
RINGS = f"""
import pytest

@pytest.mark.skip(reason={RING!r})
def test_with_the_reason():
    pass

@pytest.mark.skip(reason="etcd is not installed")
def test_with_another():
    pass
"""
WHOLE = """
import pytest

pytest.skip("nothing of it here", allow_module_level=True)
"""


def outcome(directory: Path, everything: str, **files: str) -> str:
    shutil.copy(CONFTEST, directory / "conftest.py")
    lab = directory / "tests" / "lab"
    lab.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (lab / f"test_{name}.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\nmarkers =\n    lab: x\n    browser: x\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--import-mode=importlib", str(directory)],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "THIRDRING_TEST_ALL": everything,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
    )  # fmt: skip
    return ran.stdout


def test_skips_are_failures_only_where_everything_must_run(tmp_path: Path) -> None:
    assert "3 skipped, 1 xfailed" in outcome(tmp_path, "", some=TESTS)
    said = outcome(tmp_path, "1", some=TESTS)
    assert "1 failed, 1 xfailed, 2 errors" in said, "skipped by a mark, a test has not even begun"
    assert "must run here" in said
    assert "no browser" in said and "no lab" in said and "no such program" in said


def test_what_is_named_may_be_skipped_for_its_own_reason_only(tmp_path: Path) -> None:
    said = outcome(tmp_path, "1", ring=RINGS)
    assert "1 skipped, 1 error" in said
    assert "etcd is not installed" in said


def test_a_file_that_skips_itself_is_a_failure_too(tmp_path: Path) -> None:
    assert "1 skipped" in outcome(tmp_path, "", whole=WHOLE)
    assert "nothing of it here" in (said := outcome(tmp_path, "1", whole=WHOLE)) and "1 error" in said


def test_a_name_stands_for_itself_and_its_parameters() -> None:
    name, reason = "tests/unit/probes/test_icmp.py::test_ipv6", "no IPv6 loopback here"
    assert allowed(name, reason) and allowed(f"{name}[tcp]", reason)
    assert not allowed(f"{name}_over_a_tunnel", reason) and not allowed(name, "no ICMP here")


@pytest.mark.parametrize("name", ALLOWED)
def test_every_named_test_exists(name: str) -> None:
    file, _, test = name.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not test or test.partition("[")[0] in functions


def test_the_ring_is_skipped_in_sight_unless_it_is_run_on_purpose() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "THIRDRING_RING"}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "tests/lab/test_ring.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**environment, "THIRDRING_TEST_ALL": "1"},
    )
    assert ran.returncode == 0, ran.stdout
    assert RING in ran.stdout
