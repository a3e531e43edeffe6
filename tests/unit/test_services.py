"""The services that are shipped, and what explains them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("*/*.service"))


@pytest.mark.parametrize("shipped", UNITS, ids=lambda unit: unit.name)
def test_a_shipped_unit_is_one_that_systemd_takes(shipped: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / shipped.name
    unit.write_text(shipped.read_text().replace("/opt/third-ring/.venv/bin/thirdring", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    mine = [line for line in done.stderr.splitlines() if shipped.stem in line]
    assert not mine, done.stderr


@pytest.mark.parametrize("directory", sorted({unit.parent for unit in UNITS}), ids=lambda path: path.name)
def test_everything_shipped_is_explained(directory: Path) -> None:
    readme = (directory / "README.md").read_text()
    for path in directory.iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in readme, path.name
