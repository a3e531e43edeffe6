from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.probes.file_age import FileAge, FileAgeParameters


async def run(pattern: str, smallest: int = 1) -> ProbeResult:
    parameters = FileAgeParameters(pattern=pattern, max_age_hours=24, smallest=smallest)
    return await FileAge(parameters).run(RungKey("backup", "backup"), 10.0)


def backup(path: Path, hours: float, size: int = 100) -> None:
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - 3600 * hours,) * 2)


async def test_the_newest_file_counts(tmp_path: Path) -> None:
    backup(tmp_path / "a.dump", 72)
    backup(tmp_path / "b.dump", 3, 4096)
    (tmp_path / "c.dump").mkdir()
    result = await run(f"{tmp_path}/*.dump")
    assert (result.outcome, result.up) == (Outcome.UP, True)
    assert dict(result.values) == {
        "age_hours": pytest.approx(3, abs=0.1),
        "size": 4096,
        "file": f"{tmp_path}/b.dump",
    }


async def test_stale_empty_and_missing(tmp_path: Path) -> None:
    missing = await run(f"{tmp_path}/*.dump")
    backup(tmp_path / "a.dump", 30)
    stale = await run(f"{tmp_path}/*.dump")
    backup(tmp_path / "b.dump", 1, 0)
    empty = await run(f"{tmp_path}/*.dump")
    assert {result.outcome for result in (missing, stale, empty)} == {Outcome.FAILED}
    assert dict(missing.values)["age_hours"] is None
    assert "30.0 hours old" in stale.note and "0 bytes" in empty.note


async def test_a_clock_set_back_makes_nothing_younger_than_new(tmp_path: Path) -> None:
    backup(tmp_path / "a.dump", -5)
    assert dict((await run(f"{tmp_path}/*.dump")).values)["age_hours"] == 0.0


def test_parameters_are_checked() -> None:
    with pytest.raises(ValidationError):
        FileAgeParameters(pattern="", max_age_hours=1)
    with pytest.raises(ValidationError):
        FileAgeParameters(pattern="a", max_age_hours=0)
