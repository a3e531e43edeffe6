"""What a newcomer sees while the packages are fetched for the first time."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "deploy" / "environment"

PYTHON = """#!/bin/sh
# Stands in for an interpreter: makes a virtual environment of itself, and says when it is asked to do something slow.
case "$1 $2" in
  "-m venv") echo slow >&2; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip") echo slow >&2 ;;
esac
"""


def run(checkout: Path) -> list[str]:
    environment = {**os.environ, "PATH": f"{checkout / 'path'}:{os.environ['PATH']}"}
    done = subprocess.run(
        [checkout / "deploy" / "environment"], capture_output=True, text=True, env=environment, check=True
    )
    return done.stderr.splitlines()


def test_the_first_installation_says_what_it_does_and_how_long_before_it_is_slow(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "path").mkdir()
    shutil.copy(SCRIPT, tmp_path / "deploy" / "environment")
    (tmp_path / "pyproject.toml").touch()
    os.utime(tmp_path / "pyproject.toml", (0, 0))
    python = tmp_path / "path" / "python3"
    python.write_text(PYTHON)
    python.chmod(0o755)
    said = run(tmp_path)
    first = said.index("slow")
    told = " ".join(said[:first])
    assert "Python packages" in told and "about a minute" in told
    assert said[-1].startswith("the Python packages are installed")
    assert run(tmp_path) == []
