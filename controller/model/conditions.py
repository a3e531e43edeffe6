"""The shape of a compiled condition. The compiler is in `configuration`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from controller.model.faults import Verdict
from controller.model.moments import Value


class Condition(Protocol):
    """A typed, side-effect-free boolean expression over flat dotted variables (CEL)."""

    @property
    def source(self) -> str:
        """The expression as its author wrote it."""

    @property
    def variables(self) -> tuple[str, ...]:
        """The dotted variables it reads, sorted."""

    def evaluate(self, values: Mapping[str, Value]) -> Verdict:
        """Never raises. A missing or None variable, or any runtime error, is UNKNOWN."""
