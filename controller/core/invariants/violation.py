"""What a checker finds, and the bounds it is given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class Violation:
    """`sequence` is the entry at which it shows; 0: it was seen at an actuator, and the message says when."""

    sequence: int
    invariant: str
    message: str

    def __str__(self) -> str:
        place = f" at sequence {self.sequence}" if self.sequence else ""
        return f"{self.invariant}{place}: {self.message}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """At most `switches` automatic switches of a group within `window` seconds."""

    switches: int
    window: float
