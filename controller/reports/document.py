"""A report before it has a format: sections of blocks, in one language, every text as plain text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Tone(StrEnum):
    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"
    SOFT = "soft"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """`note`: where it comes from or what it leaves open, in small print."""

    text: str
    note: str = ""
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """A few large numbers with their labels: what a reader takes in at one look."""

    figures: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Label and value, one a row."""

    rows: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """`anchors`: one a row, for links to it; empty for none. `narrow`: columns that are never wrapped. `log`: the last
    column is what matters, those before it say when."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    anchors: tuple[str, ...] = ()
    narrow: frozenset[int] = frozenset()
    log: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A stretch of time on a phase bar, seconds from its left end."""

    name: str
    begins: float
    ends: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseBar:
    """Bars over one common scale of `seconds`, with a limit line (the RTO) where there is one."""

    title: str
    seconds: float
    bars: tuple[Bar, ...]
    limit: float | None = None
    limit_label: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blank:
    """Empty, for a person to fill in. `columns`: a table of empty rows, what `first` holds in their first
    column; else `lines` ruled lines."""

    prompt: str
    columns: tuple[str, ...] = ()
    lines: int = 3
    first: tuple[str, ...] = ()


Block = Figures | Facts | Table | Paragraph | PhaseBar | Blank


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """`human`: people fill it in, and until they have, the review can't be closed."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]
    human: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """`badge`: a short word in the top corner (SEV1). `mark`: opens and closes a drill's papers. `seal`: the footer.

    `alarm`: what makes the paper untrustworthy, if anything does. `blocking`: what must still be filled in, as one line;
    `blocking_tag` marks each such section. `running`: at the foot of every printed page.
    """

    language: str
    title: str
    kicker: str
    badge: str
    badge_level: int
    mark: str
    alarm: str
    blocking: str
    blocking_tag: str
    sections: tuple[Section, ...]
    seal: tuple[tuple[str, str], ...]
    running: str
