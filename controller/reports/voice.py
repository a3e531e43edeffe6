"""One reader's language and clock: how a report says times, durations, names and fixed words."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from controller.model.faults import FaultKind
from controller.model.runbooks import Text
from controller.model.words import FAULTS
from controller.reports.document import Cell, Tone
from controller.reports.headings import heading
from controller.reports.review import Background
from controller.reports.values import Language, refusal_text, said


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    language: Language
    background: Background

    def word(self, key: str, *values: object, **named: object) -> str:
        return heading(key, self.language, *values, **named)

    def of(self, text: Text) -> str:
        return said(text, self.language)

    def reason(self, words: str) -> str:
        """The record's own words, as this reader reads them; what a device said stays."""
        return refusal_text(words, self.language) if words else ""

    @property
    def unknown(self) -> Cell:
        return Cell(text=self.word("unknown"), tone=Tone.SOFT)

    def cell(self, text: str, note: str = "") -> Cell:
        """`text`, or "unknown" when there is none."""
        return Cell(text=text, note=note) if text else self.unknown

    def title(self, name: str) -> str:
        """What a component or group is called, with its name behind it."""
        known = self.background.titles.get(name)
        if known is None or self.of(known) == name:
            return name
        return f"{self.of(known)}（{name}）" if self.language is Language.ZH else f"{self.of(known)} ({name})"

    def person(self, name: str) -> str:
        return self.background.people.get(name) or name

    def runbook(self, name: str) -> str:
        known = self.background.runbooks.get(name)
        return name if known is None else self.of(known)

    def fault(self, kind: FaultKind, root: str) -> str:
        known = self.background.titles.get(root)
        where = root if known is None else self.of(known)
        return (
            f"{where}：{self.of(FAULTS[kind])}"
            if self.language is Language.ZH
            else f"{where}: {self.of(FAULTS[kind])}"
        )

    def moment(self, wall: float) -> datetime.datetime | None:
        """None for a time that has not happened, or that no calendar knows."""
        if wall <= 0:
            return None
        try:
            return datetime.datetime.fromtimestamp(wall, self.background.zone)
        except (OverflowError, OSError, ValueError):
            return None

    def date_time(self, wall: float) -> str:
        """To the millisecond, with the offset from UTC; empty for a time that has not happened."""
        at = self.moment(wall)
        if at is None:
            return ""
        return at.isoformat(" ", "milliseconds")

    def clock(self, wall: float) -> str:
        at = self.moment(wall)
        return "" if at is None else f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"

    def date(self, wall: float) -> str:
        at = self.moment(wall)
        return "" if at is None else f"{at:%Y-%m-%d}"

    def duration(self, seconds: float) -> str:
        """0.82 s, 12.4 s, 3 min 20 s, 5 h 12 min."""
        chinese = self.language is Language.ZH
        if seconds < 9.995:
            return f"{seconds:.2f} 秒" if chinese else f"{seconds:.2f} s"
        if seconds < 119.95:
            return f"{seconds:.1f} 秒" if chinese else f"{seconds:.1f} s"
        minutes, rest = divmod(round(seconds), 60)
        if minutes < 120:
            return f"{minutes} 分 {rest} 秒" if chinese else f"{minutes} min {rest} s"
        hours, minutes = divmod(minutes, 60)
        return f"{hours} 小时 {minutes} 分" if chinese else f"{hours} h {minutes} min"

    def between(self, low: float, high: float) -> str:
        """An interval of seconds; one value when both ends read the same."""
        first, second = self.duration(low), self.duration(high)
        if first == second:
            return first
        if high < 119.95:
            first = first.split(" ")[0]
        return self.word("between", first, second)

    def offset(self, seconds: float) -> str:
        """+0.120, +3:20.5 past two minutes, +7:20:00 past two hours."""
        sign, tenths = "-" if seconds < 0 else "+", round(abs(seconds) * 10)
        if tenths < 1200:
            return f"{seconds:+.3f}"
        minutes, rest = divmod(tenths, 600)
        if minutes < 120:
            return f"{sign}{minutes}:{rest / 10:04.1f}"
        return f"{sign}{minutes // 60}:{minutes % 60:02d}:{rest // 10:02d}"
