"""An outside fence as a test has it: a file that stands while a side is cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Marks:
    """One file a side; `fences` is what a configuration says of it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, side: str) -> Path:
        return self._directory / f"{side}.fenced"

    def stands(self, side: str) -> bool:
        return self.path(side).exists()

    def fence(self, side: str) -> dict[str, Any]:
        mark = str(self.path(side))
        return {"fence": ["touch", mark], "confirm": ["test", "-e", mark], "release": ["rm", mark]}
